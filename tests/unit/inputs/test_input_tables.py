"""Inputs from tables: what each format gives, in order and typed, and what is told of rows that are wrong."""

from __future__ import annotations

import csv
import json
import math
import os
import tracemalloc
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.ledger.job_ledger import JobLedger
from pipelines.column_models import MAX_CELL, ColumnType
from pipelines.errors import JobError
from pipelines.tables.cell_types import as_cell, type_of_text
from pipelines.tables.input_fields import cells_array
from rayjobs.inputs import table_files
from rayjobs.inputs.ipc_sizes import MalformedError, decompressed_sizes
from rayjobs.inputs.row_mistakes import TOLD
from rayjobs.inputs.table_files import open_table
from rayjobs.run.planning import planned_elsewhere
from tests.quick_runs import request

Rows = Sequence[Mapping[str, Any]]


def write_csv(path: Path, rows: Rows) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows({key: _text(value) for key, value in row.items()} for row in rows)


def _text(value: Any) -> Any:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else "" if value is None else value


def write_lines(path: Path, rows: Rows) -> None:
    path.write_text("".join(json.dumps(row, default=str) + "\n" for row in rows), encoding="utf-8")


def write_parquet(path: Path, rows: Rows) -> None:
    pq.write_table(pa.Table.from_pylist(list(rows)), path, row_group_size=3)


def write_arrow(path: Path, rows: Rows) -> None:
    table = pa.Table.from_pylist(list(rows))
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)


def write_stream(path: Path, rows: Rows) -> None:
    table = pa.Table.from_pylist(list(rows))
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)


WRITERS: dict[str, Callable[[Path, Rows], None]] = {
    "t.csv": write_csv,
    "t.jsonl": write_lines,
    "t.parquet": write_parquet,
    "t.arrow": write_arrow,
    "t.feather": write_stream,
}


def planned(base: Path, table: str, **job: Any) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
    """Column -> type, and the cells of each input by its path below ``base``, in the order of its numbers."""
    said = {"table": table, "path": "file", **job.pop("inputs", {})}
    with planned_elsewhere(request(base, {"inputs": said, "analyses": ["statistics"], **job})) as (ledger, _):
        return columns_and_cells(ledger, base)


def columns_and_cells(ledger: JobLedger, base: Path) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
    found = [(each.path, each.cells) for each in ledger.open_inputs(0, 10**9)]
    found += [(each.path, each.cells) for each in ledger.final_inputs()]
    types = {column.name: column.type for column in ledger.facts.read().columns}
    return types, {str(Path(path.decode()).relative_to(base)): dict(cells) for path, cells in sorted(found)}


# ---- what comes back -------------------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n"), min_size=1, max_size=12)
VALUES: dict[ColumnType, st.SearchStrategy[Any]] = {
    "int": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(allow_nan=False, allow_infinity=False),
    "text": TEXTS,
    "bool": st.booleans(),
    "date": st.dates(min_value=date(1000, 1, 1)),
    "timestamp": st.datetimes(min_value=datetime(1678, 1, 1), max_value=datetime(2200, 1, 1)),
    "timestamp_utc": st.datetimes(
        min_value=datetime(1678, 1, 1), max_value=datetime(2200, 1, 1), timezones=st.just(UTC)
    ),
}


@st.composite
def tables(draw: st.DrawFn) -> tuple[dict[str, ColumnType], list[dict[str, Any]]]:
    """Columns with their types, and rows in any order, some cells of which are null."""
    kinds = draw(
        st.dictionaries(st.sampled_from(["plate", "Dose (µM)", "größe", "t 0"]), st.sampled_from(list(VALUES)))
    )
    names = st.text(st.characters(categories=["L", "N"], include_characters=" ._-"), min_size=1, max_size=8)
    stems = draw(st.lists(names.filter(lambda name: name.strip(".") == name), min_size=1, max_size=9, unique=True))
    return kinds, [
        {"file": f"sub/{stem}.png", **{name: draw(st.none() | VALUES[kind]) for name, kind in kinds.items()}}
        for stem in stems
    ]


