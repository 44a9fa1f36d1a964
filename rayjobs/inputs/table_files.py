"""Tables as files: CSV, Parquet, Arrow and JSON lines, each as rows of plain values; read in pieces, as data only.

Rows are counted from 1; the head of a CSV isn't one. Covers names, types and bounds; what a cell means:
``cell_types``, what a row means: ``input_tables``.
"""

from __future__ import annotations

import csv
import json
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa

from pipelines.column_models import ColumnType
from pipelines.errors import JobError
from pipelines.tables.cell_types import has_comma, type_of_text, type_of_value
from pipelines.text_encoding import is_utf16
from rayjobs.inputs.ipc_sizes import MAGIC, MalformedError, decompressed_sizes

MAX_TABLE_BYTES = 4 * 2**30
MAX_ROWS = 10_000_000
MAX_ROW_BYTES = 2**20
MAX_TABLE_COLUMNS = 10_000
MAX_CHUNK_BYTES = 2**29
"""Of a column of one row group, decompressed."""
MAX_BATCH_BYTES = 2**30
"""Of a record batch, or of all dictionaries, decompressed."""
BATCH_ROWS = 4_096
MAX_FLOAT_DIGITS, MAX_INT_DIGITS = 15, 18
"""What every decimal of so many digits is told apart by."""
COMMAS = "numbers with a comma"
"""What a column of CSV is that shows nothing else, such as 0,5."""

Row = tuple[int, Sequence[Any] | str]
"""Its number, and a value of each column that was asked for; or what is wrong with it, in words."""


class TableFile(ABC):
    """A table whose file exists."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def names(self) -> list[str]:
        """Its columns; of JSON lines, the keys of all rows."""
        names = self._read_names()
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise self.fault(f"two columns are called {twice[0]!r}")
        if len(names) > MAX_TABLE_COLUMNS:
            raise self.fault(f"has {len(names):,} columns, and at most {MAX_TABLE_COLUMNS:,} may be")
        return names

    @abstractmethod
    def _read_names(self) -> list[str]: ...

    @abstractmethod
    def types(self, names: Sequence[str]) -> dict[str, ColumnType | str]:
        """The type of each column; what has none that a column of inputs may have comes with the file's word for it."""

    @abstractmethod
    def rows(self, names: Sequence[str]) -> Iterator[Row]:
        """Every row."""

    def fault(self, text: str) -> JobError:
        return JobError(f"inputs: the table {self.path}: {text}")

    @contextmanager
    def reading(self) -> Iterator[None]:
        """What goes wrong within is told as the table's fault."""
        try:
            yield
        except OSError as error:
            raise self.fault(f"can't be read: {error.strerror or error}") from error
        except (pa.ArrowException, MalformedError, RecursionError) as error:
            raise self.fault(f"can't be read: {error}") from error


def open_table(path: Path) -> TableFile:
    """The table in a file.

    Raises
    ------
    JobError
        It can't be read, is too large, or its suffix is none of those known.
    """
    kind = _KINDS.get(path.suffix.lower())
    if kind is None:
        raise JobError(f"inputs: the table {path}: {path.suffix or 'no suffix'} is none of {', '.join(_KINDS)}")
    table = kind(path)
    with table.reading():
        if not path.is_file():
            what = "is a directory: name its files, as an entry of `inputs` each" if path.is_dir() else "is no file"
            raise table.fault(what if path.exists() else "there is no such file: correct it")
        if path.stat().st_size > MAX_TABLE_BYTES:
            raise table.fault(f"is larger than {MAX_TABLE_BYTES:,} bytes; split it")
    return table


class _TextTable(TableFile):
    """A table whose lines are texts."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._types: dict[str, ColumnType | str] | None = None

    @contextmanager
    def opened(self) -> Iterator[TextIO]:
        with self.reading():
            with self.path.open("rb") as raw:
                if is_utf16(raw.read(4096)):
                    raise self.fault("is UTF-16; save it as UTF-8")
            with self.path.open(encoding="utf-8-sig", newline="") as stream:
                yield stream

    def types(self, names: Sequence[str]) -> dict[str, ColumnType | str]:
        found: dict[str, ColumnType | str] = {}
        for _, values in self.rows(names):
            for name, value in zip(names, values, strict=True) if not isinstance(values, str) else ():
                if value is not None and found.get(name) != "text":
                    self._widen(found, name, value)
        return {name: found.get(name, "text") for name in names}

    @staticmethod
    @abstractmethod
    def _widen(found: dict[str, ColumnType | str], name: str, value: Any) -> None:
        """Take a value into account in what is known of its column's type."""


