"""One round of decisions: who gets room now, and who is asked to yield so that a more urgent task gets it.

Goes through the lines in the order of ``PriorityScheduler.by_turn``. What a more urgent task has been promised (room
that others are releasing) isn't given to a less urgent one meanwhile. A pool that holds nothing gets a share of
what another pool of equal priority holds (``task_pools``). Pure: no Ray, no clock.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from actors.queue.hoped_grants import HopedGrants
from actors.queue.open_grants import OpenGrants, Running
from actors.queue.placements import CLUSTER, Outlook, Placement
from actors.queue.priority_scheduler import PriorityScheduler
from actors.queue.queue_lines import AGING_S, Entry, Line
from actors.queue.task_pools import rival_types
from pipelines.resource_needs import CPU, UNIT, Needs

PROTECTED_S = 10.0
"""A task that got its turn by waiting isn't asked to yield at once; else it would never get anything done."""
TURN_S = 10.0
"""Pools that can't run side by side take turns of this length."""
GATHER_S = 2.0
"""How long an elastic task waits rather than start with few CPUs: less urgent ones are releasing theirs, or more
urgent ones, which may be short, have them."""
AGAIN_S = 0.5
"""How long nobody is asked again for a line after all who could be asked were looked at."""
MERGE_S = 0.5
"""Small tasks of a line are merged into one grant up to about this much work."""
MAX_MERGED = 64


