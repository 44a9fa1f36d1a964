"""The processor's pool of workers: Ray tasks, started as workers become free.

Waiting images are merged into tasks (``merging``), and there are never more tasks than workers, so that little lies in
the object store at once; results are lent from it, read-only, and those of a task are given back together. A worker
that dies costs its task only: its images are tried again, each alone.

One thread talks to Ray; futures are resolved on it. The cluster is the caller's: see ``rayjobs.ray_session``. Where a
session offers an ``admission``, tasks begin only while a burst has leave.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
import weakref
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
from ray.exceptions import RayError, RayTaskError

from pipelines import retry_rules
from pipelines.admission import Admission, Burst, Maker, Step
from pipelines.errors import FailedReason, ImageError, RayjobsError, is_out_of_memory
from pipelines.operations.registry import Image
from pipelines.processor.merging import next_task
from pipelines.processor.processing_pool import PoolError, PoolStats, RenderedImage, RenderRecipe, RenderRequest
from pipelines.processor.ray_tasks import (
    Stored,
    as_image_error,
    cluster_cpus,
    object_store_bytes,
    packed,
    render_resources,
    start_task,
    stored,
)
from pipelines.provider_units import ProviderError, ProviderUnits
from pipelines.ray_bounded_tasks import BoundedTasks
from pipelines.ray_end import RayEndedError, ray_may_end
from pipelines.resource_needs import ResourcesBusyError

log = logging.getLogger(__name__)

UNKNOWN_BYTES = 8 << 20
"""What a reference is taken for when tasks are merged."""
LENT_SHARE = 0.4
"""Of the object store, for results that callers hold; beyond it they get copies."""
GRACE_S = 10.0
"""Time that running tasks get to end at a shutdown."""
LEASE_POLL_S = 0.1
"""While images wait for units of a provider that someone else may give back."""


@dataclass(slots=True, eq=False)
class _Loan:
    """Results that lie in one object: it is free again when the last of them is."""

    left: int
    size_bytes: int


@dataclass(slots=True, eq=False)
class _Task:
    """A running task: its requests, their inputs as given to Ray, and what stands for its results."""

    requests: list[RenderRequest]
    inputs: list[Stored]
    ref: Any
    """To one outcome per request, and the seconds."""
    holder: str
    """Under which units of providers are held for it."""
    tries_alone: int
    """Of its image, with this one; 0 for several images."""


class RayPool:
    """Renders images in Ray tasks; implements ``processing_pool.ProcessingPool``.

    Raises
    ------
    PoolError
        This process isn't connected to Ray.
    """

    def __init__(self, max_workers: int, units: ProviderUnits | None = None, *, admission: Maker | None = None) -> None:
        if not ray.is_initialized():
            raise PoolError("images are rendered on Ray: create the processor inside `with rayjobs.ray_session(...)`")
        self._max_workers = max_workers
        self._at_once = max(min(max_workers, cluster_cpus()), 1)
        """Tasks that can run at the same time; the others are on their way."""
        self._units = units or ProviderUnits({})
        self._make_admission = admission
        self._admission: Admission | None = None
        """The pool's thread asks it."""
        self._burst = None if admission is None else Burst()
        self._resources = render_resources()
        self._memory_bytes = object_store_bytes()
        self._waiting: deque[RenderRequest] = deque()
        self._again: deque[tuple[RenderRequest, int]] = deque()
        """Images whose worker died, with the number of the try that comes; their futures run already."""
        self._running = BoundedTasks[_Task](max_workers)
        self._ended: deque[_Task] = deque()
        self._tasks = 0
        self._packed: tuple[RenderRecipe, bytes] | None = None
        """The last recipe, as tasks get it: pickling it for each task of a batch costs as much as starting it."""
        self._lent_bytes = 0
        self._given_back: deque[_Loan] = deque()
        """One entry for each lent result that was freed: finalizers run anywhere, so they may not wait for a lock."""
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="rayjobs-processor", daemon=True)
        self._thread.start()

    def submit(self, requests: Sequence[RenderRequest]) -> None:
        with self._changed:
            if self._closing:
                raise PoolError("the processor was shut down")
            self._waiting.extend(requests)
            self._changed.notify_all()

    def is_reference(self, image: object) -> bool:
        return isinstance(image, ray.ObjectRef)

    def reference_key(self, reference: object) -> str:
        assert isinstance(reference, ray.ObjectRef)
        return str(reference.hex())

    def fetch(self, handle: object) -> Image:
        assert isinstance(handle, Stored)
        if isinstance(handle.value, np.ndarray):
            return handle.value
        try:
            return self._lend([handle.fetch()])[0]
        except RayError as error:
            raise PoolError(f"an image in the object store is lost ({type(error).__name__})") from error

    def memory_bytes(self) -> int:
        return self._memory_bytes

    def stats(self) -> PoolStats:
        with self._changed:
            running = sum(len(task.requests) for task in self._running)
            return PoolStats(waiting=len(self._waiting) + len(self._again), running=running, tasks=self._tasks)

    def shutdown(self) -> None:
        with self._changed:
            self._closing = True
            cancelled = [*self._waiting, *(request for request, _ in self._again)]
            self._waiting.clear()
            self._again.clear()
            self._changed.notify_all()
        for request in cancelled:
            _cancel(request.future)
        if not ray.is_initialized():
            return  # the tasks are gone with the cluster
        self._thread.join(GRACE_S)
        with self._changed:
            late = len(self._running)
            self._running.cancel()
        if late:
            self._thread.join(GRACE_S)

    def _run(self) -> None:
        try:
            try:
                with ray_may_end():
                    self._serve()
            except RayEndedError as error:
                log.info("no image is rendered any more: %s", error)
            finally:
                if self._admission is not None:
                    self._admission.close()
        finally:  # by a mistake in here: nobody may wait for ever
            with self._changed:
                self._closing = True
                left = [*self._waiting, *(request for request, _ in self._again)]
                left += [request for task in self._running for request in task.requests]
            for request in left:
                if not request.future.done():
                    _cancel(request.future)

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._has_work, timeout=self._look_again_s())
                ended = list(self._ended)
                self._ended.clear()
                if self._closing and not self._running:
                    return
            while ended:
                self._collect(ended.pop(0))  # no name of this frame may hold a task's images while it waits
            self._ask_for_leave()
            while self._start_next():
                pass

    def _look_again_s(self) -> float | None:
        if self._waiting:
            return LEASE_POLL_S
        return None if self._burst is None else self._burst.look_again_s()

    def _room(self) -> int:
        """How many tasks there may be: some are on their way while others run, where all CPUs are ours to use."""
        granted = self._at_once if self._burst is None else self._burst.room()
        return self._max_workers if granted >= self._at_once else granted

    def _due(self) -> Step | None:
        if self._burst is None:
            return None
        waiting = bool(self._waiting or self._again)
        return self._burst.due(waiting=waiting, running=bool(self._running), now=time.monotonic())

    def _ask_for_leave(self) -> None:
        """Do what is due about leave to work; one that can't be asked for holds nobody up."""
        with self._changed:
            step = self._due()
            if step is None or self._burst is None:
                return
            self._burst.carried_out(step)
        try:
            if self._admission is None:
                assert self._make_admission is not None
                self._admission = self._make_admission()
            if step is Step.ASK:
                self._admission.ask(self._at_once, self._resources, self._hear)
            else:
                self._admission.give_back(again=step is Step.STAND_IN_LINE)
        except RayjobsError as error:
            log.warning("images are rendered without asking the coordinator: %s", error)
            with self._changed:
                self._burst = None

    def _hear(self, cpus: int) -> None:
        """On a thread of the admission's."""
        with self._changed:
            if self._burst is not None:
                self._burst.heard(cpus, time.monotonic())
                self._changed.notify_all()

    def _has_work(self) -> bool:
        if self._ended or (self._closing and not self._running) or self._due() is not None:
            return True
        candidates = (*(request for request, _ in self._again), *self._waiting)
        return len(self._running) < self._room() and any(self._may_start(each.recipe) for each in candidates)

    def _may_start(self, recipe: RenderRecipe) -> bool:
        strategy = recipe.strategy
        if strategy.alone and any(task.requests[0].recipe.strategy.alone for task in self._running):
            return False
        return not strategy.requires or self._units.may_take(strategy.requires)

    def _start_next(self) -> bool:
        """Start one task, if there is room and work; whether there may be more to start."""
        with self._changed:
            if len(self._running) >= self._room():
                return False
            again = next((each for each in self._again if self._may_start(each[0].recipe)), None)
            if again is not None:
                self._again.remove(again)
            else:
                requests = next_task(self._waiting, workers=self._at_once, size_of=_size_of, may_start=self._may_start)
                if not requests:
                    return False
        if again is not None:
            self._start([again[0]], again[1])
            return True
        requests = [request for request in requests if request.future.set_running_or_notify_cancel()]
        if requests:
            self._start(requests, 1 if len(requests) == 1 else 0)
        return True

    def _start(self, requests: list[RenderRequest], tries_alone: int) -> None:
        recipe = requests[0].recipe
        holder = uuid.uuid4().hex
        try:
            self._units.take(holder, recipe.strategy.requires)
            inputs = stored([request.image for request in requests])
            if self._packed is None or self._packed[0] is not recipe:
                self._packed = recipe, packed(recipe)
            ref = start_task(*self._packed, inputs, self._resources)
        except ResourcesBusyError:  # somebody was faster
            self._try_again(requests[0], tries_alone)
            return
        except (RayError, RayjobsError, ValueError, TypeError, OSError) as error:
            self._units.give_back(holder)
            own: Exception = (
                error if isinstance(error, RayjobsError) else PoolError(f"no task could be started: {error}")
            )
            if isinstance(error, ProviderError):
                own = ImageError(FailedReason.PLUGIN_ERROR, str(error))
            for request in requests:
                request.future.set_exception(own)
            return
        task = _Task(requests, inputs, ref, holder, tries_alone)
        with self._changed:
            self._running.begin(ref, task)
            self._tasks += 1
        ref.future().add_done_callback(lambda _: self._end(task))

    def _end(self, task: _Task) -> None:
        """On a thread of Ray's."""
        with self._changed:
            self._ended.append(task)
            self._changed.notify_all()

    def _collect(self, task: _Task) -> None:
        self._units.give_back(task.holder)
        try:
            *outcomes, seconds = ray.get(task.ref)
        except RayError as error:
            self._lost(task, error)
        else:
            pixels = iter(self._lend([each for each in outcomes if not isinstance(each, ImageError)]))
            for index, (request, outcome) in enumerate(zip(task.requests, outcomes, strict=True)):
                if isinstance(outcome, ImageError):
                    if is_out_of_memory(outcome) and _may_be_tried_again(task):
                        self._try_again(request, task.tries_alone + 1)
                    else:
                        request.future.set_exception(outcome)
                    continue
                source, result = task.inputs[index], Stored(task.ref, index)
                rendered = RenderedImage(pixels=next(pixels), seconds=seconds[index], source=source, result=result)
                request.rendered(rendered)
                request.future.set_result(rendered.pixels)
        with self._changed:
            self._running.forget(task.ref)

    def _lost(self, task: _Task, error: Exception) -> None:
        """What to do about a task that brought nothing back."""
        if len(task.requests) > 1 or (_may_be_tried_again(task) and not isinstance(error, RayTaskError)):
            for request in task.requests:
                self._try_again(request, task.tries_alone + 1)
            return
        task.requests[0].future.set_exception(as_image_error(error))

    def _try_again(self, request: RenderRequest, tries_alone: int) -> None:
        with self._changed:
            if not self._closing:
                self._again.append((request, tries_alone))
                return
        request.future.set_exception(PoolError("the processor was shut down"))

    def _lend(self, results: list[Image]) -> list[Image]:
        """The pixels of one object as callers get them: views of it, or copies when they hold much of the store."""
        loan = _Loan(len(results), sum(pixels.nbytes for pixels in results))
        with self._changed:
            while self._given_back:
                ended = self._given_back.popleft()
                ended.left -= 1
                self._lent_bytes -= 0 if ended.left else ended.size_bytes
            lends = self._lent_bytes + loan.size_bytes <= LENT_SHARE * self._memory_bytes
            self._lent_bytes += loan.size_bytes if lends else 0
        if not lends:
            return [_own(pixels) for pixels in results]
        for pixels in results:
            weakref.finalize(pixels, self._given_back.append, loan).atexit = False
        return results


def _may_be_tried_again(task: _Task) -> bool:
    return task.tries_alone < retry_rules.PROCESSOR_IMAGE.tries


def _own(pixels: Image) -> Image:
    copy = pixels.copy()
    copy.flags.writeable = False
    return copy


def _cancel(future: Future[Image]) -> None:
    if future.cancel():
        future.set_running_or_notify_cancel()
    else:  # it runs as the future has it: an image whose worker died, waiting for its next try
        future.set_exception(PoolError("the processor was shut down"))


def _size_of(request: RenderRequest) -> int:
    return request.image.nbytes if isinstance(request.image, np.ndarray) else UNKNOWN_BYTES
