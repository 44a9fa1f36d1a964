"""Who holds what, what is left, and what could never be had: the decisions of the resource manager, without Ray.

Pure: nodes, limits and requests in; refusals, shortages and holdings out. The names of resources are those of
``pipelines.resources``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pipelines.errors import JobError, RayjobsError
from pipelines.resources import ResourceEstimate, ResourceLimits

CPU, MEMORY, GPU, DISK = "cpu", "memory", "gpu", "disk"
BUILT_IN = (CPU, MEMORY, GPU, DISK)
EPSILON = 1e-6
"""Ray counts in ten-thousandths; sums of such shares may miss by a hair."""


class InfeasibleError(JobError):
    """No node could ever serve this request: it would wait for ever."""


class ResourcesBusyError(RayjobsError):
    """The resources exist, but others hold them, or a threshold is exceeded: try again later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A machine of the cluster and all that it has, held or not."""

    name: str
    total: Mapping[str, float]


class ClusterView(Protocol):
    """The cluster, as the manager needs it; see ``ray_cluster``."""

    def nodes(self) -> list[Node]:
        """Nodes that are alive."""
        ...

    def available(self) -> dict[str, float]:
        """What nobody holds now, by resource."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Supply:
    """What there is: nodes, units of providers, room on the output's disk, and the limits that the user set."""

    nodes: Sequence[Node] = ()
    units: Mapping[str, float] = field(default_factory=dict)
    """Total units of each provider's resource, for the whole cluster."""
    free_disk_bytes: float | None = None
    """None: disk space isn't looked at."""
    limits: ResourceLimits = field(default_factory=ResourceLimits)

    def total(self) -> dict[str, float]:
        """By resource: what all nodes have together and providers offer, cut to the limits."""
        total: dict[str, float] = dict.fromkeys((CPU, MEMORY, GPU), 0.0)
        for node in self.nodes:
            for name, amount in node.total.items():
                total[name] = total.get(name, 0.0) + amount
        total.update(self.units)
        if self.free_disk_bytes is not None:
            total[DISK] = max(self.free_disk_bytes - (self.limits.min_free_disk_bytes or 0), 0.0)
        for name, limit in limits_of(self.limits).items():
            total[name] = min(total.get(name, 0.0), limit)
        return total


def demand_of(estimate: ResourceEstimate) -> dict[str, float]:
    """An estimate as amounts by resource, without zeros.

    Raises
    ------
    InfeasibleError
        An amount is negative or no number.
    """
    amounts = {CPU: estimate.cpus, MEMORY: float(estimate.memory_bytes), GPU: estimate.gpus}
    amounts[DISK] = float(estimate.disk_bytes)
    for name in estimate.custom:
        if name in amounts:
            raise InfeasibleError(f"custom resource {name!r} has the name of a built-in one: use its own field")
    amounts |= estimate.custom
    for name, amount in amounts.items():
        if not math.isfinite(amount) or amount < 0:
            raise InfeasibleError(f"asks for {amount} of {name!r}: amounts are numbers from 0 on")
    return {name: amount for name, amount in amounts.items() if amount > 0}


def limits_of(limits: ResourceLimits) -> dict[str, float]:
    """The limits on amounts by resource."""
    found = dict(limits.custom)
    if limits.max_cpus is not None:
        found[CPU] = limits.max_cpus
    if limits.max_memory_bytes is not None:
        found[MEMORY] = float(limits.max_memory_bytes)
    return found


def check_limits(limits: ResourceLimits) -> None:
    """Refuse limits that mean nothing.

    Raises
    ------
    JobError
        A limit is negative, or a percentage isn't one.
    """
    amounts = {**limits_of(limits), "min_free_disk_bytes": limits.min_free_disk_bytes or 0}
    for name, amount in amounts.items():
        if not amount >= 0:
            raise JobError(f"limit of {name}: {amount} is negative; use 0 or more, or None for as much as there is")
    percentages = {"max_cpu_percent": limits.max_cpu_percent, "max_memory_percent": limits.max_memory_percent}
    for name, percent in percentages.items():
        if percent is not None and not 0 < percent <= 100:
            raise JobError(f"{name}: {percent} is no percentage; use a number above 0, up to 100")


