"""Parquet files put together from the column chunks of others, which are neither decoded nor encoded again.

A column chunk is the encoded values of one column in one row group; nothing in it says where it lies, only the file's
footer does. So rows that workers encoded become part of a larger table, at the speed of copying. The footer is Thrift
(``thrift_compact``), its fields are those of
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift. Columns of one leaf each: numbers,
texts, lists of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pyarrow as pa

from pipelines.errors import RayjobsError
from pipelines.tables.parquet_table import write_parquet
from pipelines.tables.thrift_compact import (
    I64,
    LIST,
    STRUCT,
    Outline,
    Struct,
    Typed,
    read_list,
    read_struct,
    write_struct,
)

MAGIC = b"PAR1"
TAIL_BYTES = 8
"""Length of the footer as four bytes, and the magic."""
OPEN_SCHEMAS = 16
"""Kept as read; the parts of a job have one, or few."""

# FileMetaData
_SCHEMA, _NUM_ROWS, _ROW_GROUPS = 2, 3, 4
# SchemaElement
_NAME, _NUM_CHILDREN = 4, 5
# RowGroup
_COLUMNS, _TOTAL_BYTE_SIZE, _GROUP_ROWS, _GROUP_OFFSET, _GROUP_COMPRESSED = 1, 2, 3, 5, 6
# ColumnChunk
_CHUNK_OFFSET, _META_DATA = 2, 3
_ELSEWHERE = (1, 4, 6, 8, 9)
"""File path, page indexes, encryption: a chunk that refers to more than its own bytes can't be moved."""
# ColumnMetaData
_PATH, _UNCOMPRESSED, _COMPRESSED, _DATA_PAGE, _INDEX_PAGE, _DICTIONARY_PAGE, _BLOOM_FILTER = 3, 6, 7, 9, 10, 11, 14

_READ = Outline({_ROW_GROUPS: Outline({_COLUMNS: Outline({_META_DATA: Outline({_PATH: Outline()})})})})
"""What says where chunks lie. All else of a footer passes through as bytes, a tenth of the objects and time."""

Field = tuple[str, ...]
"""The schema elements of one column, as text: equal for columns whose chunks are interchangeable."""


@dataclass(frozen=True, slots=True)
class ColumnChunk:
    """The encoded values of a column in one row group."""

    file: EncodedFile
    entry: Struct
    """As the footer has it."""

    @property
    def _meta(self) -> Struct:
        meta: Struct = self.entry[_META_DATA].value
        return meta

    @property
    def start(self) -> int:
        meta = self._meta
        start: int = meta[_DATA_PAGE].value
        return min(start, meta[_DICTIONARY_PAGE].value) if _DICTIONARY_PAGE in meta else start

    @property
    def size(self) -> int:
        size: int = self._meta[_COMPRESSED].value
        return size

    @property
    def uncompressed_size(self) -> int:
        size: int = self._meta[_UNCOMPRESSED].value
        return size

    def moved(self, start: int) -> Struct:
        """Its entry in the footer of a file where it begins at ``start``."""
        shift = start - self.start
        meta = dict(self._meta)
        for place in (_DATA_PAGE, _DICTIONARY_PAGE):
            if place in meta:
                meta[place] = Typed(I64, meta[place].value + shift)
        entry = dict(self.entry)
        if entry[_CHUNK_OFFSET].value:
            entry[_CHUNK_OFFSET] = Typed(I64, entry[_CHUNK_OFFSET].value + shift)
        entry[_META_DATA] = Typed(STRUCT, meta)
        return entry


@dataclass(frozen=True, slots=True)
class RowGroup:
    """Some rows, as chunks by column name."""

    rows: int
    chunks: dict[str, ColumnChunk]


