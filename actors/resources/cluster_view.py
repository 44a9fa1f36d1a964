"""The cluster's machines as the resource manager sees them, and the limits that a user sets on what they have. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from actors.queue.capacity import Capacity
from pipelines.errors import JobError
from pipelines.resource_needs import CPU, MEMORY, demand_of, in_grains
from pipelines.resources import ResourceEstimate, ResourceLimits


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


def see_nodes(capacity: Capacity, nodes: Iterable[Node]) -> None:
    """Tell a capacity which nodes there are; several may have one name."""
    numbered = {str(number): node for number, node in enumerate(nodes)}
    names = {number: node.name for number, node in numbered.items()}
    capacity.set_nodes({number: node.total for number, node in numbered.items()}, names)


def capacity_of(nodes: Iterable[Node]) -> Capacity:
    """A capacity of some nodes, of which nothing is taken."""
    capacity = Capacity(nodes_known=True)
    see_nodes(capacity, nodes)
    return capacity


def able_nodes(nodes: Sequence[Node], estimate: ResourceEstimate) -> list[Node]:
    """The nodes that could serve an estimate, once whoever holds what it asks for has given it back."""
    needs = in_grains(demand_of(estimate))
    return [node for node in nodes if capacity_of([node]).infeasible(needs) is None]


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
        if not 0 <= amount < math.inf:
            raise JobError(f"limit of {name}: {amount}; use a number from 0 on, or None for as much as there is")
    percentages = {"max_cpu_percent": limits.max_cpu_percent, "max_memory_percent": limits.max_memory_percent}
    for name, percent in percentages.items():
        if percent is not None and not 0 < percent <= 100:
            raise JobError(f"{name}: {percent} is no percentage; use a number above 0, up to 100")
