"""The image processor for interactive use: arrays in, rendered arrays out, in parallel on Ray.

Covers futures and batches, processing hints, extensions, the two caches and an orderly end. What a hint does:
``processing_strategies``; how work gets to workers: ``ray_pool``. Jobs over files don't come through here.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Any

import numpy as np

from pipelines.admission import offered
from pipelines.cache_keys import chain_key
from pipelines.contracts import ProcessorExtension
from pipelines.errors import FailedReason, ImageError, RayjobsError
from pipelines.extensions.extension_manager import process_extensions
from pipelines.models import ImageOperation
from pipelines.operations import OPERATIONS, Image
from pipelines.operations.chain import as_operations
from pipelines.processor.batch import results_of
from pipelines.processor.own_extensions import OwnExtensions
from pipelines.processor.processing_pool import (
    PoolError,
    ProcessingPool,
    RenderedImage,
    RenderRecipe,
    RenderRequest,
)
from pipelines.processor.processing_stats import ProcessingStats, Tally
from pipelines.processor.processing_strategies import STRATEGIES, ProcessingStrategy
from pipelines.processor.render_cache import Lookup, RenderCache, is_array
from pipelines.provider_units import ProviderUnits
from pipelines.registry import nearest
from pipelines.result_cache import ResultCache

CACHE_SHARE = 0.25
"""Of the object store, for the first cache level, unless told otherwise."""
DISK_BACKLOG = 16
"""Results that may wait to be written to disk; when the disk is slower than that, some aren't kept there."""
EXTENSION_KEYS = ("processors", "resources", "strategies")

Asked = ImageOperation | Mapping[str, Any] | str
"""An operation as people write it."""

_log = logging.getLogger(__name__)


