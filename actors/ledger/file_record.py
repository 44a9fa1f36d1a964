"""The record of a job's files: every file that the job wrote below its output, and holds to be its own.

A table of the job's ledger. ``storage.custody`` decides by it what may be removed or replaced, discovery what is no
input, and ``rayjobs verify`` what is to be there. A file is *current* when a product of an input, or a result of the
run (manifest, tables, report), is that file; else it is *kept*: no run removes it, only ``rayjobs prune``. One that
somebody changed is *theirs*: it is remembered only so that it doesn't become an input.
"""

from __future__ import annotations

import json
import re
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from typing import Any

from pipelines.models import Output
from pipelines.storage.custody import Written

FIXED = "fixed"
"""Product of the files that belong to the job as a whole: manifest, job.json, tables, report."""
TASK = "task"
"""Product of the files that the job's own tasks wrote."""

_FIXED_NAME = re.compile(
    r"(partial/)?(manifest\.parquet|data/[^/]+\.(parquet|csv|json|xlsx)"
    r"|data/(scopes/)?[^/]+\.parquet(/part-\d+\.parquet)?)|job\.json"
    r"|report/(index|page-\d+)\.html|report/report\.(css|js)|report/data/(job|(block|rows|column-\d+)-\d+)\.js"
    r"|report/thumbnails/[0-9a-f]{8,64}(-before)?(-stretched)?\.jpg"
)

CURRENT, KEPT, THEIRS = 1, 0, -1
"""How a file of the record stands: values of the column ``current``."""
OUTPUTS_OF_INPUT = (
    "SELECT json_group_array(json_array(product, path, sha256, bytes)) FROM files"
    " WHERE input = inputs.id AND current = 1"
)
_KEPT_FILES = (
    "FROM files LEFT JOIN inputs ON inputs.id = input WHERE current = 0"
    " OR (current = 1 AND input IS NOT NULL AND (seq IS NULL OR status IN ('failed', 'skipped')))"
)
_PAGE = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedFile(Written):
    """A file of the record, and what it is."""

    product: str
    input: int | None
    theirs: bool = False
    """Somebody has changed it since."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptFile:
    """A file that the job doesn't want any more, and why."""

    file: RecordedFile
    is_product: bool
    """Whether it is what its input would have again if it were wanted."""
    cause: str
    """``gone``, ``excluded``, ``skipped``, ``failed``: its input; ``unwanted``: the job doesn't ask for such files
    now; ``superseded``: there is another one, of another name or format."""


