"""The processor on a real cluster: pixels, futures, isolation, references, caches, extensions, hints, and its end."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from numpy.typing import NDArray

from actors.cache.disk_cache import DiskCache
from actors.coordinator.burst_admission import TASK_TYPE
from actors.coordinator.task_coordinator import TaskCoordinator
from actors.queue.queue_events import Grant, Outcome
from pipelines.contracts import ProcessorExtension, ResourceProvider
from pipelines.errors import FailedReason, ImageError, RayjobsError
from pipelines.extensions.extension_adapters import ExtensionError
from pipelines.models import ImageOperation
from pipelines.operations import OPERATIONS, ChainError, Image, apply_operations
from pipelines.processor.batch import BatchError
from pipelines.processor.processing_pool import PoolError
from pipelines.processor.processing_strategies import STRATEGIES, ProcessingStrategy
from pipelines.processor.processor import ExtensibleImageProcessor
from pipelines.processor.ray_pool import LENT_SHARE, RayPool
from pipelines.resources import ResourceAllocation, ResourceEstimate, ResourceInfo
from pipelines.tasks import Task, TaskPriority
from rayjobs.run.ray_session import ray_session
from tests.gate import Gate
from tests.gate_plugin import GateOperation
from tests.leaks import wait_until
from tests.strategies import example_image

LOOK = [
    ImageOperation("curves", {"points": [[0, 0], [0.3, 0.25], [1, 1]]}),
    ImageOperation("unsharp_mask", {"radius": 2, "amount": 0.5}),
    ImageOperation("hue_saturation", {"saturation": 1.2}),
]
INVERT = [ImageOperation("invert")]
LARGE = (600, 400)
MARK = 254
TIMEOUT_S = 60


class Marker(ProcessorExtension):
    """Sets every sample to a value; for images that begin with ``die``, ``fail`` or ``starve`` it does that."""

    def process(self, image: NDArray[Any], config: dict[str, Any]) -> NDArray[Any]:
        if image.flat[0] == config.get("die"):
            os._exit(1)
        if image.flat[0] == config.get("starve"):
            with Path(config["diary"]).open("a") as diary:
                diary.write(".")
            if Path(config["diary"]).stat().st_size <= config["times"]:
                raise MemoryError
        if image.flat[0] == config.get("fail"):
            raise ValueError("no good")
        return np.full_like(image, config.get("value", MARK))

    def get_name(self) -> str:
        return "marker"

    def get_supported_configs(self) -> list[str]:
        return ["value", "fail", "die", "starve", "diary", "times"]


class CountedProvider(ResourceProvider):
    """Two GPUs that exist on paper, and how many were held at once."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._lock = threading.Lock()
        self.held = self.most_held = self.given = 0

    def get_available_resources(self) -> ResourceInfo:
        return ResourceInfo(total={"gpu": self._total}, available={"gpu": self._total - self.held})

    def allocate(self, amount: int) -> ResourceAllocation:
        with self._lock:
            self.given += 1
            self.held += amount
            self.most_held = max(self.most_held, self.held)
            assert self.held <= self._total
            return ResourceAllocation(allocation_id=str(self.given), resource_type="gpu", amounts={"gpu": amount})

    def release(self, allocation: ResourceAllocation) -> None:
        with self._lock:
            self.held -= int(allocation.amounts["gpu"])


def render_on_paper(image: Image, operations: Sequence[ImageOperation]) -> Image:
    return np.asarray(255 - apply_operations(image, operations).pixels)


GPU = ProcessingStrategy(hint="gpu", summary="of a test", render=render_on_paper, requires={"gpu": 1})


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    with ray_session(name="processor", workers=2):
        yield


@pytest.fixture(scope="module")
def shared(cluster: None) -> Iterator[ExtensibleImageProcessor]:
    with ExtensibleImageProcessor() as processor:
        yield processor


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


def held_up(gate: Gate, **more: float) -> tuple[dict[str, Any], list[ImageOperation]]:
    """Settings of a processor, and operations that are held up at a gate."""
    steps = [ImageOperation("gate", {"place": str(gate.place), **more}), *LOOK]
    return {"extension_config": {"processors": {"gate": GateOperation()}}}, steps


def pictures(count: int, shape: tuple[int, int] = LARGE) -> list[Image]:
    return [example_image("uint8", 3, shape, seed=seed) for seed in range(count)]


