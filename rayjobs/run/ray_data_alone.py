"""Streams on a cluster of this machine alone, embedded or kept, do without Ray Data's own actors.

Ray Data tells one how a dataset goes, for a dashboard; another says what it may use of a cluster that others share and
that could grow, and until that is up, nothing begins. Each is a process that imports Ray Data first. Where nobody
looks, and the coordinator has granted what a stream may use, nothing has to be told or asked. Everywhere else Ray Data
stays as it is.
"""

from __future__ import annotations

from typing import Any

import ray
from ray.data._internal import stats
from ray.data._internal.cluster_autoscaler import ClusterAutoscaler
from ray.data._internal.execution import streaming_executor
from ray.data._internal.execution.interfaces import ExecutionResources

from pipelines.stages.ray_stream import stream_statuses
from rayjobs.run.ray_session import is_alone

__all__ = ("stream_statuses",)

_stats_actor = stats.get_or_create_stats_actor
_autoscaler = streaming_executor.create_cluster_autoscaler


class _Nobody:
    """Stands for the actor that is told how a dataset goes."""

    def __getattr__(self, method: str) -> _Nobody:
        return self

    def remote(self, *_: Any, **__: Any) -> None:
        """Whatever is told."""


class _AllOfIt(ClusterAutoscaler):  # type: ignore[misc]
    """A stream may use the whole cluster, up to its own limits, and that doesn't grow."""

    def __init__(self) -> None:
        self._total = ExecutionResources.from_resource_dict(ray.cluster_resources())

    def try_trigger_scaling(self) -> None:
        """Nothing to ask for."""

    def on_executor_shutdown(self) -> None:
        """Nothing to give back."""

    def get_total_resources(self) -> ExecutionResources:
        """What there is; not asked again, which would wait for a control service that has ended."""
        return self._total


def _spare_actors() -> None:
    """Let Ray Data ask whether the cluster is ours alone before it makes an actor."""
    stats.get_or_create_stats_actor = lambda: _Nobody() if is_alone() else _stats_actor()
    streaming_executor.create_cluster_autoscaler = lambda *given, **named: (
        _AllOfIt() if is_alone() else _autoscaler(*given, **named)
    )


_spare_actors()
