"""The ledger of one job: its sealed inputs, what became of each, and every attempt, in one SQLite file.

The driver that holds the output's lock is the only writer, from any of its threads; anybody may read meanwhile (WAL).
Covers storage
alone: what to run next and how to treat a failure is decided by the callers. Results of analyses lie in files; the
ledger knows in which file and row. See also ``input_plan`` (sealing the inputs), ``product_plan`` (what a changed job
still has to compute) and ``output_lock`` (who may write).
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.errors import JobError
from pipelines.models import ImageStatus, Output

FORMAT = 2
"""Of the ledger and the parts that it refers to; stands in the file (``user_version``)."""
SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS inputs (
    id        INTEGER PRIMARY KEY,
    path      BLOB NOT NULL UNIQUE,   -- exact bytes of the absolute path
    size      INTEGER NOT NULL,
    mtime_ns  INTEGER NOT NULL,
    seq       INTEGER NOT NULL,       -- place in the sealed list, sorted by path
    name      TEXT,                   -- where its outputs go; NULL for an input that the plan skipped
    status    TEXT,                   -- NULL until final: done, failed, skipped
    reason    TEXT, message TEXT, degraded TEXT, width INTEGER, height INTEGER
);
CREATE INDEX IF NOT EXISTS inputs_by_seq ON inputs (seq);
CREATE INDEX IF NOT EXISTS inputs_by_name ON inputs (name);
CREATE INDEX IF NOT EXISTS inputs_open ON inputs (seq) WHERE status IS NULL;
CREATE TABLE IF NOT EXISTS recipes (  -- sets of products, as JSON: {"image": digest, "analysis:...": digest, ...}
    id INTEGER PRIMARY KEY, products TEXT NOT NULL UNIQUE
);
CREATE TABLE IF NOT EXISTS work (     -- products that an input has, and where its analysis results lie
    input INTEGER NOT NULL, recipe INTEGER NOT NULL, part TEXT, row INTEGER, outputs TEXT NOT NULL,
    PRIMARY KEY (input, recipe)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS stale (    -- files that this job published and no product of an input refers to any more
    path TEXT NOT NULL, sha256 TEXT NOT NULL, PRIMARY KEY (path, sha256)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS attempts ( -- append-only
    input INTEGER NOT NULL, epoch INTEGER NOT NULL, finished REAL NOT NULL, seconds REAL NOT NULL,
    outcome TEXT NOT NULL, reason TEXT, message TEXT, worker TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS attempts_by_input ON attempts (input);
"""

_CANT_WRITE = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_IOERR_WRITE)

Products = Mapping[str, str]
"""Product name -> digest of all that decides its bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenInput:
    """An input without a final row, and the recipes whose products it has already."""

    id: int
    seq: int
    path: bytes
    size: int
    mtime_ns: int
    name: str
    recipes: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalInput:
    """One row of the manifest, as the ledger has it."""

    id: int
    seq: int
    path: bytes
    size: int
    status: str
    reason: str | None
    message: str | None
    degraded: str | None
    width: int | None
    height: int | None
    outputs: tuple[Output, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRow:
    """Where the results that one recipe computed for one input lie."""

    input: int
    seq: int
    path: bytes
    recipe: int
    part: str
    row: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One journalled attempt at one input."""

    path: bytes
    epoch: int
    """Number of the run."""
    finished: float
    """Unix seconds."""
    seconds: float
    outcome: str
    """``done``, ``failed``, ``skipped``, ``released``, or ``crashed`` when another attempt followed."""
    reason: str | None
    message: str | None
    worker: str

    def to_json(self) -> dict[str, Any]:
        """Plain values, without the path."""
        return {name: getattr(self, name) for name in self.__slots__ if name != "path"}


@dataclass(frozen=True, slots=True)
class Counts:
    """How many inputs are in which final state; ``open`` have none yet."""

    total: int
    done: int
    failed: int
    skipped: int

    @property
    def open(self) -> int:
        return self.total - self.done - self.failed - self.skipped


