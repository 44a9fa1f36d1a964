"""Lets operators of a stream begin a task only while there is a lease for it: what no node knows, Ray can't count.

Ray Data asks each operator whether it takes a further input, which is where it is told no; that it never passes over,
as it does its own back-pressure when nothing else runs. What tasks have begun it can't take back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.ray_bounded_tasks import is_over
from pipelines.stages.unit_leases import UnitLeases, tasks_ready


@dataclass(frozen=True, slots=True)
class UnitGate:
    """Stands before one operator."""

    leases: UnitLeases
    rows: int
    """Blocks per task: the operator gathers so many before it begins one."""
    stop: Path
    """Once it exists tasks begin nothing, and need nothing for that."""

    def opens(self, executor: Any, operator: Any) -> bool:
        """Whether the operator may take a further block."""
        gathered = operator.internal_input_queue_num_blocks()
        waiting = executor._topology[operator].total_enqueued_input_blocks() - gathered
        ended = all(before.has_completed() for before in operator.input_dependencies)
        ready = tasks_ready(waiting, gathered, self.rows, ended=ended)
        running = _running(operator) + (gathered > 0)
        busy = any(each.num_active_tasks() for each in executor._topology)
        may_begin = self.leases.may_begin(ready, running, busy=busy)
        # A lease isn't held while its task is gathered: only what is there as a whole is let in.
        return gathered > 0 or (may_begin and ready > 0) or self.stop.exists()


def close_gates(executor: Any, gates: Mapping[str, UnitGate]) -> None:
    """Put gates before the operators of some stages, when their stream begins."""
    for operator, gate in _gated(executor, gates):
        operator.can_add_input = _asks(gate, executor, operator)


def look_at_gates(executor: Any, gates: Mapping[str, UnitGate]) -> None:
    """See again and again how the operators stand, also those that Ray Data asks nothing any more."""
    for operator, gate in _gated(executor, gates):
        gate.opens(executor, operator)


def _asks(gate: UnitGate, executor: Any, operator: Any) -> Any:
    return lambda: gate.opens(executor, operator)


def _gated(executor: Any, gates: Mapping[str, UnitGate]) -> list[tuple[Any, UnitGate]]:
    names = {f"MapBatches({stage})": gate for stage, gate in gates.items()}
    return [(operator, names[operator.name]) for operator in executor._topology if operator.name in names]


def _running(operator: Any) -> int:
    """Tasks whose process hasn't ended them; that their rows lie unread doesn't count."""
    return sum(not is_over(task.get_waitable().completed()) for task in operator.get_active_tasks())
