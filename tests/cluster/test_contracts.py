"""Every system of the design on a real Ray: importable from its package's root, with its signatures, doing its work.

One test per row of the table that is a class, named after it; the other rows: ``test_contract_flows``. What each does
in depth is held to in the tests of its own module.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

import actors
import pipelines
import rayjobs
from actors import MemoryManager, PerformanceMonitor, PriorityScheduler, ResourceManager, TaskCoordinator, TaskQueue
from pipelines import AnalysisCalculator, ExtensibleImageProcessor, ImageOperation, ResultCache, draw_chart
from pipelines.charts import ENGINES, ChartOptions
from pipelines.processor.processing_strategies import STRATEGIES
from rayjobs import (
    AnalysisExportService,
    BatchJob,
    BatchJobManager,
    BatchProcessingHandler,
    EnhancedBatchJob,
    EnhancedJobManager,
    ExportConfig,
    ExtensibleTask,
    JobError,
    JobStatus,
    ProcessorExtension,
    RayjobsError,
    ResourceEstimate,
    ResourceProvider,
    TaskHandler,
    TaskPriority,
    TaskResult,
    TaskStatus,
)
from rayjobs.run.ray_session import ray_session
from tests.leaks import wait_until
from tests.runs import check_outputs, manifest, write_photographs

# Ray Data warns of its own settings when it copies its context.
pytestmark = pytest.mark.filterwarnings("ignore:`:DeprecationWarning:ray.data", "ignore:`ray_remote_args`")
WAIT_S = 90.0
INVERT: list[Any] = ["invert"]


class Doubling(TaskHandler):
    """Doubles a number; refuses negative ones."""

    def handle_task(self, task: ExtensibleTask) -> TaskResult:
        if task.config["number"] < 0:
            raise ValueError("negative")
        value = {"doubled": 2 * task.config["number"]}
        return TaskResult(task_id=task.task_id, status=TaskStatus.COMPLETED, value=value)

    def get_supported_task_types(self) -> list[str]:
        return ["double"]


class Locked(Doubling):
    """Can't be pickled."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def get_supported_task_types(self) -> list[str]:
        return ["lock"]


class Darken(ProcessorExtension):
    """Halves every sample."""

    def process(self, image: NDArray[np.generic], config: dict[str, Any]) -> NDArray[np.generic]:
        return np.asarray(image // 2, dtype=image.dtype)

    def get_name(self) -> str:
        return "darken"

    def get_supported_configs(self) -> list[str]:
        return []


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("contracts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYJOBS_HOME", str(home / "home"))
        yield home


@pytest.fixture(scope="module", autouse=True)
def cluster(home: Path) -> Iterator[None]:
    with ray_session(name="contracts", workers=2):
        yield


@pytest.fixture(scope="module")
def photos(home: Path) -> Path:
    write_photographs(home / "photos", 4)
    return home / "photos"


@pytest.fixture(scope="module")
def manager(home: Path) -> Iterator[EnhancedJobManager]:
    with EnhancedJobManager() as manager:
        manager.register_task_handler("double", Doubling())
        yield manager


def names_of(method: Callable[..., Any]) -> list[str]:
    return [name for name in inspect.signature(method).parameters if name != "self"]


def begins_with(method: Callable[..., Any], *names: str) -> None:
    """The seed's parameters come first, in its order; what follows has defaults."""
    parameters = [p for name, p in inspect.signature(method).parameters.items() if name != "self"]
    assert [p.name for p in parameters[: len(names)]] == list(names)
    assert all(p.default is not p.empty or p.kind is p.VAR_KEYWORD for p in parameters[len(names) :])


def in_threads(call: Callable[[int], Any], count: int = 6) -> list[Any]:
    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(call, range(count)))


@pytest.mark.parametrize("package", [rayjobs, actors, pipelines], ids=lambda package: package.__name__)
def test_every_name_of_a_package_is_there(package: Any) -> None:
    for name in dir(package):
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        _ = package.nonsense


