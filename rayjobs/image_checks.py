"""The contracts of operations, analyses and charts, as a plug-in's author tests them, on images of every kind.

What the program relies on, not whether an extension computes what it says. ``testing`` offers them, with the rest.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from pipelines.analyses import ANALYSES
from pipelines.image_io.png_chunks import SIGNATURE
from pipelines.models import AnalysisRequest, ImageOperation
from pipelines.operations import OPERATIONS, apply_operations, chain_halo
from pipelines.operations.chain import complaints
from pipelines.operations.image_geometry import AS_STORED
from pipelines.operations.tiled_chain import apply_by_tiles
from rayjobs.plugins import (
    Analysis,
    ChartData,
    ChartEngine,
    ChartOptions,
    ImageError,
    Operation,
    Parameters,
    ProcessorExtension,
    RayjobsError,
    Result,
)

DTYPES = ("uint8", "uint16", "float32")
SHAPES = ((31, 47), (31, 47, 3), (31, 47, 4), (1, 1, 3), (1, 9), (8, 1, 4))
ALIKE = 0.05
"""Mean difference, of 0..1, from which on two pictures aren't alike."""
TILE_TOLERANCE = 1e-5
"""Of float32: sums over parts of an image may be rounded otherwise."""
FORMATS = {
    ChartOptions(format="png"): SIGNATURE,
    ChartOptions(format="jpeg"): b"\xff\xd8",
    ChartOptions(format="svg"): b"<",
}
"""What files of charts begin with."""
Array = NDArray[Any]


def bench_image(dtype: str, shape: tuple[int, ...]) -> Array:
    """A read-only picture of gradients and noise with a black and a white corner, the same on every call.

    float32 lies in 0..1; a picture of fewer than 10 rows or columns has no such corners.
    """
    height, width = shape[:2]
    row, column = np.mgrid[0:height, 0:width] / max(height, width)
    noise = np.random.default_rng(0).normal(0, 0.05, shape)
    picture = (0.2 + 0.6 * (row + column) / 2) if len(shape) == 2 else (0.2 + 0.6 * (row + column) / 2)[..., None]
    values = np.clip(picture + noise, 0, 1)
    if min(height, width) >= 10:
        values[:3, :3], values[-3:, -3:] = 0, 1
    kind = np.dtype(dtype)
    image = values.astype(kind) if kind.kind == "f" else np.rint(values * np.iinfo(kind).max).astype(kind)
    image.flags.writeable = False
    return np.asarray(image)


def bench_images() -> list[Array]:
    """One image of every dtype, number of channels and extreme size that an extension may get."""
    return [bench_image(dtype, shape) for dtype in DTYPES for shape in SHAPES]


def check_operation(
    operation: Operation | ProcessorExtension | type[ProcessorExtension],
    params: Sequence[Mapping[str, Any]] = ({},),
    *,
    wrong: Sequence[Mapping[str, Any]] = (),
    alike: bool = True,
) -> None:
    """Run an operation on images of every kind, and hold it to what jobs, caches and tiles rely on.

    The same image gives the same pixels, of its dtype, finite where it is, in an array of their own, however the image
    lies in memory; the image stays as it is. ``reach`` is true: tiles with the surroundings that ``halo`` gives become
    the pixels of the whole image (exactly for integers, within 1e-5 for floats). An operation may refuse some images
    by raising ``ImageError``, not all of them.

    Parameters
    ----------
    params
        Parameters as in a job file; each is tried on every image.
    wrong
        Parameters that must be refused, when a job is checked or by the operation itself.
    alike
        Whether a picture looks the same in 8 bits, 16 bits and floats afterwards; False where levels of a dtype matter.

    Raises
    ------
    AssertionError
        With one sentence: what is wrong, with which parameters, for which image, and what to do.
    """
    from pipelines.extensions.extension_adapters import Origin, operation_of

    made = operation() if isinstance(operation, type) else operation
    name = made.get_name() if isinstance(made, ProcessorExtension) else made.name
    entry = operation_of(made, Origin(name=name, distribution="this package", version="0"))
    _check_declared(entry, made)
    with OPERATIONS.lent({name: entry}):
        for given in params:
            step = _step(entry, given)
            done = [_check_pixels(entry, step, image) for image in bench_images()]
            assert any(done), f"{_called(step)} refuses every image"
            if alike:
                _check_alike(step)
            _check_reach(entry, step)
            _check_table(entry, step)
        for given in wrong:
            _check_refused(entry, given)


