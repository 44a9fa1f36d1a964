"""What the chart of each scope shows: from the columns of a result to axes and layers.

Covers the six scopes; arrays may have the shape of the analysis or lie flat, as in a row of the results table.
Does not draw. Definitions of the scopes: ``pipelines.analyses``.
"""

from __future__ import annotations

import colorsys
import functools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.analyses.registry import Result
from pipelines.charts.data import (
    DENSITY_LEVELS,
    PLOT_BACKGROUND,
    TEXT,
    Axis,
    Bars,
    ChartData,
    Colour,
    Layer,
    Marker,
    Note,
    Panel,
    Steps,
    Trace,
    unit_colour,
)
from pipelines.charts.graticules import column_axis, degree_axis, level_axis, neutral_axis, percent_axis, share_axis
from pipelines.charts.options import ChartOptions, Density
from pipelines.errors import FailedReason, ImageError

CHANNELS = ("red", "green", "blue")
CHANNEL_COLOURS: dict[str, Colour] = {"red": (255, 82, 76), "green": (72, 214, 104), "blue": (84, 138, 255)}
OVERLAPS: tuple[tuple[tuple[str, ...], Colour], ...] = (
    (("red",), (198, 52, 50)),
    (("green",), (44, 152, 68)),
    (("blue",), (52, 94, 206)),
    (("red", "green"), (196, 176, 58)),
    (("red", "blue"), (184, 74, 186)),
    (("green", "blue"), (52, 166, 184)),
    (CHANNELS, (150, 154, 160)),
)
LUMA_COLOUR: Colour = (245, 246, 248)
TRACE_COLOUR: Colour = (190, 255, 206)
MARKER_COLOUR: Colour = (255, 214, 64)


def color_histogram(result: Result, title: str, options: ChartOptions) -> ChartData:
    """Red, green and blue as areas that mix where they overlap, luma as a line; clipped shares as notes."""
    counts = {name: _column(result, name, (256,)) for name in (*CHANNELS, "luma")}
    total = int(counts["luma"].sum())
    heights = {name: _heights(values, total, options) for name, values in counts.items()}
    layers: list[Layer] = []
    for names, colour in OVERLAPS:
        top = np.minimum.reduce([heights[name] for name in names])
        others = [heights[name] for name in CHANNELS if name not in names]
        bottom = np.maximum.reduce(others) if others else np.zeros(256)
        layers.append(Bars(left=-0.5, right=255.5, bottom=bottom, top=top, colours=(colour,)))
    layers.append(Steps(left=-0.5, right=255.5, heights=heights["luma"], colour=LUMA_COLOUR))
    y = share_axis(_inner_peak(list(heights.values())), total=total, log_counts=options.log_counts)
    ends = [
        f"at {label}:  " + "  ".join(_percent(int(counts[name][end]), total) for name in CHANNELS)
        for label, end in (("0", 0), (_top_label(options), 255))
    ]
    return ChartData(
        title=title,
        name="Colour histogram",
        panels=(Panel(x=level_axis(options.scale), y=y, layers=tuple(layers)),),
        legend=(*(Note(name, CHANNEL_COLOURS[name]) for name in CHANNELS), Note("luma", LUMA_COLOUR)),
        notes=tuple(Note(text) for text in ends),
    )


def luma_waveform(result: Result, title: str, options: ChartOptions) -> ChartData:
    """Levels of luma over the position across the picture."""
    trace = _waveform(_column(result, "counts", (256, 256)), TRACE_COLOUR, options.density)
    panel = Panel(
        x=column_axis("position across the picture", ticks=True),
        y=level_axis(options.scale),
        y_right=_second_scale(options),
        layers=(trace,),
    )
    return ChartData(title=title, name="Luma waveform", panels=(panel,))


def rgb_parade(result: Result, title: str, options: ChartOptions) -> ChartData:
    """The waveforms of red, green and blue side by side."""
    last = CHANNELS[-1]
    panels = tuple(
        Panel(
            x=column_axis(name, ticks=False),
            y=level_axis(options.scale),
            y_right=_second_scale(options) if name == last else None,
            layers=(_waveform(_column(result, name, (256, 256)), CHANNEL_COLOURS[name], options.density),),
            show_y=name == CHANNELS[0],
        )
        for name in CHANNELS
    )
    return ChartData(title=title, name="RGB parade", panels=panels)


