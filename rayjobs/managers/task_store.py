"""The tasks of a manager's jobs: those that it runs, as they stand, and all others as they were last written.

Exports and tasks of registered types alike, kept over restarts in
``actors.ledger.batch_records``. A task that was open when
its manager ended is nobody's: it stands as pending again, and whoever resumes it owns it, one of several that try at
once. Whether a manager is alive the kernel knows (``output_lock``). Whoever only looks, or says how far a task is, owns
nothing.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace

from pydantic import TypeAdapter

from actors.ledger.batch_records import BatchRecords, StoredTask
from actors.ledger.output_lock import LEASE_S, OutputLock, holder_of, is_locked
from pipelines.errors import JobError
from pipelines.export_models import AnalysisExportTask
from pipelines.tasks import ExtensibleTask, TaskStatus

BatchTask = AnalysisExportTask | ExtensibleTask

_EXPORT, _EXTENSIBLE = "export", "extensible"
_EXPORTS = TypeAdapter(AnalysisExportTask)
_EXTENSIBLES = TypeAdapter(ExtensibleTask)

RENEW_S = LEASE_S / 3
ORPHANED = "its program ended before it was done; `resume_tasks` starts it again"


@dataclass(slots=True, eq=False)
class _Live:
    """A task that is run here."""

    task: BatchTask
    ended: threading.Event = field(default_factory=threading.Event)


class TaskTakenError(JobError):
    """Somebody else runs the task, or it has ended."""


class TaskStore:
    """Tasks by job; its owner is alive until ``release``. May be used from several threads."""

    def __init__(self, records: BatchRecords) -> None:
        self._records = records
        self._directory = records.home / "managers"
        self._owner = uuid.uuid4().hex
        self._alive = OutputLock(self._directory / self._owner)
        self._lock = threading.RLock()
        """Guards what follows, and the fields of tasks while they are changed here."""
        self._live: dict[str, _Live] = {}
        self._released = threading.Event()
        self._renewing = threading.Thread(target=self._renew, name="rayjobs-owner", daemon=True)

    def release(self) -> None:
        """Let others resume what is open, and nobody wait for it any more. Safe to call twice."""
        with self._lock:
            for live in self._live.values():
                live.ended.set()
            self._released.set()
        if self._renewing.is_alive():
            self._renewing.join()
        self._alive.release()
        (self._directory / self._owner).unlink(missing_ok=True)

    def begin(self, task: BatchTask) -> None:
        """From now on the task is run here.

        Raises
        ------
        TaskTakenError
            It runs already, here or in another process, or has ended meanwhile.
        """
        with self._lock:
            if self._released.is_set():
                raise JobError("this manager is closed")
            before = self._live.get(task.task_id)
            if before is not None and not before.ended.is_set():
                raise TaskTakenError(f"task {task.task_id} is running already")
            fresh = replace(_nobodys(task), progress=0, error_info=None)
            stored = self._stored(fresh)

            def claim(found: StoredTask) -> StoredTask | None:
                ended = _parsed(found).status.terminal
                elsewhere = found.owner != self._owner and is_locked(self._directory / found.owner)
                return None if ended or elsewhere else stored

            if not self._records.add_task(stored) and self._records.change_task(task.task_id, claim) != stored:
                raise TaskTakenError(f"task {task.task_id} is run by another process, or has ended")
            _copy(fresh, task)
            self._live[task.task_id] = _Live(task)
            if self._renewing.ident is None:  # with its first task there is something to own
                self._renewing.start()

    def _renew(self) -> None:
        """Say to other hosts, where a file lock may not reach, that this manager is alive."""
        while not self._released.wait(RENEW_S):
            self._alive.renew()

    def drop(self, task: BatchTask, why: str) -> None:
        """It could not be queued after all."""
        self.change(task, lambda: _fail(task, why))

    def change(self, task: BatchTask, change: Callable[[], None] | None = None) -> None:
        """Change a task that is run here, unless it has ended, and keep it as it then stands."""
        with self._lock:
            if change is not None and not task.status.terminal:
                change()
            try:
                self._records.change_task(task.task_id, lambda found: self._merged(task, found))
            finally:  # whoever waits learns of the end even where it can't be written down
                if task.status.terminal:
                    self.over(task.task_id)

    def progressed(self, job_id: str, task_id: str, progress: int) -> None:
        """Say how far an open task is, whoever runs it: it stays theirs.

        Raises
        ------
        JobError
            The job has no such task.
        """
        task = self.find(job_id, task_id)
        with self._lock:
            if self._runs_here(task_id):
                self.change(task, lambda: setattr(task, "progress", max(task.progress, progress)))
                return

        def change(found: StoredTask) -> StoredTask | None:
            known = _parsed(found)
            if known.status.terminal or known.progress >= progress:
                return None
            return replace(found, body=_body(replace(known, progress=progress)))

        self._records.change_task(task_id, change)

    def _merged(self, task: BatchTask, found: StoredTask) -> StoredTask | None:
        """What is to be written of a task that is run here: others may have said meanwhile how far it is."""
        if found.owner != self._owner:
            return None  # somebody resumed it: what is known here is about an earlier run
        if not task.status.terminal:
            task.progress = max(task.progress, _parsed(found).progress)
        return self._stored(task)

    def over(self, task_id: str) -> None:
        """A task isn't run here any more, whatever became of it: an interrupted one is to be submitted again."""
        with self._lock:
            live = self._live.get(task_id)
            if live is not None:
                live.ended.set()

    def running(self, job_id: str | None = None) -> list[str]:
        """Ids of a job's tasks, or of all, that are queued or run here."""
        with self._lock:
            return [
                task_id
                for task_id, live in self._live.items()
                if job_id in (None, live.task.job_id) and not live.ended.is_set()
            ]

    def elsewhere(self, job_id: str) -> dict[str, str]:
        """Open tasks of a job that another live process queues or runs: task -> which process that is."""
        found = {}
        for stored in self._records.tasks(job_id):
            if stored.owner != self._owner and not _parsed(stored).status.terminal:
                who = holder_of(self._directory / stored.owner)
                if who is not None:
                    found[stored.task_id] = who
        return found

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

    def wait(self, task_id: str, timeout: float | None) -> bool:
        """Wait until a task isn't run here any more, or ``timeout`` seconds; False when it still is."""
        with self._lock:
            live = self._live.get(task_id)
        return live is None or live.ended.wait(timeout)

    def tasks(self, job_id: str) -> list[BatchTask]:
        """The tasks of a job, the oldest first."""
        return [self._standing(entry) for entry in self._records.tasks(job_id)]

    def orphans(self, job_id: str) -> list[BatchTask]:
        """Open tasks of a job that nobody runs: their manager ended, or they were interrupted here."""
        return [
            task
            for task in self.tasks(job_id)
            if task.error_info == ORPHANED or (self._interrupted(task.task_id) and not task.status.terminal)
        ]

    def _standing(self, stored: StoredTask) -> BatchTask:
        known = _parsed(stored)
        if stored.owner == self._owner:
            with self._lock:
                live = self._live.get(stored.task_id)
                if live is not None:
                    if not live.task.status.terminal:
                        live.task.progress = max(live.task.progress, known.progress)
                    return live.task
        if known.status.terminal or is_locked(self._directory / stored.owner):
            return known
        return replace(_nobodys(known), error_info=ORPHANED)

    def _runs_here(self, task_id: str) -> bool:
        live = self._live.get(task_id)
        return live is not None and not live.ended.is_set()

    def _interrupted(self, task_id: str) -> bool:
        with self._lock:
            return task_id in self._live and not self._runs_here(task_id)

    def _stored(self, task: BatchTask) -> StoredTask:
        kind = _EXPORT if isinstance(task, AnalysisExportTask) else _EXTENSIBLE
        return StoredTask(task_id=task.task_id, job_id=task.job_id, kind=kind, owner=self._owner, body=_body(task))


def _parsed(stored: StoredTask) -> BatchTask:
    return (_EXPORTS if stored.kind == _EXPORT else _EXTENSIBLES).validate_json(stored.body)


def _nobodys(task: BatchTask) -> BatchTask:
    """The task as it stands while nobody runs it."""
    return replace(task, status=TaskStatus.PENDING, start_time=None, resource_allocation=None)


def _body(task: BatchTask) -> str:
    if isinstance(task, AnalysisExportTask):
        return _EXPORTS.dump_json(task).decode()
    return _EXTENSIBLES.dump_json(task).decode()


def _copy(source: BatchTask, target: BatchTask) -> None:
    """Let a task that somebody holds stand as another one does."""
    for field_ in fields(source):
        setattr(target, field_.name, getattr(source, field_.name))


def _fail(task: BatchTask, why: str) -> None:
    task.status, task.error_info, task.resource_allocation = TaskStatus.FAILED, why, None
