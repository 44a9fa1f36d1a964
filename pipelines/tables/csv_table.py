"""Tables as CSV (RFC 4180, UTF-8 without mark): numbers bare, texts always in quotes, a null is an empty field."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.tables.cells import printable, safe_cell


def write_csv(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """Write one file; texts that a spreadsheet would run begin with an apostrophe."""
    with path.open("x", encoding="utf-8", newline="") as sink:
        sink.write(_line([_quoted(name) for name in schema.names]))
        for batch in batches:
            for cells in zip(*(map(_cell, column.to_pylist()) for column in batch.columns), strict=True):
                sink.write(_line(list(cells)))


def _line(cells: Sequence[str]) -> str:
    return ",".join(cells) + "\r\n"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, date):
        return _quoted(value.isoformat())
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value)


def _quoted(text: str) -> str:
    # Always in quotes: a null stays apart from an empty text, and ";" in a text can't begin a new cell where the
    # spreadsheet's own separator is ";".
    return '"' + safe_cell(printable(text)).replace('"', '""') + '"'
