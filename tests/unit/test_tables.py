"""Result tables: every file is read back, and two runs give the same bytes."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.analyses.registry import Analysis, Column
from pipelines.errors import RayjobsError
from pipelines.models import AnalysisRequest
from pipelines.registry import Parameters
from pipelines.tables import parquet_table, xlsx_table
from pipelines.tables.assemble import InputParts, PartColumns, assemble
from pipelines.tables.batches import rebatch, to_batch, to_rows_batch
from pipelines.tables.formats import TABLE_FORMATS, write_table
from pipelines.tables.manifest import manifest_batch, manifest_schema, write_manifest
from pipelines.tables.parquet_table import needs_directory, write_parquet, write_parquet_directory
from pipelines.tables.parts import read_part, write_part
from pipelines.tables.schema import analyses_schema, arrow_type, field_shape, part_schema, row_bytes, rows_schema
from pipelines.tables.xlsx_table import Sheet, write_xlsx

COLUMNS = (
    Column("histogram", "uint32[256]", "pixels", "Pixels per level."),
    Column("waveform", "uint32[256,256]", "pixels", "Pixels per level and column."),
    Column("mean", "float64", "level", "Mean level."),
    Column("count", "int64", "pixels", "Pixels."),
    Column("hash", "uint64", "", "Perceptual hash."),
    Column("gray", "bool", "", "Whether all channels are equal."),
    Column("note", "string", "", "Anything."),
)
OBJECT_COLUMNS = (Column("label", "uint32", "", "Number of the object."), Column("area", "float64", "px²", "Area."))
REQUESTS = [AnalysisRequest("probe")]
MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


def fake_analyses(*names: str, columns: Sequence[Column] = COLUMNS) -> Mapping[str, Analysis]:
    return {
        name: Analysis(
            name=name,
            group="measurements",
            function=lambda image: {},
            parameters=Parameters,
            columns=lambda **_: columns,
        )
        for name in names
    }


ANALYSES = fake_analyses("probe")


def probe(seed: int, **changes: Any) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    return {
        "histogram": random.integers(0, 2**32, 256, dtype=np.uint32),
        "waveform": random.integers(0, 50, (256, 256), dtype=np.int64),
        "mean": float(random.normal()),
        "count": int(random.integers(0, 2**62)),
        "hash": 2**64 - 1 - seed,
        "gray": bool(seed % 2),
        "note": f"row {seed}",
    } | changes


@pytest.fixture(scope="module")
def schema() -> pa.Schema:
    return analyses_schema(REQUESTS, ANALYSES, {"job": "autumn", "rayjobs": "0.1.0"})


def named(batch: pa.RecordBatch, schema: pa.Schema, names: Sequence[str]) -> pa.RecordBatch:
    """A part's rows with readable inputs, as the final tables have them."""
    return pa.RecordBatch.from_arrays([pa.array(names, pa.string()), *batch.columns[1:]], schema=schema)


def final_batch(
    schema: pa.Schema, rows: Sequence[dict[str, Any]], names: Sequence[str] | None = None
) -> pa.RecordBatch:
    batch = to_batch(range(len(rows)), [{"probe": row} for row in rows], part_schema(schema))
    return named(batch, schema, names or [f"photos/{index:03d}.jpg" for index in range(len(rows))])


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


