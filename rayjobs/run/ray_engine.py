"""What a granted shard runs on Ray: its stream, large images and suspects in their own tasks, sealing its results."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from actors.cache.disk_cache import DiskCache
from actors.resources.cluster_view import Node, able_nodes
from actors.resources.memory_manager import MemoryManager, lighter
from actors.resources.ray_cluster import RayCluster
from pipelines.errors import FailedReason, JobError
from pipelines.models import ImageStatus, WorkItem
from pipelines.ray_bounded_tasks import BoundedTasks
from pipelines.ray_end import ray_may_end
from pipelines.resource_needs import GPU, ray_options
from pipelines.retry_rules import MOST_ATTEMPTS, SEALING
from pipelines.stages.block_task import Workspace, seal
from pipelines.stages.ray_blocks import StageShare, StreamExit, StreamOptions, few_statuses
from pipelines.stages.recipe import Recipe
from pipelines.storage.custody import Written
from pipelines.tables import SealRequest
from rayjobs.job.job_spec import JobSpec
from rayjobs.job.options import deciding_extensions
from rayjobs.job.stage_needs import (
    chosen_stages,
    given_by_ray,
    most_at_once,
    of_nodes,
    rendering_has_all,
    required,
    stage_needs,
    takes_ray_data,
)
from rayjobs.run.ray_lone_tasks import LoneImage, LoneTasks, Outcome
from rayjobs.run.ray_session import Cluster, is_alone
from rayjobs.run.ray_workers import WorkerWatch, has_room
from rayjobs.run.shard_runner import recipes_needed, stream_rows
from rayjobs.run.stage_units import ALONE, LeaseMaker, StageUnits
from rayjobs.run.worker_watch import Crash

log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class RayEngine:
    """Runs the work of one shard of a job; implements ``shard_runner.ShardEngine``."""

    job: str
    recipes: Mapping[int, Recipe]
    workspace: Workspace
    options: StreamOptions
    memory: MemoryManager
    nodes: Callable[[], Sequence[Node]] | None = None
    """The nodes alive now that may run an image of the job; None: they stay those that ``memory`` knows."""
    watch: WorkerWatch = None  # type: ignore[assignment]
    """Of the run; one of its own unless given."""
    units: Mapping[str, Callable[[], StageUnits]] = field(default_factory=dict)
    """Stage, or ``ALONE``, -> what makes the leases of its tasks."""
    waits: bool = False
    """Whether the last stream was left because nothing was free for it."""

    def __post_init__(self) -> None:
        if self.watch is None:
            self.watch = WorkerWatch(self.workspace.temporary, self.workspace.item_timeout_s)

    @property
    def stream_rows(self) -> int:
        return stream_rows(self.options.slots)

    def stream(self, items: Sequence[WorkItem]) -> Iterator[list[ImageStatus]]:
        """Rows as they come; images that need more than a task of the stream has, as memory, come last."""
        large: list[ImageStatus] = []
        exit = StreamExit()
        self.watch.open_stream(exit, {item.id for item in items})
        recipes = recipes_needed(items, self.recipes)
        try:
            with ray_may_end(), ExitStack() as opened:
                leases = {s: opened.enter_context(closing(units())) for s, units in self.units.items() if s != ALONE}
                stream = items, recipes, self.workspace, self.options, exit
                by_ray_data = takes_ray_data(self.options.stages, len(items))
                for rows in _by_ray_data(*stream, leases) if by_ray_data else few_statuses(*stream):
                    self.watch.heard_of(exit)
                    large += [row for row in rows if row.needs_bytes is not None]
                    yield [row for row in rows if row.needs_bytes is None]
        finally:
            self.watch.close_stream(exit)
        self.waits = exit.left and not self.watch.abandoned and not has_room()
        if large:
            by_id = {item.id: item for item in items}
            yield from self._large([(by_id[row.id], row.needs_bytes or 0) for row in large])

    def _large(self, items: Sequence[tuple[WorkItem, int]]) -> Iterator[list[ImageStatus]]:
        """Large images in tasks of their own, as many at a time as there is memory for; rows of those that die miss."""

        def reserve(item: WorkItem, needed_bytes: int, _waited: bool) -> int:
            return self.memory.reserve(item.id, needed_bytes)

        images = [LoneImage(item, self.recipes[item.recipe], partial(reserve, item, needed)) for item, needed in items]
        for image, outcome in self._alone("one large image", images, self.options.slots):
            if not isinstance(outcome, Crash):
                yield outcome
            elif outcome.final or outcome.reason is FailedReason.OUT_OF_MEMORY:
                yield [_failed(image.item, outcome.reason, outcome.message)]  # else it is the next suspect

    def alone(
        self, item: WorkItem, reason: FailedReason = FailedReason.CRASHED, tries_left: int = MOST_ATTEMPTS
    ) -> list[ImageStatus] | Crash:
        recipe, left_out = self.recipes[item.recipe], None
        lesser = lighter(recipe)
        if reason is FailedReason.OUT_OF_MEMORY:
            self.memory.killed(item.id)
        step = self.memory.next_step(item.id, tries_left, has_lighter=lesser is not None)
        if step is not None and step.fewer_outputs:
            if lesser is None:
                step = None
            else:
                recipe, left_out = lesser
        if step is None:
            return [_failed(item, FailedReason.OUT_OF_MEMORY, _NO_MEMORY)]
        wanted = step.memory_bytes
        image = LoneImage(item, recipe, lambda waited: self.memory.within(wanted, waited=waited))
        outcome = next((outcome for _, outcome in self._alone("one input alone", [image], 1)), [])
        if isinstance(outcome, Crash):
            if outcome.reason is FailedReason.OUT_OF_MEMORY:
                self.memory.killed(item.id)
            return outcome
        self.memory.forget(item.id)
        if left_out is None:
            return outcome
        return [replace(row, degraded=left_out) if row.status == "done" else row for row in outcome]

    def crashes(self, numbers: Iterable[int]) -> dict[int, Crash | None]:
        return self.watch.crashes(numbers)

    def _alone(self, name: str, images: Sequence[LoneImage], at_once: int) -> Iterator[tuple[LoneImage, Outcome]]:
        with ray_may_end(), ExitStack() as opened:
            units = opened.enter_context(closing(self.units[ALONE]())) if ALONE in self.units else None
            tasks = LoneTasks(name, self.job, self.workspace, self.options, self.watch, self._look_around, units)
            yield from tasks.run(images, at_once)

    def _look_around(self) -> None:
        nodes = [] if self.nodes is None else self.nodes()
        if nodes:  # with none, the run's loop ends the job
            self.memory.set_nodes(nodes)

    @ray_may_end()
    def seal(self, requests: Sequence[SealRequest]) -> list[tuple[Written, ...]]:
        """Write sealed parts, as many at a time as the shard has slots."""
        task = _seal.options(name=f"{self.job}: seal results")
        waiting, tries = list(requests), 1
        written: dict[Path, tuple[Written, ...]] = {}
        with BoundedTasks[SealRequest](self.options.slots) as tasks:
            while waiting or tasks:
                while waiting and tasks.has_room:
                    request = waiting.pop(0)
                    tasks.begin(task.remote(request, self.workspace.extensions), request)
                done = tasks.wait(SEALING.patience_s)
                try:
                    written |= dict(ray.get(done))
                except RayError as error:
                    cause = error.cause if isinstance(error, RayTaskError) else type(error).__name__
                    raise JobError(
                        f"{self.job}: the results can't be sealed: {cause}; run it again, it goes on"
                    ) from error
                for ref in done:
                    tasks.forget(ref)
                if not done:
                    if tries == SEALING.tries:
                        text = f"no worker has sealed results for {SEALING.tries * SEALING.patience_s / 60:g} minutes"
                        raise JobError(f"{self.job}: {text}; run it again, it goes on")
                    tries += 1
                    waiting += tasks.end_all()
        return [written[request.target] for request in requests]


def shard_engines(
    spec: JobSpec,
    root: Path,
    epoch: int,
    recipes: Mapping[int, Recipe],
    cluster: Cluster,
    watch: WorkerWatch,
    leases: LeaseMaker,
) -> Callable[[str, int, Path], RayEngine]:
    """What makes the engine of each granted shard of a job: (shard, CPUs, stop file) -> engine.

    ``recipes`` may grow while shards run.
    """
    per_image = of_nodes(required(spec))

    def engine(shard: str, cpus: int, stop: Path) -> RayEngine:
        everywhere = RayCluster().nodes()
        memory = MemoryManager(able_nodes(everywhere, per_image), cpus)
        workspace = Workspace(
            root=root,
            epoch=epoch,
            stop=stop,
            item_timeout_s=spec.limits.item_timeout,
            durable=spec.durability == "power",
            budget_bytes=memory.image_bytes,
            at_once=rendering_has_all(spec),
            extensions=deciding_extensions(spec),
            cache=None if spec.cache == "off" else DiskCache(),
        )
        return RayEngine(
            job=spec.name,
            recipes=recipes,
            workspace=workspace,
            options=StreamOptions(
                name=shard,
                slots=cpus,
                takes_all=is_alone() and cpus >= cluster.cpus,
                stages=chosen_stages(spec),
                declared=cluster.declared,
                memory_per_task=memory.task_bytes,
                gpus=per_image.gpus,
                requires=per_image.custom,
                shares=_shares(spec, everywhere, leases.totals()),
            ),
            memory=memory,
            nodes=lambda: able_nodes(RayCluster().nodes(), per_image),
            watch=watch,
            units=leases.of_shard(shard, cpus, stop),
        )

    return engine


def _shares(spec: JobSpec, nodes: Sequence[Node], units: Mapping[str, float]) -> dict[str, StageShare]:
    """Stage -> what its tasks hold besides CPUs, of those whose number that bounds."""
    return {
        stage: StageShare(needs.get(GPU, 0.0), given_by_ray(needs), most)
        for stage, needs in stage_needs(spec).items()
        if (most := most_at_once(needs, nodes, units)) is not None
    }


def _failed(item: WorkItem, reason: FailedReason, message: str) -> ImageStatus:
    return ImageStatus(id=item.id, status="failed", reason=reason, message=message, recipe=item.recipe)


def _by_ray_data(*stream: Any) -> Iterator[list[ImageStatus]]:
    from rayjobs.run.ray_data_alone import stream_statuses

    return stream_statuses(*stream)


_NO_MEMORY = "its process needed more memory than the node has, alone as well"
_seal = ray.remote(**ray_options(cpus=1, max_retries=SEALING.retries))(seal)
"""Workers find it by its own module, which they have in use; importing this one would take them 0.15 s."""
