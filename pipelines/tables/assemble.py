"""Rows scattered over part files, gathered in final order while memory stays flat.

Covers finding an input's rows in its parts and joining parts that hold different columns of it (a job that ran again
with one analysis more has two). Which parts an input has, and the order, is told by the caller.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pyarrow as pa

from pipelines.errors import RayjobsError
from pipelines.tables.parts import PartFile
from pipelines.tables.schema import INPUT, row_bytes

BATCH_BYTES = 32 * 2**20
OPEN_PARTS = 4


@dataclass(frozen=True, slots=True)
class PartColumns:
    """A part file and which of its columns count for an input."""

    path: Path
    columns: frozenset[str] | None = None
    """None: all. A job that ran with other parameters in between left columns of the same name that are not meant."""
    row: int | None = None
    """The input's row; None in a part of objects, where its readable path tells which rows are its."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputParts:
    """Where the rows of one input lie."""

    input: str
    """Readable path, as it will stand in the table."""
    seq: int
    """Its place in the sealed list of inputs."""
    parts: tuple[PartColumns, ...]
    """Oldest first: where two hold the same column, the later one counts."""


class PartReader:
    """Reads rows of parts, and keeps the row groups and footers used last: neighbours mostly lie in the same ones."""

    def __init__(self, columns: Sequence[str], capacity: int = OPEN_PARTS) -> None:
        """``columns``: those that are read, of the ones that a part has."""
        wanted = list(columns)
        self._file = lru_cache(capacity)(PartFile)
        self._row_group = lru_cache(capacity)(lambda path, group: self._file(path).read(group, wanted))

    def slice(self, part: PartColumns, entry: InputParts) -> pa.RecordBatch | None:
        """The rows of one input, without a copy if they lie in one place; None when a part of objects has none."""
        file = self._file(part.path)
        if part.row is None:
            places = file.pieces(entry.input)
            pieces = [self._row_group(part.path, group).slice(start, count) for group, start, count in places]
            return (pieces[0] if len(pieces) == 1 else pa.concat_batches(pieces)) if pieces else None
        group, start = file.place(part.row)
        return self._row_group(part.path, group).slice(start, 1)


def assemble(
    inputs: Iterable[InputParts], schema: pa.Schema, *, several: bool = False, reader: PartReader | None = None
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of the inputs, in the order of the inputs, as batches of about 32 MiB in the final schema.

    Parameters
    ----------
    inputs
        In final order; inputs without results (failed, skipped) are not among them.
    schema
        As ``analyses_schema`` or ``rows_schema`` gives it. A column that none of an input's parts has is null.
    several
        An input may have any number of rows (a table of objects), and none at all; otherwise exactly one.
    reader
        Keeps what was read last; for calls that follow each other.

    Raises
    ------
    RayjobsError
        A part is damaged or doesn't hold the row that it should.
    """
    reader = reader or PartReader(schema.names)
    limit = max(BATCH_BYTES // row_bytes(schema), 1)
    pieces: list[pa.RecordBatch] = []
    rows = 0
    for entry in inputs:
        piece = _rows_of(entry, schema, reader, several)
        if piece.num_rows:
            pieces.append(piece)
            rows += piece.num_rows
        if rows >= limit:
            yield pa.concat_batches(pieces)
            pieces, rows = [], 0
    if pieces:
        yield pa.concat_batches(pieces)


def _rows_of(entry: InputParts, schema: pa.Schema, reader: PartReader, several: bool) -> pa.RecordBatch:
    found = [(part, reader.slice(part, entry)) for part in entry.parts]
    counts = {0 if batch is None else batch.num_rows for _, batch in found}
    if not several and counts != {1}:
        raise RayjobsError(f"the results of {entry.input} are not in the parts that the ledger names")
    if len(counts) > 1:
        raise RayjobsError(f"the parts of {entry.input} disagree on the number of its objects")
    rows = counts.pop() if counts else 0
    chosen = [(part, batch) for part, batch in found if batch is not None]
    arrays = [_column(field, chosen, rows) for field in list(schema)[1:]]
    first = pa.array([entry.input] * rows, schema.field(INPUT).type)
    return pa.RecordBatch.from_arrays([first, *arrays], schema=schema)


def _column(field: pa.Field, chosen: Sequence[tuple[PartColumns, pa.RecordBatch]], rows: int) -> pa.Array:
    for part, batch in reversed(chosen):
        index = batch.schema.get_field_index(field.name)
        if index >= 0 and (part.columns is None or field.name in part.columns):
            return batch.column(index)
    return pa.nulls(rows, field.type)
