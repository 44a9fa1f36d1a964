"""The rows of the design's table that are no class: thread safety, error flow, performance, compatibility, pools.

On a real Ray, by what comes out: rows, files, tables, counts. One test per row, named after it.
"""

from __future__ import annotations

import shutil
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import ray
from numpy.typing import NDArray

from actors import DiskCache, MemoryManager, PerformanceMonitor, ResourceManager, TaskCoordinator
from actors.resources.host_usage import HostUsage
from actors.resources.ray_cluster import RayCluster
from pipelines import ExtensibleImageProcessor, ImageOperation, Task
from pipelines.contracts import ProcessorExtension, ResourceProvider, TaskHandler
from pipelines.export_models import ExportResult
from pipelines.extensions.extension_adapters import ExtensionKind
from pipelines.extensions.extension_manager import ExtensionManager
from pipelines.resource_needs import ResourcesBusyError
from pipelines.resources import ResourceAllocation, ResourceEstimate, ResourceInfo, ResourceLimits
from rayjobs import (
    AnalysisExportService,
    BatchJob,
    BatchJobManager,
    BatchProcessingHandler,
    EnhancedJobManager,
    ExportConfig,
    ExtensibleTask,
    JobStatus,
    TaskPriority,
    TaskResult,
    TaskStatus,
)
from rayjobs.job.job_file import load_job
from rayjobs.migration.migrate import migrate_file
from rayjobs.run.progress import Snapshot
from rayjobs.run.ray_session import ray_session
from tests.leaks import wait_until
from tests.runs import ROOT, check_outputs, manifest, write_photographs

# Ray Data warns of its own settings when it copies its context.
pytestmark = pytest.mark.filterwarnings("ignore:`:DeprecationWarning:ray.data", "ignore:`ray_remote_args`")
WAIT_S = 120.0
THREADS = 6
INVERT: list[Any] = ["invert"]


class Waiting(TaskHandler):
    """Ends once a file exists; gives the time at which it began."""

    def handle_task(self, task: ExtensibleTask) -> TaskResult:
        import time

        began = time.monotonic()
        while "until" in task.config and not Path(task.config["until"]).exists():
            time.sleep(0.02)
        return TaskResult(task_id=task.task_id, status=TaskStatus.COMPLETED, value={"began": began})

    def get_supported_task_types(self) -> list[str]:
        return ["wait"]


class Tokens(ResourceProvider):
    """A number of tokens under a name."""

    def __init__(self, name: str, total: int) -> None:
        self._name, self._total = name, total
        self._lock = threading.Lock()
        self.held = self.most = 0

    def get_available_resources(self) -> ResourceInfo:
        return ResourceInfo(total={self._name: self._total}, available={self._name: self._total - self.held})

    def allocate(self, amount: int) -> ResourceAllocation:
        with self._lock:
            if self.held + amount > self._total:
                raise ValueError("none is free")
            self.held += amount
            self.most = max(self.most, self.held)
        return ResourceAllocation(
            allocation_id=uuid.uuid4().hex, resource_type=self._name, amounts={self._name: amount}, owner=""
        )

    def release(self, allocation: ResourceAllocation) -> None:
        with self._lock:
            self.held -= int(allocation.amounts[self._name])


class Named(ProcessorExtension):
    """Leaves images as they are, under a name of choice."""

    def __init__(self, name: str) -> None:
        self._name = name

    def process(self, image: NDArray[np.generic], config: dict[str, Any]) -> NDArray[np.generic]:
        return image

    def get_name(self) -> str:
        return self._name

    def get_supported_configs(self) -> list[str]:
        return []


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("flows")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYJOBS_HOME", str(home / "home"))
        yield home


@pytest.fixture(scope="module", autouse=True)
def cluster(home: Path) -> Iterator[None]:
    with ray_session(name="flows", workers=2):
        yield


@pytest.fixture(scope="module")
def photos(home: Path) -> Path:
    write_photographs(home / "photos", 4)
    return home / "photos"


@pytest.fixture(scope="module")
def manager(home: Path) -> Iterator[EnhancedJobManager]:
    with EnhancedJobManager() as manager:
        yield manager


