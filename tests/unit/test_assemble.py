"""Rows of many parts, gathered in order and sealed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.analyses.registry import ANALYSES as REGISTRY
from pipelines.analyses.registry import Column
from pipelines.errors import RayjobsError
from pipelines.models import AnalysisRequest
from pipelines.tables.assemble import InputParts, PartColumns, assemble
from pipelines.tables.batches import to_batch, to_rows_batch
from pipelines.tables.parquet_table import write_parquet
from pipelines.tables.parts import write_part
from pipelines.tables.schema import analyses_schema, part_schema, rows_schema
from pipelines.tables.sealing import SealRequest, seal_part
from tests.result_rows import ANALYSES, OBJECT_COLUMNS, REQUESTS, fake_analyses, probe


@pytest.fixture(scope="module")
def schema() -> pa.Schema:
    return analyses_schema(REQUESTS, ANALYSES, {"job": "autumn", "rayjobs": "0.1.0"})


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

    def test_objects_of_sealed_parts_are_found_across_row_groups(self, tmp_path: Path) -> None:
        schema = rows_schema(OBJECT_COLUMNS)
        counts = {"b": 40_000, "a": 90_000, "c": 0, "d": 7}  # in an order that isn't that of the texts
        names = [name for name, count in counts.items() for _ in range(count)]
        numbers = np.concatenate([np.arange(count, dtype=np.uint32) for count in counts.values()])
        batch = pa.RecordBatch.from_arrays([pa.array(names), pa.array(numbers), pa.array(numbers * 0.5)], schema=schema)
        write_parquet(tmp_path / "sealed", schema, [batch])
        assert pq.read_metadata(tmp_path / "sealed").num_row_groups == 2
        part = PartColumns(tmp_path / "sealed", by_path=True)
        for order in ("bacd", "dcab"):
            inputs = [InputParts(input=name, input_id=0, parts=(part,)) for name in order]
            table = pa.Table.from_batches(assemble(inputs, schema, several=True, open_parts=1))
            assert table.column("input").to_pylist() == [name for name in order for _ in range(counts[name])]
            assert table.column("label").to_pylist() == [n for name in order for n in range(counts[name])]

    def test_batches_are_bounded(self, tmp_path: Path, schema: pa.Schema) -> None:
        write_part(tmp_path / "a", to_batch([0], [{"probe": probe(0)}], part_schema(schema)))
        inputs = (InputParts(input=f"{i}", input_id=0, parts=(PartColumns(tmp_path / "a"),)) for i in range(300))
        sizes = [(batch.num_rows, batch.nbytes) for batch in assemble(inputs, schema)]
        assert sum(rows for rows, _ in sizes) == 300
        assert max(size for _, size in sizes) <= 33 * 2**20


class TestSealing:
    """With an analysis of the real registry's kind, because a worker that seals knows only names."""

    @pytest.fixture
    def requests(self, monkeypatch: pytest.MonkeyPatch) -> tuple[AnalysisRequest, ...]:
        names = ("sealed_first", "sealed_second")
        wide = [Column("value", "int64", "", ""), Column("curve", "uint32[256,256]", "", "")]
        for name, entry in fake_analyses(*names, columns=wide).items():
            monkeypatch.setitem(REGISTRY._entries, name, entry)
        return tuple(map(AnalysisRequest, names))

    def part(self, path: Path, analysis: str, ids: Sequence[int], requests: Sequence[AnalysisRequest]) -> PartColumns:
        schema = part_schema(analyses_schema([request for request in requests if request.name == analysis]))
        rows = [{analysis: {"value": i, "curve": np.full(65536, i) if i % 5 else None}} for i in ids]
        write_part(path, to_batch(ids, rows, schema))
        return PartColumns(path)

    def inputs(self, ids: Sequence[int], *parts: PartColumns) -> tuple[InputParts, ...]:
        return tuple(InputParts(input=f"i{i:03d}", input_id=i, parts=parts) for i in ids)

    def test_one_analysis_more_gives_the_same_bytes_as_both_at_once(
        self, tmp_path: Path, requests: tuple[AnalysisRequest, ...]
    ) -> None:
        ids = range(150)  # several row groups
        first = self.part(tmp_path / "a", "sealed_first", ids[::-1], requests)
        second = self.part(tmp_path / "b", "sealed_second", ids, requests)
        seal_part(SealRequest(target=tmp_path / "1", requests=requests[:1], inputs=self.inputs(ids, first)))
        resealed = tuple(
            InputParts(input=f"i{i:03d}", input_id=i, parts=(PartColumns(tmp_path / "1", row=i), second)) for i in ids
        )
        seal_part(SealRequest(target=tmp_path / "2", requests=requests, inputs=resealed))
        seal_part(SealRequest(target=tmp_path / "3", requests=requests, inputs=self.inputs(ids, first, second)))
        assert pq.read_metadata(tmp_path / "1").num_row_groups > 1
        assert pq.read_table(tmp_path / "2").column("sealed_first_value").to_pylist() == list(ids)
        assert pq.read_table(tmp_path / "2").column("sealed_second_curve").null_count == 30
        assert (tmp_path / "2").read_bytes() == (tmp_path / "3").read_bytes()

    def test_failed_seal_leaves_nothing(self, tmp_path: Path, requests: tuple[AnalysisRequest, ...]) -> None:
        part = self.part(tmp_path / "a", "sealed_first", [1], requests)
        with pytest.raises(RayjobsError, match="i002"):
            seal_part(SealRequest(target=tmp_path / "out/1", requests=requests[:1], inputs=self.inputs([1, 2], part)))
        assert os.listdir(tmp_path / "out") == []

    def test_row_beyond_a_sealed_part_is_reported(self, tmp_path: Path, requests: tuple[AnalysisRequest, ...]) -> None:
        part = self.part(tmp_path / "a", "sealed_first", [1], requests)
        seal_part(SealRequest(target=tmp_path / "1", requests=requests[:1], inputs=self.inputs([1], part)))
        inputs = self.inputs([1], PartColumns(tmp_path / "1", row=1))
        with pytest.raises(RayjobsError, match="has no row 1"):
            list(assemble(inputs, analyses_schema(requests[:1])))