class TestSchema:
    def test_columns_bear_the_name_of_their_analysis(self, schema: pa.Schema) -> None:
        assert schema.names == ["input", *(f"probe_{column.name}" for column in COLUMNS)]

    def test_unit_meaning_and_shape_are_field_metadata(self, schema: pa.Schema) -> None:
        field = schema.field("probe_waveform")
        assert field.metadata == {b"unit": b"pixels", b"meaning": b"Pixels per level and column.", b"shape": b"256,256"}
        assert field_shape(field) == (256, 256)
        assert field.nullable
        assert schema.metadata[b"job"] == b"autumn"
        assert json.loads(schema.metadata[b"columns"])["probe_mean"]["unit"] == "level"

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("float64", pa.float64()),
            ("string", pa.string()),
            ("uint32[3]", pa.list_(pa.field("element", pa.uint32()), 3)),
            ("float64[2,3,4]", pa.list_(pa.field("element", pa.float64()), 24)),
        ],
        ids=str,
    )
    def test_types_map_to_arrow(self, text: str, expected: pa.DataType) -> None:
        assert arrow_type(text) == expected

    @pytest.mark.parametrize("text", ["float16", "uint32[]", "uint32[0]", "string[4]", "uint32[4", "uint32 [4]"])
    def test_unknown_types_are_refused(self, text: str) -> None:
        with pytest.raises(RayjobsError, match="unknown column type"):
            arrow_type(text)

    def test_columns_follow_the_parameters(self) -> None:
        entry = Analysis(
            name="choice",
            group="measurements",
            function=lambda image: {},
            parameters=Parameters,
            columns=lambda size=2: [Column("values", f"uint32[{size}]", "", "")],
        )
        schema = analyses_schema([AnalysisRequest("choice", {"size": 5})], {"choice": entry})
        assert schema.field("choice_values").type.list_size == 5

    def test_row_bytes_counts_the_arrays(self, schema: pa.Schema) -> None:
        assert row_bytes(schema) == 64 + 4 * 256 + 4 * 65536 + 8 + 8 + 8 + 1 + 64


class TestBatches:
    def test_values_come_back(self, schema: pa.Schema) -> None:
        rows = [probe(0), probe(1)]
        batch = final_batch(schema, rows)
        assert batch.column("probe_mean").to_pylist() == [row["mean"] for row in rows]
        assert batch.column("probe_hash").to_pylist() == [2**64 - 1, 2**64 - 2]
        waveform = batch.column("probe_waveform").flatten().to_numpy().reshape(2, 256, 256)
        np.testing.assert_array_equal(waveform, [row["waveform"] for row in rows])

    def test_numpy_scalars_and_read_only_arrays_are_accepted(self, schema: pa.Schema) -> None:
        histogram = np.arange(256, dtype=np.uint16)
        histogram.flags.writeable = False
        row = probe(0, histogram=histogram, mean=np.float32(0.5), count=np.uint8(7), gray=np.bool_(True))
        batch = final_batch(schema, [row])
        assert batch.column("probe_mean").to_pylist() == [0.5]
        assert batch.column("probe_count").to_pylist() == [7]
        assert batch.column("probe_histogram").to_pylist() == [list(range(256))]

    def test_nan_is_kept_apart_from_null(self, schema: pa.Schema) -> None:
        batch = final_batch(schema, [probe(0, mean=math.nan), probe(1, mean=None), probe(2, histogram=None)])
        assert batch.column("probe_mean").null_count == 1
        assert math.isnan(batch.column("probe_mean")[0].as_py())
        assert batch.column("probe_histogram").is_valid().to_pylist() == [True, True, False]

    def test_missing_analysis_gives_nulls(self, schema: pa.Schema) -> None:
        batch = to_batch([4], [{}], part_schema(schema))
        assert batch.to_pylist() == [{"input_id": 4} | dict.fromkeys(schema.names[1:])]

    @pytest.mark.parametrize(
        "changes",
        [
            pytest.param({"histogram": np.zeros(255, np.uint32)}, id="length"),
            pytest.param({"histogram": np.full(256, 2**32, np.int64)}, id="overflow"),
            pytest.param({"histogram": np.full(256, -1, np.int64)}, id="negative"),
            pytest.param({"histogram": np.full(256, 0.5)}, id="fraction in array"),
            pytest.param({"count": 0.5}, id="fraction"),
            pytest.param({"mean": "dark"}, id="text"),
        ],
    )
    def test_values_that_do_not_fit_are_refused(self, schema: pa.Schema, changes: dict[str, Any]) -> None:
        with pytest.raises(RayjobsError, match=f"column probe_{next(iter(changes))}"):
            final_batch(schema, [probe(0, **changes)])

    def test_undeclared_columns_are_refused(self, schema: pa.Schema) -> None:
        with pytest.raises(RayjobsError, match="probe_surprise"):
            final_batch(schema, [probe(0, surprise=1)])

    def test_objects_give_several_rows_per_image(self) -> None:
        schema = part_schema(rows_schema(OBJECT_COLUMNS))
        tables = [
            {"label": np.array([1, 2]), "area": np.array([4.0, 5.5])},
            {"label": np.array([], int), "area": np.array([])},
            {"label": [1], "area": [9]},
        ]
        assert to_rows_batch([5, 6, 7], tables, schema).to_pylist() == [
            {"input_id": 5, "label": 1, "area": 4.0},
            {"input_id": 5, "label": 2, "area": 5.5},
            {"input_id": 7, "label": 1, "area": 9.0},
        ]

    @given(st.lists(st.integers(0, 7), max_size=8), st.integers(1, 6))
    def test_rebatching_keeps_rows_and_gives_full_batches(self, lengths: list[int], rows: int) -> None:
        source, cut = pa.record_batch({"a": list(range(sum(lengths)))}), []
        for length in lengths:
            start = sum(batch.num_rows for batch in cut)
            cut.append(source.slice(start, length))
        result = list(rebatch(cut, rows))
        assert [value for batch in result for value in batch.column(0).to_pylist()] == list(range(sum(lengths)))
        assert all(batch.num_rows == rows for batch in result[:-1])
        assert all(0 < batch.num_rows <= rows for batch in result)


