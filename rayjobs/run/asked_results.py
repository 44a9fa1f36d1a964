"""``rayjobs results``: the driver of a running job is asked for partial results; of another job they are made here.

The driver is asked by a file, as it is to cancel, and answers by one; a thread beside the work looks for it, so that
whatever the work does it is answered, and the work doesn't wait.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.ledger.job_ledger import JobLedger
from actors.ledger.output_lock import OutputLock
from pipelines.errors import JobError, RayjobsError
from pipelines.storage.local_files import discard_runs
from rayjobs.job.job_spec import JobSpec
from rayjobs.job.job_state import COMPLETE, read_state
from rayjobs.job.output_directory import LOOK_S, OutputDirectory
from rayjobs.results.partial_results import write_partial
from rayjobs.results.published import PARTIAL
from rayjobs.run.run_request import stored_request
from rayjobs.run.stopped_run import clear_temporary

ANSWER_WAIT_S = 120.0
"""How long a running job may take to write its partial results."""
ASKED_S = 0.25
"""How often the driver looks whether somebody asked."""
ENDING_WAIT_S = 20.0
"""How long a run that was stopped may take for them: whoever stopped it waits for its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultsPlace:
    """Where the results of a job are."""

    output: Path
    complete: bool
    """Whether they are all; else they are what was done when it was asked."""

    @property
    def path(self) -> Path:
        """The directory with ``manifest.parquet``, and ``data`` if the job has tables."""
        return self.output if self.complete else self.output / PARTIAL.rstrip("/")

    def to_json(self) -> dict[str, Any]:
        """Plain values, as ``--json`` prints them."""
        paths = {"path": self.path, "manifest": self.path / "manifest.parquet", "data": self.path / "data"}
        return {"output": str(self.output), "complete": self.complete, **{k: str(path) for k, path in paths.items()}}


class _TooLateError(JobError):
    """Whoever waits for the run's end doesn't wait for its partial results any longer."""


def results_of(output: OutputDirectory, *, wait_s: float = ANSWER_WAIT_S) -> ResultsPlace:
    """Have a job's results so far written, unless it is complete, and say where they are.

    Raises
    ------
    JobError
        They can't be written, or the running job doesn't answer in time.
    """
    if _are_written(output):
        return ResultsPlace(output=output.root, complete=True)
    answered = output.running and _answered(output, wait_s)
    complete = not answered and (read_state(output).status in COMPLETE or _are_written(output))
    if not answered and not complete:
        _write_of_stopped(output)
    return ResultsPlace(output=output.root, complete=complete)


def _are_written(output: OutputDirectory) -> bool:
    """Whether manifest and tables stand as the job wants them, though its tasks may be still to come."""
    if not output.exists:
        return False
    with closing(output.read_ledger()) as ledger:
        return ledger.facts.read().results is not None


def _answered(output: OutputDirectory, wait_s: float) -> bool:
    """Whether the driver wrote them; False when its run has ended instead."""
    token = uuid.uuid4().hex
    deadline = time.monotonic() + wait_s
    try:
        while output.running:
            output.request_results(token)  # again: a run that is only about to begin forgets what was asked before
            error = output.results_answer(token)
            if error:
                raise JobError(error)
            if error is not None:
                return True
            if time.monotonic() > deadline:
                raise JobError(f"{output.root}: no answer after {wait_s:.0f} s; it may be writing its last results")
            time.sleep(LOOK_S)
    finally:
        output.forget_results_request(token)
    return False


def _write_of_stopped(output: OutputDirectory) -> None:
    spec = stored_request(output).spec
    lock = OutputLock(output.lock)
    try:
        with closing(output.open_ledger()) as ledger:
            clear_temporary(ledger, output)
            try:
                write_partial(ledger, output, spec)
            finally:
                discard_runs(output.temporary)
            ledger.durable()
            ledger.copy_to(output.sealed_ledger)
    finally:
        lock.release()


@contextmanager
def answering(ledger: JobLedger, output: OutputDirectory, spec: JobSpec) -> Iterator[None]:
    """As long as the work goes on, write partial results when somebody asks for them."""
    ended = threading.Event()

    def go_on() -> None:
        if ended.is_set():  # the run's end writes them, or makes them needless
            raise _TooLateError("the run has ended")

    thread = threading.Thread(target=_answer, args=(ledger, output, spec, ended, go_on), name="results", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _answer(
    ledger: JobLedger, output: OutputDirectory, spec: JobSpec, ended: threading.Event, go_on: Callable[[], None]
) -> None:
    while not ended.wait(ASKED_S):
        tokens = output.results_requests()
        if not tokens:
            continue
        try:
            write_partial(ledger, output, spec, go_on=go_on)
            said = ""
        except _TooLateError:
            return
        except (RayjobsError, OSError) as error:
            said = f"{output.root}: partial results can't be written: {error}"
        for token in tokens:
            output.answer_results(token, said)


def write_at_end(ledger: JobLedger, output: OutputDirectory, spec: JobSpec) -> str | None:
    """The partial results of a run that was stopped; why there are none, if they couldn't be written in time."""
    deadline = time.monotonic() + ENDING_WAIT_S

    def go_on() -> None:
        if time.monotonic() > deadline:
            raise _TooLateError(f"they take more than {ENDING_WAIT_S:.0f} s")

    try:
        write_partial(ledger, output, spec, go_on=go_on)
    except (RayjobsError, OSError) as error:
        return f"partial results weren't written ({error}); `rayjobs results` does it"
    return None
