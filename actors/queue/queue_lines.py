"""Lines of equal tasks, and the order of the lines: by level, and within a level by turns.

Tasks of one priority, owner, job, type and need wait in one line, oldest first. A line that gets nothing for
``AGING_S`` rises by one priority, until it is served. Pure: no Ray, no clock. Who steps aside or is passed over is
decided in ``priority_scheduler``.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from enum import Enum

from actors.queue.claims import Claim, claims_of
from pipelines.resource_needs import CPU, Needs
from pipelines.tasks import Task, TaskPriority, TaskStatus

AGING_S = 60.0
MOST_STALE = 64
"""What may be left of tasks that don't wait any more, beside as many as wait."""


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


Heap = list[tuple[int, int, Entry]]
"""(order, ticket, task)."""
Shelf = tuple[int, bool, int, str, Needs, float | None, bool]
"""What lines that fare alike have in common: level, whether they rose by waiting, priority, type, needs, most CPUs,
whether they yield."""
LinePlace = tuple[Shelf, float, int]
"""(shelf, turn, order of its first task)."""


@dataclass(slots=True, eq=False)
class Line:
    """Equal tasks that wait, oldest first."""

    key: LineKey
    heap: Heap = field(default_factory=list)
    length: int = 0
    running: int = 0
    served_at: float = float("-inf")
    place: LinePlace | None = None
    """Where it stands among lines; None: nowhere, nobody in it can go."""
    stamp: int = 0
    """Of that place: what is left of earlier ones in heaps is stale."""
    rises_at: float = float("inf")
    """When somebody has to see whether it rose by a priority."""
    in_vain_at: float = float("-inf")
    """When all were looked at who could yield for it, and it wants more than that."""

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
    def kind(self) -> Kind:
        return (self.key[3], self.key[4], self.key[5] is not None)

    def shelf(self, since: float, now: float) -> Shelf:
        """Where it stands that has waited since then."""
        risen = 0 if self.running else max(int((now - since) / AGING_S), 0)
        return (max(self.key[0] - risen, 0), risen > 0, self.key[0], *self.key[3:])

    @property
    def waits_since(self) -> float:
        """Since when it has got nothing, if none of it runs."""
        return max(self.served_at, self.heap[0][2].queued_at)

    def drop_stale(self) -> None:
        """Let the first of the heap be somebody who still waits there, and most of the others."""
        if len(self.heap) > 2 * self.length + MOST_STALE:
            self.heap = [item for item in self.heap if item[1] == item[2].ticket]
            heapq.heapify(self.heap)
        while self.heap and self.heap[0][1] != self.heap[0][2].ticket:
            heapq.heappop(self.heap)

    def waited_s(self, now: float) -> float:
        """How long it got nothing."""
        if self.running or not self.heap:
            return 0.0
        return max(now - self.waits_since, 0.0)

    def since_served_s(self, now: float) -> float:
        """How long ago one of it began or ended, or the first came."""
        return now - self.waits_since if self.heap else 0.0

    def level(self, now: float) -> int:
        """Its priority, raised by waiting."""
        return max(self.key[0] - int(self.waited_s(now) / AGING_S), 0)


