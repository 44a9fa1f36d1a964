"""The format of a job's ledger: its tables, making an empty one, and taking over those of older formats.

An older ledger is upgraded in one step, in a copy that takes its place; the old one stays beside it. Readers, who may
not write, upgrade a copy of their own.
"""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from pipelines.errors import JobError
from pipelines.storage.local_files import replace_own

FORMAT = 4
"""Of the ledger and the parts that it refers to; stands in the file (``user_version``)."""
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
OLDEST = 2
"""That is still taken over."""
SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE inputs (
    id        INTEGER PRIMARY KEY,
    path      BLOB NOT NULL UNIQUE,   -- exact bytes of the absolute path
    size      INTEGER NOT NULL,
    mtime_ns  INTEGER NOT NULL,
    seq       INTEGER,                -- place in the sealed list, sorted by path; NULL: not in the list any more
    name      TEXT,                   -- where its outputs go; given once; NULL for an input that the plan skipped
    number    INTEGER,                -- what {index} in a name says; given once
    status    TEXT,                   -- NULL until final: done, failed, skipped
    reason    TEXT, message TEXT, degraded TEXT, width INTEGER, height INTEGER,
    by_plan   INTEGER NOT NULL DEFAULT 0, -- whether the plan itself gave the status
    cells     TEXT,                   -- cells of its columns, as JSON: {"plate": 3, ...}; NULL: it has none
    decided   TEXT NOT NULL DEFAULT ''  -- what they decide of its pixels; see input_plan
);
CREATE INDEX inputs_by_seq ON inputs (seq);
CREATE INDEX inputs_by_name ON inputs (name);
CREATE INDEX inputs_open ON inputs (seq) WHERE status IS NULL;
CREATE TABLE recipes (  -- sets of products, as JSON: {"image": digest, "analysis:...": digest, ...}
    id INTEGER PRIMARY KEY, products TEXT NOT NULL UNIQUE
);
CREATE TABLE work (     -- products that an input has, and where its analysis results lie
    input INTEGER NOT NULL, recipe INTEGER NOT NULL, part TEXT, row INTEGER,
    PRIMARY KEY (input, recipe)
) WITHOUT ROWID;
CREATE TABLE files (    -- what the job wrote below its output; see file_record
    path     TEXT PRIMARY KEY,        -- relative to the output; begins with ../ beside a source
    sha256   TEXT NOT NULL,
    bytes    INTEGER NOT NULL,
    mtime_ns INTEGER,                 -- NULL: unknown, the content has to be compared
    input    INTEGER,                 -- NULL: of the job as a whole
    product  TEXT NOT NULL,           -- image, chart:..., fixed
    current  INTEGER NOT NULL,        -- 1: a product is this file; 0: kept; -1: somebody changed it, so it is theirs
    content  BLOB,                    -- of small fixed files: zlib
    ctime_ns INTEGER                  -- of fixed files
) WITHOUT ROWID;
CREATE INDEX files_by_input ON files (input);
CREATE TABLE attempts ( -- append-only
    input INTEGER NOT NULL, epoch INTEGER NOT NULL, finished REAL NOT NULL, seconds REAL NOT NULL,
    outcome TEXT NOT NULL, reason TEXT, message TEXT, worker TEXT NOT NULL
);
CREATE INDEX attempts_by_input ON attempts (input);
"""

_FROM_2 = """
INSERT INTO meta SELECT * FROM old.meta WHERE key <> 'beside';
INSERT INTO inputs SELECT id, path, size, mtime_ns, seq, name, CASE WHEN name IS NULL THEN NULL ELSE seq END,
    status, reason, message, degraded, width, height, name IS NULL AND status IS NOT NULL, NULL, '' FROM old.inputs;
INSERT INTO recipes SELECT * FROM old.recipes;
INSERT INTO work SELECT input, recipe, part, row FROM old.work;
INSERT OR IGNORE INTO files
    SELECT CASE WHEN value ->> 1 LIKE './%' THEN substr(value ->> 1, 3) ELSE value ->> 1 END, value ->> 2, value ->> 3,
        NULL, work.input, value ->> 0, 1, NULL, NULL
    FROM old.work AS work, json_each(work.outputs);
INSERT OR IGNORE INTO files SELECT path, sha256, -1, NULL, NULL, 'image', 0, NULL, NULL FROM old.stale;
INSERT INTO attempts SELECT * FROM old.attempts;
"""
_FROM_3 = """
INSERT INTO meta SELECT * FROM old.meta;
INSERT INTO inputs SELECT id, path, size, mtime_ns, seq, name, number, status, reason, message, degraded, width, height,
    by_plan, NULL, '' FROM old.inputs;
