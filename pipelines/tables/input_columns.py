"""Columns that inputs bring along, from a table or from their paths: names, types and cells.

A cell is held as JSON: whole numbers, floats, texts, true and false, null; dates and times as ISO 8601 text. Covers
what a column may be called, its Arrow type, and cells as an Arrow array. Where cells come from: ``rayjobs.inputs``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal, get_args

import numpy as np
import pyarrow as pa

ColumnType = Literal["int", "float", "text", "bool", "date", "timestamp", "timestamp_utc"]
Cell = bool | int | float | str | None

COLUMN_TYPES: tuple[ColumnType, ...] = get_args(ColumnType)
WRONG: Cell = "\0"
"""Stands for a cell that was told to be wrong already; no text has a NUL."""
MAX_COLUMNS = 64
MAX_CELL = 1_000
"""Characters of a text."""
_NAME = re.compile(r"\w(?:[\w .()%/°+-]{0,62}[\w)%°])?")
_EPOCH, _EPOCH_DAY = datetime(1970, 1, 1), date(1970, 1, 1).toordinal()
_ARROW_TYPES: dict[ColumnType, pa.DataType] = {
    "int": pa.int64(),
    "float": pa.float64(),
    "text": pa.string(),
    "bool": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
    "timestamp_utc": pa.timestamp("us", "UTC"),
}


@dataclass(frozen=True, slots=True)
class InputColumn:
    """One column of a job's inputs."""

    name: str
    type: ColumnType


def check_column_name(name: str) -> str:
    """The name, if a column may be called so.

    Raises
    ------
    ValueError
        It is too long, or has characters that a table, a name pattern or a spreadsheet would take for something else.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name[:80]!r} can't be a column: names have at most 64 letters, digits, _ and, inside, spaces and "
            ". ( ) % / ° + -"
        )
    return name


def input_fields(columns: Iterable[InputColumn]) -> list[pa.Field]:
    """The columns as Arrow fields, all nullable."""
    metadata = {"meaning": "of the input, as the job's table or its path says"}
    return [pa.field(each.name, _ARROW_TYPES[each.type], nullable=True, metadata=metadata) for each in columns]


def columns_of(fields: Iterable[pa.Field]) -> list[InputColumn]:
    """What ``input_fields`` made fields of."""
    kinds = {kind: name for name, kind in _ARROW_TYPES.items()}
    return [InputColumn(field.name, kinds[field.type]) for field in fields]


def cells_array(kind: ColumnType, cells: Sequence[Cell]) -> pa.Array:
    """Cells as an array, by way of numpy: ``pyarrow.array`` imports pandas first, which takes 0.25 s."""
    missing = np.array([cell is None for cell in cells], bool)
    valid = None if not missing.any() else pa.py_buffer(np.packbits(~missing, bitorder="little"))
    if kind == "text":
        data = [b"" if cell is None else str(cell).encode() for cell in cells]
        offsets = np.cumsum([0, *map(len, data)], dtype=np.int64).astype(np.int32)
        buffers = [valid, pa.py_buffer(offsets), pa.py_buffer(b"".join(data))]
        return pa.Array.from_buffers(pa.string(), len(data), buffers)
    if kind == "bool":
        bits = np.packbits(np.array([bool(cell) for cell in cells], bool), bitorder="little")
        return pa.Array.from_buffers(pa.bool_(), len(cells), [valid, pa.py_buffer(bits)])
    dtype = {"float": np.float64, "date": np.int32}.get(kind, np.int64)
    numbers = np.array([0 if cell is None else _number(kind, cell) for cell in cells], dtype)
    return pa.Array.from_buffers(_ARROW_TYPES[kind], len(cells), [valid, pa.py_buffer(numbers)])


def _number(kind: ColumnType, cell: Cell) -> int | float:
    """What stands in the buffer for a cell: days or microseconds since 1970 for dates and times."""
    if kind == "date":
        return date.fromisoformat(str(cell)).toordinal() - _EPOCH_DAY
    if kind in ("timestamp", "timestamp_utc"):
        moment = datetime.fromisoformat(str(cell))
        plain = moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
        return (plain - _EPOCH) // timedelta(microseconds=1)
    assert isinstance(cell, int | float)
    return cell
