"""Leases of the units of providers that the tasks of a stage hold: each is a task of the queue that holds nothing else.

Implements ``unit_leases.UnitLeases``. Calls to the coordinator are made by a thread of their own, so that a stream
never waits for one; the units come back with whoever holds the lease, this driver, when that ends.
"""

from __future__ import annotations

import logging
import queue
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from actors.queue.queue_events import Decision, Finished, Grant, Stop
from pipelines.errors import RayjobsError
from pipelines.stages.unit_leases import WAIT_S, OpenLeases, Step
from rayjobs.job.job_spec import JobSpec
from rayjobs.job.stage_needs import leased_at_once, leased_units, most_at_once
from rayjobs.run.shard_grants import ShardGrants

ALONE = "alone"
"""Stands for the stages of images that go through all of them in one task."""

log = logging.getLogger(__name__)


class StageUnits:
    """The leases of one kind of tasks of one shard, until it is closed.

    Parameters
    ----------
    name
        What the tasks do, and for which shard.
    needs
        Resource -> units that each task holds.
    most
        Tasks at a time.
    grants
        Of the job: its priority, and its line to the coordinator.
    stop
        The shard's; made here when it has waited for long and could do nothing else, so that others have its CPUs.
    """

    def __init__(self, name: str, needs: Mapping[str, float], most: int, grants: ShardGrants, stop: Path) -> None:
        self._name = name
        self._patience_s = WAIT_S * random.uniform(1.0, 1.5)
        """Not all the same: of two shards that wait for what the other one holds, one is to give up first."""
        self._needs = needs
        self._grants = grants
        self._stop = stop
        self._lock = threading.Lock()
        """Guards what is open, and the error."""
        self._open = OpenLeases(most)
        self._error: Exception | None = None
        self._ids: dict[int, str] = {}
        """Of the thread: lease -> its task."""
        self._steps: queue.SimpleQueue[tuple[Step, int] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._carry_out, name=f"rayjobs-{name}", daemon=True)
        self._thread.start()

    def may_begin(self, ready: int, running: int, *, busy: bool) -> bool:
        """See ``UnitLeases``.

        Raises
        ------
        RayjobsError
            The units can't be had at all, or the coordinator can't be reached.
        """
        now = time.monotonic()
        with self._lock:
            if self._error is not None:
                raise self._error
            for step in self._open.due(ready, running, now, busy=busy):
                self._steps.put(step)
            waits_s = self._open.waits_s(now)
            may_begin = self._open.may_begin(running, now)
        if waits_s > self._patience_s:
            self._stop.touch()
        return may_begin

    def close(self) -> None:
        """Give everything back, when nothing runs any more. Safe to call twice."""
        with self._lock:
            self._open = OpenLeases(0)
        self._steps.put(None)
        self._thread.join()

    def _carry_out(self) -> None:
        while (item := self._steps.get()) is not None:
            try:
                self._do(*item)
            except Exception as error:  # noqa: BLE001 - handed to the thread that begins tasks, which raises it
                with self._lock:
                    self._error = error
        for task_id in self._ids.values():
            self._give_back(task_id)

    def _do(self, step: Step, number: int) -> None:
        if step is Step.ASK:
            self._ids[number] = self._grants.ask_units(self._needs, partial(self._hear, number))
        elif number in self._ids:  # else it couldn't even be asked for
            if step is Step.STAND_IN_LINE:
                self._grants.end_units(self._ids[number], again=True)
            else:
                self._give_back(self._ids.pop(number))

    def _give_back(self, task_id: str) -> None:
        try:
            self._grants.end_units(task_id, again=False)
        except RayjobsError as error:
            log.warning("%s: units come back with the end of this driver: %s", self._name, error)

    def _hear(self, number: int, decision: Decision) -> None:
        """On the coordinator's thread; what is granted although nobody wants it any more goes back at once."""
        with self._lock:
            match decision:
                case Grant(task_ids=(task_id,)):
                    unwanted = None if self._open.granted(number, time.monotonic()) else task_id
                case Stop(task_id=task_id):
                    self._open.lost(number)
                    unwanted = task_id
                case Finished():  # this driver was silent for so long that it was thought dead
                    self._open.lost(number)
                    unwanted = None
                case _:
                    self._open.revoked(number)
                    unwanted = None
        if unwanted is not None:
            self._give_back(unwanted)


@dataclass(frozen=True, slots=True)
class LeaseMaker:
    """Makes the leases of a job's shards."""

    spec: JobSpec
    grants: ShardGrants
    totals: Callable[[], Mapping[str, float]]
    """Units of every provider now, within the limits."""

    def of_shard(self, shard: str, cpus: int, stop: Path) -> dict[str, Callable[[], StageUnits]]:
        """Stage, or ``ALONE``, -> what makes the leases of its tasks, where they hold units by themselves."""
        stages = leased_units(self.spec)
        kinds = {**stages, ALONE: leased_at_once(self.spec)} if stages else {}
        totals = self.totals() if kinds else {}
        return {
            kind: partial(
                StageUnits,
                f"{shard} {kind}",
                needs,
                min(most_at_once(needs, (), totals) or 1, cpus),
                self.grants,
                stop,
            )
            for kind, needs in kinds.items()
        }
