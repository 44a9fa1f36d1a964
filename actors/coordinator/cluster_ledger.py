"""The ledger of one cluster's queue: tasks, results, limits, and the answers to changing calls, in one SQLite file.

The coordinator alone writes it, and starts from it after a restart; anybody may read meanwhile. It lies in
``$RAYJOBS_HOME`` under the id of the Ray cluster, so queues of different clusters never mix. A killed process loses
nothing that was committed; a power cut ends the cluster itself, and with it the queue, so nothing waits for the disk.
What a job has done is in the job's own ledger (``job_ledger``).
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from actors.queue.placements import Placement
from actors.queue.queue_events import Past
from actors.queue.queue_lines import Entry
from pipelines.resource_needs import needs_of
from pipelines.resources import ONE_CPU, ResourceEstimate
from pipelines.tasks import Task, TaskPriority, TaskStatus

SCHEMA = """
CREATE TABLE IF NOT EXISTS tasks (
    id         TEXT PRIMARY KEY,
    place      INTEGER NOT NULL,     -- in the order of submission
    owner      TEXT NOT NULL,
    priority   INTEGER NOT NULL,
    body       TEXT NOT NULL,        -- the task, as JSON: what isn't as usual
    status     TEXT NOT NULL,
    number     INTEGER NOT NULL,     -- of its last grant
    placement  TEXT,                 -- what that holds, as JSON; NULL unless it runs
    attempts   INTEGER NOT NULL,
    cancelling INTEGER NOT NULL,
    error      TEXT,
    value      TEXT,                 -- what its handler returned, as JSON
    changed    REAL NOT NULL         -- Unix seconds
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS owners (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS requests (id TEXT PRIMARY KEY, owner TEXT NOT NULL, answer TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS requests_by_owner ON requests (owner);
CREATE TABLE IF NOT EXISTS settings (
    kind TEXT NOT NULL, name TEXT NOT NULL, value REAL NOT NULL, PRIMARY KEY (kind, name)
) WITHOUT ROWID;
"""
KEPT_S = 7 * 86_400.0
"""How long ended tasks of ended drivers are remembered."""
_USUAL = Task(task_id="", task_type="")


def ledger_path(home: Path, cluster_id: str) -> Path:
    """Where the ledger of a cluster lies."""
    return home / "clusters" / f"{hashlib.sha256(cluster_id.encode()).hexdigest()[:16]}.sqlite"


def remove_ledger(path: Path) -> None:
    """Remove the ledger of a cluster that is gone, and what SQLite keeps beside it."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


class ClusterLedger:
    """One cluster's SQLite file, used by one thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute("PRAGMA trusted_schema=OFF")
        self._db.executescript(SCHEMA)

    def close(self, *, remove: bool = False) -> None:
        """Close the file; ``remove`` it when nobody will ask for it again."""
        self._db.close()
        if remove:
            remove_ledger(self.path)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    # ---- writing, within a transaction ---------------------------------------------------------------------------

    def put_tasks(self, rows: Iterable[tuple[Entry, Placement | None]]) -> None:
        """Write tasks as they stand now, with the room that those that run hold."""
        now = time.time()
        self._db.executemany(
            "INSERT INTO tasks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, ?) ON CONFLICT (id) DO UPDATE SET"
            " priority = excluded.priority, body = excluded.body, status = excluded.status, number = excluded.number,"
            " placement = excluded.placement, attempts = excluded.attempts, cancelling = excluded.cancelling,"
            " error = excluded.error, changed = excluded.changed",
            ((*_to_row(entry, placement), now) for entry, placement in rows),
        )

    def put_values(self, values: Iterable[tuple[str, str]]) -> None:
        """Write what handlers returned: (task id, JSON)."""
        self._db.executemany("UPDATE tasks SET value = ? WHERE id = ?", [(value, task) for task, value in values])

    def put_owner(self, name: str) -> None:
        self._db.execute("INSERT OR IGNORE INTO owners VALUES (?)", (name,))

    def drop_owner(self, name: str) -> None:
        """Forget an owner, and what it called; what became of its tasks stays."""
        self._db.execute("DELETE FROM owners WHERE name = ?", (name,))
        self._db.execute("DELETE FROM requests WHERE owner = ?", (name,))

    def put_answer(self, request_id: str, owner: str, answer: Any) -> None:
        """Remember the answer to a changing call, for when the call comes again."""
        self._db.execute("INSERT OR IGNORE INTO requests VALUES (?, ?, ?)", (request_id, owner, json.dumps(answer)))

    def put_setting(self, kind: str, name: str, value: float | None) -> None:
        """Write a concurrency limit (``limit``) or the units of a provider (``units``); None: there is none now."""
        if value is None:
            self._db.execute("DELETE FROM settings WHERE kind = ? AND name = ?", (kind, name))
        else:
            self._db.execute("INSERT OR REPLACE INTO settings VALUES (?, ?, ?)", (kind, name, value))

    def drop_old(self) -> None:
        """Forget tasks of ended drivers after some days."""
        oldest = time.time() - KEPT_S
        self._db.execute(
            "DELETE FROM tasks WHERE changed < ? AND owner NOT IN (SELECT name FROM owners)"
            " AND place < (SELECT max(place) FROM tasks) AND number < (SELECT max(number) FROM tasks)",
            (oldest,),
        )

    # ---- reading -------------------------------------------------------------------------------------------------

    def answer(self, request_id: str) -> Any:
        """What a call was answered; None when it never came."""
        found = self._db.execute("SELECT answer FROM requests WHERE id = ?", (request_id,)).fetchone()
        return None if found is None else json.loads(found[0])

    def owners(self) -> list[str]:
        return [name for (name,) in self._db.execute("SELECT name FROM owners ORDER BY name")]

    def settings(self, kind: str) -> dict[str, float]:
        return dict(self._db.execute("SELECT name, value FROM settings WHERE kind = ? ORDER BY name", (kind,)))

    def tasks(self) -> Iterator[tuple[Entry, Placement | None]]:
        """Tasks of the owners that haven't ended, in the order of submission."""
        rows = self._db.execute(
            "SELECT id, place, owner, priority, body, status, number, placement, attempts, cancelling, error"
            " FROM tasks WHERE owner IN (SELECT name FROM owners) ORDER BY place"
        )
        return map(_from_row, rows)

    def past(self) -> Past:
        """The highest numbers that any task ever had."""
        return Past(*self._db.execute("SELECT coalesce(max(place), 0), coalesce(max(number), 0) FROM tasks").fetchone())

    def outcome(self, task_id: str) -> tuple[TaskStatus, str | None, str | None] | None:
        """(status, error, value as JSON) of a task; None when it is unknown."""
        found = self._db.execute("SELECT status, error, value FROM tasks WHERE id = ?", (task_id,)).fetchone()
        return None if found is None else (TaskStatus(found[0]), found[1], found[2])


def _to_row(entry: Entry, placement: Placement | None) -> tuple[Any, ...]:
    return (
        entry.task.task_id,
        entry.order,
        entry.owner,
        int(entry.priority),
        _to_json(_to_body(entry.task)),
        entry.status.value,
        entry.number,
        None if placement is None else json.dumps(placement.taken),
        entry.attempts,
        int(entry.cancelling),
        entry.error,
    )


def _from_row(row: tuple[Any, ...]) -> tuple[Entry, Placement | None]:
    _, place, owner, priority, body, status, number, placement, attempts, cancelling, error = row
    task = _from_body(json.loads(body))
    entry = Entry(
        task=task,
        owner=owner,
        priority=TaskPriority(priority),
        order=place,
        queued_at=0.0,
        needs=needs_of(task.resources),
        status=TaskStatus(status),
        attempts=attempts,
        number=number,
        cancelling=bool(cancelling),
        error=error,
    )
    return entry, None if placement is None else _from_taken(json.loads(placement))


def _to_body(task: Task) -> dict[str, Any]:
    """What isn't as usual: every task is written, and most say little."""
    fields = zip(Task.__slots__, task.__getstate__(), _USUAL.__getstate__(), strict=True)
    return {name: value for name, value, usual in fields if value is not usual and value != usual}


def _plain(value: Any) -> dict[str, Any]:
    """What JSON has no word for: estimates, and mappings that aren't dictionaries."""
    if isinstance(value, ResourceEstimate):
        return {name: getattr(value, name) for name in ResourceEstimate.__slots__}
    return dict(value)


_to_json = json.JSONEncoder(default=_plain).encode


def _from_body(body: dict[str, Any]) -> Task:
    for key in ("depends_on", "outputs", "exclusive"):
        body[key] = tuple(body.get(key, ()))
    body["resources"] = ResourceEstimate(**body["resources"]) if "resources" in body else ONE_CPU
    return Task(**body)


def _from_taken(taken: list[Any]) -> Placement:
    return Placement(tuple((node, tuple((name, amount) for name, amount in needs)) for node, needs in taken))