def expected(image: Image, operations: Sequence[ImageOperation] = LOOK) -> Image:
    return apply_operations(image, operations).pixels


def result(future: Future[Image]) -> Image:
    return future.result(TIMEOUT_S)


@pytest.mark.parametrize("shape", [(37, 53), LARGE], ids=["small", "large"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_pixels_are_those_of_apply_operations(
    shared: ExtensibleImageProcessor, dtype: str, channels: int, shape: tuple[int, int]
) -> None:
    image = example_image(dtype, channels, shape)
    before = image.copy()
    rendered = result(shared.render_pipeline_async(image, LOOK))
    np.testing.assert_array_equal(rendered, expected(image))
    assert rendered.dtype == image.dtype
    assert not rendered.flags.writeable
    np.testing.assert_array_equal(image, before)


def test_a_batch_keeps_its_order_and_small_images_share_tasks(shared: ExtensibleImageProcessor) -> None:
    images = pictures(40, (24, 31))
    before = shared.get_processing_stats().tasks
    for rendered, image in zip(shared.render_pipeline_batch(images, LOOK), images, strict=True):
        np.testing.assert_array_equal(rendered, expected(image))
    assert shared.get_processing_stats().tasks - before < 40


def test_an_empty_batch_and_an_empty_chain(shared: ExtensibleImageProcessor) -> None:
    assert shared.render_pipeline_batch([], LOOK) == []
    (same,) = shared.render_pipeline_batch(pictures(1), [])
    np.testing.assert_array_equal(same, pictures(1)[0])


def test_any_memory_layout(shared: ExtensibleImageProcessor) -> None:
    image = example_image("uint8", 3, LARGE)
    for view in (image[::2, ::3], np.asfortranarray(image), image[..., ::-1]):
        np.testing.assert_array_equal(
            result(shared.render_pipeline_async(view, LOOK)), expected(np.ascontiguousarray(view))
        )


def test_the_callback_gets_the_result_on_another_thread(shared: ExtensibleImageProcessor) -> None:
    called: Future[tuple[Image, bool]] = Future()

    def callback(image: Image) -> None:
        shared.render_pipeline_batch([image], INVERT)  # a callback may use the processor
        called.set_result((image, threading.current_thread() is threading.main_thread()))

    image = example_image("uint8", 3, LARGE, seed=77)
    future = shared.render_pipeline_async(image, LOOK, callback=callback)
    rendered, on_main_thread = called.result(TIMEOUT_S)
    np.testing.assert_array_equal(rendered, result(future))
    assert not on_main_thread


def test_a_callback_that_fails_disturbs_nobody(
    shared: ExtensibleImageProcessor, caplog: pytest.LogCaptureFixture
) -> None:
    def callback(image: Image) -> None:
        raise KeyError("mine")

    image = example_image("uint8", 3, LARGE, seed=78)
    np.testing.assert_array_equal(result(shared.render_pipeline_async(image, LOOK, callback=callback)), expected(image))
    wait_until(lambda: "the callback of an image failed" in caplog.text)
    np.testing.assert_array_equal(result(shared.render_pipeline_async(image, INVERT)), expected(image, INVERT))


def test_what_is_no_image_fails_alone(shared: ExtensibleImageProcessor) -> None:
    good = pictures(3, (20, 30))
    bad: list[Any] = ["text", np.array([object()]), np.zeros((3, 3)), np.zeros((4, 4, 2), np.uint8), ray.put("text")]
    with pytest.raises(BatchError, match=r"5 of 8 images failed; image 1: ") as caught:
        shared.render_pipeline_batch([good[0], *bad, *good[1:]], LOOK)
    assert sorted(caught.value.errors) == [1, 2, 3, 4, 5]
    for error in caught.value.errors.values():
        assert isinstance(error, ImageError)
        assert error.reason is FailedReason.BAD_SHAPE
    kept = [image for image in caught.value.results if image is not None]
    for rendered, image in zip(kept, good, strict=True):
        np.testing.assert_array_equal(rendered, expected(image))


def test_a_wrong_chain_or_hint_is_refused_at_once(shared: ExtensibleImageProcessor) -> None:
    image = pictures(1)[0]
    with pytest.raises(ChainError, match=r"operation 1 \(gama\).*gamma"):
        shared.render_pipeline_async(image, [ImageOperation("gama")])
    with pytest.raises(RayjobsError, match=r"unknown processing hint 'fats'; did you mean 'fast'"):
        shared.render_pipeline_async(image, LOOK, "fats")
    with pytest.raises(RayjobsError, match="unknown processing hint 'gpu'"):
        shared.render_pipeline_async(image, LOOK, "gpu")


def test_references_are_taken_as_they_are(shared: ExtensibleImageProcessor) -> None:
    images = pictures(3)
    references = [ray.put(image) for image in images]
    for rendered, image in zip(shared.render_pipeline_batch(references, LOOK), images, strict=True):
        np.testing.assert_array_equal(rendered, expected(image))
    hits = shared.get_processing_stats().cache_hits
    shared.render_pipeline_batch(references, LOOK)
    assert shared.get_processing_stats().cache_hits - hits == 3


def test_a_reference_to_a_failed_task_fails_alone(shared: ExtensibleImageProcessor) -> None:
    @ray.remote(max_retries=0)
    def broken() -> Image:
        raise ValueError("not today")

    image = pictures(1, (20, 30))[0]
    with pytest.raises(BatchError, match="not today") as caught:
        shared.render_pipeline_batch([image, broken.remote(), image], INVERT)
    assert list(caught.value.errors) == [1]


@pytest.mark.parametrize("shape", [(37, 53), LARGE], ids=["small", "large"])
def test_the_second_time_is_a_hit(shape: tuple[int, int]) -> None:
    images = [example_image("float32", 3, shape, seed=seed) for seed in range(4)]
    with ExtensibleImageProcessor() as processor:
        first = processor.render_pipeline_batch(images, LOOK)
        second = processor.render_pipeline_batch([image.copy() for image in images], LOOK)
        stats = processor.get_processing_stats()
        assert (stats.rendered, stats.cache_hits, stats.completed) == (4, 4, 8)
        for again, once in zip(second, first, strict=True):
            np.testing.assert_array_equal(again, once)
        processor.render_pipeline_batch(images, LOOK[:2])
        assert processor.get_processing_stats().cache_hits == 4
        processor.clear_cache()
        assert processor.get_processing_stats().memory_cache.entries == 0
        processor.render_pipeline_batch(images, LOOK)
        assert processor.get_processing_stats().rendered == 12


def test_images_that_differ_between_the_samples_of_the_fingerprint_are_told_apart(
    shared: ExtensibleImageProcessor,
) -> None:
    image = example_image("uint8", 3, LARGE, seed=5).copy()
    other = image.copy()
    other.reshape(-1)[5000] ^= 255
    np.testing.assert_array_equal(result(shared.render_pipeline_async(image, INVERT)), expected(image, INVERT))
    np.testing.assert_array_equal(result(shared.render_pipeline_async(other, INVERT)), expected(other, INVERT))


def test_the_first_level_keeps_its_bounds() -> None:
    images = pictures(6)
    each = 2 * images[0].nbytes  # the result, and the input to compare with
    with ExtensibleImageProcessor(cache_size=100, cache_bytes=2 * each) as by_bytes:
        by_bytes.render_pipeline_batch(images, INVERT)
        memory = by_bytes.get_processing_stats().memory_cache
        assert (memory.entries, memory.bytes, memory.evicted) == (2, 2 * each, 4)
    with ExtensibleImageProcessor(cache_size=3) as by_entries:
        by_entries.render_pipeline_batch(images, INVERT)
        assert by_entries.get_processing_stats().memory_cache.entries == 3


def test_the_second_level_outlives_the_processor(tmp_path: Path) -> None:
    images = pictures(3)
    with ExtensibleImageProcessor(disk_cache=DiskCache(tmp_path)) as processor:
        processor.render_pipeline_batch(images, LOOK)
    with ExtensibleImageProcessor(disk_cache=DiskCache(tmp_path)) as other:
        for rendered, image in zip(other.render_pipeline_batch(images, LOOK), images, strict=True):
            np.testing.assert_array_equal(rendered, expected(image))
        stats = other.get_processing_stats()
        assert (stats.rendered, stats.cache_hits) == (0, 3)
        assert stats.disk_cache is not None
        assert stats.disk_cache.hits == 3
        other.render_pipeline_batch(images, LOOK, "quality")
        assert other.get_processing_stats().rendered == 3
        other.clear_cache(disk=True)
        other.render_pipeline_batch(images, LOOK)
        assert other.get_processing_stats().rendered == 6


def test_an_extension_is_an_operation_until_it_is_taken_out(shared: ExtensibleImageProcessor) -> None:
    image = example_image("uint8", 3, LARGE, seed=3)
    chain = [*INVERT, ImageOperation("marker", {"value": 9}), *INVERT]
    undo = shared.register_processor_extension("marker", Marker())
    assert "marker" in shared.get_available_processors()
    with pytest.raises(ExtensionError, match="loaded already"):
        shared.register_processor_extension("marker", Marker())
    rendered = result(shared.render_pipeline_async(image, chain))
    np.testing.assert_array_equal(rendered, np.full_like(image, 246))
    undo()
    undo()
    assert "marker" not in shared.get_available_processors()
    with pytest.raises(ChainError, match="unknown operation"):
        shared.render_pipeline_async(image, chain)


def test_two_processors_with_extensions_of_one_name_do_not_meet(shared: ExtensibleImageProcessor) -> None:
    class Darker(Marker):
        def process(self, image: NDArray[Any], config: dict[str, Any]) -> NDArray[Any]:
            return np.asarray(image // 2)

    images = pictures(4, (40, 30))
    chain = ["marker"]
    with (
        ExtensibleImageProcessor(extension_config={"processors": {"marker": Marker()}}) as one,
        ExtensibleImageProcessor(extension_config={"processors": {"marker": Darker()}}) as two,
        ThreadPoolExecutor(2) as threads,
    ):
        for _ in range(3):
            ones = threads.submit(one.render_pipeline_batch, images, chain)
            twos = threads.submit(two.render_pipeline_batch, images, chain)
            assert all((image == MARK).all() for image in ones.result(TIMEOUT_S))
            for half, image in zip(twos.result(TIMEOUT_S), images, strict=True):
                np.testing.assert_array_equal(half, image // 2)
        assert "marker" in one.get_available_processors()
        assert "marker" not in shared.get_available_processors()
        assert "marker" not in OPERATIONS
        with pytest.raises(ChainError, match="unknown operation"):
            shared.render_pipeline_batch(images, chain)
        with pytest.raises(ExtensionError, match="there is an operation 'invert' already"):
            one.register_processor_extension("invert", type("Own", (Marker,), {"get_name": lambda _: "invert"})())
    with pytest.raises(PoolError, match="was shut down"):
        one.register_processor_extension("marker", Marker())
    assert "marker" not in one.get_available_processors()


def test_operations_are_taken_as_a_job_file_has_them(shared: ExtensibleImageProcessor) -> None:
    image = example_image("uint8", 3, LARGE, seed=21)
    written = ["invert", {"gamma": {"gamma": 1.4}}, {"equalize": None}]
    operations = [ImageOperation("invert"), ImageOperation("gamma", {"gamma": 1.4}), ImageOperation("equalize")]
    (rendered,) = shared.render_pipeline_batch([image], written)
    np.testing.assert_array_equal(rendered, expected(image, operations))
    np.testing.assert_array_equal(result(shared.render_pipeline_async(image, "invert")), 255 - image)
    for wrong in ([{"invert": {}, "gamma": {}}], [{}], [3], [{"gamma": 2}]):
        with pytest.raises(ChainError, match=r"operation 1: (gamma: give a mapping|give a name)"):
            shared.render_pipeline_async(image, wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("hint", ["default", "low_memory"])
def test_equal_images_of_a_batch_are_rendered_once(hint: str) -> None:
    one, two = pictures(2)
    nearly = one.copy()
    nearly[123, 45] ^= 1  # between the samples of a fingerprint
    images: list[object] = [one, two, one.copy(), nearly, one, ray.put(two), two.copy()]
    images += [images[5], np.asfortranarray(one), one[:, :, 0]]
    with ExtensibleImageProcessor(cache_size=0) as processor:
        rendered = processor.render_pipeline_batch(images, LOOK, hint)
        for image, pixels in zip(images, rendered, strict=True):
            source = ray.get(image) if isinstance(image, ray.ObjectRef) else image
            np.testing.assert_array_equal(pixels, expected(np.ascontiguousarray(source)))
        stats = processor.get_processing_stats()
        assert (stats.rendered, stats.completed) == (5, len(images))
        with pytest.raises(BatchError) as caught:
            processor.render_pipeline_batch([one.astype(np.float64), one], LOOK)
        assert list(caught.value.errors) == [0]


def test_one_of_equal_images_may_be_cancelled(gate: Gate) -> None:
    image = pictures(1)[0]
    settings, slow = held_up(gate)
    gate.shut(after=0)
    with ExtensibleImageProcessor(1, cache_size=0, **settings) as processor:
        busy = [processor.render_pipeline_async(each, slow) for each in pictures(6)[1:]]
        first, second, third = processor._submit([image, image.copy(), image.copy()], LOOK, "default")
        assert third.cancel()
        cancelled = first.cancel()  # unless it runs already
        gate.open()
        np.testing.assert_array_equal(result(second), expected(image))
        assert first.cancelled() == cancelled
        wait(busy)


@pytest.mark.parametrize("dtype", [">u2", ">f4", "<u2"])
def test_arrays_of_either_byte_order_are_taken(shared: ExtensibleImageProcessor, dtype: str) -> None:
    image = example_image("float32" if "f" in dtype else "uint16", 3, LARGE, seed=22)
    for given in (image.astype(dtype), ray.put(image.astype(dtype))):
        (rendered,) = shared.render_pipeline_batch([given], LOOK)
        np.testing.assert_array_equal(rendered, expected(image))
        assert rendered.dtype == image.dtype


def test_an_extension_that_fails_fails_its_image_only() -> None:
    images = [np.full((8, 8), value, np.uint8) for value in range(30)]
    with ExtensibleImageProcessor(extension_config={"processors": {"marker": Marker()}}) as processor:
        with pytest.raises(BatchError) as caught:
            processor.render_pipeline_batch(images, [ImageOperation("marker", {"fail": 11})])
        assert list(caught.value.errors) == [11]
        error = caught.value.errors[11]
        assert isinstance(error, ImageError)
        assert error.reason is FailedReason.PLUGIN_ERROR
        assert "no good" in str(error)
        assert sum(image is not None for image in caught.value.results) == 29
        stats = processor.get_processing_stats()
        assert (stats.completed, stats.failed, stats.cancelled) == (29, 1, 0)
    assert "marker" not in OPERATIONS


def test_an_image_that_ends_its_process_takes_no_other_with_it() -> None:
    images = [np.full((8, 8), value, np.uint8) for value in range(12)]
    with ExtensibleImageProcessor(1, extension_config={"processors": {"marker": Marker()}}) as processor:
        with pytest.raises(BatchError) as caught:
            processor.render_pipeline_batch(images, [ImageOperation("marker", {"die": 7})])
        assert list(caught.value.errors) == [7]
        error = caught.value.errors[7]
        assert isinstance(error, ImageError)
        assert error.reason is FailedReason.CRASHED
        assert all(image is not None for i, image in enumerate(caught.value.results) if i != 7)


@pytest.mark.parametrize(
    ("times", "tries"),
    [(1, {2}), (9, {2, 3})],  # it may have been alone from the first
    ids=["once", "always"],
)
def test_an_image_that_finds_no_memory_is_tried_alone_as_one_whose_process_was_ended(
    tmp_path: Path, times: int, tries: set[int]
) -> None:
    images = [np.full((8, 8), value, np.uint8) for value in range(12)]
    starve = {"starve": 7, "diary": str(tmp_path / "diary"), "times": times}
    with ExtensibleImageProcessor(1, extension_config={"processors": {"marker": Marker()}}) as processor:
        futures = [processor.render_pipeline_async(image, [ImageOperation("marker", starve)]) for image in images]
        wait(futures)
        failed = {n: future.exception() for n, future in enumerate(futures) if future.exception() is not None}
    assert list(failed) == ([] if times == 1 else [7])
    assert all(isinstance(e, ImageError) and e.reason is FailedReason.OUT_OF_MEMORY for e in failed.values())
    assert len((tmp_path / "diary").read_text()) in tries


def test_hints_differ_as_they_say() -> None:
    image = example_image("uint16", 3, LARGE)
    chain = [ImageOperation("gamma", {"gamma": 3}), ImageOperation("gaussian"), ImageOperation("gamma", {"gamma": 0.3})]
    with ExtensibleImageProcessor() as processor:
        assert processor.get_processing_hints() == ["default", "fast", "quality", "low_memory"]
        by_hint = {}
        for hint in processor.get_processing_hints():
            by_hint[hint] = result(processor.render_pipeline_async(image, chain, hint))
            np.testing.assert_array_equal(by_hint[hint], STRATEGIES[hint].render(image, chain))
        np.testing.assert_array_equal(by_hint["low_memory"], by_hint["default"])
        assert not np.array_equal(by_hint["fast"], by_hint["default"])
        assert not np.array_equal(by_hint["quality"], by_hint["default"])
        stats = processor.get_processing_stats()
        assert stats.by_hint == {"default": 1, "fast": 1, "quality": 1, "low_memory": 1}
        assert stats.memory_cache.entries == 3  # low_memory keeps nothing


def test_low_memory_has_one_image_in_hand() -> None:
    images = pictures(5, (40, 30))
    with ExtensibleImageProcessor() as processor:
        futures = [processor.render_pipeline_async(image, LOOK, "low_memory") for image in images]
        most = 0
        while not all(future.done() for future in futures):
            most = max(most, processor.get_processing_stats().running)
            wait(futures, timeout=0.001)
        assert most == 1
        for future, image in zip(futures, images, strict=True):
            np.testing.assert_array_equal(result(future), expected(image))
        assert processor.get_processing_stats().tasks == 5


def test_gpu_is_offered_by_a_provider_and_bounded_by_its_units() -> None:
    images = pictures(6, (40, 30))
    provider = CountedProvider(2)
    with ExtensibleImageProcessor(extension_config={"resources": [provider], "strategies": [GPU]}) as processor:
        assert processor.get_processing_hints()[-1] == "gpu"
        for rendered, image in zip(processor.render_pipeline_batch(images, INVERT, "gpu"), images, strict=True):
            np.testing.assert_array_equal(rendered, image)
    assert provider.given == 6
    assert provider.most_held <= 2
    assert provider.held == 0


def test_gpu_waits_for_units_that_another_holds() -> None:
    provider = CountedProvider(1)
    held = provider.allocate(1)
    with ExtensibleImageProcessor(extension_config={"resources": [provider], "strategies": [GPU]}) as processor:
        waiting = processor.render_pipeline_async(pictures(1)[0], INVERT, "gpu")
        result(processor.render_pipeline_async(pictures(1)[0], INVERT))  # others pass it by
        assert not waiting.done()
        provider.release(held)
        np.testing.assert_array_equal(result(waiting), pictures(1)[0])


def test_gpu_without_enough_units_is_not_offered() -> None:
    config = {"resources": [CountedProvider(0)], "strategies": [GPU]}
    with ExtensibleImageProcessor(extension_config=config) as processor:
        assert "gpu" not in processor.get_processing_hints()
        with pytest.raises(RayjobsError, match="needs 1 gpu, and no resource provider has them"):
            processor.render_pipeline_async(pictures(1)[0], INVERT, "gpu")


def test_many_threads_share_a_processor(shared: ExtensibleImageProcessor) -> None:
    def use(thread: int) -> None:
        images = [example_image("uint8", 3, (60, 50), seed=100 * thread + i) for i in range(10)]
        for rendered, image in zip(shared.render_pipeline_batch(images, LOOK), images, strict=True):
            np.testing.assert_array_equal(rendered, expected(image))
        future = shared.render_pipeline_async(images[0], INVERT, "quality")
        np.testing.assert_array_equal(result(future), expected(images[0], INVERT))
        shared.get_processing_stats()
        shared.clear_cache()

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(use, range(6)))


def test_waiting_images_can_be_cancelled_and_shutdown_cancels_them(gate: Gate) -> None:
    settings, slow = held_up(gate)
    gate.shut(after=1)
    processor = ExtensibleImageProcessor(1, **settings)
    futures = [processor.render_pipeline_async(image, slow, "low_memory") for image in pictures(30)]
    result(futures[0])
    assert futures[-1].cancel()
    processor.shutdown()
    assert all(future.done() for future in futures)
    done = [future for future in futures if not future.cancelled()]
    assert 0 < len(done) < 30
    for future in done:
        assert future.exception() is None
    stats = processor.get_processing_stats()
    assert (stats.completed, stats.cancelled, stats.waiting, stats.running) == (len(done), 30 - len(done), 0, 0)


def used_store_bytes() -> float:
    gc.collect()  # errors that earlier tests caught hold their frames, and frames what they saw
    size = "object_store_memory"
    return float(ray.cluster_resources()[size] - ray.available_resources()[size])


def test_shutdown_leaves_nothing_behind(shared: ExtensibleImageProcessor) -> None:
    shared.clear_cache()
    wait_until(lambda: used_store_bytes() == 0)
    threads_before = {thread.name for thread in threading.enumerate()}
    processor = ExtensibleImageProcessor(extension_config={"processors": {"marker": Marker()}})
    rendered = processor.render_pipeline_batch(pictures(8), [*LOOK, ImageOperation("marker")])
    wait_until(lambda: used_store_bytes() > 0)
    processor.shutdown()
    processor.shutdown()
    assert {thread.name for thread in threading.enumerate()} <= threads_before
    assert "marker" not in OPERATIONS
    with pytest.raises(PoolError, match="was shut down"):
        processor.render_pipeline_async(pictures(1)[0], LOOK)
    assert all((image == MARK).all() for image in rendered)  # what the caller holds stays
    del rendered
    wait_until(lambda: used_store_bytes() == 0)
    wait_until(lambda: ray.available_resources()["CPU"] == ray.cluster_resources()["CPU"])


def test_a_cleared_cache_frees_the_store_of_a_processor_that_goes_on(shared: ExtensibleImageProcessor) -> None:
    shared.render_pipeline_batch(pictures(5), LOOK)
    shared.clear_cache()
    wait_until(lambda: used_store_bytes() == 0)
    np.testing.assert_array_equal(result(shared.render_pipeline_async(pictures(1)[0], LOOK)), expected(pictures(1)[0]))


def test_callers_that_hold_much_of_the_store_get_copies() -> None:
    """A result in the store that a caller holds can't be spilled: the store would be full of them in the end."""
    images = pictures(3, (200, 100))
    with ExtensibleImageProcessor() as processor:
        pool = processor._pool
        assert isinstance(pool, RayPool)
        pool._memory_bytes = int(2.5 * images[0].nbytes / LENT_SHARE)
        held = processor.render_pipeline_batch(images, INVERT)
        assert [image.flags.owndata for image in held].count(True) == 1
        for rendered, image in zip(held, images, strict=True):
            np.testing.assert_array_equal(rendered, expected(image, INVERT))
            assert not rendered.flags.writeable
        del held, rendered
        held = processor.render_pipeline_batch(images[:2], LOOK)
        assert not any(image.flags.owndata for image in held)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_workers": 0}, "at least 1"),
        ({"cache_size": -1}, "at least 0"),
        ({"extension_config": {"procesors": {}}}, "unknown key 'procesors'; did you mean 'processors'"),
        ({"extension_config": {"processors": {"other": Marker()}}}, "calls itself 'marker'"),
    ],
    ids=["workers", "cache", "key", "name"],
)
def test_wrong_settings_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(RayjobsError, match=message):
        ExtensibleImageProcessor(**arguments)


def test_images_wait_for_leave_and_a_more_urgent_task_gets_the_cpus_in_the_middle_of_a_batch(gate: Gate) -> None:
    settings, slow = held_up(gate, seconds=0.2)  # a task of several images isn't interrupted
    with (
        closing(TaskCoordinator()) as coordinator,
        ExtensibleImageProcessor(cache_size=0, **settings) as processor,
    ):
        granted = threading.Event()
        coordinator.set_concurrency_limits(TASK_TYPE, 0)
        try:
            held = processor.render_pipeline_async(pictures(1)[0], INVERT)
            wait_until(lambda: coordinator.get_queue_status().pending >= 1, timeout_s=TIMEOUT_S)
            assert not held.done()
        finally:
            coordinator.set_concurrency_limits(TASK_TYPE, None)
        result(held)
        gate.shut(after=20)
        futures = [processor.render_pipeline_async(image, slow) for image in pictures(80)]
        result(futures[0])
        urgent = Task(task_id="urgent", task_type="look", resources=ResourceEstimate(cpus=2))
        coordinator.request_grant(
            urgent, TaskPriority.URGENT, lambda told: granted.set() if isinstance(told, Grant) else None
        )
        assert granted.wait(TIMEOUT_S)
        done = sum(future.done() for future in futures)
        assert done < len(futures), "it came after the batch"
        gate.open()
        coordinator.end_grant("urgent", Outcome.COMPLETED)
        wait(futures, TIMEOUT_S)
        assert all(np.array_equal(f.result(), expected(image)) for f, image in zip(futures, pictures(80), strict=True))
        wait_until(lambda: coordinator.get_queue_status().running == 0, timeout_s=TIMEOUT_S)
