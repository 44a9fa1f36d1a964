"""Blocks of inputs in one process: rows in order, results in parts, objects beside them, and a stop between two."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipelines.analyses import ANALYSES, ROWS
from pipelines.analyses.registry import Analysis, Column
from pipelines.errors import RayjobsError
from pipelines.image_io import ReadPolicy
from pipelines.models import AnalysisRequest, ImageStatus, WorkItem
from pipelines.registry import parameters_of
from pipelines.stages import block_task
from pipelines.stages.block_task import RowBuffer, Workspace, render_analyze_export
from pipelines.stages.recipe import Recipe
from pipelines.tables import SAVED_ROWS, check_results, objects_part, part_of, readable_path, rows_schema
from pipelines.tables.schema import column_field, columns_schema
from tests.workspaces import planned, prepared

NOISE, TEXTURE, WAVEFORM = AnalysisRequest("noise"), AnalysisRequest("texture"), AnalysisRequest("luma_waveform")
OBJECTS = AnalysisRequest("objects", {"properties": ["area"], "minimum_area": 1, "smoothing": 0})


def recipe(number: int, *analyses: AnalysisRequest) -> Recipe:
    return Recipe(id=number, read=ReadPolicy(), analyses=analyses)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return prepared(Workspace(root=tmp_path, epoch=1, stop=tmp_path / "stop"))


def item(directory: Path, number: int, squares: int = 1, recipe: int = 1) -> WorkItem:
    """An input with some white squares; a negative number of them is no image."""
    path = directory / f"{number}.png"
    image = np.zeros((12, 60), np.uint8)
    for square in range(squares):
        image[2 : 4 + square, 10 * square + 1 : 10 * square + 6] = 255
    Image.fromarray(image).save(path)
    if squares < 0:
        path.write_bytes(b"no image")
    return planned(path, number, recipe)


def entry(place: int) -> WorkItem:
    return WorkItem(id=place, path=b"/x", size=0, mtime_ns=0, name="x", title="x", recipe=1, seq=place)


def read(path: Path) -> pa.Table:
    return pq.ParquetFile(path).read()


def run(items: Sequence[WorkItem], recipes: Sequence[Recipe], workspace: Workspace) -> list[ImageStatus]:
    by_id = {each.id: each for each in recipes}
    return [row for rows in render_analyze_export(items, by_id, workspace) for row in rows]


def test_every_input_has_one_row_in_order(tmp_path: Path, workspace: Workspace) -> None:
    items = [item(tmp_path, number, squares) for number, squares in ((6, 1), (3, -1), (5, 2))]
    rows = run(items, [recipe(1, NOISE)], workspace)
    assert [(row.id, row.status) for row in rows] == [(6, "done"), (3, "failed"), (5, "done")]
    assert [row.row for row in rows] == [0, None, 1]
    assert rows[1].part is None


def test_objects_lie_beside_their_part(tmp_path: Path, workspace: Workspace) -> None:
    items = [item(tmp_path, number, squares) for number, squares in ((6, 3), (3, -1), (5, 0), (4, 1))]
    rows = run(items, [recipe(1, NOISE, OBJECTS)], workspace)
    (part,) = {row.part for row in rows if row.part}
    images = read(workspace.parts / part)
    assert images.column("objects_count").to_pylist() == [3, 0, 1]
    assert f"objects_{ROWS}" not in images.schema.names
    found = read(workspace.parts / objects_part(part, "objects")).to_pydict()
    assert [Path(path).stem for path in found.pop("input")] == ["6", "6", "6", "4"]
    assert found == {"label": [1, 2, 3, 1], "area": [10.0, 15.0, 20.0, 10.0]}
    assert {part_of(path.name) for path in workspace.parts.iterdir()} == {part}


def test_a_part_without_any_object_has_its_file_too(tmp_path: Path, workspace: Workspace) -> None:
    (row,) = run([item(tmp_path, 1, 0)], [recipe(1, OBJECTS)], workspace)
    assert row.part is not None
    assert read(workspace.parts / objects_part(row.part, "objects")).num_rows == 0


def test_inputs_of_one_block_may_lack_different_analyses(tmp_path: Path, workspace: Workspace) -> None:
    recipes = [recipe(1, NOISE), recipe(2, TEXTURE, OBJECTS), recipe(3)]
    items = [item(tmp_path, number, 2, recipe=number % 3 + 1) for number in range(SAVED_ROWS)]
    rows = run(items, recipes, workspace)
    assert [row.id for row in rows] == list(range(SAVED_ROWS))
    assert [row.part is None for row in rows] == [number % 3 == 2 for number in range(SAVED_ROWS)]
    assert len({row.part for row in rows if row.part}) == 2
    for row in rows:
        if row.part is not None:
            part = read(workspace.parts / row.part)
            assert part.column("input")[row.row].as_py() == readable_path(items[row.id].path)
            assert ("noise_sigma" in part.schema.names) == (row.id % 3 == 0)


def test_a_stop_hands_the_rest_back(tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_task, "SAVED_ROWS", 1)
    monkeypatch.setattr(block_task, "FLUSH_S", 0.0)
    items = [item(tmp_path, number) for number in range(3)]
    stream = render_analyze_export(items, {1: recipe(1, NOISE)}, workspace)
    assert [row.status for row in next(stream)] == ["done"]
    workspace.stop.touch()
    assert [row.status for rows in stream for row in rows] == ["released", "released"]


@pytest.mark.parametrize("analysis", [WAVEFORM, NOISE])
def test_rows_are_handed_over_now_and_then(analysis: AnalysisRequest, workspace: Workspace) -> None:
    workspace.parts.mkdir(parents=True)
    results = {analysis.name: dict(ANALYSES[analysis.name].function(np.zeros((8, 8), np.uint8)))}
    now = [0.0]
    buffer = RowBuffer(workspace, clock=lambda: now[0])
    assert not buffer.due()
    for number in range(SAVED_ROWS):
        buffer.add(entry(number), ImageStatus(id=number, status="done"), results, recipe(1, analysis))
    assert not buffer.due()
    now[0] = block_task.FLUSH_S
    assert buffer.due()
    buffer.add(entry(SAVED_ROWS), ImageStatus(id=SAVED_ROWS, status="done"), results, recipe(1, analysis))
    assert buffer.due() == (analysis is NOISE)  # the others of its group may come soon
    now[0] = 2 * block_task.FLUSH_S
    assert buffer.due()
    assert [row.id for row in buffer.flush()] == list(range(SAVED_ROWS + 1))
    assert not buffer.due()


@pytest.mark.parametrize("first", [0, 5])
def test_rows_of_one_group_of_the_table_are_saved_together(first: int, tmp_path: Path, workspace: Workspace) -> None:
    rows = run([item(tmp_path, number) for number in range(first, 12)], [recipe(1, WAVEFORM)], workspace)
    parts = {row.part: [other.id for other in rows if other.part == row.part] for row in rows}
    assert list(parts.values()) == [list(range(first, SAVED_ROWS)), list(range(SAVED_ROWS, 12))]


def test_narrow_rows_are_saved_as_they_are_handed_over(tmp_path: Path, workspace: Workspace) -> None:
    rows = run([item(tmp_path, number) for number in range(20)], [recipe(1, NOISE)], workspace)
    assert len({row.part for row in rows}) == 1


@pytest.mark.parametrize("name", ["8f3a.part", "000002-8f3a.parquet"])
def test_names_of_files_of_objects_tell_their_part(name: str) -> None:
    for analysis in ("objects", "vendor.cells"):
        assert part_of(objects_part(name, analysis)) == name
    assert part_of(name) == name


def test_results_of_no_recipe_are_not_saved(workspace: Workspace) -> None:
    buffer: Any = RowBuffer(workspace)
    buffer.add(entry(0), ImageStatus(id=0, status="done"))
    assert buffer.flush() == [ImageStatus(id=0, status="done")]


def misfit(value: object) -> Analysis:
    """An analysis that gives a value which its column, a whole number, may not take; bright images are spared."""

    def misfit(image: Any) -> dict[str, object]:
        return {"count": value if image.max() == 0 else 1}

    columns = [Column("count", "uint32", "1", "A number.")]
    return Analysis("misfit", "measurements", misfit, parameters_of(misfit), lambda: columns)


@pytest.mark.parametrize("value", [1.5, -1, 2**40, "many", np.arange(3)], ids=repr)
def test_a_result_that_does_not_fit_its_column_fails_its_image_alone(
    value: object, tmp_path: Path, workspace: Workspace
) -> None:
    undo = ANALYSES.register("misfit", misfit(value))
    try:
        items = [item(tmp_path, number, squares) for number, squares in enumerate([1, 0, 2])]
        rows = run(items, [recipe(1, NOISE, AnalysisRequest("misfit"))], workspace)
    finally:
        undo()
    assert [(row.status, row.reason) for row in rows] == [("done", None), ("failed", "analysis_error"), ("done", None)]
    assert "misfit_count" in str(rows[1].message)


def test_what_is_checked_before_saving_is_what_saving_refuses() -> None:
    schema = columns_schema([column_field(Column("a_values", "uint32[2]", "1", "Two."))])
    rows = {"o": rows_schema([Column("area", "float64", "px", "Area."), Column("n", "int64", "1", "N.")])}
    good = {"a": {"values": np.array([1, 2])}, "o": {ROWS: {"area": [1.0, 2.0], "n": [1, 2]}}}
    check_results(good, schema, rows)
    check_results({**good, "a": {"values": None}}, schema, rows)
    bad: list[dict[str, dict[str, Any]]] = [
        {**good, "a": {"values": np.array([1, -2])}},
        {**good, "a": {"values": np.array([1, 2, 3])}},
        {**good, "a": {"other": 1}},
        {**good, "o": {}},
        {**good, "o": {ROWS: {"area": [1.0, 2.0], "n": [1]}}},
        {**good, "o": {ROWS: {"area": [1.0], "n": [1.5]}}},
        {**good, "o": {ROWS: {"area": [1.0]}}},
    ]
    for results in bad:
        with pytest.raises(RayjobsError):
            check_results(results, schema, rows)