def _check_declared(entry: Operation, made: Operation | ProcessorExtension) -> None:
    """What can be said without an image."""
    from pipelines.extensions.extension_adapters import NAME, NAME_RULE

    name = entry.name
    assert NAME.fullmatch(name), f"{name!r} can't be a name: {NAME_RULE}"
    if isinstance(made, ProcessorExtension):
        keys = made.get_supported_configs()
        assert len(set(keys)) == len(keys), f"{name}: get_supported_configs() names a key twice: {keys}"
        try:
            pickle.dumps(vars(made))
        except Exception as error:
            text = f"{name} holds what can't be sent to a worker ({error}): make it in process(), when it is needed"
            raise AssertionError(text) from error
        return
    assert entry.summary, f"{name}: give its function a docstring; `rayjobs operations` shows the first line"
    assert issubclass(entry.parameters, Parameters), f"{name}: its parameters are `parameters_of(function)`"
    silent = [key for key, field in entry.parameters.model_fields.items() if not field.description]
    assert not silent, f"{name}: say what {silent} means: Annotated[float, Field(description=...)]"
    lonely = entry.reach == "local" and entry.halo is None
    assert not lonely, f'{name}: reach="local" needs halo=, from the parameters to pixels; or say reach="whole"'


def _step(entry: Operation, given: Mapping[str, Any]) -> ImageOperation:
    """The operation with parameters, which must be those of a job file, and good."""
    step = ImageOperation(entry.name, given)
    json.dumps(dict(given))
    try:
        entry.parameters(**given)
    except ValidationError as error:
        text = f"{entry.name} doesn't take {dict(given)}: {complaints(error)}; give others: params=[{{...}}]"
        raise AssertionError(text) from error
    return step


def _called(step: ImageOperation) -> str:
    return f"{step.name} with {dict(step.params)}"


def _applied(step: ImageOperation, image: Array) -> Array | None:
    """The pixels; None for an image that the operation refuses."""
    try:
        return apply_operations(image, [step]).pixels
    except ImageError as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        if isinstance(cause, RayjobsError):
            return None
        advice = next((text for part, text in _ADVICE.items() if part in str(cause)), "")
        text = f"{_called(step)} on {image.dtype} {image.shape}: {type(cause).__name__}: {cause}{advice}"
        raise AssertionError(text) from error


_ADVICE = {
    "read-only": "; others may see the image: change a copy of it, `image.copy()`",
    "instead of ndarray": "; end the function with `return pixels`",
    "returned float": "; of integers give `np.rint(pixels.clip(0, top)).astype(image.dtype)`",
    "returned ": "; give pixels of the dtype and kind of the image: `pixels.astype(image.dtype)`",
}


def _check_pixels(entry: Operation, step: ImageOperation, image: Array) -> bool:
    """Whether it takes the image at all."""
    what = f"{_called(step)} on {image.dtype} {image.shape}"
    before = image.copy()
    first = _applied(step, image)
    if first is None:
        return False
    kept = first.copy()
    turned = image[::-1, ::-1]
    other, same = (_applied(step, each) for each in (turned, np.ascontiguousarray(turned)))
    assert _equal(other, same), f"{what} depends on how the image lies in memory: use its indices, not its buffer"
    assert np.array_equal(image, before), f"{what} changes its input: work on `image.copy()`"
    assert _equal(first, kept), f"{what} changes what it gave before: give a new array each time"
    assert _equal(first, _applied(step, image)), f"{what} gives two results: take no time, no state, no unseeded chance"
    assert np.isfinite(first).all(), f"{what} makes NaN or infinity of numbers: look for a division by 0, a log or root"
    if entry.reach != "geometry":
        text = f'{what} makes {first.shape[:2]} of {image.shape[:2]} pixels: say reach="geometry", handles_alpha=True'
        assert first.shape[:2] == image.shape[:2], text
    return True


def _equal(one: Array | None, other: Array | None, tolerance: float = 0) -> bool:
    if one is None or other is None:
        return one is other
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.dtype.kind != "f":
        return np.array_equal(one, other)
    return np.allclose(one, other, rtol=0, atol=tolerance, equal_nan=True)


