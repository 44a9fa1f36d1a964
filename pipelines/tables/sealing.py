"""Sealed parts: final Parquet files of one range of the inputs, written by workers side by side.

Covers writing one from the parts of its inputs, which may be older sealed parts, and the files of objects beside it.
Which inputs make up a range, and which part is current, is decided by the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from pathlib import Path

import pyarrow as pa

from pipelines.models import AnalysisRequest
from pipelines.tables.assemble import InputParts, PartReader, assemble
from pipelines.tables.column_chunks import (
    ColumnChunk,
    EncodedFile,
    Field,
    RowGroup,
    encode,
    fields_of,
    write_row_groups,
)
from pipelines.tables.parquet_table import SAVED_ROWS, has_wide_rows
from pipelines.tables.parts import appearing, write_part
from pipelines.tables.schema import INPUT, analyses_schema, object_schemas

OPEN_FILES = 16
"""Footers kept in memory; neighbours mostly lie in the same file."""


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

    Its objects are there before it. The row groups of wide rows that a worker has encoded are taken over as they are.

    Raises
    ------
    RayjobsError
        A part that it is made from is damaged, or doesn't hold the row that it should.
    """
    for seal in request.objects:
        objects = object_schemas([seal.request])[seal.request]
        write_part(seal.target, objects, assemble(seal.inputs, objects, several=True), durable=request.durable)
    schema = analyses_schema(request.requests, metadata=request.metadata)
    if has_wide_rows(schema):
        with appearing(request.target, durable=request.durable) as temporary:
            write_row_groups(temporary, schema, _row_groups(request.inputs, schema))
    else:
        write_part(request.target, schema, assemble(request.inputs, schema), durable=request.durable)


def _row_groups(inputs: Sequence[InputParts], schema: pa.Schema) -> Iterator[RowGroup]:
    """The rows of each ``SAVED_ROWS`` places, as a worker encoded them, or else encoded anew."""
    fields = fields_of(schema)
    opened = lru_cache(OPEN_FILES)(EncodedFile)
    reader = PartReader()
    for _, members in groupby(inputs, lambda entry: entry.place // SAVED_ROWS):
        group = tuple(members)
        yield _as_encoded(group, fields, opened) or encode(schema, assemble(group, schema, reader=reader)).groups[0]


def _as_encoded(
    group: Sequence[InputParts], fields: Mapping[str, Field], opened: Callable[[Path], EncodedFile]
) -> RowGroup | None:
    """The chunks of exactly these inputs in the parts that hold them; None when they aren't row groups there."""
    if len({len(entry.parts) for entry in group}) > 1:
        return None
    chunks: dict[str, ColumnChunk] = {}
    for places in zip(*(entry.parts for entry in group), strict=True):  # oldest first: later ones count
        path, columns, first = places[0].path, places[0].columns, places[0].row
        if first is None or any(
            (place.path, place.columns, place.row) != (path, columns, row) for row, place in enumerate(places, first)
        ):
            return None
        file = opened(path)
        found = file.row_group(first, len(places))
        if found is None:
            return None
        for name, chunk in found.chunks.items():
            if (columns is None or name in columns or name == INPUT) and file.fields[name] == fields.get(name):
                chunks[name] = chunk
    return RowGroup(len(group), chunks) if chunks.keys() == fields.keys() else None
