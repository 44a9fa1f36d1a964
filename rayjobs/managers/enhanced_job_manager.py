"""The batch system with analysis exports and tasks of registered types, as an extension of the plain one.

Everything that the plain manager does, it does unchanged. Exports run in the pool of exports
(``analysis_export_service``), tasks in the cluster's queue (``extensible_tasks``); both are remembered over restarts
(``task_store``).
"""

from __future__ import annotations

import json
import reprlib
import time
import uuid
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from actors.ledger.batch_records import StoredJob
from pipelines import retry_rules
from pipelines.contracts import TaskHandler
from pipelines.errors import JobError, RayjobsError
from pipelines.export_models import AnalysisExportTask, ExportConfig, ExportRecord
from pipelines.resources import ResourceEstimate, ResourceUsageInfo
from pipelines.tasks import TASK_TIMEOUT_S, ExtensibleTask, TaskPriority, TaskStatus
from rayjobs.job.output_directory import CANCEL, LOOK_S, OutputDirectory
from rayjobs.managers.analysis_export_service import STOP_S, AnalysisExportService, ExportSource
from rayjobs.managers.batch_job import BatchJob, EnhancedBatchJob
from rayjobs.managers.batch_job_manager import BatchJobManager
from rayjobs.managers.extensible_tasks import ExtensibleTasks, TaskLimits
from rayjobs.managers.job_images import JobWithImages
from rayjobs.managers.job_pool import RunHandle
from rayjobs.managers.job_request import job_request
from rayjobs.managers.task_store import BatchTask, TaskStore, TaskTakenError
from rayjobs.results.job_usage import usage_of

if TYPE_CHECKING:
    from actors.coordinator.resource_manager import ResourceManager

SOURCE_OPTIONS = ("exclude", "groups", "read", "limits", "plugins", "max_failures", "durability", "requires")
"""Of a job's options, those that its exports share."""

_USAGE = TypeAdapter(ResourceUsageInfo)


