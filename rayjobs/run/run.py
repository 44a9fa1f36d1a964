"""One run of a job: lock, plan, work on Ray if anything is open, results, and only then the announcement.

A run that was killed is not repaired: the next one plans again, sees what is final, and does the rest. The output's
lock is held all the while, so the ledger has one writer.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.ledger.file_record import TASK
from actors.ledger.job_facts import JobFacts
from actors.ledger.job_ledger import JobLedger
from actors.ledger.job_registry import JobRegistry
from actors.ledger.output_lock import OutputLock
from actors.resources.disk_space import check_room
from pipelines.errors import JobError, RayjobsError
from pipelines.extensions.extension_manager import process_extensions
from pipelines.stages.publish import NO_SPACE
from pipelines.storage.local_files import discard_directory, discard_runs, remove_own
from rayjobs.inputs.discovery import Discovery
from rayjobs.job.job_state import COMPLETE, JobState, JobStatus, state_of
from rayjobs.job.job_tasks import PlannedTask, completed, planned_tasks, task_files
from rayjobs.job.options import chart_options, read_policy
from rayjobs.job.output_directory import OutputDirectory, check_possible, make_directory
from rayjobs.job.product_keys import DECIDING_PACKAGES, table_requests, versions
from rayjobs.results.fixed_files import FixedFiles
from rayjobs.results.job_groups import GroupsTable
from rayjobs.results.job_results import write_job_json, write_manifest_file, write_report_pages
from rayjobs.results.job_tables import group_table, seal_results, table_paths, write_tables
from rayjobs.results.partial_results import remove_partial
from rayjobs.results.pruning import leftovers
from rayjobs.results.published import remove_of_failed
from rayjobs.results.report_rows import ReportSummary
from rayjobs.results.results_store import ResultsStore
from rayjobs.run.asked_results import answering, write_at_end
from rayjobs.run.connected_run import connect_and_run
from rayjobs.run.last_words import explained
from rayjobs.run.planning import RunPlan, plan_run, planned_elsewhere
from rayjobs.run.progress import Display, Snapshot
from rayjobs.run.run_end import RunEnd, stop_asked
from rayjobs.run.run_request import RunRequest
from rayjobs.run.signals import stopping_on_signals
from rayjobs.run.stopped_run import clear_temporary

if TYPE_CHECKING:
    from actors.coordinator.resource_manager import ResourceManager

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


Work = Callable[..., RunEnd]
"""Brings every open input of a planned job to its final row, as ``ray_run.run_on_ray`` does and is called."""


def run_job(
    request: RunRequest,
    display: Display,
    interrupted: threading.Event,
    *,
    work: Work | None = None,
    resources: ResourceManager | None = None,
) -> JobState:
    """Run a job to its end, or until it is stopped, and return how it then stands.

    Parameters
    ----------
    interrupted
        Set by whoever wants the run to stop, such as a signal handler.
    work
        What runs the inputs that are to do; Ray unless given.
    resources
        Asked before anything runs on Ray; one of the run's own unless given.

    Raises
    ------
    RayjobsError
        The job can't run: bad inputs, no access, another run in the same output, no Ray.
    """
    output = OutputDirectory(request.output)
    check_possible(output.root)
    display.show(Snapshot(name=request.spec.name, phase="planning"))
    work = work or partial(connect_and_run, resources)
    if output.exists:
        return _run_locked(request, output, display, interrupted, work, None)
    with planned_elsewhere(request) as (ledger, plan):
        if interrupted.is_set():
            raise InterruptedBySignalError("stopped before the work began")
        return _run_locked(request, output, display, interrupted, work, (ledger, plan))


def _run_locked(
    request: RunRequest,
    output: OutputDirectory,
    display: Display,
    interrupted: threading.Event,
    work: Work,
    planned: tuple[JobLedger, RunPlan] | None,
) -> JobState:
    """Run while holding the output's lock; of a first run the plan is there already, and takes its place now."""
    make_directory(output.root)
    lock = OutputLock(output.lock)
    try:
        plan = None
        if planned is not None and not output.exists:  # else another first run was faster: look at what it left
            planned[0].copy_to(output.ledger)
            plan = planned[1]
        with closing(output.open_ledger()) as ledger:
            return _Run(request, output, ledger, lock, display, interrupted, work, plan).run()
    finally:
        lock.release()


