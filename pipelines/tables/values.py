"""Arrow arrays as the values of text formats: nested lists, JSON texts, and null for what isn't finite."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa


def scalar_values(column: pa.Array) -> list[Any]:
    """Python values of a scalar column; NaN and infinities, which JSON and spreadsheets don't have, become None."""
    values: list[Any] = column.to_pylist()
    if not pa.types.is_floating(column.type):
        return values
    finite = np.isfinite(column.to_numpy(zero_copy_only=False)).tolist()
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
    flat = column.values.slice(column.offset * size, len(column) * size).to_numpy(zero_copy_only=False)
    valid = column.is_valid().to_pylist()
    return [row if good else None for row, good in zip(flat.reshape(len(column), size), valid, strict=True)]


def _nested(array: np.ndarray[Any, Any]) -> Any:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        cleaned = array.astype(object)
        cleaned[~np.isfinite(array)] = None
        return cleaned.tolist()
    return array.tolist()
