"""Whether Ray can still do the work of a job: it answers, and some node has what an image asks for.

Ray itself ends a driver within 15 s of its raylet's death, and 60 s after its control service (GCS) stopped answering,
with pages of its own log. Before that the job ends here, with a line.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import ray

from actors.resources.ray_cluster import RayCluster
from rayjobs.run.able_nodes import AGAIN, AbleNodes, Since
from rayjobs.run.ray_disconnect import answers, gcs_address

CHECK_S = 2.0
RAYLET_S = 3.0
"""How long the raylet may be silent: one that is gone doesn't come back."""
GCS_S = 20.0
"""How long the control service may: where it is kept safe, another one takes over."""


@dataclass(slots=True)
class RayHealth:
    """Looks after the Ray that this process is connected to, for one job."""

    nodes: AbleNodes
    ray_is_dead: bool = False
    """Whether that was why the job can't go on."""
    _checked: float = 0.0
    _gcs: tuple[str, int] = field(init=False)
    _raylet: tuple[str, int] | None = field(init=False)
    _gcs_silent: Since = field(default_factory=Since)
    _raylet_silent: Since = field(default_factory=Since)

    def __post_init__(self) -> None:
        self._gcs = gcs_address()
        own = [node for node in ray.nodes() if node["NodeID"] == ray.get_runtime_context().get_node_id()]
        self._raylet = (own[0]["NodeManagerAddress"], int(own[0]["NodeManagerPort"])) if own else None

    def answers(self) -> bool:
        """Whether Ray's control service does now."""
        return answers(self._gcs)

    def trouble(self) -> str | None:
        """Why the job can't go on; None: it can, or it is too early to tell. Waits 2 s at most."""
        now = time.monotonic()
        if now - self._checked < CHECK_S:
            return None
        self._checked = now
        if self._raylet is not None and self._raylet_silent.seconds(not answers(self._raylet), now) > RAYLET_S:
            self.ray_is_dead = True
            return f"Ray's raylet on this machine has ended; {AGAIN}"
        if self._gcs_silent.seconds(not answers(self._gcs), now) > GCS_S:
            self.ray_is_dead = True
            return f"Ray's control service (GCS) hasn't answered for {GCS_S:g} s; {AGAIN}"
        if self._gcs_silent.is_so or self._raylet_silent.is_so:
            return None  # asking for the nodes would wait for it
        return self.nodes.missing(RayCluster().nodes(), now)
