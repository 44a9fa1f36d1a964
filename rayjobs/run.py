"""One run of a job: lock, plan, work on Ray if anything is open, results, and only then the announcement.

A run that was killed is not repaired: the next one plans again, sees what is final, and does the rest. The output's
lock is held all the while, so the ledger has one writer.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from actors.disk_space import check_room
from actors.failure_policy import tried_in_next_run
from actors.input_plan import Sealed, seal_inputs
from actors.job_ledger import JobLedger
from actors.job_registry import JobRegistry, job_id_of
from actors.output_lock import OutputLock
from actors.product_plan import apply_products
from actors.task_pools import BATCH
from pipelines.errors import JobError
from pipelines.extension_manager import process_extensions
from pipelines.worker_journal import published_files
from rayjobs.beside import BESIDE, without_own
from rayjobs.discovery import Discovery
from rayjobs.job_file import parse_job
from rayjobs.job_plan import DECIDING_PACKAGES, deciding_extensions, naming, table_requests, versions, wanted_products
from rayjobs.job_results import (
    remove_stale_files,
    write_job_json,
    write_manifest_file,
    write_report_pages,
)
from rayjobs.job_runner import RunEnd, stop_asked
from rayjobs.job_spec import JobSpec
from rayjobs.job_state import COMPLETE, JobState, JobStatus, state_of
from rayjobs.job_tables import write_tables
from rayjobs.job_tasks import PlannedTask, completed, planned_tasks
from rayjobs.output_directory import OutputDirectory, check_writable
from rayjobs.progress import Display, Snapshot
from rayjobs.quantities import most_failures
from rayjobs.report import ReportSummary
from rayjobs.results_store import ResultsStore
from rayjobs.signals import stopping_on_signals

PROVENANCE_PACKAGES = ("rayjobs-app", "ray", "pyarrow", *DECIDING_PACKAGES)

NO_SPACE_TEXT = "the output's disk is nearly full; make room, then `rayjobs resume` goes on"

_STATUS_OF_END = {
    RunEnd.CANCELLED: JobStatus.CANCELLED,
    RunEnd.PAUSED: JobStatus.PAUSED,
    RunEnd.INTERRUPTED: JobStatus.INTERRUPTED,
    RunEnd.TOO_MANY_FAILURES: JobStatus.FAILED,
    RunEnd.NO_SPACE: JobStatus.INTERRUPTED,
}


class InterruptedBySignalError(JobError):
    """Ctrl-C or SIGTERM arrived before the job's work had begun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """What to run, where."""

    spec: JobSpec
    base: Path
    """What relative paths of the job are relative to."""
    output: Path
    """Absolute."""
    retry: tuple[str, ...] | None = None
    """Try inputs again that failed for these reasons; empty: for any."""
    pool: str = BATCH
    """Whose share of the cluster it runs in: ``batch`` or ``export``; see ``actors.task_pools``."""
    hidden: Path | None = None
    """Directory that holds no inputs, ``output`` in it included; ``output`` alone unless given."""


def request_of(spec: JobSpec, base: Path, output: Path | None) -> RunRequest:
    """A run of a job as its file says, unless ``output`` says otherwise."""
    base = base.resolve()
    chosen = (base / spec.output) if output is None else Path.cwd() / output
    return RunRequest(spec=spec, base=base, output=Path(_normal(chosen)))


def stored_request(output: OutputDirectory) -> RunRequest:
    """The run that an output directory's job was last asked for.

    Raises
    ------
    JobError
        No job has run there.
    """
    ledger = output.read_ledger()
    try:
        stored, base = ledger.fact("spec"), ledger.fact("base")
        pool, hidden = ledger.fact("pool", BATCH), ledger.fact("hidden")
    finally:
        ledger.close()
    if stored is None:
        raise JobError(f"{output.root}: its job was killed before it was planned; run the job file again")
    spec = parse_job(json.dumps(stored), name=f"{output.root}: stored job", base=Path(base))
    return RunRequest(
        spec=spec, base=Path(base), output=output.root, pool=pool, hidden=None if hidden is None else Path(hidden)
    )