def _check_alike(step: ImageOperation) -> None:
    """A picture in integers and in floats becomes the same picture."""
    for shape in SHAPES[:2]:
        exact = _applied(step, bench_image("float32", shape))
        for dtype in DTYPES[:2]:
            found = _applied(step, bench_image(dtype, shape))
            if exact is None or found is None or exact.shape != found.shape:
                continue
            apart = float(np.abs(found / np.iinfo(dtype).max - exact.clip(0, 1)).mean())
            assert apart < ALIKE, (
                f"{_called(step)} makes another picture of {dtype} {shape} than of float32, {apart:.0%} apart on "
                "average: parameters mean shares of white, 0..1, whatever the dtype, and integers wrap round unless "
                "one computes in floats and clips; if that is meant, say alike=False"
            )


def _check_reach(entry: Operation, step: ImageOperation) -> None:
    """Tiles with their surroundings give the pixels of the whole image."""
    halo = chain_halo([step])
    if halo is None:  # it gets the whole image in any case
        return
    assert isinstance(halo, int), f"{_called(step)}: halo gives {halo!r}, not a whole number of pixels"
    assert halo >= 0, f"{_called(step)}: halo gives {halo}; 0 is a pixel alone"
    side = min(2 * halo + 100, 240)  # tiles in the middle don't see the edges
    for dtype in ("uint8", "float32"):
        for shape in ((side, side + 7), (side, side + 7, 3)):
            image = bench_image(dtype, shape)
            whole = _applied(step, image)
            if whole is not None and not _tiles_equal(step, image, whole, halo):
                further = range(halo + 1, halo + 40)
                needed = next((far for far in further if _tiles_equal(step, image, whole, far)), None)
                raise AssertionError(_reach_text(entry, step, halo, needed))


def _tiles_equal(step: ImageOperation, image: Array, whole: Array, halo: int) -> bool:
    return _equal(apply_by_tiles(image, [step], halo=halo, side=16), whole, TILE_TOLERANCE)


def _reach_text(entry: Operation, step: ImageOperation, halo: int, needed: int | None) -> str:
    said = 'reach="point"' if entry.reach == "point" else f"a halo of {halo}"
    if needed is None:
        return f'{_called(step)}: {said} is too little, pixels depend on the whole image: say reach="whole"'
    todo = f"halo must give {needed} or more" if entry.reach == "local" else f'say reach="local", halo=... {needed}'
    return f"{_called(step)}: {said} is too little, pixels depend on others up to {needed} away: {todo}"


def _check_table(entry: Operation, step: ImageOperation) -> None:
    if entry.table is None or entry.takes_shares:
        return
    checked = entry.parameters(**step.params)
    arguments = {name: getattr(checked, name) for name in entry.parameters.model_fields}
    for dtype in DTYPES[:2]:
        image = bench_image(dtype, SHAPES[1])
        text = f"{_called(step)}: its table gives other pixels than its function for {dtype}"
        assert _equal(_applied(step, image), entry.function(image, **arguments)), text


def _check_refused(entry: Operation, given: Mapping[str, Any]) -> None:
    step = ImageOperation(entry.name, given)
    try:
        apply_operations(bench_image(DTYPES[0], SHAPES[1]), [step])
    except ImageError:
        return
    raise AssertionError(
        f"{entry.name} takes {dict(given)}: say what may be, Annotated[float, Field(ge=0, le=1)], or raise ValueError"
    )


def check_analysis(analysis: Analysis, params: Sequence[Mapping[str, Any]] = ({},)) -> None:
    """Every kind of image gives exactly the declared columns, of the declared types, the same on every call."""
    from pipelines.analyses.registry import ROWS
    from pipelines.tables import object_schemas, saved_schema, to_batch, to_rows_batch

    with _lent_analysis(analysis) as entry:
        name = entry.name
        for given in params:
            request = AnalysisRequest(name, given)
            arguments = dict(entry.parameters(**given))
            schema = saved_schema([request])
            of_objects = object_schemas([request]).get(request)
            for image in bench_images():
                before = image.copy()
                first, second = (entry.function(*_seen(entry, image), **arguments) for _ in range(2))
                what = f"{name} with {dict(given)} on {image.dtype} {image.shape}"
                assert np.array_equal(image, before), f"{what} changes its input"
                one, other = (to_batch([""], [{name: result}], schema) for result in (first, second))
                assert str(one.to_pylist()) == str(other.to_pylist()), f"{what} gives two results"
                if of_objects is not None:
                    one, other = (to_rows_batch([""], [result[ROWS]], of_objects) for result in (first, second))
                    assert str(one.to_pylist()) == str(other.to_pylist()), f"{what} gives two tables of objects"


