"""Sealed parts: final Parquet files of one range of the inputs, written by workers side by side.

Covers writing one from the parts of its inputs, which may be older sealed parts, and the files of objects beside it.
Which inputs make up a range, and which part is current, is decided by the caller.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from pipelines.models import AnalysisRequest
from pipelines.tables.assemble import InputParts, assemble
from pipelines.tables.parquet_table import write_parquet
from pipelines.tables.parts import publish
from pipelines.tables.schema import analyses_schema, object_schemas


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectsSeal:
    """The file with the objects of the range, of one analysis."""

    target: Path
    request: AnalysisRequest
    inputs: tuple[InputParts, ...]
    """Those that were searched for objects, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SealRequest:
    """One sealed part to write."""

    target: Path
    requests: tuple[AnalysisRequest, ...]
    """The analyses whose columns it has, in order."""
    inputs: tuple[InputParts, ...]
    """Its rows, in order."""
    objects: tuple[ObjectsSeal, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Key-values of the file."""
    durable: bool = False
    """Wait until the file would survive a power cut."""


def seal_part(request: SealRequest) -> None:
    """Write a sealed part; it appears under its name only when it is whole, and the same request gives the same bytes.

    Its objects are there before it.

    Raises
    ------
    RayjobsError
        A part that it is made from is damaged, or doesn't hold the row that it should.
    """
    for seal in request.objects:
        schema = object_schemas([seal.request])[seal.request]
        _write(seal.target, schema, assemble(seal.inputs, schema, several=True), durable=request.durable)
    schema = analyses_schema(request.requests, metadata=request.metadata)
    _write(request.target, schema, assemble(request.inputs, schema), durable=request.durable)


def _write(target: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch], *, durable: bool) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        write_parquet(temporary, schema, batches)
        publish(temporary, target, durable=durable)
    finally:
        temporary.unlink(missing_ok=True)