INSERT INTO recipes SELECT * FROM old.recipes;
INSERT INTO work SELECT * FROM old.work;
INSERT INTO files SELECT * FROM old.files;
INSERT INTO attempts SELECT * FROM old.attempts;
"""
_FROM = {2: _FROM_2, 3: _FROM_3}


def create(path: Path) -> None:
    """Make an empty ledger in one step: whoever looks meanwhile finds none, or all of its tables."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".ledger-") as directory:
        new = Path(directory) / path.name
        with closing(sqlite3.connect(new)) as db:
            _make_tables(db)
        replace_own(new, path)


def open_to_read(path: Path) -> sqlite3.Connection:
    """A connection that writes nothing, for a short look: beside a ledger that nobody has open not even what WAL needs.

    Whoever begins to write meanwhile isn't noticed; who reads for longer takes a copy.
    """
    idle = not path.with_name(f"{path.name}-wal").exists()
    uri = f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if idle else ''}"
    return sqlite3.connect(uri, uri=True, timeout=30, check_same_thread=False)


def format_of(path: Path) -> int:
    """The format of a ledger.

    Raises
    ------
    JobError
        It is damaged, or of a format that this version doesn't know.
    """
    try:
        with closing(open_to_read(path)) as db:
            (found,) = db.execute("PRAGMA user_version").fetchone()
            db.execute("SELECT count(*) FROM meta").fetchone()
    except sqlite3.DatabaseError as error:
        raise (damaged if error.sqlite_errorcode in DAMAGED else unreadable)(path, error) from error
    if not OLDEST <= found <= FORMAT:
        raise JobError(
            f"{path.parent.parent}: made by another version of Rayjobs (format {found}; this one knows {OLDEST} to "
            f"{FORMAT}); use that version, or choose another output"
        )
    return int(found)


def check_whole(path: Path) -> None:
    """Look through a whole ledger.

    Raises
    ------
    JobError
        It is damaged, or of a format that this version doesn't know.
    """
    format_of(path)
    try:
        with closing(open_to_read(path)) as db:
            (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        raise (damaged if error.sqlite_errorcode in DAMAGED else unreadable)(path, error) from error
    if found != "ok":
        raise damaged(path, ValueError(found))


def damaged(path: Path, error: Exception) -> JobError:
    """What to say of a ledger that can't be read, and the remedy."""
    output = path.parent.parent
    return JobError(f"{output}: the job's ledger is damaged ({error}); `rayjobs rebuild {output}` makes it anew")


def unreadable(path: Path, error: Exception) -> JobError:
    """What to say of a ledger that can't be read now: locked for long, or not allowed."""
    return JobError(f"{path}: can't be read ({error}); look who holds it or owns it, and try again")


def upgrade_in_place(path: Path) -> None:
    """Give a ledger of an older format the present one; the old one is kept beside it."""
    found = format_of(path)
    if found == FORMAT:
        return
    kept = path.with_name(f"ledger-format-{found}.sqlite")
    with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as db:
        # A log that stayed beside the new file would be taken for its own.
        (busy, _, _) = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise JobError(f"{path}: somebody is reading it, so it can't be upgraded now; try again")
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".ledger-") as directory:
        new = upgraded_copy(path, Path(directory))
        if not kept.exists():
            copy_ledger(path, Path(directory) / kept.name)
            replace_own(Path(directory) / kept.name, kept)
        replace_own(new, path)


def upgraded_copy(path: Path, directory: Path) -> Path:
    """A copy of a ledger in ``directory``, in the present format."""
    found, old, new = format_of(path), directory / "old.sqlite", directory / path.name
    copy_ledger(path, old)
    with closing(sqlite3.connect(new)) as db:
        _make_tables(db)
        db.execute("ATTACH ? AS old", (str(old),))
        db.executescript(f"BEGIN; {_FROM[found]} COMMIT;")
    return new


def _make_tables(db: sqlite3.Connection) -> None:
    db.executescript(SCHEMA)
    db.execute(f"PRAGMA user_version = {FORMAT}")


def copy_ledger(path: Path, target: Path) -> None:
    """Copy a ledger, with what the last writer had not yet moved from its log into the file."""
    with closing(sqlite3.connect(target)) as copy:
        try:
            with closing(open_to_read(path)) as source:
                source.backup(copy)
        except sqlite3.DatabaseError as error:
            raise (damaged if error.sqlite_errorcode in DAMAGED else unreadable)(path, error) from error
