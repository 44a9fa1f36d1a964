"""The grants that are out: what each holds, how many of each type run, how long tasks of a type take."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from actors.queue.capacity import Capacity, Placement
from actors.queue.priority_scheduler import Entry
from actors.queue.queue_events import Grant
from pipelines.resource_needs import CPU, GPU, MEMORY

_OLD_SHARE = 0.8
"""How much of the mean duration of a type one more task leaves as it was."""


@dataclass(slots=True, eq=False)
class Running:
    """One grant that is out."""

    number: int
    owner: str
    task_type: str
    placement: Placement
    entries: dict[str, Entry]
    """Those of its tasks that haven't left it."""
    protected_until: float
    """Until then it isn't revoked."""
    revoked: bool = False
    turn_until: float = 0.0
    """Until then another pool doesn't get its room."""

    def as_grant(self) -> Grant:
        place = self.placement
        known = (CPU, MEMORY, GPU)
        others = {name for node, needs in place.taken if node for name, _ in needs if name not in known}
        return Grant(
            owner=self.owner,
            number=self.number,
            task_ids=tuple(self.entries),
            cpus=place.cpus,
            node=place.node,
            memory_bytes=int(place.on_nodes(MEMORY)),
            gpus=place.on_nodes(GPU),
            resources={name: place.on_nodes(name) for name in sorted(others)},
        )


class OpenGrants:
    """Keeps grants, the capacity that they hold and the counts per type in step."""

    def __init__(self) -> None:
        self.capacity = Capacity()
        self.limits: dict[str, int] = {}
        self.running: dict[int, Running] = {}
        self.by_type: Counter[str] = Counter()
        self.last_number = 0
        self._mean_s: dict[str, float] = {}

    def open(self, running: Running) -> None:
        self.running[running.number] = running
        self.last_number = max(self.last_number, running.number)
        self.by_type[running.task_type] += 1
        self.capacity.take(running.placement)

    def leave(self, running: Running, task_id: str) -> None:
        """A task left its grant; the last one gives the room back."""
        del running.entries[task_id]
        if running.entries:
            return
        del self.running[running.number]
        self.capacity.give(running.placement)
        self.by_type[running.task_type] -= 1
        if not self.by_type[running.task_type]:
            del self.by_type[running.task_type]

    def full(self, task_type: str) -> bool:
        limit = self.limits.get(task_type)
        return limit is not None and self.by_type[task_type] >= limit

    def headroom(self, task_type: str) -> int | None:
        """How many more grants its type may have; None: any number."""
        limit = self.limits.get(task_type)
        return None if limit is None else max(limit - self.by_type[task_type], 0)

    def learn(self, task_type: str, seconds: float) -> None:
        mean = self._mean_s.get(task_type, seconds)
        self._mean_s[task_type] = _OLD_SHARE * mean + (1 - _OLD_SHARE) * seconds

    def mean_s(self, task_type: str) -> float | None:
        """How long a task of the type takes, recent ones weighing more."""
        return self._mean_s.get(task_type)