class TestParts:
    def test_part_comes_back_equal(self, tmp_path: Path, schema: pa.Schema) -> None:
        batch = to_batch([3, 9], [{"probe": probe(0)}, {}], part_schema(schema))
        write_part(tmp_path / "0.arrow", batch, durable=True)
        assert read_part(tmp_path / "0.arrow").equals(batch)
        assert os.listdir(tmp_path) == ["0.arrow"]

    def test_part_is_compressed(self, tmp_path: Path, schema: pa.Schema) -> None:
        batch = to_batch([0], [{"probe": probe(0)}], part_schema(schema))
        write_part(tmp_path / "0.arrow", batch)
        assert (tmp_path / "0.arrow").stat().st_size < batch.nbytes / 2

    @pytest.mark.parametrize("kept", [0, 10, 0.5, -1], ids=str)
    def test_torn_part_is_reported(self, tmp_path: Path, schema: pa.Schema, kept: float) -> None:
        path = tmp_path / "0.arrow"
        write_part(path, to_batch([0], [{"probe": probe(0)}], part_schema(schema)))
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * kept) if isinstance(kept, float) else kept])
        with pytest.raises(RayjobsError, match=r"0\.arrow"):
            read_part(path)

    def test_missing_part_is_reported(self, tmp_path: Path) -> None:
        with pytest.raises(RayjobsError, match=r"gone\.arrow"):
            read_part(tmp_path / "gone.arrow")