def run_job(request: RunRequest, display: Display, interrupted: threading.Event) -> JobState:
    """Run a job to its end, or until it is stopped, and return how it then stands.

    Parameters
    ----------
    interrupted
        Set by whoever wants the run to stop, such as a signal handler.

    Raises
    ------
    RayjobsError
        The job can't run: bad inputs, no access, another run in the same output, no Ray.
    """
    output = OutputDirectory(request.output)
    check_writable(output.root)
    lock = OutputLock(output.lock)
    try:
        ledger = JobLedger(output.ledger)
        try:
            return _Run(request, output, ledger, lock, display, interrupted).run()
        finally:
            ledger.close()
    finally:
        lock.release()


def set_stopped(output: OutputDirectory, status: JobStatus) -> None:
    """Note that a job which nobody is running was cancelled or paused."""
    lock = OutputLock(output.lock)
    try:
        ledger = JobLedger(output.ledger)
        ledger.put_facts(status=status, finished=time.time())
        ledger.durable()
        ledger.close()
    finally:
        lock.release()


def clear_stopped(output: OutputDirectory) -> None:
    """Remove temporary files that a run which was stopped or killed left; results stay. One that runs is left alone."""
    if not output.exists or output.running:
        return
    lock = OutputLock(output.lock)
    try:
        with closing(JobLedger(output.ledger)) as ledger:
            _clear_temporary(ledger, output)
    finally:
        lock.release()


def _clear_temporary(ledger: JobLedger, output: OutputDirectory) -> None:
    """Note what the workers of earlier runs may have published, and remove their temporary files.

    A worker may outlive its driver for a while. It publishes from this directory, so once that has another name it
    publishes nothing any more, and what it published before stands in its journal.
    """
    for directory in output.temporary.iterdir() if output.temporary.is_dir() else ():
        closed = directory.rename(directory.with_name(f"closed-{uuid.uuid4().hex}"))
        ledger.add_stale(published_files(closed))
        shutil.rmtree(closed, ignore_errors=True)  # network file systems keep open files; the next run tries again


