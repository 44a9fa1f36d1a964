"""Inputs from a table: a path and cells for each row, with every mistake by its row.

A path is relative to the table's ``base``, or absolute, and lies below it. What is in the file is ``table_files``; what
becomes of a path that leads nowhere is as for any list: an input that fails.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.column_models import COLUMN_TYPES, WRONG, Cell, ColumnType, InputColumn
from pipelines.errors import JobError
from pipelines.tables.cell_types import as_cell
from rayjobs.inputs.row_mistakes import RowMistakes
from rayjobs.inputs.table_files import COMMAS, MAX_ROWS, TableFile, open_table
from rayjobs.job.input_spec import InputTable
from rayjobs.job.path_spelling import encoded, expanded

MAX_PATH_BYTES = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRow:
    """One row that names an input."""

    where: str
    """For messages: ``plates.csv row 3``."""
    place: int
    path: bytes
    """Absolute."""
    relative: bytes
    """Below the base."""
    cells: Mapping[str, Cell]


@dataclass(slots=True)
class InputTableReader:
    """Reads one table of a job."""

    said: InputTable
    base: Path
    """What the job's paths are relative to."""
    used: Collection[str]
    """Columns that operations or names use; read where the table has them."""
    mistakes: RowMistakes
    called: str = ""
    """For messages, where several tables of the job have one name: which of them it is, and a space."""
    file: TableFile = field(init=False)
    columns: tuple[InputColumn, ...] = field(init=False)
    _root: bytes = field(init=False)

    def __post_init__(self) -> None:
        self.file = open_table(self.base / expanded(self.said.table, what="inputs.table", base=self.base))
        if self.said.base is None:
            root = self.file.path.parent
        else:
            root = self.base / expanded(self.said.base, what="inputs.base", base=self.base)
        self._root = os.path.abspath(os.fsencode(root))
        self.columns = tuple(self._columns())

    def _columns(self) -> Iterator[InputColumn]:
        there = self.file.names
        wanted = [*self.said.columns, *(name for name in self.used if name in there and name not in self.said.columns)]
        missing = [name for name in (self.said.path, *wanted, *self.said.types) if name not in there]
        if missing:
            raise self.file.fault(f"has no column {', '.join(map(repr, missing))}; it has {_listed(there)}")
        types = self.file.types([name for name in wanted if name not in self.said.types])
        for name in wanted:
            kind = self.said.types.get(name) or types[name]
            if kind == COMMAS:
                said = f"write points, or say `types: {{{name}: text}}`"
                raise self.file.fault(f"column {name!r} has {kind}, such as 0,5: {said}")
            if kind not in COLUMN_TYPES:
                known = f"columns of inputs are {', '.join(COLUMN_TYPES)}; `types` may make it one of them"
                raise self.file.fault(f"column {name!r} is {kind}; {known}")
            yield InputColumn(name, kind)

    def rows(self) -> Iterator[TableRow]:
        """Every row that names an input; the mistakes of the others are noted."""
        names = [self.said.path, *(column.name for column in self.columns)]
        number = 0
        for number, values in self.file.rows(names):
            if number > MAX_ROWS:
                raise self.file.fault(f"has more than {MAX_ROWS:,} rows; split it")
            where = f"{self.called}{self.file.path.name} row {number}"
            if isinstance(values, str):
                self.mistakes.add(where, values)
                continue
            cells = {c.name: self._cell(where, c, value) for c, value in zip(self.columns, values[1:], strict=True)}
            try:
                relative = self._relative(values[0])
            except (ValueError, JobError) as error:
                self.mistakes.add(where, f"{self.said.path}: {error}")
                continue
            full = os.path.join(self._root, relative)
            yield TableRow(where=where, place=number, path=full, relative=relative, cells=cells)
        if number == 0:
            raise self.file.fault("has no rows: correct it, or take it out")

    def _cell(self, where: str, column: InputColumn, value: Any) -> Cell:
        try:
            cell = as_cell(value, column.type)
        except ValueError as error:
            self.mistakes.add(where, f"{column.name}: {error}")
            return WRONG
        if cell is None and self.said.nulls == "refuse":
            self.mistakes.add(where, f"{column.name}: has no value; give one, or say `nulls: keep`")
            return WRONG
        return cell

    def _relative(self, value: Any) -> bytes:
        """Where a path leads, below the base."""
        if value is None or value in ("", b""):
            raise ValueError("has no value")
        if not isinstance(value, str | bytes):
            raise ValueError(f"{value!r} is no path")
        raw = encoded(value, what="path") if isinstance(value, str) else value
        if len(raw) > MAX_PATH_BYTES:
            raise ValueError(f"has {len(raw):,} bytes, and a path at most {MAX_PATH_BYTES:,}")
        if b"\0" in raw:
            raise ValueError("has a NUL in it")
        below = self._root.rstrip(b"/") + b"/"
        full = b"/" + os.path.normpath(os.path.join(self._root, raw)).lstrip(b"/")
        if not full.startswith(below) or full == below:
            raise ValueError(
                f"{value[:200]!r} is not below {os.fsdecode(self._root)}; `base` says what paths lie below"
            )
        return full[len(below) :]


def merged_columns(readers: list[InputTableReader]) -> tuple[InputColumn, ...]:
    """The columns of several tables, each once.

    Raises
    ------
    JobError
        Two tables have one of different types.
    """
    found: dict[str, ColumnType] = {}
    for reader in readers:
        for column in reader.columns:
            before = found.setdefault(column.name, column.type)
            if {before, column.type} == {"int", "float"}:
                found[column.name] = "float"
            elif before != column.type:
                raise JobError(
                    f"inputs: column {column.name!r} is {before} in one table and {column.type} in {reader.file.path}; "
                    "say `types` in both"
                )
    return tuple(InputColumn(name, kind) for name, kind in found.items())


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names[:20])) + (" ..." if len(names) > 20 else "")