class TestAssemble:
    @pytest.fixture
    def place(self, tmp_path: Path) -> Callable[..., PartColumns]:
        def write(name: str, ids: Sequence[int], analysis: str, factor: int = 10) -> PartColumns:
            columns = [Column("value", "int64", "", "")]
            schema = part_schema(analyses_schema([AnalysisRequest(analysis)], fake_analyses(analysis, columns=columns)))
            write_part(tmp_path / name, to_batch(ids, [{analysis: {"value": factor * i}} for i in ids], schema))
            return PartColumns(tmp_path / name)

        return write

    @pytest.fixture
    def two(self) -> pa.Schema:
        analyses = fake_analyses("first", "second", columns=[Column("value", "int64", "", "")])
        return analyses_schema([AnalysisRequest("first"), AnalysisRequest("second")], analyses)

    def test_rows_come_in_the_order_asked(self, place: Any, two: pa.Schema) -> None:
        parts = [place("a", [5, 1], "first"), place("b", [2, 8], "first")]
        order = [(1, 0), (2, 1), (5, 0), (8, 1)]
        inputs = [InputParts(input=f"i{i}", input_id=i, parts=(parts[part],)) for i, part in order]
        rows = [row for batch in assemble(inputs, two, open_parts=1) for row in batch.to_pylist()]
        assert rows == [{"input": f"i{i}", "first_value": 10 * i, "second_value": None} for i, _ in order]

    def test_parts_with_other_columns_are_joined(self, place: Any, two: pa.Schema) -> None:
        parts = (place("a", [1, 2], "first"), place("b", [2, 1], "second"))
        inputs = [InputParts(input="x", input_id=2, parts=parts)]
        assert pa.Table.from_batches(assemble(inputs, two)).to_pylist() == [
            {"input": "x", "first_value": 20, "second_value": 20}
        ]

    def test_only_the_columns_that_count_are_taken(self, place: Any, two: pa.Schema) -> None:
        old, new = place("a", [1], "first", 10), place("b", [1], "first", 20)
        for parts, value in [((old, new), 20), ((old, PartColumns(new.path, frozenset())), 10)]:
            (batch,) = assemble([InputParts(input="x", input_id=1, parts=parts)], two)
            assert batch.column("first_value").to_pylist() == [value]

    def test_missing_row_is_an_error(self, place: Any, two: pa.Schema) -> None:
        inputs = [InputParts(input="x.jpg", input_id=3, parts=(place("a", [1], "first"),))]
        with pytest.raises(RayjobsError, match=r"x\.jpg"):
            list(assemble(inputs, two))

    def test_objects_of_an_input_stay_together(self, tmp_path: Path) -> None:
        schema = rows_schema(OBJECT_COLUMNS)
        tables = [{"label": [1, 2], "area": [1.0, 2.0]}, {"label": [], "area": []}, {"label": [1], "area": [3.0]}]
        write_part(tmp_path / "a", to_rows_batch([7, 8, 9], tables, part_schema(schema)))
        inputs = [InputParts(input=f"i{i}", input_id=i, parts=(PartColumns(tmp_path / "a"),)) for i in (9, 8, 7)]
        table = pa.Table.from_batches(assemble(inputs, schema, several=True))
        assert table.to_pydict() == {"input": ["i9", "i7", "i7"], "label": [1, 1, 2], "area": [3.0, 1.0, 2.0]}

    def test_batches_are_bounded(self, tmp_path: Path, schema: pa.Schema) -> None:
        write_part(tmp_path / "a", to_batch([0], [{"probe": probe(0)}], part_schema(schema)))
        inputs = (InputParts(input=f"{i}", input_id=0, parts=(PartColumns(tmp_path / "a"),)) for i in range(300))
        sizes = [(batch.num_rows, batch.nbytes) for batch in assemble(inputs, schema)]
        assert sum(rows for rows, _ in sizes) == 300
        assert max(size for _, size in sizes) <= 33 * 2**20


class TestParquet:
    def test_table_comes_back_with_its_metadata(self, tmp_path: Path, schema: pa.Schema) -> None:
        batch = final_batch(schema, [probe(0), probe(1, histogram=None, mean=None), probe(2, note="ü=1")])
        write_table(tmp_path / "t", schema, [batch], format="parquet")
        table = pq.read_table(tmp_path / "t")
        assert table.equals(pa.Table.from_batches([batch]))
        assert pq.read_schema(tmp_path / "t").field("probe_histogram").metadata[b"unit"] == b"pixels"
        metadata = pq.read_metadata(tmp_path / "t")
        assert metadata.metadata[b"job"] == b"autumn"
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
        groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
        assert metadata.num_rows == 130
        assert len(groups) == 2
        assert all(group.total_byte_size <= parquet_table.GROUP_BYTES for group in groups)

    def test_directory_reads_as_one_table(self, tmp_path: Path, schema: pa.Schema) -> None:
        batches = [final_batch(schema, [probe(seed)], [f"{seed}"]) for seed in range(3)]
        directory = tmp_path / "analyses.parquet"
        many = [batches[index % 3] for index in range(300)]
        paths = write_parquet_directory(directory, schema, many, file_bytes=2**26)
        assert [path.name for path in paths] == ["part-00000.parquet", "part-00001.parquet"]
        table = pyarrow.dataset.dataset(directory, format="parquet").to_table(columns=["input", "probe_mean"])
        assert table.column("input").to_pylist() == [f"{index % 3}" for index in range(300)]

    def test_directory_of_no_rows_has_one_empty_part(self, tmp_path: Path, schema: pa.Schema) -> None:
        (path,) = write_parquet_directory(tmp_path / "d", schema, [])
        assert pq.read_table(path).num_rows == 0

    def test_only_large_tables_need_a_directory(self, schema: pa.Schema) -> None:
        assert not needs_directory(schema, 10_000)
        assert needs_directory(schema, 100_000)
        assert not needs_directory(rows_schema(OBJECT_COLUMNS), 1_000_000)


