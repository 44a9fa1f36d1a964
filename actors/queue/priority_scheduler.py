"""Whose turn it is: lines of equal tasks, ordered by priority, waiting time and fair turns.

Tasks of one priority, owner, job, type and need wait in one line, oldest first; what holds for the first holds for
all behind it, so a round of decisions costs time by the number of lines, not of tasks. A line that gets nothing for
``AGING_S`` rises by one priority, until it is served: nothing starves, however busy the more urgent are. Within a
priority the job served longest ago goes first, so jobs share fairly whatever the length of their lines. The order
itself is in ``PriorityScheduler.again``.

A task that conflicts with a running one (same exclusive resource; an output that is the same, or one inside of the
other) steps aside until that ends (``claims``). A line whose driver can't run its tasks for now is passed over. Pure:
no Ray, no clock. What fits where is asked of ``capacity``; ``task_queue`` puts all together.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum

from actors.queue.claims import Claim, Claimed, claims_of
from actors.queue.task_pools import rival_types
from pipelines.resource_needs import CPU, Needs
from pipelines.tasks import Task, TaskPriority, TaskStatus

AGING_S = 60.0


class Place(Enum):
    """Where a task waits to run, if it does."""

    NOWHERE = "nowhere"
    LINE = "line"
    ASIDE = "aside"
    """It conflicts with a running task."""


LineKey = tuple[int, str, str, str, Needs, float | None, bool]
Kind = tuple[str, Needs, bool]
"""Tasks that a driver can run or can't, all alike: their type, what they need, whether they are elastic."""


@dataclass(slots=True, eq=False)
class Entry:
    """One task in the queue."""

    task: Task
    owner: str
    priority: TaskPriority
    order: int
    """Its place among all tasks ever submitted; kept when it is released."""
    queued_at: float
    needs: Needs
    status: TaskStatus = TaskStatus.PENDING
    waits_for: int = 0
    """Dependencies that aren't complete yet."""
    attempts: int = 0
    """Processes that died, ran out of time or found no memory, with it in hand."""
    not_before: float = 0.0
    """When it may be tried again."""
    number: int = 0
    """Of its last grant."""
    cancelling: bool = False
    error: str | None = None
    ticket: int = 0
    """Changes whenever it leaves a line, which makes what is left of it in heaps stale."""
    place: Place = Place.NOWHERE
    claims: tuple[Claim, ...] = field(init=False)
    """What it shares with no other running task, or only with some."""

    def __post_init__(self) -> None:
        self.claims = claims_of(self.task)

    @property
    def group(self) -> str:
        """What shares fairly with others: its job, or else its owner."""
        return self.task.job_id or self.owner

    @property
    def line(self) -> LineKey:
        task = self.task
        return (self.priority, self.owner, self.group, task.task_type, self.needs, task.max_cpus, task.preemptible)


_Heap = list[tuple[int, int, Entry]]


@dataclass(slots=True, eq=False)
class Line:
    """Equal tasks that wait, oldest first."""

    key: LineKey
    heap: _Heap = field(default_factory=list)
    length: int = 0
    running: int = 0
    served_at: float = float("-inf")

    @property
    def group(self) -> str:
        return self.key[2]

    @property
    def task_type(self) -> str:
        return self.key[3]

    @property
    def owner(self) -> str:
        return self.key[1]

    @property
    def needs(self) -> Needs:
        return self.key[4]

    @property
    def kind(self) -> Kind:
        return (self.key[3], self.key[4], self.key[5] is not None)

    def waited_s(self, now: float) -> float:
        """How long it got nothing."""
        if self.running or not self.heap:
            return 0.0
        return max(now - max(self.served_at, self.heap[0][2].queued_at), 0.0)

    def since_served_s(self, now: float) -> float:
        """How long ago one of it began or ended, or the first came."""
        return now - max(self.served_at, self.heap[0][2].queued_at) if self.heap else 0.0

    def level(self, now: float) -> int:
        """Its priority, raised by waiting."""
        return max(self.key[0] - int(self.waited_s(now) / AGING_S), 0)


