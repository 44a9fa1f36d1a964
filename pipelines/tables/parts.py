"""Part files: the rows of a few images, written often by workers and read once at the end.

Covers Arrow IPC files compressed with lz4 and the step that makes a finished file visible. Which part holds which
input is the ledger's knowledge.
"""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa

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
