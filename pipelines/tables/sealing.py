"""Sealed parts: final Parquet files of one range of the inputs, written by workers side by side.

Covers writing one from the parts of its inputs, which may be older sealed parts. Which inputs make up a range, and
which part is current, is decided by the caller.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.models import AnalysisRequest
from pipelines.tables.assemble import InputParts, assemble
from pipelines.tables.parquet_table import write_parquet
from pipelines.tables.parts import publish
from pipelines.tables.schema import analyses_schema


@dataclass(frozen=True, slots=True, kw_only=True)
class SealRequest:
    """One sealed part to write."""

    target: Path
    requests: tuple[AnalysisRequest, ...]
    """The analyses whose columns it has, in order."""
    inputs: tuple[InputParts, ...]
    """Its rows, in order."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Key-values of the file."""
    durable: bool = False
    """Wait until the file would survive a power cut."""


def seal_part(request: SealRequest) -> None:
    """Write a sealed part; it appears under its name only when it is whole, and the same request gives the same bytes.

    Raises
    ------
    RayjobsError
        A part that it is made from is damaged, or doesn't hold the row that it should.
    """
    schema = analyses_schema(request.requests, metadata=request.metadata)
    request.target.parent.mkdir(parents=True, exist_ok=True)
    temporary = request.target.with_name(f".{request.target.name}.{os.getpid()}.tmp")
    try:
        write_parquet(temporary, schema, assemble(request.inputs, schema))
        publish(temporary, request.target, durable=request.durable)
    finally:
        temporary.unlink(missing_ok=True)