def test_batch_processing_handler(manager: EnhancedJobManager, photos: Path, home: Path) -> None:
    handler = BatchProcessingHandler(manager)
    job = handler.create_job("facade", operations=INVERT, analyses=["statistics"], output=home / "facade")
    with pytest.raises(JobError, match="has no images"):
        handler.start(job.job_id)
    handler.add_images(job.job_id, [photos])
    with pytest.raises(JobError, match="no results yet"):
        handler.results(job.job_id)
    handler.start(job.job_id)
    state = handler.wait(job.job_id, WAIT_S)
    assert (state.status, state.done) == (JobStatus.COMPLETED, 4)
    assert handler.results(job.job_id).num_rows == 4
    assert handler.results(job.job_id, ["statistics_luma_mean"]).column_names == ["statistics_luma_mean"]
    with pytest.raises(JobError, match="did you mean 'statistics_luma_mean'"):
        handler.results(job.job_id, ["statistics_luma_meen"])
    assert handler.manifest(job.job_id).column("status").to_pylist() == ["done"] * 4
    opened = handler.open_job(job.job_id)
    assert opened.wait(WAIT_S) is opened
    assert (opened.name, opened.complete, opened.state().done) == ("facade", True, 4)
    rows = opened.to_ray(columns=["statistics_luma_mean"]).take_all()
    assert sorted(row["statistics_luma_mean"] for row in rows) == sorted(opened.to_pandas()["statistics_luma_mean"])
    check_outputs(home / "facade", manifest(home / "facade"))
    page = handler._repr_html_()
    report = handler.report(job.job_id)
    assert report is not None
    assert report.as_uri() in page
    assert 'value="100"' in page


def test_batch_job_manager_and_batch_job(photos: Path, home: Path) -> None:
    assert issubclass(EnhancedJobManager, BatchJobManager)
    with BatchJobManager(home / "plain") as manager:
        job = manager.create_job("plain", operations=[ImageOperation("invert")], output=home / "plain-out")
        assert isinstance(job, BatchJob)
        assert (job.status, job.progress) == (JobStatus.PENDING, 0)
        with pytest.raises(JobError, match="there is a job"):
            manager.create_job("plain", output=home / "plain-out")
        with pytest.raises(JobError, match="did you mean 'invert'"):
            manager.update_job(job.job_id, operations=["invort"])
        files = sorted(photos.iterdir())
        in_threads(lambda n: manager.add_images(job.job_id, [files[n % 4]]))
        manager.remove_images(job.job_id, [files[3]])
        assert sorted(manager.get_job(job.job_id).source_paths) == [str(path) for path in files[:3]]
        manager.start_job(job.job_id)
        assert manager.wait_for_job(job.job_id, WAIT_S).done == 3
    with BatchJobManager(home / "plain") as again:
        (known,) = again.list_jobs()
        assert (known.job_id, known.status, known.progress) == (job.job_id, JobStatus.COMPLETED, 100)
        again.remove_job(job.job_id)
        assert again.list_jobs() == []
    assert len(list((home / "plain-out/images").iterdir())) == 3


def test_a_cancelled_job_can_be_started_again(photos: Path, home: Path) -> None:
    with BatchJobManager(home / "cancel", max_concurrent=1) as manager:
        job = manager.create_job("cancel", [photos], INVERT, output=home / "cancel-out")
        begun = threading.Event()
        manager.start_job(job.job_id, on_progress=lambda _: begun.set())
        assert begun.wait(WAIT_S)
        manager.cancel_job(job.job_id)
        stopped = manager._pool.find(job.job_id)
        assert stopped is not None
        assert stopped.join(WAIT_S)
        assert manager.get_job(job.job_id).status in (JobStatus.CANCELLED, JobStatus.COMPLETED)
        manager.start_job(job.job_id)
        assert manager.wait_for_job(job.job_id, WAIT_S).status is JobStatus.COMPLETED


