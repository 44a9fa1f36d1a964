"""Tables as JSON: one array, written as a stream with one object per line, so that both parsers and line tools read it.

NaN and infinities, which JSON doesn't have, become null.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.tables.values import scalar_values


def write_json(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """Write one file with an object per row; the keys are the columns, every one of them in every object."""
    between = "[\n"
    with path.open("x", encoding="utf-8", newline="\n") as sink:
        for batch in batches:
            for row in _objects(batch, schema):
                sink.write(between)
                sink.write(json.dumps(row, ensure_ascii=False, allow_nan=False, separators=(",", ":")))
                between = ",\n"
        sink.write("[]\n" if between == "[\n" else "\n]\n")


def _objects(batch: pa.RecordBatch, schema: pa.Schema) -> Iterable[dict[str, Any]]:
    columns = [scalar_values(column) for column in batch.columns]
    return (dict(zip(schema.names, row, strict=True)) for row in zip(*columns, strict=True))
