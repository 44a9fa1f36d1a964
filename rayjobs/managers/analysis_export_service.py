"""Analysis exports: render, analyse, draw and write the images of a pool, with progress and history.

Whole by itself: it needs neither a job nor the enhanced manager. An export runs on the same path as every job, in the
pool of exports, so batch rendering neither waits for it nor fails with it.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from actors.ledger.batch_records import BatchRecords
from actors.ledger.output_lock import holder_of
from actors.queue.task_pools import EXPORT, shard_type
from pipelines.closing import ClosedOnExit
from pipelines.errors import JobError, RayjobsError
from pipelines.export_models import AnalysisExportTask, ExportConfig, ExportRecord, ExportResult
from pipelines.models import ImageOperation
from pipelines.resources import ResourceAllocation
from pipelines.storage.places import real_place
from pipelines.tasks import TaskStatus
from rayjobs.job.job_state import COMPLETE, JobState, JobStatus
from rayjobs.job.output_directory import OutputDirectory
from rayjobs.managers.batch_job import BatchJob
from rayjobs.managers.job_pool import JobPool, RunHandle
from rayjobs.managers.job_request import Source, as_sources, as_steps, job_output, job_request, percent
from rayjobs.results.published import SCOPES
from rayjobs.run.progress import Snapshot
from rayjobs.run.run_request import RunRequest
from rayjobs.run.stopped_run import clear_stopped

if TYPE_CHECKING:
    from actors.coordinator.resource_manager import ResourceManager

RECORDS = TypeAdapter(ExportRecord)
Changed = Callable[[AnalysisExportTask], None]
STOP_S = 60.0
"""How long an export may take to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportSource:
    """The images of an export, and what is done to them before they are analysed."""

    name: str
    """First part of the export's own name."""
    source_paths: tuple[str | dict[str, Any], ...]
    base: str
    """Absolute."""
    operations: tuple[str | dict[str, Any], ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    """Other keys of a job file that decide how images are read."""
    output: str | None = None
    """Absolute; the directory of the job whose images these are: nothing in it is an input."""


class AnalysisExportService(ClosedOnExit):
    """Runs analysis exports; every method may be called from any thread.

    Parameters
    ----------
    home
        Where the history is kept; ``$RAYJOBS_HOME`` unless given.
    max_concurrent
        Exports that run at a time; others wait in their order.
    resource_manager
        Its limits, thresholds and providers hold for exports, and its metrics count them.
    """

    def __init__(
        self,
        home: Path | None = None,
        *,
        max_concurrent: int = 2,
        resource_manager: ResourceManager | None = None,
    ) -> None:
        self._resources = resource_manager
        self._records = BatchRecords(home)
        self._pool = JobPool(EXPORT, max_concurrent=max_concurrent)
        self._lock = threading.Lock()
        """Guards tasks: their fields are written by the threads of their runs."""

    def close(self) -> None:
        """Interrupt what runs; the same export, submitted again, goes on. Safe to call twice."""
        self._pool.close()

    def export(
        self,
        source_paths: Iterable[Source],
        config: ExportConfig | None = None,
        *,
        operations: Iterable[str | Mapping[str, Any] | ImageOperation] = (),
        name: str = "export",
        timeout: float | None = None,
        **options: Any,
    ) -> ExportResult:
        """Export analyses of images and wait for the result.

        Parameters
        ----------
        source_paths
            Files, directories, globs; relative to the current directory.
        config
            What to compute and write; ``output`` must be given.
        operations
            Applied first if ``config.include_effects``.
        name, **options
            As in a job file.

        Raises
        ------
        RayjobsError
            The export can't run, was stopped, or goes on after ``timeout`` seconds.
        """
        config = config or ExportConfig()
        source = ExportSource(
            name=name,
            source_paths=tuple(as_sources(source_paths)),
            base=str(Path.cwd()),
            operations=tuple(as_steps(operations, "operations")),
            options=options,
        )
        task = AnalysisExportTask(task_id=uuid.uuid4().hex[:12], job_id="", config=config)
        future = self.submit(task, source)
        try:
            return future.result(timeout)
        except TimeoutError:
            raise JobError(f"{name}: the export goes on after {timeout:g} s; its task is {task.task_id}") from None

    def output_of(self, task: AnalysisExportTask, source: ExportSource) -> Path:
        """The directory that an export writes to.

        Raises
        ------
        JobError
            Neither the export nor its source says where to.
        """
        if task.config.output is None and source.output is None:
            raise JobError(f"export {task.task_id}: say where to: ExportConfig(output=...)")
        return job_output(Path(source.base), task.config.output or f"{source.output}/exports/{task.task_id}")

    def check(self, task: AnalysisExportTask, source: ExportSource) -> RunRequest:
        """The run that an export is.

        Raises
        ------
        JobError
            With every mistake in its configuration.
        """
        config, root = task.config, self.output_of(task, source)
        if source.output is not None and real_place(root) == real_place(source.output):
            raise JobError(f"export {task.task_id}: {root} is the output of the job itself; choose another directory")
        job = BatchJob(
            job_id=task.task_id,
            name=f"{source.name[:80]}.{task.task_id}",
            source_paths=list(source.source_paths),
            operations=list(source.operations) if config.include_effects else [],
            export_config={
                "images": False,
                "data": list(config.data_formats),
                "charts": dict(config.charts) if isinstance(config.charts, Mapping) else config.charts,
            },
            output=str(root),
            base=source.base,
            analyses=as_steps(config.analyses, "analyses"),
            options={**source.options, "priority": config.priority},
        )
        request = job_request(job)
        return replace(request, pool=EXPORT, source=None if source.output is None else Path(source.output))

    def submit(
        self, task: AnalysisExportTask, source: ExportSource, *, on_change: Changed | None = None
    ) -> Future[ExportResult]:
        """Queue an export; ``task`` is kept up to date. One that runs already goes on.

        Parameters
        ----------
        on_change
            Called after each change of the task, on the export's thread.

        Raises
        ------
        JobError
            With every mistake in its configuration.
        """
        changed = on_change or _ignore
        future: Future[ExportResult] = Future()
        future.set_running_or_notify_cancel()
        run = RunHandle(task.task_id, self.check(task, source), resources=self._resources)
        run.on_progress = lambda snapshot: self._progressed(task, snapshot, changed)
        run.on_end = lambda ended: self._ended(task, ended, changed, future)
        if self._pool.start(run) is not run:
            raise JobError(f"export {task.task_id}: is running already; wait for it, or cancel it")
        return future

    def cancel(self, task_id: str) -> bool:
        """Stop an export; what is written stays. False when it doesn't run here."""
        return self._pool.stop(task_id, JobStatus.CANCELLED) is not None

    def interrupt(self, task_ids: Iterable[str]) -> None:
        """Interrupt exports that run here and wait for that; submitted again, they go on."""
        runs = [run for task_id in task_ids if (run := self._pool.interrupt(task_id)) is not None]
        for run in runs:
            run.join()

    def cleanup(self, task_id: str, output: Path | None = None) -> None:
        """Stop an export if it runs, here or in another process, wait for that, and remove its temporary files.

        Results stay.

        Raises
        ------
        JobError
            It goes on all the same.
        """
        run = self._pool.stop(task_id, JobStatus.CANCELLED)
        if run is not None and not run.join(STOP_S):
            raise JobError(f"export {task_id}: still running {STOP_S:g} s after it was cancelled")
        if output is not None:
            directory = OutputDirectory(output)
            if run is None and not directory.stop_run(STOP_S):
                who = holder_of(directory.lock)
                raise JobError(f"export {task_id}: run by {who}, still {STOP_S:g} s after that was asked to stop")
            clear_stopped(directory)

    def get_history(self, job_id: str = "") -> list[ExportRecord]:
        """The ended exports of a job, or of no job, the oldest first."""
        return [RECORDS.validate_json(body) for body in self._records.exports(job_id)]

    # ---- inner workings, on the threads of the runs --------------------------------------------------------------

    def _progressed(self, task: AnalysisExportTask, snapshot: Snapshot, changed: Changed) -> None:
        progress = percent(snapshot.done + snapshot.failed + snapshot.skipped, snapshot.total)
        with self._lock:
            before = (task.status, task.progress, task.resource_allocation)
            if task.status is TaskStatus.PENDING:
                task.status, task.start_time = TaskStatus.RUNNING, datetime.now(UTC)
            task.progress = max(task.progress, min(progress, 99))  # 100 is said when everything is written
            task.resource_allocation = _held(task, snapshot.holds)
            same = before == (task.status, task.progress, task.resource_allocation)
        if not same:
            changed(task)

    def _ended(self, task: AnalysisExportTask, run: RunHandle, changed: Changed, future: Future[ExportResult]) -> None:
        status, error = _outcome(run)
        with self._lock:
            task.status, task.error_info, task.resource_allocation = status, error, None
            if status.terminal:
                task.end_time = datetime.now(UTC)
            if run.state is not None and run.state.status in COMPLETE:
                task.result, task.progress = _result(run.state), 100
        if status.terminal:
            record = ExportRecord(
                task_id=task.task_id,
                job_id=task.job_id,
                config=task.config,
                status=status,
                start_time=task.start_time,
                end_time=task.end_time,
                result=task.result,
                error_info=error,
            )
            self._records.add_export(task.task_id, task.job_id, RECORDS.dump_json(record).decode())
        changed(task)
        if task.result is not None and status is TaskStatus.COMPLETED:
            future.set_result(task.result)
        else:
            future.set_exception(run.error or RayjobsError(f"export {task.task_id}: {error or status}"))


def _held(task: AnalysisExportTask, holds: Mapping[str, float]) -> ResourceAllocation | None:
    """What the shards of an export hold together."""
    if not holds:
        return None
    return ResourceAllocation(
        allocation_id=f"shards of {task.task_id}", resource_type=shard_type(EXPORT), amounts=holds, owner=task.task_id
    )


def _outcome(run: RunHandle) -> tuple[TaskStatus, str | None]:
    """How a task stands after its run; one that was only interrupted can be submitted again."""
    if run.error is not None:
        return TaskStatus.FAILED, str(run.error)
    state = run.state
    if state is not None and state.status in COMPLETE and state.failed and not state.done:
        return TaskStatus.FAILED, f"all {state.failed:,} images failed ({', '.join(state.reasons)})"
    if state is not None and state.status in COMPLETE:
        return TaskStatus.COMPLETED, f"{state.failed:,} of {state.total:,} images failed" if state.failed else None
    if run.stopped_as is JobStatus.CANCELLED or (state is not None and state.status is JobStatus.CANCELLED):
        return TaskStatus.CANCELLED, "cancelled"
    if state is not None and state.status is JobStatus.FAILED:
        return TaskStatus.FAILED, state.error or f"{state.failed:,} images failed, more than allowed"
    return TaskStatus.PENDING, (state and state.error) or "interrupted; submit it again to go on"


def _result(state: JobState) -> ExportResult:
    output = OutputDirectory(state.output)
    places = [place for place in (output.data, output.data / SCOPES) if place.is_dir()]
    tables = sorted(
        path.relative_to(state.output).as_posix()
        for place in places
        for path in place.iterdir()
        if path not in places and not path.name.startswith(".")
    )
    return ExportResult(
        output=str(state.output),
        total=state.total,
        done=state.done,
        failed=state.failed,
        skipped=state.skipped,
        reasons=state.reasons,
        tables=tuple(tables),
        report=str(output.report) if output.report.is_file() else None,
    )


def _ignore(_: AnalysisExportTask) -> None:
    """Nobody wants to know."""
