"""Sealing a job's inputs: the list is staged as it streams in, named, and put into the ledger in one transaction.

Inputs that are as they were (same path, size and time) keep what the ledger knows of them, changed ones are open again;
so is one whose columns decide other pixels than they did. A cell that decides none only changes what tables say.
One that left the list stays known with all that was made of it, and is taken back when it returns as it was. Names are
given once: a new input never takes the name that another has, nor one whose place a file has that isn't its own.
Nothing here holds the list in memory.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from actors.ledger.job_ledger import JobLedger
from actors.ledger.staged_inputs import FoundInput, stage
from actors.ledger.work_record import drop_work, keep_products
from pipelines.column_models import Cell
from pipelines.errors import JobError

_BATCH = 5_000
_SHOWN = 5
_FURTHER = re.compile(r"\d{4,}\.\w+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An input and the name that its outputs may get."""

    path: bytes
    name: str
    id: int | None
    """Of an input that the ledger knows already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """How outputs are named; see ``pipelines.stages.output_names``."""

    name: Callable[[bytes, bytes, int, Mapping[str, Cell]], str]
    """(path, relative path, number, cells) -> name below ``images/``, without the suffix of the format."""
    key: Callable[[str], str]
    """Names with the same key would be one file on some file system."""
    renamed: Callable[[str, int], str]
    """(name, n) -> the n-th other name (n >= 2) for an input whose name is taken."""
    kept: bool = True
    """Whether names that were given before still hold: the job names its outputs as it did."""
    of_content: bool = False
    """Whether a name says what is in the file, so that a changed file gets another."""
    of_columns: Sequence[str] = ()
    """Columns whose cells a name says, so that a changed cell gives another."""
    numbered: bool = False
    """Whether names contain the input's number."""
    taken: Callable[[Place], str | None] | None = None
    """The file that isn't ours, or another input's, in the place of one of the outputs; None when there is none."""
    place: Callable[[bytes], str] | None = None
    """Path of an input -> what tells whether it is the same file as an output: see ``outputs``."""
    outputs: Callable[[Place], list[str]] | None = None
    """What ``place`` would say of each file that an input's image may become."""
    further_outputs: Callable[[Place], list[str]] | None = None
    """How the same begins for the further images of a file that holds several; a number and a suffix follow."""
    collisions: str = "rename"
    """``rename``, or ``error``: refuse the plan."""
    gives_way: bool = True
    """Whether an input whose output would be an input gets another name; else the plan is refused."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """What sealing changed."""

    total: int
    added: int = 0
    changed: int = 0
    removed: int = 0
    returned: int = 0
    renamed: int = 0
    relabelled: int = 0
    """Inputs of whose columns some cell is another."""

    @property
    def is_new(self) -> bool:
        """Whether the list, or a file or cell in it, isn't as it was."""
        return bool(self.added or self.changed or self.removed or self.returned or self.relabelled)


