"""The benchmarks' harness: arithmetic, JSON lines, the photographs, and that all sides do the same work. No times."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from benchmarks import __main__ as command
from benchmarks import (
    guard,
    many_cpus,
    many_inputs,
    pool_script,
    pyplot_script,
    scikit_image_script,
    standard_work,
    vips_script,
)
from benchmarks.bars import AT_LEAST, AT_MOST
from benchmarks.baselines import BenchmarkError, codec_floor, opencv_floor, run_block
from benchmarks.figures import Figure, Measure, Scale, fact, median_ratio, slope, take_turns, weakest
from benchmarks.figures_chart import figures_chart, measures_of, recorded
from benchmarks.growth import flatness, growth
from benchmarks.photographs import TileSet, photographs
from benchmarks.processes import Life, kind_of, name_of
from benchmarks.throughput import Stopwatch
from benchmarks.timeline import draw, spans_of
from pipelines.operations import apply_operations
from pipelines.stages.image_task import ImageWork, process
from rayjobs.run.progress import Snapshot
from rayjobs.run.run_end import RunEnd


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> TileSet:
    return photographs(3, (96, 64), cache=tmp_path_factory.mktemp("cache"), fetch=False)


# ---- figures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "higher_is_better", "ok", "margin"),
    [(2.0, True, True, 2.0), (1.0, True, True, 1.0), (0.5, True, False, 0.5), (2.0, False, False, 0.5)],
)
def test_a_measure_is_held_to_its_bar(value: float, higher_is_better: bool, ok: bool, margin: float) -> None:
    measure = Measure(name="m", value=value, bar=1.0, higher_is_better=higher_is_better)
    assert (measure.ok, measure.margin) == (ok, margin)


def test_a_figure_of_one_measure_is_one_flat_line() -> None:
    line = Figure("P4", [Measure(name="rendering", value=1.23456, bar=1.0, detail={"photographs": 3})]).to_line()
    assert json.loads(line) == {
        "figure": "P4",
        "name": "rendering",
        "value": 1.235,
        "bar": 1.0,
        "better": "higher",
        "ok": True,
        "photographs": 3,
    }


def test_a_figure_shows_its_weakest_measure_and_is_met_only_by_all() -> None:
    strong = Measure(name="strong", value=9, bar=1)
    weak = Measure(name="weak", value=2.6, bar=2.5, higher_is_better=False)
    shown = Figure("P3", [strong, weak]).to_json()
    assert (shown["name"], shown["value"], shown["bar"], shown["ok"]) == ("weak", 2.6, 2.5, False)
    assert [measure["name"] for measure in shown["measures"]] == ["strong", "weak"]


def test_a_fact_must_hold() -> None:
    assert fact("it is so", True).ok
    assert not fact("it is so", False).ok


def test_sides_take_turns() -> None:
    order: list[str] = []

    def side(name: str) -> float:
        order.append(name)
        return float(len(order))

    taken = take_turns({name: partial(side, name) for name in "ab"}, 2)
    assert order == ["a", "b", "a", "b"]
    assert taken == {"a": [1, 3], "b": [2, 4]}


def test_ratios_compare_what_ran_side_by_side() -> None:
    assert median_ratio([10, 2, 30], [10, 1, 10]) == 2


def test_a_slope_leaves_what_is_constant_out() -> None:
    assert slope([(100, 7.0), (1000, 16.0)]) == pytest.approx(0.01)


def test_growth_is_one_when_each_image_costs_the_same() -> None:
    assert growth({100: 6.0, 5_050: 55.5, 10_000: 105.0}).value == pytest.approx(1)
    assert not growth({100: 6.0, 5_050: 55.5, 10_000: 115.0}).ok
    assert not growth({100: 6.0, 5_050: 5.0, 10_000: 6.0}).ok


def test_memory_may_not_grow_from_half_to_all() -> None:
    assert flatness("peak", {1: 10.0, 50: 100.0, 100: 109.0}).ok
    assert not flatness("peak", {1: 10.0, 50: 100.0, 100: 120.0}).ok


def test_a_rate_counts_from_the_first_rows_to_the_last() -> None:
    times = iter([0.0, 1.0, 5.0, 6.0, 8.0])
    stopwatch = Stopwatch(clock=lambda: next(times))
    for phase, done in (("planning", 0), ("running", 0), ("running", 16), ("running", 116)):
        stopwatch.show(Snapshot(name="job", phase=phase, total=116, done=done))
    assert stopwatch.rate() == 50
    assert stopwatch.phases == {"planning": 1.0, "running": 5.0}


def test_a_job_that_is_too_short_has_no_rate() -> None:
    stopwatch = Stopwatch()
    stopwatch.show(Snapshot(name="job", phase="running", total=3, done=3))
    with pytest.raises(BenchmarkError, match="take more --images"):
        stopwatch.rate()


# ---- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def two_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(command.FIGURES, "P1", f"{__name__}:met")
    monkeypatch.setitem(command.FIGURES, "P2", f"{__name__}:missed")


def met(scale: Scale) -> Figure:
    return Figure("P1", [Measure(name="images", value=scale.images, bar=1)])


def missed(scale: Scale) -> Figure:
    assert scale.scratch.is_dir()
    return Figure("P2", [Measure(name="images", value=scale.images, bar=1e9)])


@pytest.mark.usefixtures("two_figures")
def test_the_command_prints_a_line_per_figure_and_fails_when_a_bar_is_missed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    results = tmp_path / "results.json"
    options = ["--images", "24", "--scratch", str(tmp_path)]
    assert command.main(["P1", *options, "--record", str(results)]) == 0
    assert command.main(["P2", "P1", *options, "--record", str(results)]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["figure"], line["value"], line["ok"]) for line in lines] == [
        ("P1", 24, True),
        ("P2", 24, False),
        ("P1", 24, True),
    ]
    recorded = json.loads(results.read_text())
    assert list(recorded) == ["P1", "P2"]
    assert [line["before"] for line in recorded.values()] == [{"images": 24}, {}]
    assert list(tmp_path.iterdir()) == [results], "scratch is removed"


@pytest.mark.parametrize("name", list(command.FIGURES))
def test_every_figure_of_the_design_has_a_function(name: str) -> None:
    module, _, function = command.FIGURES[name].partition(":")
    source = (Path(command.__file__).parent / f"{module.removeprefix('benchmarks.')}.py").read_text(encoding="utf-8")
    assert f"def {function}(" in source
    assert {*command.FIGURES, *command.NOT_YET} == {f"P{number}" for number in range(1, 17)}


# ---- the photographs -------------------------------------------------------------------------------------------------


def test_tiles_are_the_same_whatever_the_size_of_the_set(tiles: TileSet, tmp_path: Path) -> None:
    fewer = photographs(2, (96, 64), cache=tmp_path, fetch=False)
    assert fewer.source == "scikit-image"
    assert [file.read_bytes() for file in fewer.files] == [file.read_bytes() for file in tiles.files[:2]]
    with Image.open(tiles.files[0]) as image:
        assert (image.size, image.format, image.mode) == ((96, 64), "JPEG", "RGB")


def test_tiles_differ(tiles: TileSet) -> None:
    assert len({file.read_bytes() for file in tiles.files}) == 3


# ---- the sides do the same work --------------------------------------------------------------------------------------


def test_the_job_file_and_the_recipe_are_the_same_work(tiles: TileSet, tmp_path: Path) -> None:
    spec = standard_work.job(tiles.files, tmp_path / "out")
    recipe = standard_work.recipe()
    with Image.open(tiles.files[0]) as image:
        pixels = np.asarray(image)
    ours, other = (apply_operations(pixels, steps).pixels for steps in (spec.operations, recipe.operations))
    np.testing.assert_array_equal(ours, other)
    assert [request.name for request in spec.analyses] == [request.name for request in recipe.analyses]
    assert (tmp_path / "out-inputs.txt").read_text().splitlines() == [str(file) for file in tiles.files]


def test_a_block_of_the_pool_renders_and_keeps_its_results(tiles: TileSet, tmp_path: Path) -> None:
    rows = run_block(standard_work.items(tiles.files), standard_work.recipe(), standard_work.workspace(tmp_path))
    assert [row.status for row in rows] == ["done"] * 3
    assert len(list((tmp_path / "images").iterdir())) == 3
    assert {row.part for row in rows} == {part.name for part in (tmp_path / ".rayjobs" / "parts").iterdir()}


def test_the_pool_script_writes_images_tables_and_a_manifest(tiles: TileSet, tmp_path: Path) -> None:
    listed, output = tmp_path / "list.txt", tmp_path / "out"
    listed.write_text("".join(f"{file}\n" for file in tiles.files), encoding="utf-8")
    pool_script.main(str(listed), str(output), "1")
    manifest = pq.read_table(output / "manifest.parquet").to_pydict()
    assert manifest["status"] == ["done"] * 3
    written = [hashlib.sha256((output / path).read_bytes()).hexdigest() for path in manifest["output"]]
    assert manifest["sha256"] == written
    tables = sorted((output / "data").iterdir())
    assert len(tables) == 1 + len(standard_work.SCOPES)
    assert [pq.read_table(table)["input"].to_pylist() for table in tables] == [[str(each) for each in tiles.files]] * 7


def test_a_block_with_a_broken_image_is_no_benchmark(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8nothing")
    with pytest.raises(BenchmarkError, match=r"broken\.jpg"):
        run_block(standard_work.items([broken]), standard_work.recipe(), standard_work.workspace(tmp_path))


def test_the_floor_writes_an_image(tiles: TileSet, tmp_path: Path) -> None:
    for run in (partial(codec_floor, recipe=standard_work.recipe()), opencv_floor):
        target = tmp_path / "floor.jpg"
        run(tiles.files[0], target)
        with Image.open(target) as image:
            assert (image.size, image.format) == ((96, 64), "JPEG")
        target.unlink()


def test_the_scikit_image_script_renders_and_counts_the_same(tiles: TileSet, tmp_path: Path) -> None:
    with Image.open(tiles.files[0]) as image:
        pixels = np.asarray(image)
    ours = apply_operations(pixels, standard_work.OPERATIONS).pixels
    other = scikit_image_script.render(pixels / 255) * 255
    assert np.abs(ours - other).mean() < 1
    counts = scikit_image_script.process(tiles.files[0], tmp_path / "image.jpg")
    (item, *_) = standard_work.items(tiles.files)
    _, results = process(
        ImageWork(item=item, recipe=standard_work.recipe(), publisher=standard_work.publisher(tmp_path))
    )
    assert set(counts) == set(results)
    for name in ("luma_waveform", "saturation_histogram", "lab_chromaticity"):
        assert counts[name].sum() == np.asarray(results[name]["counts"]).sum()
        assert counts[name].shape == np.asarray(results[name]["counts"]).shape


def test_the_vips_script_renders_the_same(tiles: TileSet, tmp_path: Path) -> None:
    target = tmp_path / "image.jpg"
    vips_script.process(tiles.files[0], target)
    with Image.open(tiles.files[0]) as image:
        ours = apply_operations(np.asarray(image), standard_work.OPERATIONS).pixels
    with Image.open(target) as image:
        other = np.asarray(image, np.float64)
    assert np.abs(ours - other).mean() < 6, "JPEG of quality 90, and hues of 8 bits"


def test_the_pyplot_script_draws_six_charts(tiles: TileSet, tmp_path: Path) -> None:
    (item, *_) = standard_work.items(tiles.files)
    _, results = process(
        ImageWork(item=item, recipe=standard_work.recipe(), publisher=standard_work.publisher(tmp_path))
    )
    charts = pyplot_script.charts(results, "photograph")
    assert len(charts) == 6
    assert all(chart.startswith(b"\x89PNG") for chart in charts)


def test_a_driver_without_workers_brings_every_input_to_its_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert many_inputs.main(["50", str(tmp_path / "out")]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["inputs"], said["end"]) == (50, RunEnd.FINISHED)
    assert said["peak_bytes"] > 0


def test_the_peak_of_a_driver_is_not_that_of_the_process_which_started_it() -> None:
    ballast = np.ones(400 * 2**20, np.uint8)
    code = "import numpy as np; from benchmarks.many_inputs import peak_bytes; print(peak_bytes())"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ballast[-1] == 1
    assert int(done.stdout) < ballast.nbytes


# ---- charts ----------------------------------------------------------------------------------------------------------


def recorded_line(figure: Figure) -> dict[str, object]:
    return {**figure.to_json(), "machine": {"cpus": 2, "processor": "P"}}


def test_the_chart_of_figures_says_in_words_what_is_missed() -> None:
    met = Figure("P1", [Measure(name="a <ratio>", value=0.98, bar=0.97)])
    missed = Figure("P3", [Measure(name="time", value=2.6, bar=2.4, higher_is_better=False), fact("it holds", True)])
    chart = figures_chart({figure.name: recorded_line(figure) for figure in (met, missed)})
    texts = [element.text or "" for element in ElementTree.fromstring(chart).iter() if element.text]
    assert "a <ratio>" in texts
    assert "0.98, bar ≥ 0.97" in texts
    assert "MISSED: 2.6, bar ≤ 2.4" in texts
    assert texts.count("not recorded") == len(command.FIGURES) - 2
    assert any("1 of 16 figures meet their bars. Missed: P3. Not recorded: P2, P4" in text for text in texts)


@pytest.mark.parametrize("figure", list(recorded()))
def test_what_is_recorded_is_held_to_the_bars_of_today(figure: str) -> None:
    of_today = {bar for bars in (AT_LEAST, AT_MOST) for name, bar in bars.items() if name.split()[0] == figure}
    facts = {fact("", True).bar}
    assert {measure.bar for measure in measures_of(recorded()[figure])} <= of_today | facts


def test_a_missed_measure_decides_over_all_and_a_number_over_a_fact() -> None:
    numbers = [Measure(name="far", value=9, bar=1), Measure(name="near", value=1.1, bar=1)]
    assert weakest([fact("so", True), *numbers]).name == "near"
    assert weakest([fact("so", False), *numbers]).name == "so"
    (measure,) = measures_of(Figure("P1", [numbers[1]]).to_json())
    assert (measure.name, measure.ok) == ("near", True)


def test_costs_of_images_are_told_from_those_of_time_and_start() -> None:
    def job(size: str, images: int, elapsed: float, worker_s: float) -> many_cpus.Spent:
        driver = 2.0 + 0.05 * elapsed + 0.0005 * images
        seconds = {"elapsed": elapsed, "driver": driver, "raylet": 0.01 * elapsed, "workers": 4 + worker_s * images}
        return many_cpus.Spent(size, images, seconds)

    busy_and_quiet = ((300, 31, 12), (600, 42, 17), (1500, 31, 12), (3000, 53, 17))
    jobs = [
        job("large" if n < 1000 else "small", n, s, 0.04 if n < 1000 else 0.006)
        for n, *two in busy_and_quiet
        for s in two
    ]
    found = many_cpus.model(jobs)
    assert found["processes"]["driver"] == pytest.approx({"once_s": 2, "share": 0.05, "ms_per_image": 0.5}, rel=0.01)
    assert found["processes"]["raylet"] == pytest.approx({"once_s": 0, "share": 0.01, "ms_per_image": 0}, abs=0.001)
    assert found["images_per_s"] == 1900
    assert {size: each["cpus"] for size, each in found["photographs"].items()} == {"large": 76, "small": 11}


@pytest.mark.parametrize(
    ("command_line", "name", "kind"),
    [
        (["ray::IDLE"], "idle", "idle"),
        ([], "", "idle"),
        (["ray::MapBatches(render)"], "MapBatches(render)", "workers"),
        (["ray::CoordinatorActor.ask"], "CoordinatorActor.ask", "actors"),
        (["ray::_StatsActor"], "_StatsActor", "actors"),
        (["ray::DashboardAgent"], "DashboardAgent", "agents"),
        (["/x/ray/raylet/raylet", "--a"], "raylet", "raylet"),
        (["/x/python", "-u", "/x/ray/dashboard/agent.py", "--ip"], "dashboard/agent.py", "agents"),
    ],
)
def test_processes_are_told_apart_by_their_command_lines(command_line: list[str], name: str, kind: str) -> None:
    assert (name_of(command_line), kind_of(command_line)) == (name, kind)


def test_the_probe_notes_what_a_thread_does_and_the_timeline_shows_it(tmp_path: Path) -> None:
    (tmp_path / "slowly.py").write_text("import time\ntime.sleep(0.3)\n")
    probe = Path(command.__file__).parent / "probe"
    places = {"PYTHONPATH": os.pathsep.join([str(probe), str(tmp_path)]), "RAYJOBS_TIMELINE": str(tmp_path)}
    process = subprocess.Popen([sys.executable, "-c", "import slowly"], env={**os.environ, **places})
    began = time.time()
    assert process.wait(60) == 0
    life = Life(process.pid, began, time.time(), "a & b", [(began, 0.0), (time.time(), 0.1)])
    (span,) = (span for span in spans_of(life, tmp_path) if span.doing == "import slowly")
    assert span.thread == "MainThread"
    assert 0.1 < span.end - span.start <= life.end - life.start
    texts = [element.text for element in ElementTree.fromstring(draw([life], life.end, tmp_path, 1)).iter()]
    assert {"a & b", "prompt"} <= set(texts)
    assert any("slowly" in text for text in texts if text)


# ---- instructions ----------------------------------------------------------------------------------------------------


def test_what_takes_more_instructions_than_it_may_is_told() -> None:
    recorded = dict.fromkeys(guard.UNITS, 1000.0)
    assert guard.complaints(recorded, {**recorded, "commit": 1029.0, "plan": 500.0}) == []
    (said,) = guard.complaints(recorded, {**recorded, "commit": 1040.0})
    assert said.startswith("commit: 1,040 instructions per row, +4.0% of 1,000; ")
    assert "make guard-record" in said
    (said,) = guard.complaints({name: 1.0 for name in recorded if name != "plan"}, dict.fromkeys(recorded, 1.0))
    assert said == "plan: not recorded yet; do so with `make guard-record`"


def test_instructions_are_recorded_for_the_libraries_that_tests_run_with() -> None:
    known = json.loads(guard.RECORD.read_text(encoding="utf-8"))
    assert known["per_unit"].keys() == guard.UNITS.keys()
    pinned = (guard.RECORD.parents[1] / "constraints.txt").read_text(encoding="utf-8").splitlines()
    lines = {f"{name}=={known['versions'][name]}" for name in guard.PACKAGES}
    assert lines <= set(pinned), "record them anew: `make guard-record`"


def test_nothing_takes_more_instructions_than_it_did() -> None:
    try:
        recorded = guard.record()
    except guard.UncountableError as error:
        if guard.valgrind_version() is None and os.environ.get("RAYJOBS_REQUIRE_TOOLS"):
            raise
        pytest.skip(str(error))
    assert guard.complaints(recorded, guard.count()) == []
