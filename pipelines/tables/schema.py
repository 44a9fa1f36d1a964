"""The columns of the result tables as Arrow types: names, types, units and meanings.

Covers the tables ``analyses`` (one row per image) and those with one row per object, which people open and which hold
scalars alone: numbers, texts; and the tables of scopes beside them, which hold the arrays. Which columns an analysis
has is declared beside its function, in ``pipelines/analyses``. Does not cover the manifest.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa

from pipelines.analyses.frames import TABLED
from pipelines.analyses.registry import Analysis, Column, of_analysis
from pipelines.errors import RayjobsError
from pipelines.models import AnalysisRequest

INPUT = "input"
"""First column of every table: the input's readable path."""

_SCALARS = {
    "float64": pa.float64(),
    "int64": pa.int64(),
    "uint32": pa.uint32(),
    "uint64": pa.uint64(),
    "bool": pa.bool_(),
    "string": pa.string(),
}
_ARRAY = re.compile(r"(?P<value>[a-z0-9]+)\[(?P<shape>[1-9][0-9]*(?:,[1-9][0-9]*)*)\]")


def array_shape(type_name: str) -> tuple[int, ...]:
    """The shape of a column type: ``uint32[256,256]`` gives (256, 256), a scalar gives ()."""
    match = _ARRAY.fullmatch(type_name)
    return tuple(map(int, match["shape"].split(","))) if match else ()


def arrow_type(type_name: str) -> pa.DataType:
    """The Arrow type of a column type as ``Column.type`` writes it; arrays become flat fixed-size lists."""
    match = _ARRAY.fullmatch(type_name)
    value = _SCALARS.get(match["value"] if match else type_name)
    if value is None or (match and value == pa.string()):
        raise RayjobsError(
            f"unknown column type {type_name!r}; known: {', '.join(_SCALARS)}, or numbers as uint32[256]"
        )
    # "element" is the name that the Parquet standard gives to list items, so it is the same after reading back.
    return pa.list_(pa.field("element", value), math.prod(array_shape(type_name))) if match else value


def column_field(column: Column) -> pa.Field:
    """One column as an Arrow field; label, unit, meaning and shape are its metadata."""
    field = described(
        column.name, arrow_type(column.type), label=column.title, unit=column.unit, meaning=column.meaning
    )
    shape = ",".join(map(str, array_shape(column.type)))
    return field.with_metadata({**field.metadata, "shape": shape}) if shape else field


def described(
    name: str, kind: pa.DataType, *, label: str, meaning: str, unit: str = "", nullable: bool = True
) -> pa.Field:
    """A column that no analysis declares, with what every column has: label, unit and a sentence."""
    return pa.field(name, kind, nullable=nullable, metadata={"label": label, "unit": unit, "meaning": meaning})


def label_of(field: pa.Field) -> str:
    """What people call a column, with its unit if it has one: ``Objects: Mean area (µm²)``."""
    label, unit = (field.metadata[key].decode() for key in (b"label", b"unit"))
    return f"{label} ({unit})" if unit not in ("", "1") else label


def field_shape(field: pa.Field) -> tuple[int, ...]:
    """The shape of the array in one cell of a field; () for a scalar."""
    if not pa.types.is_fixed_size_list(field.type):
        return ()
    text = (field.metadata or {}).get(b"shape", str(field.type.list_size).encode())
    return tuple(map(int, text.decode().split(",")))


def columns_schema(fields: Iterable[pa.Field]) -> pa.Schema:
    """The schema of a table about inputs: ``input`` first, then the fields."""
    return described_schema([INPUT_FIELD, *fields])


def described_schema(fields: Sequence[pa.Field], metadata: Mapping[str, str] | None = None) -> pa.Schema:
    """A final table's schema; the key ``columns`` describes all columns as JSON.

    Field metadata reaches only readers that know Arrow; the JSON text reaches every reader of Parquet.
    """
    listed = {
        field.name: {key.decode(): value.decode() for key, value in (field.metadata or {}).items()} for field in fields
    }
    text = json.dumps(listed, ensure_ascii=False, separators=(",", ":"))
    return pa.schema(fields, metadata={**(metadata or {}), "columns": text})


def is_scope(field: pa.Field) -> bool:
    """Whether a column holds an array per row, which makes it part of a table of scopes."""
    return bool(pa.types.is_fixed_size_list(field.type))


def scalars_of(schema: pa.Schema) -> pa.Schema:
    """A table without its arrays."""
    return described_schema([field for field in schema if not is_scope(field)])


def scopes_of(schema: pa.Schema, keys: Sequence[str] = (INPUT,)) -> pa.Schema | None:
    """The arrays of a table, with the columns that say whose they are; None when it has none."""
    arrays = [field for field in schema if is_scope(field)]
    return described_schema([*(schema.field(key) for key in keys), *arrays]) if arrays else None


def analyses_schema(requests: Sequence[AnalysisRequest]) -> pa.Schema:
    """The schema of the table ``analyses``: ``input``, then the scalars ``<analysis>_<column>`` by request.

    Every column but ``input`` is nullable.
    """
    return scalars_of(saved_schema(requests))


def scopes_schemas(requests: Sequence[AnalysisRequest]) -> dict[AnalysisRequest, pa.Schema]:
    """Of each requested analysis of arrays the schema of its table of scopes, in order."""
    found = {request: scopes_of(saved_schema([request])) for request in requests}
    return {request: schema for request, schema in found.items() if schema is not None}


def saved_schema(requests: Sequence[AnalysisRequest], analyses: Mapping[str, Analysis] = TABLED) -> pa.Schema:
    """All that workers save of an image, scalars and arrays together: columns as ``analyses_schema`` names them."""
    fields = []
    for request in requests:
        entry = analyses[request.name]
        fields += [column_field(of_analysis(column, request.name)) for column in entry.columns(**request.params)]
    return columns_schema(fields)


def object_schemas(
    requests: Sequence[AnalysisRequest], analyses: Mapping[str, Analysis] = TABLED
) -> dict[AnalysisRequest, pa.Schema]:
    """Of each requested analysis of objects the schema of its table, in order."""
    found = {}
    for request in requests:
        columns = analyses[request.name].row_columns
        if columns is not None:
            found[request] = rows_schema(columns(**request.params))
    return found


def rows_schema(columns: Sequence[Column]) -> pa.Schema:
    """The schema of a table with several rows per input, such as ``objects``: ``input``, then the bare columns."""
    return columns_schema([column_field(column) for column in columns])


INPUT_FIELD = described(INPUT, pa.string(), label="Input", meaning="Path of the input, readable.", nullable=False)


def row_bytes(schema: pa.Schema) -> int:
    """About how many bytes one row takes in memory; texts count as 64 bytes."""
    return sum(_width(field.type) for field in schema)


def _width(kind: pa.DataType) -> int:
    if pa.types.is_fixed_size_list(kind):
        return int(kind.list_size) * _width(kind.value_type)
    return int(kind.bit_width) // 8 or 1 if pa.types.is_primitive(kind) else 64
