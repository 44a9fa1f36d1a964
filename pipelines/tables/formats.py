"""The table formats by name, and the one way to write a table.

A new format is one function and one line here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow as pa

from pipelines.registry import Registry
from pipelines.tables.csv_table import write_csv
from pipelines.tables.json_table import write_json
from pipelines.tables.parquet_table import write_parquet
from pipelines.tables.xlsx_table import Sheet, write_xlsx

TableWriter = Callable[[Path, pa.Schema, Iterable[pa.RecordBatch]], None]


def _write_single_sheet(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    write_xlsx(path, [Sheet(name="table", schema=schema, batches=batches)])


TABLE_FORMATS: Registry[TableWriter] = Registry("table format")
TABLE_FORMATS.register("parquet", write_parquet)
TABLE_FORMATS.register("csv", write_csv)
TABLE_FORMATS.register("json", write_json)
TABLE_FORMATS.register("xlsx", _write_single_sheet)


def write_table(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch], *, format: str) -> None:
    """Write a table, row by row in the order given, into the file ``path``.

    The file is written in place: name a temporary file, and give it its own name when this returns. The same schema and
    rows give the same bytes. Memory holds one row group.

    For a workbook with several tables see ``xlsx_table.write_xlsx``.

    Raises
    ------
    RayjobsError
        The format is unknown, or its optional package is not installed.
    """
    TABLE_FORMATS[format](path, schema, batches)
