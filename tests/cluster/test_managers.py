"""What the managers do with a job that runs: pause it, go on, try again what failed, change its priority."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import textwrap
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actors import ResourceManager
from pipelines.contracts import TaskHandler
from pipelines.errors import JobError
from pipelines.export_models import ExportConfig
from pipelines.resources import ResourceConfig, ResourceEstimate, ResourceLimits
from pipelines.tasks import ExtensibleTask, TaskResult, TaskStatus
from rayjobs import BatchProcessingHandler, JobStatus
from rayjobs.managers.analysis_export_service import AnalysisExportService
from rayjobs.managers.enhanced_job_manager import EnhancedJobManager
from rayjobs.run.progress import Snapshot
from rayjobs.run.ray_session import ray_session
from tests.gate import Gate
from tests.leaks import wait_until
from tests.runs import ROOT, check_outputs, manifest, write_photographs

# Ray Data warns of its own settings when it copies its context.
pytestmark = pytest.mark.filterwarnings("ignore:`:DeprecationWarning:ray.data", "ignore:`ray_remote_args`")
IMAGES = 80
SOME = 16
"""Images that pass the gate at once in a job that is to be stopped."""
GATED: dict[str, Any] = {"operations": ["gate", "autocontrast"], "analyses": ["statistics"], "plugins": ["gate"]}
WAIT_S = 120.0


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    gate = Gate(tmp_path_factory.mktemp("gate"))
    with gate.in_this_process():
        yield gate


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("photos")
    write_photographs(directory, IMAGES)
    return directory


@pytest.fixture(scope="module")
def handler(gate: Gate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BatchProcessingHandler]:
    home = tmp_path_factory.mktemp("managers")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYJOBS_HOME", str(home))
        with (
            ray_session(name="managers", workers=2),
            EnhancedJobManager() as manager,
            BatchProcessingHandler(manager) as handler,
        ):
            yield handler


def test_a_paused_job_goes_on_with_another_priority(
    handler: BatchProcessingHandler, gate: Gate, photos: Path, tmp_path: Path
) -> None:
    job = handler.create_job("paused", [photos], output=tmp_path / "out", **GATED)
    gate.shut(after=SOME)
    begun = threading.Event()

    def watch(snapshot: Snapshot) -> None:
        if snapshot.done:
            begun.set()

    handler.manager.start_job(job.job_id, on_progress=watch)
    assert begun.wait(WAIT_S)
    handler.set_priority(job.job_id, "high")
    assert handler.pause(job.job_id)
    state = handler.wait(job.job_id, WAIT_S)
    assert state.status is JobStatus.PAUSED
    assert 0 < state.done < IMAGES
    assert handler.status(job.job_id).status is JobStatus.PAUSED
    assert not handler.pause(job.job_id), "it doesn't run"

    assert handler.set_priority(job.job_id, "low").options["priority"] == "low"
    with pytest.raises(JobError, match=r"priority: give urgent, high, normal or low, not 'first'"):
        handler.set_priority(job.job_id, "first")
    gate.open()
    handler.start(job.job_id)
    assert handler.wait(job.job_id, WAIT_S).status is JobStatus.COMPLETED
    rows = manifest(tmp_path / "out")
    assert len(rows) == IMAGES
    check_outputs(tmp_path / "out", rows)
    assert json.loads((tmp_path / "out/job.json").read_text())["job"]["priority"] == "low"
    outcomes = Counter(attempt.outcome for attempt in handler.manager.get_attempts(job.job_id))
    assert outcomes["done"] == IMAGES, "nothing was done twice"


def test_only_what_failed_is_tried_again(handler: BatchProcessingHandler, tmp_path: Path) -> None:
    photos = write_photographs(tmp_path / "photos", 6)
    shutil.copy(photos[0], tmp_path / "good.jpg")
    photos[0].write_bytes(b"\xff\xd8\xff\xe0 no image")
    photos[1].write_bytes(b"")
    job = handler.create_job("retried", [tmp_path / "photos"], output=tmp_path / "out", analyses=["statistics"])
    assert list(handler.manager.get_attempts(job.job_id)) == []
    handler.start(job.job_id)
    state = handler.wait(job.job_id, WAIT_S)
    assert (state.done, state.failed) == (4, 2)

    shutil.copy(tmp_path / "good.jpg", photos[0])
    handler.retry_failed(job.job_id, ["empty"])
    state = handler.wait(job.job_id, WAIT_S)
    assert (state.done, state.failed) == (5, 1)
    assert state.reasons == {"empty": 1}
    tried = Counter(Path(attempt.path.decode()).name for attempt in handler.manager.get_attempts(job.job_id))
    assert tried == {path.name: 2 if path in photos[:2] else 1 for path in photos}
    assert len(manifest(tmp_path / "out")) == 6


class Waits(TaskHandler):
    """Adds a line to a file, and waits for another file."""

    def get_supported_task_types(self) -> list[str]:
        return ["wait"]

    def handle_task(self, task: ExtensibleTask) -> TaskResult:
        with Path(task.config["diary"]).open("a") as diary:
            diary.write("begun\n")
        wait_until(Path(task.config["until"]).exists, timeout_s=WAIT_S)
        return TaskResult(task_id=task.task_id, status=TaskStatus.COMPLETED, value={"answer": 42})


def elsewhere(code: str, *arguments: str) -> list[str]:
    """Lines that another process prints, which has a manager of the same jobs."""
    program = f"""