def hue_histogram(result: Result, title: str, options: ChartOptions) -> ChartData:
    """Hues of the pixels that have one, each bar in its own hue."""
    counts = _column(result, "counts", (360,))
    achromatic = int(result["achromatic"])
    total = int(counts.sum()) + achromatic
    heights = _heights(counts, total, options)
    bars = Bars(left=0, right=360, bottom=np.zeros(360), top=heights, colours=_hue_colours())
    y = share_axis(float(heights.max()), total=total, log_counts=options.log_counts)
    return ChartData(
        title=title,
        name="Hue histogram",
        panels=(Panel(x=degree_axis(), y=y, layers=(bars,)),),
        legend=(Note(f"without hue {_percent(achromatic, total)}"),),
    )


def saturation_histogram(result: Result, title: str, options: ChartOptions) -> ChartData:
    """HSV saturation, from gray at the left to pure colour at the right."""
    counts = _column(result, "counts", (256,))
    total = int(counts.sum())
    heights = _heights(counts, total, options)
    bars = Bars(left=-0.5, right=255.5, bottom=np.zeros(256), top=heights, colours=_saturation_colours())
    y = share_axis(_inner_peak([heights]), total=total, log_counts=options.log_counts)
    median = int(np.searchsorted(np.cumsum(counts, dtype=np.uint64), total / 2)) if total else 0
    return ChartData(
        title=title,
        name="Saturation histogram",
        panels=(Panel(x=percent_axis("HSV saturation"), y=y, layers=(bars,)),),
        legend=(Note(f"median {median / 2.55:.0f} %"), Note(f"at 0 %:  {_percent(int(counts[0]), total)}")),
        notes=(Note(f"at 100 %:  {_percent(int(counts[255]), total)}"),),
    )


def lab_chromaticity(result: Result, title: str, options: ChartOptions) -> ChartData:
    """Where the colours lie in a* and b*: the whole plane, and the neighbourhood of neutral four times larger."""
    counts = _column(result, "counts", (256, 256))
    levels = density_levels(counts, options.density, faintest=16).T  # to be seen on the tiles
    mean_a, mean_b = _number(result["mean_a"]), _number(result["mean_b"])
    known = math.isfinite(mean_a) and math.isfinite(mean_b) and bool(counts.any())
    tiles = _lab_backdrop()
    panels = []
    for reach in (128, 32):
        near = levels[128 - reach : 128 + reach, 128 - reach : 128 + reach]
        extent = {"left": -reach, "right": reach, "bottom": -reach, "top": reach}
        layers: list[Layer] = [Trace(**extent, levels=near, colour=TEXT)]
        if known and max(abs(mean_a), abs(mean_b)) <= reach:
            layers.append(Marker(x=mean_a, y=mean_b, colour=MARKER_COLOUR))
        zoomed = reach != 128
        x = neutral_axis("a*, 4 times enlarged" if zoomed else "a*", reach)
        y = neutral_axis("b*", reach)
        panels.append(
            Panel(
                x=x,
                y=y,
                y_right=y if zoomed else None,
                show_y=not zoomed,
                layers=tuple(layers),
                backdrop=tiles[9:15, 9:15] if zoomed else tiles,  # the same tiles, 64 of 256 units
                square=True,
            )
        )
    legend: tuple[Note, ...] = ()
    if known:
        chroma, hue = math.hypot(mean_a, mean_b), math.degrees(math.atan2(mean_b, mean_a)) % 360
        mean = f"mean  a* {mean_a:+.1f}  b* {mean_b:+.1f}".replace("-", "\N{MINUS SIGN}")
        legend = (Note(mean, MARKER_COLOUR), Note(f"chroma {chroma:.1f}  hue angle {hue:.0f}°"))
    return ChartData(title=title, name="CIELAB chromaticity", panels=tuple(panels), legend=legend)