@settings(deadline=None, max_examples=40)
@given(table=tables(), name=st.sampled_from(list(WRITERS)))
def test_every_cell_comes_back_as_it_is_in_the_table(
    tmp_path_factory: pytest.TempPathFactory, table: tuple[dict[str, ColumnType], list[dict[str, Any]]], name: str
) -> None:
    kinds, rows = table
    base = tmp_path_factory.mktemp("table")
    WRITERS[name](base / name, rows)
    said = {"columns": list(kinds), "types": dict(kinds), "nulls": "keep"}
    types, cells = planned(base, name, inputs=said)
    assert types == kinds
    expected = {row["file"]: {name: as_cell(row[name], kind) for name, kind in kinds.items()} for row in rows}
    assert cells == expected
    for column, kind in kinds.items():  # and as Arrow holds them in tables of results
        values = cells_array(kind, [row[column] for row in expected.values()]).to_pylist()
        assert values == [row[column] for row in rows]


@settings(deadline=None, max_examples=40)
@given(values=st.lists(st.one_of(*VALUES.values()), min_size=1))
def test_the_texts_of_csv_show_their_types(values: list[Any]) -> None:
    for value in values:
        text = str(_text(value))
        kind = type_of_text(text)
        if kind != "text":  # what it is taken for says the same as the text
            assert as_cell(text, kind) == as_cell(value if not isinstance(value, str) else text, kind)
        if isinstance(value, bool | int | float | date):
            assert kind != "text" or (isinstance(value, int) and abs(value) >= 2**63)


def test_types_are_those_of_the_file(tmp_path: Path) -> None:
    rows = [
        {"file": "a.png", "plate": 7, "code": "007", "dose": 0.5, "good": True, "day": date(2026, 1, 2)},
        {"file": "b.png", "plate": 8, "code": "012", "dose": 2.0, "good": False, "day": date(2026, 1, 3)},
    ]
    wanted = {"plate": "int", "code": "text", "dose": "float", "good": "bool", "day": "date"}
    for name, write in WRITERS.items():
        write(tmp_path / name, rows)
        types, cells = planned(tmp_path, name, inputs={"columns": list(wanted)})
        assert types == {**wanted, "day": "text"} if name == "t.jsonl" else types == wanted
        assert cells["a.png"] == {"plate": 7, "code": "007", "dose": 0.5, "good": True, "day": "2026-01-02"}