class _CsvTable(_TextTable):
    """RFC 4180, or with semicolons, as spreadsheets write it where decimals have a comma.

    A field without characters has no value.
    """

    def _read_names(self) -> list[str]:
        with self.opened() as stream:
            return next(self._reader(stream), [])

    def rows(self, names: Sequence[str]) -> Iterator[Row]:
        head = self.names
        places = [head.index(name) for name in names]
        with self.opened() as stream:
            last = 0
            for number, fields in enumerate(self._reader(stream)):
                if not fields or number == 0:
                    continue
                if len(head) == 1:  # then an empty line is a row, unless none follows
                    yield from ((empty, [None for _ in places]) for empty in range(last + 1, number))
                    last = number
                if len(fields) != len(head):
                    yield number, f"has {len(fields)} fields, and the head {len(head)}"
                else:
                    yield number, [fields[place] or None for place in places]

    def _reader(self, stream: TextIO) -> Iterator[list[str]]:
        lines = _bounded(stream, self)
        head = next(lines, "")
        rows = csv.reader(chain([head], lines), delimiter=self._separator(head), strict=True)
        try:
            yield from rows
        except csv.Error as error:
            told = f"line {rows.line_num:,} can't be read: {error}; look for a quotation mark up to there"
            raise self.fault(told) from error

    def _separator(self, head: str) -> str:
        if self.path.suffix.lower() == ".tsv":
            return "\t"
        return ";" if ";" in head and "," not in head else ","

    @staticmethod
    def _widen(found: dict[str, ColumnType | str], name: str, value: Any) -> None:
        kind: ColumnType | str = type_of_text(value)
        if kind == "text" and has_comma(value):
            kind = COMMAS
        before = found.setdefault(name, kind)
        if before != kind:
            wider = {before, kind} - {"int"}
            found[name] = wider.pop() if wider in ({"float"}, {COMMAS}) else "text"


class _JsonLines(_TextTable):
    """One object per line."""

    def _read_names(self) -> list[str]:
        names: dict[str, None] = {}
        for number, found in self._objects():
            if isinstance(found, dict):
                names.update(dict.fromkeys(found))
            elif not names:
                raise self.fault(f"row {number} {found}")
            if len(names) > MAX_TABLE_COLUMNS:
                break
        return list(names)

    def rows(self, names: Sequence[str]) -> Iterator[Row]:
        for number, found in self._objects():
            yield number, found if isinstance(found, str) else [found.get(name) for name in names]

    def _objects(self) -> Iterator[tuple[int, dict[str, Any] | str]]:
        with self.opened() as stream:
            for number, line in enumerate(filter(str.strip, _bounded(stream, self)), start=1):
                try:
                    found = json.loads(line, parse_constant=_refused)
                except ValueError as error:
                    yield number, f"is no JSON: {error}"
                    continue
                yield number, found if isinstance(found, dict) else "is no object, such as one in {}"

    @staticmethod
    def _widen(found: dict[str, ColumnType | str], name: str, value: Any) -> None:
        kind = type_of_value(value)
        if name not in found:
            found[name] = kind or type(value).__name__
        elif found[name] == "int" and kind == "float":
            found[name] = "float"


class _ArrowTable(TableFile):
    """Parquet, and Arrow's IPC as a file or a stream."""

    def _read_names(self) -> list[str]:
        with self.reading():
            names: list[str] = self._read_schema().names
        return names

    def types(self, names: Sequence[str]) -> dict[str, ColumnType | str]:
        with self.reading():
            schema = self._read_schema()
        return {name: _column_type(schema.field(name).type) for name in names}

    def rows(self, names: Sequence[str]) -> Iterator[Row]:
        number = 0
        with self.reading():
            for batch in self._batches(names):
                columns = [self._plain(name, batch.column(name)) for name in names]
                for values in zip(*columns, strict=True):
                    number += 1
                    yield number, values

    def _plain(self, name: str, column: pa.Array) -> list[Any]:
        """Python values; times in microseconds, since whoever asks for finer ones would need pandas."""
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        try:
            if pa.types.is_timestamp(kind):
                column = column.cast(kind).cast(pa.timestamp("us", None if kind.tz is None else "UTC"))
            if pa.types.is_dictionary(column.type):
                return _of_dictionary(column)
            values: list[Any] = column.to_pylist()
        except (ValueError, OverflowError) as error:
            known = "dates and times are microseconds of the years 1 to 9999"
            raise self.fault(f"column {name!r} can't be taken over ({known}): {error}") from error
        return values

    @abstractmethod
    def _read_schema(self) -> pa.Schema: ...

    @abstractmethod
    def _batches(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]: ...