class EnhancedJobManager(BatchJobManager):
    """Keeps and runs jobs, their exports and their tasks; every method may be called from any thread.

    Parameters
    ----------
    home, max_concurrent
        As for ``BatchJobManager``.
    export_service
        What runs exports; one of its own unless given, and then closed with the manager.
    resource_manager
        Asked before every task of a registered type and every shard of its own exports; whoever made it closes it.
    """

    def __init__(
        self,
        home: Path | None = None,
        *,
        max_concurrent: int = 2,
        export_service: AnalysisExportService | None = None,
        resource_manager: ResourceManager | None = None,
    ) -> None:
        super().__init__(home, max_concurrent=max_concurrent)
        self._own_exports = export_service is None
        self._exports = export_service or AnalysisExportService(home, resource_manager=resource_manager)
        self._store = TaskStore(self._records)
        self._tasks = ExtensibleTasks(self._store, resource_manager)

    def close(self) -> None:
        """Interrupt what runs; ``start_job`` and ``resume_tasks`` go on with it later. Safe to call twice."""
        super().close()
        if self._own_exports:
            self._exports.close()
        else:
            self._exports.interrupt(self._store.running())
        self._tasks.close()
        self._store.release()

    # ---- the seed's interface ------------------------------------------------------------------------------------

    def create_analysis_export_task(self, job_id: str, config: ExportConfig | None = None) -> AnalysisExportTask:
        """Queue an analysis export of a job's images; the task that is returned is kept up to date.

        Raises
        ------
        JobError
            There is no such job, it has no images, or the configuration is wrong.
        """
        task = AnalysisExportTask(task_id=uuid.uuid4().hex[:12], job_id=job_id, config=config or ExportConfig())
        self._start_export(task)
        return task

    def create_extensible_task(
        self,
        job_id: str,
        task_type: str,
        config: Mapping[str, Any],
        *,
        priority: TaskPriority = TaskPriority.NORMAL,
        resources: ResourceEstimate | None = None,
        timeout_s: float | None = TASK_TIMEOUT_S,
        max_attempts: int = retry_rules.TASK.tries,
    ) -> ExtensibleTask:
        """Queue a task of a registered type; the task that is returned is kept up to date.

        Parameters
        ----------
        config
            Plain values, which the type's handler reads.
        resources
            What the task needs while it runs; one CPU unless given.
        timeout_s
            How long its handler may take; None: any time.
        max_attempts
            How often it may take its process down, or its time may run out.

        Raises
        ------
        RayjobsError
            There is no such job, nothing runs tasks of that type, or no node has what it needs.
        """
        self._stored(job_id)
        limits = TaskLimits(resources or ResourceEstimate(), priority, timeout_s, max_attempts)
        task = self._tasks.create(job_id, task_type, config, limits)
        self._tasks.start(task)
        return task

    def get_job_with_processed_images(self, job_id: str, include_effects: bool) -> JobWithImages:
        """A job and its images, with its operations applied or as they are; pixels are read on demand."""
        job = self.get_job(job_id)
        return JobWithImages(job=job, include_effects=include_effects, request=job_request(job))

    def update_export_progress(self, job_id: str, task_id: str, progress: int) -> None:
        """Say how far an export or a task is, whichever process runs it, and goes on to run it.

        It never goes back, and one that ended stays as it is.

        Raises
        ------
        JobError
            The job has no such task, or ``progress`` isn't 0 to 100.
        """
        if not 0 <= progress <= 100:
            raise JobError(f"progress of {task_id} is {progress}; give 0 to 100")
        self._store.progressed(job_id, task_id, progress)

    def get_export_history(self, job_id: str) -> list[ExportRecord]:
        """The ended exports of a job, the oldest first; they outlive the job."""
        return self._exports.get_history(job_id)

    def cleanup_export_resources(self, job_id: str, task_id: str) -> None:
        """Stop an export or a task if it runs, and free what it holds: temporary files, its place in the queue.

        Its record, and its results if it has any, stay. An export that runs in another process is stopped as well. A
        second time changes nothing.

        Raises
        ------
        JobError
            The job has no such task, it can't be stopped from here, or it goes on all the same.
        """
        task = self._store.find(job_id, task_id)
        output = None if isinstance(task, ExtensibleTask) else self._output_of(task)
        runs = output is not None and OutputDirectory(output).running
        elsewhere = self._store.elsewhere(job_id).get(task_id)
        if elsewhere is not None and output is not None and not runs and task.status is not TaskStatus.PENDING:
            elsewhere = self._owner_after_the_run(job_id, task_id)
        if elsewhere is not None and not runs:
            what = "waits in" if task.status is TaskStatus.PENDING else "is run by"
            raise JobError(f"task {task_id} {what} {elsewhere}, and can't be stopped from here; cancel it there")
        if output is not None:
            self._exports.cleanup(task_id, output)
        elif self._tasks.cancel(task_id) and not self._store.wait(task_id, STOP_S):
            raise JobError(f"task {task_id}: still running {STOP_S:g} s after it was cancelled")

    def _owner_after_the_run(self, job_id: str, task_id: str) -> str | None:
        """Who has a task whose run has ended, once whoever ran it had time to say how."""
        deadline = time.monotonic() + STOP_S
        while (owner := self._store.elsewhere(job_id).get(task_id)) is not None and time.monotonic() < deadline:
            time.sleep(LOOK_S)
        return owner

    def register_task_handler(self, task_type: str, handler: TaskHandler) -> None:
        """Let tasks of a type be run by a handler, which must be picklable; the last one registered counts.

        Raises
        ------
        RayjobsError
            The handler doesn't run that type.
        """
        self._tasks.register(task_type, handler)

    # ---- beyond the seed -----------------------------------------------------------------------------------------

    def remove_job(self, job_id: str) -> None:
        """Forget a job and its tasks; results and the history of exports stay.

        Raises
        ------
        JobError
            There is no such job, or it or a task of it is running.
        """
        running = [*self._store.running(job_id), *self._store.elsewhere(job_id)]
        if running:
            raise JobError(f"job {job_id} can't be removed: its task {running[0]} is running; cancel it first")
        super().remove_job(job_id)

    def get_job(self, job_id: str) -> EnhancedBatchJob:
        """A job as it stands now, with its exports, tasks and history."""
        return self._enhanced(self._stored(job_id))

    def list_jobs(self) -> list[BatchJob]:
        """All jobs, the oldest first, each as ``get_job`` gives it."""
        return [self._enhanced(stored) for stored in self._records.jobs()]

    def cancel_task(self, job_id: str, task_id: str) -> bool:
        """Cancel an export, here or while it runs in another process, or a task of this manager; False: nothing is."""
        task = self._store.find(job_id, task_id)
        if isinstance(task, ExtensibleTask):
            return self._tasks.cancel(task_id)
        if self._exports.cancel(task_id):
            return True
        output = OutputDirectory(self._output_of(task))
        if not output.running:
            return False
        output.request(CANCEL)
        return True

    def wait_for_task(self, job_id: str, task_id: str, timeout: float | None = None) -> BatchTask:
        """An export or a task of this manager when it has ended, or as it stands after ``timeout`` seconds."""
        task = self._store.find(job_id, task_id)
        self._store.wait(task_id, timeout)
        return task

    def resume_tasks(self, job_id: str) -> list[BatchTask]:
        """Queue a job's exports and tasks again whose program ended before they were done; those that are queued now.

        What runs, here or in another process, runs on: of several processes that resume at once, one has each task.

        Raises
        ------
        RayjobsError
            One can't be queued, as when nothing runs its type any more: the first such error, after all others were.
        """
        resumed: list[BatchTask] = []
        errors: list[RayjobsError] = []
        for task in self._store.orphans(job_id):
            try:
                if isinstance(task, ExtensibleTask):
                    self._tasks.start(task)
                elif OutputDirectory(self._output_of(task)).running:
                    continue
                else:
                    self._start_export(task)
                resumed.append(task)
            except TaskTakenError:
                continue
            except RayjobsError as error:
                errors.append(error)
        if errors:
            raise errors[0]
        return resumed

    def set_concurrency_limit(self, task_type: str, most: int) -> None:
        """At most so many tasks of a registered type run at a time in the whole cluster."""
        self._tasks.set_concurrency_limit(task_type, most)

    def set_extension_data(self, job_id: str, data: Mapping[str, Any]) -> None:
        """Keep plain values with a job, for whoever extends jobs.

        Raises
        ------
        JobError
            There is no such job, or the data is no mapping of plain values.
        """
        if not isinstance(data, Mapping):
            raise JobError(f"extension data of {job_id}: give keys and their values, not {reprlib.repr(data)}")
        try:
            json.dumps(dict(data))
        except (TypeError, ValueError) as error:
            raise JobError(f"extension data of {job_id}: isn't plain values: {error}") from None
        self._keep_extra(job_id, extension_data=dict(data))

    # ---- inner workings ------------------------------------------------------------------------------------------

    def _enhanced(self, stored: StoredJob) -> EnhancedBatchJob:
        job = self._refreshed(self._read(stored))
        tasks = self._store.tasks(job.job_id)
        extra = json.loads(stored.extra or "{}")
        return EnhancedBatchJob(
            **{field.name: getattr(job, field.name) for field in fields(BatchJob)},
            export_tasks={task.task_id: task for task in tasks if isinstance(task, AnalysisExportTask)},
            extensible_tasks={task.task_id: task for task in tasks if isinstance(task, ExtensibleTask)},
            export_history=self._exports.get_history(job.job_id),
            resource_usage=_USAGE.validate_python(extra.get("resource_usage", {})),
            extension_data=extra.get("extension_data", {}),
        )

    def _output_of(self, task: AnalysisExportTask) -> Path:
        return self._exports.output_of(task, self._source(self.get_job(task.job_id)))

    def _source(self, job: BatchJob) -> ExportSource:
        return ExportSource(
            name=job.name,
            source_paths=tuple(job.source_paths),
            base=job.base,
            operations=tuple(job.operations),
            options={key: job.options[key] for key in SOURCE_OPTIONS if key in job.options},
            output=job.output,
        )

    def _start_export(self, task: AnalysisExportTask) -> None:
        source = self._source(self.get_job(task.job_id))
        self._exports.check(task, source)
        self._store.begin(task)
        try:
            future = self._exports.submit(task, source, on_change=self._store.change)
        except RayjobsError as error:
            self._store.drop(task, str(error))
            raise
        future.add_done_callback(lambda _: self._store.over(task.task_id))

    def _note_end(self, run: RunHandle) -> None:
        super()._note_end(run)
        usage = usage_of(OutputDirectory(run.request.output))
        self._keep_extra(run.key, resource_usage=_USAGE.dump_python(usage, mode="json"))

    def _keep_extra(self, job_id: str, **extra: Any) -> None:
        def change(before: StoredJob) -> StoredJob:
            return replace(before, extra=json.dumps({**json.loads(before.extra or "{}"), **extra}))

        self._records.change_job(job_id, change)
