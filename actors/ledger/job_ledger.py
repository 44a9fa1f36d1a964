"""The ledger of one job: its sealed inputs, what became of each, every attempt, and every file that the job wrote.

The driver that holds the output's lock is the only writer, from any of its threads; anybody may read meanwhile (WAL).
Covers storage alone: what to run next and how to treat a failure is decided by the callers. Results of analyses lie in
files; the ledger knows in which file and row. An input that isn't in the job's list any more stays known, with what was
made of it, in case it returns. See also ``ledger_format`` (tables, older formats), ``file_record`` (the files),
``attempt_record`` (the attempts), ``work_record`` (what was made), ``job_facts`` (the job as a whole), ``input_plan``
(sealing the inputs), ``product_plan`` (what a changed job still has to compute) and ``output_lock``.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from actors.ledger.attempt_record import AttemptRecord
from actors.ledger.file_record import OUTPUTS_OF_INPUT, FileRecord, is_fixed_name, outputs_from_json, record_outputs
from actors.ledger.job_facts import FactRecord
from actors.ledger.ledger_format import (
    DAMAGED,
    FORMAT,
    OLDEST,
    copy_ledger,
    create,
    damaged,
    format_of,
    open_to_read,
    upgrade_in_place,
    upgraded_copy,
)
from actors.ledger.ledger_rows import Counts, FinalInput, OpenInput, Products, ResultRow
from actors.ledger.work_record import drop_work, keep_products, recipe_of
from pipelines.column_models import Cell
from pipelines.errors import JobError
from pipelines.models import ImageStatus
from pipelines.storage.local_files import own_file, replace_own

_CANT_WRITE = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_IOERR_WRITE)


def _final(*row: Any) -> FinalInput:
    number, seq, path, size, mtime_ns, values, status, reason, message, degraded, width, height, cells, outputs = row
    done = status == "done"  # what an input was that is left out now is kept for its return, not told
    return FinalInput(
        id=number,
        seq=seq,
        path=path,
        size=size,
        mtime_ns=mtime_ns,
        values=values,
        status=status,
        reason=reason,
        message=message,
        degraded=degraded if done else None,
        width=width if done else None,
        height=height if done else None,
        outputs=outputs_from_json(outputs),
        cells=json.loads(cells) if cells else {},
    )


class JobLedger:
    """One job's SQLite file; see the module's text for who may write."""

    def __init__(self, path: Path, *, read_only: bool = False, copied: bool = False) -> None:
        """``copied``: of one that is only read, a copy as it is now, so that nothing is written beside it."""
        self.path = path
        self._read_only = read_only
        self._copy: tempfile.TemporaryDirectory[str] | None = None
        """Of a reader of a copy: where that lies."""
        self._is_older = False
        """Whether it was made from one of an older format, whose record doesn't list everything."""
        self._lock = threading.RLock()
        self._counts: Counts | None = None
        """Kept up to date by ``commit``, so that asking often costs nothing; any other writing forgets it."""
        try:
            self._db = self._open_to_read(path, copied=copied) if read_only else _open_to_write(path)
            self._db.execute("PRAGMA trusted_schema=OFF")
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode in DAMAGED:
                raise damaged(path, error) from error
            raise
        self.files = FileRecord(self.transaction, self._all)
        """Every file that the job has written below its output, and holds to be its own."""
        self.attempts = AttemptRecord(self.transaction, self._all)
        """Every attempt at an input."""
        self.facts = FactRecord(self.transaction, self._all)
        """What is known of the job as a whole."""

    def _open_to_read(self, path: Path, *, copied: bool) -> sqlite3.Connection:
        """A connection that can't write; one of an older format is upgraded in a copy."""
        is_older = format_of(path) != FORMAT
        if is_older or copied:
            self._copy = tempfile.TemporaryDirectory(prefix="rayjobs-ledger-")
            copy = Path(self._copy.name)
            self._is_older = format_of(path) == OLDEST
            if is_older:
                path = upgraded_copy(path, copy)
            else:
                copy_ledger(path, copy / path.name)
                path = copy / path.name
        return open_to_read(path)

    def close(self) -> None:
        self._db.close()
        if self._copy is not None:
            self._copy.cleanup()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing; a reader sees none of it before the end. One within another is part of that."""
        with self._lock:
            self._counts = None
            if self._db.in_transaction:
                yield self._db
                return
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except BaseException as error:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode in _CANT_WRITE:
                    raise JobError(f"{self.path}: {error}; make room, then run the job again: it goes on") from error
                if isinstance(error, sqlite3.DatabaseError) and error.sqlite_errorcode in DAMAGED:
                    raise damaged(self.path, error) from error
                raise

    def _all(self, query: str, bound: Sequence[Any] = ()) -> list[Any]:
        """All rows at once: a cursor left open would see what other threads write."""
        try:
            with self._lock:
                return self._db.execute(query, bound).fetchall()
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode in DAMAGED:
                raise damaged(self.path, error) from error
            raise

    def durable(self) -> None:
        """Put all that was committed on disk, so that not even a power cut takes it back."""
        with self._lock:
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def copy_to(self, target: Path) -> None:
        """Write a whole copy, in one step, into a directory of the program's own."""
        with own_file(target) as temporary:
            with self._lock, closing(sqlite3.connect(temporary)) as copy:
                self._db.backup(copy)
            replace_own(temporary, target)

    # ---- counts ---------------------------------------------------------------------------------------------------

    def counts(self) -> Counts:
        with self._lock:
            if self._counts is None or self._read_only:
                found = dict(
                    self._all("SELECT coalesce(status, 'open'), count(*) FROM inputs WHERE seq >= 0 GROUP BY 1")
                )
                finals = (found.get(status, 0) for status in ("done", "failed", "skipped"))
                self._counts = Counts(sum(found.values()), *finals)
            return self._counts

    def reasons(self) -> dict[str, int]:
        """reason -> number of inputs that failed or were skipped for it."""
        query = "SELECT reason, count(*) FROM inputs WHERE reason IS NOT NULL AND seq >= 0"
        return dict(self._all(f"{query} GROUP BY 1 ORDER BY 2 DESC, 1"))

    def written_bytes(self) -> int:
        """Size of all files that the job made and that are its own."""
        return int(self._all("SELECT coalesce(sum(bytes), 0) FROM files WHERE current >= 0")[0][0])

    # ---- recipes: sets of products -------------------------------------------------------------------------------

    def recipes(self) -> dict[int, dict[str, str]]:
        return {number: json.loads(text) for number, text in self._all("SELECT id, products FROM recipes")}

    def recipe_id(self, products: Products) -> int:
        """The number of a set of products, the same for the same set."""
        with self.transaction() as db:
            return recipe_of(db, products)

    # ---- running -------------------------------------------------------------------------------------------------

    def open_inputs(self, first_seq: int, end_seq: int, most: int = -1) -> list[OpenInput]:
        """Inputs without a final row with first_seq <= seq < end_seq, in order; the first ``most``, or all."""
        rows = self._all(
            "SELECT id, seq, path, size, mtime_ns, name, decided, cells,"
            " (SELECT group_concat(recipe) FROM work WHERE input = inputs.id)"
            " FROM inputs WHERE status IS NULL AND seq >= ? AND seq < ? ORDER BY seq LIMIT ?",
            (first_seq, end_seq, most),
        )
        return [
            OpenInput(
                id=number,
                seq=seq,
                path=path,
                size=size,
                mtime_ns=mtime_ns,
                name=name,
                recipes=tuple(map(int, recipes.split(","))) if recipes else (),
                values=values,
                cells=json.loads(cells) if cells else {},
            )
            for number, seq, path, size, mtime_ns, name, values, cells, recipes in rows
        ]

    def next_open_seq(self, first_seq: int) -> int | None:
        """The first place at or after ``first_seq`` whose input has no final row."""
        found = self._all("SELECT min(seq) FROM inputs WHERE status IS NULL AND seq >= ?", (first_seq,))
        return None if found[0][0] is None else int(found[0][0])

    def failed_inputs(self) -> set[int]:
        """The numbers of the inputs that failed."""
        return {number for (number,) in self._all("SELECT id FROM inputs WHERE status = 'failed' AND seq >= 0")}

    def open_bytes(self, most: int) -> int:
        """Bytes of the inputs without a final row, but for those with more than ``most``."""
        query = "SELECT coalesce(sum(size), 0) FROM inputs WHERE status IS NULL AND seq >= 0 AND size <= ?"
        return int(self._all(query, (most,))[0][0])

    def commit(self, rows: Sequence[ImageStatus], *, epoch: int) -> int:
        """Take over what workers report, in one transaction; return how many inputs became final by it.

        The first final row of an input wins: a late second one is journalled as an attempt and otherwise ignored.
        """
        with self._lock:
            before = self.counts()
            with self.transaction() as db:
                self.attempts.add(rows, epoch=epoch)
                final = [row for row in rows if row.status != "released" and _finish(db, row)]
                done = [row for row in final if row.status == "done"]
                db.executemany(
                    "INSERT OR REPLACE INTO work VALUES (?, ?, ?, ?)",
                    [(row.id, row.recipe, row.part, row.row) for row in done],
                )
                record_outputs(db, [(row.id, output) for row in done for output in row.outputs])
                drop_work(db, [row.id for row in final if row.status != "done"])
                gained = Counter(row.status for row in final)
            self._counts = Counts(
                before.total,
                before.done + gained["done"],
                before.failed + gained["failed"],
                before.skipped + gained["skipped"],
            )
        return gained.total()

    def reopen(self, reasons: Sequence[str] | None = None) -> int:
        """Give failed inputs another chance (all, or those of some reasons); return how many."""
        query = (
            "UPDATE inputs SET status = NULL, reason = NULL, message = NULL"
            " WHERE status = 'failed' AND NOT by_plan AND seq >= 0"
        )
        with self.transaction() as db:
            if reasons is None:
                return db.execute(query).rowcount
            marks = ",".join("?" * len(reasons))
            return db.execute(f"{query} AND reason IN ({marks})", tuple(reasons)).rowcount

    def inputs_of_reason(self, reason: str) -> list[tuple[int, bytes, str]]:
        """(number, path, name) of the inputs that workers failed or skipped for a reason."""
        query = "SELECT id, path, name FROM inputs WHERE reason = ? AND NOT by_plan AND seq >= 0"
        return [(number, path, name) for number, path, name in self._all(query, (reason,))]

    def reopen_inputs(self, numbers: Iterable[int]) -> None:
        """Give inputs another chance."""
        with self.transaction() as db:
            db.executemany(
                "UPDATE inputs SET status = NULL, reason = NULL, message = NULL WHERE id = ?", [(n,) for n in numbers]
            )

    # ---- what the job published and measured ---------------------------------------------------------------------

    def final_inputs(self) -> Iterator[FinalInput]:
        """The rows of the manifest, in order of the sealed list; read in pages, so memory stays flat."""
        seq = -1
        while page := self._finals("status IS NOT NULL AND seq > ? ORDER BY seq LIMIT 2000", seq):
            yield from page
            seq = page[-1].seq

    def find_input(self, path: bytes) -> FinalInput | None:
        """The input of this path as the manifest would have it; its status is ``pending`` as long as it has none."""
        return next(iter(self._finals("path = ? AND seq >= 0", path)), None)

    def input_paths(self) -> Iterator[bytes]:
        """All of them, in order of the sealed list; read in pages."""
        seq = -1
        while page := self._all("SELECT seq, path FROM inputs WHERE seq > ? ORDER BY seq LIMIT 10000", (seq,)):
            yield from (path for _, path in page)
            seq = page[-1][0]

    def _finals(self, chosen: str, *bound: Any) -> list[FinalInput]:
        facts = "id, seq, path, size, mtime_ns, decided, coalesce(status, 'pending'), reason, message, degraded, width"
        outputs = f"CASE WHEN status = 'done' THEN ({OUTPUTS_OF_INPUT}) ELSE '[]' END"
        found = self._all(f"SELECT {facts}, height, cells, {outputs} FROM inputs WHERE {chosen}", bound)
        return [_final(*row) for row in found]

    def cells(self, first_seq: int, end_seq: int) -> Iterator[tuple[bytes, Mapping[str, Cell]]]:
        """(path, column -> cell) of the done inputs of a range, in order; read in pages, so memory stays flat."""
        seq = first_seq - 1
        while page := self._all(
            "SELECT seq, path, cells FROM inputs WHERE status = 'done' AND seq > ? AND seq < ? ORDER BY seq LIMIT 2000",
            (seq, end_seq),
        ):
            seq = page[-1][0]
            yield from ((path, json.loads(cells) if cells else {}) for _, path, cells in page)

    def results(self, first_seq: int, end_seq: int, most: int = -1) -> list[ResultRow]:
        """Where the results of the done inputs of a range lie, by input and recipe; the first ``most``, or all."""
        rows = self._all(
            "SELECT inputs.id, seq, path, recipe, part, row FROM inputs JOIN work ON work.input = inputs.id"
            " WHERE status = 'done' AND part IS NOT NULL AND seq >= ? AND seq < ? ORDER BY seq, recipe LIMIT ?",
            (first_seq, end_seq, most),
        )
        return [
            ResultRow(input=i, seq=s, path=p, recipe=recipe, part=part, row=row) for i, s, p, recipe, part, row in rows
        ]

    def lost_results(self, part: str) -> int:
        """The results in a part are gone: open the inputs again that have some there; return how many those are."""
        with self.transaction() as db:
            found = db.execute("SELECT input, recipe FROM work WHERE part = ?", (part,)).fetchall()
            for number, recipe in found:
                keep_products(db, number, recipe, lambda product: not product.startswith("analysis:"))
                db.execute("UPDATE inputs SET status = NULL WHERE id = ? AND status = 'done'", (number,))
            return len({number for number, _ in found})

    def lost_files(self, number: int, product: str) -> None:
        """A product's files are gone, or aren't ours any more: it has to be made again."""
        with self.transaction() as db:
            db.execute(
                "UPDATE files SET current = 0 WHERE current = 1 AND input = ? AND product = ?", (number, product)
            )
            for (recipe,) in db.execute("SELECT recipe FROM work WHERE input = ?", (number,)).fetchall():
                keep_products(db, number, recipe, lambda name: name != product)
            db.execute("UPDATE inputs SET status = NULL WHERE id = ? AND status = 'done'", (number,))

    def owns(self, path: str) -> bool:
        """Whether a file, by its path relative to the output, is one that the job has written."""
        return self.files.find(path) is not None or (self._is_older and is_fixed_name(path))

    def forget_gone(self) -> None:
        """Forget what was made of inputs that aren't in the list any more; their names and numbers stay given."""
        with self.transaction() as db:
            db.execute("DELETE FROM work WHERE input IN (SELECT id FROM inputs WHERE seq IS NULL)")
            db.execute("UPDATE inputs SET status = NULL WHERE seq IS NULL")

    def unname(self, start: str) -> None:
        """Take away names that begin so, and give every input its place in the list as its number."""
        with self.transaction() as db:
            db.execute("UPDATE inputs SET number = seq")
            db.execute("UPDATE inputs SET name = NULL WHERE substr(name, 1, ?) = ?", (len(start), start))

    def has_input(self, path: bytes) -> bool:
        """Whether the job has, or had, an input of this path."""
        return bool(self._all("SELECT 1 FROM inputs WHERE path = ?", (path,)))

    def parts(self) -> set[str]:
        """Every file of results that the ledger refers to."""
        return {part for (part,) in self._all("SELECT DISTINCT part FROM work WHERE part IS NOT NULL")}

    def move_results(self, part: str, rows: Iterable[tuple[int, int]]) -> None:
        """Point the results of inputs, given as (input, row), at the sealed part that holds them all now."""
        with self.transaction() as db:
            db.executemany(
                "UPDATE work SET part = ?, row = ? WHERE input = ? AND part IS NOT NULL",
                [(part, row, number) for number, row in rows],
            )


def _open_to_write(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        create(path)
    upgrade_in_place(path)
    db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA journal_mode=WAL")
    # A killed process loses nothing with NORMAL; `durable()` asks for more before a state is announced.
    db.execute("PRAGMA synchronous=NORMAL")
    return db


def _finish(db: sqlite3.Connection, row: ImageStatus) -> bool:
    """Make a row final; False when its input has a final row already."""
    changed: int = db.execute(
        "UPDATE inputs SET status = ?, reason = ?, message = ?, degraded = ?, width = ?, height = ?"
        " WHERE id = ? AND status IS NULL",
        (row.status, row.reason, row.message, row.degraded, row.width, row.height, row.id),
    ).rowcount
    return changed > 0
