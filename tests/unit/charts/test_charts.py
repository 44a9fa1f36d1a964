"""What charts must show, whoever draws them: data, pixels, texts; and that the bytes are always the same."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipelines.charts import CHARTABLE, ENGINES, ChartOptions, charts_of, draw_chart
from pipelines.charts.data import DENSITY_LEVELS, PLOT_BACKGROUND, Bars, ChartData, Marker, Steps, Trace
from pipelines.charts.fast_engine import paint
from pipelines.charts.graticules import level_axis, nice_step, share_axis
from pipelines.charts.layout import LEFT_PX, TOP_PX, boxes
from pipelines.charts.options import ChartFormat
from pipelines.charts.registry import chart_data
from pipelines.charts.scope_charts import density_levels
from pipelines.errors import FailedReason, ImageError, RayjobsError
from pipelines.models import AnalysisRequest
from pipelines.registry import UnknownNameError

NAMES = ("color_histogram", "luma_waveform", "rgb_parade", "hue_histogram", "saturation_histogram", "lab_chromaticity")
ROOT = Path(__file__).resolve().parents[3]
FORMATS = get_args(ChartFormat)
SVG = "{http://www.w3.org/2000/svg}"


def read_only(values: Any) -> NDArray[np.uint32]:
    array = np.asarray(values, np.uint32)
    array.flags.writeable = False
    return array


def results(kind: str = "varied") -> dict[str, dict[str, Any]]:
    """Results of all scopes: of a varied picture of 65,536 pixels, of no pixel, or of one."""
    random = np.random.default_rng(7)

    def counts(*shape: int) -> NDArray[np.uint32]:
        made = np.zeros(shape, np.uint32)
        if kind == "varied":
            cells = np.clip(random.normal(0.5, 0.15, (65536, len(shape))), 0, 0.999) * shape
            np.add.at(made, tuple(cells.astype(int).T), 1)
        elif kind == "one pixel":
            made[(0,) * len(shape)] = 1
        return read_only(made)

    mean = {"varied": 3.5, "empty": float("nan"), "one pixel": -128.0}[kind]
    return {
        "color_histogram": {name: counts(256) for name in ("red", "green", "blue", "luma")},
        "luma_waveform": {"counts": counts(256, 256)},
        "rgb_parade": {name: counts(256, 256) for name in ("red", "green", "blue")},
        "hue_histogram": {"counts": counts(360), "achromatic": 12 if kind == "varied" else 0},
        "saturation_histogram": {"counts": counts(256)},
        "lab_chromaticity": {"counts": counts(256, 256), "mean_a": mean, "mean_b": mean},
    }


def single(size: int, **bins: int) -> NDArray[np.uint32]:
    counts = np.zeros(size, np.uint32)
    for key, count in bins.items():
        counts[int(key.removeprefix("at"))] = count
    return read_only(counts)


def pure_red(pixels: int = 100) -> dict[str, Any]:
    dark = single(256, at0=pixels)
    return {"red": single(256, at255=pixels), "green": dark, "blue": dark, "luma": single(256, at54=pixels)}


def picture(content: bytes) -> NDArray[np.uint8]:
    """Decode PNG or JPEG to RGB."""
    decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    return np.asarray(decoded)[:, :, ::-1]


def is_red(pixels: NDArray[Any]) -> NDArray[np.bool_]:
    values = pixels.astype(int)
    return np.asarray((values[..., 0] > 150) & (values[..., 1] < 110) & (values[..., 2] < 110))


# --- names and options


def test_the_six_scopes_have_charts() -> None:
    assert tuple(CHARTABLE) == NAMES
    assert tuple(ENGINES) == ("fast", "matplotlib")


def test_charts_of_keeps_order_and_drops_repetitions_and_the_rest() -> None:
    asked = [AnalysisRequest(name) for name in ("statistics", "rgb_parade", "color_histogram", "rgb_parade")]
    assert charts_of(asked) == ("rgb_parade", "color_histogram")


def test_importing_the_package_loads_no_drawing_library() -> None:
    code = (
        "import sys, pipelines.charts\n"
        "heavy = {'matplotlib', 'cv2', 'numba', 'PIL', 'imagecodecs', 'skimage'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("field", "value"),
    [("format", "bmp"), ("scale", "12bit"), ("density", "sqrt"), ("width", 539), ("height", 9000), ("quality", 0)],
)
def test_options_out_of_range_are_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(RayjobsError, match=f"charts: {field} "):
        ChartOptions(**{field: value})


def test_unknown_names_are_refused_with_a_hint() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'rgb_parade'"):
        draw_chart("rgb_parad", {}, title="x", options=ChartOptions())
    with pytest.raises(UnknownNameError, match="did you mean 'matplotlib'"):
        draw_chart("rgb_parade", {}, title="x", options=ChartOptions(engine="mathplotlib"))


def test_an_array_of_the_wrong_size_is_a_chart_error() -> None:
    with pytest.raises(ImageError, match="counts has shape") as caught:
        draw_chart("luma_waveform", {"counts": read_only(np.zeros((9, 9)))}, title="x", options=ChartOptions())
    assert caught.value.reason is FailedReason.CHART_ERROR


# --- every chart, engine and format


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("engine", ["fast", "matplotlib"])
def test_every_chart_has_the_size_asked_for(engine: str, format: ChartFormat) -> None:
    options = ChartOptions(engine=engine, format=format, width=701, height=403)
    for name, result in results().items():
        content = draw_chart(name, result, title="a.png", options=options)
        if format == "svg":
            box = ET.fromstring(content).attrib["viewBox"].split()
            unit = 0.75 if engine == "matplotlib" else 1.0  # matplotlib writes points, 4 / 3 px
            assert [float(edge) for edge in box[2:]] == pytest.approx([701 * unit, 403 * unit])
        else:
            assert picture(content).shape == (403, 701, 3)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("engine", ["fast", "matplotlib"])
def test_bytes_are_the_same_on_every_call(engine: str, format: ChartFormat) -> None:
    options = ChartOptions(engine=engine, format=format)
    for name, result in results().items():
        first, again = (draw_chart(name, result, title="a.png", options=options) for _ in range(2))
        assert first == again, name


def test_bytes_are_the_same_in_another_process() -> None:
    """Nothing random, no order of a set, no date: also not with another seed of the hashes."""
    code = "import hashlib\nfrom tests.unit.charts.test_charts import all_bytes\n"
    code += "print(hashlib.sha256(all_bytes()).hexdigest())"
    runs = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(runs) == 1


def all_bytes() -> bytes:
    """One chart by each engine in each format."""
    result = results()["color_histogram"]
    return b"".join(
        draw_chart("color_histogram", result, title="a.png", options=ChartOptions(engine=engine, format=format))
        for engine in ENGINES
        for format in FORMATS
    )


@pytest.mark.parametrize("kind", ["empty", "one pixel"])
@pytest.mark.parametrize("engine", ["fast", "matplotlib"])
def test_results_of_no_and_of_one_pixel_draw(engine: str, kind: str) -> None:
    for name, result in results(kind).items():
        for log_counts in (False, True):
            options = ChartOptions(engine=engine, log_counts=log_counts)
            assert picture(draw_chart(name, result, title="", options=options)).shape == (344, 608, 3)


@pytest.mark.parametrize("name", NAMES)
def test_flat_arrays_of_a_table_give_the_same_chart(name: str) -> None:
    result = results()[name]
    flat = {key: value.ravel() if isinstance(value, np.ndarray) else value for key, value in result.items()}
    options = ChartOptions()
    assert draw_chart(name, flat, title="a", options=options) == draw_chart(name, result, title="a", options=options)


# --- what is plotted


def test_overlapping_channels_are_stacked_without_gap_or_overlap() -> None:
    result = results()["color_histogram"]
    chart = chart_data("color_histogram", result, title="a", options=ChartOptions())
    bars = [layer for layer in chart.panels[0].layers if isinstance(layer, Bars)]
    lengths = sum(np.maximum(layer.top - layer.bottom, 0) for layer in bars)
    tallest = np.maximum.reduce([result[name] for name in ("red", "green", "blue")])
    total = int(result["luma"].sum())
    np.testing.assert_allclose(lengths, tallest * 100 / total, atol=1e-12)


@given(st.lists(st.integers(0, 2**32 - 1), min_size=9, max_size=9), st.sampled_from(["log", "gamma"]))
@settings(max_examples=40, deadline=None)
def test_density_shows_every_cell_in_use_and_keeps_order(counts: list[int], density: Any) -> None:
    grid = read_only(counts).reshape(3, 3)
    levels = density_levels(grid, density)
    assert np.array_equal(levels > 0, grid > 0)
    assert levels.max() <= DENSITY_LEVELS
    order = np.argsort(grid.ravel(), kind="stable")
    assert np.all(np.diff(levels.ravel()[order].astype(int)) >= 0)


@pytest.mark.parametrize(
    ("scale", "first", "last", "count"), [("8bit", "0", "255", 9), ("10bit", "0", "1023", 9), ("ire", "0", "100", 11)]
)
def test_level_scales_label_the_same_range(scale: Any, first: str, last: str, count: int) -> None:
    ticks = level_axis(scale).ticks
    assert (ticks[0].label, ticks[-1].label, len(ticks)) == (first, last, count)
    assert (ticks[0].at, ticks[-1].at) == (0, 255)
    assert all(ticks[k].at < ticks[k + 1].at for k in range(len(ticks) - 1))


def test_512_of_10_bit_lies_at_its_8_bit_level() -> None:
    assert next(tick.at for tick in level_axis("10bit").ticks if tick.label == "512") == pytest.approx(512 * 255 / 1023)


@given(st.floats(1e-9, 1e9))
@settings(max_examples=60)
def test_a_nice_step_is_1_2_or_5_and_at_most_two_and_a_half_times_too_large(rough: float) -> None:
    step = nice_step(rough)
    assert rough * (1 - 1e-6) <= step <= rough * 2.5 * (1 + 1e-6)
    assert f"{step:e}"[0] in "125"


@given(st.floats(1e-6, 100))
@settings(max_examples=60)
def test_share_ticks_are_few_distinct_and_within_the_axis(high: float) -> None:
    axis = share_axis(high, total=1, log_counts=False)
    labels = [tick.label for tick in axis.ticks]
    assert 2 <= len(labels) == len(set(labels)) <= 6
    assert all(axis.low <= tick.at <= axis.high * (1 + 1e-6) for tick in axis.ticks)


@pytest.mark.parametrize("name", NAMES)
def test_matplotlib_shows_exactly_the_layers_of_the_data(name: str) -> None:
    from matplotlib.collections import PolyCollection
    from matplotlib.patches import StepPatch

    from pipelines.charts.matplotlib_engine import build_figure

    chart = chart_data(name, results()[name], title="a", options=ChartOptions())
    figure = build_figure(chart, ChartOptions())
    for panel, axes in zip(chart.panels, figure.axes, strict=True):
        assert axes.get_xlim() == pytest.approx((panel.x.low, panel.x.high))
        assert axes.get_ylim() == pytest.approx((panel.y.low, panel.y.high))
        assert [label.get_text() for label in axes.get_xticklabels()] == [tick.label for tick in panel.x.ticks]
        collections = iter(c for c in axes.collections if isinstance(c, PolyCollection))
        images = iter(axes.images[panel.backdrop is not None :])
        for layer in panel.layers:
            if isinstance(layer, Bars):
                drawn = [path.vertices for path in next(collections).get_paths()]
                keep = layer.top > layer.bottom
                assert [v[:, 1].max() for v in drawn] == layer.top[keep].tolist()
                assert [v[:, 1].min() for v in drawn] == layer.bottom[keep].tolist()
            elif isinstance(layer, Trace):
                image = next(images)
                assert image.get_extent() == [layer.left, layer.right, layer.bottom, layer.top]
                assert np.array_equal(np.asarray(image.get_array())[:, :, 3] > 0, layer.levels > 0)
            elif isinstance(layer, Steps):
                (steps,) = (patch for patch in axes.patches if isinstance(patch, StepPatch))
                assert np.array_equal(steps.get_data().values, layer.heights)
            else:
                assert isinstance(layer, Marker)
                assert all(line.get_xydata().tolist() == [[layer.x, layer.y]] for line in axes.lines[:2])


def both(name: str, result: Any, **options: Any) -> list[NDArray[np.uint8]]:
    return [
        picture(draw_chart(name, result, title="a.png", options=ChartOptions(engine=engine, **options)))
        for engine in ("fast", "matplotlib")
    ]


@pytest.mark.parametrize("name", NAMES)
def test_the_engines_paint_nearly_the_same_plot(name: str) -> None:
    """Inside the plots; graticule lines may differ by 1 px, smoothing of edges and resampling by shades."""
    chart = chart_data(name, results()[name], title="a", options=ChartOptions())
    fast, slow = both(name, results()[name])
    for box in boxes(chart, 608, 344):
        inner = np.s_[box.top + 1 : box.bottom - 1, box.left + 1 : box.right - 1]
        difference = np.abs(fast[inner].astype(int) - slow[inner].astype(int)).max(axis=2)
        assert (difference > 64).mean() < 0.08


# --- what the pixels say


@pytest.mark.parametrize("engine", ["fast", "matplotlib"])
def test_pure_red_draws_a_red_bar_at_255_over_the_whole_height(engine: str) -> None:
    pixels = picture(draw_chart("color_histogram", pure_red(), title="", options=ChartOptions(engine=engine)))
    plot = pixels[TOP_PX + 2 : TOP_PX + 254, LEFT_PX : LEFT_PX + 512]
    red_columns = np.flatnonzero(is_red(plot).mean(axis=0) > 0.9)
    assert set(red_columns) <= {509, 510, 511}
    assert red_columns.size >= 1
    others = plot[:, 4:104].reshape(-1, 3)
    assert not is_red(others).any()


def test_a_waveform_of_one_gray_level_is_a_line_at_its_height() -> None:
    counts = np.zeros((256, 256), np.uint32)
    counts[128] = 10
    options = ChartOptions()
    canvas = paint(chart_data("luma_waveform", {"counts": read_only(counts)}, title="", options=options), options)
    plot = canvas.palette()[canvas.pixels][TOP_PX : TOP_PX + 256, LEFT_PX : LEFT_PX + 512]
    bright = np.flatnonzero((plot[:, :, 1] > 200).all(axis=1))
    assert bright.tolist() == [127]  # level 128 from below is row 127 from above


def test_parade_panels_stand_in_the_order_red_green_blue() -> None:
    full = read_only(np.ones((256, 256)))
    options = ChartOptions()
    chart = chart_data("rgb_parade", {"red": full, "green": full, "blue": full}, title="", options=options)
    pixels = picture(draw_chart("rgb_parade", {"red": full, "green": full, "blue": full}, title="", options=options))
    middles = [pixels[box.top + 100, box.left + box.width // 2] for box in boxes(chart, 608, 344)]
    assert [int(np.argmax(colour)) for colour in middles] == [0, 1, 2]


@pytest.mark.parametrize(("degree", "channel"), [(0, 0), (120, 1), (240, 2)])
def test_hue_bars_have_their_hue(degree: int, channel: int) -> None:
    counts = np.zeros(360, np.uint32)
    counts[degree] = 5
    result = {"counts": read_only(counts), "achromatic": 0}
    pixels = picture(draw_chart("hue_histogram", result, title="", options=ChartOptions()))
    column = LEFT_PX + int((degree + 0.5) / 360 * 512)
    assert int(np.argmax(pixels[TOP_PX + 100, column])) == channel


def test_lab_has_magenta_to_the_right_and_yellow_above() -> None:
    counts = np.zeros((256, 256), np.uint32)
    counts[128 + 60, 128 + 20] = 1  # a* 60, b* 20
    chart = chart_data(
        "lab_chromaticity",
        {"counts": read_only(counts), "mean_a": 60.0, "mean_b": 20.0},
        title="",
        options=ChartOptions(),
    )
    trace, marker = chart.panels[0].layers
    assert isinstance(trace, Trace)
    assert isinstance(marker, Marker)
    assert np.argwhere(trace.levels).tolist() == [[128 + 20, 128 + 60]]  # rows are b*, from below
    assert (marker.x, marker.y) == (60, 20)
    assert chart.panels[0].backdrop is not None
    _, right_of_neutral = np.split(chart.panels[0].backdrop[12], 2)
    assert right_of_neutral[3][0] > right_of_neutral[3][1]


def test_a_mean_outside_the_enlarged_panel_is_marked_in_the_whole_plane_only() -> None:
    chart = chart_data(
        "lab_chromaticity", {**results()["lab_chromaticity"], "mean_a": 40.0}, title="", options=ChartOptions()
    )
    assert [any(isinstance(layer, Marker) for layer in panel.layers) for panel in chart.panels] == [True, False]


def test_jpeg_looks_like_png() -> None:
    result = results()["color_histogram"]
    png, jpeg = (
        picture(draw_chart("color_histogram", result, title="a", options=ChartOptions(format=format, quality=95)))
        for format in ("png", "jpeg")
    )
    assert np.abs(png.astype(int) - jpeg.astype(int)).mean() < 3


def test_a_fast_canvas_without_data_shows_only_the_plot_background_and_lines() -> None:
    chart: ChartData = chart_data("luma_waveform", results("empty")["luma_waveform"], title="", options=ChartOptions())
    canvas = paint(chart, ChartOptions())
    plot = canvas.palette()[canvas.pixels][TOP_PX : TOP_PX + 256, LEFT_PX : LEFT_PX + 512]
    assert (plot == PLOT_BACKGROUND).all(axis=2).mean() > 0.95
