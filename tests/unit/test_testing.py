"""The bench for authors of plug-ins: what is wrong is found, and said with what to do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import pytest
from pydantic import Field

from pipelines.analyses import ANALYSES
from pipelines.charts import ENGINES
from pipelines.charts.registry import CHARTABLE
from rayjobs.plugins import (
    Analysis,
    Axis,
    Bars,
    ChartData,
    ChartOptions,
    Column,
    FailedReason,
    Image,
    ImageError,
    Operation,
    Panel,
    ProcessorExtension,
    RayjobsError,
    Result,
    parameters_of,
)
from rayjobs.testing import check_analysis, check_chart, check_operation, temporary_extension

Function = Callable[..., Image]


def made(function: Function, reach: Any = "whole", **more: Any) -> Operation:
    return Operation("mine", "own", function, parameters_of(function), reach=reach, **more)


def box(image: Image, *, radius: Annotated[int, Field(ge=0, le=9, description="Pixels on each side")] = 2) -> Image:
    """The mean of a square."""
    import cv2

    side = 2 * radius + 1
    return cv2.blur(image, (side, side), borderType=cv2.BORDER_REFLECT_101)


def named(function: Function) -> Function:
    """With a docstring, as the bench wants it."""
    function.__doc__ = function.__doc__ or "Does something."
    return function


_calls: list[int] = []


def counting(image: Image) -> Image:
    """Another result each time."""
    _calls.append(1)
    return np.full_like(image, len(_calls) % 200)


def test_a_good_one_passes() -> None:
    check_operation(made(box, "local", halo=lambda *, radius: radius), [{}, {"radius": 5}], wrong=[{"radius": 99}])


_buffer: dict[Any, Image] = {}


def reusing(image: Image) -> Image:
    """The same array each time."""
    kept = _buffer.setdefault((image.shape, image.dtype), np.empty_like(image))
    kept[...] = image
    return kept


def writing(image: Image) -> Image:
    """Change the input."""
    image[...] = 0
    return image


def refusing(image: Image) -> Image:
    """Take none."""
    raise ImageError(FailedReason.BAD_SHAPE, "no")


@pytest.mark.parametrize(
    ("operation", "told"),
    [
        (made(box, "local", halo=lambda *, radius: radius - 1), "a halo of 1 is too little, pixels depend on others up "
         "to 2 away: halo must give 2 or more"),
        (made(box, "point"), r'reach="point" is too little, .* up to 2 away: say reach="local", halo=... 2'),
        (made(box, "local"), r'reach="local" needs halo='),
        (made(box, "local", halo=lambda *, radius: radius / 2), "halo gives 1.0, not a whole number of pixels"),
        (made(named(lambda image: np.roll(image, 70, 0)), "local", halo=lambda: 3), 'whole image: say reach="whole"'),
        (made(named(lambda image: image[1:] if len(image) > 1 else image)), 'say reach="geometry", handles_alpha=True'),
        (made(named(lambda image: image * 0.5)), r"returned float64 for uint8; of integers give `np.rint"),
        (made(named(lambda image: None)), "returned None instead of ndarray; end the function with `return pixels`"),
        (made(named(lambda image: image * 2 if image.dtype.kind == "u" else image.clip(0, 0.5) * 2)),
         "another picture of uint8 .* integers wrap round"),
        (made(named(lambda image: image / image * 0 if image.dtype.kind == "f" else image)), "makes NaN or infinity"),
        (made(writing), r"read-only; others may see the image: change a copy of it"),
        (made(reusing), "changes what it gave before"),
        (made(counting), "two results|how the image lies in memory"),
        (made(refusing), "refuses every image"),
        (made(lambda image: image), "give its function a docstring"),
    ],
    ids=["halo", "point", "no halo", "half", "whole", "shape", "dtype", "none", "wraps", "nan", "writes", "reuses",
         "state", "refuses", "no docstring"],
)  # fmt: skip
def test_what_is_wrong_with_an_operation_is_said_with_what_to_do(operation: Operation, told: str) -> None:
    with pytest.raises(AssertionError, match=told):
        check_operation(operation)


def test_wrong_values_must_be_refused() -> None:
    with pytest.raises(AssertionError, match=r"mine takes {'radius': 3}: say what may be"):
        check_operation(made(box), wrong=[{"radius": 3}])
    with pytest.raises(AssertionError, match=r"mine doesn't take {'radius': 99}: radius: Input should be less than"):
        check_operation(made(box), [{"radius": 99}])


class Holding(ProcessorExtension):
    """Holds a lock."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def get_name(self) -> str:
        return "holding"

    def get_supported_configs(self) -> list[str]:
        return []

    def process(self, image: Image, config: dict[str, Any]) -> Image:
        return image


