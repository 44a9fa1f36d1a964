"""Rows of many parts, gathered in order and sealed."""

from __future__ import annotations

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
from pipelines.tables.assemble import InputParts, PartColumns, PartReader, assemble
from pipelines.tables.batches import to_batch, to_rows_batch
from pipelines.tables.column_chunks import EncodedFile, write_row_groups
from pipelines.tables.parquet_table import SAVED_ROWS, write_parquet, writer_options
from pipelines.tables.parts import PartFile, write_part
from pipelines.tables.schema import rows_schema, saved_schema, scopes_schemas
from pipelines.tables.sealing import SealRequest, seal_part
from tests.result_rows import ANALYSES, OBJECT_COLUMNS, REQUESTS, fake_analyses, probe


@pytest.fixture(scope="module")
def schema() -> pa.Schema:
    return saved_schema(REQUESTS, ANALYSES)


class TestAssemble:
    @pytest.fixture
    def place(self, tmp_path: Path) -> Callable[..., list[PartColumns]]:
        def write(name: str, ids: Sequence[int], analysis: str, factor: int = 10) -> list[PartColumns]:
            columns = [Column("value", "int64", "", "")]
            schema = saved_schema([AnalysisRequest(analysis)], fake_analyses(analysis, columns=columns))
            rows = [{analysis: {"value": factor * i}} for i in ids]
            write_part(tmp_path / name, schema, [to_batch([f"i{i}" for i in ids], rows, schema)])
            return [PartColumns(tmp_path / name, row=row) for row in range(len(ids))]

        return write

    @pytest.fixture
    def two(self) -> pa.Schema:
        analyses = fake_analyses("first", "second", columns=[Column("value", "int64", "", "")])
        return saved_schema([AnalysisRequest("first"), AnalysisRequest("second")], analyses)

    def test_rows_come_in_the_order_asked(self, place: Any, two: pa.Schema) -> None:
        parts = [place("a", [5, 1], "first"), place("b", [2, 8], "first")]
        order = [(1, parts[0][1]), (2, parts[1][0]), (5, parts[0][0]), (8, parts[1][1])]
        inputs = [InputParts(input=f"i{i}", seq=i, parts=(part,)) for i, part in order]
        rows = [row for batch in assemble(inputs, two, reader=PartReader(two.names, 1)) for row in batch.to_pylist()]
        assert rows == [{"input": f"i{i}", "first_value": 10 * i, "second_value": None} for i, _ in order]

    def test_parts_with_other_columns_are_joined(self, place: Any, two: pa.Schema) -> None:
        parts = (place("a", [1, 2], "first")[1], place("b", [2, 1], "second")[0])
        inputs = [InputParts(input="x", seq=2, parts=parts)]
        assert pa.Table.from_batches(assemble(inputs, two)).to_pylist() == [
            {"input": "x", "first_value": 20, "second_value": 20}
        ]

    def test_only_the_columns_that_count_are_taken(self, place: Any, two: pa.Schema) -> None:
        (old,), (new,) = place("a", [1], "first", 10), place("b", [1], "first", 20)
        for parts, value in [((old, new), 20), ((old, PartColumns(new.path, frozenset(), row=0)), 10)]:
            (batch,) = assemble([InputParts(input="x", seq=1, parts=parts)], two)
            assert batch.column("first_value").to_pylist() == [value]

    def test_an_input_without_a_row_is_an_error(self, two: pa.Schema) -> None:
        with pytest.raises(RayjobsError, match=r"x\.jpg"):
            list(assemble([InputParts(input="x.jpg", seq=3, parts=())], two))

    def test_objects_of_an_input_stay_together(self, tmp_path: Path) -> None:
        schema = rows_schema(OBJECT_COLUMNS)
        tables = [{"label": [1, 2], "area": [1.0, 2.0]}, {"label": [], "area": []}, {"label": [1], "area": [3.0]}]
        write_part(tmp_path / "a", schema, [to_rows_batch(["i7", "i8", "i9"], tables, schema)])
        inputs = [InputParts(input=f"i{i}", seq=i, parts=(PartColumns(tmp_path / "a"),)) for i in (9, 8, 7)]
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
        part = PartColumns(tmp_path / "sealed")
        for order in ("bacd", "dcab"):
            inputs = [InputParts(input=name, seq=0, parts=(part,)) for name in order]
            table = pa.Table.from_batches(assemble(inputs, schema, several=True, reader=PartReader(schema.names, 1)))
            assert table.column("input").to_pylist() == [name for name in order for _ in range(counts[name])]
            assert table.column("label").to_pylist() == [n for name in order for n in range(counts[name])]

    def test_batches_are_bounded(self, tmp_path: Path, schema: pa.Schema) -> None:
        write_part(tmp_path / "a", schema, [to_batch(["a"], [{"probe": probe(0)}], schema)])
        inputs = (InputParts(input=f"{i}", seq=0, parts=(PartColumns(tmp_path / "a", row=0),)) for i in range(300))
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

    def part(
        self, path: Path, analysis: str, ids: Sequence[int], requests: Sequence[AnalysisRequest]
    ) -> dict[int, PartColumns]:
        """A worker's part of some inputs, and where their rows are."""
        schema = saved_schema([request for request in requests if request.name == analysis])
        rows = [{analysis: {"value": i, "curve": np.full(65536, i) if i % 5 else None}} for i in ids]
        write_part(path, schema, [to_batch([f"i{i:03d}" for i in ids], rows, schema)])
        return {i: PartColumns(path, row=row) for row, i in enumerate(ids)}

    def parts(
        self, directory: Path, analysis: str, ids: Sequence[int], requests: Sequence[AnalysisRequest], size: int
    ) -> dict[int, PartColumns]:
        """As workers leave them, each of so many places of the input list."""
        found: dict[int, PartColumns] = {}
        for group in sorted({i // size for i in ids}):
            members = [i for i in ids if i // size == group]
            found |= self.part(directory / f"{analysis}-{size}-{group}", analysis, members, requests)
        return found

    def inputs(self, ids: Sequence[int], *parts: dict[int, PartColumns]) -> tuple[InputParts, ...]:
        return tuple(InputParts(input=f"i{i:03d}", seq=i, parts=tuple(each[i] for each in parts)) for i in ids)

    @pytest.mark.parametrize("size", [SAVED_ROWS, 5, 1000])
    def test_bytes_do_not_depend_on_how_workers_saved_the_rows(
        self, size: int, tmp_path: Path, requests: tuple[AnalysisRequest, ...]
    ) -> None:
        ids = [i for i in range(50) if i not in (3, 16, *range(24, 32))]  # the others failed: eight of them a group
        first = self.parts(tmp_path, "sealed_first", ids, requests, size)
        second = self.parts(tmp_path, "sealed_second", ids, requests, SAVED_ROWS)
        seal_part(SealRequest(target=tmp_path / "1.p", requests=requests, inputs=self.inputs(ids, first, second)))
        inputs = self.inputs(ids, first, second)
        groups = [[entry for entry in inputs if entry.seq // SAVED_ROWS == group] for group in (0, 1, 2, 4, 5, 6)]
        for request, schema in scopes_schemas(requests).items():
            with pq.ParquetWriter(tmp_path / "2", schema, **writer_options(schema)) as writer:
                for group in groups:
                    writer.write_table(pa.Table.from_batches(assemble(group, schema)))
            assert (tmp_path / f"1.{request.name}.scopes.p").read_bytes() == (tmp_path / "2").read_bytes()
        table = pq.read_table(tmp_path / "1.p")
        assert table.column_names == ["input", "sealed_first_value", "sealed_second_value"]
        assert table.column("sealed_second_value").to_pylist() == ids

    def test_what_workers_encoded_is_taken_over(
        self, tmp_path: Path, requests: tuple[AnalysisRequest, ...], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = self.parts(tmp_path, "sealed_first", range(20), requests, SAVED_ROWS)
        monkeypatch.delattr("pipelines.tables.sealing.encode")
        target = tmp_path / "1.p"
        seal_part(SealRequest(target=target, requests=requests[:1], inputs=self.inputs(range(20), first)))
        assert pq.read_table(target).column("sealed_first_value").to_pylist() == list(range(20))
        curves = pq.read_table(tmp_path / "1.sealed_first.scopes.p").column("sealed_first_curve")
        assert [None if curve is None else curve[0] for curve in curves.to_pylist()] == [
            i if i % 5 else None for i in range(20)
        ]

    def test_a_narrow_part_is_read_once(
        self, tmp_path: Path, requests: tuple[AnalysisRequest, ...], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ids = range(50)
        columns = [Column("value", "int64", "", "")]
        narrow = fake_analyses("sealed_narrow", columns=columns)["sealed_narrow"]
        monkeypatch.setitem(REGISTRY._entries, "sealed_narrow", narrow)
        more = (AnalysisRequest("sealed_narrow"), *requests[:1])
        schema = saved_schema(more[:1])
        rows = [{"sealed_narrow": {"value": i}} for i in ids]
        write_part(tmp_path / "narrow", schema, [to_batch([f"i{i:03d}" for i in ids], rows, schema)])
        old = {i: PartColumns(tmp_path / "narrow", row=i) for i in ids}
        new = self.parts(tmp_path, "sealed_first", ids, requests, SAVED_ROWS)
        reads: list[Path] = []
        read = PartFile.read
        monkeypatch.setattr(PartFile, "read", lambda self, *args: (reads.append(self._path), read(self, *args))[1])
        seal_part(SealRequest(target=tmp_path / "1.p", requests=more, inputs=self.inputs(ids, old, new)))
        assert reads.count(tmp_path / "narrow") == 1
        assert pq.read_table(tmp_path / "1.p").column("sealed_narrow_value").to_pylist() == list(ids)

    def test_one_analysis_more_gives_the_same_bytes_as_both_at_once(
        self, tmp_path: Path, requests: tuple[AnalysisRequest, ...]
    ) -> None:
        ids = range(50)  # several row groups
        first = self.part(tmp_path / "a", "sealed_first", ids[::-1], requests)
        second = self.part(tmp_path / "b", "sealed_second", ids, requests)
        seal_part(SealRequest(target=tmp_path / "1.p", requests=requests[:1], inputs=self.inputs(ids, first)))
        sealed = {i: PartColumns(tmp_path / "1.p", row=i) for i in ids}
        seal_part(SealRequest(target=tmp_path / "2.p", requests=requests, inputs=self.inputs(ids, sealed, second)))
        seal_part(SealRequest(target=tmp_path / "3.p", requests=requests, inputs=self.inputs(ids, first, second)))
        arrays = [f"{part}.sealed_first.scopes.p" for part in "123"]
        assert pq.read_metadata(tmp_path / arrays[0]).num_row_groups > 1
        assert (tmp_path / arrays[0]).samefile(tmp_path / arrays[1]), "nothing in it is written again"
        assert pq.read_table(tmp_path / "2.p").column("sealed_first_value").to_pylist() == list(ids)
        assert pq.read_table(tmp_path / "2.sealed_second.scopes.p").column("sealed_second_curve").null_count == 10
        for name in ("p", "sealed_first.scopes.p", "sealed_second.scopes.p"):
            assert (tmp_path / f"2.{name}").read_bytes() == (tmp_path / f"3.{name}").read_bytes()

    def test_arrays_that_an_older_version_sealed_with_the_scalars_are_taken_over(
        self, tmp_path: Path, requests: tuple[AnalysisRequest, ...], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ids = range(20)
        first = self.parts(tmp_path, "sealed_first", ids, requests, SAVED_ROWS)
        schema = saved_schema(requests[:1])
        groups = [
            group for path in dict.fromkeys(part.path for part in first.values()) for group in EncodedFile(path).groups
        ]
        write_row_groups(tmp_path / "old.p", schema, groups)
        monkeypatch.delattr("pipelines.tables.sealing.encode")
        old = {i: PartColumns(tmp_path / "old.p", row=i) for i in ids}
        for target, parts in (("1.p", old), ("2.p", first)):
            seal_part(SealRequest(target=tmp_path / target, requests=requests[:1], inputs=self.inputs(ids, parts)))
        for name in ("p", "sealed_first.scopes.p"):
            assert (tmp_path / f"1.{name}").read_bytes() == (tmp_path / f"2.{name}").read_bytes()

    def test_failed_seal_leaves_nothing(self, tmp_path: Path, requests: tuple[AnalysisRequest, ...]) -> None:
        part = self.part(tmp_path / "a", "sealed_first", [1], requests)
        gone = part | {2: PartColumns(tmp_path / "gone", row=0)}
        with pytest.raises(RayjobsError, match="gone"):
            seal_part(SealRequest(target=tmp_path / "out/1.p", requests=requests[:1], inputs=self.inputs([1, 2], gone)))
        assert list(tmp_path.glob("out/*")) == []

    def test_row_beyond_a_sealed_part_is_reported(self, tmp_path: Path, requests: tuple[AnalysisRequest, ...]) -> None:
        part = self.part(tmp_path / "a", "sealed_first", [1], requests)
        seal_part(SealRequest(target=tmp_path / "1.p", requests=requests[:1], inputs=self.inputs([1], part)))
        inputs = self.inputs([1], {1: PartColumns(tmp_path / "1.p", row=1)})
        with pytest.raises(RayjobsError, match="has no row 1"):
            list(assemble(inputs, saved_schema(requests[:1])))
