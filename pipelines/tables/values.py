"""Arrow columns as the values of text formats, with null for what isn't finite."""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa


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
