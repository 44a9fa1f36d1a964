"""The layout of an output directory: the one place that knows which file lies where."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from actors.ledger.job_ledger import JobLedger
from actors.ledger.output_lock import is_locked
from pipelines.errors import JobError, storable
from pipelines.storage.custody import Kind
from pipelines.storage.local_files import look, own_file, remove_own, replace_own

CANCEL = "cancel"
PAUSE = "pause"
PRIORITY = "priority"
RESULTS = "results"
REQUEST = "request-"
LOOK_S = 0.1
"""How often it is looked whether a run has stopped."""


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
    def thumbnails(self) -> Path:
        """Those that workers of unfinished runs left, until a report has them."""
        return self.control / "thumbnails"

    @property
    def withdrawn_manifest(self) -> Path:
        """Of the run before, while another one changes results."""
        return self.control / "manifest.parquet"

    @property
    def sealed_ledger(self) -> Path:
        """The ledger as the last run that ended left it."""
        return self.control / "ledger-sealed.sqlite"

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

    def read_ledger(self, *, copied: bool = False) -> JobLedger:
        """The ledger, for reading only; ``copied``: as it is now, with nothing written beside it.

        Raises
        ------
        JobError
            There is none here.
        """
        if not self.exists:
            raise JobError(f"{self.root}: no job has run here (no .rayjobs/ledger.sqlite)")
        return JobLedger(self.ledger, read_only=True, copied=copied)

    def open_ledger(self) -> JobLedger:
        """The ledger, for the one who holds the lock."""
        return JobLedger(self.ledger)

    # Another process asks the driver for something by a file; the driver looks a few times a second.

    def _requests(self) -> list[str]:
        """The names of those files, without ``request-``."""
        try:
            names = os.listdir(self.control)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [name.removeprefix(REQUEST) for name in names if name.startswith(REQUEST)]

    def request(self, what: str) -> None:
        """Ask the running driver to ``cancel`` or ``pause``."""
        (self.control / f"{REQUEST}{what}").touch()

    def requested(self) -> str | None:
        """What somebody asked for, cancelling first."""
        requests = self._requests()
        return next((what for what in (CANCEL, PAUSE) if what in requests), None)

    def request_priority(self, priority: str) -> None:
        """Ask the running driver to go on with another priority."""
        final = self.control / f"{REQUEST}{PRIORITY}"
        with own_file(final) as temporary:
            temporary.write_text(priority)
            replace_own(temporary, final)

    def requested_priority(self) -> str | None:
        """The priority that somebody asked for since the last call."""
        request = self.control / f"{REQUEST}{PRIORITY}"
        try:
            priority = request.read_text()
            remove_own(request)
        except FileNotFoundError:
            return None
        return priority

    # Partial results are asked for by several at a time: each has a token of its own, and reads the answer to it.

    def request_results(self, token: str) -> None:
        """Ask the running driver for partial results."""
        (self.control / f"{REQUEST}{RESULTS}-{token}").touch()

    def results_requests(self) -> list[str]:
        """The tokens of those who asked and have no answer yet."""
        asked = f"{RESULTS}-"
        tokens = [name.removeprefix(asked) for name in self._requests() if name.startswith(asked)]
        return [token for token in tokens if not self._answer(token).exists()]

    def answer_results(self, token: str, error: str) -> None:
        """Tell who asked that partial results are there, or the ``error`` why they aren't."""
        with own_file(self._answer(token)) as temporary:
            temporary.write_text(error, errors="backslashreplace")
            replace_own(temporary, self._answer(token))

    def results_answer(self, token: str) -> str | None:
        """What was answered: an error, or nothing; None: not yet."""
        try:
            return self._answer(token).read_text()
        except FileNotFoundError:
            return None

    def forget_results_request(self, token: str) -> None:
        remove_own(self.control / f"{REQUEST}{RESULTS}-{token}")
        remove_own(self._answer(token))

    def _answer(self, token: str) -> Path:
        return self.control / f"answer-{RESULTS}-{token}"

    def stop_run(self, timeout_s: float) -> bool:
        """Have the driver that works here cancel its run, if there is one; False when it still does after a time."""
        deadline = time.monotonic() + timeout_s
        asked = False
        while self.running:
            if time.monotonic() > deadline:
                return False
            self.request(CANCEL)  # again: a run that is only about to begin forgets what was asked of the one before
            asked = True
            time.sleep(LOOK_S)
        if asked:
            self.clear_requests()
        return True

    def clear_requests(self) -> None:
        for what in (CANCEL, PAUSE, PRIORITY):
            remove_own(self.control / f"{REQUEST}{what}")
        for asked in self.control.glob(f"*-{RESULTS}-*"):
            if asked.name.startswith((f"{REQUEST}{RESULTS}-", f"answer-{RESULTS}-")):
                remove_own(asked)


def check_possible(root: Path) -> None:
    """Look whether an output can be there, without making anything.

    Raises
    ------
    JobError
        Its place is taken by something else, is a link where none is followed, or can't be written; or its path isn't
        UTF-8.
    """
    if (said := storable(str(root))) != str(root):
        raise JobError(f"output {said}: its path isn't UTF-8, which tables need; choose another with --output")
    above = root
    while not os.path.lexists(above):
        above = above.parent
    if not above.is_dir():
        raise JobError(f"output {root}: {above} is not a directory; choose another with --output")
    if not os.access(above, os.W_OK | os.X_OK):
        raise JobError(f"output {root}: {_why_not(above)} in {above}; choose another with --output")
    control = root / ".rayjobs"
    kind = look(control).kind
    if kind not in (Kind.NOTHING, Kind.DIRECTORY):
        raise JobError(f"output {root}: .rayjobs is {kind}, not a directory; move it away, or choose another output")
    for name in ("tmp", "thumbnails", "parts", "results", "ledger.sqlite", "lock"):
        present = look(control / name).kind
        if present in (Kind.LINK, Kind.OTHER):
            raise JobError(f"output {root}: .rayjobs/{name} is {present}; move it away, or choose another output")
    if kind is Kind.DIRECTORY and not os.access(control, os.W_OK | os.X_OK):
        raise JobError(f"output {root}: {_why_not(control)} in .rayjobs; choose another with --output")


def _why_not(directory: Path) -> str:
    read_only = os.statvfs(directory).f_flag & os.ST_RDONLY
    return "the file system can only be read" if read_only else "no permission to write"


def make_directory(root: Path) -> None:
    """Make the output directory.

    Raises
    ------
    JobError
        It can't be made.
    """
    try:
        (root / ".rayjobs").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise JobError(f"output {root}: {error.strerror}; choose another with --output") from error
