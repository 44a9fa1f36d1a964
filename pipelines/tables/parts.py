"""Part files: the rows of some images as Parquet; a worker's part holds a few, a sealed part a range of the inputs.

Covers writing them, reading single row groups, and the step that makes a finished file visible. Which part holds which
input is the ledger's knowledge; the rows of objects lie in files beside it, whose names follow from the part's.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.errors import RayjobsError
from pipelines.storage.custody import Written
from pipelines.storage.local_files import look, own_file, replace_own, sha256_of
from pipelines.tables.parquet_table import write_parquet
from pipelines.tables.schema import INPUT


def objects_part(part: str, analysis: str) -> str:
    """The name of the file with the objects of the images in a part: ``8f3a.part`` has ``8f3a.objects.part``."""
    stem, _, suffix = part.rpartition(".")
    return f"{stem}.{analysis}.{suffix}"


def scopes_part(part: str, analysis: str) -> str:
    """The name of the file with the arrays of a sealed part: ``000000-8f3a.luma_waveform.scopes.parquet``."""
    return objects_part(part, f"{analysis}.scopes")


def part_of(name: str) -> str:
    """The part that a file belongs to: itself, or the part whose objects or arrays it holds."""
    return f"{name.partition('.')[0]}.{name.rpartition('.')[2]}"


def write_part(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch], *, durable: bool = False) -> None:
    """Write rows as one file, which appears under its name only when it is whole.

    ``durable`` waits until the file and its name are on disk and would survive a power cut; without it they survive
    the death of any process.
    """
    with appearing(path, durable=durable) as temporary:
        write_parquet(temporary, schema, batches)


@contextmanager
def appearing(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """A temporary file to write, which becomes ``path`` at the end of the block; nothing stays of one that fails.

    For files among the job's own, below ``.rayjobs``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with own_file(path) as temporary:
        yield temporary
        if durable:
            _sync(temporary)
        replace_own(temporary, path)
        if durable:
            _sync(path.parent)


def files_as_written(directory: Path, names: Iterable[str]) -> tuple[Written, ...]:
    """Those of a sealed part's files that are there, as they are, by name."""
    listed = []
    for name in names:
        path = directory / name
        sha256 = sha256_of(path)
        if sha256 is not None:
            present = look(path)
            listed.append(Written(path=name, sha256=sha256, bytes=present.bytes, mtime_ns=present.mtime_ns))
    return tuple(listed)


class PartFile:
    """A part that is read row group by row group; one of objects finds its rows by the input's readable path.

    Raises
    ------
    RayjobsError
        The file is not there or is not a whole Parquet file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with pa.OSFile(os.fsencode(path), "rb") as source:
                self._metadata = pq.read_metadata(source)
        except (OSError, pa.ArrowException) as error:
            raise RayjobsError(f"part {path.name} can't be read: {error}") from error
        rows = (self._metadata.row_group(index).num_rows for index in range(self._metadata.num_row_groups))
        self._starts = list(accumulate(rows, initial=0))
        self._places: dict[str, tuple[int, int]] | None = None

    def place(self, row: int) -> tuple[int, int]:
        """The row group of a row, and the row in it."""
        if not 0 <= row < self._starts[-1]:
            raise RayjobsError(f"part {self._path.name} has no row {row}")
        group = bisect_right(self._starts, row) - 1
        return group, row - self._starts[group]

    def pieces(self, name: str) -> list[tuple[int, int, int]]:
        """The rows of an input in a part of objects: (row group, first row in it, number of rows), in order."""
        if self._places is None:
            self._places = self._find_inputs()
        start, count = self._places.get(name, (0, 0))
        found = []
        while count:
            group, row = self.place(start)
            rows = min(count, self._starts[group + 1] - start)
            found.append((group, row, rows))
            start, count = start + rows, count - rows
        return found

    def _find_inputs(self) -> dict[str, tuple[int, int]]:
        """Readable path of each input -> its first row and number of rows; the column is read a group at a time."""
        places: dict[str, tuple[int, int]] = {}
        for group in range(self._metadata.num_row_groups):
            names = self.read(group, [INPUT]).column(0).dictionary_encode()
            codes = names.indices.to_numpy()
            starts = np.flatnonzero(np.diff(codes, prepend=-1))
            counts = np.diff(starts, append=codes.size)
            for code, start, count in zip(codes[starts].tolist(), starts.tolist(), counts.tolist(), strict=True):
                name = names.dictionary[code].as_py()
                first, before = places.get(name, (self._starts[group] + start, 0))
                if first + before != self._starts[group] + start:
                    raise RayjobsError(f"part {self._path.name} holds the rows of an input in two places")
                places[name] = (first, before + count)
        return places

    def read(self, group: int, columns: list[str] | None = None) -> pa.RecordBatch:
        """One row group, whole or some columns of it."""
        try:
            with pa.OSFile(os.fsencode(self._path), "rb") as source:
                file = pq.ParquetFile(source, metadata=self._metadata)
                table = file.read_row_group(group, columns=columns, use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise RayjobsError(f"part {self._path.name} can't be read: {error}") from error
        return table.combine_chunks().to_batches()[0]


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
