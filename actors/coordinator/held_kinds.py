"""Which tasks of a driver can't begin for now, and when each kind is worth another try. Pure: no clock.

What looked possible and failed all the same, several times in a row, is tried ever more rarely: a provider may say that
it has units and give none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from actors.queue.queue_lines import Kind
from pipelines.resource_needs import needs_of
from pipelines.retry_rules import RESOURCES_HELD
from pipelines.tasks import Task


def kind_of(task: Task) -> Kind:
    """What a task has in common with those that can begin whenever it can."""
    return (task.task_type, needs_of(task.resources), task.max_cpus is not None)


@dataclass(slots=True)
class _Held:
    task: Task
    """Any of the kind."""
    not_before: float = 0.0


class HeldKinds:
    """Kinds of tasks of one driver."""

    def __init__(self) -> None:
        self._held: dict[Kind, _Held] = {}
        self._failures: dict[Kind, int] = {}
        """In a row."""

    def kinds(self) -> list[Kind]:
        return list(self._held)

    def add(self, kind: Kind, task: Task) -> bool:
        """Such a task can't begin; False when that was known."""
        if kind in self._held:
            return False
        self._held[kind] = _Held(task)
        return True

    def failed(self, kind: Kind, task: Task, now: float) -> None:
        """Such a task was to begin and couldn't."""
        failures = self._failures[kind] = self._failures.get(kind, 0) + 1
        self._held[kind] = _Held(task, now + RESOURCES_HELD.pause_s(failures - 1))

    def worked(self, kind: Kind) -> None:
        """Such a task began."""
        self._failures.pop(kind, None)

    def to_try(self, now: float) -> list[tuple[Kind, Task]]:
        """Kinds that are worth a look now, with a task of each."""
        return [(kind, held.task) for kind, held in self._held.items() if now >= held.not_before]

    def drop(self, kinds: Iterable[Kind]) -> None:
        """They can begin."""
        for kind in kinds:
            self._held.pop(kind, None)
