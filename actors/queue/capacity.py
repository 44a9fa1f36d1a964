"""How much of each resource the nodes and the providers have, and who fits where.

Pure bookkeeping in whole ten-thousandths of a unit, as Ray counts, so that sums never drift. A resource is counted
per node when nodes declare it, and once for the whole cluster when a provider offers it. Which task deserves the room
is decided in ``priority_scheduler`` and ``task_queue``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pipelines.resources import ResourceEstimate

UNIT = 10_000
"""The grain of amounts; Ray's own."""
CPU = "cpu"
MEMORY = "memory"
GPU = "gpu"
CLUSTER = ""
"""Stands for the node of resources that are counted once for all nodes."""

Needs = tuple[tuple[str, int], ...]
"""(resource, amount in ten-thousandths), sorted; hashable, so that tasks with the same needs wait in one line."""


def needs_of(estimate: ResourceEstimate) -> Needs:
    """What a task takes from the books."""
    amounts = {CPU: estimate.cpus, MEMORY: estimate.memory_bytes, GPU: estimate.gpus, **estimate.custom}
    return tuple(sorted((name, round(amount * UNIT)) for name, amount in amounts.items() if amount > 0))


@dataclass(frozen=True, slots=True)
class Placement:
    """Room that a grant holds."""

    taken: tuple[tuple[str, Needs], ...]
    """(node or ``CLUSTER``, amounts)."""

    @property
    def node(self) -> str:
        """The one node that it lies on; empty when it lies on several, or needs none."""
        nodes = [node for node, _ in self.taken if node != CLUSTER]
        return nodes[0] if len(nodes) == 1 else ""

    @property
    def cpus(self) -> float:
        return sum(dict(needs).get(CPU, 0) for _, needs in self.taken) / UNIT

    def on_nodes(self, name: str) -> float:
        """How much of a resource the raylets are asked for."""
        return sum(dict(needs).get(name, 0) for node, needs in self.taken if node != CLUSTER) / UNIT


@dataclass(slots=True)
class Outlook:
    """What one round of decisions expects beside the free room: given back soon (positive), spoken for (negative)."""

    amounts: dict[str, dict[str, int]] = field(default_factory=dict)

    def add(self, placement: Placement, sign: int) -> None:
        for node, needs in placement.taken:
            there = self.amounts.setdefault(node, {})
            for name, amount in needs:
                there[name] = there.get(name, 0) + sign * amount

    def of(self, node: str, name: str) -> int:
        return self.amounts.get(node, {}).get(name, 0)