@dataclass(slots=True)
class Dispatcher:
    """Decides over the grants of ``grants`` and the lines of ``scheduler``."""

    grants: OpenGrants
    scheduler: PriorityScheduler
    _outlook: Outlook = field(default_factory=Outlook)

    def round(self, now: float) -> tuple[list[Running], list[Running]]:
        """(new grants, grants that are revoked)."""
        self._outlook = Outlook()
        for running in self.grants.revoked.values():
            self._outlook.add(running.placement, 1)
        granted: list[Running] = []
        revoked: list[Running] = []
        for line, front in self.scheduler.by_turn(now):
            new = self._serve(line, front, revoked, now)
            if new is not None:
                granted.append(new)
        for running in revoked:
            self.grants.revoke(running)
        return granted, revoked

    def _serve(self, line: Line, front: Entry, revoked: list[Running], now: float) -> Running | None:
        """Grant room to the front of a line, or see to it that there will be some."""
        if self.grants.full(front.task.task_type):
            self.scheduler.pass_over(line)
            return None
        most = self._most_cpus(line, front, now)
        placement = self.grants.capacity.place(front.needs, most, self._outlook)
        wants_more = most is not None and (placement is None or placement.cpus < most)
        if placement is None or wants_more:
            promised = self._make_room(line, front, revoked, now)
            coming = promised and bool(self.grants.revoked or revoked)
            gathers = (coming or self.grants.any_more_urgent(front.priority)) and line.since_served_s(now) < GATHER_S
            if placement is None or gathers:
                if not coming and line.waited_s(now) >= AGING_S:
                    self._reserve(front)
                if placement is None and not promised:
                    self.scheduler.pass_over(line)  # there is less room, and nobody else to ask, for those behind it
                return None
        return self._grant(line, front, placement, now)

    def _grant(self, line: Line, front: Entry, placement: Placement, now: float) -> Running:
        aged = line.level(now) < front.priority
        entries = self.scheduler.start(line, now, count=self._merged(line, front, placement))
        running = Running(
            number=self.grants.last_number + 1,
            owner=front.owner,
            task_type=front.task.task_type,
            placement=placement,
            entries={entry.task.task_id: entry for entry in entries},
            protected_until=now + PROTECTED_S if aged else now,
            turn_until=now + TURN_S if self._contested(front.task.task_type, now) else now,
        )
        self.grants.open(running)
        return running

    def _most_cpus(self, line: Line, front: Entry, now: float) -> float | None:
        """How many CPUs an elastic task may get: jobs that wait for room at the same time share it."""
        if front.task.max_cpus is None:
            return None
        groups = max(self.scheduler.groups(line.level(now), now), 1)
        fair = -(-self.grants.capacity.free(CPU) // groups) if groups > 1 else front.task.max_cpus
        return max(min(front.task.max_cpus, fair), front.task.resources.cpus)

    def _merged(self, line: Line, front: Entry, placement: Placement) -> int:
        """How many tasks of a line one grant is for, run one after the other."""
        mean_s = self.grants.mean_s(front.task.task_type)
        if mean_s is None or front.task.max_cpus is not None or front.task.preemptible:
            return 1
        slots = max(self.grants.capacity.total(CPU) / max(placement.cpus, 1.0), 1.0)
        fair = int(line.length / (2 * slots))
        return max(min(int(MERGE_S / max(mean_s, 1e-3)), fair, MAX_MERGED), 1)

    def _make_room(self, line: Line, front: Entry, revoked: list[Running], now: float) -> bool:
        """Ask less urgent tasks to yield for the front of a line; True when there is room, or will be."""
        needs, least = front.needs, 1
        if front.task.max_cpus is None:
            headroom = self.grants.headroom(front.task.task_type)
            wanted = line.length if headroom is None else min(line.length, headroom)
        else:
            least = max(math.ceil(front.task.resources.cpus), 1)
            wanted = max(int(front.task.max_cpus), least)
            if (CPU, UNIT) not in needs:
                needs = tuple(sorted({**dict(needs), CPU: UNIT}.items()))
        capacity = self.grants.capacity
        wanted = min(wanted, round(capacity.total(CPU)) + 1)
        promised, where = capacity.promise(needs, wanted, self._outlook)
        if promised < wanted and now - line.in_vain_at >= AGAIN_S:
            promised += self._ask(line, front, needs, (least - promised, wanted - promised), revoked, now)
        if promised >= least:
            return True
        self._outlook.add(where, 1)
        return False

    def _ask(
        self, line: Line, front: Entry, needs: Needs, wanted: tuple[int, int], revoked: list[Running], now: float
    ) -> int:
        """Ask for room for some times the needs, at least and at most; nobody whose room would be of no use."""
        victims = self._victims(front, revoked, now)
        if (first := next(victims, None)) is None:
            line.in_vain_at = now
            return 0
        least, most = wanted
        names = {name for name, _ in needs}
        hoped = HopedGrants(self.grants.capacity, self._outlook)
        promised = 0
        for victim in itertools.chain((first,), victims):
            hoped.add(victim)
            nodes = dict(victim.placement.taken)
            units = any(name in names for name, _ in nodes.pop(CLUSTER, ()))
            promised += hoped.promise(needs, most - promised, None if units else nodes)
            if promised >= least:
                for each in hoped.take():
                    each.revoked = True
                    revoked.append(each)
            if promised >= most:
                break
        else:
            line.in_vain_at = now
        hoped.drop()
        return promised if promised >= least else 0

    def _victims(self, front: Entry, revoked: list[Running], now: float) -> Iterator[Running]:
        """Grants that may be asked to yield: least urgent first, youngest first; then those of another pool.

        Of what holds nothing that is needed no room comes.
        """
        needed = {name for name, _ in front.needs}
        for running in self.grants.less_urgent(front.priority):
            if not running.revoked and now >= running.protected_until and running.placement.holds_any(needed):
                yield running
        yield from self._share_of_rivals(front, needed, revoked, now)

    def _share_of_rivals(self, front: Entry, needed: set[str], revoked: list[Running], now: float) -> Iterator[Running]:
        """Of equally urgent grants, those of another pool that give a pool without any its share, youngest first.

        All that rivals were asked for and haven't released yet counts, and whoever is hoped for. Only the first that is
        asked for at all may be more: what a task can't begin without.
        """
        rivals = rival_types(front.task.task_type)
        if not rivals or self.grants.by_type[front.task.task_type]:
            return
        share = self.grants.capacity.total(CPU) / (1 + len(rivals))
        asked = itertools.chain(self.grants.revoked.values(), revoked)
        given = sum(each.placement.cpus for each in asked if each.task_type in rivals)
        is_first, before = not given, len(revoked)
        for running in self.grants.able(front.priority):
            if given >= share and not (is_first and len(revoked) == before):
                return
            until = max(running.protected_until, running.turn_until)
            able = not running.revoked and now >= until and running.placement.holds_any(needed)
            if able and running.task_type in rivals:
                given += running.placement.cpus
                yield running

    def _contested(self, task_type: str, now: float) -> bool:
        """Whether another pool has something to do as well."""
        rivals = rival_types(task_type)
        return bool(rivals & self.grants.by_type.keys()) or self.scheduler.any_waiting(rivals, now)

    def _reserve(self, front: Entry) -> None:
        """Keep what a task needs from those behind it: it waited long enough for more than is free at once."""
        elastic = front.task.max_cpus is not None
        reserved = self.grants.capacity.reserve(front.needs, self._outlook, elastic=elastic)
        if reserved is not None:
            self._outlook.add(reserved, -1)
