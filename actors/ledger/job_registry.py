"""The list of jobs of this account: job id -> output directory, so that a job can be named without its path.

A convenience, not a truth: what became of a job is in its own ledger. Several processes may write at once.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from actors.home import rayjobs_home
from pipelines.errors import JobError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    job_id TEXT PRIMARY KEY, name TEXT NOT NULL, output BLOB NOT NULL, submitted REAL NOT NULL
) WITHOUT ROWID
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredJob:
    """One job that was run, or created, by this account."""

    job_id: str
    name: str
    output: Path
    submitted: float
    """Unix seconds of its first run."""


def job_id_of(name: str, output: Path) -> str:
    """The same id for the same job in the same output directory, on every run."""
    digest = hashlib.sha256(os.fsencode(output)).hexdigest()[:8]
    return f"{name.replace(' ', '-')}-{digest}"


class JobRegistry:
    """The file ``jobs.sqlite`` in ``$RAYJOBS_HOME``; opened for each call, so the object may be shared by threads."""

    def __init__(self, home: Path | None = None) -> None:
        self.path = (home or rayjobs_home()) / "jobs.sqlite"

    def add(self, job_id: str, name: str, output: Path) -> None:
        """Put a job on the list, unless it is there."""
        with self._open() as db:
            row = (job_id, name, os.fsencode(output), time.time())
            db.execute("INSERT OR IGNORE INTO jobs VALUES (?, ?, ?, ?)", row)

    def find(self, job_id: str) -> RegisteredJob | None:
        """A job by its id, or by its name if only one bears it."""
        if not self.path.is_file():
            return None
        with self._open() as db:
            rows = db.execute("SELECT * FROM jobs WHERE job_id = ?", (job_id,)).fetchall()
            rows = rows or db.execute("SELECT * FROM jobs WHERE name = ?", (job_id,)).fetchall()
        if len(rows) > 1:
            ids = ", ".join(sorted(row[0] for row in rows))
            raise JobError(f"several jobs are called {job_id!r}; use one of the ids {ids}")
        return _job(rows[0]) if rows else None

    def jobs(self) -> list[RegisteredJob]:
        """All of them, the latest first."""
        if not self.path.is_file():
            return []
        with self._open() as db:
            return [_job(row) for row in db.execute("SELECT * FROM jobs ORDER BY submitted DESC, job_id").fetchall()]

    def remove(self, job_id: str) -> bool:
        """Take a job off the list; its files stay. False when it wasn't there."""
        with self._open() as db:
            return bool(db.execute("DELETE FROM jobs WHERE job_id = ?", (job_id,)).rowcount)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with closing(sqlite3.connect(self.path, timeout=30)) as db, db:
                db.execute(_SCHEMA)
                yield db
        except (OSError, sqlite3.OperationalError) as error:
            raise JobError(f"{self.path}: {error}; set RAYJOBS_HOME to a directory of yours") from error
        except sqlite3.DatabaseError as error:
            raise JobError(
                f"{self.path}: is damaged ({error}); move it away: a new list is begun, and jobs are found by their "
                "output directories"
            ) from error


def _job(row: tuple[str, str, bytes, float]) -> RegisteredJob:
    job_id, name, output, submitted = row
    return RegisteredJob(job_id=job_id, name=name, output=Path(os.fsdecode(output)), submitted=submitted)
