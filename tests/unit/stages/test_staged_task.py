"""Three stages or one: the same rows, results and files, whatever happens to an image and wherever."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import tifffile
from PIL import Image

from actors.cache.disk_cache import DiskCache
from pipelines.analyses.frames import frame_requests
from pipelines.charts import ChartOptions
from pipelines.image_io import DecodedImage, EncodeOptions, ImageHeader, ReadPolicy
from pipelines.models import AnalysisRequest, ImageOperation, ImageStatus, WorkItem
from pipelines.operations.image_geometry import ImageGeometry
from pipelines.stages import staged_task
from pipelines.stages.block_task import Workspace, render_analyze_export
from pipelines.stages.cached_analyses import Kept
from pipelines.stages.image_stages import Rendered
from pipelines.stages.recipe import Recipe
from pipelines.tables import objects_part, readable_path
from tests.workspaces import prepared

ANALYSES = (
    AnalysisRequest("color_histogram"),
    AnalysisRequest("statistics"),
    AnalysisRequest("objects", {"properties": ["area"], "minimum_area": 1, "smoothing": 0}),
)
RECIPE = Recipe(
    id=1,
    operations=(ImageOperation("auto_orient"), ImageOperation("brightness_contrast", {"brightness": 0.1})),
    read=ReadPolicy(frames="all"),
    image=EncodeOptions(format="png"),
    image_suffixes=(".png",),
    analyses=(*ANALYSES, *frame_requests(ANALYSES)),
    charts=ChartOptions(),
    charted=("color_histogram",),
)


def sources(directory: Path) -> list[Path]:
    random = np.random.default_rng(3)
    pixels = random.integers(0, 256, (4, 30, 40, 3), dtype=np.uint8)
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(pixels[0]).save(directory / "turned.jpg", exif=turned)
    Image.fromarray(pixels[0][..., 0]).save(directory / "gray.png")
    (directory / "broken.png").write_bytes(b"no image")
    tifffile.imwrite(directory / "pages.tif", pixels[:3], photometric="rgb")
    tifffile.imwrite(directory / "deep.tif", pixels[1].astype(np.uint16) * 257, photometric="rgb")
    frames = [Image.fromarray(one) for one in pixels]
    frames[0].save(directory / "moving.webp", save_all=True, append_images=frames[1:], lossless=True)
    return sorted(directory.iterdir())


def items(paths: list[Path]) -> list[WorkItem]:
    return [
        WorkItem(
            id=number,
            path=bytes(path),
            size=path.stat().st_size,
            mtime_ns=path.stat().st_mtime_ns,
            name=path.stem,
            title=path.name,
            recipe=1,
        )
        for number, path in enumerate(paths)
    ]


def staged(work: list[WorkItem], workspace: Workspace, recipe: Recipe = RECIPE) -> list[ImageStatus]:
    """Every image by itself through the stages, as the operators may cut blocks anywhere."""
    rows: list[ImageStatus] = []
    recipes = {1: recipe}
    for item in work:
        table = pa.table({"id": [item.id]})
        (rendered,) = staged_task.render(table, [item], recipes, workspace)
        (analyzed,) = staged_task.analyze(rendered, [item], recipes, workspace)
        rows += [row for group in staged_task.export(analyzed, [item], recipes, workspace) for row in group]
    return rows


def comparable(row: ImageStatus) -> ImageStatus:
    return replace(row, part=None, row=None, seconds=0, worker="")


def results(row: ImageStatus, work: Sequence[WorkItem], workspace: Workspace) -> dict[str, list[Any]]:
    """What the parts say of one input."""
    if row.part is None:
        return {}
    found: dict[str, list[Any]] = {}
    for name in (row.part, *(objects_part(row.part, table) for table in ("objects", "frames", "frames_objects"))):
        part = pq.ParquetFile(workspace.parts / name).read()
        mine = part.filter(pc.equal(part.column("input"), readable_path(work[row.id].path)))
        found |= {f"{name.partition('.')[2]}:{column}": mine.column(column).to_pylist() for column in part.schema.names}
    return found


def tree(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for name in ("images", "charts")
        for path in (root / name).rglob("*")
        if path.is_file()
    }


def space(root: Path) -> Workspace:
    return prepared(Workspace(root=root, epoch=1, stop=root / "stop"))


def test_staged_and_fused_give_the_same_rows_results_and_files(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    work = items(sources(tmp_path / "in"))
    one, three = space(tmp_path / "fused"), space(tmp_path / "staged")
    fused_rows = [row for group in render_analyze_export(work, {1: RECIPE}, one) for row in group]
    staged_rows = staged(work, three)
    assert [row.status for row in fused_rows] == ["failed"] + ["done"] * 5
    assert list(map(comparable, staged_rows)) == list(map(comparable, fused_rows))
    assert tree(three.root) == tree(one.root)
    for left, right in zip(staged_rows, fused_rows, strict=True):
        assert results(left, work, three) == results(right, work, one)
    assert [row.spent.keys() for row in staged_rows] == [row.spent.keys() for row in fused_rows]
    assert {frozenset(row.spent) for row in fused_rows} == {
        frozenset(),  # failed
        frozenset({"render-analyze-export"}),  # files of several images
        frozenset({"render", "analyze", "export"}),
    }
    pages = next(row for row in fused_rows if work[row.id].name == "pages")
    assert sorted(output.path for output in pages.outputs if output.product == "image") == [
        "images/pages-p0002.png",
        "images/pages-p0003.png",
        "images/pages.png",
    ]
    assert results(pages, work, one)["frames.part:frame"] == [1, 2, 3]


@pytest.mark.parametrize("stage", ["before", "between"])
def test_a_stop_hands_images_back_before_they_are_read_and_finishes_those_that_are(tmp_path: Path, stage: str) -> None:
    (tmp_path / "in").mkdir()
    work = items(sources(tmp_path / "in"))[3:4]
    workspace = space(tmp_path / "out")
    if stage == "before":
        workspace.stop.touch()
    (rendered,) = staged_task.render(pa.table({"id": [work[0].id]}), work, {1: RECIPE}, workspace)
    workspace.stop.touch()
    (analyzed,) = staged_task.analyze(rendered, work, {1: RECIPE}, workspace)
    ((row,),) = staged_task.export(analyzed, work, {1: RECIPE}, workspace)
    assert row.status == ("released" if stage == "before" else "done")


@pytest.mark.parametrize("begun", ["fused", "staged"])
def test_staged_and_fused_know_the_same_analyses(tmp_path: Path, begun: str) -> None:
    (tmp_path / "in").mkdir()
    work = items(sources(tmp_path / "in"))
    kept = Kept("chain", (("statistics", "s"), ("color_histogram", "c"), ("objects", "o")))
    recipe = replace(RECIPE, kept=replace(kept, names=kept.names[:2]))
    cache = DiskCache(tmp_path / "cache")
    first = replace(space(tmp_path / "first"), cache=cache)
    expected = (
        staged(work, first, recipe)
        if begun == "staged"
        else [row for group in render_analyze_export(work, {1: recipe}, first) for row in group]
    )
    assert {row.known for row in expected} == {0}
    recipe = replace(recipe, kept=kept)
    three = replace(space(tmp_path / "staged"), cache=cache)
    one = replace(space(tmp_path / "fused"), cache=cache)
    staged_rows = staged(work, three, recipe)
    fused_rows = [row for group in render_analyze_export(work, {1: recipe}, one) for row in group]
    assert [row.known for row in staged_rows] == [2 * (row.status == "done") for row in expected]
    assert [row.known for row in fused_rows] == [3 * (row.status == "done") for row in expected]
    for rows, workspace in ((staged_rows, three), (fused_rows, one)):
        assert [replace(comparable(row), known=0) for row in rows] == list(map(comparable, expected))
        assert tree(workspace.root) == tree(first.root)
        for row, before in zip(rows, expected, strict=True):
            assert results(row, work, workspace) == results(before, work, first)


def test_what_a_file_says_travels_as_it_is() -> None:
    said = ImageHeader(
        format="png",
        width=4,
        height=3,
        channels=3,
        icc=bytes(range(256)),
        exif=b"\xff\x00",
        resolution=(math.inf, 300.1),
        notes=("größer als", "\0"),
    )
    pixels = np.zeros((3, 4, 3), np.uint16)
    source = DecodedImage(pixels=pixels, header=said, degraded=None, icc=b"\x80")
    geometry = ImageGeometry(scale=None, unscaled="own", pixel_size_um=(0.1, 1 / 3))
    text = staged_task._FACTS.dump_json(staged_task._Facts.of(Rendered(pixels, geometry, source))).decode()
    there = staged_task._rendered({"facts": text, "pixels": pixels.tobytes()})
    assert there.source.header == said
    assert (there.source.icc, there.geometry) == (b"\x80", geometry)
    np.testing.assert_array_equal(there.pixels, pixels)


def test_a_file_of_several_images_is_left_to_a_task_that_has_what_all_stages_need(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    work = items(sources(tmp_path / "in"))
    rows = staged(work, replace(space(tmp_path / "out"), at_once=False, budget_bytes=1 << 30))
    left = {work[row.id].name: row.needs_bytes for row in rows if row.status == "released"}
    assert left == {"moving": 1 << 30, "pages": 1 << 30}
    assert not list((tmp_path / "out").rglob("moving*"))