@pytest.mark.parametrize(
    ("column", "kind", "cells"),
    [
        (pa.array([Decimal("0.50"), None], pa.decimal128(15, 2)), "float", [0.5, None]),
        (pa.array([Decimal(7), Decimal(-8)], pa.decimal128(18, 0)), "int", [7, -8]),
        (pa.array([-(2**63), 2**63 - 1]), "int", [-(2**63), 2**63 - 1]),
        (pa.array([2**63 - 1, 0], pa.uint64()), "int", [2**63 - 1, 0]),
        (pa.array(["x", None]).dictionary_encode(), "text", ["x", None]),
        (pa.array(["x", ""], pa.large_string()), "text", ["x", ""]),
        (pa.array([True, None]), "bool", [True, None]),
        (pa.array([0.5, math.nan], pa.float16()), "float", [0.5, None]),
        (pa.array([date(2026, 1, 2), None], pa.date64()), "date", ["2026-01-02", None]),
        (
            pa.array([datetime(2026, 1, 2, 3), None], pa.timestamp("ns")).dictionary_encode(),
            "timestamp",
            ["2026-01-02T03:00:00", None],
        ),
        (
            pa.array([datetime(2026, 1, 2, 3, tzinfo=UTC), None], pa.timestamp("s", "Asia/Tokyo")),
            "timestamp_utc",
            ["2026-01-02T03:00:00+00:00", None],
        ),
        (pa.nulls(2), "text", [None, None]),
    ],
)
def test_columns_of_arrow_come_as_they_are(tmp_path: Path, column: pa.Array, kind: str, cells: list[Any]) -> None:
    table = pa.table({"file": ["a.png", "b.png"], "x": column, "x.y": [1, 2]})
    pq.write_table(table, tmp_path / "t.parquet")
    with pa.OSFile(str(tmp_path / "t.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    for name in ("t.parquet", "t.arrow"):
        types, found = planned(tmp_path, name, inputs={"columns": ["x"], "nulls": "keep"})
        assert (types, [row["x"] for row in found.values()]) == ({"x": kind}, cells)


def test_a_type_that_a_job_names_takes_the_place_of_the_files(tmp_path: Path) -> None:
    wide = pa.array([Decimal("12345678901234567890.5"), Decimal(3)], pa.decimal128(38, 1))
    pq.write_table(pa.table({"file": ["a.png", "b.png"], "x": wide}), tmp_path / "t.parquet")
    assert "column 'x' is decimal128(38, 1)" in complaints(tmp_path, "t.parquet", inputs={"columns": ["x"]})[0]
    for kind, cells in {"float": [1.2345678901234567e19, 3.0], "text": ["12345678901234567890.5", "3.0"]}.items():
        _, found = planned(tmp_path, "t.parquet", inputs={"columns": ["x"], "types": {"x": kind}})
        assert [row["x"] for row in found.values()] == cells
    told = complaints(tmp_path, "t.parquet", inputs={"columns": ["x"], "types": {"x": "int"}})
    assert told == ["row 1: x: 12345678901234567890.5 is not a whole number"]


def test_a_csv_of_a_spreadsheet_may_have_semicolons(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('file;plate;note\r\na.png;7;"a;b, c"\r\nb.png;8;\r\n', encoding="utf-8-sig")
    types, cells = planned(tmp_path, "t.csv", inputs={"columns": ["plate", "note"], "nulls": "keep"})
    assert types == {"plate": "int", "note": "text"}
    assert cells == {"a.png": {"plate": 7, "note": "a;b, c"}, "b.png": {"plate": 8, "note": None}}


def test_decimal_commas_are_neither_numbers_nor_passed_over(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("file;dose\na.png;1\nb.png;0,5\n")
    (told,) = complaints(tmp_path, "t.csv", inputs={"columns": ["dose"]})
    assert told.endswith(
        "column 'dose' has numbers with a comma, such as 0,5: write points, or say `types: {dose: text}`"
    )
    told = complaints(tmp_path, "t.csv", inputs={"columns": ["dose"], "types": {"dose": "float"}})
    assert told == ["row 2: dose: '0,5' is not a number; decimals have a point"]
    _, cells = planned(tmp_path, "t.csv", inputs={"columns": ["dose"], "types": {"dose": "text"}})
    assert [row["dose"] for row in cells.values()] == ["1", "0,5"]
    (tmp_path / "t.csv").write_text("file;pair\na.png;1,2\nb.png;0.5\nc.png;none\n")
    assert planned(tmp_path, "t.csv", inputs={"columns": ["pair"]})[0] == {"pair": "text"}


def test_a_path_is_spelled_in_many_ways(tmp_path: Path) -> None:
    spellings = ["sub/../a.png", "./b.png", f"{tmp_path}/c.png", f"/{tmp_path}//d.png", "e//f.png", "..a/.b.png"]
    for base in (None, ".", f"{tmp_path}/", str(tmp_path)):
        write_lines(tmp_path / "t.jsonl", [{"file": spelling} for spelling in spellings])
        _, cells = planned(tmp_path, "t.jsonl", inputs={"base": base})
        assert set(cells) == {"a.png", "b.png", "c.png", "d.png", "e/f.png", "..a/.b.png"}


def test_a_path_may_be_bytes(tmp_path: Path) -> None:
    name = b"\xff.png"
    (tmp_path / os.fsdecode(name)).write_bytes(b"1")
    pq.write_table(pa.table({"file": [name, b""]}), tmp_path / "t.parquet")
    assert complaints(tmp_path, "t.parquet") == ["row 2: file: has no value"]
    pq.write_table(pa.table({"file": [name]}), tmp_path / "t.parquet")
    job = {"inputs": {"table": "t.parquet", "path": "file"}, "analyses": ["statistics"]}
    with planned_elsewhere(request(tmp_path, job)) as (ledger, _):
        assert [each.path for each in ledger.open_inputs(0, 9)] == [os.fsencode(tmp_path) + b"/" + name]


def test_columns_that_nobody_asks_for_are_not_read(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 256, 100_000, np.uint8).tobytes()
    table = pa.table({"file": ["a.png"], "x": [3], "picture": [noise]})
    packed = pa.ipc.IpcWriteOptions(compression="zstd")
    path = tmp_path / "t.arrow"
    for new in (pa.ipc.new_file, pa.ipc.new_stream):
        with pa.OSFile(str(path), "wb") as sink, new(sink, table.schema, options=packed) as writer:
            writer.write_table(table)
        damaged = bytearray(path.read_bytes())
        at = damaged.index(b"\x28\xb5\x2f\xfd", damaged.index(noise[:16]) - 64)  # the frame of that column
        damaged[at : at + 4] = b"none"
        path.write_bytes(damaged)
        assert planned(tmp_path, path.name, inputs={"columns": ["x"]})[1] == {"a.png": {"x": 3}}
        of_pictures = {"columns": ["picture"], "types": {"picture": "text"}}
        assert "can't be read" in complaints(tmp_path, path.name, inputs=of_pictures)[0]


def test_inputs_are_numbered_in_the_order_of_the_rows(tmp_path: Path) -> None:
    rows = [{"file": f"{name}.png", "x": 1} for name in "cab"]
    for row in rows:
        (tmp_path / row["file"]).write_bytes(b"1")
    write_csv(tmp_path / "t.csv", rows)
    job = {"inputs": {"table": "t.csv", "path": "file"}, "export": {"images": {"name": "{index}"}}}
    with planned_elsewhere(request(tmp_path, job)) as (ledger, _):
        assert [(each.path[-5:], each.name) for each in ledger.open_inputs(0, 9)] == [
            (b"a.png", "1"),
            (b"b.png", "2"),
            (b"c.png", "0"),
        ]


def test_a_row_adds_its_cells_to_an_image_that_a_directory_gives(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(b"1")
    write_csv(tmp_path / "t.csv", [{"file": "b.png", "plate": 4}])
    table = {"table": "t.csv", "path": "file", "columns": ["plate"]}
    for inputs in (["*.png", table], [table, "*.png"]):
        with planned_elsewhere(request(tmp_path, {"inputs": inputs, "analyses": ["statistics"]})) as (ledger, _):
            assert columns_and_cells(ledger, tmp_path)[1] == {"a.png": {"plate": None}, "b.png": {"plate": 4}}


def test_rows_of_a_large_table_are_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_files, "BATCH_ROWS", 7)
    rows = [{"file": f"{place:04d}.png", "x": place} for place in range(100)]
    for name, write in WRITERS.items():
        write(tmp_path / name, rows)
        _, cells = planned(tmp_path, name, inputs={"columns": ["x"]})
        assert [row["x"] for row in cells.values()] == list(range(100))


# ---- what is told ----------------------------------------------------------------------------------------------------


def complaints(base: Path, table: str, **job: Any) -> list[str]:
    with pytest.raises(JobError) as raised:
        planned(base, table, **job)
    return [line.removeprefix(f"inputs: {table} ") for line in str(raised.value).splitlines()]


def test_mistakes_are_told_by_row_all_at_once(tmp_path: Path) -> None:
    rows = [
        {"file": "a.png", "x0": 3, "dose": "0.5"},
        {"file": "b.png", "x0": -3, "dose": "1"},
        {"file": "./a.png", "x0": 3, "dose": ""},
        {"file": "", "x0": 1, "dose": "many"},
        {"file": "../up.png", "x0": "", "dose": "1"},
        {"file": "/etc/passwd", "x0": 4, "dose": "1e999"},
    ]
    write_csv(tmp_path / "t.csv", rows)
    crop = {"crop": {"x": {"column": "x0"}, "y": 0, "width": 4, "height": 4}}
    found = complaints(
        tmp_path, "t.csv", inputs={"columns": ["dose"], "types": {"dose": "float", "x0": "int"}}, operations=[crop]
    )
    below = f"is not below {tmp_path}; `base` says what paths lie below"
    assert sorted(found) == [
        "row 2: operations[0].crop.x: input should be greater than or equal to 0, not -3",
        f"row 3: {tmp_path}/a.png stands in t.csv row 1, too; leave one out",
        "row 3: dose: has no value; give one, or say `nulls: keep`",
        "row 4: dose: 'many' is not a number",
        "row 4: file: has no value",
        f"row 5: file: '../up.png' {below}",
        "row 5: x0: has no value; give one, or say `nulls: keep`",
        "row 6: dose: is infinite",
        f"row 6: file: '/etc/passwd' {below}",
    ]


@settings(deadline=None, max_examples=40)
@given(twice=st.lists(st.integers(0, 30), min_size=1, max_size=60))
def test_every_row_that_names_an_input_again_is_counted(
    tmp_path_factory: pytest.TempPathFactory, twice: list[int]
) -> None:
    base = tmp_path_factory.mktemp("twice")
    write_lines(base / "t.jsonl", [{"file": f"{number}.png"} for number in [*range(31), *twice]])
    found = complaints(base, "t.jsonl")
    for place, (number, line) in enumerate(zip(twice, found[:TOLD], strict=False), start=32):
        assert line == f"row {place}: {base}/{number}.png stands in t.jsonl row {number + 1}, too; leave one out"
    if len(twice) > TOLD:
        assert found[TOLD:] == [f"inputs: and {len(twice) - TOLD} more"]


def test_two_tables_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for place in ("d", "e"):
        (tmp_path / place).mkdir()
        write_csv(tmp_path / place / "t.csv", [{"file": "a.png", "x": place}])
    tables = [{"table": f"{place}/t.csv", "path": "file", "base": ".", "columns": ["x"]} for place in ("d", "e", "e")]
    with (
        pytest.raises(JobError) as raised,
        planned_elsewhere(request(tmp_path, {"inputs": tables, "analyses": ["statistics"]})),
    ):
        pass
    assert str(raised.value).splitlines() == [
        f"inputs: inputs[{number}] t.csv row 1: {tmp_path}/a.png stands in inputs[0] t.csv row 1, too; leave one out"
        for number in (1, 2)
    ]


def test_paths_for_other_systems_are_told_by_row(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", [{"file": name} for name in ("s3://lab/a.png", "C:\\lab\\a.png", "gone.png")])
    assert complaints(tmp_path, "t.csv") == [
        "row 1: 's3:/lab/a.png': object stores are not supported yet; mount it, or copy the files",
        "row 2: 'C:\\\\lab\\\\a.png': a path of Windows; write where it is mounted, such as /mnt/c/photos",
    ]


def test_a_name_that_is_written_otherwise_is_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    decomposed = unicodedata.normalize("NFD", "größe.png")
    for name in (decomposed, "sub/a.png", "b.png"):
        (tmp_path / name).write_bytes(b"1")
    write_lines(tmp_path / "t.jsonl", [{"file": name} for name in ("größe.png", "sub\\a.png", " b.png", "é c.png")])
    job = {"inputs": {"table": "t.jsonl", "path": "file"}, "analyses": ["statistics"]}
    with planned_elsewhere(request(tmp_path, job)) as (ledger, _):
        assert {os.path.basename(each.path.decode()): each.message for each in ledger.final_inputs()} == {
            " b.png": "No such file or directory; there is one without spaces around its name",
            "größe.png": "No such file or directory; there is one whose letters are composed otherwise in Unicode: "
            "write its name as a listing gives it",
            "sub\\a.png": "No such file or directory; there is one with / in place of \\",
            "é c.png": "No such file or directory",
        }


def test_a_null_that_something_needs_is_told_even_if_nulls_are_kept(tmp_path: Path) -> None:
    write_lines(tmp_path / "t.jsonl", [{"file": "a.png", "x": 1, "n": "q"}, {"file": "b.png", "x": None}])
    crop = {"crop": {"x": {"column": "x"}, "y": 0, "width": 4, "height": 4}}
    images = {"images": {"name": "{n}"}}
    found = complaints(tmp_path, "t.jsonl", inputs={"nulls": "keep"}, operations=[crop], export=images)
    assert sorted(found) == [
        "row 2: export.images.name needs 'n', which has no value here",
        "row 2: operations[0].crop.x needs 'x', which has no value here",
    ]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("t.csv", b"file,x\na.png\nb.png,1\n", "row 1: has 1 fields, and the head 2"),
        ("t.csv", b"file,x,x\na.png,1,2\n", "two columns are called 'x'"),
        ("t.csv", b"other,x\na.png,1\n", "has no column 'file'; it has 'other', 'x'"),
        ("t.csv", b"file,x\n", "has no rows"),
        ("t.csv", b"", "has no column"),
        ("t.csv", "file,x\na.png,1\n".encode("utf-16"), "is UTF-16; save it as UTF-8"),
        ("t.csv", b"file,x\n\xff.png,1\n", "isn't UTF-8"),
        ("t.csv", b"file,x\n" + b"a.png,1\n" * 9000 + b"\xff.png,1\n", "isn't UTF-8, after line 8,"),
        ("t.csv", b'file,x\na.png,"1\nb.png,2\n', "line 3 can't be read: unexpected end of data"),
        ("t.csv", b"file,x\na.png," + b"9" * (MAX_CELL + 1), "x: has 1,001 characters, and a cell at most 1,000"),
        ("t.csv", b"file,x\na.png," + b"9" * 2**21, "has a line of more than 1,048,576 characters"),
        ("t.jsonl", b'{"file": "a.png", "x": 1}\n[]\n', "row 2: is no object"),
        ("t.jsonl", b'{"file": "a.png", "x": 1}\n{"x"\n', "row 2: is no JSON"),
        ("t.jsonl", b'{"file": "a.png", "x": NaN}', "row 1 is no JSON: NaN is no JSON"),
        ("t.jsonl", b'{"file": "a.png", "x": [1]}', "column 'x' is list; columns of inputs are"),
        (
            "t.jsonl",
            b'{"file": "a.png", "x": 1}\n{"file": "b.png", "x": "one"}',
            "row 2: x: 'one' is not a whole number",
        ),
        ("t.jsonl", b'{"file": 3, "x": 1}', "row 1: file: 3 is no path"),
        ("t.jsonl", b"[" * 100_000, "can't be read"),
        ("t.parquet", b"PAR1 and no more", "can't be read"),
        ("t.arrow", b"", "can't be read"),
        ("t.pkl", b"", "'.pkl' is none of"),
    ],
)
def test_what_is_wrong_with_a_file_is_told(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert told.replace("'.pkl'", ".pkl") in "\n".join(complaints(tmp_path, name, inputs={"columns": ["x"]}))


ODD_COLUMNS = (
    pa.array([None, 1, 2, 3] * 250),
    pa.array([True, False, None, True] * 250),
    pa.nulls(1000),
    pa.array(["a", "bc", None, ""] * 250).dictionary_encode(),
    pa.array([[1, 2], None, [], [3]] * 250),
    pa.array([{"a": "x", "b": [1]}, None] * 500),
    pa.array([[("k", 1)], None] * 500, pa.map_(pa.string(), pa.int8())),
    pa.array([[1, 2, 3], None] * 500, pa.list_(pa.int8(), 3)),
    pa.UnionArray.from_sparse(pa.array([0, 1] * 500, pa.int8()), [pa.array(range(1000)), pa.array(["a"] * 1000)]),
    pa.UnionArray.from_dense(
        pa.array([0, 1] * 500, pa.int8()), pa.array(range(1000), pa.int32()), [pa.array(range(1000)), pa.nulls(1000)]
    ),
    pa.RunEndEncodedArray.from_arrays(pa.array([400, 1000], pa.int32()), pa.array(["a", "b"])),
    pa.array([Decimal("0.50"), None] * 500, pa.decimal128(15, 2)),
)


def write_packed(path: Path, table: pa.Table, compression: str = "zstd") -> None:
    """As a stream, if its suffix is none of files."""
    new = pa.ipc.new_stream if path.suffix == ".ipc" else pa.ipc.new_file
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.OSFile(str(path), "wb") as sink, new(sink, table.schema, options=options) as writer:
        writer.write_table(table)


@pytest.mark.parametrize("odd", ODD_COLUMNS, ids=lambda odd: str(odd.type))
@pytest.mark.parametrize("name", ["t.arrow", "t.ipc"])
def test_what_columns_of_a_batch_take_is_known_before_they_are_read(tmp_path: Path, name: str, odd: pa.Array) -> None:
    table = pa.table({"odd": odd, "x": np.arange(1000), "again": odd})

    def sizes(*columns: str) -> list[int]:
        with pa.OSFile(str(tmp_path / name)) as source:
            return list(decompressed_sizes(source, table.schema, columns))

    for compression in ("zstd", "lz4"):
        write_packed(tmp_path / name, table, compression)
        *dictionaries, size = sizes("x")
        assert size == 8_000
        assert len(dictionaries) == (2 if pa.types.is_dictionary(odd.type) else 0)
        assert dictionaries == [] or 0 < dictionaries[0] < dictionaries[1]
        of_odd = sizes("odd")[-1]
        assert (of_odd > 0) is not pa.types.is_null(odd.type)
        assert sizes("odd", "x", "again")[-1] == 2 * of_odd + 8_000


@pytest.mark.parametrize("name", ["t.arrow", "t.ipc"])
def test_a_small_file_that_becomes_a_large_batch_is_refused(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [f"{number}.png" for number in range(1000)]
    table = pa.table({"file": files, "x": np.zeros(1000), "note": pa.array(["a" * 999] * 1000).dictionary_encode()})
    write_packed(tmp_path / name, table)
    told = "bytes in one record batch, or in its dictionaries, once decompressed; write smaller ones"
    monkeypatch.setattr(table_files, "MAX_BATCH_BYTES", 15_000)
    assert len(planned(tmp_path, name)[1]) == 1000
    assert told in complaints(tmp_path, name, inputs={"columns": ["x"]})[0]
    monkeypatch.setattr(table_files, "MAX_BATCH_BYTES", 900)
    assert told in complaints(tmp_path, name)[0]
    monkeypatch.undo()

    said = (8_000).to_bytes(8, "little")
    data = (tmp_path / name).read_bytes()
    assert data.count(said) == 1
    (tmp_path / name).write_bytes(data.replace(said, (2**40).to_bytes(8, "little")))
    assert told in complaints(tmp_path, name, inputs={"columns": ["x"]})[0]
    assert len(planned(tmp_path, name)[1]) == 1000  # nobody reads it


@settings(deadline=None, max_examples=300)
@given(data=st.data(), name=st.sampled_from(["t.arrow", "t.ipc"]))
def test_damaged_heads_of_batches_are_told(tmp_path_factory: pytest.TempPathFactory, data: Any, name: str) -> None:
    table = pa.table({"x": np.arange(90), "y": pa.array(["a", "b", "c"] * 30).dictionary_encode()})
    path = tmp_path_factory.getbasetemp() / name
    write_packed(path, table)
    content = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[place] = data.draw(st.sampled_from([0, 1, 127, 128, 255]))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    with pa.OSFile(str(path)) as source, suppress(MalformedError, OSError, pa.ArrowException):
        assert all(isinstance(size, int) for size in decompressed_sizes(source, table.schema, ["x"]))


def test_many_rows_that_share_a_long_text_have_it_once(tmp_path: Path) -> None:
    """Each row's own copy would take 4 GB."""
    files = pa.DictionaryArray.from_arrays(pa.array([0] * 4096, pa.int16()), ["a" * 2**20])
    write_packed(tmp_path / "t.arrow", pa.table({"file": files}))
    tracemalloc.start()
    try:
        (row, *others) = open_table(tmp_path / "t.arrow").rows(["file"])
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (len(row[1][0]), len(others)) == (2**20, 4095)
    assert most < 2**26


def test_empty_lines_of_a_column_are_rows_but_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("file\n\na.png\n\n\nb.png\n\n\n")
    assert complaints(tmp_path, "t.csv") == [f"row {number}: file: has no value" for number in (1, 3, 4)]
    (tmp_path / "t.csv").write_text("file\r\na.png\r\nb.png\r\n\r\n")
    assert len(planned(tmp_path, "t.csv")[1]) == 2
    (tmp_path / "t.csv").write_text("file,x\n\na.png,1\n\nb.png,2\nb.png,2\n")
    assert complaints(tmp_path, "t.csv")[0].startswith("row 5: ")


def test_columns_of_other_types_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"file": ["a.png"], "x": [[1, 2]]}), tmp_path / "t.parquet")
    assert "column 'x' is list<" in complaints(tmp_path, "t.parquet", inputs={"columns": ["x"]})[0]
    nanoseconds = pa.array([1], pa.timestamp("ns"))
    pq.write_table(pa.table({"file": ["a.png"], "x": nanoseconds}), tmp_path / "t.parquet")
    assert "column 'x' can't be taken over" in complaints(tmp_path, "t.parquet", inputs={"columns": ["x"]})[0]
    for far in (
        pa.array([4 * 10**11], pa.timestamp("s")),
        pa.array([10**15], pa.timestamp("s")),
        pa.array([10**7], pa.date32()),
    ):
        pq.write_table(pa.table({"file": ["a.png"], "x": far}), tmp_path / "t.parquet")
        assert "of the years 1 to 9999" in complaints(tmp_path, "t.parquet", inputs={"columns": ["x"]})[0]


@pytest.mark.parametrize(
    ("job", "told"),
    [
        ({"inputs": {"columns": ["width"]}}, "a column can't be called 'width': the manifest has one"),
        ({"inputs": {"columns": ["Label"]}, "analyses": ["objects"]}, "the table objects has one of that name"),
        ({"inputs": {"columns": ["a", "A"]}}, "two columns are called 'a' and 'A'"),
        ({"inputs": {"columns": ["a", "a"]}}, "'a' is named twice"),
        ({"inputs": {"columns": ["=x"]}}, "'=x' can't be a column"),
        ({"inputs": {"columns": ["a"]}, "groups": {"pattern": "(?P<a>.)"}}, "'a' is a column of a table, too"),
        ({"groups": {"pattern": "(.)"}}, "has a group without a name"),
        ({"groups": {"pattern": r"(?P<a>.)\1"}}, "no back references"),
        ({"groups": {"pattern": "plate"}}, "has no group"),
        ({"groups": {"pattern": "(?P<a>.)", "types": {"b": "int"}}}, "the pattern has no group 'b'"),
        ({"operations": [{"crop": {"z": {"column": "x0"}}}]}, "unknown key"),
        ({"operations": [{"crop": {"x": {"column": "x0"}, "y": "high"}}]}, "operations[0].crop.y"),
        ({"export": {"images": {"name": "{plate!r}"}}}, "conversions are not part"),
    ],
)
def test_what_a_job_says_of_columns_is_checked(tmp_path: Path, job: dict[str, Any], told: str) -> None:
    write_csv(tmp_path / "t.csv", [{"file": "a.png", "x0": 1}])
    assert told in "\n".join(complaints(tmp_path, "t.csv", **job))


def test_a_column_that_no_table_has_is_told_once(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", [{"file": f"{number}.png", "x0": 1, "plate": 2} for number in range(30)])
    crop = {"crop": {"x": {"column": "x0"}, "y": {"column": "y0"}, "width": 4, "height": 4}}
    images = {"images": {"name": "{palte}"}}
    assert complaints(tmp_path, "t.csv", operations=[crop], group_by=["dose"], export=images) == [
        "operations[0].crop.y: no table has a column 'y0'; did you mean 'x0'?",
        "export.images.name: no table has a column 'palte'; did you mean 'plate'?",
        "group_by: no table has a column 'dose'",
    ]


def test_without_a_table_no_column_is_there(tmp_path: Path) -> None:
    job = {"inputs": ["."], "operations": [{"crop": {"x": {"column": "x0"}, "y": 1}}]}
    with pytest.raises(JobError, match=r"operations\[0\].crop.x: there is no column 'x0'"):
        request(tmp_path, job)
    with pytest.raises(JobError, match=r"unknown field \{plate\} in the name pattern"):
        request(tmp_path, {"inputs": ["."], "export": {"images": {"name": "{plate}"}}})


def test_matching_takes_time_in_proportion_to_the_path(tmp_path: Path) -> None:
    """What makes other engines try for ever; it ends within the test's own time limit."""
    deep = "/".join(["a" * 200] * 15) + "b"
    write_lines(tmp_path / "t.jsonl", [{"file": f"{deep}{number}"} for number in range(50)])
    with planned_elsewhere(
        request(
            tmp_path,
            {
                "inputs": {"table": "t.jsonl", "path": "file"},
                "groups": {"pattern": "(?P<x>(?:(?:a|aa|/)+)+)$"},
                "analyses": ["statistics"],
            },
        )
    ) as (ledger, plan):
        assert ledger.facts.read().unmatched == 50
        assert len(plan.discovery.columns.unmatched) == 50


@pytest.fixture(autouse=True)
def _no_time_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kathmandu")  # no time of a table depends on where it is read


def test_a_nan_is_no_value() -> None:
    assert as_cell(math.nan, "float") is None


def test_a_ledger_of_the_format_before_has_inputs_without_cells(tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "ledger.sqlite"
    JobLedger(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.executescript(
            "ALTER TABLE inputs DROP COLUMN cells; ALTER TABLE inputs DROP COLUMN decided; PRAGMA user_version = 3;"
            "INSERT INTO inputs (path, size, mtime_ns, seq, status) VALUES (x'2f61', 1, 2, 0, 'done');"
        )
    for read_only in (True, False):
        with closing(JobLedger(path, read_only=read_only)) as ledger:
            (final,) = ledger.final_inputs()
            assert (final.path, final.cells, ledger.facts.read().columns) == (b"/a", {}, ())
            assert read_only or (tmp_path / "ledger-format-3.sqlite").is_file()