class EncodedFile:
    """A Parquet file, or its bytes, as row groups of column chunks.

    Raises
    ------
    RayjobsError
        The file is not there, is no whole Parquet file, or has columns of several leaves or of other files.
    """

    def __init__(self, source: Path | bytes) -> None:
        self._source = source
        self.path = Path() if isinstance(source, bytes) else source
        self.name = "a table in memory" if isinstance(source, bytes) else source.name
        try:
            data, end = self._footer()
            self.footer, _ = read_struct(data, outline=_READ)
            self.fields = _fields(self.footer[_SCHEMA].value)
            self.groups = [self._group(group, end) for group in self.footer[_ROW_GROUPS].value.value]
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise RayjobsError(f"part {self.name} can't be read: {error}") from error
        self.starts = [0]
        """Number of the first row of each row group, and of all rows."""
        for group in self.groups:
            self.starts.append(self.starts[-1] + group.rows)

    def row_group(self, first: int, rows: int) -> RowGroup | None:
        """The row group of exactly these rows, if they are one."""
        if first not in self.starts[:-1]:
            return None
        group = self.groups[self.starts.index(first)]
        return group if group.rows == rows else None

    def read(self, chunks: Sequence[ColumnChunk]) -> list[bytes]:
        """The bytes of some of its chunks."""
        if isinstance(self._source, bytes):
            return [self._source[chunk.start : chunk.start + chunk.size] for chunk in chunks]
        try:
            with self._source.open("rb", buffering=0) as file:
                found = [os.pread(file.fileno(), chunk.size, chunk.start) for chunk in chunks]
        except OSError as error:
            raise RayjobsError(f"part {self.name} can't be read: {error}") from error
        if any(len(data) != chunk.size for data, chunk in zip(found, chunks, strict=True)):
            raise RayjobsError(f"part {self.name} can't be read: it ends too early")
        return found

    def _footer(self) -> tuple[bytes, int]:
        """The footer, and where it begins."""
        if isinstance(self._source, bytes):
            size = _footer_size(self._source[-TAIL_BYTES:])
            start = len(self._source) - TAIL_BYTES - size
            return self._source[start:-TAIL_BYTES], start
        with self._source.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(end - TAIL_BYTES, 0))
            start = end - TAIL_BYTES - _footer_size(file.read())
            file.seek(max(start, 0))
            return file.read(end - TAIL_BYTES - start), start

    def _group(self, group: Struct, end: int) -> RowGroup:
        chunks = {}
        for entry in group[_COLUMNS].value.value:
            if any(field in entry for field in _ELSEWHERE):
                raise ValueError("a column chunk refers to other places")
            meta = entry[_META_DATA].value
            if _INDEX_PAGE in meta or _BLOOM_FILTER in meta:
                raise ValueError("a column chunk refers to other places")
            chunk = ColumnChunk(self, entry)
            if not len(MAGIC) <= chunk.start <= chunk.start + chunk.size <= end:
                raise ValueError("a column chunk lies outside of it")
            chunks[meta[_PATH].value.value[0].decode()] = chunk
        return RowGroup(group[_GROUP_ROWS].value, chunks)


def encode(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> EncodedFile:
    """Rows as ``write_parquet`` encodes them, in memory."""
    sink = pa.BufferOutputStream()
    write_parquet(sink, schema, batches)
    return EncodedFile(sink.getvalue().to_pybytes())


def fields_of(schema: pa.Schema) -> Mapping[str, Field]:
    """What the columns of a file must be, to be taken over into a table of this schema."""
    return encode(schema, ()).fields


def write_row_groups(path: Path, schema: pa.Schema, groups: Iterable[RowGroup]) -> None:
    """Write one file from the chunks of others; the same bytes as ``write_parquet`` would for the same row groups.

    Each group has the columns of the schema, with fields equal to ``fields_of(schema)``; more columns are left out.
    """
    footer = encode(schema, ()).footer
    rows = 0
    entries: list[Struct] = []
    with path.open("xb") as sink:
        sink.write(MAGIC)
        place = len(MAGIC)
        for group in groups:
            chunks = [group.chunks[name] for name in schema.names]
            start, columns = place, []
            for chunk, data in zip(chunks, _read(chunks), strict=True):
                sink.write(data)
                columns.append(chunk.moved(place))
                place += chunk.size
            entry: Struct = {
                _COLUMNS: Typed(LIST, Typed(STRUCT, columns)),
                _TOTAL_BYTE_SIZE: Typed(I64, sum(chunk.uncompressed_size for chunk in chunks)),
                _GROUP_ROWS: Typed(I64, group.rows),
                _GROUP_OFFSET: Typed(I64, start),
                _GROUP_COMPRESSED: Typed(I64, place - start),
            }
            rows += group.rows
            entries.append(entry)
        footer[_NUM_ROWS] = Typed(I64, rows)
        footer[_ROW_GROUPS] = Typed(LIST, Typed(STRUCT, entries))
        data = write_struct(footer)
        sink.write(data + len(data).to_bytes(4, "little") + MAGIC)


def _read(chunks: Sequence[ColumnChunk]) -> list[bytes]:
    """Their bytes, each file opened once."""
    found: dict[int, bytes] = {}
    for file in {id(chunk.file): chunk.file for chunk in chunks}.values():
        places = [place for place, chunk in enumerate(chunks) if chunk.file is file]
        found.update(zip(places, file.read([chunks[place] for place in places]), strict=True))
    return [found[place] for place in range(len(chunks))]


def _footer_size(tail: bytes) -> int:
    if len(tail) < TAIL_BYTES or tail[4:] != MAGIC:
        raise ValueError("it is no whole Parquet file")
    return int.from_bytes(tail[:4], "little")


@lru_cache(OPEN_SCHEMAS)
def _fields(schema: bytes) -> Mapping[str, Field]:
    """Column name -> its schema elements, from the flattened tree of all."""
    root, *columns = read_list(schema).value
    elements = iter(columns)
    return dict(_field(elements) for _ in range(root[_NUM_CHILDREN].value))


def _field(elements: Iterable[Struct]) -> tuple[str, Field]:
    walk = iter(elements)
    found: list[str] = []
    name, left = "", 1
    while left:
        element = next(walk, None)
        if element is None:
            raise ValueError("its schema ends too early")
        name = name or element[_NAME].value.decode()
        found.append(repr(sorted(element.items())))
        left += (element[_NUM_CHILDREN].value if _NUM_CHILDREN in element else 0) - 1
    return name, tuple(found)
