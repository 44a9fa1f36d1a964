"""P3, P4, P5: what the work on one image costs, without Ray: against the codecs, libvips and pyplot."""

from __future__ import annotations

import shutil
import statistics
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import pyplot_script, standard_work, vips_script
from benchmarks.bars import measure
from benchmarks.baselines import (
    BenchmarkError,
    codec_floor,
    function_rate,
    opencv_floor,
    pool_rate,
    worker_publisher,
)
from benchmarks.figures import Figure, Measure, Scale, median_ratio, rounded, take_turns, timed
from benchmarks.photographs import photographs
from pipelines.charts import ChartOptions, draw_chart
from pipelines.stages.image_task import ImageWork, process
from pipelines.stages.recipe import Recipe

ONE_PROCESS_IMAGES, CHARTED_IMAGES, VIPS_IMAGES = 100, 10, 200
"""Of a thousand photographs."""


def p3(scale: Scale) -> Figure:
    """Time per image in one process against decode + encode alone.

    From file to file on both sides. Ours is the whole of it, with checks, sha256 and publishing; the floor reads and
    writes plainly, and is the faster of our own codecs and OpenCV's.
    """
    tiles = photographs(scale.share(ONE_PROCESS_IMAGES))
    full = standard_work.recipe()
    recipes = {
        "scopes": full,
        "tone": standard_work.recipe((standard_work.TONE,), ()),
        "no analyses": standard_work.recipe(analyses=()),
    }
    target = scale.scratch / "floor.jpg"
    sides: dict[str, Callable[[], float]] = {
        name: _Process(tiles.files, recipe, scale.scratch / "p3").milliseconds for name, recipe in recipes.items()
    }
    sides["floor"] = lambda: _each(lambda file: codec_floor(file, target, full), tiles.files)
    sides["OpenCV's floor"] = lambda: _each(lambda file: opencv_floor(file, target), tiles.files)
    for warm in sides.values():
        warm()
    taken = take_turns(sides, scale.repeat)
    floor = [min(pair) for pair in zip(taken["floor"], taken["OpenCV's floor"], strict=True)]
    per_image = {name: rounded(statistics.median(turns)) for name, turns in taken.items()}
    detail = {"ms_per_image": per_image, "photographs": len(tiles.files)}

    def against_floor(name: str, side: str) -> Measure:
        value = median_ratio(taken[side], floor)
        return measure(f"P3 {side}", name, value, detail)

    return Figure(
        "P3",
        [
            against_floor("standard work with six scopes against decode + encode", "scopes"),
            against_floor("tone alone against decode + encode", "tone"),
        ],
    )


class _Process:
    """The product's per-image function in this process.

    Each turn publishes into a directory of its own, as a run does: over the files of an earlier turn it would first
    have to read them.
    """

    def __init__(self, files: Sequence[Path], recipe: Recipe, root: Path) -> None:
        self._items = standard_work.items(files)
        self._recipe = recipe
        self._root = root

    def milliseconds(self) -> float:
        """Per image."""
        root = self._root / uuid.uuid4().hex
        publisher = worker_publisher(root)
        started = time.perf_counter()
        for item in self._items:
            status, _ = process(ImageWork(item=item, recipe=self._recipe, publisher=publisher))
            if status.status != "done":
                raise BenchmarkError(f"{item.title}: {status.status} ({status.reason}): {status.message}")
        taken = time.perf_counter() - started
        shutil.rmtree(root)
        return taken / len(self._items) * 1e3


def _each(run: Callable[[Path], object], files: Sequence[Path]) -> float:
    """Milliseconds per call."""
    started = time.perf_counter()
    for file in files:
        run(file)
    return (time.perf_counter() - started) / len(files) * 1e3


def p4(scale: Scale) -> Figure:
    """Rendering in a pool against libvips in one of as many processes: the same operations, JPEG to JPEG."""
    files = photographs(scale.share(VIPS_IMAGES)).files
    recipe = standard_work.recipe(analyses=())
    sides: dict[str, Callable[[], float]] = {
        "ours": lambda: pool_rate(files, recipe, scale.scratch, scale.workers),
        "libvips": lambda: function_rate(vips_script.process, files, scale.scratch, scale.workers),
    }
    taken = take_turns(sides, scale.repeat)
    detail = {"images_per_s": {name: rounded(statistics.median(rates)) for name, rates in taken.items()}}
    value = median_ratio(taken["ours"], taken["libvips"])
    return Figure("P4", [measure("P4", "rendering against libvips", value, detail)])


def p5(scale: Scale) -> Figure:
    """All six charts of an image against pyplot, the same size, PNG."""
    files = photographs(scale.share(CHARTED_IMAGES)).files
    publisher = worker_publisher(scale.scratch / "p5")
    recipe, options = standard_work.recipe(), ChartOptions()
    works = [ImageWork(item=item, recipe=recipe, publisher=publisher) for item in standard_work.items(files)]
    results = [process(work)[1] for work in works]

    def ours() -> float:
        return timed(
            lambda: [
                draw_chart(name, result, title="photograph.jpg", options=options)
                for each in results
                for name, result in each.items()
            ]
        )

    sides: dict[str, Callable[[], float]] = {
        "ours": ours,
        "pyplot": lambda: timed(lambda: [pyplot_script.charts(each, "photograph.jpg") for each in results]),
    }
    for warm in sides.values():
        warm()
    taken = take_turns(sides, scale.repeat)
    per_image = {name: rounded(statistics.median(turns) / len(files) * 1e3) for name, turns in taken.items()}
    value = median_ratio(taken["pyplot"], taken["ours"])
    detail = {"ms_per_image": per_image}
    return Figure("P5", [measure("P5", "six charts against pyplot", value, detail)])