import sys
from pipelines.contracts import TaskHandler
from pipelines.errors import JobError
from pipelines.export_models import ExportConfig
from pipelines.tasks import ExtensibleTask, TaskResult, TaskStatus
from rayjobs import EnhancedJobManager
with EnhancedJobManager() as manager:
    job, task, *more = sys.argv[1:]
{textwrap.indent(textwrap.dedent(code), "    ")}
"""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_another_process_looks_at_a_running_task_and_says_how_far_it_is(
    handler: BatchProcessingHandler, tmp_path: Path
) -> None:
    """It doesn't become its owner, whatever it calls: the task ends once, where it began."""
    manager = handler.manager
    manager.register_task_handler("wait", Waits())
    job = handler.create_job("looked-at", [tmp_path], output=tmp_path / "out", analyses=["statistics"])
    config = {"diary": str(tmp_path / "diary"), "until": str(tmp_path / "go")}
    task = manager.create_extensible_task(job.job_id, "wait", config)
    wait_until(lambda: task.status is TaskStatus.RUNNING and (tmp_path / "diary").exists(), timeout_s=WAIT_S)
    code = """
        manager.update_export_progress(job, task, 30)
        known = manager.get_job(job).extensible_tasks[task]
        print(known.status, known.progress)
        print(manager.resume_tasks(job), manager.cancel_task(job, task))
        for act in (lambda: manager.cleanup_export_resources(job, task), lambda: manager.remove_job(job)):
            try:
                act()
            except JobError as error:
                print(error)
    """
    assert elsewhere(code, job.job_id, task.task_id) == [
        "running 30",
        "[] False",
        f"task {task.task_id} is run by process {os.getpid()} on {socket.gethostname()}, "
        "and can't be stopped from here; cancel it there",
        f"job {job.job_id} can't be removed: its task {task.task_id} is running; cancel it first",
    ]
    assert manager.get_job(job.job_id).extensible_tasks[task.task_id] is task
    assert (task.status, task.progress, manager.resume_tasks(job.job_id)) == (TaskStatus.RUNNING, 30, [])
    (tmp_path / "go").touch()
    ended = manager.wait_for_task(job.job_id, task.task_id, WAIT_S)
    assert ended is task
    assert (task.status, task.progress, task.result) == (TaskStatus.COMPLETED, 100, {"answer": 42})
    assert elsewhere("print(manager.resume_tasks(job), manager.get_job(job).extensible_tasks[task].status)", job.job_id,
                     task.task_id) == ["[] completed"]  # fmt: skip
    assert (tmp_path / "diary").read_text() == "begun\n"


class Counts(TaskHandler):
    """Says how far it is, dies once in the middle, and goes on from what it had kept."""

    def handle_task(self, task: ExtensibleTask) -> TaskResult:
        if "half" in task.extension_data:
            task.extension_data["resources"] = "all"  # not its own to change
            return TaskResult(task_id=task.task_id, status=TaskStatus.COMPLETED, value=task.extension_data["half"])
        task.progress, task.extension_data["half"] = 40, [1, 2]
        while not Path(task.config["until"]).exists():
            threading.Event().wait(0.05)
        os._exit(1)

    def get_supported_task_types(self) -> list[str]:
        return ["count"]


def test_what_a_handler_says_of_its_task_is_seen_while_it_runs_and_kept(
    handler: BatchProcessingHandler, tmp_path: Path
) -> None:
    manager = handler.manager
    manager.register_task_handler("count", Counts())
    job = handler.create_job("counted", [tmp_path], output=tmp_path / "out", analyses=["statistics"])
    task = manager.create_extensible_task(job.job_id, "count", {"until": str(tmp_path / "go")})
    given = dict(task.extension_data)
    wait_until(lambda: task.progress == 40, timeout_s=WAIT_S)
    assert task.status is TaskStatus.RUNNING
    with EnhancedJobManager() as other:  # as any other process would

        def seen() -> ExtensibleTask:
            return other.get_job(job.job_id).extensible_tasks[task.task_id]

        wait_until(lambda: seen().progress == 40, timeout_s=WAIT_S)  # known here first, then written down
        assert seen().extension_data == {**given, "half": [1, 2]}
        (tmp_path / "go").touch()
        manager.wait_for_task(job.job_id, task.task_id, WAIT_S)
        ended = seen()
    assert ended == task
    assert (ended.status, ended.progress, ended.result) == (TaskStatus.COMPLETED, 100, {"value": [1, 2]})
    assert ended.extension_data == {**given, "half": [1, 2]}


