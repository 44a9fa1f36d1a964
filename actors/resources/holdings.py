"""What a driver holds of what there is, within its limits. Pure: nodes, units and requests in; refusals out.

The arithmetic is that of the coordinator's capacity, ``queue.capacity``; which node something lies on is the
coordinator's business, so here all is taken of the cluster as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from actors.queue.capacity import Capacity
from actors.queue.placements import CLUSTER, Placement
from actors.resources.cluster_view import Node, limits_of, see_nodes
from pipelines.resource_needs import CPU, DISK, GPU, MEMORY, UNIT, Needs, in_grains
from pipelines.resources import ResourceAllocation, ResourceLimits


class Holdings:
    """Allocations by id; giving one back twice changes nothing.

    Parameters
    ----------
    limits
        Of all that is held together.
    counts_disk
        Whether room on a disk is known; else nobody is refused for want of it.
    """

    def __init__(self, limits: ResourceLimits, *, counts_disk: bool) -> None:
        self._capacity = Capacity(nodes_known=True)
        self._counts_disk = counts_disk
        self._held: dict[str, ResourceAllocation] = {}
        self._peaks: dict[str, float] = {}
        self.set_limits(limits)

    def __len__(self) -> int:
        return len(self._held)

    def set_limits(self, limits: ResourceLimits) -> None:
        self._capacity.set_limits(limits_of(limits))

    def see(self, nodes: Iterable[Node], units: Mapping[str, float]) -> None:
        """What there is now: nodes, and what is counted once for all of them."""
        see_nodes(self._capacity, nodes)
        self._capacity.replace_units(units)

    def types(self) -> list[str]:
        """Every resource that there is, and the built-in ones that every machine has."""
        return sorted({CPU, MEMORY, GPU} | self._capacity.names())

    def total(self, name: str) -> float:
        """What there is within the limits."""
        return self._capacity.total(name)

    def left(self, name: str) -> float:
        """What isn't held of it."""
        return self._capacity.left(name)

    def infeasible(self, demand: Mapping[str, float], *, together: bool = False) -> str | None:
        """Why no wait could ever serve a demand; see ``Capacity``."""
        return self._capacity.infeasible(self._counted(demand), together=together)

    def shortage(self, demand: Mapping[str, float]) -> str | None:
        """Why a demand has to wait; None: there is room for it."""
        return self._capacity.shortage(self._counted(demand))

    def times(self, per_cpu: Mapping[str, float], offered: Mapping[str, float]) -> int:
        """How many CPUs, each with some units, are left; of what providers have ``offered`` no more than that."""
        most = dict(in_grains(offered))
        left = {name: round(self._capacity.left(name) * UNIT) for name in {CPU, *per_cpu}}
        left |= {name: min(left[name], most.get(name, 0)) for name in offered.keys() & left.keys()}
        return min(left[name] // amount for name, amount in in_grains({**per_cpu, CPU: 1}))

    def take(self, allocation: ResourceAllocation) -> None:
        self._capacity.take(self._placement(allocation))
        self._held[allocation.allocation_id] = allocation
        for name in allocation.amounts:
            self._peaks[name] = max(self._peaks.get(name, 0.0), self._capacity.used(name))

    def give_back(self, allocation_id: str) -> bool:
        """Whether it was still held."""
        allocation = self._held.pop(allocation_id, None)
        if allocation is not None:
            self._capacity.give(self._placement(allocation))
        return allocation is not None

    def ids(self, owner: str | None = None) -> list[str]:
        """Of what is held, by one owner or by all."""
        return [name for name, held in self._held.items() if owner is None or held.owner == owner]

    def peaks(self) -> dict[str, float]:
        """Percent of each counted resource that was held at most since the last call."""
        names = [name for name in self._capacity.names() if name not in (CPU, MEMORY, DISK)]
        now = {name: self._capacity.used(name) for name in names}
        most, self._peaks = {name: max(now[name], self._peaks.get(name, 0.0)) for name in names}, now
        return {name: 100.0 * most[name] / total for name in names if (total := self._capacity.total(name)) > 0}

    def _placement(self, allocation: ResourceAllocation) -> Placement:
        return Placement(((CLUSTER, self._counted(allocation.amounts)),))

    def _counted(self, demand: Mapping[str, float]) -> Needs:
        return in_grains({name: amount for name, amount in demand.items() if name != DISK or self._counts_disk})