@dataclass(slots=True)
class _Run:
    """One run, as long as its lock is held."""

    request: RunRequest
    output: OutputDirectory
    ledger: JobLedger
    lock: OutputLock
    display: Display
    interrupted: threading.Event
    work: Work
    plan: RunPlan | None
    """Of a first run, made before the output was."""

    def run(self) -> JobState:
        self.output.clear_requests()
        clear_temporary(self.ledger, self.output)
        try:
            state = self._run()
        except BaseException:
            with suppress(RayjobsError, OSError):  # else whoever runs it next does it
                self._clear()
            raise
        self._clear(finished=state.status in COMPLETE)
        return state

    def _clear(self, *, finished: bool = False) -> None:
        """Leave nothing that only the run itself needed; of a finished one everything is in the record."""
        if not finished:
            clear_temporary(self.ledger, self.output)
        else:
            discard_directory(self.output.thumbnails)
        discard_runs(self.output.temporary)
        self.output.clear_requests()

    def _run(self) -> JobState:
        spec = self.request.spec
        started = time.time()
        plan = self.plan or plan_run(self.ledger, self.request)
        self._stop_if_interrupted()
        facts = self.ledger.facts.read()
        JobRegistry().add(facts.job_id, spec.name, self.output.root)
        store = ResultsStore(self.ledger, self.output, table_requests(spec), durable=spec.durability == "power")
        before = self.ledger.counts()
        key, written = plan.results_key, not plan.changes_results
        tasks = planned_tasks(spec, self.request.base, self.request.output)
        done = completed(tasks, facts.tasks) if written else []
        to_run = [task for task in tasks if task.digest not in {entry["digest"] for entry in done}]
        if written and not to_run and facts.status in COMPLETE:
            return replace(self._state(), unchanged=True)  # as the last run left it, to the byte
        epoch = facts.epoch + 1
        self._note(replace(facts, epoch=epoch))
        (self.output.temporary / str(epoch)).mkdir(parents=True)
        with self._files() as files:
            self._announce_start(files, started, done, written=written)
            with self._failing(), self._connected() if to_run else nullcontext():
                end = self._work(store, plan.wanted) if before.open else RunEnd.FINISHED
                if end is RunEnd.FINISHED and not written:
                    self._write_results(files, store, started, before.open)
                if end is RunEnd.FINISHED and to_run:
                    self._note(replace(self._facts(), results=key))
                    self.ledger.durable()  # whatever becomes of the tasks
                    end = self._run_tasks(to_run)
                if end is RunEnd.FINISHED:
                    self._finish(files, key, started, plan.discovery, written=written)
                else:
                    self._stop(end)
        return self._state()

    def _stop(self, end: RunEnd) -> None:
        """Say why the run is over before its inputs are, and leave what is done so far to look at."""
        why = NO_SPACE_TEXT if end is RunEnd.NO_SPACE else None
        self._note(replace(self._facts(), status=_STATUS_OF_END[end], finished=time.time(), error=why))
        counts = self.ledger.counts()
        if end is not RunEnd.NO_SPACE and counts.open < counts.total and self._facts().results is None:
            self.ledger.durable()
            self._show("writing partial results")
            self._note(replace(self._facts(), error=write_at_end(self.ledger, self.output, self.request.spec)))
        self._seal_ledger()

    def _facts(self) -> JobFacts:
        return self.ledger.facts.read()

    def _note(self, facts: JobFacts) -> None:
        self.ledger.facts.write(facts)

    def _state(self) -> JobState:
        kept = sum(os.path.lexists(self.output.root / kept.file.path) for kept in leftovers(self.ledger))
        return replace(state_of(self.ledger, self.output), kept=kept)

    def _files(self) -> AbstractContextManager[FixedFiles]:
        return FixedFiles.opened(self.ledger, self.output, durable=self.request.spec.durability == "power")

    def _seal_ledger(self) -> None:
        """Put the ledger on disk for good, and a copy beside it."""
        self.ledger.durable()
        self.ledger.copy_to(self.output.sealed_ledger)

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Note why the run could not go on, as far as the ledger can still be written."""
        try:
            yield
        except Exception as error:
            told = self._told(error)
            with suppress(JobError):  # on a full disk the ledger stays as it is: a run that didn't end
                self._note(replace(self._facts(), status=JobStatus.FAILED, error=str(told), finished=time.time()))
            raise told from error

    def _told(self, error: Exception) -> RayjobsError:
        """The error as a person is told it; an OSError is the output's if it is about a file there, or names none."""
        if not isinstance(error, OSError) or isinstance(error, ConnectionError):
            return explained(error)
        if isinstance(error.filename, str | bytes):
            path = Path(os.path.realpath(os.fsdecode(error.filename)))
            ours = path.is_relative_to(os.path.realpath(self.output.root))
        else:
            path, ours = self.output.root, error.errno in NO_SPACE
        return JobError(f"output {path}: {error.strerror}; run it again, it goes on") if ours else explained(error)

    @contextmanager
    def _connected(self) -> Iterator[None]:
        """One connection for images and tasks: an embedded cluster takes seconds to start."""
        self._show("starting Ray")
        from rayjobs.run.ray_session import ray_session

        spec = self.request.spec
        with ray_session(name=spec.name, workers=spec.limits.cpus):
            yield

    def _stop_if_interrupted(self) -> None:
        if self.interrupted.is_set():
            raise InterruptedBySignalError("stopped before the work began")

    def _announce_start(
        self, files: FixedFiles, started: float, done: Sequence[Mapping[str, Any]], *, written: bool
    ) -> None:
        """Take back what says that the job has ended; unless all results are ``written``, they may change from here."""
        facts = replace(self._facts(), status=JobStatus.RUNNING, started=started, finished=None, error=None, known=0)
        self._note(replace(facts, tasks=tuple(done), results=facts.results if written else None))
        if not written:
            files.withdraw_manifest(self.output)

    def _work(self, store: ResultsStore, wanted: Mapping[str, str]) -> RunEnd:
        spec = self.request.spec
        if spec.export.images is not None:  # numbers and charts take little room; what is too large gives no image
            check_room(self.output.root, self.ledger.open_bytes(read_policy(spec).max_file_bytes))
        self.display.show(Snapshot(name=self.request.spec.name, phase="starting Ray"))
        output = self.output
        with answering(self.ledger, output, spec):
            return self.work(spec, output, self.ledger, self.lock, wanted, store, self.display, self.interrupted)

    def _write_results(self, files: FixedFiles, store: ResultsStore, started: float, processed: int) -> None:
        spec = self.request.spec
        self._show("writing tables and report")
        remove_of_failed(self.ledger, self.output)
        seal_results(store)
        store.remove_unused()
        groups = group_table(files, store, spec.group_by)
        with ThreadPoolExecutor(1, "tables") as beside:  # copying and hashing, beside what is made of texts
            tables = beside.submit(write_tables, files, store, spec.export.data, groups)
            self._write_pages(files, store, started, processed, groups)
            tables.result()
        write_manifest_file(self.ledger, files, {"job": spec.name})  # the last: it means that all else is there

    def _write_pages(
        self, files: FixedFiles, store: ResultsStore, started: float, processed: int, groups: GroupsTable | None
    ) -> None:
        spec = self.request.spec
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
            files=tuple(table_paths(store.requests, spec.export.data, spec.group_by)),
        )
        write_report_pages(self.ledger, files, store, summary, groups, chart_options(spec))

    def _run_tasks(self, tasks: Sequence[PlannedTask]) -> RunEnd:
        from rayjobs.run.ray_job_tasks import run_tasks

        def note(ended: dict[str, Any]) -> None:
            facts = self._facts()
            others = [entry for entry in facts.tasks if entry["digest"] != ended["digest"]]
            self._note(replace(facts, tasks=(*others, ended)))
            self.ledger.files.put_job_files(task_files(ended, self.output.root))
            self.ledger.durable()

        def watch(doing: str) -> RunEnd | None:
            self._show(doing)
            self.lock.renew()
            return stop_asked(self.interrupted, self.output)

        with stopping_on_signals(self.interrupted):
            root = os.path.realpath(self.output.root)
            written = self.ledger.files.written_by(TASK)
            known = {os.path.normpath(os.path.join(root, path)): sha256 for path, sha256 in written}
            return run_tasks(tasks, self.request.spec, self._facts().job_id, known=known, note=note, watch=watch)

    def _finish(self, files: FixedFiles, key: str, started: float, discovery: Discovery, *, written: bool) -> None:
        """Say how the job ended, to the world and then in the ledger."""
        facts = self._facts()
        error = next((f"task {e['type']}: {e['error']}" for e in facts.tasks if "error" in e), None)
        status = JobStatus.FAILED if error is not None else self._status_of_images()
        finished = time.time()
        state = state_of(self.ledger, self.output)
        state = replace(state, status=status, started=started, finished=finished, error=error)
        write_job_json(files, self._provenance(state, discovery))
        remove_partial(self.ledger, self.output)
        if not written:
            files.finish()
        of_tasks = [file.path for entry in facts.tasks for file in task_files(entry, self.output.root)]
        self.ledger.files.keep_others(TASK, of_tasks)
        # The manifest is sealed: say so, durably, before anybody is told.
        self._note(replace(facts, status=status, results=key, started=started, finished=finished, error=error))
        remove_own(self.output.withdrawn_manifest)
        self._seal_ledger()

    def _status_of_images(self) -> JobStatus:
        return JobStatus.COMPLETED_WITH_FAILURES if self.ledger.counts().failed else JobStatus.COMPLETED

    def _provenance(self, state: JobState, discovery: Discovery) -> dict[str, Any]:
        facts = self._facts()
        return {
            **state.to_json(),
            "job": self.ledger.facts.spec(),
            "base": facts.base,
            "epoch": facts.epoch,
            "versions": versions(PROVENANCE_PACKAGES),
            "plugins": process_extensions().versions(self.request.spec.plugins),
            "tasks": facts.tasks,
            "columns": {column.name: column.type for column in facts.columns},
            "unmatched_inputs": list(discovery.columns.unmatched),
            "ignored_files": dict(discovery.ignored.most_common()),
            "excluded_directories": discovery.excluded_directories,
            "results_left_out": dict(discovery.results_left_out),
        }

    def _show(self, phase: str) -> None:
        self.display.show(Snapshot.of(self.request.spec.name, phase, self.ledger.counts()))
