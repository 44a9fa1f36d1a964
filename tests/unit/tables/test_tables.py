"""Schemas, batches and parts of result tables."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.analyses import ANALYSES as ANALYSES_OF_OURS
from pipelines.analyses import with_defaults
from pipelines.analyses.frames import frame_requests
from pipelines.analyses.object_measures import MEASURES
from pipelines.analyses.registry import Analysis, Column
from pipelines.errors import RayjobsError
from pipelines.models import AnalysisRequest
from pipelines.registry import Parameters
from pipelines.tables.batches import rebatch, to_batch, to_rows_batch
from pipelines.tables.column_chunks import EncodedFile
from pipelines.tables.manifest import manifest_schema
from pipelines.tables.parts import PartFile, write_part
from pipelines.tables.schema import (
    arrow_type,
    column_field,
    field_shape,
    label_of,
    object_schemas,
    row_bytes,
    rows_schema,
    saved_schema,
)
from tests.result_rows import ANALYSES, COLUMNS, OBJECT_COLUMNS, REQUESTS, final_batch, probe


@pytest.fixture(scope="module")
def schema() -> pa.Schema:
    return saved_schema(REQUESTS, ANALYSES)


UNITLESS = {"string", "binary", "bool"}
NAMES_OF_THINGS = {"label", "image_hash_group"}
"""Numbers that only tell things apart."""


def assert_described(schema: pa.Schema) -> None:
    """Each column has a label and a sentence of its own, and a unit unless it is none that can have one."""
    labels = [field.metadata[b"label"].decode() for field in schema]
    assert len(set(labels)) == len(labels)
    for field, label in zip(schema, labels, strict=True):
        assert label[:1].isupper()
        assert "_" not in label
        meaning = field.metadata[b"meaning"].decode()
        assert meaning.endswith(".")
        assert meaning[:1].isupper() or meaning[:1].isdigit()
        has_none = str(field.type) in UNITLESS or pa.types.is_list(field.type) or field.name in NAMES_OF_THINGS
        assert (field.metadata[b"unit"] == b"") == has_none, field
    assert set(json.loads(schema.metadata[b"columns"])) == set(schema.names)


class TestSchema:
    def test_columns_bear_the_name_of_their_analysis(self, schema: pa.Schema) -> None:
        assert schema.names == ["input", *(f"probe_{column.name}" for column in COLUMNS)]

    def test_label_unit_meaning_and_shape_are_field_metadata(self, schema: pa.Schema) -> None:
        field = schema.field("probe_waveform")
        assert field.metadata == {
            b"label": b"Probe: Waveform",
            b"unit": b"pixels",
            b"meaning": b"Pixels per level and column.",
            b"shape": b"256,256",
        }
        assert field_shape(field) == (256, 256)
        assert field.nullable
        assert json.loads(schema.metadata[b"columns"])["probe_mean"]["unit"] == "level"

    @pytest.mark.parametrize("name", ANALYSES_OF_OURS)
    def test_every_column_of_an_analysis_has_a_label_a_unit_and_a_sentence(self, name: str) -> None:
        request = with_defaults(AnalysisRequest(name))
        schemas = [saved_schema([request]), *object_schemas([request, *frame_requests([request])]).values()]
        if name == "objects":
            every = ANALYSES_OF_OURS[name].row_columns
            assert every is not None
            schemas.append(rows_schema(every(**{**request.params, "properties": tuple(MEASURES)})))
        for schema in schemas:
            assert_described(schema)

    def test_every_column_of_the_manifest_has_them_too(self) -> None:
        assert_described(manifest_schema())

    def test_a_column_without_a_label_is_called_by_its_name_in_words(self) -> None:
        assert Column("red_std", "float64", "level", "").title == "Red standard deviation"
        assert Column("red_std", "float64", "level", "", "Spread of red").title == "Spread of red"

    def test_a_label_is_shown_with_its_unit(self) -> None:
        shown = [label_of(column_field(Column("area", "float64", unit, "Area."))) for unit in ("µm²", "1", "")]
        assert shown == ["Area (µm²)", "Area", "Area"]

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
        schema = saved_schema([AnalysisRequest("choice", {"size": 5})], {"choice": entry})
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
        batch = to_batch(["a"], [{}], schema)
        assert batch.to_pylist() == [{"input": "a"} | dict.fromkeys(schema.names[1:])]

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
        schema = rows_schema(OBJECT_COLUMNS)
        tables = [
            {"label": np.array([1, 2]), "area": np.array([4.0, 5.5])},
            {"label": np.array([], int), "area": np.array([])},
            {"label": [1], "area": [9]},
        ]
        assert to_rows_batch(["a", "b", "c"], tables, schema).to_pylist() == [
            {"input": "a", "label": 1, "area": 4.0},
            {"input": "a", "label": 2, "area": 5.5},
            {"input": "c", "label": 1, "area": 9.0},
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
        batch = to_batch(["a", "b"], [{"probe": probe(0)}, {}], schema)
        write_part(tmp_path / "0.part", schema, [batch], durable=True)
        assert PartFile(tmp_path / "0.part").read(0).equals(batch)
        assert os.listdir(tmp_path) == ["0.part"]

    def test_part_is_compressed(self, tmp_path: Path, schema: pa.Schema) -> None:
        batch = to_batch(["a"], [{"probe": probe(0)}], schema)
        write_part(tmp_path / "0.part", schema, [batch])
        assert (tmp_path / "0.part").stat().st_size < batch.nbytes / 2

    @pytest.mark.parametrize("kept", [0, 10, 0.5, -1], ids=str)
    def test_torn_part_is_reported(self, tmp_path: Path, schema: pa.Schema, kept: float) -> None:
        path = tmp_path / "0.part"
        write_part(path, schema, [to_batch(["a"], [{"probe": probe(0)}], schema)])
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * kept) if isinstance(kept, float) else kept])
        for reader in (PartFile, EncodedFile):
            with pytest.raises(RayjobsError, match=r"0\.part"):
                reader(path)

    @pytest.mark.parametrize("reader", [PartFile, EncodedFile])
    def test_missing_part_is_reported(self, tmp_path: Path, reader: type) -> None:
        with pytest.raises(RayjobsError, match=r"gone\.part"):
            reader(tmp_path / "gone.part")
