"""The grants that are out: what each holds, how many of each type run, how long tasks of a type take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from actors.queue.capacity import Capacity
from actors.queue.placements import Placement
from actors.queue.queue_events import Decision, Grant, Revoke, Stop
from actors.queue.queue_lines import Entry
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
    priority: int = field(init=False)
    """That of the most urgent of its tasks."""

    def __post_init__(self) -> None:
        self.priority = min(entry.priority for entry in self.entries.values())

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
        self.revoked: dict[int, Running] = {}
        """Those that were asked for back."""
        self.last_number = 0
        self._priorities: Counter[int] = Counter()
        """How many are out, by priority."""
        self._able: dict[int, dict[int, Running]] = {}
        """Priority -> those that could be asked for back, the oldest first."""
        self._mean_s: dict[str, float] = {}

    def open(self, running: Running) -> None:
        self.running[running.number] = running
        self.last_number = max(self.last_number, running.number)
        self.by_type[running.task_type] += 1
        self.capacity.take(running.placement)
        self._list(running)

    def leave(self, running: Running, task_id: str) -> None:
        """A task left its grant; the last one gives the room back."""
        entry = running.entries.pop(task_id)
        if running.entries:
            if entry.priority == running.priority:
                self.set_priority(running)
            return
        self._unlist(running)
        del self.running[running.number]
        self.revoked.pop(running.number, None)
        self.capacity.give(running.placement)
        self.by_type[running.task_type] -= 1
        if not self.by_type[running.task_type]:
            del self.by_type[running.task_type]

    def set_priority(self, running: Running) -> None:
        """Take note that the priorities of its tasks are others."""
        self._unlist(running)
        running.priority = min(entry.priority for entry in running.entries.values())
        self._list(running)

    def revoke(self, running: Running) -> None:
        """Take note that it was asked for back."""
        running.revoked = True
        self.revoked[running.number] = running
        self._able[running.priority].pop(running.number, None)

    def able(self, priority: int) -> Iterator[Running]:
        """Those of a priority that can be asked for back, youngest first."""
        return reversed(self._able.get(priority, {}).values())

    def less_urgent(self, priority: int) -> Iterator[Running]:
        """Those that are less urgent and can be asked for back: least urgent first, youngest first."""
        for other in sorted(self._able, reverse=True):
            if other > priority:
                yield from self.able(other)

    def any_more_urgent(self, priority: int) -> bool:
        """Whether something more urgent is out."""
        return any(count and other < priority for other, count in self._priorities.items())

    def _list(self, running: Running) -> None:
        self._priorities[running.priority] += 1
        if running.revoked or not all(entry.task.preemptible for entry in running.entries.values()):
            return
        able = self._able.setdefault(running.priority, {})
        is_youngest = not able or next(reversed(able)) < running.number
        able[running.number] = running
        if not is_youngest:
            self._able[running.priority] = dict(sorted(able.items()))

    def _unlist(self, running: Running) -> None:
        self._priorities[running.priority] -= 1
        self._able.get(running.priority, {}).pop(running.number, None)

    def standing(self, owner: str) -> list[Decision]:
        """All that an owner would know if it had missed nothing: what it runs, and is to release or to stop."""
        told: list[Decision] = []
        for running in self.running.values():
            if running.owner != owner:
                continue
            told.append(running.as_grant())
            for task_id, entry in running.entries.items():
                if running.revoked:
                    told.append(Revoke(owner=owner, number=running.number, task_id=task_id))
                if entry.cancelling:
                    told.append(Stop(owner=owner, number=running.number, task_id=task_id))
        return told

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