class PriorityScheduler:
    """The lines, and who has stepped aside."""

    def __init__(self) -> None:
        self._lines: dict[LineKey, Line] = {}
        self._group_lines: Counter[str] = Counter()
        self._claimed = Claimed()
        """By running tasks."""
        self._withheld: dict[str, frozenset[Kind]] = {}
        """Owner -> what it can't run for now."""
        self._aside: dict[str, dict[LineKey, _Heap]] = {}
        self._turns: dict[str, int] = {}
        """When each group was last served, as a running number."""
        self._turn = itertools.count(1)
        self._round: list[tuple[int, bool, int, int, Line]] = []
        self._running: Counter[str] = Counter()
        """Running tasks by type."""

    def add(self, entry: Entry) -> None:
        """Put a task that is ready to run in its line, at the place that its order gives it."""
        self._push((entry.order, entry.ticket, entry))

    def remove(self, entry: Entry) -> None:
        """Take a waiting task out."""
        if entry.place is not Place.NOWHERE:
            self._leave(entry)
            self._wake(entry.claims)

    def withhold(self, owner: str, kinds: frozenset[Kind]) -> None:
        """Say which tasks an owner can't run for now: all others can."""
        if kinds:
            self._withheld[owner] = kinds
        else:
            self._withheld.pop(owner, None)

    def withheld(self) -> int:
        """How many tasks wait in line that their owners can't run for now."""
        return sum(line.length for line in self._lines.values() if self._is_withheld(line)) if self._withheld else 0

    def _is_withheld(self, line: Line) -> bool:
        return line.kind in self._withheld.get(line.owner, ())

    def set_priority(self, entry: Entry, priority: TaskPriority) -> None:
        """Move a task, waiting or running, to the line of another priority; it keeps its age and its job's turn."""
        turn, old, place = self.turn(entry.group), self._lines.get(entry.line), entry.place
        if place is not Place.NOWHERE:
            self._leave(entry)
        entry.priority = priority
        if place is not Place.NOWHERE:
            self.add(entry)
        elif entry.status is TaskStatus.RUNNING and old is not None:
            old.running -= 1
            new = self._line(entry.line)
            new.running += 1
            new.served_at = max(new.served_at, old.served_at)
            self._drop_if_idle(old)
        self.keep_turn(entry.group, turn)
        self._wake(entry.claims)

    def by_turn(self, now: float) -> Iterator[Line]:
        """Lines with somebody in front, in the order in which they deserve room; ``again`` puts one back in."""
        self._round.clear()
        for line in list(self._lines.values()):
            self.again(line, now)
        while self._round:
            *_, line = heapq.heappop(self._round)
            yield line

    def again(self, line: Line, now: float) -> None:
        """Let a line have another turn in this round, if somebody is in front."""
        if self._is_withheld(line):
            return
        front = self.front(line)
        if front is not None:
            # A pool that holds nothing comes before the many jobs of the other.
            served = not rival_types(line.task_type) or self._running[line.task_type] > 0
            turn = self._turns.get(line.group, 0)
            heapq.heappush(self._round, (line.level(now), served, turn, front.order, line))

    def front(self, line: Line) -> Entry | None:
        """The first of a line that conflicts with nothing running."""
        while line.heap:
            item = line.heap[0]
            entry = item[2]
            if item[1] != entry.ticket:
                heapq.heappop(line.heap)
                continue
            clash = next((claim.name for claim in entry.claims if self._claimed.refuses(claim)), None)
            if clash is None:
                return entry
            heapq.heappop(line.heap)
            line.length -= 1
            entry.place = Place.ASIDE
            heapq.heappush(self._aside.setdefault(clash, {}).setdefault(line.key, []), item)
            self._wake(entry.claims)
        self._drop_if_idle(line)
        return None

    def start(self, line: Line, now: float, *, count: int = 1) -> list[Entry]:
        """Take up to ``count`` tasks from the front; they run from now on. What conflicts or crashed runs alone."""
        taken: list[Entry] = []
        while len(taken) < count and (entry := self.front(line)) is not None:
            special = bool(entry.claims or entry.attempts)
            if taken and special:
                break
            line.running += 1
            self._running[line.task_type] += 1
            self._leave(entry)
            self._claimed.add(entry.claims)
            self._wake(entry.claims)  # whoever can share them
            taken.append(entry)
            if special:
                break
        line.served_at = now
        self._turns[line.group] = next(self._turn)
        return taken

    def resume(self, entry: Entry, now: float) -> None:
        """Count a task as running that was running before the coordinator restarted."""
        line = self._line(entry.line)
        line.running += 1
        self._running[line.task_type] += 1
        line.served_at = now
        self._claimed.add(entry.claims)

    def end(self, entry: Entry, now: float) -> None:
        """A running task stopped running."""
        line = self._line(entry.line)
        line.running -= 1
        self._running[line.task_type] -= 1
        line.served_at = now
        self._claimed.remove(entry.claims)
        self._wake(entry.claims)
        self._drop_if_idle(line)

    def turn(self, group: str) -> int:
        """When a group was last served."""
        return self._turns.get(group, 0)

    def keep_turn(self, group: str, turn: int) -> None:
        """Remember it for a group that was gone for a moment, as a task that is released is."""
        if group in self._group_lines:
            self._turns[group] = max(turn, self.turn(group))

    def groups(self, level: int, now: float) -> int:
        """How many groups wait for CPUs at a level or a more urgent one."""
        lines = (line for line in self._lines.values() if any(name == CPU for name, _ in line.needs))
        waiting = (line for line in lines if line.length and not self._is_withheld(line))
        return len({line.group for line in waiting if line.level(now) <= level})

    def any_waiting(self, task_types: Collection[str]) -> bool:
        """Whether a task of one of these types is in line."""
        lines = self._lines.values()
        return any(line.length and line.task_type in task_types and not self._is_withheld(line) for line in lines)

    def _line(self, key: LineKey) -> Line:
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = Line(key)
            self._group_lines[line.group] += 1
        return line

    def _push(self, item: tuple[int, int, Entry]) -> None:
        entry = item[2]
        entry.place = Place.LINE
        line = self._line(entry.line)
        heapq.heappush(line.heap, item)
        line.length += 1

    def _leave(self, entry: Entry) -> None:
        was, entry.place = entry.place, Place.NOWHERE
        entry.ticket += 1
        if was is Place.LINE:
            line = self._line(entry.line)
            line.length -= 1
            self._drop_if_idle(line)

    def _wake(self, claims: Sequence[Claim]) -> None:
        """Let the first of each line that stepped aside for something come back, if it can have it now."""
        for name in {claim.name for claim in claims}:
            aside = self._aside.get(name, {})
            for key, heap in list(aside.items()):
                while heap and heap[0][1] != heap[0][2].ticket:
                    heapq.heappop(heap)
                if heap and not any(c.name == name and self._claimed.refuses(c) for c in heap[0][2].claims):
                    self._push(heapq.heappop(heap))
                if not heap:
                    del aside[key]
            if not aside:
                self._aside.pop(name, None)

    def _drop_if_idle(self, line: Line) -> None:
        if line.length or line.running or self._lines.get(line.key) is not line:
            return
        del self._lines[line.key]
        self._group_lines[line.group] -= 1
        if not self._group_lines[line.group]:
            del self._group_lines[line.group]
            self._turns.pop(line.group, None)
