"""The nodes of a driver's cluster, looked at as often as is needed and not more often."""

from __future__ import annotations

import time

from actors.resources.cluster_view import ClusterView, Node
from actors.resources.performance_monitor import PerformanceMonitor

NODES_S = 2.0
"""How long a look at the nodes is good for; it costs this process and Ray's control service some milliseconds."""


class FreshNodes:
    """A cluster's nodes, and what they have free.

    Parameters
    ----------
    cluster
        Whose nodes count; the cluster that this process is connected to when it is first asked.
    monitor
        Publishes through that cluster's metrics from then on.
    """

    def __init__(self, cluster: ClusterView | None, monitor: PerformanceMonitor) -> None:
        self._cluster = cluster
        self._monitor = monitor
        self._nodes: tuple[float, list[Node]] | None = None

    @property
    def seen(self) -> bool:
        """Whether anybody has asked for them."""
        return self._nodes is not None

    def alive(self) -> list[Node]:
        """Those that are alive."""
        seen, now = self._nodes, time.monotonic()
        if seen is None or now - seen[0] > NODES_S:
            seen = self._nodes = (now, self._view().nodes())
        return seen[1]

    def resources(self) -> set[str]:
        """The names of what they have."""
        return {name for node in self.alive() for name in node.total}

    def available(self) -> dict[str, float]:
        """What nobody holds now, by resource."""
        return self._view().available()

    def _view(self) -> ClusterView:
        if self._cluster is None:
            from actors.resources.ray_cluster import RayCluster
            from actors.resources.ray_metrics import RayMetrics

            self._cluster = RayCluster()
            self._monitor.publish_to(RayMetrics())
        return self._cluster
