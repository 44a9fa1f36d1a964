"""Sealed parts: final Parquet files of one range of the inputs, written by workers side by side.

Covers writing one from the parts of its inputs, which may be older sealed parts: its scalars, and beside it a file for
the arrays of each analysis and one for the objects of each. Which inputs make up a range, and which part is current, is
decided by the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import groupby
from pathlib import Path

import pyarrow as pa

from pipelines.models import AnalysisRequest
from pipelines.storage.custody import Written
from pipelines.storage.local_files import link_or_copy
from pipelines.tables.assemble import InputParts, PartReader, assemble
from pipelines.tables.column_chunks import (
    EncodedFile,
    Field,
    RowGroup,
    encode,
    fields_of,
    write_row_groups,
)
from pipelines.tables.parquet_table import SAVED_ROWS, has_wide_rows, write_parquet
from pipelines.tables.parts import appearing, files_as_written, scopes_part, write_part
from pipelines.tables.schema import analyses_schema, object_schemas, saved_schema, scopes_schemas

OPEN_FILES = 256
"""Footers kept in memory: all of a range, since each analysis of arrays goes through its parts."""


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
    durable: bool = False
    """Wait until the file would survive a power cut."""


def seal_part(request: SealRequest) -> tuple[Written, ...]:
    """Write a sealed part, whose files it returns; it appears only when it is whole, always with the same bytes.

    Its objects and arrays are there before it. Row groups of arrays that a worker has encoded are taken over as they
    are, and files of arrays that hold just these rows stay what they are.

    Raises
    ------
    RayjobsError
        A part that it is made from is damaged, or doesn't hold the row that it should.
    """
    for seal in request.objects:
        objects = object_schemas([seal.request])[seal.request]
        write_part(seal.target, objects, assemble(seal.inputs, objects, several=True), durable=request.durable)
    opened = lru_cache(OPEN_FILES)(EncodedFile)
    is_wide = has_wide_rows(saved_schema(request.requests))
    for analysis, schema in scopes_schemas(request.requests).items():
        target = request.target.with_name(scopes_part(request.target.name, analysis.name))
        file_with = lru_cache(OPEN_FILES)(partial(_file_with, analysis.name, frozenset(schema.names[1:]), opened))
        inputs = [_with_arrays(entry, file_with) for entry in request.inputs]
        whole = _one_file(inputs, opened)
        with appearing(target, durable=request.durable) as temporary:
            if whole is not None and whole.fields == fields_of(schema):
                link_or_copy(whole.path, temporary)
            elif is_wide:
                write_row_groups(temporary, schema, _row_groups(inputs, schema, opened))
            else:
                write_parquet(temporary, schema, assemble(inputs, schema))
    schema = analyses_schema(request.requests)
    write_part(request.target, schema, assemble(request.inputs, schema), durable=request.durable)
    names = [request.target.name, *(seal.target.name for seal in request.objects)]
    names += [scopes_part(request.target.name, analysis.name) for analysis in scopes_schemas(request.requests)]
    return files_as_written(request.target.parent, names)  # here, where it is done side by side


def _with_arrays(entry: InputParts, file_with: Callable[[Path, frozenset[str] | None], Path | None]) -> InputParts:
    """The input with the one part that has its arrays of an analysis: the latest, and of a sealed one its own file."""
    for part in reversed(entry.parts):
        path = file_with(part.path, part.columns)
        if path is not None:
            alone = path == part.path and len(entry.parts) == 1
            return entry if alone else replace(entry, parts=(replace(part, path=path),))
    return entry


def _file_with(
    analysis: str,
    names: frozenset[str],
    opened: Callable[[Path], EncodedFile],
    part: Path,
    columns: frozenset[str] | None,
) -> Path | None:
    """Where the arrays of an analysis lie that belong to a part: in it, or in a file beside it; None: nowhere."""
    if columns is not None and not names <= columns:
        return None
    beside = part.with_name(scopes_part(part.name, analysis))
    path = beside if beside.exists() else part
    return path if names <= opened(path).fields.keys() else None


def _one_file(inputs: Sequence[InputParts], opened: Callable[[Path], EncodedFile]) -> EncodedFile | None:
    """The file that holds the rows of exactly these inputs, if there is one."""
    places = [(part.path, part.row) for entry in inputs for part in entry.parts]
    path = places[0][0]
    if places != [(path, row) for row in range(len(inputs))] or not path.name.endswith(f".scopes{path.suffix}"):
        return None
    file = opened(path)
    return file if file.starts[-1] == len(inputs) else None


def _row_groups(
    inputs: Sequence[InputParts], schema: pa.Schema, opened: Callable[[Path], EncodedFile]
) -> Iterator[RowGroup]:
    """The rows of each ``SAVED_ROWS`` places, as a worker encoded them, or else encoded anew."""
    fields = fields_of(schema)
    reader = PartReader(schema.names)
    for _, members in groupby(inputs, lambda entry: entry.seq // SAVED_ROWS):
        group = tuple(members)
        yield _as_encoded(group, fields, opened) or encode(schema, assemble(group, schema, reader=reader)).groups[0]


def _as_encoded(
    group: Sequence[InputParts], fields: Mapping[str, Field], opened: Callable[[Path], EncodedFile]
) -> RowGroup | None:
    """The chunks of exactly these inputs in the part that holds them; None when they aren't a row group of one."""
    first = group[0].parts[0]
    if first.row is None or any(
        [(part.path, part.row) for part in entry.parts] != [(first.path, row)]
        for row, entry in enumerate(group, first.row)
    ):
        return None
    file = opened(first.path)
    found = file.row_group(first.row, len(group))
    if found is None or any(file.fields.get(name) != field for name, field in fields.items()):
        return None
    return RowGroup(len(group), {name: found.chunks[name] for name in fields})
