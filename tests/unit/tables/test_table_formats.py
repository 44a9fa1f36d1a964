"""Table files: every one is read back, and two runs give the same bytes."""

from __future__ import annotations

import csv
import json
import math
import re
import sys
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from pipelines.analyses.registry import Column
from pipelines.errors import RayjobsError
from pipelines.tables import parquet_table, to_batch, xlsx_table
from pipelines.tables.formats import TABLE_FORMATS, write_table
from pipelines.tables.manifest import manifest_batch, manifest_schema, write_manifest
from pipelines.tables.parquet_table import rows_per_file, write_parquet
from pipelines.tables.schema import row_bytes, rows_schema, saved_schema, scalars_of
from pipelines.tables.xlsx_table import Sheet, write_xlsx
from tests.result_rows import ANALYSES, OBJECT_COLUMNS, REQUESTS, fake_analyses, final_batch, probe

MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


@pytest.fixture(scope="module")
def schema() -> pa.Schema:
    return saved_schema(REQUESTS, ANALYSES)


def sheet_cells(path: Path, number: int = 1) -> list[dict[str, str | float]]:
    """The rows of a sheet as letter -> text or number, read from the XML."""
    with zipfile.ZipFile(path) as archive:
        root = ElementTree.fromstring(archive.read(f"xl/worksheets/sheet{number}.xml"))
    rows = []
    for row in root.iter(f"{MAIN}row"):
        cells: dict[str, str | float] = {}
        for cell in row.iter(f"{MAIN}c"):
            letter = re.sub(r"[0-9]", "", cell.attrib["r"])
            if cell.get("t") == "inlineStr":
                cells[letter] = "".join(text.text or "" for text in cell.iter(f"{MAIN}t"))
            else:
                cells[letter] = float(cell.findtext(f"{MAIN}v", "nan"))
        rows.append(cells)
    return rows


def write_cells(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch], *, format: str) -> None:
    """The scalars of a table: arrays are in no format that people open."""
    scalars = scalars_of(schema)
    write_table(path, scalars, (batch.select(scalars.names) for batch in batches), format=format)


class TestParquet:
    def test_table_comes_back_with_its_metadata(self, tmp_path: Path, schema: pa.Schema) -> None:
        batch = final_batch(schema, [probe(0), probe(1, histogram=None, mean=None), probe(2, note="ü=1")])
        write_table(tmp_path / "t", schema, [batch], format="parquet")
        table = pq.read_table(tmp_path / "t")
        assert table.equals(pa.Table.from_batches([batch]))
        assert pq.read_schema(tmp_path / "t").field("probe_histogram").metadata[b"unit"] == b"pixels"
        metadata = pq.read_metadata(tmp_path / "t")
        assert json.loads(metadata.metadata[b"columns"])["probe_waveform"]["shape"] == "256,256"

    def test_arrays_are_packed(self, tmp_path: Path, schema: pa.Schema) -> None:
        write_parquet(tmp_path / "t", schema, [final_batch(schema, [probe(0)])])
        chunk = pq.read_metadata(tmp_path / "t").row_group(0).column(2)
        assert chunk.path_in_schema == "probe_waveform.list.element"
        assert "DELTA_BINARY_PACKED" in chunk.encodings
        assert chunk.compression == "ZSTD"

    def test_row_groups_are_bounded(self, tmp_path: Path, schema: pa.Schema) -> None:
        batch = final_batch(schema, [probe(0)])
        write_parquet(tmp_path / "t", schema, (batch for _ in range(130)))
        metadata = pq.read_metadata(tmp_path / "t")
        groups = [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]
        assert groups == [parquet_table.SAVED_ROWS] * 16 + [2]

    def test_row_groups_of_narrow_rows_are_bounded_in_bytes(self, tmp_path: Path) -> None:
        narrow = saved_schema(REQUESTS, fake_analyses("probe", columns=[Column("curve", "uint32[8192]", "", "")]))
        batch = to_batch(["a"] * 700, [{"probe": {"curve": np.arange(8192)}}] * 700, narrow)
        write_parquet(tmp_path / "t", narrow, [batch, batch])
        metadata = pq.read_metadata(tmp_path / "t")
        groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
        assert [group.num_rows for group in groups] == [1022, 378]
        assert all(group.total_byte_size <= parquet_table.GROUP_BYTES for group in groups)

    def test_files_are_bounded_in_bytes_and_rows(self, schema: pa.Schema) -> None:
        narrow = saved_schema(REQUESTS, fake_analyses("probe", columns=[Column("curve", "uint32[8192]", "", "")]))
        assert 2**28 < rows_per_file(narrow) * row_bytes(narrow) <= 2**29
        assert rows_per_file(schema) == parquet_table.WIDE_FILE_ROWS
        assert rows_per_file(rows_schema(OBJECT_COLUMNS)) == 2**16


