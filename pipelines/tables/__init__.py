"""Result tables: from the columns of the analyses to the files that a person opens.

results of one image -> to_batch -> write_part -> (part files of many workers)
part files + inputs in order -> seal_part      -> one range of a large table, as Parquet
sealed parts                 -> write_table    -> parquet, csv, json, xlsx of scalars; parquet of scopes

schema.py     which columns, types and units        batches.py   results -> record batch
parts.py      crash-safe files between the workers   assemble.py  parts -> batches in final order
cells.py      names and texts made harmless          formats.py   TABLE_FORMATS, write_table
manifest.py   what happened to every input           *_table.py   one file per format
sealing.py    final files of one range each          values.py    Arrow arrays as Python values, or numpy's
column_chunks.py   encoded columns, taken over       thrift_compact.py   the footers of Parquet files
group_statistics.py   numbers per group of inputs   input_fields.py   columns of inputs

Nothing here depends on the clock, the host or the order in which workers finished: the same rows give the same bytes.
"""

from pipelines.tables.assemble import InputParts, PartColumns, assemble
from pipelines.tables.batches import check_results, to_batch, to_rows_batch
from pipelines.tables.cells import printable, readable_path, safe_cell
from pipelines.tables.formats import TABLE_FORMATS, write_table
from pipelines.tables.manifest import manifest_batch, manifest_schema, write_manifest
from pipelines.tables.parquet_table import FILE_BYTES, SAVED_ROWS, WIDE_FILE_ROWS, has_wide_rows, rows_per_file
from pipelines.tables.parts import PartFile, objects_part, part_of, scopes_part, write_part
from pipelines.tables.schema import (
    analyses_schema,
    label_of,
    object_schemas,
    row_bytes,
    rows_schema,
    saved_schema,
    scalars_of,
    scopes_of,
    scopes_schemas,
)
from pipelines.tables.sealing import ObjectsSeal, SealRequest, seal_part
from pipelines.tables.values import numbers_of
from pipelines.tables.xlsx_table import Sheet, check_xlsx, write_xlsx

__all__ = [
    "FILE_BYTES",
    "SAVED_ROWS",
    "TABLE_FORMATS",
    "WIDE_FILE_ROWS",
    "InputParts",
    "ObjectsSeal",
    "PartColumns",
    "PartFile",
    "SealRequest",
    "Sheet",
    "analyses_schema",
    "assemble",
    "check_results",
    "check_xlsx",
    "has_wide_rows",
    "label_of",
    "manifest_batch",
    "manifest_schema",
    "numbers_of",
    "object_schemas",
    "objects_part",
    "part_of",
    "printable",
    "readable_path",
    "row_bytes",
    "rows_per_file",
    "rows_schema",
    "safe_cell",
    "saved_schema",
    "scalars_of",
    "scopes_of",
    "scopes_part",
    "scopes_schemas",
    "seal_part",
    "to_batch",
    "to_rows_batch",
    "write_manifest",
    "write_part",
    "write_table",
    "write_xlsx",
]