def in_threads(call: Callable[[int], Any]) -> list[Any]:
    """What ``call`` gives for 0, 1, ..., all called as far at once as threads can."""
    together = threading.Barrier(THREADS)

    def run(number: int) -> Any:
        together.wait(WAIT_S)
        return call(number)

    with ThreadPoolExecutor(THREADS) as threads:
        return list(threads.map(run, range(THREADS)))


def all_cpus_are_free() -> bool:
    return bool(ray.available_resources().get("CPU") == ray.cluster_resources()["CPU"])


# ---- thread safety ---------------------------------------------------------------------------------------------------


def test_thread_safety_of_the_facade(manager: EnhancedJobManager, photos: Path, home: Path) -> None:
    """Each thread creates, fills, runs and reads a job of its own, and all change one that they share."""
    handler = BatchProcessingHandler(manager)
    shared = handler.create_job("shared", output=home / "shared")

    def whole_life(number: int) -> BatchJob:
        job = handler.create_job(f"own-{number}", [photos], INVERT, output=home / f"own-{number}", analyses=["noise"])
        handler.add_images(shared.job_id, [f"{number}.jpg"])
        handler.set_priority(job.job_id, "high" if number % 2 else "low")
        handler.start(job.job_id)
        assert handler.wait(job.job_id, WAIT_S).status is JobStatus.COMPLETED
        assert handler.results(job.job_id).num_rows == handler.manifest(job.job_id).num_rows == 4
        assert job.job_id in [known.job_id for known in handler.jobs()]
        return handler.status(job.job_id)

    jobs = in_threads(whole_life)
    assert [job.options["priority"] for job in jobs] == ["low", "high"] * (THREADS // 2)
    assert sorted(handler.status(shared.job_id).source_paths) == [f"{number}.jpg" for number in range(THREADS)]
    trees = [{path.name: path.read_bytes() for path in (home / f"own-{n}/images").iterdir()} for n in range(THREADS)]
    assert all(tree == trees[0] for tree in trees)
    assert len(trees[0]) == 4


def test_thread_safety_of_the_export_service(photos: Path, home: Path) -> None:
    with AnalysisExportService(home / "threads") as service:

        def export(number: int) -> ExportResult:
            config = ExportConfig(analyses=("statistics",), charts=False, output=str(home / f"export-{number}"))
            return service.export([photos], config, name=f"export-{number}", timeout=WAIT_S)

        results = in_threads(export)
        assert [result.done for result in results] == [4] * THREADS
        tables = [pq.read_table(home / f"export-{n}/data/analyses.parquet") for n in range(THREADS)]
        assert all(table.equals(tables[0]) for table in tables)
        records = service.get_history()
        assert Counter(record.config.output for record in records) == Counter(result.output for result in results)


def test_thread_safety_of_resources_and_measurements() -> None:
    memory = MemoryManager(RayCluster().nodes(), 2)
    reserved = in_threads(lambda number: [memory.reserve(100 * number + n, 1 << 20) for n in range(50)])
    assert {size for sizes in reserved for size in sizes} == {reserved[0][0]}
    steps = in_threads(lambda number: [memory.next_step(100 * number + n) for n in range(50)])
    assert all(step is not None for row in steps for step in row)

    monitor = PerformanceMonitor(HostUsage(None))
    in_threads(lambda number: [monitor.ended(job="j", stage="render", seconds=0.5) for _ in range(200)])
    stage = monitor.get_performance_metrics().stages["render"]
    assert (stage.finished, stage.seconds) == (200 * THREADS, 100.0 * THREADS)

    extensions = ExtensionManager(find=list)

    def come_and_go(number: int) -> list[str]:
        undo = extensions.register(ExtensionKind.PROCESSOR, f"flow_{number}", Named(f"flow_{number}"))
        known = [found.name for found in extensions.discover()]
        if number % 2:
            undo()
        return known

    for number, known in enumerate(in_threads(come_and_go)):
        assert f"flow_{number}" in known
    assert [found.name for found in extensions.discover()] == [f"flow_{n}" for n in range(0, THREADS, 2)]
    extensions.close()
    assert extensions.discover() == ()


def test_thread_safety_of_providers() -> None:
    """Every thread registers a provider, and all take the tokens of one: never more than there are."""
    tokens = Tokens("token", 2)
    with ResourceManager() as resources:
        resources.register_resource_provider("token", tokens)

        def work(number: int) -> int:
            resources.register_resource_provider(f"own{number}", Tokens(f"own{number}", number + 1))
            taken = 0
            for _ in range(20):
                needs = ResourceEstimate(cpus=0, custom={"token": 1, f"own{number}": 1})
                allocation = resources.allocate_resources("look", needs, timeout_s=WAIT_S)
                resources.release_resources(allocation)
                taken += 1
            return taken

        assert in_threads(work) == [20] * THREADS
        assert {f"own{n}" for n in range(THREADS)} <= set(resources.get_supported_resource_types())
        assert resources.get_available_resources("own3").total == {"own3": 4}
        one = ResourceEstimate(cpus=0, custom={"token": 1})
        held = [resources.allocate_resources("look", one) for _ in range(2)]
        with pytest.raises(ResourcesBusyError):
            resources.allocate_resources("look", one)
        assert tokens.held == len(held)
    assert (tokens.most, tokens.held) == (2, 0)


# ---- error flow ------------------------------------------------------------------------------------------------------


def test_error_flow(manager: EnhancedJobManager, home: Path) -> None:
    """Classified, degraded where that is honest, recorded, resources freed, told: and the healthy are done."""
    photos = write_photographs(home / "errors", 6)
    photos[0].write_bytes(b"no image")
    whole = photos[1].read_bytes()
    photos[1].write_bytes(whole[: len(whole) * 2 // 3])
    photos[2].write_bytes(b"")
    seen: list[Snapshot] = []
    job = manager.create_job(
        "errors",
        [home / "errors"],
        INVERT,
        output=home / "errors-out",
        analyses=["noise"],
        read={"truncated": "salvage"},
    )
    manager.start_job(job.job_id, on_progress=seen.append)
    state = manager.wait_for_job(job.job_id, WAIT_S)
    assert (state.status, state.done, state.failed) == (JobStatus.COMPLETED_WITH_FAILURES, 4, 2)
    rows = {Path(row["input"]).name: row for row in manifest(home / "errors-out")}
    found = {name: (row["status"], row["reason"]) for name, row in rows.items()}
    assert found == {
        "photo-0000.jpg": ("failed", "not_an_image"),
        "photo-0001.jpg": ("done", None),
        "photo-0002.jpg": ("failed", "empty"),
        **{f"photo-000{n}.jpg": ("done", None) for n in (3, 4, 5)},
    }
    assert "truncated" in rows["photo-0001.jpg"]["degraded"]
    assert [row["degraded"] for name, row in rows.items() if name > "photo-0001.jpg"] == [None] * 4
    assert all(row["message"] for row in rows.values() if row["status"] == "failed")
    check_outputs(home / "errors-out", list(rows.values()))
    outcomes = Counter(attempt.outcome for attempt in manager.get_attempts(job.job_id))
    assert outcomes == {"done": 4, "failed": 2}, "what lies in the file isn't tried again"
    assert (seen[-1].done, seen[-1].failed) == (4, 2)
    known = manager.get_job(job.job_id)
    assert known.result_message == "4 done, 2 failed, 0 skipped of 6"
    wait_until(all_cpus_are_free, timeout_s=15)
    assert not (home / "errors-out/.rayjobs/tmp").exists()


# ---- performance strategy --------------------------------------------------------------------------------------------


def test_performance_strategy(tmp_path: Path) -> None:
    """Small images share tasks, what was rendered isn't rendered again, and the disk remembers for the next process."""
    random = np.random.default_rng(1)
    images = [random.integers(0, 256, (24, 32, 3), dtype=np.uint8) for _ in range(96)]
    operations = [ImageOperation("gaussian", {"sigma": 1.5})]
    with ExtensibleImageProcessor(disk_cache=DiskCache(tmp_path / "cache")) as processor:
        first = processor.render_pipeline_batch(images, operations)
        stats = processor.get_processing_stats()
        assert (stats.rendered, stats.completed) == (96, 96)
        assert stats.tasks < 48, "two images a task at least"
        again = processor.render_pipeline_batch(images, operations)
        stats = processor.get_processing_stats()
        assert (stats.rendered, stats.completed, stats.memory_cache.hits) == (96, 192, 96)
        for one, other in zip(first, again, strict=True):
            np.testing.assert_array_equal(one, other)
        processor.clear_cache()
        assert (processor.get_processing_stats().memory_cache.entries) == 0
        kept = processor.get_processing_stats().disk_cache
        assert kept is not None
        assert kept.entries > 0
    with ExtensibleImageProcessor(cache_size=0, disk_cache=DiskCache(tmp_path / "cache")) as processor:
        later = processor.render_pipeline_batch(images, operations)
        assert processor.get_processing_stats().rendered == 96 - kept.entries
        for one, other in zip(first, later, strict=True):
            np.testing.assert_array_equal(one, other)
    wait_until(all_cpus_are_free, timeout_s=15)


# ---- compatibility ---------------------------------------------------------------------------------------------------


def test_compatibility_of_plain_jobs(photos: Path, home: Path) -> None:
    """A plain job has none of the enhanced fields, and every option of its own has a default."""
    plain = {field.name for field in fields(BatchJob)}
    assert {"job_id", "name", "source_paths", "operations", "export_config", "status", "progress"} <= plain
    assert not {"export_tasks", "extensible_tasks", "export_history", "resource_usage"} & plain
    assert BatchJob("id", "name").status is JobStatus.PENDING
    with BatchJobManager(home / "compatible") as manager:
        job = manager.create_job("compatible", [photos], INVERT, output=home / "compatible-out")
        assert type(job) is BatchJob
        manager.start_job(job.job_id)
        assert manager.wait_for_job(job.job_id, WAIT_S).status is JobStatus.COMPLETED
    check_outputs(home / "compatible-out", manifest(home / "compatible-out"))


def test_compatibility_of_old_job_files(photos: Path, home: Path) -> None:
    """An old file becomes a job that runs."""
    old = home / "old"
    shutil.copytree(ROOT / "tests/data/legacy", old)
    for path in sorted(photos.iterdir())[:2]:
        (old / "photos").mkdir(exist_ok=True)
        shutil.copy(path, old / "photos" / f"IMG_000{path.stem[-1]}.jpg")
    shutil.copy(sorted(photos.iterdir())[2], old / "photos/IMG_0002.jpg")
    (job_file,) = migrate_file(old / "one-job.json").jobs
    spec = load_job(job_file)
    with BatchJobManager(home / "migrated") as manager:
        job = manager.create_job_from_file(job_file)
        manager.start_job(job.job_id)
        state = manager.wait_for_job(job.job_id, WAIT_S)
    assert (state.done, state.failed) == (2, 0), state.reasons
    assert len(spec.operations) == len(job.operations)
    check_outputs(state.output, manifest(state.output))


def test_compatibility_what_can_be_changed_at_run_time(tmp_path: Path) -> None:
    """Limits, concurrency and priority, while tasks run and wait."""
    go = tmp_path / "go"
    with ResourceManager() as resources, TaskCoordinator(resources) as coordinator:
        coordinator.register_handler(Waiting())
        coordinator.set_concurrency_limits("wait", 1)

        def submit(name: str, priority: TaskPriority, **payload: str) -> Any:
            return coordinator.submit_task(Task(task_id=name, task_type="wait", payload=payload), priority)

        first = submit("flow-first", TaskPriority.NORMAL, until=str(go))
        wait_until(lambda: coordinator.get_task_status(first) is TaskStatus.RUNNING, timeout_s=60)
        slow, quick = submit("flow-slow", TaskPriority.HIGH), submit("flow-quick", TaskPriority.LOW)
        assert coordinator.set_priority(quick, TaskPriority.URGENT)
        assert coordinator.get_queue_status().by_priority == {"high": 1, "urgent": 1}
        go.touch()
        results = coordinator.wait_for_completion([first, slow, quick], WAIT_S)
        began = {result.task_id: result.value["began"] for result in results}
        assert began["flow-first"] < began["flow-quick"] < began["flow-slow"]
        coordinator.set_concurrency_limits("wait", None)
        assert "wait" not in coordinator.get_queue_status().limits

        resources.set_resource_limits(ResourceLimits(max_cpus=1))
        held = resources.allocate_resources("look", ResourceEstimate(cpus=1))
        with pytest.raises(ResourcesBusyError):
            resources.allocate_resources("look", ResourceEstimate(cpus=1))
        resources.set_resource_limits(ResourceLimits(max_cpus=2))
        resources.release_resources(resources.allocate_resources("look", ResourceEstimate(cpus=1)))
        resources.release_resources(held)


# ---- exports, and pools that are apart -------------------------------------------------------------------------------


def test_export_config_task_result_and_record(manager: EnhancedJobManager, photos: Path, home: Path) -> None:
    assert ExportConfig() == ExportConfig(
        analyses=("scopes",),
        data_formats=("parquet",),
        charts=True,
        include_effects=True,
        output=None,
        priority="normal",
    )
    job = manager.create_job("exported", [photos], INVERT, output=home / "exported")
    config = ExportConfig(analyses=({"statistics": {"percentiles": [50]}},), charts=False)
    task = manager.create_analysis_export_task(job.job_id, config)
    assert manager.wait_for_task(job.job_id, task.task_id, WAIT_S) is task
    assert (task.status, task.progress, task.error_info) == (TaskStatus.COMPLETED, 100, None)
    result = task.result
    assert result is not None
    assert (result.total, result.done, result.failed, result.skipped, result.reasons) == (4, 4, 0, 0, {})
    assert Path(result.output) == home / "exported/exports" / task.task_id
    assert result.report is not None
    assert Path(result.report).is_file()
    (record,) = manager.get_export_history(job.job_id)
    assert (record.task_id, record.job_id, record.config, record.result) == (task.task_id, job.job_id, config, result)
    assert task.start_time is not None
    assert record.end_time is not None
    assert (record.start_time, record.end_time) == (task.start_time, task.end_time)
    assert record.start_time < record.end_time
    with pytest.raises(AttributeError):
        record.status = TaskStatus.FAILED  # type: ignore[misc]


def test_a_flood_of_exports_leaves_a_batch_job_its_turn(manager: EnhancedJobManager, photos: Path, home: Path) -> None:
    """Twelve exports, half of them of broken files, wait for two places; the job neither waits for them nor fails."""
    write_photographs(home / "flood", 24, size=(480, 320))
    (home / "flood-broken").mkdir()
    for number in range(8):
        (home / f"flood-broken/{number}.jpg").write_bytes(b"no image")
    healthy = manager.create_job("flood", [home / "flood"], output=home / "flood-out")
    broken = manager.create_job("flood-broken", [home / "flood-broken"], output=home / "flood-broken-out")
    flood = [
        (job.job_id, manager.create_analysis_export_task(job.job_id, ExportConfig(analyses=("scopes", "noise"))))
        for _ in range(6)
        for job in (healthy, broken)
    ]
    beside = manager.create_job("beside", [photos], INVERT, output=home / "beside")
    manager.start_job(beside.job_id)
    assert manager.wait_for_job(beside.job_id, WAIT_S).status is JobStatus.COMPLETED
    open_exports = [task for _, task in flood if not task.status.terminal]
    assert open_exports, "the job came before the flood had run off"
    check_outputs(home / "beside", manifest(home / "beside"))
    for job_id, task in flood[6:]:
        manager.cancel_task(job_id, task.task_id)
    for job_id, task in flood:
        manager.wait_for_task(job_id, task.task_id, WAIT_S)
        assert task.status.terminal
    ended = {job.job_id: [task for job_id, task in flood[:6] if job_id == job.job_id] for job in (healthy, broken)}
    assert [task.status for task in ended[healthy.job_id]] == [TaskStatus.COMPLETED] * 3
    for task in ended[broken.job_id]:
        assert task.result is not None
        assert task.result.reasons == {"not_an_image": 8}
    wait_until(all_cpus_are_free, timeout_s=15)


def test_a_failing_batch_job_leaves_exports_alone(manager: EnhancedJobManager, photos: Path, home: Path) -> None:
    jobs = [
        manager.create_job(f"failing-{n}", [home / "flood-broken"], output=home / f"failing-{n}", max_failures=1)
        for n in range(4)
    ]
    for job in jobs:
        manager.start_job(job.job_id)
    source = manager.create_job("kept", [photos], output=home / "kept")
    task = manager.create_analysis_export_task(source.job_id, ExportConfig(analyses=("noise",), charts=False))
    manager.wait_for_task(source.job_id, task.task_id, WAIT_S)
    assert task.status is TaskStatus.COMPLETED, task.error_info
    for job in jobs:
        state = manager.wait_for_job(job.job_id, WAIT_S)
        assert state.status is JobStatus.FAILED
        assert 1 < state.failed <= 8, "it ends once more than one has failed, and may have several in hand"