def test_exports_and_tasks_keep_to_the_managers_limits_and_say_what_they_hold(
    handler: BatchProcessingHandler, gate: Gate, photos: Path, tmp_path: Path
) -> None:
    gate.shut(after=SOME)
    limits = ResourceLimits(max_cpus=1)
    with (
        ResourceManager(ResourceConfig(limits=limits)) as resources,
        EnhancedJobManager(resource_manager=resources) as manager,
        ResourceManager() as somebody,
    ):
        manager.register_task_handler("wait", Waits())
        job = manager.create_job("held", [photos], output=tmp_path / "out", **GATED)
        export = manager.create_analysis_export_task(job.job_id, ExportConfig(charts=False))
        wait_until(lambda: export.resource_allocation is not None, timeout_s=WAIT_S)
        held = export.resource_allocation
        assert held is not None
        assert held.amounts["cpu"] == 1
        memory = somebody.get_available_resources("memory")
        assert 0 < held.amounts["memory"] <= memory.total["memory"] - memory.available["memory"]
        gate.open()
        manager.wait_for_task(job.job_id, export.task_id, WAIT_S)
        assert (export.status, export.resource_allocation) == (TaskStatus.COMPLETED, None)
        stages = resources.get_performance_metrics().stages
        assert {stage.finished for stage in stages.values()} == {IMAGES}, stages
        assert all(stage.seconds > 0 for stage in stages.values())

        needs = ResourceEstimate(cpus=0.5, memory_bytes=2**27)
        config = {"diary": str(tmp_path / "diary"), "until": str(tmp_path / "go")}
        task = manager.create_extensible_task(job.job_id, "wait", config, resources=needs)
        wait_until(lambda: task.resource_allocation is not None, timeout_s=WAIT_S)
        assert task.resource_allocation is not None
        assert task.resource_allocation.amounts == {"cpu": 0.5, "memory": 2**27}
        (tmp_path / "go").touch()
        manager.wait_for_task(job.job_id, task.task_id, WAIT_S)
        assert (task.status, task.resource_allocation) == (TaskStatus.COMPLETED, None)
        assert resources.get_performance_metrics().allocations == 0


def test_another_process_stops_a_running_export_and_says_that_it_cannot_stop_a_waiting_one(
    handler: BatchProcessingHandler, gate: Gate, photos: Path, tmp_path: Path
) -> None:
    job = handler.create_job("stopped", [photos], output=tmp_path / "out", **GATED)
    gate.shut(after=SOME)
    with (
        AnalysisExportService(max_concurrent=1) as exports,
        EnhancedJobManager(export_service=exports) as manager,
    ):
        runs, waits = (manager.create_analysis_export_task(job.job_id, ExportConfig()) for _ in range(2))
        wait_until(lambda: runs.progress > 0, timeout_s=WAIT_S)
        code = """
            for each in (more[0], task, task):
                try:
                    manager.cleanup_export_resources(job, each)
                    print("stopped")
                except JobError as error:
                    print(error)
        """
        assert elsewhere(code, job.job_id, runs.task_id, waits.task_id) == [
            f"task {waits.task_id} waits in process {os.getpid()} on {socket.gethostname()}, and can't be stopped from "
            "here; cancel it there",
            "stopped",
            "stopped",
        ]
        manager.wait_for_task(job.job_id, runs.task_id, WAIT_S)
        assert (runs.status, runs.error_info) == (TaskStatus.CANCELLED, "cancelled")
        assert 0 < runs.progress < 100
        control = tmp_path / "out/exports" / runs.task_id / ".rayjobs"
        assert not list(control.glob("tmp/*"))
        assert not list(control.glob("request-*"))
        assert manager.resume_tasks(job.job_id) == []
    assert waits.status is TaskStatus.PENDING
    gate.open()
    with EnhancedJobManager() as manager:
        (resumed,) = manager.resume_tasks(job.job_id)
        assert resumed.task_id == waits.task_id
        manager.wait_for_task(job.job_id, resumed.task_id, WAIT_S)
        assert resumed.status is TaskStatus.COMPLETED
