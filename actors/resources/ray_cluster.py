"""The cluster as Ray sees it: its nodes and what is free, and requests in the words of Ray's options.

Names: ``cpu``, ``memory`` and ``gpu`` are Ray's ``CPU``, ``memory`` and ``GPU``; declared resources keep theirs.
"""

from __future__ import annotations

from collections.abc import Mapping

import ray

from actors.resources.cluster_view import Node
from pipelines.errors import JobError
from pipelines.resource_needs import CPU, GPU, MEMORY

_OURS = {"CPU": CPU, "GPU": GPU, "memory": MEMORY}
_INTERNAL = ("node:", "object_store_memory", "accelerator_type:")


class RayCluster:
    """Implements ``cluster_view.ClusterView`` for the cluster that this process is connected to."""

    def nodes(self) -> list[Node]:
        """The nodes that are alive.

        Raises
        ------
        JobError
            This process isn't connected to Ray.
        """
        _check_connected()
        return [
            Node(name=str(node["NodeManagerHostname"]), total=_ours(node["Resources"]))
            for node in ray.nodes()
            if node["Alive"]
        ]

    def available(self) -> dict[str, float]:
        """What no task holds now, over all nodes.

        Raises
        ------
        JobError
            This process isn't connected to Ray.
        """
        _check_connected()
        return _ours(ray.available_resources())


def _check_connected() -> None:
    if not ray.is_initialized():
        raise JobError("resources: this process isn't connected to Ray; start it with rayjobs.ray_session first")


def _ours(resources: Mapping[str, float]) -> dict[str, float]:
    return {
        _OURS.get(name, name): float(amount) for name, amount in resources.items() if not name.startswith(_INTERNAL)
    }