class JobLedger:
    """One job's SQLite file; see the module's text for who may write."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._read_only = read_only
        self._lock = threading.RLock()
        self._counts: Counts | None = None
        """Kept up to date by ``commit``, so that asking often costs nothing; any other writing forgets it."""
        if read_only:
            uri = f"{path.absolute().as_uri()}?mode=ro"
            self._db = sqlite3.connect(uri, uri=True, timeout=30, check_same_thread=False)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                _create(path)
            self._db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            # A killed process loses nothing with NORMAL; `durable()` asks for more before a state is announced.
            self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute("PRAGMA trusted_schema=OFF")
        (found,) = self._db.execute("PRAGMA user_version").fetchone()
        if found != FORMAT:
            self._db.close()
            raise JobError(
                f"{path.parent.parent}: made by another version of Rayjobs (format {found}; this one knows {FORMAT});"
                " choose another output, or delete the directory .rayjobs in it to begin anew"
            )

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing; a reader sees none of it before the end."""
        with self._lock:
            self._counts = None
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except BaseException as error:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode in _CANT_WRITE:
                    raise JobError(f"{self.path}: {error}; make room, then run the job again: it goes on") from error
                raise

    def _all(self, query: str, bound: Sequence[Any] = ()) -> list[Any]:
        """All rows at once: a cursor left open would see what other threads write."""
        with self._lock:
            return self._db.execute(query, bound).fetchall()

    def durable(self) -> None:
        """Put all that was committed on disk, so that not even a power cut takes it back."""
        with self._lock:
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    # ---- facts about the job -------------------------------------------------------------------------------------

    def fact(self, key: str, default: Any = None) -> Any:
        """One value of the job's meta data, as it was put."""
        found = self._all("SELECT value FROM meta WHERE key = ?", (key,))
        return json.loads(found[0][0]) if found else default

    def put_facts(self, **facts: Any) -> None:
        """Write values that JSON can hold."""
        rows = [(key, json.dumps(value, sort_keys=True)) for key, value in facts.items()]
        with self.transaction() as db:
            db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", rows)

    def counts(self) -> Counts:
        with self._lock:
            if self._counts is None or self._read_only:
                found = dict(self._all("SELECT coalesce(status, 'open'), count(*) FROM inputs GROUP BY 1"))
                finals = (found.get(status, 0) for status in ("done", "failed", "skipped"))
                self._counts = Counts(sum(found.values()), *finals)
            return self._counts

    def reasons(self) -> dict[str, int]:
        """reason -> number of inputs that failed or were skipped for it."""
        return dict(
            self._all("SELECT reason, count(*) FROM inputs WHERE reason IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1")
        )

    # ---- recipes: sets of products -------------------------------------------------------------------------------

    def recipes(self) -> dict[int, dict[str, str]]:
        return {number: json.loads(text) for number, text in self._all("SELECT id, products FROM recipes")}

    def recipe_id(self, products: Products) -> int:
        """The number of a set of products, the same for the same set."""
        text = json.dumps(dict(products), sort_keys=True)
        with self.transaction() as db:
            db.execute("INSERT OR IGNORE INTO recipes (products) VALUES (?)", (text,))
            return int(db.execute("SELECT id FROM recipes WHERE products = ?", (text,)).fetchone()[0])

    # ---- running -------------------------------------------------------------------------------------------------

    def open_inputs(self, first_seq: int, end_seq: int, most: int = -1) -> list[OpenInput]:
        """Inputs without a final row with first_seq <= seq < end_seq, in order; the first ``most``, or all."""
        rows = self._all(
            "SELECT id, seq, path, size, mtime_ns, name,"
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
            )
            for number, seq, path, size, mtime_ns, name, recipes in rows
        ]

    def next_open_seq(self, first_seq: int) -> int | None:
        """The first place at or after ``first_seq`` whose input has no final row."""
        found = self._all("SELECT min(seq) FROM inputs WHERE status IS NULL AND seq >= ?", (first_seq,))
        return None if found[0][0] is None else int(found[0][0])

    def failed_inputs(self) -> set[int]:
        """The numbers of the inputs that failed."""
        return {number for (number,) in self._all("SELECT id FROM inputs WHERE status = 'failed'")}

    def open_size(self) -> tuple[int, int]:
        """(number, bytes) of the inputs without a final row."""
        found = self._all("SELECT count(*), coalesce(sum(size), 0) FROM inputs WHERE status IS NULL")
        return int(found[0][0]), int(found[0][1])

    def still_open(self, ids: Iterable[int]) -> list[int]:
        """Those of the inputs that have no final row."""
        query = "SELECT 1 FROM inputs WHERE id = ? AND status IS NULL"
        return [number for number in ids if self._all(query, (number,))]

    def attempts_of(self, number: int, *, epoch: int | None = None) -> int:
        """How often an input was tried, hand-backs not counted."""
        query = "SELECT count(*) FROM attempts WHERE input = ? AND outcome <> 'released'"
        bound: tuple[int, ...] = (number,)
        if epoch is not None:
            query, bound = query + " AND epoch = ?", (number, epoch)
        return int(self._all(query, bound)[0][0])

    def mean_seconds(self) -> float | None:
        """Mean time of the latest done attempts; None when there are none."""
        query = "SELECT avg(seconds) FROM (SELECT seconds FROM attempts WHERE outcome = 'done' ORDER BY rowid DESC"
        found = self._all(f"{query} LIMIT 1000)")[0][0]
        return None if found is None else float(found)

    def attempts(self) -> Iterator[Attempt]:
        """Every attempt in the order in which they ended; read in pages, so memory stays flat."""
        last = 0
        while page := self._all(
            "SELECT attempts.rowid, path, epoch, finished, seconds, outcome, attempts.reason, attempts.message, worker"
            " FROM attempts JOIN inputs ON inputs.id = input WHERE attempts.rowid > ?"
            " ORDER BY attempts.rowid LIMIT 2000",
            (last,),
        ):
            for last, path, epoch, finished, seconds, outcome, reason, message, worker in page:  # noqa: B007
                yield Attempt(
                    path=path,
                    epoch=epoch,
                    finished=finished,
                    seconds=seconds,
                    outcome=outcome,
                    reason=reason,
                    message=message,
                    worker=worker,
                )

    def commit(self, rows: Sequence[ImageStatus], *, epoch: int) -> int:
        """Take over what workers report, in one transaction; return how many inputs became final by it.

        The first final row of an input wins: a late second one is journalled as an attempt and otherwise ignored.
        """
        now = time.time()
        gained = Counter[str]()
        with self._lock:
            before = self.counts()
            with self.transaction() as db:
                db.executemany(
                    "INSERT INTO attempts VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    [(r.id, epoch, now, r.seconds, r.status, r.reason, r.message, r.worker) for r in rows],
                )
                for row in rows:
                    if row.status != "released" and _finish(db, row):
                        gained[row.status] += 1
            self._counts = Counts(
                before.total,
                before.done + gained["done"],
                before.failed + gained["failed"],
                before.skipped + gained["skipped"],
            )
        return gained.total()

    def add_attempts(self, rows: Sequence[ImageStatus], *, epoch: int) -> None:
        """Journal attempts that ended without a final row, such as a crash that is to be tried again."""
        now = time.time()
        with self.transaction() as db:
            db.executemany(
                "INSERT INTO attempts VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [(r.id, epoch, now, r.seconds, "crashed", r.reason, r.message, r.worker) for r in rows],
            )

    def reopen(self, reasons: Sequence[str] | None = None) -> int:
        """Give failed inputs another chance (all, or those of some reasons); return how many."""
        query = (
            "UPDATE inputs SET status = NULL, reason = NULL, message = NULL"
            " WHERE status = 'failed' AND name IS NOT NULL"
        )
        with self.transaction() as db:
            if reasons is None:
                return db.execute(query).rowcount
            marks = ",".join("?" * len(reasons))
            return db.execute(f"{query} AND reason IN ({marks})", tuple(reasons)).rowcount

    # ---- what the job published and measured ---------------------------------------------------------------------

    def final_inputs(self) -> Iterator[FinalInput]:
        """The rows of the manifest, in order of the sealed list; read in pages, so memory stays flat."""
        seq = -1
        while page := self._all(
            "SELECT id, seq, path, size, status, reason, message, degraded, width, height,"
            " (SELECT json_group_array(json(outputs)) FROM work WHERE input = inputs.id)"
            " FROM inputs WHERE status IS NOT NULL AND seq > ? ORDER BY seq LIMIT 2000",
            (seq,),
        ):
            for number, seq, path, size, status, reason, message, degraded, width, height, outputs in page:
                yield FinalInput(
                    id=number,
                    seq=seq,
                    path=path,
                    size=size,
                    status=status,
                    reason=reason,
                    message=message,
                    degraded=degraded,
                    width=width,
                    height=height,
                    outputs=_merged_outputs(json.loads(outputs)),
                )

    def results(self, first_seq: int, end_seq: int) -> list[ResultRow]:
        """Where the results of the done inputs of a range lie, ordered by input and recipe."""
        rows = self._all(
            "SELECT inputs.id, seq, path, recipe, part, row FROM inputs JOIN work ON work.input = inputs.id"
            " WHERE status = 'done' AND part IS NOT NULL AND seq >= ? AND seq < ? ORDER BY seq, recipe",
            (first_seq, end_seq),
        )
        return [
            ResultRow(input=i, seq=s, path=p, recipe=recipe, part=part, row=row) for i, s, p, recipe, part, row in rows
        ]

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

    # ---- files of earlier plans and attempts ---------------------------------------------------------------------

    def add_stale(self, files: Iterable[tuple[str, str]]) -> None:
        """Remember files, as (relative path, sha256), that attempts of ours may have left."""
        with self.transaction() as db:
            db.executemany("INSERT OR IGNORE INTO stale VALUES (?, ?)", files)

    def has_stale(self) -> bool:
        return bool(self._all("SELECT 1 FROM stale LIMIT 1"))

    def knows_name(self, name: str) -> bool:
        """Whether an input of this job has, or had in an earlier plan that got as far as running, this output name."""
        return bool(self._all("SELECT 1 FROM inputs WHERE name = ? LIMIT 1", (name,)))

    def known_files(self, paths: Iterable[str]) -> tuple[tuple[str, str], ...]:
        """Which of the paths earlier attempts of this job published, with their sha256."""
        query = "SELECT path, sha256 FROM stale WHERE path = ?"
        return tuple((p, s) for path in paths for p, s in self._all(query, (path,)))

    def known_files_below(self, prefixes: Iterable[str]) -> tuple[tuple[str, str], ...]:
        """As ``known_files``, of all paths that begin with one of the prefixes."""
        query = "SELECT path, sha256 FROM stale WHERE path >= ? AND path < ?"
        ends = ((prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1)) for prefix in prefixes)
        return tuple((path, sha256) for bounds in ends for path, sha256 in self._all(query, bounds))

    def note_outside_files(self) -> None:
        """Look up which files outside the output are this job's; what ``is_outside_file`` then answers from."""
        with self.transaction() as db:
            db.execute("CREATE TEMP TABLE IF NOT EXISTS outside (path BLOB PRIMARY KEY) WITHOUT ROWID")
            db.execute("DELETE FROM temp.outside")
            db.execute("INSERT OR IGNORE INTO outside SELECT CAST(path AS BLOB) FROM stale WHERE path LIKE '../%'")
            db.execute(
                "INSERT OR IGNORE INTO outside SELECT CAST(json_extract(value, '$[1]') AS BLOB)"
                " FROM work, json_each(outputs) WHERE json_extract(value, '$[1]') LIKE '../%'"
            )

    def is_outside_file(self, relative: bytes) -> bool:
        """Whether a file, by its path relative to the output, is one that this job published."""
        return bool(self._all("SELECT 1 FROM temp.outside WHERE path = ?", (relative,)))

    def take_stale(self) -> list[tuple[str, str]]:
        """All stale files that are no output now, as (relative path, sha256), and forget them."""
        with self.transaction() as db:
            found = db.execute("SELECT path, sha256 FROM stale").fetchall()
            db.execute("DELETE FROM stale")
        return found


