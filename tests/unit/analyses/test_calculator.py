"""Several analyses together: names, groups, errors, threads, tiles; and that results are what the columns declare."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from pipelines.analyses import ANALYSES, AnalysisCalculator, expand_analyses
from pipelines.analyses.registry import Analysis, Column, Result
from pipelines.analyses.scope_counts import SCOPES
from pipelines.charts import CHARTABLE, ChartOptions, draw_chart
from pipelines.errors import FailedReason, ImageError, RayjobsError
from pipelines.models import AnalysisRequest
from pipelines.registry import Parameters, UnknownNameError
from pipelines.tables import saved_schema
from pipelines.tables.batches import to_batch
from tests.strategies import example_image, images

ROOT = Path(__file__).resolve().parents[3]
SCOPE_NAMES = [name for name, entry in ANALYSES.items() if entry.group == "scopes"]
NAMES = [*SCOPE_NAMES, "statistics", "sharpness"]
BT601 = AnalysisRequest("luma_waveform", {"luma": "bt601"})


def assert_same(found: Result, expected: Result) -> None:
    assert list(found) == list(expected)
    for key, value in expected.items():
        assert_array_equal(found[key], value)


def default(name: str, image: NDArray[Any], **params: Any) -> Result:
    return ANALYSES[name].function(image, **params)


@contextmanager
def plugged(name: str, error: Exception) -> Iterator[None]:
    """An analysis that fails, registered for a while."""

    def fail(image: NDArray[Any]) -> Result:
        raise error

    columns = (Column("value", "float64", "1", "Never there."),)
    undo = ANALYSES.register(
        name,
        Analysis(name=name, group="measurements", function=fail, parameters=Parameters, columns=lambda **_: columns),
    )
    try:
        yield
    finally:
        undo()


# --- names and groups


def test_words_become_requests_in_order() -> None:
    assert [request.name for request in expand_analyses(["scopes"])] == SCOPE_NAMES
    assert [request.name for request in expand_analyses(["sharpness", "scopes", "statistics"])] == [
        "sharpness",
        *SCOPE_NAMES,
        "statistics",
    ]
    assert {request.name for request in expand_analyses(["all"])} == set(ANALYSES)
    assert expand_analyses([]) == []


def test_the_scopes_are_the_six_that_have_charts() -> None:
    assert set(SCOPE_NAMES) == SCOPES == set(CHARTABLE)


def test_repetitions_are_dropped_also_when_defaults_are_spelled_out() -> None:
    spelled = AnalysisRequest("luma_waveform", {"luma": "bt709", "float_range": [0, 1]})
    assert expand_analyses(["luma_waveform", spelled, "luma_waveform"]) == [AnalysisRequest("luma_waveform")]


def test_a_group_does_not_repeat_what_is_asked_for_by_name() -> None:
    for asked in ([BT601, "scopes"], ["scopes", BT601]):
        found = expand_analyses(asked)
        assert sorted(request.name for request in found) == sorted(SCOPE_NAMES)
        assert BT601 in found


def test_different_parameters_are_kept_apart_but_not_computed_together() -> None:
    assert expand_analyses(["luma_waveform", BT601]) == [AnalysisRequest("luma_waveform"), BT601]
    with pytest.raises(RayjobsError, match="luma_waveform: asked for twice"):
        AnalysisCalculator(["luma_waveform", BT601])


def test_unknown_names_and_wrong_parameters_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'statistics'"):
        expand_analyses(["statistic"])
    with pytest.raises(RayjobsError, match=r"analysis luma_waveform: luma: .*'bt709' or 'bt601'"):
        AnalysisCalculator([AnalysisRequest("luma_waveform", {"luma": "rec709"})])
    with pytest.raises(RayjobsError, match="analysis sharpness: sigma: "):
        AnalysisCalculator([AnalysisRequest("sharpness", {"sigma": 3})])


def test_analyses_are_taken_as_people_write_them() -> None:
    assert expand_analyses("statistics") == expand_analyses([{"statistics": None}]) == [AnalysisRequest("statistics")]
    assert expand_analyses({"luma_waveform": {"luma": "bt601"}}) == [BT601]
    odd: Any
    for odd in ([5], [{"luma_waveform": "bt601"}], [{"luma_waveform": [["luma", "bt601"]]}], [{"scopes": {"a": 1}}]):
        with pytest.raises(RayjobsError, match=r"give (a name|a mapping of its parameters|parameters to each)"):
            expand_analyses(odd)


def test_importing_the_package_loads_no_heavy_library() -> None:
    code = (
        "import sys, pipelines.analyses\n"
        "heavy = {'matplotlib', 'cv2', 'numba', 'scipy', 'skimage', 'ray'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# --- results


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_together_gives_the_same_as_one_by_one(dtype: str, channels: int) -> None:
    image = example_image(dtype, channels)
    results = AnalysisCalculator(NAMES).calculate_analyses(image)
    assert list(results) == NAMES
    for name in NAMES:
        assert_same(results[name], default(name, image))


def test_scopes_with_parameters_of_their_own_share_a_calculator() -> None:
    image = example_image("float32", 3)
    requests = [
        AnalysisRequest("rgb_parade", {"float_range": [0.2, 0.9]}),
        BT601,
        AnalysisRequest("color_histogram"),
        AnalysisRequest("hue_histogram", {"float_range": [0.2, 0.9]}),
        AnalysisRequest("lab_chromaticity"),
    ]
    results = AnalysisCalculator(requests).calculate_analyses(image)
    assert list(results) == [request.name for request in requests]
    for request in requests:
        assert_same(results[request.name], default(request.name, image, **request.params))


def test_analyses_may_be_given_with_the_image() -> None:
    image = example_image("uint8", 3)
    calculator = AnalysisCalculator(["sharpness"])
    assert list(calculator.calculate_analyses(image)) == ["sharpness"]
    assert list(calculator.calculate_analyses(image, ["statistics", BT601])) == ["statistics", "luma_waveform"]
    assert list(AnalysisCalculator().calculate_analyses(image, ["scopes"])) == SCOPE_NAMES
    assert AnalysisCalculator().calculate_analyses(image) == {}


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (37, 53)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_results_fit_the_declared_columns(dtype: str, shape: tuple[int, int]) -> None:
    requests = [AnalysisRequest(name) for name in NAMES]
    rows = [AnalysisCalculator(requests).calculate_analyses(example_image(dtype, n, shape)) for n in (1, 3, 4)]
    if dtype == "float32":
        rows.append(AnalysisCalculator(requests).calculate_analyses(np.full((2, 2), np.nan, np.float32)))
    schema = saved_schema(requests)
    assert set(schema.names) == {"input", *(f"{name}_{key}" for name in NAMES for key in rows[0][name])}
    batch = to_batch([f"{number}" for number in range(len(rows))], rows, schema)
    assert batch.num_rows == len(rows)


@pytest.mark.parametrize("name", SCOPE_NAMES)
def test_every_scope_can_be_drawn(name: str) -> None:
    result = AnalysisCalculator([name]).calculate_analyses(example_image("uint8", 3))[name]
    assert draw_chart(name, result, title="a.png", options=ChartOptions()).startswith(b"\x89PNG")


def test_one_calculator_serves_several_threads() -> None:
    calculator = AnalysisCalculator(NAMES)
    pictures = [example_image("uint8", 3, (60, 80), seed=seed) for seed in range(12)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(calculator.calculate_analyses, pictures))
    for picture, results in zip(pictures, found, strict=True):
        for name in NAMES:
            assert_same(results[name], default(name, picture))


# --- errors


@pytest.mark.parametrize(
    ("error", "reason", "text"),
    [
        (ZeroDivisionError("no pixels"), FailedReason.ANALYSIS_ERROR, "broken: ZeroDivisionError: no pixels"),
        (RayjobsError("needs a colour image"), FailedReason.ANALYSIS_ERROR, "broken: needs a colour image"),
        (MemoryError("1 GiB"), FailedReason.OUT_OF_MEMORY, "broken: MemoryError: 1 GiB"),
        (ImageError(FailedReason.TIMEOUT, "too slow"), FailedReason.TIMEOUT, "broken: too slow"),
    ],
    ids=["exception", "message", "memory", "own reason"],
)
def test_what_an_analysis_raises_is_the_failure_of_this_image(
    error: Exception, reason: FailedReason, text: str
) -> None:
    with plugged("broken", error), pytest.raises(ImageError) as caught:
        AnalysisCalculator(["statistics", "broken"]).calculate_analyses(example_image("uint8", 3))
    assert (caught.value.reason, str(caught.value)) == (reason, text)


def test_opencv_without_memory_is_out_of_memory() -> None:
    error = cv2.error("Insufficient memory")
    error.code = -4
    with plugged("broken", error), pytest.raises(ImageError) as caught:
        AnalysisCalculator(["broken"]).calculate_analyses(example_image("uint8", 1))
    assert caught.value.reason is FailedReason.OUT_OF_MEMORY


@pytest.mark.parametrize(
    "array",
    [np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4), np.uint8), np.zeros((4, 4), np.float64), np.zeros(4, "u1")],
)
def test_arrays_that_are_no_images_are_refused(array: NDArray[Any]) -> None:
    with pytest.raises(ImageError) as caught:
        AnalysisCalculator(["statistics"]).calculate_analyses(array)
    assert caught.value.reason is FailedReason.BAD_SHAPE


# --- tile by tile


MERGEABLE = [*SCOPE_NAMES, "statistics"]
"""From tiles in any order; sharpness looks at neighbours, and takes bands from top to bottom."""


def test_what_needs_the_whole_image_is_known() -> None:
    assert {name for name in ANALYSES if ANALYSES[name].accumulator is None} == {
        "noise",
        "texture",
        "objects",
        "image_hash",
    }
    assert AnalysisCalculator(["noise", *NAMES]).whole_image_analyses() == ["noise"]


def by_tiles(name: str, image: NDArray[Any], cuts: tuple[list[int], list[int]], order: list[int]) -> Result:
    accumulator = ANALYSES[name].accumulator
    assert accumulator is not None
    channels = 1 if image.ndim == 2 else image.shape[2]
    counts = accumulator(height=image.shape[0], width=image.shape[1], dtype=image.dtype, channels=channels)
    rows, columns = ([0, *sorted(set(ends)), size] for ends, size in zip(cuts, image.shape[:2], strict=True))
    tiles = [
        (top, left, image[top:bottom, left:right])
        for top, bottom in pairwise(rows)
        for left, right in pairwise(columns)
        if bottom > top and right > left
    ]
    for place in sorted(range(len(tiles)), key=lambda number: order[number % len(order)]):
        top, left, tile = tiles[place]
        counts.update(tile, row=top, column=left)
    return counts.result()


@settings(deadline=None, max_examples=60)
@given(image=images(max_side=40), choice=st.data())
def test_tiles_in_any_cut_and_order_give_the_whole(image: NDArray[Any], choice: st.DataObject) -> None:
    """Exactly: every accumulator counts in integers."""
    height, width = image.shape[:2]
    cuts = tuple(choice.draw(st.lists(st.integers(0, side), max_size=4)) for side in (height, width))
    order = choice.draw(st.permutations(range(6)))
    for name in MERGEABLE:
        assert_same(by_tiles(name, image, (cuts[0], cuts[1]), list(order)), default(name, image))


def test_tiles_with_nan_and_infinities_give_the_whole() -> None:
    image = example_image("float32", 3, (40, 600)).copy()
    image[3, 5:400, 1] = np.nan
    image[20:, 100, 0] = np.inf
    image[7, 500] = -np.inf
    image.flags.writeable = False
    for name in MERGEABLE:
        assert_same(by_tiles(name, image, ([11, 12], [50, 450]), [3, 1, 2, 0]), default(name, image))


def test_a_large_picture_in_tiles_gives_the_whole() -> None:
    """More pixels than one band."""
    image = example_image("uint8", 3, (300, 700))
    for name in MERGEABLE:
        assert_same(by_tiles(name, image, ([256], [256, 512]), [1, 0]), default(name, image))