def test_enhanced_job_manager_and_enhanced_batch_job(manager: EnhancedJobManager, photos: Path, home: Path) -> None:
    assert issubclass(EnhancedBatchJob, BatchJob)
    begins_with(EnhancedJobManager.create_analysis_export_task, "job_id", "config")
    begins_with(EnhancedJobManager.create_extensible_task, "job_id", "task_type", "config")
    begins_with(EnhancedJobManager.get_job_with_processed_images, "job_id", "include_effects")
    begins_with(EnhancedJobManager.update_export_progress, "job_id", "task_id", "progress")
    begins_with(EnhancedJobManager.get_export_history, "job_id")
    begins_with(EnhancedJobManager.cleanup_export_resources, "job_id", "task_id")
    begins_with(EnhancedJobManager.register_task_handler, "task_type", "handler")
    job = manager.create_job("enhanced", [photos], INVERT, output=home / "enhanced")
    config = ExportConfig(analyses=("color_histogram",), data_formats=("parquet", "csv"), include_effects=False)
    task = manager.create_analysis_export_task(job.job_id, config)
    originals = [image.load() for image in manager.get_job_with_processed_images(job.job_id, include_effects=False)]
    effects = [image.load() for image in manager.get_job_with_processed_images(job.job_id, include_effects=True)]
    for original, effect in zip(originals, effects, strict=True):
        np.testing.assert_array_equal(effect, 255 - original)
    manager.wait_for_task(job.job_id, task.task_id, WAIT_S)
    assert (task.status, task.progress) == (TaskStatus.COMPLETED, 100), task.error_info
    assert task.result is not None
    output = Path(task.result.output)
    assert task.result.done == 4
    names = ("analyses.csv", "analyses.parquet", "scopes/color_histogram.parquet")
    assert task.result.tables == tuple(f"data/{name}" for name in names)
    assert len(list((output / "charts/color_histogram").iterdir())) == 4
    assert not (output / "images").exists()
    manager.update_export_progress(job.job_id, task.task_id, 3)
    manager.cleanup_export_resources(job.job_id, task.task_id)
    with EnhancedJobManager() as other:
        known = other.get_job(job.job_id)
        assert isinstance(known, EnhancedBatchJob)
        assert known.export_tasks[task.task_id] == task
        (record,) = other.get_export_history(job.job_id)
        assert (record.task_id, record.status, record.result) == (task.task_id, TaskStatus.COMPLETED, task.result)
        assert record in known.export_history


def test_tasks_that_were_open_when_their_program_ended_are_resumed(photos: Path, home: Path) -> None:
    with EnhancedJobManager(home / "resumed") as first:
        job = first.create_job("resumed", [photos], INVERT, output=home / "resumed-out")
        task = first.create_analysis_export_task(job.job_id, ExportConfig(analyses=("sharpness",), charts=False))
    with EnhancedJobManager(home / "resumed") as second:
        (orphan,) = second.resume_tasks(job.job_id)
        second.wait_for_task(job.job_id, orphan.task_id, WAIT_S)
        assert second.get_job(job.job_id).export_tasks[task.task_id].status is TaskStatus.COMPLETED
        assert second.resume_tasks(job.job_id) == []


def test_extensible_image_processor() -> None:
    begins_with(ExtensibleImageProcessor.__init__, "max_workers", "cache_size", "extension_config")
    begins_with(ExtensibleImageProcessor.render_pipeline_async, "image", "operations", "processing_hint", "callback")
    begins_with(ExtensibleImageProcessor.render_pipeline_batch, "images", "operations", "processing_hint")
    begins_with(ExtensibleImageProcessor.register_processor_extension, "name", "processor")
    image = np.arange(300, dtype=np.uint8).reshape(10, 10, 3)
    with ExtensibleImageProcessor() as processor:
        got = in_threads(lambda _: processor.render_pipeline_async(image, [ImageOperation("invert")]).result(WAIT_S))
        for rendered in got:
            np.testing.assert_array_equal(rendered, 255 - image)
        assert processor.get_processing_stats().completed == 6
        processor.clear_cache()
        assert "invert" in processor.get_available_processors()


def test_processing_pool_processing_strategy_and_result_cache(tmp_path: Path) -> None:
    assert {"default", "low_memory", "fast", "quality"} <= STRATEGIES.keys()
    assert all(isinstance(strategy, pipelines.ProcessingStrategy) for strategy in STRATEGIES.values())
    assert {"submit", "fetch", "shutdown"} <= set(dir(pipelines.ProcessingPool))
    cache: ResultCache = actors.DiskCache(tmp_path)
    in_threads(lambda n: cache.put(f"{n:064x}", {"value": n}))
    assert cache.get(f"{3:064x}") == {"value": 3}
    assert cache.get(f"{9:064x}") is None


