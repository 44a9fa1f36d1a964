"""Tables as CSV (RFC 4180, UTF-8 without mark): numbers bare, texts always in quotes, a null is an empty field.

An array of one dimension becomes one cell of JSON text; an array of two (a waveform has 65,536 numbers) is left out
and stands in Parquet and JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.tables.cells import printable, safe_cell
from pipelines.tables.schema import flat_columns
from pipelines.tables.values import array_texts


def write_csv(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """Write one file; texts that a spreadsheet would run begin with an apostrophe."""
    columns = flat_columns(schema)
    with path.open("x", encoding="utf-8", newline="") as sink:
        sink.write(_line([_quoted(schema.names[index]) for index in columns]))
        for batch in batches:
            for cells in zip(*(_cells(batch.column(index)) for index in columns), strict=True):
                sink.write(_line(cells))


def _line(cells: Sequence[str]) -> str:
    return ",".join(cells) + "\r\n"


def _cells(column: pa.Array) -> list[str]:
    if pa.types.is_fixed_size_list(column.type):
        # digits, commas and brackets: nothing in them has to be made harmless
        return ["" if text is None else f'"{text}"' for text in array_texts(column)]
    return [_cell(value) for value in column.to_pylist()]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value)


def _quoted(text: str) -> str:
    # Always in quotes: a null stays apart from an empty text, and ";" in a text can't begin a new cell where the
    # spreadsheet's own separator is ";".
    return '"' + safe_cell(printable(text)).replace('"', '""') + '"'
