"""Arrow arrays as the values of text formats: nested lists, JSON texts, and null for what isn't finite."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pyarrow as pa


def scalar_values(column: pa.Array) -> list[Any]:
    """Python values of a scalar column; NaN and infinities, which JSON and spreadsheets don't have, become None."""
    values: list[Any] = column.to_pylist()
    if not pa.types.is_floating(column.type):
        return values
    finite = [value is not None and math.isfinite(value) for value in values]
    return [value if good else None for value, good in zip(values, finite, strict=True)]


def array_values(column: pa.Array, shape: tuple[int, ...]) -> list[Any]:
    """Nested Python lists of a fixed-size list column, one per row, or None for a null; not finite becomes None."""
    return [None if array is None else _nested(array.reshape(shape)) for array in _rows(column)]


def array_texts(column: pa.Array) -> list[str | None]:
    """The same as JSON texts of one dimension, without spaces."""
    return [
        None if array is None else json.dumps(_nested(array), allow_nan=False, separators=(",", ":"))
        for array in _rows(column)
    ]


def _rows(column: pa.Array) -> list[np.ndarray[Any, Any] | None]:
    size = column.type.list_size
    # .values ignores the offset of a slice; .flatten() drops nulls
    values = column.values.slice(column.offset * size, len(column) * size)
    if pa.types.is_integer(values.type) or pa.types.is_floating(values.type):
        # to_numpy() would import pandas, 0.2 s. The elements of a null may be nulls: what lies there isn't looked at.
        values = pa.Array.from_buffers(values.type, len(values), [None, values.buffers()[1]], offset=values.offset)
        flat = np.from_dlpack(values)
    else:
        flat = values.to_numpy(zero_copy_only=False)
    rows: list[np.ndarray[Any, Any] | None] = list(flat.reshape(len(column), size))
    if column.null_count:
        return [row if valid else None for row, valid in zip(rows, column.is_valid().to_pylist(), strict=True)]
    return rows


def _nested(array: np.ndarray[Any, Any]) -> Any:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        cleaned = array.astype(object)
        cleaned[~np.isfinite(array)] = None
        return cleaned.tolist()
    return array.tolist()
