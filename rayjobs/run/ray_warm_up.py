"""What a run asks of Ray as soon as that is there, beside the imports that it needs itself: nobody waits for it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

import ray

from actors.coordinator.ray_coordinator import find_or_create, home_of_head
from actors.ledger.job_ledger import JobLedger
from actors.resources.cluster_view import able_nodes
from actors.resources.memory_manager import MemoryManager
from actors.resources.ray_cluster import RayCluster
from pipelines.resource_needs import ray_options
from pipelines.stages.recipe import Recipe
from pipelines.stages.rehearsal import rehearse
from rayjobs.job.job_spec import JobSpec
from rayjobs.job.recipes import JobRecipes
from rayjobs.job.stage_needs import of_nodes, required
from rayjobs.run.ray_session import Cluster, first_use


def warm_up(
    cluster: Cluster,
    spec: JobSpec,
    root: Path,
    ledger: JobLedger,
    wanted: Mapping[str, str],
    *,
    by_ray_data: bool,
) -> None:
    """Let the coordinator begin, and workers load what the first image needs, where they are ours alone.

    Not for plug-ins, nor for what asks for more than processors and memory, which the coordinator has to grant.
    """
    find_or_create(home_of_head())
    if not (by_ray_data or cluster.embedded):  # images come at once, and workers are ready
        return
    needs = required(spec)
    if not first_use() or spec.plugins or needs.custom or needs.gpus:
        return
    inputs = ledger.open_inputs(0, sys.maxsize, min(spec.limits.cpus or cluster.cpus, cluster.cpus))
    if inputs:
        recipes = JobRecipes(spec, wanted, ledger, root)
        recipe = recipes.by_number[recipes.items(inputs[:1])[0].recipe]
        asked = ray_options(cpus=1, memory_bytes=memory_per_cpu(spec), name=f"{spec.name}: get ready")
        for _ in inputs:
            _rehearse.options(**asked).remote(recipe, by_ray_data=by_ray_data)


@ray.remote  # type: ignore[untyped-decorator]
def _rehearse(recipe: Recipe, *, by_ray_data: bool) -> None:
    """Holds what a task of the stream does, so that Ray runs that in the same process."""
    import_module("pipelines.stages.ray_stream" if by_ray_data else "pipelines.stages.ray_blocks")
    rehearse(recipe)


def memory_per_cpu(spec: JobSpec) -> int:
    """Bytes that each task of a job's streams reserves, one per CPU; 0 where nodes don't say what memory they have."""
    return MemoryManager(able_nodes(RayCluster().nodes(), of_nodes(required(spec))), 1).task_bytes or 0
