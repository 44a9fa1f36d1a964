"""P7, P8: the coordinator: how soon an urgent task runs while a bulk job has the machine, and how much it takes in."""

from __future__ import annotations

import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import standard_work
from benchmarks.bars import measure
from benchmarks.baselines import BenchmarkError, run_block
from benchmarks.command_line import log_of, start, write_job
from benchmarks.figures import Figure, Scale, rounded, say
from benchmarks.photographs import photographs
from pipelines.contracts import TaskHandler
from pipelines.tasks import ExtensibleTask, Task, TaskPriority, TaskResult, TaskStatus
from rayjobs.run.ray_session import ray_session

if TYPE_CHECKING:
    from actors.coordinator.task_coordinator import TaskCoordinator

URGENT_IMAGES = 20
URGENT, IDLE = "benchmark_urgent", "benchmark_idle"
QUEUED, BATCH, TIMED_BATCHES = 100_000, 1_000, 20
INPUTS = 1_000_000
FEW_INPUTS_SHARE = 10
"""Driver memory of all inputs is compared with that of a tenth of them."""
SATURATED = 48
"""Images after which all workers of a bulk job are under way."""
WAIT_S = 120.0


class UrgentImages(TaskHandler):
    """The standard work on the files of a task, one after the other."""

    def handle_task(self, task: ExtensibleTask) -> TaskResult:
        files = [Path(file) for file in task.config["files"]]
        run_block(
            standard_work.items(files), standard_work.recipe(), standard_work.workspace(Path(task.config["root"]))
        )
        return TaskResult(task_id=task.task_id, status=TaskStatus.COMPLETED)

    def get_supported_task_types(self) -> list[str]:
        return [URGENT, IDLE]


def p7(scale: Scale) -> Figure:
    """An urgent task of 20 images alone, and while ``rayjobs run`` of the standard work has every CPU."""
    files = photographs(scale.images).files
    with cluster(scale) as coordinator:
        runs = (scale.scratch / f"urgent-{number}" for number in itertools.count())

        def urgent() -> tuple[float, float]:
            return run_urgent(coordinator, files[:URGENT_IMAGES], next(runs))

        urgent()  # a driver is warm when its first task has run
        alone = [urgent()[1] for _ in range(scale.repeat)]
        say(f"  alone: {statistics.median(alone):.2f} s")
        beside = []
        for turn in range(scale.repeat):
            # A fresh one each time: only at its start is it sure to have every CPU.
            with bulk_job(files, scale, turn) as images:
                wait_for(partial(_has_at_least, SATURATED, images), "the bulk job makes no progress")
                beside.append(urgent())
                say(f"  beside a bulk job: first result {beside[-1][0]:.2f} s, total {beside[-1][1]:.2f} s")
    first = statistics.median(seconds for seconds, _ in beside)
    total = statistics.median(seconds for _, seconds in beside)
    detail = {"alone_s": rounded(statistics.median(alone)), "beside_s": rounded(total)}
    return Figure(
        "P7",
        [
            measure("P7 first result", "seconds to the first result", first),
            measure("P7 total", "total against alone", total / statistics.median(alone), detail),
        ],
    )


@contextmanager
def cluster(scale: Scale) -> Iterator[TaskCoordinator]:
    """An embedded cluster that other processes can join, and a connected client."""
    os.environ["RAYJOBS_HOME"] = str(scale.scratch / "home")
    with ray_session(name="benchmarks", workers=scale.workers):
        from actors.coordinator.task_coordinator import TaskCoordinator

        with TaskCoordinator() as coordinator:
            coordinator.register_handler(UrgentImages())
            yield coordinator


def run_urgent(coordinator: TaskCoordinator, files: Sequence[Path], root: Path) -> tuple[float, float]:
    """Seconds from the submission to the first published image, and to the result."""
    config = {"files": [str(file) for file in files], "root": str(root)}
    task = Task(task_id=uuid.uuid4().hex, task_type=URGENT, payload=config)
    submitted, started = time.time(), time.perf_counter()
    handle = coordinator.submit_task(task, TaskPriority.URGENT)
    (result,) = coordinator.wait_for_completion([handle], WAIT_S)
    total = time.perf_counter() - started
    if result.status is not TaskStatus.COMPLETED:
        raise BenchmarkError(f"the urgent task ended as {result.status}: {result.error}")
    return min(file.stat().st_mtime for file in (root / "images").iterdir()) - submitted, total


@contextmanager
def bulk_job(files: Sequence[Path], scale: Scale, turn: int) -> Iterator[Path]:
    """``rayjobs run`` of the standard work on the same cluster, stopped at the end; gives the directory it fills."""
    import ray

    output = scale.scratch / f"bulk-{turn}"
    job = write_job(files, output)
    address = {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    process = start(job, home=scale.scratch / "home", said=job.with_suffix(".ray"), environment=address)
    try:
        yield output / "images"
        if process.poll() is not None:
            raise BenchmarkError(f"the bulk job was over too soon; take more --images (its log: {log_of(job)})")
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(WAIT_S)


def _has_at_least(count: int, directory: Path) -> bool:
    return directory.is_dir() and len(os.listdir(directory)) >= count


def wait_for(condition: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > deadline:
            raise BenchmarkError(otherwise)
        time.sleep(0.05)


def p8(scale: Scale) -> Figure:
    """Submissions per second into a full queue, and the memory of a driver with very many inputs."""
    with cluster(scale) as coordinator:
        rate = submission_rate(coordinator, scale.share(QUEUED), TIMED_BATCHES)
    many = scale.share(INPUTS)
    peaks = {count: driver_peak(count, scale.scratch / str(count)) for count in (many // FEW_INPUTS_SHARE, many)}
    few_bytes, many_bytes = peaks.values()
    detail = {"MiB": {str(count): rounded(peak / 2**20) for count, peak in peaks.items()}}
    return Figure(
        "P8",
        [
            measure(
                "P8 submissions",
                "submissions acknowledged per second",
                rate,
                {"queued": scale.share(QUEUED), "batch": BATCH},
            ),
            measure(
                "P8 memory",
                f"driver memory, {many:,} inputs against {many // FEW_INPUTS_SHARE:,}",
                many_bytes / few_bytes,
                detail,
            ),
        ],
    )


def submission_rate(coordinator: TaskCoordinator, queued: int, batches: int) -> float:
    """Tasks per second that are durable when ``submit_tasks`` returns, behind ``queued`` that can't run yet."""
    gate = Task(task_id="gate", task_type=IDLE)
    coordinator.request_grant(gate, TaskPriority.LOW, lambda _decision: None)
    numbers = itertools.count()

    def submit(count: int) -> None:
        tasks = [Task(task_id=f"queued-{next(numbers)}", task_type=IDLE, depends_on=("gate",)) for _ in range(count)]
        coordinator.submit_tasks(tasks)

    for at in range(0, queued, BATCH):
        submit(min(BATCH, queued - at))
    say(f"  {queued:,} tasks queued")
    started = time.perf_counter()
    for _ in range(batches):
        submit(BATCH)
    return BATCH * batches / (time.perf_counter() - started)


def driver_peak(inputs: int, root: Path) -> int:
    """Peak memory of a driver that plans so many inputs and takes in their rows, in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.many_inputs", str(inputs), str(root)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    peak = int(json.loads(done.stdout)["peak_bytes"])
    say(f"  driver with {inputs:,} inputs: {peak / 2**20:.0f} MiB")
    return peak
