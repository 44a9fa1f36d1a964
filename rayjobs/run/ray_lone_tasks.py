"""Images in Ray tasks of their own: large ones, and suspects. Nothing waits here without a bound or a look around.

What a task asks for is computed from the nodes alive when it is asked for, and again when it can't be met any more or
nobody has begun with it for a while.
"""

# mypy: disable-error-code="untyped-decorator"
from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

import ray
from ray.exceptions import OutOfMemoryError, RayError, RayTaskError

from pipelines.errors import FailedReason, ImageError, JobError, is_out_of_memory
from pipelines.models import ImageStatus, WorkItem
from pipelines.ray_bounded_tasks import BoundedTasks, is_over
from pipelines.resource_needs import ray_options
from pipelines.stages.block_task import Workspace, render_analyze_export
from pipelines.stages.ray_blocks import StreamOptions, here
from pipelines.stages.recipe import Recipe
from pipelines.stages.unit_leases import UnitLeases
from rayjobs.run import ray_workers
from rayjobs.run.ray_workers import WorkerWatch
from rayjobs.run.worker_watch import Crash, nodes_died

log = logging.getLogger(__name__)

ASK_AGAIN_S = 120.0
"""How long a task may wait to begin; then it is asked for anew, with no more memory than the shard's own share."""
LOOK_AROUND_S = 5.0
UNITS_POLL_S = 0.1
"""How often it is looked whether units have come for the next, while nothing runs."""
NOTHING_IN_HAND = "its process had begun, but never took it in hand"

Outcome = list[ImageStatus] | Crash


class Undone(Enum):
    """A task that gave nothing, through no fault of its image."""

    AGAIN = "again"
    STOPPED = "stopped"


Request = Callable[[bool], int]
"""Whether it has waited in vain -> bytes of memory to reserve with the nodes alive now. Raises ImageError."""


@dataclass(slots=True, eq=False)
class LoneImage:
    """One image and what its task asks for."""

    item: WorkItem
    recipe: Recipe
    request: Request
    waited: bool = False
    node_deaths: int = 0


@dataclass(slots=True)
class _Running:
    image: LoneImage
    ref: ray.ObjectRef
    mark: Path
    """Made by the task when it begins."""
    memory_bytes: int
    asked: float
    looked: float
    begun: bool = False
    at_work: float = 0.0
    """When it began, or was last seen with its image in hand."""


