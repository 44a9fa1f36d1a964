"""What a granted shard runs on Ray: its stream, suspects alone in a task of their own, and sealing its results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import ray
from ray.exceptions import OutOfMemoryError, RayError, RayTaskError

from pipelines.block_task import Workspace, render_analyze_export
from pipelines.errors import FailedReason, JobError
from pipelines.extension_manager import process_extensions
from pipelines.image_task import Recipe
from pipelines.models import ImageStatus, WorkItem
from pipelines.ray_stream import StreamOptions, stream_statuses
from pipelines.tables import SealRequest, seal_part
from pipelines.worker_journal import inputs_in_hand
from rayjobs.job_spec import JobSpec
from rayjobs.ray_session import Cluster
from rayjobs.shard_runner import Crash, recipes_needed, timeout_crash

START_S = 60.0
"""Time that a fresh worker may need before it begins with an input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RayEngine:
    """Runs the work of one shard of a job; implements ``shard_runner.ShardEngine``."""

    job: str
    recipes: Mapping[int, Recipe]
    workspace: Workspace
    options: StreamOptions

    def stream(self, items: Sequence[WorkItem]) -> Iterator[list[ImageStatus]]:
        return stream_statuses(items, recipes_needed(items, self.recipes), self.workspace, self.options)

    def alone(self, item: WorkItem) -> list[ImageStatus] | Crash:
        task = _alone.options(name=f"{self.job}: one input alone", memory=self.options.memory_per_task)
        ref = task.remote(item, recipes_needed([item], self.recipes), self.workspace)
        limit = self.workspace.item_timeout_s
        ready, _ = ray.wait([ref], timeout=None if limit is None else limit + START_S)
        if not ready:
            ray.cancel(ref, force=True)
            return timeout_crash(self.workspace)
        try:
            rows: list[ImageStatus] = ray.get(ref)
        except RayTaskError as error:
            raise JobError(f"{self.job}: a worker is broken: {error.cause}") from error
        except OutOfMemoryError:
            return Crash(FailedReason.OUT_OF_MEMORY, "its process needed more memory than the node has")
        except RayError as error:
            if inputs_in_hand(self.workspace.temporary).get(item.id):
                return timeout_crash(self.workspace)
            return Crash(FailedReason.CRASHED, f"the process that worked on it alone ended ({type(error).__name__})")
        return rows

    def seal(self, requests: Sequence[SealRequest]) -> None:
        """Write sealed parts, as many at a time as the shard has slots."""
        task = _seal.options(name=f"{self.job}: seal results")
        waiting = list(requests)
        running: list[ray.ObjectRef] = []
        while waiting or running:
            while waiting and len(running) < self.options.slots:
                running.append(task.remote(waiting.pop(0)))
            done, running = ray.wait(running)
            try:
                ray.get(done)
            except RayError as error:
                raise JobError(f"{self.job}: the results can't be sealed: {error}") from error


def shard_engines(
    spec: JobSpec, root: Path, epoch: int, recipes: Mapping[int, Recipe], cluster: Cluster
) -> Callable[[str, int, Path], RayEngine]:
    """What makes the engine of each granted shard of a job: (shard, CPUs, stop file) -> engine.

    ``recipes`` may grow while shards run.
    """

    def engine(shard: str, cpus: int, stop: Path) -> RayEngine:
        workspace = Workspace(
            root=root,
            epoch=epoch,
            stop=stop,
            item_timeout_s=spec.limits.item_timeout,
            durable=spec.durability == "power",
            extensions=process_extensions().versions(spec.plugins),
        )
        options = StreamOptions(
            name=shard,
            slots=cpus,
            stages="staged" if spec.stages == "staged" else "fused",
            declared=cluster.declared,
        )
        return RayEngine(job=spec.name, recipes=recipes, workspace=workspace, options=options)

    return engine


@ray.remote(num_cpus=1, max_retries=0)
def _alone(item: WorkItem, recipes: Mapping[int, Recipe], workspace: Workspace) -> list[ImageStatus]:
    return [row for rows in render_analyze_export([item], recipes, workspace) for row in rows]


@ray.remote(num_cpus=1, max_retries=2)
def _seal(request: SealRequest) -> None:
    seal_part(request)
