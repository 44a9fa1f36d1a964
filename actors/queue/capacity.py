"""How much of each resource the nodes and the providers have, and who fits where.

Pure bookkeeping in whole ten-thousandths of a unit, as Ray counts, so that sums never drift. A resource is counted
per node when nodes declare it, and once for the whole cluster when a provider offers it. Which task deserves the room
is decided in ``priority_scheduler`` and ``task_queue``.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import takewhile

from actors.queue.placements import CLUSTER, Outlook, Placement
from pipelines.resource_needs import BUILT_IN, CPU, DISK, MEMORY, UNIT, Needs, say

_Rank = tuple[int, int, int, str]
"""Less free CPUs, less free memory, number of the node, the node."""
_NOTHING, _NOWHERE = Outlook(), Placement(())


class Capacity:
    """Totals and what is taken of them.

    The coordinator keeps grants in one, each on its nodes. The resource manager keeps in one what its driver holds,
    whichever nodes it is on: as taken of ``CLUSTER``.

    Parameters
    ----------
    nodes_known
        Whether a cluster without nodes has none, instead of being one whose nodes haven't been seen yet.
    """

    def __init__(self, *, nodes_known: bool = False) -> None:
        self._nodes_known = nodes_known
        self._totals: dict[str, dict[str, int]] = {CLUSTER: {}}
        self._used: dict[str, dict[str, int]] = {CLUSTER: {}}
        self._limits: dict[str, int] = {}
        self._names: Mapping[str, str] = {}
        self._ranks: dict[str, _Rank] = {}
        self._ranked: list[_Rank] = []
        """The ranks of all nodes, in order: the one with the most free CPUs first."""
        self._sums: dict[tuple[str, str], int] = {}
        """(what, resource) -> sum over all nodes, until something changes."""

    @property
    def nodes(self) -> list[str]:
        return [node for node in self._totals if node != CLUSTER]

    def set_nodes(self, nodes: Mapping[str, Mapping[str, float]], names: Mapping[str, str] | None = None) -> bool:
        """Say which nodes are alive, what they have and how people call them; True when that changed."""
        totals = {node: {name: round(amount * UNIT) for name, amount in has.items()} for node, has in nodes.items()}
        totals[CLUSTER] = self._totals[CLUSTER]
        changed = totals != self._totals
        self._totals = totals
        self._names = names or {}
        if changed:
            self._ranks = {node: self._rank(node, number) for number, node in enumerate(self.nodes)}
            self._ranked = sorted(self._ranks.values())
            self._sums.clear()
        return changed

    def set_units(self, name: str, total: float) -> None:
        """Say how many units of a resource the whole cluster may use at a time."""
        self._totals[CLUSTER][name] = round(total * UNIT)
        self._sums.clear()

    def has_units(self, name: str) -> bool:
        """Whether somebody said how many units of a resource there are."""
        return name in self._totals[CLUSTER]

    def replace_units(self, totals: Mapping[str, float]) -> None:
        """``set_units`` of these, and of no others."""
        self._totals[CLUSTER] = {name: round(total * UNIT) for name, total in totals.items()}
        self._sums.clear()

    def set_limits(self, limits: Mapping[str, float]) -> None:
        """Bound what may be taken in all, by resource; what is taken already stays so."""
        self._limits = {name: round(limit * UNIT) for name, limit in limits.items()}

    def names(self) -> set[str]:
        """Every resource that there is, or of which there is a limit."""
        return {name for has in self._totals.values() for name in has} | self._limits.keys()

    def total(self, name: str) -> float:
        """What there is, within the limit; of what a provider offers, its units are what counts."""
        total = self._totals[CLUSTER].get(name)
        if total is None:
            total = self._sum("total", name, lambda node: self._totals[node].get(name, 0))
        return min(total, self._limits.get(name, total)) / UNIT

    def used(self, name: str) -> float:
        return sum(used.get(name, 0) for used in self._used.values()) / UNIT

    def free(self, name: str) -> float:
        """What no node lacks: a node that lost what is still taken of it has nothing."""
        return self._sum("free", name, lambda node: max(self._free(node, name), 0)) / UNIT

    def _sum(self, what: str, name: str, amount: Callable[[str], int]) -> int:
        if (what, name) not in self._sums:
            self._sums[what, name] = sum(map(amount, self._totals))
        return self._sums[what, name]

    def left(self, name: str) -> float:
        """What is not taken of the total, wherever it lies."""
        return max(round(self.total(name) * UNIT) - round(self.used(name) * UNIT), 0) / UNIT

    def take(self, placement: Placement) -> None:
        self._change(placement, 1)

    def give(self, placement: Placement) -> None:
        self._change(placement, -1)

    def infeasible(self, needs: Needs, *, together: bool = False) -> str | None:
        """Why no state of the cluster, as it is, could ever hold these needs; None when one could.

        One node has to hold them, or all ``together``. The text goes on after whatever asks: ``asks for 9 CPUs, ...``.
        """
        for name, amount in needs:
            if amount > (limit := self._limits.get(name, amount)):
                return f"asks for {_say(name, amount)}, the limit is {_say(name, limit)}"
        once, per_node = self._split(needs)
        return self._no_nodes_hold(per_node, together=together) or self._no_units(once)

    def shortage(self, needs: Needs) -> str | None:
        """Why needs that are taken of ``CLUSTER`` have to wait; None: there is room for them."""
        return short_of(needs, {name: self.left(name) for name, _ in needs})

    def spreads(self, needs: Needs) -> str | None:
        """``infeasible`` for an elastic task: its CPUs may lie on several nodes, all else that it needs is per CPU."""
        cpus = _whole_cpus(dict(needs))
        if self.nodes and (why := self.infeasible(((CPU, cpus * UNIT),), together=True)):
            return why
        once, per_node = self._split(needs)
        one_cpu = tuple((name, UNIT if name == CPU else amount) for name, amount in per_node)
        return self.infeasible((*((name, amount * cpus) for name, amount in once), *one_cpu))

    def memory_for(self, needs: Needs) -> tuple[int, int]:
        """Bytes of the largest node that holds all else: those that go with the CPUs, and all of them."""
        rest = tuple(need for need in self._split(needs)[1] if need[0] != MEMORY)
        able = (has for node in self.nodes if self._holds(has := self._totals[node], rest))
        largest = max(able, key=lambda has: has.get(MEMORY, 0), default={})
        most = largest.get(MEMORY, 0) // UNIT
        return most * dict(rest).get(CPU, 0) // max(largest.get(CPU, 0), 1), most

    def place(self, needs: Needs, max_cpus: float | None = None, outlook: Outlook | None = None) -> Placement | None:
        """Find room on the node with the most free CPUs; None when there is none now."""
        outlook = outlook or Outlook()
        once, per_node = self._split(needs)
        if not all(self._room(CLUSTER, name, outlook) >= amount for name, amount in once):
            return None
        if max_cpus is not None:
            return self._spread(once, dict(per_node), round(max_cpus * UNIT), outlook)
        if not per_node:
            return _placement(once, ())
        for node in self._by_rank(outlook, dict(per_node).get(CPU, 0)):
            if all(self._room(node, name, outlook) >= amount for name, amount in per_node):
                return _placement(once, ((node, per_node),))
        return None

    def promise(
        self, needs: Needs, most: int, outlook: Outlook, nodes: Iterable[str] | None = None
    ) -> tuple[int, Placement]:
        """Speak for room for up to ``most`` times the needs, once all that is expected back is back.

        Parameters
        ----------
        nodes
            Where to look; None: everywhere, where there is most room first.

        Returns
        -------
        tuple
            How many times there will be room, and where.
        """
        once, per_node = self._split(needs)
        for name, amount in once:
            most = min(most, self._expected(CLUSTER, name, outlook) // amount)
        taken: list[tuple[str, Needs]] = []
        times = 0
        if not per_node:
            times = max(most, 0)
        elif most > 0:
            for node in self._by_rank(outlook, dict(per_node).get(CPU, 0)) if nodes is None else nodes:
                room = min(self._expected(node, name, outlook) // amount for name, amount in per_node)
                if (count := min(room, most - times)) > 0:
                    taken.append((node, _times(per_node, count)))
                    times += count
                if times >= most:
                    break
        if not times:
            return 0, _NOWHERE
        placement = _placement(_times(once, times), taken)
        outlook.add(placement, -1)
        return times, placement

    def spares(self, placement: Placement, places: Collection[tuple[str, str]], outlook: Outlook) -> bool:
        """Whether enough is expected at some places, (node, resource) each, without a placement that is counted on."""
        return all(
            self._expected(node, name, outlook) >= amount
            for node, needs in placement.taken
            for name, amount in needs
            if (node, name) in places
        )

    def reserve(self, needs: Needs, outlook: Outlook, *, elastic: bool = False) -> Placement | None:
        """The node that will fit the needs soonest, to be kept free for them; None when no node is large enough.

        An elastic task has the fewest CPUs that it can begin with, on as many nodes as it takes.
        """
        once, per_node = self._split(needs)
        if elastic:
            return self._reserve_spread(once, dict(per_node), outlook)
        fitting = (node for node in self._by_rank(outlook) if self._holds(self._totals[node], per_node))
        node = next(fitting, None) if per_node else None
        if per_node and node is None:
            return None
        return _placement(once, ((node, per_node),) if node is not None else ())

    def _spread(self, once: Needs, per_cpu: dict[str, int], most: int, outlook: Outlook) -> Placement | None:
        """Whole CPUs of as many nodes as it takes; all else is needed per CPU."""
        least = _whole_cpus(per_cpu)
        per_cpu.pop(CPU, None)
        taken: list[tuple[str, Needs]] = []
        wanted = max(most // UNIT, least)
        for name, amount in once:
            wanted = min(wanted, self._room(CLUSTER, name, outlook) // amount)
        for node in self._by_rank(outlook, UNIT) if wanted > 0 else ():
            count = min(wanted, self._room(node, CPU, outlook) // UNIT)
            for name, amount in per_cpu.items():
                count = min(count, self._room(node, name, outlook) // amount)
            if count > 0:
                amounts = {CPU: count * UNIT, **{name: count * amount for name, amount in per_cpu.items()}}
                taken.append((node, tuple(sorted(amounts.items()))))
                wanted -= count
            if wanted <= 0:
                break
        cpus = sum(dict(amounts)[CPU] for _, amounts in taken) // UNIT
        placement = _placement(tuple((name, amount * cpus) for name, amount in once), taken)
        return placement if cpus >= least else None

    def _reserve_spread(self, once: Needs, per_cpu: dict[str, int], outlook: Outlook) -> Placement | None:
        wanted = least = _whole_cpus(per_cpu)
        one_cpu = tuple(sorted({**per_cpu, CPU: UNIT}.items()))
        taken: list[tuple[str, Needs]] = []
        for node in self._by_rank(outlook):
            count = min(wanted, *(self._totals[node].get(name, 0) // amount for name, amount in one_cpu))
            if count > 0:
                taken.append((node, _times(one_cpu, count)))
                wanted -= count
            if not wanted:
                return _placement(_times(once, least), taken)
        return None

    def _no_units(self, once: Needs) -> str | None:
        for name, amount in once:
            if amount <= (total := self._totals[CLUSTER][name]):
                continue
            if name == DISK:
                room = f"there is room for {_say(name, total)}: make room or write elsewhere"
                return f"writes {_say(name, amount)}, {room}"
            return f"asks for {_say(name, amount)}, its provider has {_say(name, total)}"
        return None

    def _no_nodes_hold(self, needs: Needs, *, together: bool) -> str | None:
        if not needs or not (self.nodes or self._nodes_known):
            return None
        for name, amount in needs:
            has = {node: self._totals[node].get(name, 0) for node in self.nodes}
            most = sum(has.values()) if together else max(has.values(), default=0)
            if amount > most:
                return f"asks for {_say(name, amount)}, {self._what_there_is(name, most, has, together=together)}"
        if together or any(self._holds(self._totals[node], needs) for node in self.nodes):
            return None
        wanted = " and ".join(_say(name, amount) for name, amount in needs)
        told = [self._named(node, needs) for node in self.nodes]
        nodes = "; ".join(told[:5]) + ("; ..." if len(told) > 5 else "")
        return f"asks for {wanted} together, no single node has them; the nodes: {nodes}"

    def _what_there_is(self, name: str, most: int, has: Mapping[str, int], *, together: bool) -> str:
        if not has:
            return "the cluster has no node that is alive"
        if not most and name not in BUILT_IN:
            how = "declare it when nodes start (ray start --resources), name its plug-in in `plugins`"
            return f"nothing offers {name!r}: {how}, or register a provider with the ResourceManager that asks"
        if together:
            return f"all {len(has)} nodes together have {_say(name, most)}"
        called = self._names.get(max(has, key=has.__getitem__))
        return f"the largest node{f' ({called})' if called else ''} has {_say(name, most)}"

    def _named(self, node: str, needs: Needs) -> str:
        amounts = ", ".join(_say(name, self._totals[node].get(name, 0)) for name, _ in needs)
        return f"{self._names[node]} {amounts}" if node in self._names else amounts

    def _split(self, needs: Needs) -> tuple[Needs, Needs]:
        """(counted once for the cluster, counted per node)."""
        units = self._totals[CLUSTER]
        return tuple(n for n in needs if n[0] in units), tuple(n for n in needs if n[0] not in units)

    def _by_rank(self, outlook: Outlook, cpus: int = 0) -> Iterator[str]:
        """Nodes, the one with the most room first; those without room for so many CPUs only if more is expected."""
        others = [self._rank(node, self._ranks[node][2], outlook) for node in outlook.amounts if node in self._ranks]
        with_room = takewhile(lambda rank: not cpus or -rank[0] >= cpus, self._ranked)
        ranks = with_room if not others else (rank for rank in with_room if rank[3] not in outlook.amounts)
        return (rank[3] for rank in (heapq.merge(ranks, sorted(others)) if others else ranks))

    def _rank(self, node: str, number: int, outlook: Outlook | None = None) -> _Rank:
        room = [self._room(node, name, outlook or _NOTHING) for name in (CPU, MEMORY)]
        return (-room[0], -room[1], number, node)

    def _free(self, node: str, name: str) -> int:
        return self._totals.get(node, {}).get(name, 0) - self._used.get(node, {}).get(name, 0)

    def _expected(self, node: str, name: str, outlook: Outlook) -> int:
        """Free once all that is expected back is back."""
        return self._free(node, name) + outlook.of(node, name)

    def _room(self, node: str, name: str, outlook: Outlook) -> int:
        """Free now, and not spoken for by somebody who goes first."""
        free = self._free(node, name)
        return min(free, free + outlook.of(node, name))

    @staticmethod
    def _holds(has: Mapping[str, int], needs: Needs) -> bool:
        return all(has.get(name, 0) >= amount for name, amount in needs)

    def _change(self, placement: Placement, sign: int) -> None:
        for node, needs in placement.taken:
            used = self._used.setdefault(node, {})
            for name, amount in needs:
                before = max(self._free(node, name), 0)
                used[name] = used.get(name, 0) + sign * amount
                if not used[name]:
                    del used[name]
                if ("free", name) in self._sums and node in self._totals:
                    self._sums["free", name] += max(self._free(node, name), 0) - before
            if not used and node != CLUSTER:
                del self._used[node]
            if (rank := self._ranks.get(node)) is not None:
                del self._ranked[bisect_left(self._ranked, rank)]
                self._ranks[node] = rank = self._rank(node, rank[2])
                insort(self._ranked, rank)


def short_of(needs: Needs, left: Mapping[str, float]) -> str | None:
    """Why needs have to wait when so much is left; None: there is enough. What ``left`` lacks isn't short."""
    for name, amount in needs:
        if amount > round(left.get(name, amount / UNIT) * UNIT):
            return f"asks for {_say(name, amount)}; free now: {say(name, left[name])}"
    return None


def _placement(once: Needs, taken: Iterable[tuple[str, Needs]]) -> Placement:
    return Placement((*taken, *(((CLUSTER, once),) if once else ())))


def _whole_cpus(amounts: Mapping[str, int]) -> int:
    """The fewest CPUs of an elastic task, which gets whole ones."""
    return max(-(-amounts.get(CPU, UNIT) // UNIT), 1)


def _times(needs: Needs, count: int) -> Needs:
    return tuple((name, amount * count) for name, amount in needs)


def _say(name: str, grains: int) -> str:
    return say(name, grains / UNIT)
