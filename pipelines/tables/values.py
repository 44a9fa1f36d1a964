"""Arrow columns as numbers of numpy, and as the values of text formats, with null for what isn't finite."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def scalar_values(column: pa.Array) -> list[Any]:
    """Python values of a scalar column; NaN and infinities, which JSON and spreadsheets don't have, become None.

    Dates and times become texts of ISO 8601, which all text formats and every reader take for the same.
    """
    values: list[Any] = column.to_pylist()
    if pa.types.is_temporal(column.type):
        return [None if value is None else value.isoformat() for value in values]
    if not pa.types.is_floating(column.type):
        return values
    finite = [value is not None and math.isfinite(value) for value in values]
    return [value if good else None for value, good in zip(values, finite, strict=True)]


def numbers_of(column: pa.Array) -> NDArray[np.float64]:
    """A column of numbers as an array of its own, NaN for a null: by its buffers, since ``to_numpy`` imports pandas."""
    if not len(column):
        return np.empty(0)
    kind = np.dtype(column.type.to_pandas_dtype())
    validity, data = column.buffers()
    numbers = np.frombuffer(data, kind, len(column), column.offset * kind.itemsize).astype(np.float64)
    if column.null_count:
        valid = np.unpackbits(np.frombuffer(validity, np.uint8), count=column.offset + len(column), bitorder="little")
        numbers[valid[column.offset :] == 0] = np.nan
    return numbers