def density_levels(counts: NDArray[Any], density: Density, *, faintest: int = 1) -> NDArray[np.uint8]:
    """Brightness of each cell, 0 for an empty one, ``faintest`` to ``DENSITY_LEVELS`` for the others.

    Full brightness is reached at the count that 99.5 % of the cells in use don't exceed (65535 at most), so that one
    flat area doesn't darken the rest.
    """
    clipped = np.minimum(counts, 65535).astype(np.intp)
    frequency = np.bincount(clipped.ravel())
    frequency[0] = 0
    used = int(frequency.sum())
    if not used:
        return np.zeros(counts.shape, np.uint8)
    reference = int(np.searchsorted(np.cumsum(frequency), 0.995 * used))
    values = np.arange(frequency.size)
    share = np.log1p(values) / np.log1p(reference) if density == "log" else (values / reference) ** 0.4
    steps = np.ceil(np.minimum(share, 1.0) * (DENSITY_LEVELS - faintest + 1)) + (faintest - 1)
    steps[0] = 0
    levels: NDArray[np.uint8] = steps.astype(np.uint8)[clipped]
    return levels


def _column(result: Result, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    counts = np.asarray(result[name])
    if counts.size != math.prod(shape):
        raise ImageError(FailedReason.CHART_ERROR, f"column {name} has shape {counts.shape}, expected {shape}")
    return counts.reshape(shape)


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _waveform(counts: NDArray[Any], colour: Colour, density: Density) -> Trace:
    levels = density_levels(counts, density)
    return Trace(left=0, right=256, bottom=-0.5, top=255.5, levels=levels, colour=colour)


def _second_scale(options: ChartOptions) -> Axis:
    return level_axis("8bit" if options.scale == "ire" else "ire", grid=False)


def _top_label(options: ChartOptions) -> str:
    return level_axis(options.scale).ticks[-1].label


def _heights(counts: NDArray[Any], total: int, options: ChartOptions) -> NDArray[np.float64]:
    if options.log_counts:
        return np.log10(1.0 + counts)
    return counts * (100.0 / max(total, 1))


def _inner_peak(heights: list[NDArray[np.float64]]) -> float:
    """The tallest bar away from both ends, where clipped black or white would flatten all the rest."""
    inner = max(float(values[4:-4].max()) for values in heights)
    return inner * 1.04 if inner > 0 else max(float(values.max()) for values in heights)


def _percent(count: int, total: int) -> str:
    share = 100 * count / max(total, 1)
    return f"{share:.1f} %" if share < 9.95 else f"{share:.0f} %"


@functools.cache
def _hue_colours() -> tuple[Colour, ...]:
    """One colour per degree, in steps of three degrees, which no eye tells apart and a palette holds."""
    return tuple(unit_colour(colorsys.hsv_to_rgb((degree // 3 * 3 + 1) / 360, 0.85, 0.95)) for degree in range(360))


@functools.cache
def _saturation_colours() -> tuple[Colour, ...]:
    return tuple(unit_colour(colorsys.hsv_to_rgb(0.57, (level // 4) / 63, 0.88)) for level in range(256))


@functools.cache
def _lab_backdrop() -> NDArray[np.uint8]:
    """The colours of the a*b* plane at L* 60, darkened, in 24 x 24 flat tiles; outside sRGB: no colour.

    CIE 1976 L*a*b* to XYZ (D65, 2 degrees) to linear sRGB (IEC 61966-2-1).
    """
    count = 24
    axis = (np.arange(count) + 0.5) / count * 256 - 128
    a, b = np.meshgrid(axis, axis)
    f = np.stack([(60 + 16) / 116 + a / 500, np.full_like(a, (60 + 16) / 116), (60 + 16) / 116 - b / 200], axis=-1)
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * (0.95047, 1.0, 1.08883)
    matrix = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])
    linear = xyz @ matrix.T
    inside = np.all((linear >= 0) & (linear <= 1), axis=-1, keepdims=True)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.clip(linear, 0, None) ** (1 / 2.4) - 0.055)
    tiles = np.where(inside, np.rint(encoded * 0.4 * 255), PLOT_BACKGROUND).astype(np.uint8)
    tiles.flags.writeable = False
    return tiles
