"""What a granted shard runs on Ray: its stream, large images and suspects in their own tasks, sealing its results."""

# mypy: disable-error-code="untyped-decorator"
from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import OutOfMemoryError, RayError, RayTaskError

from actors.memory_manager import MemoryManager, lighter
from actors.ray_cluster import RayCluster
from pipelines.block_task import Workspace, render_analyze_export, seal
from pipelines.contracts import RESOURCES
from pipelines.errors import FailedReason, ImageError, JobError
from pipelines.image_task import Recipe
from pipelines.models import ImageStatus, WorkItem
from pipelines.ray_stream import StreamOptions, stream_statuses
from pipelines.tables import SealRequest
from pipelines.worker_journal import inputs_in_hand
from rayjobs.job_plan import deciding_extensions, required
from rayjobs.job_spec import JobSpec
from rayjobs.ray_session import Cluster
from rayjobs.shard_runner import Crash, recipes_needed, stream_rows, timeout_crash

log = logging.getLogger(__name__)

START_S = 60.0
"""Time that a fresh worker may need before it begins with an input."""
QUEUE_S = 120.0
"""How long an image waits for more memory than the shard's own share; then it is tried with that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RayEngine:
    """Runs the work of one shard of a job; implements ``shard_runner.ShardEngine``."""

    job: str
    recipes: Mapping[int, Recipe]
    workspace: Workspace
    options: StreamOptions
    memory: MemoryManager

    @property
    def stream_rows(self) -> int:
        return stream_rows(self.options.slots)

    def stream(self, items: Sequence[WorkItem]) -> Iterator[list[ImageStatus]]:
        """Rows as they come; images that need more memory than a task of the stream has come last."""
        large: list[ImageStatus] = []
        rows_of = stream_statuses(items, recipes_needed(items, self.recipes), self.workspace, self.options)
        for rows in rows_of:
            large += [row for row in rows if row.needs_bytes is not None]
            yield [row for row in rows if row.needs_bytes is None]
        if large:
            by_id = {item.id: item for item in items}
            yield from self._large([(by_id[row.id], row.needs_bytes or 0) for row in large])

    def alone(self, item: WorkItem) -> list[ImageStatus] | Crash:
        step = self.memory.next_step(item.id)
        recipe, left_out = self.recipes[item.recipe], None
        if step is not None and step.fewer_outputs:
            lesser = lighter(recipe)
            if lesser is None:
                step = None
            else:
                recipe, left_out = lesser
        if step is None:
            return [_out_of_memory(item)]
        outcome = self._in_one_task(item, recipe, step.memory_bytes)
        if isinstance(outcome, Crash):
            if outcome.reason is FailedReason.OUT_OF_MEMORY:
                self.memory.killed(item.id)
            return outcome
        self.memory.forget(item.id)
        if left_out is None:
            return outcome
        return [replace(row, degraded=left_out) if row.status == "done" else row for row in outcome]

    def _large(self, items: Sequence[tuple[WorkItem, int]]) -> Iterator[list[ImageStatus]]:
        """Large images in tasks of their own, as many at a time as there is memory for; rows of those that die miss."""
        waiting = list(items)
        running: list[ray.ObjectRef] = []
        try:
            while waiting or running:
                if self.workspace.stop.exists():
                    waiting.clear()
                while waiting and len(running) < self.options.slots:
                    item, needed_bytes = waiting.pop(0)
                    try:
                        memory = self.memory.reserve(item.id, needed_bytes)
                    except ImageError as error:
                        yield [_failed(item, error.reason, str(error))]
                        continue
                    task = self._task("one large image", memory)
                    running.append(task.remote(item, {item.recipe: self.recipes[item.recipe]}, self.workspace_alone))
                done, running = ray.wait(running, timeout=START_S) if running else ([], [])
                for ref in done:
                    try:
                        yield ray.get(ref)
                    except RayTaskError as error:
                        raise JobError(f"{self.job}: a worker is broken: {error.cause}") from error
                    except RayError as error:  # its row is missing: it is the next suspect
                        log.info("a large image ended its process (%s)", type(error).__name__)
        finally:
            for ref in running:
                ray.cancel(ref, force=True)

    @property
    def workspace_alone(self) -> Workspace:
        """For tasks of one image: whatever it needs, it isn't handed back."""
        return replace(self.workspace, budget_bytes=None)

    def _task(self, what: str, memory_bytes: int | None) -> Any:
        """The Ray task of one image that isn't part of the stream."""
        options = self.options
        return _alone.options(
            name=f"{self.job}: {what}",
            memory=memory_bytes,
            num_gpus=options.gpus or None,
            resources=dict(options.requires) or None,
        )

    def _in_one_task(self, item: WorkItem, recipe: Recipe, memory_bytes: int) -> list[ImageStatus] | Crash:
        if memory_bytes > self.memory.share_bytes:
            outcome = self._try_in_one_task(item, recipe, memory_bytes, QUEUE_S)
            if outcome is not None:
                return outcome
            memory_bytes = self.memory.share_bytes
        return self._try_in_one_task(item, recipe, memory_bytes, None) or []

    def _try_in_one_task(
        self, item: WorkItem, recipe: Recipe, memory_bytes: int, queue_s: float | None
    ) -> list[ImageStatus] | Crash | None:
        """Run one image; None when its task hasn't begun, within ``queue_s`` or before the shard was stopped."""
        begun = self.workspace.temporary / f"begun-{uuid.uuid4().hex}"
        task = self._task("one input alone", memory_bytes or None)
        ref = task.remote(item, {item.recipe: recipe}, self.workspace_alone, begun)
        limit = self.workspace.item_timeout_s
        queued = time.monotonic()
        began: float | None = None
        while not ray.wait([ref], timeout=1.0)[0]:
            now = time.monotonic()
            if began is None and begun.exists():
                began = now
            if began is None:
                if self.workspace.stop.exists() or (queue_s is not None and now - queued > queue_s):
                    ray.cancel(ref, force=True)
                    return None
            elif limit is not None and now - began > limit + START_S:
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
                running.append(task.remote(waiting.pop(0), self.workspace.extensions))
            done, running = ray.wait(running)
            try:
                ray.get(done)
            except RayError as error:
                cause = error.cause if isinstance(error, RayTaskError) else type(error).__name__
                raise JobError(f"{self.job}: the results can't be sealed: {cause}; run it again, it goes on") from error