class TestCsv:
    def test_cells_come_back(self, tmp_path: Path, schema: pa.Schema) -> None:
        rows = [probe(0, note='a "b",\n;c'), probe(1, mean=None, note=None, histogram=None), probe(2, mean=math.nan)]
        write_table(tmp_path / "t", schema, [final_batch(schema, rows)], format="csv")
        with (tmp_path / "t").open(encoding="utf-8", newline="") as source:
            read = list(csv.DictReader(source, strict=True))
        assert [row["input"] for row in read] == ["photos/000.jpg", "photos/001.jpg", "photos/002.jpg"]
        assert float(read[0]["probe_mean"]) == rows[0]["mean"]
        assert json.loads(read[0]["probe_histogram"]) == rows[0]["histogram"].tolist()
        assert int(read[0]["probe_hash"]) == rows[0]["hash"]
        assert (read[0]["probe_gray"], read[1]["probe_gray"]) == ("false", "true")
        assert read[0]["probe_note"] == 'a "b",\n;c'
        assert (read[1]["probe_mean"], read[1]["probe_note"], read[1]["probe_histogram"]) == ("", "", "")
        assert read[2]["probe_mean"] == "nan"

    def test_arrays_of_two_dimensions_are_left_out(self, tmp_path: Path, schema: pa.Schema) -> None:
        write_table(tmp_path / "t", schema, [final_batch(schema, [probe(0)])], format="csv")
        assert "waveform" not in (tmp_path / "t").read_text()

    def test_lines_end_as_rfc_4180_says(self, tmp_path: Path) -> None:
        schema = rows_schema(OBJECT_COLUMNS)
        batch = pa.RecordBatch.from_pylist([{"input": "a", "label": 1, "area": -1.5}], schema)
        write_table(tmp_path / "t", schema, [batch], format="csv")
        assert (tmp_path / "t").read_bytes() == b'"input","label","area"\r\n"a",1,-1.5\r\n'


class TestJson:
    def test_values_come_back_in_their_shape(self, tmp_path: Path, schema: pa.Schema) -> None:
        rows = [probe(0), probe(1, mean=math.inf, waveform=None), probe(2, mean=math.nan, note='"\n\u2028ü')]
        batches = [final_batch(schema, rows[:1], ["a"]), final_batch(schema, rows[1:], ["b", "c"])]
        write_table(tmp_path / "t", schema, batches, format="json")
        text = (tmp_path / "t").read_text(encoding="utf-8")
        read = json.loads(text, parse_constant=pytest.fail)
        assert read[0]["probe_waveform"] == rows[0]["waveform"].tolist()
        assert read[0]["probe_hash"] == rows[0]["hash"]
        assert [row["probe_mean"] for row in read] == [rows[0]["mean"], None, None]
        assert read[1]["probe_waveform"] is None
        assert read[2]["probe_note"] == '"\n\u2028ü'
        assert [json.loads(line.rstrip(",")) for line in text.split("\n")[1:-2]] == read

    def test_no_rows_are_an_empty_array(self, tmp_path: Path, schema: pa.Schema) -> None:
        write_table(tmp_path / "t", schema, [], format="json")
        assert json.loads((tmp_path / "t").read_text()) == []

    def test_not_finite_array_values_become_null(self, tmp_path: Path) -> None:
        schema = rows_schema([Column("curve", "float64[2,2]", "", "")])
        batch = pa.RecordBatch.from_pylist([{"input": "a", "curve": [1.5, math.nan, -math.inf, 0.0]}], schema)
        write_table(tmp_path / "t", schema, [batch], format="json")
        assert json.loads((tmp_path / "t").read_text())[0]["curve"] == [[1.5, None], [None, 0.0]]