def test_what_cannot_be_sent_to_a_worker_is_named() -> None:
    with pytest.raises(AssertionError, match=r"holding holds what can't be sent to a worker \(.*lock.*make it in proc"):
        check_operation(Holding)


def chart_of(values: Callable[[Result], Any], high: float = 1) -> Callable[[Result, str, ChartOptions], ChartData]:
    def chart(result: Result, title: str, options: ChartOptions) -> ChartData:
        axis = Axis(label="level", low=0, high=1)
        heights = np.asarray(values(result), np.float64)
        bars = Bars(left=0, right=1, bottom=np.zeros(len(heights)), top=heights, colours=((9, 9, 9),))
        return ChartData(
            title=title, name="Mine", panels=(Panel(x=axis, y=Axis(label="share", low=0, high=high), layers=(bars,)),)
        )

    return chart


_seen: list[int] = []


@pytest.mark.parametrize(
    ("chart", "told"),
    [
        (chart_of(lambda result: result["luma"] * np.nan), r"Bars has NaN or infinity in \['top'\]: np.nan_to_num"),
        (chart_of(lambda result: result["luma"] / 1e4, high=0), "axis 'share' goes from 0 to 0"),
        (chart_of(lambda result: [_seen.append(1), len(_seen) % 9 / 9][1:] * 3), "is another one the second time"),
    ],
    ids=["nan", "axis", "state"],
)
def test_what_is_wrong_with_a_chart_is_said(chart: Any, told: str) -> None:
    with pytest.raises(AssertionError, match=told):
        check_chart(chart, ANALYSES["color_histogram"])


def test_a_chart_of_another_kind_of_analysis_knows_flat_arrays() -> None:
    def by_rows(result: Result) -> Any:
        return np.atleast_2d(result["counts"]).sum(axis=1) / 1e4

    with pytest.raises(AssertionError, match="another one when arrays lie flat, as in a table: reshape them"):
        check_chart(chart_of(by_rows), ANALYSES["luma_waveform"])


def leaning(image: Image, geometry: Any) -> Result:
    """How many pixels of the file a pixel is wide, and how bright the image is."""
    return {"wide": float(geometry.orientation), "bright": float(np.mean(image, dtype=np.float64) > 0)}


LEANING = Analysis(
    "leaning",
    "measurements",
    leaning,
    parameters_of(lambda image: {}),
    columns=lambda **_: [Column(name, "float64", "1", "A number") for name in ("wide", "bright")],
    sees_geometry=True,
)


def test_a_chart_of_an_analysis_that_sees_the_geometry_is_checked_like_any_other() -> None:
    check_analysis(LEANING)
    check_chart(chart_of(lambda result: [result["wide"], result["bright"]]), LEANING)
    with pytest.raises(AssertionError, match="Bars has NaN or infinity"):
        check_chart(chart_of(lambda result: [result["wide"] * np.nan]), LEANING)


def test_an_engine_draws_the_charts_of_analyses_that_see_the_geometry() -> None:
    drawn: list[str] = []

    class Engine:
        def draw(self, chart: ChartData, options: ChartOptions) -> bytes:
            drawn.append(chart.name)
            return ENGINES["fast"].draw(chart, options)

    with temporary_extension(LEANING), CHARTABLE.lent({"leaning": chart_of(lambda result: [result["wide"]])}):
        check_chart(Engine())
    assert "Mine" in drawn


@pytest.mark.parametrize("params", [{"radius": 1}, ["radius"], [[["radius", 1]]]])
def test_parameters_to_try_are_a_list_of_mappings(params: Any) -> None:
    told = "give a mapping of its parameters"
    for check in (
        lambda: check_operation(made(box), params),
        lambda: check_operation(made(box), wrong=params),
        lambda: check_analysis(ANALYSES["statistics"], params),
        lambda: check_chart(chart_of(lambda result: result["luma"]), ANALYSES["color_histogram"], params),
    ):
        with pytest.raises(RayjobsError, match=told):
            check()
