"""The manifest: one row per input, saying what became of it.

Covers its columns and its file. Nothing in it depends on the run; attempts, seconds and workers are in the ledger.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Sized
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.analyses.registry import in_words
from pipelines.column_models import InputColumn
from pipelines.tables.cells import readable_path
from pipelines.tables.input_fields import cells_array, input_fields
from pipelines.tables.parquet_table import write_parquet
from pipelines.tables.schema import INPUT_FIELD, described, described_schema


def manifest_schema(metadata: Mapping[str, str] | None = None, columns: Sequence[InputColumn] = ()) -> pa.Schema:
    """The columns of ``manifest.parquet``, those of the inputs last.

    ``metadata`` (job name, versions) becomes the file's key-values.
    """
    output = pa.struct(
        [
            pa.field("path", pa.string(), nullable=False),
            pa.field("sha256", pa.string(), nullable=False),
            pa.field("bytes", pa.int64(), nullable=False),
        ]
    )
    return described_schema(
        [
            INPUT_FIELD,
            _field("input_bytes", pa.binary(), "Path of the input, exact.", label="Input, exact", nullable=False),
            _field("status", pa.string(), "Done, failed or skipped.", nullable=False),
            _field("reason", pa.string(), "Why it failed or was skipped, from a fixed list."),
            _field("message", pa.string(), "The same in words."),
            _field("degraded", pa.string(), "What is lesser about a result that was made all the same."),
            _field("width", pa.int32(), "Width of the input.", unit="px"),
            _field("height", pa.int32(), "Height of the input.", unit="px"),
            _field("bytes", pa.int64(), "Size of the input's file.", label="Size", unit="byte"),
            _field("outputs", pa.list_(pa.field("element", output)), "Files made from it, below the output directory."),
            *input_fields(columns),
        ],
        metadata,
    )


def manifest_batch(
    rows: Sequence[Mapping[str, Any]], schema: pa.Schema, columns: Sequence[InputColumn] = ()
) -> pa.RecordBatch:
    """Rows as mappings from column to value, as a batch; ``input`` is made from ``input_bytes``.

    ``columns`` are those of the inputs that ``schema`` has; their cells stand in the rows under their names.

    Raises
    ------
    ValueError
        A row lacks its status.
    """
    if any(row.get("status") is None for row in rows):
        raise ValueError("a row of the manifest lacks its status")
    complete = [{**row, "input": readable_path(row["input_bytes"])} for row in rows]
    own = list(schema)[: len(schema) - len(columns)]
    arrays = [_array(field.type, [row.get(field.name) for row in complete]) for field in own]
    arrays += [cells_array(each.type, [row.get(each.name) for row in rows]) for each in columns]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _array(kind: pa.DataType, values: Sequence[Any]) -> pa.Array:
    """Python values as an array, by way of numpy: ``pyarrow.array`` imports pandas first, which takes 0.25 s."""
    missing = np.array([value is None for value in values], bool)
    valid = None if not missing.any() else pa.py_buffer(np.packbits(~missing, bitorder="little"))
    if pa.types.is_list(kind):
        items = [item for value in values for item in value or ()]
        children = [_array(field.type, [item[field.name] for item in items]) for field in kind.value_type]
        structs = pa.StructArray.from_arrays(children, fields=list(kind.value_type))
        return pa.Array.from_buffers(kind, len(values), [valid, _offsets(values)], children=[structs])
    if pa.types.is_integer(kind):
        numbers = np.array([0 if value is None else value for value in values], kind.to_pandas_dtype())
        return pa.Array.from_buffers(kind, len(values), [valid, pa.py_buffer(numbers)])
    data = [value.encode() if isinstance(value, str) else value for value in values]
    return pa.Array.from_buffers(kind, len(values), [valid, _offsets(data), pa.py_buffer(b"".join(filter(None, data)))])


def _offsets(values: Sequence[Sized | None]) -> pa.Buffer:
    """Where each value begins and ends in the concatenation of all."""
    ends = np.cumsum([0, *(0 if value is None else len(value) for value in values)])
    return pa.py_buffer(ends.astype(np.int32))


def write_manifest(
    path: Path,
    batches: Iterable[pa.RecordBatch],
    *,
    metadata: Mapping[str, str] | None = None,
    columns: Sequence[InputColumn] = (),
) -> None:
    """Write the manifest into the file ``path`` (in place, as ``write_table``), rows sorted by input by the caller."""
    write_parquet(path, manifest_schema(metadata, columns), batches)


def _field(
    name: str, kind: pa.DataType, meaning: str, *, label: str = "", unit: str = "", nullable: bool = True
) -> pa.Field:
    return described(name, kind, label=label or in_words(name), unit=unit, meaning=meaning, nullable=nullable)
