"""Columns of inputs in tables of results: their Arrow types, and cells as arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa

from pipelines.column_models import Cell, ColumnType, InputColumn
from pipelines.tables.schema import described

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


def input_fields(columns: Iterable[InputColumn]) -> list[pa.Field]:
    """The columns as Arrow fields, all nullable."""
    meaning = "Column of the inputs, as the job's table or the path says."
    return [described(each.name, _ARROW_TYPES[each.type], label=each.name, meaning=meaning) for each in columns]


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
