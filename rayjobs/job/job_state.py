"""How a job stands, read from its output directory: what ``rayjobs status`` says, and what a run ends with."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from actors.ledger.job_ledger import JobLedger
from actors.ledger.job_registry import JobRegistry
from pipelines.errors import JobError
from rayjobs.job.output_directory import OutputDirectory


class JobStatus(StrEnum):
    """The states of a job; see ``TERMINAL``."""

    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    COMPLETED_WITH_FAILURES = "completed_with_failures"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


COMPLETE = (JobStatus.COMPLETED, JobStatus.COMPLETED_WITH_FAILURES)
"""Every input has its final row, and the manifest is sealed."""
TERMINAL = (*COMPLETE, JobStatus.FAILED, JobStatus.CANCELLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobState:
    """One job at one moment."""

    job_id: str
    name: str
    status: JobStatus
    total: int
    done: int
    failed: int
    skipped: int
    output: Path
    reasons: dict[str, int]
    """Reason -> inputs that failed or were skipped for it."""
    max_failures: int
    """Inputs that may fail without the job counting as failed."""
    started: float | None = None
    """Unix seconds of the last run's start, and end."""
    finished: float | None = None
    error: str | None = None
    """Why the job could not go on, when it couldn't."""
    unmatched: int = 0
    """Inputs whose path the job's pattern of columns doesn't match."""
    known: int = 0
    """Analyses that the last run found in the cache instead of measuring them."""
    kept: int = 0
    """Of a state that a run ends with: files that the job made and doesn't want any more (``rayjobs prune``)."""
    unchanged: bool = False
    """Of a state that a run ends with: there was nothing to do."""

    @property
    def within_limit(self) -> bool:
        """Whether no more inputs failed than the job allows."""
        return self.failed <= self.max_failures

    def to_json(self) -> dict[str, Any]:
        """Plain values, as ``--json`` prints them."""
        found: dict[str, Any] = {
            "job_id": self.job_id,
            "name": self.name,
            "status": str(self.status),
            "total": self.total,
            "done": self.done,
            "failed": self.failed,
            "skipped": self.skipped,
            "output": str(self.output),
            "reasons": self.reasons,
        }
        for key in ("started", "finished", "error", "unmatched", "known", "kept", "unchanged"):
            if getattr(self, key):
                found[key] = getattr(self, key)
        return found


def read_state(output: OutputDirectory) -> JobState:
    """The state of the job in an output directory.

    Raises
    ------
    JobError
        No job has run there.
    """
    ledger = output.read_ledger()
    try:
        return state_of(ledger, output)
    finally:
        ledger.close()


def state_of(ledger: JobLedger, output: OutputDirectory) -> JobState:
    """The state of a job, from its open ledger.

    A job whose ledger says ``running`` while no driver holds the lock was interrupted.
    """
    counts, facts = ledger.counts(), ledger.facts.read()
    status = JobStatus(facts.status)
    if status is JobStatus.RUNNING and not output.running:
        status = JobStatus.INTERRUPTED
    return JobState(
        job_id=facts.job_id or output.root.name,
        name=facts.name or output.root.name,
        status=status,
        total=counts.total,
        done=counts.done,
        failed=counts.failed,
        skipped=counts.skipped,
        output=output.root,
        reasons=ledger.reasons(),
        max_failures=facts.max_failures,
        started=facts.started,
        finished=facts.finished,
        error=facts.error,
        unmatched=facts.unmatched,
        known=facts.known,
    )


def find_output(job: str) -> OutputDirectory:
    """The output directory that a user means: its path, a job's id, or its name.

    Raises
    ------
    JobError
        There is no such job.
    """
    path = Path(job).expanduser()
    if OutputDirectory(path).exists:
        return OutputDirectory(path.resolve())
    registered = JobRegistry().find(job)
    if registered is not None:
        output = OutputDirectory(registered.output)
        if not output.exists:
            raise JobError(
                f"{job}: nothing is in {output.root} yet; a job that was just submitted takes some seconds to begin, "
                "and one whose output was removed, or is out of reach from here, has to be run again"
            )
        return output
    if path.is_dir():
        raise JobError(f"{path}: no job has run here; give the output directory of a job, or its id (`rayjobs list`)")
    raise JobError(f"no job {job!r}: give its output directory, or its id (`rayjobs list` shows them)")