class TestCsv:
    def test_cells_come_back(self, tmp_path: Path, schema: pa.Schema) -> None:
        rows = [probe(0, note='a "b",\n;c'), probe(1, mean=None, note=None, histogram=None), probe(2, mean=math.nan)]
        write_cells(tmp_path / "t", schema, [final_batch(schema, rows)], format="csv")
        with (tmp_path / "t").open(encoding="utf-8", newline="") as source:
            read = list(csv.DictReader(source, strict=True))
        assert [row["input"] for row in read] == ["photos/000.jpg", "photos/001.jpg", "photos/002.jpg"]
        assert float(read[0]["probe_mean"]) == rows[0]["mean"]
        assert int(read[0]["probe_hash"]) == rows[0]["hash"]
        assert (read[0]["probe_gray"], read[1]["probe_gray"]) == ("false", "true")
        assert read[0]["probe_note"] == 'a "b",\n;c'
        assert (read[1]["probe_mean"], read[1]["probe_note"]) == ("", "")
        assert read[2]["probe_mean"] == "nan"

    def test_lines_end_as_rfc_4180_says(self, tmp_path: Path) -> None:
        schema = rows_schema(OBJECT_COLUMNS)
        batch = pa.RecordBatch.from_pylist([{"input": "a", "label": 1, "area": -1.5}], schema)
        write_cells(tmp_path / "t", schema, [batch], format="csv")
        assert (tmp_path / "t").read_bytes() == b'"input","label","area"\r\n"a",1,-1.5\r\n'


class TestJson:
    def test_values_come_back(self, tmp_path: Path, schema: pa.Schema) -> None:
        rows = [probe(0), probe(1, mean=math.inf, waveform=None), probe(2, mean=math.nan, note='"\n\u2028ü')]
        batches = [final_batch(schema, rows[:1], ["a"]), final_batch(schema, rows[1:], ["b", "c"])]
        write_cells(tmp_path / "t", schema, batches, format="json")
        text = (tmp_path / "t").read_text(encoding="utf-8")
        read = json.loads(text, parse_constant=pytest.fail)
        assert read[0]["probe_hash"] == rows[0]["hash"]
        assert [row["probe_mean"] for row in read] == [rows[0]["mean"], None, None]
        assert read[2]["probe_note"] == '"\n\u2028ü'
        assert [json.loads(line.rstrip(",")) for line in text.split("\n")[1:-2]] == read

    def test_no_rows_are_an_empty_array(self, tmp_path: Path, schema: pa.Schema) -> None:
        write_cells(tmp_path / "t", schema, [], format="json")
        assert json.loads((tmp_path / "t").read_text()) == []


class TestXlsx:
    def test_cells_come_back(self, tmp_path: Path, schema: pa.Schema) -> None:
        rows = [probe(0, mean=-1.5, count=12), probe(1, mean=math.nan, note=None, gray=None)]
        write_cells(tmp_path / "t", schema, [final_batch(schema, rows)], format="xlsx")
        header, first, second = sheet_cells(tmp_path / "t")
        assert list(header.values()) == scalars_of(schema).names
        assert first["A"] == "photos/000.jpg"
        assert (first["B"], first["C"]) == (-1.5, 12)
        assert first["D"] == str(rows[0]["hash"])
        assert first["E"] == 0
        assert "B" not in second
        assert "F" not in second

    def test_workbook_has_a_sheet_per_table(self, tmp_path: Path, schema: pa.Schema) -> None:
        objects = rows_schema(OBJECT_COLUMNS)
        batch = pa.RecordBatch.from_pylist([{"input": "a", "label": 1, "area": 2.0}], objects)
        sheets = [
            Sheet(name="analyses", schema=objects, batches=[batch]),
            Sheet(name="objects", schema=objects, batches=[batch]),
        ]
        write_xlsx(tmp_path / "t", sheets)
        with zipfile.ZipFile(tmp_path / "t") as archive:
            assert re.findall(r'<sheet name="([^"]+)"', archive.read("xl/workbook.xml").decode()) == [
                "analyses",
                "objects",
            ]
        assert sheet_cells(tmp_path / "t", 2)[1] == {"A": "a", "B": 1, "C": 2}

    def test_long_tables_continue_on_the_next_sheet(self, tmp_path: Path) -> None:
        schema = rows_schema(OBJECT_COLUMNS)
        rows = [{"input": "a", "label": index, "area": 1.0} for index in range(5)]
        sheet = Sheet(name="objects", schema=schema, batches=[pa.RecordBatch.from_pylist(rows, schema)])
        write_xlsx(tmp_path / "t", [sheet], sheet_rows=3)
        labels = [[row["B"] for row in sheet_cells(tmp_path / "t", number)] for number in (1, 2, 3)]
        assert labels == [["label", 0, 1], ["label", 2, 3], ["label", 4]]

    def test_too_many_columns_are_refused(self, tmp_path: Path) -> None:
        schema = rows_schema([Column(f"c{index}", "int64", "", "") for index in range(16_384)])
        with pytest.raises(RayjobsError, match="use csv"):
            write_xlsx(tmp_path / "t", [Sheet(name="wide", schema=schema, batches=[])])

    def test_long_texts_are_cut(self, tmp_path: Path, schema: pa.Schema) -> None:
        write_cells(tmp_path / "t", schema, [final_batch(schema, [probe(0, note="x" * 40_000)])], format="xlsx")
        assert sheet_cells(tmp_path / "t")[1]["F"] == "x" * xlsx_table.CELL_CHARACTERS

    def test_missing_package_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, schema: pa.Schema) -> None:
        monkeypatch.setitem(sys.modules, "xlsxwriter", None)
        with pytest.raises(RayjobsError, match=r"rayjobs-app\[xlsx\]"):
            write_cells(tmp_path / "t", schema, [], format="xlsx")


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\0=1", "＝1+1"], ids=ascii)  # noqa: RUF001
@pytest.mark.parametrize("format", ["csv", "xlsx"])
def test_spreadsheets_never_get_a_formula(tmp_path: Path, schema: pa.Schema, format: str, text: str) -> None:
    write_cells(tmp_path / "t", schema, [final_batch(schema, [probe(0, note=text)], [text])], format=format)
    if format == "csv":
        with (tmp_path / "t").open(encoding="utf-8", newline="") as source:
            cells: list[Any] = list(csv.reader(source))[1]
    else:
        cells = [*sheet_cells(tmp_path / "t")[1].values()]
        with zipfile.ZipFile(tmp_path / "t") as archive:
            assert b"<f>" not in archive.read("xl/worksheets/sheet1.xml")
    assert cells[0] == cells[-1] == "'" + text.replace("\0", "").replace("\r", "\r" if format == "csv" else "_x000D_")


