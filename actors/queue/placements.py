"""Where room lies that a grant holds, or that is expected or spoken for. Data only; ``capacity`` finds it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from pipelines.resource_needs import CPU, UNIT, Needs

CLUSTER = ""
"""Stands for the node of resources that are counted once for all nodes."""


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

    def holds_any(self, names: Collection[str]) -> bool:
        """Whether it holds something of one of these resources."""
        return any(name in names for _, needs in self.taken for name, _ in needs)

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
