"""The journal of a job's attempts: what each try at an input came to, on which worker, in what time.

A table of the job's ledger. A row that is final stands with its input as well; a hand-back and a crash that is tried
again stand here alone.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from actors.ledger.ledger_rows import Attempt
from pipelines.models import ImageStatus

_SELECT = (
    "SELECT attempts.rowid, path, epoch, finished, seconds, outcome, attempts.reason, attempts.message, worker"
    " FROM attempts JOIN inputs ON inputs.id = input"
)


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """The table ``attempts`` of a ledger; see ``JobLedger`` for who may write."""

    _transaction: Callable[[], AbstractContextManager[sqlite3.Connection]]
    _all: Callable[..., list[Any]]

    def every(self) -> Iterator[Attempt]:
        """Every attempt in the order in which they ended; read in pages, so memory stays flat."""
        last = 0
        while page := self._all(f"{_SELECT} WHERE attempts.rowid > ? ORDER BY attempts.rowid LIMIT 2000", (last,)):
            last = page[-1][0]
            yield from map(_attempt, page)

    def of(self, number: int, *, epoch: int | None = None) -> int:
        """How often an input was tried, hand-backs not counted."""
        query = "SELECT count(*) FROM attempts WHERE input = ? AND outcome <> 'released'"
        bound: tuple[int, ...] = (number,)
        if epoch is not None:
            query, bound = query + " AND epoch = ?", (number, epoch)
        return int(self._all(query, bound)[0][0])

    def last_failure(self) -> Attempt | None:
        """The latest attempt that failed."""
        found = self._all(f"{_SELECT} WHERE outcome = 'failed' ORDER BY attempts.rowid DESC LIMIT 1")
        return _attempt(found[0]) if found else None

    def done_since(self, when: float, *, epoch: int) -> tuple[int, float | None]:
        """How many attempts of a run were done since a time, in Unix seconds, and when the first of them was.

        Of the latest 100,000.
        """
        latest = "SELECT finished, epoch FROM attempts WHERE outcome = 'done' ORDER BY rowid DESC LIMIT 100000"
        query = f"SELECT count(*), min(finished) FROM ({latest}) WHERE finished >= ? AND epoch = ?"
        count, first = self._all(query, (when, epoch))[0]
        return int(count), first

    def add(self, rows: Sequence[ImageStatus], *, epoch: int, outcome: str | None = None) -> None:
        """Journal what workers report; ``outcome`` is what all of it is called in place of the rows' status."""
        now = time.time()
        with self._transaction() as db:
            db.executemany(
                "INSERT INTO attempts VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [(r.id, epoch, now, r.seconds, outcome or r.status, r.reason, r.message, r.worker) for r in rows],
            )


def _attempt(row: tuple[Any, ...]) -> Attempt:
    return Attempt(**dict(zip(Attempt.__slots__, row[1:], strict=True)))