class _ParquetTable(_ArrowTable):
    def _read_schema(self) -> pa.Schema:
        import pyarrow.parquet as pq

        with pa.OSFile(os.fsencode(self.path), "rb") as source:
            return pq.read_schema(source)

    def _batches(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        import pyarrow.parquet as pq

        with pa.OSFile(os.fsencode(self.path), "rb") as source, pq.ParquetFile(source) as file:
            for group in range(file.num_row_groups):
                said = file.metadata.row_group(group)
                chunks = (said.column(place) for place in range(said.num_columns))
                for chunk in chunks:
                    if chunk.path_in_schema in names and chunk.total_uncompressed_size > MAX_CHUNK_BYTES:
                        raise self.fault(
                            f"column {chunk.path_in_schema!r} has more than {MAX_CHUNK_BYTES:,} bytes in one row "
                            "group; write smaller ones"
                        )
            yield from file.iter_batches(BATCH_ROWS, columns=list(names), use_threads=False)


class _IpcTable(_ArrowTable):
    def _read_schema(self) -> pa.Schema:
        with pa.OSFile(os.fsencode(self.path), "rb") as source, _ipc(source) as reader:
            return reader.schema

    def _batches(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        schema = self._read_schema()
        with pa.OSFile(os.fsencode(self.path), "rb") as source:
            if any(size > MAX_BATCH_BYTES for size in decompressed_sizes(source, schema, names)):
                raise self.fault(
                    f"has more than {MAX_BATCH_BYTES:,} bytes in one record batch, or in its dictionaries, once "
                    "decompressed; write smaller ones"
                )
        places = [schema.names.index(name) for name in dict.fromkeys(names)]  # others aren't even read
        with pa.OSFile(os.fsencode(self.path), "rb") as source, _ipc(source, places) as reader:
            if isinstance(reader, pa.ipc.RecordBatchStreamReader):
                batches: Iterator[pa.RecordBatch] = iter(reader)
            else:
                batches = (reader.get_batch(place) for place in range(reader.num_record_batches))
            for batch in batches:
                for start in range(0, batch.num_rows, BATCH_ROWS):
                    yield batch.slice(start, BATCH_ROWS)


_KINDS: dict[str, type[TableFile]] = {
    ".csv": _CsvTable,
    ".tsv": _CsvTable,
    ".parquet": _ParquetTable,
    ".arrow": _IpcTable,
    ".feather": _IpcTable,
    ".ipc": _IpcTable,
    ".jsonl": _JsonLines,
    ".ndjson": _JsonLines,
}


def _of_dictionary(column: pa.DictionaryArray) -> list[Any]:
    """Its values, each of which is there once, however many rows have it."""
    used = column.indices.unique().drop_null()
    values = dict(zip(used.to_pylist(), column.dictionary.take(used).to_pylist(), strict=True))
    return [None if index is None else values[index] for index in column.indices.to_pylist()]


def _ipc(source: pa.NativeFile, places: Sequence[int] | None = None) -> Any:
    """A reader of the columns in some places, or of all."""
    begin = source.read(len(MAGIC))
    source.seek(0)
    options = pa.ipc.IpcReadOptions(included_fields=None if places is None else list(places), use_threads=False)
    opened = pa.ipc.open_file if begin == MAGIC else pa.ipc.open_stream
    return opened(source, options=options)


def _bounded(stream: TextIO, table: TableFile) -> Iterator[str]:
    """The lines of a text, none of them endless."""
    number = 0
    try:
        while line := stream.readline(MAX_ROW_BYTES):
            number += 1
            if len(line) == MAX_ROW_BYTES:
                raise table.fault(f"has a line of more than {MAX_ROW_BYTES:,} characters")
            yield line
    except UnicodeDecodeError as error:
        raise table.fault(f"isn't UTF-8, after line {number:,}; save it as UTF-8") from error


def _refused(word: str) -> None:
    raise ValueError(f"{word} is no JSON")


def _column_type(kind: pa.DataType) -> ColumnType | str:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if pa.types.is_timestamp(kind):
        return "timestamp" if kind.tz is None else "timestamp_utc"
    if pa.types.is_decimal(kind):
        if kind.scale <= 0 and kind.precision - kind.scale <= MAX_INT_DIGITS:
            return "int"
        return "float" if kind.precision <= MAX_FLOAT_DIGITS else str(kind)
    return next((name for name, tests in _TYPES.items() if any(test(kind) for test in tests)), str(kind))


_TYPES: dict[ColumnType, tuple[Callable[[pa.DataType], bool], ...]] = {
    "bool": (pa.types.is_boolean,),
    "int": (pa.types.is_integer,),
    "float": (pa.types.is_floating,),
    "text": (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null),
    "date": (pa.types.is_date,),
}
