"""Part files: the rows of a few images, written often by workers and read once at the end.

Covers Arrow IPC files compressed with lz4, reading single row groups of sealed parts (Parquet), and the step that makes
a finished file visible. Which part holds which input is the ledger's knowledge.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from itertools import accumulate
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.errors import RayjobsError


def write_part(path: Path, batch: pa.RecordBatch, *, durable: bool = False) -> None:
    """Write a batch as one Arrow IPC file, which appears under its name only when it is whole.

    ``durable`` waits until the file and its name are on disk and would survive a power cut; without it they survive
    the death of any process.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with pa.OSFile(os.fsencode(temporary), "wb") as sink:
            options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
            with pa.ipc.new_file(sink, batch.schema, options=options) as writer:
                writer.write_batch(batch)
        publish(temporary, path, durable=durable)
    finally:
        temporary.unlink(missing_ok=True)


def read_part(path: Path) -> pa.RecordBatch:
    """Read a part whole.

    Raises
    ------
    RayjobsError
        The file is not there or is not a whole part.
    """
    try:
        with pa.OSFile(os.fsencode(path), "rb") as source:
            return pa.ipc.open_file(source).get_batch(0)
    except (OSError, pa.ArrowException) as error:
        raise RayjobsError(f"part {path.name} can't be read: {error}") from error


class SealedPart:
    """A sealed part that is read row group by row group.

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

    def place(self, row: int) -> tuple[int, int]:
        """The row group of a row, and the row in it."""
        if not 0 <= row < self._starts[-1]:
            raise RayjobsError(f"part {self._path.name} has no row {row}")
        group = bisect_right(self._starts, row) - 1
        return group, row - self._starts[group]

    def read(self, group: int) -> pa.RecordBatch:
        """One row group whole."""
        try:
            with pa.OSFile(os.fsencode(self._path), "rb") as source:
                file = pq.ParquetFile(source, metadata=self._metadata)
                table = file.read_row_group(group, use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise RayjobsError(f"part {self._path.name} can't be read: {error}") from error
        return table.combine_chunks().to_batches()[0]


def publish(temporary: Path, final: Path, *, durable: bool = False) -> None:
    """Give a finished file of the same directory its name, replacing what bore it, in one step."""
    if durable:
        _sync(temporary)
    os.replace(temporary, final)
    if durable:
        _sync(final.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
