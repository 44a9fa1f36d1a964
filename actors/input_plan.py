"""Sealing a job's inputs: the list is staged as it streams in, named, and put into the ledger in one transaction.

Inputs that are as they were (same path, size, time and output name) keep what the ledger knows of them; changed ones
are open again, vanished ones leave, and the files of both become stale. Nothing here holds the list in memory.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice

from actors.job_ledger import JobLedger, drop_work
from pipelines.errors import JobError

STAGING = """
CREATE TEMP TABLE staging (
    path BLOB PRIMARY KEY, relative BLOB NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    status TEXT, reason TEXT, message TEXT, seq INTEGER, name TEXT, key TEXT
) WITHOUT ROWID
"""
_BATCH = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundInput:
    """One input as discovery saw it; one that the plan itself fails or skips comes with its final status."""

    path: bytes
    relative: bytes
    """Below the input root; decides the output's name."""
    size: int = 0
    mtime_ns: int = 0
    status: str | None = None
    reason: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """How outputs are named; see ``pipelines.output_names``."""

    name: Callable[[bytes, bytes, int], str]
    """(path, relative path, place in the sealed list) -> name below ``images/``, without the suffix of the format."""
    key: Callable[[str], str]
    """Names with the same key would be one file on some file system."""
    renamed: Callable[[str, int], str]
    """(name, n) -> the n-th other name (n >= 2) for an input whose name is taken."""
    taken: Callable[[str], bool] | None = None
    """Whether a file that isn't ours has the name already; None when no such file can be there."""
    claimed: Callable[[bytes, str, Callable[[bytes], bool]], bool] | None = None
    """(path, name, whether a path is an input) -> whether a file that must stay has an output's place already.

    For outputs that lie among the inputs."""
    collisions: str = "rename"
    """``rename``, or ``error``: refuse the plan."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """What sealing changed."""

    total: int
    added: int
    changed: int
    removed: int
    renamed: int


def seal_inputs(ledger: JobLedger, inputs: Iterable[FoundInput], naming: Naming) -> Sealed:
    """Make ``inputs`` the job's list, sorted by path.

    Raises
    ------
    JobError
        When two inputs would get one output name and ``naming.collisions`` is ``error``.
    """
    with ledger.transaction() as db:
        db.execute("DROP TABLE IF EXISTS temp.staging")
        db.execute(STAGING)
        stream = iter(inputs)
        while batch := list(islice(stream, _BATCH)):
            db.executemany(
                "INSERT OR IGNORE INTO staging VALUES (?, ?, ?, ?, ?, ?, ?, NULL, NULL, NULL)",
                [(i.path, i.relative, i.size, i.mtime_ns, i.status, i.reason, i.message) for i in batch],
            )
        _name_all(db, naming)
        renamed = _resolve_collisions(db, naming)
        sealed = _merge(db, renamed)
        db.execute("DROP TABLE temp.staging")
    return sealed


def _name_all(db: sqlite3.Connection, naming: Naming) -> None:
    rows = db.execute("SELECT path, relative, status FROM staging ORDER BY path")
    seq = 0
    while batch := rows.fetchmany(_BATCH):
        named = []
        for path, relative, status in batch:
            name = None if status else naming.name(path, relative, seq)
            named.append((seq, name, None if name is None else naming.key(name), path))
            seq += 1
        # Writing behind the cursor is safe: path, the order, stays as it is.
        db.executemany("UPDATE staging SET seq = ?, name = ?, key = ? WHERE path = ?", named)


def _resolve_collisions(db: sqlite3.Connection, naming: Naming) -> int:
    """Give every input a name of its own: the first by path keeps it, later ones get the next free number."""
    db.execute("CREATE INDEX temp.staging_key ON staging (key)")
    clashing = (
        "SELECT path, name, key FROM staging WHERE key IN"
        " (SELECT key FROM staging WHERE key IS NOT NULL GROUP BY key HAVING count(*) > 1) ORDER BY key, path"
    )
    clashes = db.execute(clashing).fetchall()
    if clashes and naming.collisions == "error":
        names = ", ".join(sorted({name for _, name, _ in clashes})[:5])
        raise JobError(
            f"export.images.on_conflict is 'error', and {len(clashes)} inputs would share output names: {names}; "
            "use layout: mirror, a name pattern with {index}, or on_conflict: rename"
        )
    renamed = 0
    previous = None
    for path, name, key in clashes:
        if key != previous:
            previous = key
            continue
        _rename(db, naming, path, name)
        renamed += 1
    if naming.taken is not None or naming.claimed is not None:
        rows = db.execute("SELECT path, name FROM staging WHERE name IS NOT NULL ORDER BY path")
        for path, name in [(path, name) for path, name in rows if _is_taken(db, naming, path, name)]:
            _rename(db, naming, path, name)
            renamed += 1
    return renamed


def _is_taken(db: sqlite3.Connection, naming: Naming, path: bytes, name: str) -> bool:
    def is_input(file: bytes) -> bool:
        return bool(db.execute("SELECT 1 FROM staging WHERE path = ?", (file,)).fetchone())

    if naming.claimed is not None and naming.claimed(path, name, is_input):
        return True
    return naming.taken is not None and naming.taken(name)


def _rename(db: sqlite3.Connection, naming: Naming, path: bytes, name: str) -> None:
    number = 2
    while True:
        other = naming.renamed(name, number)
        key = naming.key(other)
        if (
            not _is_taken(db, naming, path, other)
            and not db.execute("SELECT 1 FROM staging WHERE key = ?", (key,)).fetchone()
        ):
            db.execute("UPDATE staging SET name = ?, key = ? WHERE path = ?", (other, key, path))
            return
        number += 1


def _merge(db: sqlite3.Connection, renamed: int) -> Sealed:
    gone = [n for (n,) in db.execute("SELECT id FROM inputs WHERE path NOT IN (SELECT path FROM staging)")]
    drop_work(db, gone)
    db.executemany("DELETE FROM inputs WHERE id = ?", [(n,) for n in gone])
    changed = db.execute(
        "SELECT inputs.id, s.size, s.mtime_ns, s.name, s.status, s.reason, s.message FROM inputs JOIN staging s"
        " ON s.path = inputs.path WHERE s.size <> inputs.size OR s.mtime_ns <> inputs.mtime_ns"
        " OR s.name IS NOT inputs.name OR (s.status IS NOT NULL AND s.reason IS NOT inputs.reason)"
    ).fetchall()
    for number, *values in changed:
        drop_work(db, [number])
        db.execute(
            "UPDATE inputs SET size = ?, mtime_ns = ?, name = ?, status = ?, reason = ?, message = ?,"
            " degraded = NULL, width = NULL, height = NULL WHERE id = ?",
            (*values, number),
        )
    db.execute(
        "UPDATE inputs SET seq = s.seq FROM staging s WHERE s.path = inputs.path AND s.seq <> inputs.seq",
    )
    added = db.execute(
        "INSERT INTO inputs (path, size, mtime_ns, seq, name, status, reason, message)"
        " SELECT path, size, mtime_ns, seq, name, status, reason, message FROM staging"
        " WHERE path NOT IN (SELECT path FROM inputs) ORDER BY path"
    ).rowcount
    total = int(db.execute("SELECT count(*) FROM inputs").fetchone()[0])
    return Sealed(total=total, added=added, changed=len(changed), removed=len(gone), renamed=renamed)
