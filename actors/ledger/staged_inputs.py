"""Inputs as discovery saw them, put into a table of the ledger's transaction as they stream in: each path once.

What becomes of them then is ``input_plan``. Nothing here holds the list in memory.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice

from pipelines.column_models import Cell

STAGING = """
CREATE TEMP TABLE staging (
    path BLOB PRIMARY KEY, relative BLOB NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    ordering BLOB NOT NULL, place TEXT, status TEXT, reason TEXT, message TEXT, cells TEXT, decided TEXT NOT NULL,
    source TEXT NOT NULL,
    id INTEGER, seq INTEGER, number INTEGER, name TEXT, key TEXT, given INTEGER NOT NULL DEFAULT 0
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
    order: bytes = b""
    """Sort key: who comes before whom where inputs are numbered."""
    status: str | None = None
    reason: str | None = None
    message: str | None = None
    cells: Mapping[str, Cell] | None = None
    """Of its columns, in their order; None when it has none."""
    decided: str = ""
    """What they decide of its pixels, as one text."""
    row: str = ""
    """Where a table names it, for messages: an input is named there once."""


Twice = Callable[[FoundInput, str], None]
"""Told of an input that a row of a table names, and of the row that named it before."""


def stage(db: sqlite3.Connection, inputs: Iterable[FoundInput], place: Callable[[bytes], str], twice: Twice) -> None:
    """Fill the table ``staging``; part of the caller's transaction. ``place`` tells what may be an output's file."""
    db.execute("DROP TABLE IF EXISTS temp.staging")
    db.execute(STAGING)
    stream = iter(inputs)
    while batch := list(islice(stream, _BATCH)):
        before = db.total_changes
        db.executemany(  # of an input that is named elsewhere as well, a table knows more
            "INSERT INTO staging (path, relative, size, mtime_ns, ordering, place, status, reason, message, cells,"
            " decided, source) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (path) DO UPDATE"
            " SET cells = excluded.cells, decided = excluded.decided, source = excluded.source"
            " WHERE source = '' AND excluded.source <> ''",
            [(*_found(i), place(i.path), *_said(i)) for i in batch],
        )
        if db.total_changes - before < len(batch):
            _tell_twice(db, [each for each in batch if each.row], twice)
    db.execute("CREATE INDEX temp.staging_place ON staging (place)")


def _tell_twice(db: sqlite3.Connection, batch: Iterable[FoundInput], twice: Twice) -> None:
    """Of inputs that tables name, those that stand in another row as well."""
    for each in batch:
        (first,) = db.execute("SELECT source FROM staging WHERE path = ?", (each.path,)).fetchone()
        if first != each.row:
            twice(each, first)


def _found(found: FoundInput) -> tuple[bytes, bytes, int, int, bytes]:
    return found.path, found.relative, found.size, found.mtime_ns, found.order


def _said(found: FoundInput) -> tuple[str | None, str | None, str | None, str | None, str, str]:
    cells = json.dumps(found.cells, ensure_ascii=False, separators=(",", ":")) if found.cells else None
    return found.status, found.reason, found.message, cells, found.decided, found.row
