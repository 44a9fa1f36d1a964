"""The plain batch system: jobs and their image pool, created, listed, changed, run and removed.

Needs no enhanced part. A job runs on the same path as a job file (``run``), and what became of it is in the ledger of
its output, where the command line finds it as well. The definitions survive restarts: ``actors.ledger.batch_records``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from actors.ledger.batch_records import BatchRecords, StoredJob
from actors.ledger.ledger_rows import Attempt
from actors.ledger.output_lock import OutputInUseError
from pipelines.closing import ClosedOnExit
from pipelines.errors import JobError
from pipelines.models import ImageOperation
from pipelines.storage.places import real_place
from rayjobs.job.job_state import JobState, JobStatus, read_state
from rayjobs.job.output_directory import CANCEL, PAUSE, OutputDirectory
from rayjobs.managers.batch_job import BatchJob
from rayjobs.managers.job_pool import JobPool, RunHandle
from rayjobs.managers.job_request import (
    Source,
    as_refreshed,
    as_sources,
    as_stored,
    job_of_file,
    job_request,
    new_job,
    with_sources,
    without_sources,
)
from rayjobs.managers.open_job import OpenJob
from rayjobs.run.notify import Callback
from rayjobs.run.progress import Snapshot

JOBS = TypeAdapter(BatchJob)
CHANGEABLE = ("source_paths", "operations", "export_config", "analyses", "options")


class BatchJobManager(ClosedOnExit):
    """Keeps and runs jobs; every method may be called from any thread.

    Parameters
    ----------
    home
        Where jobs are remembered; ``$RAYJOBS_HOME`` unless given.
    max_concurrent
        Jobs that run at a time; others wait in their order.
    """

    def __init__(self, home: Path | None = None, *, max_concurrent: int = 2) -> None:
        self._records = BatchRecords(home)
        self._pool = JobPool("batch", max_concurrent=max_concurrent)
        self._lock = threading.RLock()
        """So that a job isn't changed while it is started."""
        self._callbacks: list[Callback] = []

    def close(self) -> None:
        """Interrupt what runs; it can be started again later. Safe to call twice."""
        self._pool.close()

    def on_job_end(self, callback: Callback) -> Callable[[], None]:
        """Call back when a run ends that is started from now on; the returned function takes that back.

        It gets what ``rayjobs run --json`` prints last, and ``event: job_ended``, on the run's thread, after ``wait``
        for the job has returned. What it raises is a warning in the log.
        """
        with self._lock:
            self._callbacks.append(callback)

        def undo() -> None:
            with self._lock, suppress(ValueError):  # taken back before
                self._callbacks.remove(callback)

        return undo

    # ---- jobs ----------------------------------------------------------------------------------------------------

    def create_job(
        self,
        name: str,
        source_paths: Iterable[Source] = (),
        operations: Iterable[str | Mapping[str, Any] | ImageOperation] = (),
        *,
        output: str | Path,
        analyses: Iterable[str | Mapping[str, Any]] = (),
        export_config: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> BatchJob:
        """Create a job; it waits until it is started.

        Creating the same again, as a notebook does that is run once more, gives the one that there is.

        Parameters
        ----------
        name
            Letters, digits, dot, dash, underscore; with ``output`` it makes the job's id.
        source_paths
            Files, directories, globs, and tables as mappings; relative to the current directory.
        operations, analyses, export_config
            As in a job file.
        output
            Directory of the results.
        **options
            Other keys of a job file, such as ``priority`` or ``limits``.

        Raises
        ------
        JobError
            With every mistake; or there is such a job.
        """
        return self._add(new_job(name, source_paths, operations, analyses, export_config, options, output=output))

    def create_job_from_file(self, path: str | Path) -> BatchJob:
        """Create the job of a job file.

        Raises
        ------
        JobError
            With every mistake; or there is such a job.
        """
        return self._add(job_of_file(Path(path)))

    def get_job(self, job_id: str) -> BatchJob:
        """A job as it stands now.

        Raises
        ------
        JobError
            There is no such job.
        """
        return self._refreshed(self._read(self._stored(job_id)))

    def list_jobs(self) -> list[BatchJob]:
        """All jobs, the oldest first."""
        return [self._refreshed(self._read(stored)) for stored in self._records.jobs()]

    def update_job(self, job_id: str, **changes: Any) -> BatchJob:
        """Change what a job does: ``source_paths``, ``operations``, ``analyses``, ``export_config``, ``options``.

        Raises
        ------
        JobError
            With every mistake; or the job is running.
        """
        unknown = [name for name in changes if name not in CHANGEABLE]
        if unknown:
            raise JobError(f"{job_id}: {unknown[0]!r} can't be changed; {', '.join(CHANGEABLE)} can")
        stored = as_stored(changes)
        return self._change(job_id, lambda job: replace(job, **stored))

    def remove_job(self, job_id: str) -> None:
        """Forget a job; its results stay.

        Raises
        ------
        JobError
            There is no such job, or it is running.
        """
        with self._lock:
            self._refuse_if_running(self.get_job(job_id), "removed")
            self._records.drop_job(job_id)

    # ---- image pool ----------------------------------------------------------------------------------------------

    def add_images(self, job_id: str, paths: Iterable[Source]) -> BatchJob:
        """Put files, directories, globs or tables into a job's pool; those that it has stay as they are."""
        added = as_sources(paths)
        return self._change(job_id, lambda job: with_sources(job, added))

    def remove_images(self, job_id: str, paths: Iterable[Source]) -> BatchJob:
        """Take paths out of a job's pool, as they were put in.

        Raises
        ------
        JobError
            A path isn't in the pool.
        """
        dropped = as_sources(paths)
        return self._change(job_id, lambda job: without_sources(job, dropped))

    # ---- running -------------------------------------------------------------------------------------------------

    def start_job(self, job_id: str, *, on_progress: Callable[[Snapshot], None] | None = None) -> BatchJob:
        """Run a job, or go on with one that was stopped; one that runs already goes on. Returns at once.

        Raises
        ------
        JobError
            The job has no images, or its definition is wrong.
        """
        return self._start(job_id, on_progress, retry=None)

    def retry_failed(
        self, job_id: str, reasons: Iterable[str] = (), *, on_progress: Callable[[Snapshot], None] | None = None
    ) -> BatchJob:
        """Run a job again for the inputs that failed, for these reasons or for any; returns at once.

        Raises
        ------
        JobError
            The job is running, has no images, or its definition is wrong.
        """
        with self._lock:
            self._refuse_if_running(self.get_job(job_id), "retried")
            return self._start(job_id, on_progress, retry=tuple(reasons))

    def wait_for_job(self, job_id: str, timeout: float | None = None) -> JobState:
        """Wait for the end of a job that was started here; else say how it stands.

        Raises
        ------
        RayjobsError
            The job could not run; or it goes on after ``timeout`` seconds.
        """
        run = self._pool.find(job_id)
        if run is not None:
            return run.wait(timeout)
        output = OutputDirectory(Path(self.get_job(job_id).output))
        if not output.exists:
            raise JobError(f"{job_id}: not started yet; start it first")
        return read_state(output)

    def cancel_job(self, job_id: str) -> bool:
        """Stop a job, here or in another process; False when it doesn't run. It can be started again."""
        return self._stop(job_id, CANCEL, JobStatus.CANCELLED)

    def pause_job(self, job_id: str) -> bool:
        """Stop a job for now, here or in another process; False when it doesn't run. ``start_job`` goes on."""
        return self._stop(job_id, PAUSE, JobStatus.PAUSED)

    def set_priority(self, job_id: str, priority: str) -> BatchJob:
        """Change a job's priority (``urgent``, ``high``, ``normal``, ``low``), whether it runs or not.

        Raises
        ------
        JobError
            There is no such job, or no such priority.
        """
        job = self._changed(job_id, lambda job: replace(job, options={**job.options, "priority": priority}))
        output = OutputDirectory(Path(job.output))
        if output.running:
            output.request_priority(priority)
        return job

    def open_job(self, job_id: str) -> OpenJob:
        """A job to wait for and to look at, also while it waits or runs.

        Raises
        ------
        JobError
            There is no such job.
        """
        return OpenJob(Path(self.get_job(job_id).output), find_run=partial(self._pool.find, job_id))

    def get_attempts(self, job_id: str) -> Iterator[Attempt]:
        """Every attempt of a job's inputs, in the order in which they ended; nothing before it has run."""
        output = OutputDirectory(Path(self.get_job(job_id).output))
        if not output.exists:
            return
        with closing(output.read_ledger()) as ledger:
            yield from ledger.attempts.every()

    def get_progress(self, job_id: str) -> int:
        """Percent of the inputs that are final."""
        return self.get_job(job_id).progress

    # ---- inner workings ------------------------------------------------------------------------------------------

    def _known(self, name: str) -> Iterator[BatchJob]:
        """The jobs of a name."""
        for stored in self._records.jobs():
            job = self._read(stored)
            if job.name == name:
                yield job

    def _read(self, stored: StoredJob) -> BatchJob:
        return JOBS.validate_json(stored.body)

    def _stored(self, job_id: str) -> StoredJob:
        stored = self._records.job(job_id)
        if stored is None:
            raise JobError(f"no job {job_id!r} was created here; `list_jobs` gives those that there are")
        return stored

    def _add(self, job: BatchJob) -> BatchJob:
        job_request(job, needs_images=False)
        place = real_place(job.output)
        same = next(
            (o for o in self._known(job.name) if o.job_id != job.job_id and real_place(o.output) == place), None
        )
        if same is not None:
            raise JobError(
                f"there is a job {same.job_id!r} already, whose output {same.output} is the same directory; choose "
                "another name or output, or remove it"
            )
        if not self._records.add_job(job.job_id, _body(job)):
            known = self.get_job(job.job_id)
            if any(getattr(known, name) != getattr(job, name) for name in ("base", *CHANGEABLE)):
                raise JobError(
                    f"there is a job {job.job_id!r} already, which does something else; change it with `update_job`, "
                    "remove it, or choose another name or output"
                )
        return self.get_job(job.job_id)

    def _start(
        self, job_id: str, on_progress: Callable[[Snapshot], None] | None, retry: tuple[str, ...] | None
    ) -> BatchJob:
        with self._lock:
            job = self.get_job(job_id)
            request = replace(job_request(job), retry=retry)
            if self._open_run(job_id) is None and OutputDirectory(Path(job.output)).running:
                return job  # another process runs it
            run = RunHandle(job_id, request, on_end=self._note_end, callbacks=tuple(self._callbacks))
            if on_progress is not None:
                run.on_progress = on_progress
            self._keep_status(job_id, JobStatus.PENDING, None)
            self._pool.start(run)
        return self.get_job(job_id)

    def _stop(self, job_id: str, request: str, status: JobStatus) -> bool:
        job = self.get_job(job_id)
        if self._pool.stop(job_id, status) is not None:
            return True
        output = OutputDirectory(Path(job.output))
        if not output.running:
            return False
        output.request(request)
        return True

    def _change(self, job_id: str, change: Callable[[BatchJob], BatchJob]) -> BatchJob:
        with self._lock:
            self._refuse_if_running(self.get_job(job_id), "changed")
            return self._changed(job_id, change)

    def _changed(self, job_id: str, change: Callable[[BatchJob], BatchJob]) -> BatchJob:
        """A job as it is after a change, which is checked and kept."""

        def stored(before: StoredJob) -> StoredJob:
            changed = change(JOBS.validate_json(before.body))
            job_request(changed, needs_images=False)
            return replace(before, body=_body(changed))

        self._records.change_job(job_id, stored)
        return self.get_job(job_id)

    def _refreshed(self, job: BatchJob) -> BatchJob:
        return as_refreshed(job, self._open_run(job.job_id))

    def _open_run(self, job_id: str) -> RunHandle | None:
        run = self._pool.find(job_id)
        return None if run is None or run.ended else run

    def _refuse_if_running(self, job: BatchJob, what: str) -> None:
        if self._open_run(job.job_id) is not None or OutputDirectory(Path(job.output)).running:
            raise JobError(f"{job.job_id}: is running, so it can't be {what}; cancel it first")

    def _note_end(self, run: RunHandle) -> None:
        """Keep what the output's ledger can't say: that the job never began."""
        if isinstance(run.error, OutputInUseError):
            return  # another run has the output: how the job stands is its to say
        if run.error is not None:
            self._keep_status(run.key, JobStatus.FAILED, str(run.error))
        elif run.stopped_as is not None and run.state is None:
            self._keep_status(run.key, run.stopped_as, None)

    def _keep_status(self, job_id: str, status: JobStatus, message: str | None) -> None:
        def change(before: StoredJob) -> StoredJob:
            job = replace(JOBS.validate_json(before.body), status=status, result_message=message)
            return replace(before, body=_body(job))

        self._records.change_job(job_id, change)


def _body(job: BatchJob) -> str:
    """The plain part of a job as JSON."""
    plain = BatchJob(**{field.name: getattr(job, field.name) for field in fields(BatchJob)})
    return JOBS.dump_json(plain).decode()
