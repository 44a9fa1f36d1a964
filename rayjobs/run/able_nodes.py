"""Whether some node may still do the work of a job, and for how long something has been so. Pure: no Ray, no clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from actors.resources.cluster_view import Node, capacity_of
from pipelines.resource_needs import demand_of, in_grains
from pipelines.resources import ResourceEstimate

NODES_S = 60.0
"""How long no node may have what an image asks for: one may be on its way."""
AGAIN = "run it again, it goes on"


@dataclass(slots=True)
class Since:
    """For how long something has been so."""

    begun: float | None = None

    @property
    def is_so(self) -> bool:
        return self.begun is not None

    def seconds(self, is_so: bool, now: float) -> float:
        """0 when it isn't."""
        self.begun = (now if self.begun is None else self.begun) if is_so else None
        return 0.0 if self.begun is None else now - self.begun


@dataclass(slots=True)
class AbleNodes:
    """Whether some node may still run an image of a job; pure."""

    per_image: ResourceEstimate
    """Of one node."""
    stages: frozenset[str] = frozenset()
    """Resources that its stages hold, which may run on different nodes."""
    _unable: Since = field(default_factory=Since)

    def missing(self, nodes: Sequence[Node], now: float) -> str | None:
        """Why none of the nodes alive could, for too long now; None: one can, or may be on its way."""
        asked = [demand_of(self.per_image), *({name: 1.0} for name in sorted(self.stages))]
        capacity = capacity_of(nodes)
        why = next(filter(None, (capacity.infeasible(in_grains(demand)) for demand in asked)), None)
        if self._unable.seconds(why is not None, now) > NODES_S:
            return f"no node is left for the job's images: each {why}; {AGAIN} once one is there"
        return None
