"""What the managers remember over restarts: jobs, their tasks, and the history of exports, in one SQLite file.

The file ``batch.sqlite`` in ``$RAYJOBS_HOME``; opened for each call, so the object may be shared by threads, and
several processes may write at once. Bodies are JSON of whoever asks; what a job has done is in the job's own ledger.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from actors.home import rayjobs_home
from pipelines.errors import JobError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    job_id TEXT PRIMARY KEY, created REAL NOT NULL, body TEXT NOT NULL, extra TEXT
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tasks (
    task_id TEXT PRIMARY KEY,
    job_id  TEXT NOT NULL,
    kind    TEXT NOT NULL,       -- export, extensible
    owner   TEXT NOT NULL,       -- the manager that runs it
    created REAL NOT NULL,
    body    TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS tasks_by_job ON tasks (job_id, created);
CREATE TABLE IF NOT EXISTS exports (
    task_id TEXT PRIMARY KEY, job_id TEXT NOT NULL, ended REAL NOT NULL, body TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS exports_by_job ON exports (job_id, ended);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredJob:
    """A job as JSON."""

    body: str
    extra: str | None = None
    """What only the enhanced manager knows; the plain one leaves it as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTask:
    """A task as JSON."""

    task_id: str
    job_id: str
    kind: str
    owner: str
    body: str


class BatchRecords:
    """Jobs, tasks and ended exports by their ids."""

    def __init__(self, home: Path | None = None) -> None:
        self.home = home or rayjobs_home()
        self.path = self.home / "batch.sqlite"

    # ---- jobs ----------------------------------------------------------------------------------------------------

    def add_job(self, job_id: str, body: str) -> bool:
        """Keep a new job; False when there is one of that id."""
        with self._open() as db:
            row = (job_id, time.time(), body)
            return bool(db.execute("INSERT OR IGNORE INTO jobs (job_id, created, body) VALUES (?, ?, ?)", row).rowcount)

    def job(self, job_id: str) -> StoredJob | None:
        with self._open() as db:
            found = db.execute("SELECT body, extra FROM jobs WHERE job_id = ?", (job_id,)).fetchone()
        return None if found is None else StoredJob(body=found[0], extra=found[1])

    def jobs(self) -> list[StoredJob]:
        """All of them, the oldest first."""
        with self._open() as db:
            rows = db.execute("SELECT body, extra FROM jobs ORDER BY created, job_id").fetchall()
        return [StoredJob(body=body, extra=extra) for body, extra in rows]

    def change_job(self, job_id: str, change: Callable[[StoredJob], StoredJob]) -> StoredJob | None:
        """Replace a job by what ``change`` makes of it, while nobody else can; None when there is none."""
        with self._open() as db:
            found = db.execute("SELECT body, extra FROM jobs WHERE job_id = ?", (job_id,)).fetchone()
            if found is None:
                return None
            changed = change(StoredJob(body=found[0], extra=found[1]))
            db.execute("UPDATE jobs SET body = ?, extra = ? WHERE job_id = ?", (changed.body, changed.extra, job_id))
        return changed

    def drop_job(self, job_id: str) -> bool:
        """Forget a job and its tasks; False when there was none. The history of its exports stays."""
        with self._open() as db:
            db.execute("DELETE FROM tasks WHERE job_id = ?", (job_id,))
            return bool(db.execute("DELETE FROM jobs WHERE job_id = ?", (job_id,)).rowcount)

    # ---- tasks and history ---------------------------------------------------------------------------------------

    def add_task(self, task: StoredTask) -> bool:
        """Keep a new task; False when there is one of that id."""
        with self._open() as db:
            row = (task.task_id, task.job_id, task.kind, task.owner, time.time(), task.body)
            return bool(db.execute("INSERT OR IGNORE INTO tasks VALUES (?, ?, ?, ?, ?, ?)", row).rowcount)

    def change_task(self, task_id: str, change: Callable[[StoredTask], StoredTask | None]) -> StoredTask | None:
        """Replace a task by what ``change`` makes of it, while nobody else can; None leaves it as it is.

        Returns the task as it stands then; None when there is none.
        """
        with self._open() as db:
            query = "SELECT task_id, job_id, kind, owner, body FROM tasks WHERE task_id = ?"
            row = db.execute(query, (task_id,)).fetchone()
            if row is None:
                return None
            found = _task(row)
            changed = change(found)
            if changed is None:
                return found
            query = "UPDATE tasks SET owner = ?, body = ? WHERE task_id = ?"
            db.execute(query, (changed.owner, changed.body, task_id))
        return changed

    def tasks(self, job_id: str) -> list[StoredTask]:
        """The tasks of a job, the oldest first."""
        with self._open() as db:
            rows = db.execute(
                "SELECT task_id, job_id, kind, owner, body FROM tasks WHERE job_id = ? ORDER BY created, task_id",
                (job_id,),
            ).fetchall()
        return [_task(row) for row in rows]

    def add_export(self, task_id: str, job_id: str, body: str) -> None:
        """Keep an export that ended; one that is in the history stays as it is."""
        with self._open() as db:
            db.execute("INSERT OR IGNORE INTO exports VALUES (?, ?, ?, ?)", (task_id, job_id, time.time(), body))

    def exports(self, job_id: str) -> list[str]:
        """The ended exports of a job, the oldest first."""
        with self._open() as db:
            query = "SELECT body FROM exports WHERE job_id = ? ORDER BY ended, task_id"
            return [body for (body,) in db.execute(query, (job_id,))]

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
            with closing(sqlite3.connect(self.path, timeout=30, isolation_level=None)) as db:
                db.executescript(_SCHEMA)
                db.execute("BEGIN IMMEDIATE")
                try:
                    yield db
                except BaseException:
                    db.execute("ROLLBACK")
                    raise
                db.execute("COMMIT")
        except (OSError, sqlite3.OperationalError) as error:
            raise JobError(f"{self.path}: {error}; set RAYJOBS_HOME to a directory of yours") from error
        except sqlite3.DatabaseError as error:
            raise JobError(
                f"{self.path}: is damaged ({error}); move it away: results stay in the jobs' output directories, and "
                "jobs can be created again"
            ) from error


def _task(row: tuple[str, str, str, str, str]) -> StoredTask:
    task_id, job_id, kind, owner, body = row
    return StoredTask(task_id=task_id, job_id=job_id, kind=kind, owner=owner, body=body)