def test_resource_manager() -> None:
    begins_with(ResourceManager.__init__, "config")
    begins_with(ResourceManager.allocate_resources, "task_type", "estimated_usage")
    begins_with(ResourceManager.release_resources, "allocation")
    begins_with(ResourceManager.get_available_resources, "resource_type")
    begins_with(ResourceManager.set_resource_limits, "limits")
    begins_with(ResourceManager.register_resource_provider, "resource_type", "provider")
    begins_with(ResourceManager.register_threshold_callback, "resource_type", "callback")
    with ResourceManager() as resources:

        def hold(_: int) -> None:
            resources.release_resources(resources.allocate_resources("look", ResourceEstimate(cpus=1), timeout_s=30))

        in_threads(hold)
        wait_until(lambda: resources.get_available_resources("cpu").available == {"cpu": 2})
        assert {"cpu", "memory", "render", "analyze", "export_io"} <= set(resources.get_supported_resource_types())
        assert resources.get_performance_metrics().allocations == 0


def test_memory_manager_performance_monitor_and_extension_manager() -> None:
    from actors.resources.host_usage import HostUsage
    from actors.resources.ray_cluster import RayCluster
    from pipelines.extensions.extension_manager import ExtensionManager

    memory = MemoryManager(RayCluster().nodes(), 2)
    assert memory.task_bytes is not None
    assert 0 < memory.reserve(1, 1) <= memory.node_bytes
    monitor = PerformanceMonitor(HostUsage(None))
    monitor.ended(job="j", stage="render", seconds=0.5)
    assert monitor.get_performance_metrics().stages["render"].finished == 1
    extensions = ExtensionManager(find=list)
    undo = extensions.register(pipelines.extensions.extension_manager.ExtensionKind.PROCESSOR, "darken", Darken())
    assert [found.name for found in extensions.discover()] == ["darken"]
    undo()
    assert extensions.discover() == ()


def test_task_coordinator() -> None:
    begins_with(TaskCoordinator.__init__, "resource_manager")
    begins_with(TaskCoordinator.submit_task, "task", "priority")
    begins_with(TaskCoordinator.cancel_task, "handle")
    begins_with(TaskCoordinator.get_task_status, "handle")
    begins_with(TaskCoordinator.wait_for_completion, "handles", "timeout")
    begins_with(TaskCoordinator.set_concurrency_limits, "task_type", "max_concurrent")
    with ResourceManager() as resources, TaskCoordinator(resources) as coordinator:
        coordinator.register_handler(Doubling())

        def submit(number: int) -> Any:
            task = pipelines.Task(task_id=f"contract-{number}", task_type="double", payload={"number": number})
            return coordinator.submit_task(task, TaskPriority.HIGH)

        handles = in_threads(submit)
        values = [result.value["doubled"] for result in coordinator.wait_for_completion(handles, WAIT_S)]
        assert values == [0, 2, 4, 6, 8, 10]
        assert coordinator.get_task_status(handles[0]) is TaskStatus.COMPLETED
        coordinator.set_concurrency_limits("double", 0)
        held = submit(99)
        assert coordinator.get_queue_status().limits["double"] == 0
        assert coordinator.cancel_task(held)
        assert coordinator.wait_for_completion([held], WAIT_S)[0].status is TaskStatus.CANCELLED
        coordinator.set_concurrency_limits("double", 8)


def test_task_queue_and_priority_scheduler() -> None:
    queue = TaskQueue()
    queue.set_nodes({"n": {"cpu": 1.0}})
    queue.renew("o", 0.0, 60.0)
    for priority in (TaskPriority.LOW, TaskPriority.URGENT):
        queue.submit("o", [(pipelines.Task(task_id=priority.name, task_type="look"), priority)], 0.0)
    queue.decide(0.0)
    assert [grant.task_ids for grant in queue.grants()] == [("URGENT",)]
    assert list(PriorityScheduler().by_turn(0.0)) == []


