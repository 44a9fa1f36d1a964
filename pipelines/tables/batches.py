"""Results of analyses as record batches, and record batches of other lengths.

Covers the step from numpy to Arrow without a Python loop over array elements. Does not know files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.analyses.registry import ROWS, Result
from pipelines.errors import RayjobsError


def to_batch(inputs: Sequence[str], rows: Sequence[Mapping[str, Result]], schema: pa.Schema) -> pa.RecordBatch:
    """One row per image from the results of its analyses.

    Parameters
    ----------
    inputs
        Readable paths of the images, one per row.
    rows
        Per image: name of the analysis -> its result. An analysis or column that isn't there, or None, is a null; rows
        of objects belong to another table (``to_rows_batch``).
    schema
        As ``analyses_schema(...)``.

    Raises
    ------
    RayjobsError
        A result holds a column that the schema doesn't have, or a value that doesn't fit its type without loss.
    """
    flat = [_flat(row, schema) for row in rows]
    arrays = [_array(field, [row.get(field.name) for row in flat]) for field in list(schema)[1:]]
    return pa.RecordBatch.from_arrays([pa.array(inputs, pa.string()), *arrays], schema=schema)


def to_rows_batch(inputs: Sequence[str], tables: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.RecordBatch:
    """Several rows per image: ``tables[i]`` maps column -> sequence or 1-D array, one value per object of image i.

    ``schema`` as ``rows_schema(...)``. An image without objects gives no row.

    Raises
    ------
    RayjobsError
        A table has not exactly the schema's columns, its columns differ in length, or a value doesn't fit.
    """
    names = schema.names[1:]
    for table in tables:
        if set(table) != set(names) or len({len(column) for column in table.values()}) > 1:
            raise RayjobsError(f"rows of objects need equally long columns: {', '.join(names)}")
    repeated = [name for name, table in zip(inputs, tables, strict=True) for _ in range(len(table[names[0]]))]
    arrays = [pa.array(repeated, pa.string())]
    for field in list(schema)[1:]:
        arrays.append(_concatenated(field, [table[field.name] for table in tables]))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def check_results(
    results: Mapping[str, Result], schema: pa.Schema, row_schemas: Mapping[str, pa.Schema] = MappingProxyType({})
) -> None:
    """Whether the results of one image fit their columns; arrays are looked at, not copied.

    Parameters
    ----------
    results
        Name of the analysis -> its result.
    schema
        As for ``to_batch``.
    row_schemas
        Name of each analysis of objects -> schema as for ``to_rows_batch``.

    Raises
    ------
    RayjobsError
        Exactly when ``to_batch`` or ``to_rows_batch`` would.
    """
    flat = _flat(results, schema)
    for field in list(schema)[1:]:
        value = flat.get(field.name)
        if not pa.types.is_fixed_size_list(field.type):
            _scalars(field, [value])
        elif value is not None:
            _fitting(field, value)
    for name, rows in row_schemas.items():
        if ROWS not in results.get(name, {}):
            raise RayjobsError(f"{name} gave no {ROWS!r}")
        to_rows_batch([""], [results[name][ROWS]], rows)


def rebatch(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of exactly ``rows`` (the last may be shorter), however they were cut before.

    What a writer makes of them then depends on the rows alone.
    """
    waiting: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        rest = batch
        while count + rest.num_rows >= rows:
            waiting.append(rest.slice(0, rows - count))
            rest = rest.slice(rows - count)
            yield _joined(waiting)
            waiting, count = [], 0
        if rest.num_rows:
            waiting.append(rest)
            count += rest.num_rows
    if waiting:
        yield _joined(waiting)


def _flat(row: Mapping[str, Result], schema: pa.Schema) -> dict[str, Any]:
    """Column -> value of one image."""
    flat = {f"{name}_{key}": value for name, result in row.items() for key, value in result.items() if key != ROWS}
    unknown = flat.keys() - set(schema.names)
    if unknown:
        raise RayjobsError(f"results without a declared column: {', '.join(sorted(unknown))}")
    return flat


def _joined(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)


def _concatenated(field: pa.Field, parts: Sequence[Any]) -> pa.Array:
    chunks = [_array(field, part) for part in parts]
    return pa.concat_arrays(chunks) if chunks else pa.array([], field.type)


def _array(field: pa.Field, values: Sequence[Any]) -> pa.Array:
    if pa.types.is_fixed_size_list(field.type):
        return _lists(field, values)
    return _scalars(field, values)


def _scalars(field: pa.Field, values: Any) -> pa.Array:
    try:
        # Arrow would cut fractions off without a word.
        if pa.types.is_integer(field.type) and any(isinstance(value, float | np.floating) for value in values):
            raise TypeError(f"a fraction does not fit {field.type}")
        return pa.array(values, field.type)
    except (pa.ArrowException, TypeError, OverflowError) as error:
        raise RayjobsError(f"column {field.name}: {error}") from error


def _lists(field: pa.Field, values: Sequence[Any]) -> pa.Array:
    size = field.type.list_size
    dtype = field.type.value_type.to_pandas_dtype()
    flat = np.empty((len(values), size), dtype)
    missing = np.array([value is None for value in values], bool)
    for row, value in enumerate(values):
        flat[row] = 0 if value is None else _fitting(field, value).reshape(-1)
    mask = pa.array(missing) if missing.any() else None
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), type=field.type, mask=mask)


def _fitting(field: pa.Field, value: Any) -> np.ndarray[Any, Any]:
    """The array of one cell, if it fits the column."""
    kind = field.type
    array = np.asarray(value)
    if array.size != kind.list_size or not _fits(array, np.dtype(kind.value_type.to_pandas_dtype())):
        raise RayjobsError(
            f"column {field.name}: {array.dtype}{list(array.shape)} does not fit {kind.value_type}[{kind.list_size}]"
        )
    return array


def _fits(array: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> bool:
    """Whether every value survives the change of type; counts may come as int64."""
    if np.can_cast(array.dtype, dtype, "safe"):
        return True
    if array.dtype.kind not in "iu" or dtype.kind not in "iu":
        return False
    limits = np.iinfo(dtype)
    return array.size == 0 or (int(array.min()) >= limits.min and int(array.max()) <= limits.max)