def _seen(entry: Analysis, image: Array) -> tuple[Any, ...]:
    return (image, AS_STORED) if entry.sees_geometry else (image,)


@contextmanager
def _lent_analysis(analysis: Analysis) -> Iterator[Analysis]:
    """The analysis as jobs have it, usable by its name inside the block."""
    from pipelines.extensions.extension_adapters import Origin, analysis_of

    entry = analysis_of(analysis, Origin(name=analysis.name, distribution="this package", version="0"))
    with ANALYSES.lent({entry.name: entry}):
        yield entry


def check_chart(
    chart: Callable[[Result, str, ChartOptions], ChartData] | ChartEngine,
    analysis: Analysis | None = None,
    params: Sequence[Mapping[str, Any]] = ({},),
) -> None:
    """Draw a chart of every kind of image, or with an engine every format of a chart of the program.

    A chart is the same on every call and for results whose arrays lie flat, as in a row of a table; it changes no
    result; its numbers are finite, its axes go upwards, and it can be drawn. An engine gives files of the format that
    it is asked for, the same on every call.

    Parameters
    ----------
    analysis
        Whose results the chart shows; an engine needs none.
    params
        Of the analysis, as in a job file.
    """
    from pipelines.charts.registry import CHARTABLE, draw_chart
    from pipelines.extensions.extension_adapters import Origin, chart_of

    if hasattr(chart, "draw"):
        _check_engine(chart)
        return
    assert analysis is not None, "say whose results the chart shows: check_chart(chart, ANALYSIS)"
    name = analysis.name
    builder = chart_of(chart, Origin(name=name, distribution="this package", version="0"))
    with _lent_analysis(analysis) as entry, CHARTABLE.lent({name: builder}):
        for given in params:
            chosen = dict(entry.parameters(**AnalysisRequest(name, given).params))
            for number, image in enumerate(bench_images()):
                what = f"the chart of {name} with {dict(given)}, of {image.dtype} {image.shape}"
                result = {key: _lasting(value) for key, value in entry.function(*_seen(entry, image), **chosen).items()}
                _check_plot(what, builder(result, "title", ChartOptions()))
                flat = {key: value.ravel() if isinstance(value, np.ndarray) else value for key, value in result.items()}
                first, second, third = (
                    draw_chart(name, each, title="a <b>.png", options=ChartOptions()) for each in (result, result, flat)
                )
                assert first == second, f"{what} is another one the second time"
                assert first == third, f"{what} is another one when arrays lie flat, as in a table: reshape them"
                if number == 0:  # the other engine is slow
                    draw_chart(name, result, title="a", options=ChartOptions(engine="matplotlib"))


def _lasting(value: Any) -> Any:
    """As the chart gets it: arrays are read-only."""
    if isinstance(value, np.ndarray):
        value.flags.writeable = False
    return value


def _check_plot(what: str, chart: ChartData) -> None:
    for panel in chart.panels:
        for axis in (panel.x, panel.y, *filter(None, [panel.y_right])):
            rising = np.isfinite([axis.low, axis.high]).all() and axis.low < axis.high
            assert rising, f"{what}: the axis {axis.label!r} goes from {axis.low} to {axis.high}"
            far = [tick.label for tick in axis.ticks if not axis.low <= tick.at <= axis.high]
            assert not far, f"{what}: ticks {far} lie outside of the axis {axis.label!r}"
        for layer in panel.layers:
            odd = [field.name for field in fields(layer) if not _is_finite(getattr(layer, field.name))]
            assert not odd, f"{what}: {type(layer).__name__} has NaN or infinity in {odd}: np.nan_to_num makes them 0"


def _is_finite(value: object) -> bool:
    return not isinstance(value, float | np.ndarray) or bool(np.isfinite(value).all())


def _check_engine(engine: ChartEngine) -> None:
    from pipelines.charts.registry import CHARTABLE, chart_data

    for name in CHARTABLE:
        entry = ANALYSES[name]
        result = entry.function(*_seen(entry, bench_image("uint8", (31, 47, 3))), **dict(entry.parameters()))
        for options, first in FORMATS.items():
            chart = chart_data(name, result, title="a <b>.png", options=options)
            one, other = (engine.draw(chart, options) for _ in range(2))
            assert one.startswith(first), f"{name}: what it draws is no {options.format}: see options.format"
            assert one == other, f"{name} as {options.format}: two drawings of one chart differ"