class Capacity:
    """Totals and what is taken of them."""

    def __init__(self) -> None:
        self._totals: dict[str, dict[str, int]] = {CLUSTER: {}}
        self._used: dict[str, dict[str, int]] = {CLUSTER: {}}

    @property
    def nodes(self) -> list[str]:
        return [node for node in self._totals if node != CLUSTER]

    def set_nodes(self, nodes: Mapping[str, Mapping[str, float]]) -> bool:
        """Say which nodes are alive and what they have; True when that changed."""
        totals = {node: {name: round(amount * UNIT) for name, amount in has.items()} for node, has in nodes.items()}
        totals[CLUSTER] = self._totals[CLUSTER]
        changed = totals != self._totals
        self._totals = totals
        return changed

    def set_units(self, name: str, total: float) -> None:
        """Say how many units of a resource the whole cluster may use at a time."""
        self._totals[CLUSTER][name] = round(total * UNIT)

    def total(self, name: str) -> float:
        return sum(has.get(name, 0) for has in self._totals.values()) / UNIT

    def free(self, name: str) -> float:
        return sum(max(self._free(node, name), 0) for node in self._totals) / UNIT

    def take(self, placement: Placement) -> None:
        self._change(placement, 1)

    def give(self, placement: Placement) -> None:
        self._change(placement, -1)

    def infeasible(self, needs: Needs) -> str | None:
        """Why no state of the cluster, as it is, could ever hold these needs; None when one could."""
        once, per_node = self._split(needs)
        for name, amount in once:
            if amount > (total := self._totals[CLUSTER][name]):
                return f"it asks for {amount / UNIT:g} of {name}; the cluster has {total / UNIT:g}"
        if not self.nodes or any(self._holds(self._totals[node], per_node) for node in self.nodes):
            return None
        for name, amount in per_node:
            most = max(self._totals[node].get(name, 0) for node in self.nodes)
            if amount > most:
                return f"it asks for {amount / UNIT:g} of {name}; the largest node has {most / UNIT:g}"
        wanted = ", ".join(f"{amount / UNIT:g} of {name}" for name, amount in per_node)
        return f"it asks for {wanted} together; no single node has that"

    def spreads(self, needs: Needs) -> str | None:
        """``infeasible`` for an elastic task: its CPUs may lie on several nodes, all else that it needs is per CPU."""
        least = dict(needs).get(CPU, UNIT)
        total = round(self.total(CPU) * UNIT)
        if self.nodes and least > total:
            return f"it asks for {least / UNIT:g} of {CPU}; the cluster has {total / UNIT:g}"
        cpus = max(least // UNIT, 1)
        once, per_node = self._split(needs)
        one_cpu = tuple((name, UNIT if name == CPU else amount) for name, amount in per_node)
        return self.infeasible((*((name, amount * cpus) for name, amount in once), *one_cpu))

    def place(self, needs: Needs, max_cpus: float | None = None, outlook: Outlook | None = None) -> Placement | None:
        """Find room on the node with the most free CPUs; None when there is none now."""
        outlook = outlook or Outlook()
        once, per_node = self._split(needs)
        if not all(self._room(CLUSTER, name, outlook) >= amount for name, amount in once):
            return None
        ranked = self._ranked(outlook)
        if max_cpus is not None:
            return self._spread(once, dict(per_node), round(max_cpus * UNIT), ranked, outlook)
        if not per_node:
            return _placement(once, ())
        for node in ranked:
            if all(self._room(node, name, outlook) >= amount for name, amount in per_node):
                return _placement(once, ((node, per_node),))
        return None

    def expect(self, needs: Needs, outlook: Outlook) -> Placement | None:
        """Where the needs fit once all that is expected back is back; None when even then they don't."""
        once, per_node = self._split(needs)
        if not all(self._free(CLUSTER, name) + outlook.of(CLUSTER, name) >= amount for name, amount in once):
            return None
        for node in self._ranked(outlook):
            if all(self._free(node, name) + outlook.of(node, name) >= amount for name, amount in per_node):
                return _placement(once, ((node, per_node),) if per_node else ())
        return None

    def reserve(self, needs: Needs, outlook: Outlook) -> Placement | None:
        """The node that will fit the needs soonest, to be kept free for them; None when no node is large enough."""
        once, per_node = self._split(needs)
        fitting = [node for node in self._ranked(outlook) if self._holds(self._totals[node], per_node)]
        if per_node and not fitting:
            return None
        return _placement(once, ((fitting[0], per_node),) if per_node else ())

    def _spread(
        self, once: Needs, per_cpu: dict[str, int], most: int, ranked: Iterable[str], outlook: Outlook
    ) -> Placement | None:
        """Whole CPUs of as many nodes as it takes; all else is needed per CPU."""
        least = per_cpu.pop(CPU, UNIT)
        taken: list[tuple[str, Needs]] = []
        wanted = max(most, least) // UNIT
        for name, amount in once:
            wanted = min(wanted, self._room(CLUSTER, name, outlook) // amount)
        for node in ranked:
            count = min(wanted, self._room(node, CPU, outlook) // UNIT)
            for name, amount in per_cpu.items():
                count = min(count, self._room(node, name, outlook) // amount)
            if count > 0:
                amounts = {CPU: count * UNIT, **{name: count * amount for name, amount in per_cpu.items()}}
                taken.append((node, tuple(sorted(amounts.items()))))
                wanted -= count
        cpus = sum(dict(amounts)[CPU] for _, amounts in taken) // UNIT
        placement = _placement(tuple((name, amount * cpus) for name, amount in once), taken)
        return placement if cpus * UNIT >= least else None

    def _split(self, needs: Needs) -> tuple[Needs, Needs]:
        """(counted once for the cluster, counted per node)."""
        units = self._totals[CLUSTER]
        return tuple(n for n in needs if n[0] in units), tuple(n for n in needs if n[0] not in units)

    def _ranked(self, outlook: Outlook) -> list[str]:
        return sorted(
            self.nodes, key=lambda node: (-self._room(node, CPU, outlook), -self._room(node, MEMORY, outlook))
        )

    def _free(self, node: str, name: str) -> int:
        return self._totals.get(node, {}).get(name, 0) - self._used.get(node, {}).get(name, 0)

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
                used[name] = used.get(name, 0) + sign * amount
                if not used[name]:
                    del used[name]
            if not used and node != CLUSTER:
                del self._used[node]


def _placement(once: Needs, taken: Iterable[tuple[str, Needs]]) -> Placement:
    return Placement((*taken, *(((CLUSTER, once),) if once else ())))
