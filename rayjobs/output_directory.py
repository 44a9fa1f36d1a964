"""The layout of an output directory: the one place that knows which file lies where."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from actors.job_ledger import JobLedger
from actors.output_lock import is_locked
from pipelines.errors import JobError

CANCEL = "cancel"
PAUSE = "pause"
PRIORITY = "priority"


@dataclass(frozen=True, slots=True)
class OutputDirectory:
    """Paths below one job's output."""

    root: Path

    @property
    def control(self) -> Path:
        """The ledger and whatever a running attempt needs."""
        return self.root / ".rayjobs"

    @property
    def ledger(self) -> Path:
        return self.control / "ledger.sqlite"

    @property
    def lock(self) -> Path:
        return self.control / "lock"

    @property
    def temporary(self) -> Path:
        """One directory per epoch."""
        return self.control / "tmp"

    @property
    def store(self) -> Path:
        """Sealed results: the tables in ``data`` are made from them."""
        return self.control / "results"

    @property
    def parts(self) -> Path:
        """Results as workers leave them, until they are sealed."""
        return self.control / "parts"

    @property
    def job_json(self) -> Path:
        return self.root / "job.json"

    @property
    def manifest(self) -> Path:
        return self.root / "manifest.parquet"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def report(self) -> Path:
        return self.root / "report" / "index.html"

    @property
    def exists(self) -> bool:
        return self.ledger.is_file()

    @property
    def running(self) -> bool:
        """Whether a driver is alive that works here."""
        return is_locked(self.lock)

    def read_ledger(self) -> JobLedger:
        """The ledger, for reading only.

        Raises
        ------
        JobError
            There is none here.
        """
        if not self.exists:
            raise JobError(f"{self.root}: no job has run here (no .rayjobs/ledger.sqlite)")
        return JobLedger(self.ledger, read_only=True)

    # Another process asks the driver for something by a file; the driver looks a few times a second.

    def request(self, what: str) -> None:
        """Ask the running driver to ``cancel`` or ``pause``."""
        (self.control / f"request-{what}").touch()

    def requested(self) -> str | None:
        """What somebody asked for, cancelling first."""
        return next((what for what in (CANCEL, PAUSE) if (self.control / f"request-{what}").exists()), None)

    def request_priority(self, priority: str) -> None:
        """Ask the running driver to go on with another priority."""
        temporary = self.control / f".priority-{os.getpid()}"
        temporary.write_text(priority)
        temporary.replace(self.control / f"request-{PRIORITY}")

    def requested_priority(self) -> str | None:
        """The priority that somebody asked for since the last call."""
        request = self.control / f"request-{PRIORITY}"
        try:
            priority = request.read_text()
            request.unlink()
        except FileNotFoundError:
            return None
        return priority

    def clear_requests(self) -> None:
        for what in (CANCEL, PAUSE, PRIORITY):
            (self.control / f"request-{what}").unlink(missing_ok=True)


def check_writable(root: Path) -> None:
    """Make the output directory.

    Raises
    ------
    JobError
        It can't be made or written.
    """
    try:
        (root / ".rayjobs").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise JobError(f"output {root}: {error.strerror}; choose another with --output") from error
    if not os.access(root / ".rayjobs", os.W_OK):
        raise JobError(f"output {root}: no permission to write; choose another with --output")
