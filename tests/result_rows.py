"""Rows for tests of result tables: one analysis with a column of every type, and made-up results of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset

from pipelines.analyses.registry import Analysis, Column
from pipelines.models import AnalysisRequest
from pipelines.registry import Parameters
from pipelines.tables.batches import to_batch

COLUMNS = (
    Column("histogram", "uint32[256]", "pixels", "Pixels per level."),
    Column("waveform", "uint32[256,256]", "pixels", "Pixels per level and column."),
    Column("mean", "float64", "level", "Mean level."),
    Column("count", "int64", "pixels", "Pixels."),
    Column("hash", "uint64", "", "Perceptual hash."),
    Column("gray", "bool", "", "Whether all channels are equal."),
    Column("note", "string", "", "Anything."),
)
OBJECT_COLUMNS = (Column("label", "uint32", "", "Number of the object."), Column("area", "float64", "px²", "Area."))
REQUESTS = [AnalysisRequest("probe")]


def fake_analyses(*names: str, columns: Sequence[Column] = COLUMNS) -> Mapping[str, Analysis]:
    return {
        name: Analysis(
            name=name,
            group="measurements",
            function=lambda image: {},
            parameters=Parameters,
            columns=lambda **_: columns,
        )
        for name in names
    }


ANALYSES = fake_analyses("probe")


def probe(seed: int, **changes: Any) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    return {
        "histogram": random.integers(0, 2**32, 256, dtype=np.uint32),
        "waveform": random.integers(0, 50, (256, 256), dtype=np.int64),
        "mean": float(random.normal()),
        "count": int(random.integers(0, 2**62)),
        "hash": 2**64 - 1 - seed,
        "gray": bool(seed % 2),
        "note": f"row {seed}",
    } | changes


def final_batch(
    schema: pa.Schema, rows: Sequence[dict[str, Any]], names: Sequence[str] | None = None
) -> pa.RecordBatch:
    inputs = names or [f"photos/{index:03d}.jpg" for index in range(len(rows))]
    return to_batch(inputs, [{"probe": row} for row in rows], schema)