def refusal(demand: Mapping[str, float], supply: Supply, *, spread: bool = False) -> str | None:
    """Why no wait could ever serve this demand: what, how much, and what there is; None: it is feasible.

    One node has to serve it, or all together if it may ``spread``.
    """
    limits = limits_of(supply.limits)
    for name, amount in demand.items():
        if name in limits and amount > limits[name] + EPSILON:
            return f"asks for {say(name, amount)}, the limit is {say(name, limits[name])}"
    nodes = _together(supply.nodes) if spread else supply.nodes
    on_node = {name: amount for name, amount in demand.items() if name not in supply.units and name != DISK}
    for name, amount in on_node.items():
        largest = max(nodes, key=lambda node: node.total.get(name, 0.0), default=None)
        most = 0.0 if largest is None else largest.total.get(name, 0.0)
        if amount > most + EPSILON:
            return f"asks for {say(name, amount)}, {_what_there_is(name, most, largest)}"
    if nodes and not any(_fits(on_node, node.total) for node in nodes):
        wanted = " and ".join(say(name, amount) for name, amount in on_node.items())
        return f"asks for {wanted} together, no single node has them; the nodes: {_nodes(nodes, on_node)}"
    for name, amount in demand.items():
        if name in supply.units and amount > supply.units[name] + EPSILON:
            return f"asks for {say(name, amount)}, its provider has {say(name, supply.units[name])}"
    return _disk_refusal(demand, supply)


def able_nodes(nodes: Sequence[Node], estimate: ResourceEstimate) -> list[Node]:
    """The nodes that could serve an estimate, once whoever holds what it asks for has given it back."""
    demand = demand_of(estimate)
    return [node for node in nodes if _fits(demand, node.total)]


def shortage(demand: Mapping[str, float], supply: Supply, held: Mapping[str, float]) -> str | None:
    """Why a feasible demand has to wait; None: it can have what it asks for."""
    total = supply.total()
    for name, amount in demand.items():
        if name == DISK and supply.free_disk_bytes is None:
            continue
        free = max(total.get(name, 0.0) - held.get(name, 0.0), 0.0)
        if amount > free + EPSILON:
            return f"asks for {say(name, amount)}; free now: {say(name, free)}"
    return None


class Holdings:
    """Which allocation holds what; taking and giving back by id, giving back twice changes nothing."""

    def __init__(self) -> None:
        self._held: dict[str, Mapping[str, float]] = {}
        self._owners: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._held)

    def take(self, allocation_id: str, amounts: Mapping[str, float], owner: str = "") -> None:
        self._held[allocation_id] = dict(amounts)
        self._owners[allocation_id] = owner

    def give_back(self, allocation_id: str) -> bool:
        """Whether it was still held."""
        self._owners.pop(allocation_id, None)
        return self._held.pop(allocation_id, None) is not None

    def ids(self) -> list[str]:
        return list(self._held)

    def of_owner(self, owner: str) -> list[str]:
        """Ids of what an owner holds."""
        return [allocation for allocation, name in self._owners.items() if name == owner]

    def total(self) -> dict[str, float]:
        """Held amounts by resource."""
        total: dict[str, float] = {}
        for amounts in self._held.values():
            for name, amount in amounts.items():
                total[name] = total.get(name, 0.0) + amount
        return total


def say(name: str, amount: float) -> str:
    """An amount in words: ``2 CPUs``, ``1.5 GiB of memory``, ``3 of 'licence'``."""
    if name in (MEMORY, DISK):
        return f"{amount / 2**30:,.2f} GiB of {'memory' if name == MEMORY else 'disk space'}"
    if name in (CPU, GPU):
        return f"{amount:g} {name.upper()}{'' if amount == 1 else 's'}"
    return f"{amount:g} of {name!r}"


def _together(nodes: Sequence[Node]) -> Sequence[Node]:
    total: dict[str, float] = {}
    for node in nodes:
        for name, amount in node.total.items():
            total[name] = total.get(name, 0.0) + amount
    return [Node(name=f"all {len(nodes)}", total=total)] if nodes else []


def _fits(demand: Mapping[str, float], total: Mapping[str, float]) -> bool:
    return all(amount <= total.get(name, 0.0) + EPSILON for name, amount in demand.items())


def _what_there_is(name: str, most: float, largest: Node | None) -> str:
    if largest is None:
        return "the cluster has no node that is alive"
    if most > 0 or name in (CPU, MEMORY, GPU):
        return f"the largest node ({largest.name}) has {say(name, most)}"
    return f"nothing offers {name!r}: declare it when nodes start (ray start --resources) or register a provider for it"


def _nodes(nodes: Iterable[Node], names: Iterable[str]) -> str:
    names = list(names)
    told = [f"{node.name} {', '.join(say(name, node.total.get(name, 0.0)) for name in names)}" for node in nodes]
    return "; ".join(told[:5]) + ("; ..." if len(told) > 5 else "")


def _disk_refusal(demand: Mapping[str, float], supply: Supply) -> str | None:
    if DISK not in demand or supply.free_disk_bytes is None:
        return None
    room = max(supply.free_disk_bytes - (supply.limits.min_free_disk_bytes or 0), 0.0)
    if demand[DISK] > room:
        return f"writes {say(DISK, demand[DISK])}, there is room for {say(DISK, room)}: make room or write elsewhere"
    return None
