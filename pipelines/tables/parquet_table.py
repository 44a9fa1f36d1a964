"""Tables as Parquet: how they are encoded, and where they are cut.

Encoding, chosen by measurement on the six scopes of photographs of 1920x1280 (1.31 MB raw per image): arrays as
DELTA_BINARY_PACKED with zstd level 1 take 187 kB and 3.8 ms per image; plain 237 kB and 4.2 ms, dictionary 219 kB and
4.4 ms, level 3 183 kB and 4.0 ms. BYTE_STREAM_SPLIT is better still (168 kB, 2.7 ms), but readers older than 2026
accept it for floats only.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.tables.batches import rebatch
from pipelines.tables.schema import row_bytes

GROUP_BYTES = 32 * 2**20
"""Raw size of a row group: what a reader of one group, and the writer, must hold."""
FILE_BYTES = 2**29
FILE_ROWS = 2**16
"""Raw size and rows of one file of a table that is a directory, at most."""
WIDE_FILE_ROWS = 512
"""The same for wide rows, whichever they are: fewer or more analyses leave the cuts where they are. With six scopes
95 MB as written."""
SAVED_ROWS = 8
"""Places of the input list whose rows a worker saves together, and which are a row group of a table of wide rows."""
WIDE_BYTES = 2**17
"""Raw size from which on a row is wide: encoding it takes long enough to do it only once, by the worker."""
ZSTD_LEVEL = 1


def write_parquet(target: Path | pa.NativeFile, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """Write one file, or into a sink; its bytes depend on schema and rows alone, not on how the batches are cut."""
    if isinstance(target, Path):
        with pa.OSFile(os.fsencode(target), "wb") as sink:
            write_parquet(sink, schema, batches)
        return
    with pq.ParquetWriter(target, schema, **writer_options(schema)) as writer:
        for group in rebatch(batches, _rows_per_group(schema)):
            writer.write_table(pa.Table.from_batches([group], schema), row_group_size=group.num_rows)


def has_wide_rows(schema: pa.Schema) -> bool:
    """Whether the row groups of a table of images are those that workers saved (``SAVED_ROWS``)."""
    return row_bytes(schema) >= WIDE_BYTES


def rows_per_file(schema: pa.Schema) -> int:
    """How many rows a file may have, always whole row groups; a table with more becomes a directory."""
    if has_wide_rows(schema):
        return WIDE_FILE_ROWS
    group = _rows_per_group(schema)
    return max(min(FILE_BYTES // row_bytes(schema), FILE_ROWS) // group, 1) * group


def _rows_per_group(schema: pa.Schema) -> int:
    if has_wide_rows(schema):
        return SAVED_ROWS
    return min(max(GROUP_BYTES // row_bytes(schema), 1), FILE_ROWS)


def writer_options(schema: pa.Schema) -> dict[str, Any]:
    """Writer options: dictionaries for texts, deltas for arrays of integers, statistics for scalars."""
    encodings = {}
    texts, scalars = [], []
    for field in schema:
        if pa.types.is_fixed_size_list(field.type):
            if pa.types.is_integer(field.type.value_type):
                encodings[f"{field.name}.list.element"] = "DELTA_BINARY_PACKED"
        elif pa.types.is_primitive(field.type):
            scalars.append(field.name)
        elif pa.types.is_string(field.type):
            texts.append(field.name)
            scalars.append(field.name)
    return {
        "compression": "zstd",
        "compression_level": ZSTD_LEVEL,
        "use_dictionary": texts,
        "column_encoding": encodings,
        "write_statistics": scalars,
    }