def test_analysis_export_service(photos: Path, home: Path) -> None:
    with AnalysisExportService(home / "service") as service:
        config = ExportConfig(analyses=("statistics",), charts=False, output=str(home / "service-out"))
        result = service.export([photos], config, operations=INVERT, timeout=WAIT_S)
        assert (result.total, result.done, result.tables) == (4, 4, ("data/analyses.parquet",))
        assert pq.read_table(home / "service-out/data/analyses.parquet").num_rows == 4
        (record,) = service.get_history()
        assert record.result == result
        with pytest.raises(JobError, match="did you mean 'statistics'"):
            service.export([photos], ExportConfig(analyses=("statistiks",), output=str(home / "no")))


def test_analysis_calculator_and_exporters() -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    calculator = AnalysisCalculator(["color_histogram"])
    first, *others = in_threads(lambda _: calculator.calculate_analyses(image)["color_histogram"])
    for other in others:
        for column, value in first.items():
            np.testing.assert_array_equal(value, other[column])
    for engine in ENGINES:
        options = ChartOptions(engine=engine)
        assert draw_chart("color_histogram", first, title="t", options=options).startswith(b"\x89PNG")


def test_extensible_task_and_task_handler(manager: EnhancedJobManager, photos: Path, home: Path) -> None:
    assert TaskHandler.__abstractmethods__ == {"handle_task", "get_supported_task_types"}
    job = manager.create_job("tasks", [photos], output=home / "tasks", analyses=["sharpness"])
    doubled = in_threads(lambda n: manager.create_extensible_task(job.job_id, "double", {"number": n}))
    wrong = manager.create_extensible_task(job.job_id, "double", {"number": -1})
    image = str(sorted(photos.iterdir())[0])
    measured = manager.create_extensible_task(job.job_id, "analyze", {"input": image, "analyses": ["sharpness"]})
    rendered = manager.create_extensible_task(
        job.job_id, "render", {"input": image, "operations": INVERT, "output": str(home / "one.png")}
    )
    drawn = manager.create_extensible_task(job.job_id, "export", {"input": image, "output": str(home / "drawn")})
    for task in (*doubled, wrong, measured, rendered, drawn):
        manager.wait_for_task(job.job_id, task.task_id, WAIT_S)
    assert sorted(task.result["doubled"] for task in doubled) == [0, 2, 4, 6, 8, 10]
    assert (wrong.status, wrong.error_info) == (TaskStatus.FAILED, "ValueError: negative")
    assert measured.result is not None
    assert measured.result["sharpness"]["laplacian_variance"] > 0
    assert (home / "one.png").is_file()
    assert len(list((home / "drawn").iterdir())) == 6
    with pytest.raises(RayjobsError, match="no handler runs tasks of type 'tripple'"):
        manager.create_extensible_task(job.job_id, "tripple", {})
    with pytest.raises(RayjobsError, match="Doubling runs double, not 'look'"):
        manager.register_task_handler("look", Doubling())
    manager.register_task_handler("lock", Locked())
    with pytest.raises(RayjobsError, match="'lock' tasks can't be sent to workers: it must be picklable"):
        manager.create_extensible_task(job.job_id, "lock", {})
    known = manager.get_job(job.job_id).extensible_tasks
    assert [task.status for task in known.values() if task.task_type == "lock"] == [TaskStatus.FAILED]
    assert known[wrong.task_id].status is TaskStatus.FAILED


def test_processor_extension() -> None:
    assert ProcessorExtension.__abstractmethods__ == {"process", "get_name", "get_supported_configs"}
    assert names_of(ProcessorExtension.process) == ["image", "config"]
    image = np.full((4, 5, 3), 200, np.uint8)
    with ExtensibleImageProcessor(extension_config={"processors": {"darken": Darken()}}) as processor:
        (rendered,) = processor.render_pipeline_batch([image], [ImageOperation("darken")])
        np.testing.assert_array_equal(rendered, image // 2)


def test_resource_provider() -> None:
    assert ResourceProvider.__abstractmethods__ == {"get_available_resources", "allocate", "release"}
    assert names_of(ResourceProvider.allocate) == ["amount"]
    assert names_of(ResourceProvider.release) == ["allocation"]