@dataclass(frozen=True, slots=True)
class FileRecord:
    """The table ``files`` of a ledger; see ``JobLedger`` for who may write."""

    _transaction: Callable[[], AbstractContextManager[sqlite3.Connection]]
    _all: Callable[..., list[Any]]

    # ---- asking --------------------------------------------------------------------------------------------------

    def is_empty(self) -> bool:
        return not self._all("SELECT 1 FROM files LIMIT 1")

    def find(self, path: str) -> RecordedFile | None:
        """The entry of a path, relative to the output."""
        rows = self._all(f"{_SELECT} WHERE path = ?", (path,))
        return _recorded(rows[0]) if rows else None

    def find_all(self, paths: Iterable[str]) -> Iterator[RecordedFile]:
        """The entries of those of the paths that have one."""
        stream = iter(paths)
        while some := list(islice(stream, _PAGE)):
            yield from map(_recorded, self._all(f"{_SELECT} WHERE path IN ({','.join('?' * len(some))})", some))

    def known(self, paths: Iterable[str]) -> tuple[tuple[str, str], ...]:
        """Which of the paths the job wrote, with the sha256 of what it wrote: its own while they are so."""
        return tuple((file.path, file.sha256) for file in self.find_all(paths))

    def known_below(self, prefixes: Iterable[str]) -> tuple[tuple[str, str], ...]:
        """As ``known``, of all paths that begin with one of the prefixes."""
        ends = ((prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1)) for prefix in prefixes)
        query = "SELECT path, sha256 FROM files WHERE path >= ? AND path < ?"
        return tuple((path, sha256) for bounds in ends for path, sha256 in self._all(query, bounds))

    def written_by(self, product: str) -> list[tuple[str, str]]:
        """(path, sha256) of all files of a product."""
        return [
            (path, sha256) for path, sha256 in self._all("SELECT path, sha256 FROM files WHERE product = ?", (product,))
        ]

    def current(self, *, only: Callable[[str, int, int | None], bool] | None = None) -> Iterator[RecordedFile]:
        """Files that are to be there as they were written, of inputs that have left the list as well.

        ``only``: those for whose (path, bytes, time) it is true. Read in pages, so memory stays flat.
        """
        last = ""
        while page := self._all(f"{_SELECT} WHERE current = 1 AND path > ? ORDER BY path LIMIT {_PAGE}", (last,)):
            last = page[-1][0]
            yield from (_recorded(row) for row in page if only is None or only(row[0], row[2], row[3]))

    def outside(self) -> Iterator[str]:
        """Paths of files that lie outside the output, beside their sources."""
        for (path,) in self._all("SELECT path FROM files WHERE path >= '../' AND path < '..0'"):
            yield path

    def content(self, path: str) -> bytes | None:
        """What a small fixed file held when it was written, where that is kept."""
        rows = self._all("SELECT content FROM files WHERE path = ? AND content IS NOT NULL", (path,))
        return zlib.decompress(rows[0][0]) if rows else None

    def kept(self, wanted: Iterable[str]) -> Iterator[KeptFile]:
        """Files that the job doesn't want any more; ``wanted`` are its products now."""
        names = set(wanted)
        columns_of_file = "files.path, sha256, bytes, files.mtime_ns, product, input, current, ctime_ns"
        query = f"SELECT {columns_of_file}, seq, status, reason {_KEPT_FILES} ORDER BY files.path"
        for *columns, seq, status, reason in self._all(query):
            found, current = _recorded(columns), columns[-2]
            if found.input is None:
                cause = "unwanted"
            elif seq is None:
                cause = "gone"
            elif status in ("failed", "skipped"):
                cause = "excluded" if reason == "excluded" else status
            else:
                cause = "superseded" if not current and found.product in names else "unwanted"
            yield KeptFile(file=found, is_product=current == CURRENT, cause=cause)

    # ---- noting --------------------------------------------------------------------------------------------------

    def put_job_files(
        self, outputs: Iterable[Output], contents: Sequence[bytes | None] = (), ctimes_ns: Sequence[int] = ()
    ) -> None:
        """Note files of the job as a whole; ``contents`` of small ones that can't be made again as they were."""
        listed = list(outputs)
        texts = [*contents, *[None] * (len(listed) - len(contents))]
        ctimes = [*ctimes_ns, *[None] * (len(listed) - len(ctimes_ns))]
        with self._transaction() as db:
            db.executemany(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, NULL, ?, 1, ?, ?)",
                [
                    (
                        o.path,
                        o.sha256,
                        o.bytes,
                        o.mtime_ns,
                        o.product,
                        None if text is None else zlib.compress(text),
                        ctime,
                    )
                    for o, text, ctime in zip(listed, texts, ctimes, strict=True)
                ],
            )

    def keep_others(self, product: str, wanted: Iterable[str]) -> None:
        """The job's files of a product (``fixed``, ``task``) are these now: others are kept as no longer wanted."""
        with self._transaction() as db:
            db.execute("UPDATE files SET current = 0 WHERE current = 1 AND product = ?", (product,))
            query = "UPDATE files SET current = 1 WHERE current = 0 AND product = ? AND path = ?"
            db.executemany(query, [(product, path) for path in wanted])

    def adopt(self, found: Written, *, product: str, input: int | None) -> None:
        """Note a file that an attempt published which could not report any more."""
        with self._transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, 0, NULL, NULL)",
                (found.path, found.sha256, found.bytes, found.mtime_ns, input, product),
            )

    def touched(self, times: Iterable[tuple[str, int]]) -> None:
        """Files bear other times (path, time) while their contents are as they were written."""
        with self._transaction() as db:
            db.executemany("UPDATE files SET mtime_ns = ? WHERE path = ?", [(time, path) for path, time in times])

    def lost(self, path: str, *, theirs: bool) -> None:
        """A file is gone, and kept in mind in case it comes back; or somebody changed it, and it is theirs."""
        with self._transaction() as db:
            db.execute("UPDATE files SET current = ? WHERE path = ?", (THEIRS if theirs else KEPT, path))

    def forget(self, paths: Iterable[str]) -> None:
        """Files that are gone."""
        with self._transaction() as db:
            db.executemany("DELETE FROM files WHERE path = ?", [(path,) for path in paths])


def is_fixed_name(path: str) -> bool:
    """Whether a path, relative to an output, is one of those that manifest, tables and report have.

    For outputs whose record doesn't list them: of an older format, or with nothing but a manifest left.
    """
    return _FIXED_NAME.fullmatch(path) is not None


_SELECT = "SELECT path, sha256, bytes, mtime_ns, product, input, current, ctime_ns FROM files"


def record_outputs(db: sqlite3.Connection, outputs: Iterable[tuple[int, Output]]) -> None:
    """Note the files of products, given as (input, file). Part of the caller's transaction."""
    db.executemany(
        "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, 1, NULL, NULL)",
        [(o.path, o.sha256, o.bytes, o.mtime_ns, number, o.product) for number, o in outputs],
    )


def outputs_from_json(text: str) -> tuple[Output, ...]:
    """What ``OUTPUTS_OF_INPUT`` gives, sorted by path."""
    found = (Output(product=p, path=path, sha256=sha256, bytes=size) for p, path, sha256, size in json.loads(text))
    return tuple(sorted(found, key=lambda output: output.path))


def _recorded(row: Sequence[Any]) -> RecordedFile:
    path, sha256, size, mtime_ns, product, number, current, ctime_ns = row
    return RecordedFile(
        path=path,
        sha256=sha256,
        bytes=size,
        mtime_ns=mtime_ns,
        product=product,
        input=number,
        theirs=current == THEIRS,
        ctime_ns=ctime_ns,
    )
