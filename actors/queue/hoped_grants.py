"""Grants that might be asked back, counted on until it shows of which the room is of use. Pure: no Ray, no clock."""

from __future__ import annotations

from collections.abc import Iterable

from actors.queue.capacity import Capacity
from actors.queue.open_grants import Running
from actors.queue.placements import Outlook, Placement
from pipelines.resource_needs import Needs


class HopedGrants:
    """Those of one line in one round.

    Parameters
    ----------
    outlook
        Of the round, in which the room of each counts as coming.
    """

    def __init__(self, capacity: Capacity, outlook: Outlook) -> None:
        self._capacity = capacity
        self._outlook = outlook
        self._at: dict[str, dict[int, Running]] = {}
        """Node -> those with room there, in the order in which they would be asked."""
        self._promised: list[Placement] = []
        """What isn't sure without them."""

    def add(self, running: Running) -> None:
        """Count on one more."""
        self._outlook.add(running.placement, 1)
        for node, _ in running.placement.taken:
            self._at.setdefault(node, {})[running.number] = running

    def promise(self, needs: Needs, most: int, nodes: Iterable[str] | None) -> int:
        """See ``Capacity.promise``."""
        times, where = self._capacity.promise(needs, most, self._outlook, nodes)
        if times:
            self._promised.append(where)
        return times

    def take(self) -> list[Running]:
        """Those without whose room the promises can't be kept; they aren't hoped for any more, but counted on."""
        promised, self._promised = self._promised, []
        places = {(node, name) for where in promised for node, needs in where.taken for name, _ in needs}
        nodes = dict.fromkeys(node for node, _ in places)
        there = {number: each for node in nodes for number, each in self._at.get(node, {}).items()}
        needed, spare = [], []
        for each in reversed(there.values()):
            if self._capacity.spares(each.placement, places, self._outlook):
                self._outlook.add(each.placement, -1)
                spare.append(each)
            else:
                needed.append(each)
                for node, _ in each.placement.taken:
                    del self._at[node][each.number]
        for each in spare:
            self._outlook.add(each.placement, 1)
        return needed[::-1]

    def drop(self) -> None:
        """Count no more on those that are left, nor keep what they were promised for."""
        for where in self._promised:
            self._outlook.add(where, 1)
        for each in {number: each for there in self._at.values() for number, each in there.items()}.values():
            self._outlook.add(each.placement, -1)
