"""Parquet files as column chunks: damaged footers are reported, and narrow parts are read once."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import RayjobsError
from pipelines.tables.column_chunks import EncodedFile, encode, write_row_groups
from pipelines.tables.parts import PartFile
from pipelines.tables.thrift_compact import Outline, Struct, Typed, read_list, read_struct, write_struct

TABLE = pa.table(
    {"input": ["a", None, "c"], "number": [1.5, None, float("nan")], "count": pa.array([1, 2, 3], "uint32")}
)


def encoded() -> EncodedFile:
    return encode(TABLE.schema, TABLE.to_batches())


def test_columns_are_taken_over_in_the_order_of_the_schema(tmp_path: Path) -> None:
    schema = pa.schema([TABLE.schema.field("count"), TABLE.schema.field("input")])
    write_row_groups(tmp_path / "t", schema, [*encoded().groups, *encoded().groups])
    assert pq.read_table(tmp_path / "t").to_pydict() == {"count": [1, 2, 3] * 2, "input": ["a", None, "c"] * 2}


def test_no_row_groups_make_an_empty_table(tmp_path: Path) -> None:
    write_row_groups(tmp_path / "t", TABLE.schema, [])
    assert pq.read_table(tmp_path / "t").equals(TABLE.slice(0, 0))


@given(st.data())
def test_a_damaged_file_is_refused_or_read_within_its_bounds(data: st.DataObject) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(TABLE, sink)
    damaged = bytearray(sink.getvalue().to_pybytes())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        file = EncodedFile(bytes(damaged))
    except RayjobsError:
        return
    for group in file.groups:
        for chunk, found in zip(group.chunks.values(), file.read(list(group.chunks.values())), strict=True):
            assert len(found) == chunk.size


def test_a_file_that_shrinks_after_it_was_opened_is_reported(tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "t")
    file = EncodedFile(tmp_path / "t")
    (tmp_path / "t").write_bytes(b"PAR1")
    with pytest.raises(RayjobsError, match="ends too early"):
        file.read(list(file.groups[0].chunks.values()))
    (tmp_path / "t").unlink()
    with pytest.raises(RayjobsError, match="can't be read"):
        file.read(list(file.groups[0].chunks.values()))


def test_rows_of_an_input_in_two_places_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"input": ["a", "b", "a"]}), tmp_path / "t", row_group_size=2)
    with pytest.raises(RayjobsError, match="in two places"):
        PartFile(tmp_path / "t").pieces("b")


values = st.one_of(
    st.integers(-(2**63), 2**63 - 1).map(lambda number: Typed(6, number)),
    st.binary(max_size=40).map(lambda text: Typed(8, text)),
    st.booleans().map(lambda flag: Typed(1 if flag else 2, flag)),
    st.lists(st.integers(-(2**31), 2**31 - 1), max_size=20).map(lambda numbers: Typed(9, Typed(5, numbers))),
)
structs = st.recursive(
    st.dictionaries(st.integers(1, 40), values, max_size=6),
    lambda inner: st.dictionaries(st.integers(1, 40), inner.map(lambda struct: Typed(12, struct)), max_size=3),
    max_leaves=5,
)


@given(structs)
def test_thrift_structs_come_back(struct: Struct) -> None:
    data = write_struct(struct)
    assert read_struct(b"xy" + data, 2) == (struct, 2 + len(data))
    assert write_struct(read_struct(data)[0]) == data


@given(structs)
def test_what_no_outline_names_stays_bytes(struct: Struct) -> None:
    data = write_struct(struct)
    outline = Outline({number: Outline() for number in list(struct)[::2]})
    found, end = read_struct(data + b"xy", outline=outline)
    assert end == len(data)
    assert write_struct(found) == data
    for number, (kind, value) in found.items():
        if kind == 9 and number not in outline:
            assert read_list(value) == struct[number].value
        assert isinstance(value, bytes) == (kind == 8 or (kind in (9, 12) and number not in outline))