@dataclass(slots=True)
class _Some:
    """How many there are, and the first of them."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, text: str) -> None:
        self.count += 1
        if len(self.first) < _SHOWN:
            self.first.append(text)

    def __str__(self) -> str:
        return ", ".join(self.first) + (" ..." if self.count > len(self.first) else "")


@dataclass(slots=True)
class _Sealing:
    """One transaction of ``seal_inputs``."""

    db: sqlite3.Connection
    naming: Naming
    renamed: int = 0
    tried: dict[str, int] = field(default_factory=dict)
    """Name -> number of the last one that was given in its place."""

    def withdraw(self, paths: Iterable[bytes]) -> None:
        self.db.executemany("DELETE FROM staging WHERE path = ?", [(path,) for path in paths])

    def number(self) -> None:
        """Places in the list, in order of the paths; numbers for new inputs, in the user's order, after the last."""
        self.db.execute("UPDATE staging SET id = i.id, number = i.number FROM inputs i WHERE i.path = staging.path")
        self.db.execute(
            "UPDATE staging SET seq = n.seq FROM (SELECT path, row_number() OVER (ORDER BY path) - 1 AS seq"
            " FROM staging) n WHERE n.path = staging.path"
        )
        if self.naming.numbered:
            (last,) = self.db.execute("SELECT coalesce(max(number), -1) FROM inputs").fetchone()
            self.db.execute(
                "UPDATE staging SET number = ? + n.place FROM (SELECT path, row_number() OVER (ORDER BY ordering, path)"
                " AS place FROM staging WHERE number IS NULL AND status IS NOT 'skipped') n"
                " WHERE n.path = staging.path",
                (last,),
            )

    def name(self) -> None:
        """Names that were given stay; the others follow the job's pattern."""
        if self.naming.kept:
            same = " AND i.size = staging.size AND i.mtime_ns = staging.mtime_ns" if self.naming.of_content else ""
            for column in self.naming.of_columns:
                same += f""" AND json_extract(i.cells, '$."{column}"') IS json_extract(staging.cells, '$."{column}"')"""
            self.db.execute(
                "UPDATE staging SET name = i.name, given = 1 FROM inputs i WHERE i.id = staging.id"
                f" AND staging.status IS NULL AND i.name IS NOT NULL{same}"
            )
        last = b""
        while batch := self.db.execute(
            "SELECT path, relative, coalesce(number, seq), cells, name FROM staging WHERE status IS NULL AND path > ?"
            " ORDER BY path LIMIT ?",
            (last, _BATCH),
        ).fetchall():
            last = batch[-1][0]
            names = [(self._plain_name(*rest) if name is None else name, rest[0]) for *rest, name in batch]
            self.db.executemany(
                "UPDATE staging SET name = ?, key = ? WHERE path = ?",
                [(name, self.naming.key(name), path) for name, path in names],
            )

    def _plain_name(self, path: bytes, relative: bytes, number: int, cells: str | None) -> str:
        return self.naming.name(path, relative, number, json.loads(cells) if cells else {})

    def resolve(self) -> None:
        """Give every input a name of its own, in the place of whose outputs nothing lies that isn't its own."""
        self.db.execute("CREATE INDEX temp.staging_key ON staging (key)")
        self.db.execute(
            "CREATE TEMP TABLE clashing AS SELECT path FROM (SELECT path, key, row_number() OVER (PARTITION BY key"
            " ORDER BY given DESC, (SELECT seq FROM inputs WHERE inputs.id = staging.id) IS NULL, path) AS place"
            " FROM staging WHERE key IS NOT NULL) WHERE place > 1 ORDER BY key, place"
        )
        if self.naming.collisions == "error":
            self._refuse_clashes()
        last = 0
        query = "SELECT rowid, path FROM temp.clashing WHERE rowid > ? ORDER BY rowid LIMIT ?"
        while page := self.db.execute(query, (last, _BATCH)).fetchall():
            last = page[-1][0]
            for _, path in page:
                self._rename(path)
        self.db.execute("DROP TABLE temp.clashing")
        self._give_way()

    def _refuse_clashes(self) -> None:
        of = "FROM staging WHERE key IN (SELECT key FROM staging JOIN temp.clashing USING (path))"
        (count,) = self.db.execute(f"SELECT count(*) {of}").fetchone()
        if count:
            shown = self.db.execute(f"SELECT DISTINCT name {of} ORDER BY name LIMIT ?", (_SHOWN,))
            names = ", ".join(name for (name,) in shown)
            raise JobError(
                f"export.images.on_conflict is 'error', and {count} inputs would share output names: {names}; "
                "use layout: mirror, a name pattern with {index}, or on_conflict: rename"
            )

    def _give_way(self) -> None:
        """Inputs that are done as they are have been compared already; all others look at their places."""
        on_inputs, in_the_way = _Some(), _Some()
        for path, name, number in self._to_look_at():
            at = Place(path=path, name=name, id=number)
            is_input, taken = self._is_input(at), self.naming.taken and self.naming.taken(at)
            if is_input and not self.naming.gives_way:
                on_inputs.add(name)
            elif taken and self.naming.collisions == "error":
                in_the_way.add(taken)
            elif is_input or taken:
                self._rename(path)
        if on_inputs.count:
            raise JobError(
                f"the image of {on_inputs.count:,} inputs would take the place of an input: {on_inputs}; "
                "choose another output, name or layout"
            )
        if in_the_way.count:
            raise JobError(
                "export.images.on_conflict is 'error', and files that aren't this job's, or were changed since, are in "
                f"the way: {in_the_way}; move them away, or use on_conflict: rename"
            )

    def _to_look_at(self) -> Iterator[tuple[bytes, str, int | None]]:
        last = b""
        while page := self.db.execute(
            "SELECT s.path, s.name, s.id FROM staging s LEFT JOIN inputs i ON i.id = s.id WHERE s.name IS NOT NULL"
            " AND NOT (i.status IS 'done' AND i.name = s.name AND i.size = s.size AND i.mtime_ns = s.mtime_ns)"
            " AND s.path > ? ORDER BY s.path LIMIT ?",
            (last, _BATCH),
        ).fetchall():
            last = page[-1][0]
            yield from page

    def _is_input(self, at: Place) -> bool:
        if self.naming.outputs is None:
            return False
        query = "SELECT 1 FROM staging WHERE place = ?"
        if any(self.db.execute(query, (place,)).fetchone() for place in self.naming.outputs(at)):
            return True
        for start in self.naming.further_outputs(at) if self.naming.further_outputs else ():
            end = start[:-1] + chr(ord(start[-1]) + 1)
            found = self.db.execute("SELECT place FROM staging WHERE place > ? AND place < ?", (start, end))
            if any(_FURTHER.fullmatch(place, len(start)) for (place,) in found):
                return True
        return False

    def _rename(self, path: bytes) -> None:
        """Give an input the first free name after the one that it would have alone."""
        *rest, known = self.db.execute(
            "SELECT path, relative, coalesce(number, seq), cells, id FROM staging WHERE path = ?", (path,)
        ).fetchone()
        plain = self._plain_name(*rest)
        for n in count(self.tried.get(plain, 1)):  # what wasn't free a moment ago isn't now
            other = plain if n == 1 else self.naming.renamed(plain, n)
            key, at = self.naming.key(other), Place(path=path, name=other, id=known)
            free = not self.db.execute("SELECT 1 FROM staging WHERE key = ?", (key,)).fetchone()
            if free and not self._is_input(at) and not (self.naming.taken and self.naming.taken(at)):
                self.db.execute("UPDATE staging SET name = ?, key = ? WHERE path = ?", (other, key, path))
                self.renamed += 1
                self.tried[plain] = n
                return

    def merge(self) -> Sealed:
        db = self.db
        gone = db.execute(
            "UPDATE inputs SET seq = NULL WHERE seq IS NOT NULL AND path NOT IN (SELECT path FROM staging)"
        ).rowcount
        (returned,) = db.execute(
            "SELECT count(*) FROM staging s JOIN inputs i ON i.id = s.id WHERE i.seq IS NULL"
        ).fetchone()
        relabelled = db.execute(
            "UPDATE inputs SET cells = s.cells FROM staging s WHERE s.id = inputs.id AND s.cells IS NOT inputs.cells"
        ).rowcount
        changed = self._leave_out() + self._change() + self._give_names() + self._take_back()
        db.execute(
            "UPDATE inputs SET seq = s.seq, number = s.number FROM staging s WHERE s.id = inputs.id"
            " AND (s.seq IS NOT inputs.seq OR s.number IS NOT inputs.number)"
        )
        added = db.execute(
            "INSERT INTO inputs (path, size, mtime_ns, seq, name, number, status, reason, message, by_plan, cells,"
            " decided) SELECT path, size, mtime_ns, seq, name, number, status, reason, message, status IS NOT NULL,"
            " cells, decided"
            " FROM staging WHERE id IS NULL ORDER BY path"
        ).rowcount
        (total,) = db.execute("SELECT count(*) FROM inputs WHERE seq >= 0").fetchone()
        return Sealed(total, added, changed, gone, returned, self.renamed, relabelled)

    def _leave_out(self) -> int:
        """Inputs that the plan itself fails or skips; what was made of them is kept for when they are wanted again."""
        return self.db.execute(
            "UPDATE inputs SET status = s.status, reason = s.reason, message = s.message, by_plan = 1 FROM staging s"
            " WHERE s.id = inputs.id AND s.status IS NOT NULL"
            " AND (NOT by_plan OR s.status IS NOT inputs.status OR s.reason IS NOT inputs.reason)"
        ).rowcount

    def _change(self) -> int:
        """Files that aren't as they were, or whose columns decide something else: what was made is out of date."""
        changed = self.db.execute(
            "SELECT s.size, s.mtime_ns, s.decided, inputs.id FROM inputs JOIN staging s ON s.id = inputs.id WHERE"
            " s.status IS NULL AND (s.size, s.mtime_ns, s.decided) <> (inputs.size, inputs.mtime_ns, inputs.decided)"
        ).fetchall()
        drop_work(self.db, [number for *_, number in changed])
        self.db.executemany(
            "UPDATE inputs SET size = ?, mtime_ns = ?, decided = ?, status = NULL, reason = NULL, message = NULL,"
            " degraded = NULL, width = NULL, height = NULL, by_plan = 0 WHERE id = ?",
            changed,
        )
        return len(changed)

    def _give_names(self) -> int:
        """Inputs whose outputs have another name now: their files are made anew, their numbers stay."""
        others = self.db.execute(
            "SELECT inputs.id, s.name FROM inputs JOIN staging s ON s.id = inputs.id"
            " WHERE s.status IS NULL AND s.name IS NOT inputs.name"
        ).fetchall()
        for number, name in others:
            self.db.execute("UPDATE files SET current = 0 WHERE current = 1 AND input = ?", (number,))
            for (recipe,) in self.db.execute("SELECT recipe FROM work WHERE input = ?", (number,)).fetchall():
                keep_products(self.db, number, recipe, lambda product: product.startswith("analysis:"))
            self.db.execute(
                "UPDATE inputs SET name = ?, status = NULL, reason = NULL, message = NULL, by_plan = 0 WHERE id = ?",
                (name, number),
            )
        return len(others)

    def _take_back(self) -> int:
        """Inputs that the plan had left out and doesn't now: open, until it is seen that they have everything."""
        return self.db.execute(
            "UPDATE inputs SET status = NULL, reason = NULL, message = NULL, by_plan = 0 FROM staging s"
            " WHERE s.id = inputs.id AND s.status IS NULL AND by_plan"
        ).rowcount


def seal_inputs(
    ledger: JobLedger,
    inputs: Iterable[FoundInput],
    naming: Naming,
    *,
    withdrawn: Callable[[], Iterable[bytes]] = tuple,
    twice: Callable[[FoundInput, str], None] = lambda found, first: None,
    check: Callable[[int], None] = lambda total: None,
) -> Sealed:
    """Make ``inputs`` the job's list, sorted by path.

    Parameters
    ----------
    withdrawn
        Asked when all have been seen: paths that turned out to be none. May refuse all of them instead.
    twice
        Told of an input that a row of a table names, and of the row that named it before.
    check
        Given the number of inputs before anything is final; may refuse. What it writes is part of the same transaction.

    Raises
    ------
    JobError
        When an output would take the place of an input, or names clash and ``naming.collisions`` is ``error``; the
        ledger is as it was then.
    """
    with ledger.transaction() as db:
        sealing = _Sealing(db, naming)
        stage(db, inputs, naming.place or (lambda path: ""), twice)
        sealing.withdraw(withdrawn())
        sealing.number()
        sealing.name()
        sealing.resolve()
        sealed = sealing.merge()
        check(sealed.total)
        db.execute("DROP TABLE temp.staging")
    return sealed