def shard_engines(
    spec: JobSpec, root: Path, epoch: int, recipes: Mapping[int, Recipe], cluster: Cluster
) -> Callable[[str, int, Path], RayEngine]:
    """What makes the engine of each granted shard of a job: (shard, CPUs, stop file) -> engine.

    ``recipes`` may grow while shards run.
    """
    per_cpu = required(spec)

    def engine(shard: str, cpus: int, stop: Path) -> RayEngine:
        memory = MemoryManager(RayCluster().nodes(), cpus)
        workspace = Workspace(
            root=root,
            epoch=epoch,
            stop=stop,
            item_timeout_s=spec.limits.item_timeout,
            durable=spec.durability == "power",
            budget_bytes=memory.image_bytes,
            extensions=deciding_extensions(spec),
        )
        options = StreamOptions(
            name=shard,
            slots=cpus,
            stages="staged" if spec.stages == "staged" else "fused",
            declared=cluster.declared,
            memory_per_task=memory.task_bytes,
            gpus=per_cpu.gpus,
            requires={name: amount for name, amount in per_cpu.custom.items() if name not in RESOURCES},
        )
        return RayEngine(job=spec.name, recipes=recipes, workspace=workspace, options=options, memory=memory)

    return engine


def _failed(item: WorkItem, reason: FailedReason, message: str) -> ImageStatus:
    return ImageStatus(id=item.id, status="failed", reason=reason, message=message, recipe=item.recipe)


def _out_of_memory(item: WorkItem) -> ImageStatus:
    return _failed(item, FailedReason.OUT_OF_MEMORY, "its process needed more memory than the node has, alone as well")


@ray.remote(num_cpus=1, max_retries=0)
def _alone(
    item: WorkItem, recipes: Mapping[int, Recipe], workspace: Workspace, begun: Path | None = None
) -> list[ImageStatus]:
    if begun is not None:
        begun.touch()
    return [row for rows in render_analyze_export([item], recipes, workspace) for row in rows]


_seal = ray.remote(num_cpus=1, max_retries=2)(seal)
"""Workers find it by its own module, which they have in use; importing this one would take them 0.15 s."""