class ExtensibleImageProcessor:
    """Renders images in parallel; every method may be called from any thread.

    Needs a Ray cluster: create it inside ``with rayjobs.ray_session(...)``, and end it with ``shutdown`` or by using
    it as a context manager. Input images are arrays (uint8, uint16, float32 in either byte order; (M, N), (M, N, 3)
    or (M, N, 4)) or Ray object references to such arrays; don't change an array before its result is there. Results
    are read-only: they may be views of the object store. In a session of ``rayjobs`` the cluster's coordinator is
    asked for CPUs, burst by burst, so that jobs and processing share them; elsewhere only ``max_workers`` bounds it.

    Parameters
    ----------
    max_workers
        Tasks at a time; how many run at once is limited by the cluster's CPUs as well.
    cache_size
        Rendered images that the first cache level holds at most; 0: none.
    extension_config
        ``processors``: name -> ProcessorExtension, registered at once. ``resources``: ResourceProviders.
        ``strategies``: further ProcessingStrategies; one that requires units of a resource (``gpu``) is offered when a
        provider has them.
    cache_bytes
        Bound of the first cache level; a quarter of the object store unless told otherwise. Inputs count as well.
    disk_cache
        The second level, such as ``actors.DiskCache``; None: no second level.
    pool
        Other workers than Ray's tasks.
    """

    def __init__(
        self,
        max_workers: int = 4,
        cache_size: int = 100,
        extension_config: Mapping[str, Any] | None = None,
        *,
        cache_bytes: int | None = None,
        disk_cache: ResultCache | None = None,
        pool: ProcessingPool | None = None,
    ) -> None:
        config = _checked_config(extension_config or {})
        if max_workers < 1 or cache_size < 0:
            raise RayjobsError("max_workers must be at least 1, cache_size at least 0")
        self._units = ProviderUnits({})
        for provider in config.get("resources", ()):
            self._units.register_all(provider)
        self._strategies: dict[str, ProcessingStrategy] = dict(STRATEGIES) | {
            each.hint: each for each in config.get("strategies", ())
        }
        self._pool = pool or _ray_pool(max_workers, self._units)
        self._cache = RenderCache(
            self._pool,
            max_entries=cache_size,
            max_bytes=int(self._pool.memory_bytes() * CACHE_SHARE) if cache_bytes is None else cache_bytes,
            disk=disk_cache,
        )
        self._disk_thread = ThreadPoolExecutor(1, "rayjobs-disk-cache")
        self._disk_slots = threading.Semaphore(DISK_BACKLOG)
        self._callback_thread = ThreadPoolExecutor(1, "rayjobs-callbacks")
        self._tally = Tally()
        self._lock = threading.Lock()
        self._extensions = OwnExtensions()
        self._closed = False
        try:
            for name, processor in config.get("processors", {}).items():
                self.register_processor_extension(name, processor)
        except RayjobsError:
            self.shutdown()
            raise

    def render_pipeline_async(
        self,
        image: object,
        operations: Sequence[Asked],
        processing_hint: str = "default",
        callback: Callable[[Image], None] | None = None,
    ) -> Future[Image]:
        """Begin to render an image.

        Parameters
        ----------
        image
            An array, or a Ray object reference to one.
        operations
            Applied in this order, each an ImageOperation, ``{name: parameters}`` as in a job file, or a name;
            ``auto_orient`` takes images as upright unless it is given an orientation.
        processing_hint
            One of ``get_processing_hints()``.
        callback
            Gets the result, if there is one, on a thread of the processor's; callbacks run one after the other.

        Returns
        -------
        concurrent.futures.Future
            The rendered image, read-only; or an ImageError, of this image alone. Can be cancelled while it waits.

        Raises
        ------
        RayjobsError
            The chain is wrong, the hint isn't offered, or the processor was shut down.
        """
        (future,) = self._submit([image], operations, processing_hint)
        if callback is not None:
            future.add_done_callback(partial(self._call_back, callback))
        return future

    def render_pipeline_batch(
        self, images: Sequence[object], operations: Sequence[Asked], processing_hint: str = "default"
    ) -> list[Image]:
        """Render images and wait for them; the results are in the order of the images. See ``render_pipeline_async``.

        Equal images are rendered once, and share their result; of references, which aren't looked into, the same ones.

        Raises
        ------
        BatchError
            An image failed. All others were rendered: the error has their results.
        RayjobsError
            As ``render_pipeline_async``.
        """
        futures = self._submit(images, operations, processing_hint)
        return results_of(futures)

    def register_processor_extension(self, name: str, processor: ProcessorExtension) -> Callable[[], None]:
        """Make an extension usable as an operation of this processor; the returned function takes it out again.

        It must be picklable: workers get it with the images. ``name`` is what its ``get_name`` says. Another processor
        may have another one of that name.

        Raises
        ------
        ExtensionError
            It is no ProcessorExtension, calls itself otherwise, or the name is taken.
        PoolError
            The processor was shut down.
        """
        return self._extensions.register(name, processor)

    def get_available_processors(self) -> list[str]:
        """Names of all operations that a chain may have, this processor's extensions included."""
        with OPERATIONS.lent(self._extensions.operations()):
            return sorted(OPERATIONS)

    def get_processing_hints(self) -> list[str]:
        """The hints that can be given now; ``gpu`` among them only where a provider has one."""
        return [hint for hint, strategy in self._strategies.items() if self._units.offers(strategy.requires)]

    def get_processing_stats(self) -> ProcessingStats:
        """What was done since the processor was made."""
        counts, by_hint, seconds = self._tally.snapshot()
        pool = self._pool.stats()
        memory, disk = self._cache.stats()
        return ProcessingStats(
            submitted=counts["submitted"],
            completed=counts["completed"],
            failed=counts["failed"],
            cancelled=counts["cancelled"],
            rendered=counts["rendered"],
            waiting=pool.waiting,
            running=pool.running,
            tasks=pool.tasks,
            render_seconds=seconds,
            by_hint=by_hint,
            memory_cache=memory,
            disk_cache=disk,
        )

    def clear_cache(self, *, disk: bool = False) -> None:
        """Forget rendered images; those on disk, which other jobs share, only when told so."""
        self._cache.clear(disk=disk)

    def shutdown(self) -> None:
        """Cancel what waits, wait for what runs (10 s, then it is stopped), free everything.

        Calling it again does nothing.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._extensions.close()
        self._pool.shutdown()
        self._disk_thread.shutdown()
        self._callback_thread.shutdown()
        self._cache.clear(disk=False)

    def __enter__(self) -> ExtensibleImageProcessor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()

    def _submit(self, images: Sequence[object], operations: Sequence[Asked], hint: str) -> list[Future[Image]]:
        recipe = self._recipe(as_operations(operations), hint)
        first: dict[str, list[tuple[object, Future[Image]]]] = {}
        """Of this call: images whose rendering has begun, by what they may be told apart by."""
        futures: list[Future[Image]] = []
        for image in images:
            self._tally.submitted(hint)
            future: Future[Image] = Future()
            future.add_done_callback(self._count)
            futures.append(future)
            if not is_array(image) and not self._pool.is_reference(image):
                future.set_exception(_no_image(image))
                continue
            lookup = self._cache.find(image, recipe)
            if lookup.pixels is not None:
                future.set_result(lookup.pixels)
                continue
            keep = partial(self._keep, lookup, image, None)
            request = RenderRequest(image, recipe, future, keep)
            begun = first.setdefault(self._cache.likeness(image, lookup), [])
            same = next((other for like, other in begun if self._cache.are_equal(like, image)), None)
            if same is not None:
                same.add_done_callback(partial(self._follow, request))
                continue
            begun.append((image, future))
            if self._cache.uses_disk(image, recipe):
                self._disk_thread.submit(self._from_disk, lookup, request)
            else:
                self._pool.submit([request])  # at once: workers begin while the others are still looked up
        return futures

    def _follow(self, request: RenderRequest, first: Future[Image]) -> None:
        """The end of an image that equals another one of its call."""
        if first.cancelled():  # that one alone isn't wanted any more
            try:
                self._pool.submit([request])
            except PoolError:
                request.future.cancel()
                request.future.set_running_or_notify_cancel()
            return
        if not request.future.set_running_or_notify_cancel():
            return
        error = first.exception()
        if error is not None:
            request.future.set_exception(error)
        else:
            request.future.set_result(first.result())

    def _recipe(self, operations: tuple[ImageOperation, ...], hint: str) -> RenderRecipe:
        if self._closed:
            raise PoolError("the processor was shut down")
        names = {operation.name for operation in operations}
        own = self._extensions.named(names)
        plugins = process_extensions().versions(sorted(names - own.keys()))
        with OPERATIONS.lent({name: operation for name, (_, operation) in own.items()}):
            chain = chain_key(operations)
        return RenderRecipe(
            operations=operations,
            chain=chain,
            strategy=self._strategy(hint),
            extensions=tuple(lent for lent, _ in own.values()),
            plugins=tuple(plugins.items()),
        )

    def _strategy(self, hint: str) -> ProcessingStrategy:
        offered = self.get_processing_hints()
        if hint in offered:
            return self._strategies[hint]
        if hint in self._strategies:
            needs = ", ".join(f"{units} {name}" for name, units in self._strategies[hint].requires.items())
            raise RayjobsError(f"processing hint {hint!r} needs {needs}, and no resource provider has them")
        known = f"; there are {', '.join(offered)}"
        raise RayjobsError(f"unknown processing hint {hint!r}{nearest(hint, offered)}{known}")

    def _from_disk(self, lookup: Lookup, request: RenderRequest) -> None:
        """On the disk cache's thread: use what is there, or have it rendered and kept."""
        if self._closed:
            request.future.cancel()
            request.future.set_running_or_notify_cancel()
            return
        key, pixels = self._cache.find_on_disk(request.image, request.recipe)
        try:
            if pixels is None:
                keep = partial(self._keep, lookup, request.image, key)
                self._pool.submit([RenderRequest(request.image, request.recipe, request.future, keep)])
            elif request.future.set_running_or_notify_cancel():
                request.future.set_result(pixels)
        except PoolError as error:
            if request.future.set_running_or_notify_cancel():
                request.future.set_exception(error)

    def _keep(self, lookup: Lookup, image: object, disk_key: str | None, rendered: RenderedImage) -> None:
        self._tally.rendered(rendered.seconds)
        self._cache.keep(lookup, image, rendered)
        if disk_key is None or self._closed or not self._disk_slots.acquire(blocking=False):
            return
        try:
            writing = self._disk_thread.submit(self._cache.keep_on_disk, disk_key, rendered.pixels)
        except RuntimeError:  # shut down in this moment
            self._disk_slots.release()
            return
        writing.add_done_callback(lambda _: self._disk_slots.release())

    def _call_back(self, callback: Callable[[Image], None], future: Future[Image]) -> None:
        if future.cancelled() or future.exception() is not None:
            return

        try:
            calling = self._callback_thread.submit(callback, future.result())
        except RuntimeError:
            _log.warning("an image was rendered while the processor was shut down; its callback isn't called")
        else:
            calling.add_done_callback(_log_failure)

    def _count(self, future: Future[Image]) -> None:
        cancelled = future.cancelled()
        failed = not cancelled and future.exception() is not None
        self._tally.add("cancelled" if cancelled else "failed" if failed else "completed")


def _log_failure(calling: Future[None]) -> None:
    """A caller's mistake must reach its log, and no other image."""
    if error := calling.exception():
        _log.error("the callback of an image failed", exc_info=error)


def _ray_pool(max_workers: int, units: ProviderUnits) -> ProcessingPool:
    from pipelines.processor.ray_pool import RayPool

    return RayPool(max_workers, units, admission=offered())


def _checked_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    for key in config:
        if key not in EXTENSION_KEYS:
            raise RayjobsError(f"extension_config: unknown key {key!r}{nearest(key, EXTENSION_KEYS)}")
    return config


def _no_image(image: object) -> ImageError:
    what = f"an array of {image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
    return ImageError(FailedReason.BAD_SHAPE, f"{what} is no image; give an array of numbers or a Ray object reference")