def _create(path: Path) -> None:
    """Make an empty ledger in one step: whoever looks meanwhile finds none, or all of its tables."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".ledger-") as directory:
        new = Path(directory) / path.name
        with closing(sqlite3.connect(new)) as db:
            db.executescript(SCHEMA)
            db.execute(f"PRAGMA user_version = {FORMAT}")
        new.replace(path)


def _finish(db: sqlite3.Connection, row: ImageStatus) -> bool:
    """Make a row final; False when its input has a final row already."""
    changed = db.execute(
        "UPDATE inputs SET status = ?, reason = ?, message = ?, degraded = ?, width = ?, height = ?"
        " WHERE id = ? AND status IS NULL",
        (row.status, row.reason, row.message, row.degraded, row.width, row.height, row.id),
    ).rowcount
    if not changed:
        return False
    if row.status == "done":
        db.execute(
            "INSERT OR REPLACE INTO work VALUES (?, ?, ?, ?, ?)",
            (row.id, row.recipe, row.part, row.row, _outputs_to_json(row.outputs)),
        )
        db.executemany("DELETE FROM stale WHERE path = ?", [(output.path,) for output in row.outputs])
    else:
        drop_work(db, [row.id])
    return True


def drop_work(db: sqlite3.Connection, numbers: Iterable[int]) -> None:
    """Forget all products of inputs; their files become stale. Part of the caller's transaction."""
    for number in numbers:
        for (outputs,) in db.execute("SELECT outputs FROM work WHERE input = ?", (number,)).fetchall():
            make_stale(db, outputs_from_json(outputs))
        db.execute("DELETE FROM work WHERE input = ?", (number,))


def make_stale(db: sqlite3.Connection, outputs: Iterable[Output]) -> None:
    """Note that no product refers to the files any more. Part of the caller's transaction."""
    db.executemany("INSERT OR IGNORE INTO stale VALUES (?, ?)", [(o.path, o.sha256) for o in outputs])


def outputs_from_json(text: str) -> tuple[Output, ...]:
    """The files of one row of ``work``."""
    return _merged_outputs([json.loads(text)])


def _merged_outputs(groups: Sequence[Sequence[Sequence[Any]]]) -> tuple[Output, ...]:
    found = {
        path: Output(product=product, path=path, sha256=sha256, bytes=size)
        for group in groups
        for product, path, sha256, size in group
    }
    return tuple(found[path] for path in sorted(found))


def _outputs_to_json(outputs: Iterable[Output]) -> str:
    return json.dumps([[output.product, output.path, output.sha256, output.bytes] for output in outputs])
