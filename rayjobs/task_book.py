"""The tasks of a manager's jobs: those that it runs, as they stand, and all others as they were last written.

Exports and tasks of registered types alike, kept over restarts in ``actors.batch_records``. A task that was open when
its manager ended is nobody's: it stands as pending again, and whoever resumes it owns it.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from pydantic import TypeAdapter

from actors.batch_records import BatchRecords, StoredTask
from actors.output_lock import OutputLock, is_locked
from pipelines.errors import JobError
from pipelines.export_models import AnalysisExportTask
from pipelines.tasks import ExtensibleTask, TaskStatus

BatchTask = AnalysisExportTask | ExtensibleTask

_EXPORT, _EXTENSIBLE = "export", "extensible"
_EXPORTS = TypeAdapter(AnalysisExportTask)
_EXTENSIBLES = TypeAdapter(ExtensibleTask)

ORPHANED = "its program ended before it was done; `resume_tasks` starts it again"


@dataclass(slots=True, eq=False)
class _Live:
    """A task that is run here."""

    task: BatchTask
    ended: threading.Event = field(default_factory=threading.Event)


class TaskBook:
    """Tasks by job; its owner is alive until ``release``. May be used from several threads."""

    def __init__(self, records: BatchRecords) -> None:
        self._records = records
        self._directory = records.home / "managers"
        self._owner = uuid.uuid4().hex
        self._alive = OutputLock(self._directory / self._owner)
        self._lock = threading.RLock()
        """Guards what follows, and the fields of tasks while they are changed here."""
        self._live: dict[str, _Live] = {}

    def release(self) -> None:
        """Let others resume what is open, and nobody wait for it any more. Safe to call twice."""
        with self._lock:
            for live in self._live.values():
                live.ended.set()
        self._alive.release()
        (self._directory / self._owner).unlink(missing_ok=True)

    def begin(self, task: BatchTask) -> None:
        """From now on the task is run here."""
        with self._lock:
            task.status, task.progress, task.error_info = TaskStatus.PENDING, 0, None
            self._live[task.task_id] = _Live(task)
            self._keep(task)

    def drop(self, task: BatchTask, why: str) -> None:
        """It could not be queued after all."""
        self.change(task, lambda: _fail(task, why))

    def change(self, task: BatchTask, change: Callable[[], None] | None = None) -> None:
        """Change a task, unless it has ended, and keep it as it then stands."""
        with self._lock:
            if change is not None and not task.status.terminal:
                change()
            try:
                self._keep(task)
            finally:  # whoever waits learns of the end even where it can't be written down
                if task.status.terminal:
                    self.over(task.task_id)

    def over(self, task_id: str) -> None:
        """A task isn't run here any more, whatever became of it: an interrupted one is to be submitted again."""
        with self._lock:
            live = self._live.get(task_id)
            if live is not None:
                live.ended.set()

    def running(self, job_id: str) -> list[str]:
        """Ids of a job's tasks that are queued or run here."""
        with self._lock:
            return [
                task_id
                for task_id, live in self._live.items()
                if live.task.job_id == job_id and not live.ended.is_set()
            ]

    def find(self, job_id: str, task_id: str) -> BatchTask:
        """A task of a job; the object itself when it is run here.

        Raises
        ------
        JobError
            The job has no such task.
        """
        for task in self.tasks(job_id):
            if task.task_id == task_id:
                return task
        raise JobError(f"job {job_id} has no task {task_id!r}")

    def wait(self, task_id: str, timeout: float | None) -> None:
        """Wait until a task isn't run here any more, or ``timeout`` seconds."""
        with self._lock:
            live = self._live.get(task_id)
        if live is not None:
            live.ended.wait(timeout)

    def tasks(self, job_id: str) -> list[BatchTask]:
        """The tasks of a job, the oldest first."""
        stored = self._records.tasks(job_id)
        with self._lock:
            live = {task_id: known.task for task_id, known in self._live.items()}
        return [live.get(entry.task_id) or self._standing(entry) for entry in stored]

    def orphans(self, job_id: str) -> list[BatchTask]:
        """Open tasks of a job whose manager ended."""
        return [task for task in self.tasks(job_id) if task.error_info == ORPHANED]

    def _standing(self, stored: StoredTask) -> BatchTask:
        task = (_EXPORTS if stored.kind == _EXPORT else _EXTENSIBLES).validate_json(stored.body)
        if task.status.terminal or is_locked(self._directory / stored.owner):
            return task
        return replace(task, status=TaskStatus.PENDING, error_info=ORPHANED)

    def _keep(self, task: BatchTask) -> None:
        if isinstance(task, AnalysisExportTask):
            kind, body = _EXPORT, _EXPORTS.dump_json(task)
        else:
            kind, body = _EXTENSIBLE, _EXTENSIBLES.dump_json(task)
        self._records.put_task(
            StoredTask(task_id=task.task_id, job_id=task.job_id, kind=kind, owner=self._owner, body=body.decode())
        )


def _fail(task: BatchTask, why: str) -> None:
    task.status, task.error_info = TaskStatus.FAILED, why