class LineOrder:
    """Lines in the order in which they deserve room.

    Each stands on the shelf of those that fare alike, by the turn of its group. A change of a line is noted, and looked
    at when somebody asks for the order: a decision costs time by the number of shelves and the logarithm of the lines.

    Lines that rose by waiting stand by how long they waited: before the others of the level when somebody who hadn't
    waited as long was the last to get some of what they want, and after them when it was their turn. So ever new jobs
    don't starve one that was served before, whatever goes on with what it doesn't want, and many old ones don't stop
    the urgent.
    """

    def __init__(self, is_withheld: Callable[[Line], bool], goes_first: Callable[[str], bool]) -> None:
        self._is_withheld, self._goes_first = is_withheld, goes_first
        self._shelves: dict[Shelf, list[tuple[float, int, int, Line]]] = {}
        """Heaps of (turn, order, stamp, line)."""
        self._changed: dict[Line, None] = {}
        self._rising: list[tuple[float, int, Line]] = []
        self._numbers = itertools.count(1)
        self._turns: dict[str, int] = {}
        """When each group was last served, as a running number."""
        self._levels: dict[str, Counter[int]] = {}
        """Group -> how many of its lines wait for CPUs at each level."""
        self._groups_at: Counter[int] = Counter()
        """Groups by the most urgent level that they wait at."""
        self._types: Counter[str] = Counter()
        """Waiting lines by type."""
        self._round: list[tuple[int, bool, int, float, int, int, Shelf]] = []
        self._offers: dict[Shelf, int] = {}
        """Shelf -> number of what it has in the round."""
        self._passed: set[Shelf] = set()
        self._first: dict[str, bool] = {}
        self._begun = 0
        self._is_round = False
        self._served: dict[tuple[int, str], float] = {}
        """(level, resource) -> since when who got some of it last had waited; infinite for who hadn't risen."""
        self._served_before: dict[tuple[int, str], float] = {}
        """The same when the round began."""
        self._seen: list[tuple[Shelf, tuple[float, int, int, Line]]] = []

    # ---- what changes ----------------------------------------------------------------------------------------------

    def change(self, line: Line) -> None:
        """Note that something about a line is different."""
        self._changed[line] = None

    def serve(self, line: Line) -> None:
        """It was the line's turn, and so its group's."""
        self._turns[line.group] = next(self._numbers)
        if line.place is None:
            return
        shelf, since, _ = line.place
        for name, _ in line.key[4]:
            self._served[shelf[0], name] = since if shelf[1] else math.inf

    def turn(self, group: str) -> int:
        """When a group was last served."""
        return self._turns.get(group, 0)

    def keep_turn(self, group: str, turn: int) -> None:
        """Remember it for a group that was gone for a moment, as a task that is released is."""
        self._turns[group] = max(turn, self.turn(group))

    def forget(self, group: str) -> None:
        """Nothing of a group waits or runs any more."""
        self._turns.pop(group, None)

    def settle(self, now: float) -> None:
        """Let every line stand where it belongs now."""
        while self._rising and self._rising[0][0] <= now:
            line = heapq.heappop(self._rising)[2]
            line.rises_at = float("inf")
            self._changed[line] = None
        changed, self._changed = self._changed, {}
        for line in changed:
            self._stand(line, now)

    def _stand(self, line: Line, now: float) -> None:
        line.drop_stale()
        place = None
        if line.heap and not self._is_withheld(line):
            since = line.waits_since
            shelf = line.shelf(since, now)
            place = (shelf, since if shelf[1] else self.turn(line.group), line.heap[0][0])
            self._watch(line, shelf, since)
        if place == line.place:
            return
        if line.place is not None:
            self._count(line, line.place[0][0], -1)
        line.place, line.stamp = place, next(self._numbers)
        if place is not None:
            shelf, turn, order = place
            self._count(line, shelf[0], 1)
            heapq.heappush(self._shelves.setdefault(shelf, []), (turn, order, line.stamp, line))
            self._offer(shelf)

    def _watch(self, line: Line, shelf: Shelf, since: float) -> None:
        """See to it that a line that waits is looked at when it rises; at the top it does so once."""
        if line.running or (shelf[1] and not shelf[0]):
            return
        rises_at = since + AGING_S * (line.key[0] - shelf[0] + 1)
        if rises_at < line.rises_at:
            line.rises_at = rises_at
            heapq.heappush(self._rising, (rises_at, next(self._numbers), line))

    def _count(self, line: Line, level: int, sign: int) -> None:
        self._types[line.task_type] += sign
        if all(name != CPU for name, _ in line.key[4]):
            return
        levels = self._levels.setdefault(line.group, Counter())
        if levels:
            self._groups_at[min(levels)] -= 1
        levels[level] += sign
        if not levels[level]:
            del levels[level]
        if levels:
            self._groups_at[min(levels)] += 1
        else:
            del self._levels[line.group]

    # ---- what is asked ---------------------------------------------------------------------------------------------

    def groups(self, level: int, now: float) -> int:
        """How many groups wait for CPUs at a level or a more urgent one."""
        self.settle(now)
        return sum(count for at, count in self._groups_at.items() if at <= level)

    def any_waiting(self, task_types: Collection[str], now: float) -> bool:
        """Whether a task of one of these types is in line."""
        self.settle(now)
        return any(self._types[each] for each in task_types)

    def by_turn(self, now: float, front: Callable[[Line], Entry | None]) -> Iterator[tuple[Line, Entry]]:
        """Lines and their first tasks; one that was served meanwhile has another turn."""
        self._begin(now)
        while self._round:
            *_, number, shelf = heapq.heappop(self._round)
            if self._offers.get(shelf) != number:
                continue
            item = self._shelves[shelf][0]
            line = item[3]
            entry = front(line)
            if not shelf[1] and self.turn(line.group) != item[0]:  # another line of its group was served
                self.change(line)
            self.settle(now)
            if entry is not None and self._shelves.get(shelf, [item])[0] is item and line.stamp == item[2]:
                heapq.heappop(self._shelves[shelf])
                self._seen.append((shelf, item))
                yield line, entry
                self.settle(now)
            self._offer(shelf)
        self._is_round = False

    def pass_over(self, line: Line) -> None:
        """Leave out, in this round, the lines that fare as this one does."""
        if line.place is not None:
            self._passed.add(line.place[0])

    def _begin(self, now: float) -> None:
        for shelf, item in self._seen:
            if item[3].stamp == item[2]:
                heapq.heappush(self._shelves.setdefault(shelf, []), item)
        self._is_round = False
        for each in (self._seen, self._round, self._offers, self._first, self._passed):
            each.clear()
        self.settle(now)
        self._is_round = True
        self._served_before = dict(self._served)
        self._begun = next(self._numbers)
        for shelf in list(self._shelves):
            self._offer(shelf)

    def _offer(self, shelf: Shelf) -> None:
        """Let the first line of a shelf have its turn in this round."""
        heap = self._shelves.get(shelf)
        while heap and heap[0][3].stamp != heap[0][2]:
            heapq.heappop(heap)
        if not heap:
            self._shelves.pop(shelf, None)
            self._offers.pop(shelf, None)
            return
        if shelf in self._passed or not self._is_round:
            self._offers.pop(shelf, None)
            return
        turn, order, *_ = heap[0]
        # A pool that holds nothing comes before the many jobs of the other: once in a round.
        first = self._first.setdefault(shelf[3], self._goes_first(shelf[3])) and (shelf[1] or turn <= self._begun)
        self._offers[shelf] = number = next(self._numbers)
        rank = self._rank_of_risen(shelf, turn) if shelf[1] else 1
        heapq.heappush(self._round, (shelf[0], not first, rank, turn, order, number, shelf))

    def _rank_of_risen(self, shelf: Shelf, since: float) -> int:
        """Before (0) those that didn't rise, or after them (2)."""
        overtaken = any(self._served_before.get((shelf[0], name), -math.inf) > since for name, _ in shelf[4])
        return 0 if overtaken else 2
