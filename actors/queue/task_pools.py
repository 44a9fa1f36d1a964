"""The two pools of a cluster: batch rendering and analysis export, neither of which waits for the other.

Shards of a pool are tasks of its own type, so each has its own concurrency limit. A pool may use the whole cluster as
long as the other has nothing to do; as soon as that has, and holds nothing, shards of the first are revoked until
it gets its share. ``dispatcher`` decides that; how many jobs of a pool run at once, ``rayjobs.managers.job_pool``.
"""

from __future__ import annotations

BATCH = "batch"
EXPORT = "export"
POOLS = (BATCH, EXPORT)

SHARD_TYPES = {BATCH: "shard", EXPORT: "export shard"}
"""Pool -> task type of its shards, as ``TaskCoordinator.set_concurrency_limits`` takes it."""


def shard_type(pool: str) -> str:
    """The task type of a pool's shards."""
    return SHARD_TYPES[pool]


def units_type(shard: str) -> str:
    """The task type of the units of providers that tasks of a shard's stages hold by turns, beside the shard's own."""
    return f"{shard} units"


def rival_types(task_type: str) -> frozenset[str]:
    """The shards of the other pools; none for a type that is no shard's."""
    types = frozenset(SHARD_TYPES.values())
    return types - {task_type} if task_type in types else frozenset()