@dataclass(slots=True)
class _Run:
    """One run, as long as its lock is held."""

    request: RunRequest
    output: OutputDirectory
    ledger: JobLedger
    lock: OutputLock
    display: Display
    interrupted: threading.Event

    def run(self) -> JobState:
        spec = self.request.spec
        started = time.time()
        epoch = int(self.ledger.fact("epoch", 0)) + 1
        self.ledger.put_facts(epoch=epoch)
        self.output.clear_requests()
        self._recover(epoch)
        self.display.show(Snapshot(name=spec.name, phase="planning"))
        sealed, discovery = self._seal()
        self._stop_if_interrupted()
        wanted = wanted_products(spec, deciding_extensions(spec))
        apply_products(self.ledger, wanted)
        self.ledger.reopen(tried_in_next_run())
        if self.request.retry is not None:
            self.ledger.reopen(self.request.retry or None)
        store = ResultsStore(self.ledger, self.output, table_requests(spec), durable=spec.durability == "power")
        key = _results_key(spec, wanted)
        before = self.ledger.counts()
        written = before.open == 0 and not _changed(sealed) and self.ledger.fact("results") == key
        tasks = planned_tasks(spec, self.request.base, self.request.output)
        done = completed(tasks, self.ledger.fact("tasks", [])) if written else []
        to_run = [task for task in tasks if task.digest not in {entry["digest"] for entry in done}]
        if written and not to_run and self.ledger.fact("status") in COMPLETE:
            return state_of(self.ledger, self.output)  # as the last run left it, to the byte
        self._announce_start(started, done, written=written)
        with self._failing(), self._connected() if to_run else nullcontext():
            end = self._work(store, wanted) if before.open else RunEnd.FINISHED
            if end is RunEnd.FINISHED and not written:
                self._write_results(store, started, before.open)
            if end is RunEnd.FINISHED and to_run:
                self.ledger.put_facts(results=key)
                self.ledger.durable()  # whatever becomes of the tasks
                end = self._run_tasks(to_run)
            if end is RunEnd.FINISHED:
                self._finish(key, started, discovery)
            else:
                why = NO_SPACE_TEXT if end is RunEnd.NO_SPACE else None
                self.ledger.put_facts(status=_STATUS_OF_END[end], finished=time.time(), error=why)
                self.ledger.durable()
        return state_of(self.ledger, self.output)

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Note why the run could not go on, as far as the ledger can still be written."""
        try:
            yield
        except (JobError, OSError) as error:
            text = f"output {self.output.root}: {error.strerror}" if isinstance(error, OSError) else str(error)
            with suppress(JobError):  # on a full disk the ledger stays as it is: a run that didn't end
                self.ledger.put_facts(status=JobStatus.FAILED, error=text, finished=time.time())
            if isinstance(error, JobError):
                raise
            raise JobError(f"{text}; run it again, it goes on") from error

    @contextmanager
    def _connected(self) -> Iterator[None]:
        """One connection for images and tasks: an embedded cluster takes seconds to start."""
        self._show("starting Ray")
        from rayjobs.ray_session import ray_session

        spec = self.request.spec
        with ray_session(name=spec.name, workers=spec.limits.cpus):
            yield

    def _recover(self, epoch: int) -> None:
        """Note the files that runs which were killed may have published, and clear their temporary files away."""
        _clear_temporary(self.ledger, self.output)
        (self.output.temporary / str(epoch)).mkdir(parents=True)

    def _seal(self) -> tuple[Sealed, Discovery]:
        request = self.request
        discovery = Discovery(request.spec.inputs, request.base, request.spec.exclude, request.hidden or request.output)
        sealed = seal_inputs(
            self.ledger,
            without_own(discovery.inputs(), self.ledger, request.output),
            naming(request.spec, request.output, self.ledger),
        )
        job_id = job_id_of(request.spec.name, request.output)
        self.ledger.put_facts(
            job_id=job_id,
            name=request.spec.name,
            spec=request.spec.model_dump(mode="json"),
            base=str(request.base),
            pool=request.pool,
            hidden=None if request.hidden is None else str(request.hidden),
            max_failures=most_failures(request.spec.max_failures, sealed.total),
        )
        images = request.spec.export.images
        if images is not None and images.layout == BESIDE:
            self.ledger.put_facts(beside=True)
        JobRegistry().add(job_id, request.spec.name, request.output)
        return sealed, discovery

    def _stop_if_interrupted(self) -> None:
        if self.interrupted.is_set():
            raise InterruptedBySignalError("stopped before the work began")

    def _announce_start(self, started: float, done: Sequence[Mapping[str, Any]], *, written: bool) -> None:
        """Take back what says that the job has ended; unless all results are ``written``, they may change from here."""
        self.ledger.put_facts(status=JobStatus.RUNNING, started=started, finished=None, error=None, tasks=done)
        if not written:
            self.ledger.put_facts(results=None)
            self.output.manifest.unlink(missing_ok=True)

    def _work(self, store: ResultsStore, wanted: Mapping[str, str]) -> RunEnd:
        _, size = self.ledger.open_size()
        check_room(self.output.root, size)
        self.display.show(Snapshot(name=self.request.spec.name, phase="starting Ray"))
        # Ray is imported here alone: a job with nothing left to do never waits for it.
        from rayjobs.ray_work import work_on_ray

        spec, output = self.request.spec, self.output
        return work_on_ray(spec, output, self.ledger, self.lock, wanted, store, self.display, self.interrupted)

    def _write_results(self, store: ResultsStore, started: float, processed: int) -> None:
        spec = self.request.spec
        self._show("writing tables")
        failed = self.ledger.failed_inputs()
        if failed:  # one that failed after some of its files had appeared
            journals = self.output.temporary / str(self.ledger.fact("epoch"))
            self.ledger.add_stale(published_files(journals, of=failed))
        remove_stale_files(self.ledger, self.output)
        tables = write_tables(self.ledger, self.output, store, spec.export.data)
        store.remove_unused()
        write_manifest_file(self.ledger, self.output, {"job": spec.name})
        self._show("writing the report")
        counts = self.ledger.counts()
        now = time.time()
        summary = ReportSummary(
            name=spec.name,
            status=self._status_of_images(),
            done=counts.done,
            failed=counts.failed,
            skipped=counts.skipped,
            seconds=now - started,
            processed=processed,
            finished=time.strftime("%Y-%m-%d %H:%M", time.localtime(now)),
            operations=spec.operations,
            analyses=spec.analyses,
            versions=versions(PROVENANCE_PACKAGES),
            files=tuple(tables),
        )
        write_report_pages(self.ledger, self.output, store, summary)

    def _run_tasks(self, tasks: Sequence[PlannedTask]) -> RunEnd:
        from rayjobs.ray_job_tasks import run_tasks

        def note(ended: dict[str, Any]) -> None:
            others = [entry for entry in self.ledger.fact("tasks", []) if entry["digest"] != ended["digest"]]
            self.ledger.put_facts(tasks=[*others, ended])
            self.ledger.durable()

        def watch(doing: str) -> RunEnd | None:
            self._show(doing)
            self.lock.renew()
            return stop_asked(self.interrupted, self.output)

        with stopping_on_signals(self.interrupted):
            return run_tasks(tasks, self.request.spec, self.ledger.fact("job_id"), note=note, watch=watch)

    def _finish(self, key: str, started: float, discovery: Discovery) -> None:
        """Say how the job ended, to the world and then in the ledger."""
        error = next((f"task {e['type']}: {e['error']}" for e in self.ledger.fact("tasks") if "error" in e), None)
        status = JobStatus.FAILED if error is not None else self._status_of_images()
        finished = time.time()
        state = state_of(self.ledger, self.output)
        state = replace(state, status=status, started=started, finished=finished, error=error)
        write_job_json(self.output, self._provenance(state, discovery))
        shutil.rmtree(self.output.temporary, ignore_errors=True)
        # The manifest is sealed: say so, durably, before anybody is told.
        self.ledger.put_facts(status=status, results=key, started=started, finished=finished, error=error)
        self.ledger.durable()

    def _status_of_images(self) -> JobStatus:
        return JobStatus.COMPLETED_WITH_FAILURES if self.ledger.counts().failed else JobStatus.COMPLETED

    def _provenance(self, state: JobState, discovery: Discovery) -> dict[str, Any]:
        return {
            **state.to_json(),
            "job": self.ledger.fact("spec"),
            "base": self.ledger.fact("base"),
            "epoch": self.ledger.fact("epoch"),
            "versions": versions(PROVENANCE_PACKAGES),
            "plugins": process_extensions().versions(self.request.spec.plugins),
            "tasks": self.ledger.fact("tasks"),
            "ignored_files": dict(discovery.ignored.most_common()),
            "unreadable_directories": discovery.unreadable,
        }

    def _show(self, phase: str) -> None:
        counts = self.ledger.counts()
        self.display.show(
            Snapshot(
                name=self.request.spec.name,
                phase=phase,
                total=counts.total,
                done=counts.done,
                failed=counts.failed,
                skipped=counts.skipped,
            )
        )


def _changed(sealed: Sealed) -> bool:
    return bool(sealed.added or sealed.changed or sealed.removed)


def _results_key(spec: JobSpec, wanted: Mapping[str, str]) -> str:
    """Everything that decides tables, manifest and report but the inputs themselves."""
    order = [request.canonical() for request in spec.analyses]
    text = json.dumps([spec.name, dict(wanted), order, list(spec.export.data)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _normal(path: Path) -> str:
    """Absolute and without ``..``, but with links as they are: the user knows the directory by that name."""
    return os.path.normpath(path)