class TestXlsx:
    def test_cells_come_back(self, tmp_path: Path, schema: pa.Schema) -> None:
        rows = [probe(0, mean=-1.5, count=12), probe(1, mean=math.nan, note=None, gray=None)]
        write_table(tmp_path / "t", schema, [final_batch(schema, rows)], format="xlsx")
        header, first, second = sheet_cells(tmp_path / "t")
        assert list(header.values()) == [name for name in schema.names if name != "probe_waveform"]
        assert first["A"] == "photos/000.jpg"
        assert json.loads(str(first["B"])) == rows[0]["histogram"].tolist()
        assert (first["C"], first["D"]) == (-1.5, 12)
        assert first["E"] == str(rows[0]["hash"])
        assert first["F"] == 0
        assert "C" not in second
        assert "G" not in second

    def test_workbook_has_a_sheet_per_table(self, tmp_path: Path, schema: pa.Schema) -> None:
        objects = rows_schema(OBJECT_COLUMNS)
        batch = pa.RecordBatch.from_pylist([{"input": "a", "label": 1, "area": 2.0}], objects)
        sheets = [
            Sheet(name="analyses", schema=schema, batches=[final_batch(schema, [probe(0)])]),
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
        write_table(tmp_path / "t", schema, [final_batch(schema, [probe(0, note="x" * 40_000)])], format="xlsx")
        assert sheet_cells(tmp_path / "t")[1]["G"] == "x" * xlsx_table.CELL_CHARACTERS

    def test_missing_package_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, schema: pa.Schema) -> None:
        monkeypatch.setitem(sys.modules, "xlsxwriter", None)
        with pytest.raises(RayjobsError, match=r"rayjobs-app\[xlsx\]"):
            write_table(tmp_path / "t", schema, [], format="xlsx")


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\0=1", "＝1+1"], ids=ascii)  # noqa: RUF001
@pytest.mark.parametrize("format", ["csv", "xlsx"])
def test_spreadsheets_never_get_a_formula(tmp_path: Path, schema: pa.Schema, format: str, text: str) -> None:
    write_table(tmp_path / "t", schema, [final_batch(schema, [probe(0, note=text)], [text])], format=format)
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

    write_table(tmp_path / "a", schema, [whole], format=format)
    write_table(tmp_path / "b", schema, cut(), format=format)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_workbook_holds_no_time_of_the_run(tmp_path: Path, schema: pa.Schema) -> None:
    write_table(tmp_path / "t", schema, [final_batch(schema, [probe(0)])], format="xlsx")
    with zipfile.ZipFile(tmp_path / "t") as archive:
        assert {entry.date_time[0] for entry in archive.infolist()} == {1980}
        years = set(re.findall(r"(\d{4})-\d\d-\d\dT", archive.read("docProps/core.xml").decode()))
    assert years == {"2000"}


@pytest.mark.parametrize("format", list(TABLE_FORMATS))
def test_a_table_without_rows_is_a_valid_file(tmp_path: Path, schema: pa.Schema, format: str) -> None:
    write_table(tmp_path / "t", schema, [], format=format)
    assert (tmp_path / "t").stat().st_size > 0


def test_unknown_format_offers_the_nearest(tmp_path: Path, schema: pa.Schema) -> None:
    with pytest.raises(RayjobsError, match="parquet"):
        write_table(tmp_path / "t", schema, [], format="parket")


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
