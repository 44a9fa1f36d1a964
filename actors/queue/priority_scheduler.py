"""Whose turn it is: lines of equal tasks, ordered by priority, waiting time and fair turns.

What holds for the first task of a line holds for all behind it, and what holds for a line for all that want the same at
the same level: a round of decisions costs time by the number of different wants (``queue_lines``). A line that gets
nothing for a while rises by one priority, and goes first there every other time: nothing starves, however busy the more
urgent are. Within a priority the job served longest ago goes first, so jobs share fairly whatever the length of their
lines.

A task that conflicts with a running one (same exclusive resource; an output that is the same, or one inside of the
other) steps aside until that ends (``claims``). A line whose driver can't run its tasks for now is passed over. Pure:
no Ray, no clock. What fits where is asked of ``capacity``; ``task_queue`` puts all together.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from actors.queue.claims import Claim, Claimed
from actors.queue.queue_lines import Entry, Heap, Kind, Line, LineKey, LineOrder, Place
from actors.queue.task_pools import rival_types
from pipelines.tasks import TaskPriority, TaskStatus


class PriorityScheduler:
    """The lines, and who has stepped aside."""

    def __init__(self) -> None:
        self._lines: dict[LineKey, Line] = {}
        self._group_lines: Counter[str] = Counter()
        self._claimed = Claimed()
        """By running tasks."""
        self._withheld: dict[str, frozenset[Kind]] = {}
        """Owner -> what it can't run for now."""
        self._aside: dict[str, dict[LineKey, Heap]] = {}
        self._running: Counter[str] = Counter()
        """Running tasks by type."""
        self._order = LineOrder(self._is_withheld, lambda kind: bool(rival_types(kind)) and not self._running[kind])

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
        if kinds == self._withheld.get(owner, frozenset()):
            return
        if kinds:
            self._withheld[owner] = kinds
        else:
            self._withheld.pop(owner, None)
        for line in self._lines.values():
            if line.owner == owner:
                self._order.change(line)

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
            self._order.change(old)
            self._order.change(new)
            self._drop_if_idle(old)
        self.keep_turn(entry.group, turn)
        self._wake(entry.claims)

    def by_turn(self, now: float) -> Iterator[tuple[Line, Entry]]:
        """Lines with somebody in front, and who that is, in the order in which they deserve room."""
        return self._order.by_turn(now, self._front)

    def pass_over(self, line: Line) -> None:
        """Leave out, till the next round, the lines that want the same at the same level: they would fare alike."""
        self._order.pass_over(line)

    def _front(self, line: Line) -> Entry | None:
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
            self._order.change(line)
            entry.place = Place.ASIDE
            heapq.heappush(self._aside.setdefault(clash, {}).setdefault(line.key, []), item)
            self._wake(entry.claims)
        self._drop_if_idle(line)
        return None

    def start(self, line: Line, now: float, *, count: int = 1) -> list[Entry]:
        """Take up to ``count`` tasks from the front; they run from now on. What conflicts or crashed runs alone."""
        taken: list[Entry] = []
        while len(taken) < count and (entry := self._front(line)) is not None:
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
        self._order.serve(line)
        self._order.change(line)
        return taken

    def resume(self, entry: Entry, now: float) -> None:
        """Count a task as running that was running before the coordinator restarted."""
        line = self._line(entry.line)
        line.running += 1
        self._running[line.task_type] += 1
        line.served_at = now
        self._order.change(line)
        self._claimed.add(entry.claims)

    def end(self, entry: Entry, now: float) -> None:
        """A running task stopped running."""
        line = self._line(entry.line)
        line.running -= 1
        self._running[line.task_type] -= 1
        line.served_at = now
        self._order.change(line)
        self._claimed.remove(entry.claims)
        self._wake(entry.claims)
        self._drop_if_idle(line)

    def turn(self, group: str) -> int:
        """When a group was last served."""
        return self._order.turn(group)

    def keep_turn(self, group: str, turn: int) -> None:
        """Remember it for a group that was gone for a moment, as a task that is released is."""
        if group in self._group_lines:
            self._order.keep_turn(group, turn)

    def groups(self, level: int, now: float) -> int:
        """How many groups wait for CPUs at a level or a more urgent one."""
        return self._order.groups(level, now)

    def any_waiting(self, task_types: Collection[str], now: float) -> bool:
        """Whether a task of one of these types is in line."""
        return self._order.any_waiting(task_types, now)

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
        self._order.change(line)

    def _leave(self, entry: Entry) -> None:
        was, entry.place = entry.place, Place.NOWHERE
        entry.ticket += 1
        if was is Place.LINE:
            line = self._line(entry.line)
            line.length -= 1
            self._order.change(line)
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
        self._order.change(line)
        self._group_lines[line.group] -= 1
        if not self._group_lines[line.group]:
            del self._group_lines[line.group]
            self._order.forget(line.group)