@dataclass(frozen=True, slots=True)
class LoneTasks:
    """Runs images by themselves."""

    name: str
    """What the dashboard shows."""
    job: str
    workspace: Workspace
    options: StreamOptions
    watch: WorkerWatch
    look_around: Callable[[], None]
    """Take note of the nodes that are alive, for the requests that follow."""
    units: UnitLeases | None = None
    """What each needs beside what Ray gives; None: nothing, or the shard holds it."""

    def run(self, images: Sequence[LoneImage], at_once: int) -> Iterator[tuple[LoneImage, Outcome]]:
        """The images with what became of them, as they end; those that a stop came before are missing."""
        waiting = list(images)
        with BoundedTasks[_Running](at_once) as tasks:
            while waiting or tasks:
                if self.workspace.stop.exists():
                    waiting.clear()
                while self._may_begin(waiting, tasks) and waiting and tasks.has_room:
                    image = waiting.pop(0)
                    try:
                        begun = self._begin(image)
                    except ImageError as error:
                        yield image, Crash(error.reason, str(error), final=True)
                    else:
                        tasks.begin(begun.ref, begun)
                if tasks:
                    tasks.wait(1.0)
                elif waiting:
                    time.sleep(UNITS_POLL_S)
                for task in tasks:
                    outcome = self._look_at(task)
                    if outcome is None:
                        continue
                    tasks.end(task.ref)
                    if outcome is Undone.AGAIN:
                        waiting.insert(0, task.image)
                    elif not isinstance(outcome, Undone):
                        yield task.image, outcome

    def _may_begin(self, waiting: Sequence[LoneImage], tasks: BoundedTasks[_Running]) -> bool:
        return self.units is None or self.units.may_begin(len(waiting), len(tasks), busy=bool(tasks))

    def _begin(self, image: LoneImage) -> _Running:
        self.look_around()
        memory_bytes = image.request(image.waited)
        mark = self.workspace.temporary / f"begun-{uuid.uuid4().hex}"
        task = _alone.options(
            **ray_options(
                cpus=1,
                gpus=self.options.gpus,
                memory_bytes=memory_bytes,
                resources=self.options.requires,
                name=f"{self.job}: {self.name}",
            )
        )
        workspace = replace(self.workspace, budget_bytes=None)  # whatever it needs, it isn't released
        now = time.monotonic()
        ref = task.remote(image.item, {image.item.recipe: image.recipe}, workspace, mark)
        return _Running(image, ref, mark, memory_bytes, now, now)

    def _look_at(self, task: _Running) -> Outcome | Undone | None:
        """What became of a task, which is over or to be ended; None while there is nothing to say."""
        if is_over(task.ref):
            return self._outcome(task)
        if task.image.item.id in self.watch.abandoned:
            return self._crash(task)
        if not task.begun and task.mark.exists():
            task.begun, task.at_work = True, time.monotonic()
        if task.begun:
            return self._look_at_begun(task)
        if self.workspace.stop.exists():
            return Undone.STOPPED
        return Undone.AGAIN if self._must_ask_again(task) else None

    def _look_at_begun(self, task: _Running) -> Crash | None:
        """One with its image in hand is the watch's, which ends it; of one without, nobody but this knows."""
        now = time.monotonic()
        if now - task.looked < LOOK_AROUND_S:
            return None
        task.looked = now
        if self.watch.in_hand({task.image.item.id}):
            task.at_work = now
        if now - task.at_work <= ray_workers.QUIET_S:
            return None
        log.warning("input %d: its process does nothing and is ended", task.image.item.id)
        return Crash(FailedReason.CRASHED, NOTHING_IN_HAND)

    def _must_ask_again(self, task: _Running) -> bool:
        now = time.monotonic()
        if now - task.asked > ASK_AGAIN_S:
            task.image.waited = True
        elif now - task.looked < LOOK_AROUND_S:
            return False
        else:
            task.looked = now
            self.look_around()
            try:
                if task.image.request(task.image.waited) >= task.memory_bytes:
                    return False
            except ImageError:
                log.info("input %d: no node can hold it any more", task.image.item.id)
        return True

    def _outcome(self, task: _Running) -> Outcome | Undone:
        try:
            rows: list[ImageStatus] = ray.get(task.ref)
        except RayTaskError as error:
            if isinstance(error.cause, Exception) and is_out_of_memory(error.cause):
                return Crash(FailedReason.OUT_OF_MEMORY, "there was no memory for its results")
            raise JobError(f"{self.job}: a worker is broken: {error.cause}") from error
        except OutOfMemoryError:
            return Crash(FailedReason.OUT_OF_MEMORY, "its process needed more memory than the node has")
        except RayError as error:
            log.info("%s: its process ended (%s)", self.name, type(error).__name__)
            return self._crash(task)
        for row in rows:
            if row.reason == FailedReason.OUT_OF_MEMORY:
                return Crash(FailedReason.OUT_OF_MEMORY, row.message or "there was no memory for it")
        return rows

    def _crash(self, task: _Running) -> Crash | Undone:
        number = task.image.item.id
        crash = self.watch.crashes([number]).get(number, Crash(FailedReason.CRASHED, "its process ended as it began"))
        if crash is not None:
            return crash
        task.image.node_deaths += 1
        return nodes_died(task.image.node_deaths) or Undone.AGAIN


@ray.remote
def _alone(item: WorkItem, recipes: Mapping[int, Recipe], workspace: Workspace, mark: Path) -> list[ImageStatus]:
    mark.touch()
    return [row for rows in render_analyze_export([item], recipes, here(workspace)) for row in rows]