@pytest.mark.parametrize("format", list(TABLE_FORMATS))
def test_bytes_depend_on_the_rows_alone(tmp_path: Path, schema: pa.Schema, format: str) -> None:
    rows = [probe(seed, mean=None if seed == 3 else seed / 7) for seed in range(7)]
    whole = final_batch(schema, rows)

    def cut() -> Iterator[pa.RecordBatch]:
        yield whole.slice(0, 2)
        yield whole.slice(2, 0)
        yield whole.slice(2)

    write_cells(tmp_path / "a", schema, [whole], format=format)
    write_cells(tmp_path / "b", schema, cut(), format=format)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_workbook_holds_no_time_of_the_run(tmp_path: Path, schema: pa.Schema) -> None:
    write_cells(tmp_path / "t", schema, [final_batch(schema, [probe(0)])], format="xlsx")
    with zipfile.ZipFile(tmp_path / "t") as archive:
        assert {entry.date_time[0] for entry in archive.infolist()} == {1980}
        years = set(re.findall(r"(\d{4})-\d\d-\d\dT", archive.read("docProps/core.xml").decode()))
    assert years == {"2000"}


@pytest.mark.parametrize("format", list(TABLE_FORMATS))
def test_a_table_without_rows_is_a_valid_file(tmp_path: Path, schema: pa.Schema, format: str) -> None:
    write_cells(tmp_path / "t", schema, [], format=format)
    assert (tmp_path / "t").stat().st_size > 0


def test_unknown_format_offers_the_nearest(tmp_path: Path, schema: pa.Schema) -> None:
    with pytest.raises(RayjobsError, match="parquet"):
        write_cells(tmp_path / "t", schema, [], format="parket")


def test_manifest_keeps_exact_and_readable_paths(tmp_path: Path) -> None:
    schema = manifest_schema({"job": "autumn"})
    done = {
        "input_bytes": b"caf\xe9.jpg",
        "status": "done",
        "width": 1920,
        "height": 1280,
        "bytes": 123,
        "outputs": [{"path": "images/a.jpg", "sha256": "00", "bytes": 5}],
    }
    failed = {"input_bytes": b"\n.jpg", "status": "failed", "reason": "corrupt", "message": "=bad", "outputs": []}
    write_manifest(tmp_path / "m", [manifest_batch([done, failed], schema)], metadata={"job": "autumn"})
    table = pq.read_table(tmp_path / "m")
    assert table.column("input").to_pylist() == [r"caf\xe9.jpg", r"\x0a.jpg"]
    assert table.column("input_bytes").to_pylist() == [b"caf\xe9.jpg", b"\n.jpg"]
    assert table.column("outputs").to_pylist()[0] == done["outputs"]
    assert table.column("message").to_pylist() == [None, "=bad"]
    assert pq.read_schema(tmp_path / "m").metadata[b"job"] == b"autumn"


def test_manifest_refuses_a_row_without_status() -> None:
    with pytest.raises(ValueError, match="status"):
        manifest_batch([{"input_bytes": b"a"}], manifest_schema())
