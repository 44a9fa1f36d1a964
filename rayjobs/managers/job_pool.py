"""Runs of jobs in threads of this process: at most so many at a time, watched, stopped and waited for by key.

Batch rendering and analysis export have a pool each, so that a flood of one leaves the other its turn. A run is
``run_job``, as on the command line; Ray itself is shared by all of them (``ray_session``).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from actors.ledger.job_registry import job_id_of
from actors.ledger.output_lock import OutputInUseError
from pipelines.errors import JobError, RayjobsError
from rayjobs.job.job_state import JobState, JobStatus, read_state
from rayjobs.job.output_directory import OutputDirectory
from rayjobs.run.notify import Callback, event_of, tell
from rayjobs.run.progress import Snapshot
from rayjobs.run.run import InterruptedBySignalError, run_job
from rayjobs.run.run_request import RunRequest
from rayjobs.run.stopped_run import set_stopped

if TYPE_CHECKING:
    from actors.coordinator.resource_manager import ResourceManager

Progress = Callable[[Snapshot], None]
Ended = Callable[["RunHandle"], None]


def _ignore(_: object) -> None:
    """Nobody wants to know."""


@dataclass(slots=True, eq=False)
class RunHandle:
    """One run, from the moment it was asked for."""

    key: str
    request: RunRequest
    on_progress: Progress = _ignore
    """Called on the run's thread."""
    on_end: Ended = _ignore
    """Called on the run's thread once ``state`` or ``error`` is there, before ``wait`` returns."""
    resources: ResourceManager | None = None
    """Asked before anything runs; one of the run's own unless given."""
    callbacks: Sequence[Callback] = ()
    """Told how it ended, beside whom the job names; after ``wait`` returns."""
    interrupted: threading.Event = field(default_factory=threading.Event)
    snapshot: Snapshot | None = None
    state: JobState | None = None
    error: RayjobsError | None = None
    stopped_as: JobStatus | None = None
    """Cancelled or paused, if somebody asked for that here."""
    _ended: threading.Event = field(default_factory=threading.Event)

    @property
    def ended(self) -> bool:
        return self._ended.is_set()

    def show(self, snapshot: Snapshot) -> None:
        """Take note of where the run is; it is the run's own ``Display``."""
        self.snapshot = snapshot
        self.on_progress(snapshot)

    def close(self) -> None:
        """Nothing is held."""

    def stop(self, status: JobStatus) -> None:
        """Stop the run, which is cancelled or paused then; it ends within the grace period."""
        self.stopped_as = status
        self.interrupted.set()

    def wait(self, timeout: float | None = None) -> JobState:
        """How the job stands when the run has ended.

        Raises
        ------
        RayjobsError
            The job could not run, was cancelled before it began, or goes on after ``timeout`` seconds.
        """
        if not self._ended.wait(timeout):
            raise JobError(f"{self.request.spec.name}: still running after {timeout:g} s; wait again, or cancel it")
        if self.error is not None:
            raise self.error
        if self.state is None:
            raise JobError(f"{self.request.spec.name}: stopped before it began")
        return self.state

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the end, whatever it is; False when it takes longer."""
        return self._ended.wait(timeout)

    def run(self) -> None:
        """Do it."""
        try:
            if not self.interrupted.is_set():
                self.state = self._stopped(run_job(self.request, self, self.interrupted, resources=self.resources))
        except InterruptedBySignalError:
            self.state = self._stopped(None)
        except RayjobsError as error:
            self.error = error
        except BaseException as error:  # noqa: BLE001 - of a callback, say; whoever waits is told, a thread has nobody else
            self.error = JobError(f"{self.request.spec.name}: {type(error).__name__}: {error}")
            self.error.__cause__ = error
        finally:
            self.end()
        self._tell()

    def _tell(self) -> None:
        spec, output = self.request.spec, self.request.output
        if self.state is not None:
            found = self.state.to_json()
        elif self.error is not None:
            found = {"job_id": job_id_of(spec.name, output), "name": spec.name, "status": str(JobStatus.FAILED)}
            found |= {"output": str(output), "error": str(self.error)}
        else:  # stopped before it began
            return
        tell(spec.notify, event_of(found), callbacks=self.callbacks)

    def end(self) -> None:
        """Tell everybody, once."""
        if not self._ended.is_set():
            try:
                self.on_end(self)
            finally:
                self._ended.set()

    def _stopped(self, state: JobState | None) -> JobState | None:
        """A run that was cancelled or paused is not merely interrupted."""
        output = OutputDirectory(self.request.output)
        if self.stopped_as is not None and (state is None or state.status is JobStatus.INTERRUPTED):
            with suppress(OutputInUseError):  # another run took over at once: how the job stands is its to say
                set_stopped(output, self.stopped_as)
        return read_state(output) if output.exists else state


class JobPool:
    """Runs that wait for each other; may be used from several threads."""

    def __init__(self, name: str, *, max_concurrent: int) -> None:
        if max_concurrent < 1:
            raise RayjobsError(f"max_concurrent is {max_concurrent}; at least one job must be able to run")
        self.name = name
        self._threads = ThreadPoolExecutor(max_concurrent, f"rayjobs-{name}")
        self._lock = threading.Lock()
        self._runs: dict[str, tuple[RunHandle, Future[None]]] = {}
        self._closed = False

    def start(self, run: RunHandle) -> RunHandle:
        """Queue a run; the one of that key that hasn't ended, if there is one, is given instead."""
        with self._lock:
            if self._closed:
                raise RayjobsError(f"the {self.name} pool is closed")
            known = self._runs.get(run.key)
            if known is not None and not known[0].ended:
                return known[0]
            self._runs[run.key] = (run, self._threads.submit(run.run))
            return run

    def find(self, key: str) -> RunHandle | None:
        """The last run of a key in this process."""
        with self._lock:
            known = self._runs.get(key)
        return None if known is None else known[0]

    def stop(self, key: str, status: JobStatus) -> RunHandle | None:
        """Cancel or pause a run, or take it out of the queue; None when none of that key is open."""
        with self._lock:
            known = self._runs.get(key)
        if known is None or known[0].ended:
            return None
        run, future = known
        run.stop(status)
        if future.cancel():
            run.end()
        return run

    def interrupt(self, key: str) -> RunHandle | None:
        """Interrupt a run, or take it out of the queue, so that it can be started again; None when none is open."""
        with self._lock:
            known = self._runs.get(key)
        if known is None or known[0].ended:
            return None
        run, future = known
        run.interrupted.set()
        if future.cancel():
            run.end()
        return run

    def close(self) -> None:
        """Interrupt what runs, so that it can be started again later, and wait for it. Safe to call twice."""
        with self._lock:
            self._closed = True
            runs = list(self._runs.values())
        for run, future in runs:
            run.interrupted.set()
            if future.cancel():
                run.end()
        self._threads.shutdown(wait=True)
