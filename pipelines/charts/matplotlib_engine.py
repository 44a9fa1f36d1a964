"""The matplotlib engine: figures through matplotlib's object interface, 60 to 120 ms for a chart.

Never imports pyplot. matplotlib's settings belong to the process, so a chart is drawn under a lock with the defaults
in place, and the settings of the caller are put back afterwards: the bytes depend on no ``matplotlibrc``. A thread
that draws its own figures with changed settings at the same moment may see the defaults.
"""

from __future__ import annotations

import io
import threading

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patheffects import withStroke

from pipelines.charts.data import (
    BACKGROUND,
    GRID,
    GRID_STRONG,
    PLOT_BACKGROUND,
    TEXT_DIM,
    Axis,
    Bars,
    ChartData,
    Colour,
    Marker,
    Panel,
    Steps,
    Trace,
    ramp,
)
from pipelines.charts.encode import encode_rgb
from pipelines.charts.layout import LABEL_SIZE_PX, Box, Label, axis_labels, boxes, header
from pipelines.charts.options import ChartOptions
from pipelines.charts.text import drawable, font_path

DPI = 96  # of CSS: an SVG has the size in px that was asked for
POINTS_PER_PX = 72 / DPI
_SETTINGS_LOCK = threading.Lock()


def draw(chart: ChartData, options: ChartOptions) -> bytes:
    """Draw a chart as the bytes of a file of ``options.format``."""
    with _SETTINGS_LOCK, mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams["svg.hashsalt"] = "rayjobs"  # else identifiers are random
        mpl.rcParams["svg.fonttype"] = "none"  # text stays text
        figure = build_figure(chart, options)
        out = io.BytesIO()
        if options.format == "svg":
            figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
            return out.getvalue()
        figure.savefig(out, format="rgba")
    pixels = np.frombuffer(out.getbuffer(), np.uint8).reshape(options.height, options.width, 4)
    return encode_rgb(pixels[:, :, :3], format=options.format, quality=options.quality)


def build_figure(chart: ChartData, options: ChartOptions) -> Figure:
    """The figure of a chart, one axes per panel (and one more for a second labelling), not drawn yet."""
    width, height = options.width, options.height
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor=_rgb(BACKGROUND))
    for label in header(chart, width):
        _add_text(figure, options, label)
    for panel, box in zip(chart.panels, boxes(chart, width, height), strict=True):
        _add_panel(figure, options, panel, box)
    return figure


def _add_panel(figure: Figure, options: ChartOptions, panel: Panel, box: Box) -> None:
    place = (
        box.left / options.width,
        1 - box.bottom / options.height,
        box.width / options.width,
        box.height / options.height,
    )
    axes = figure.add_axes(place, facecolor=_rgb(PLOT_BACKGROUND))
    axes.set_axisbelow(True)
    if panel.backdrop is not None:
        extent = (panel.x.low, panel.x.high, panel.y.low, panel.y.high)
        axes.imshow(panel.backdrop, extent=extent, origin="lower", aspect="auto", interpolation="nearest", zorder=0)
    for layer in panel.layers:
        _add_layer(axes, layer)
    axes.set_xlim(panel.x.low, panel.x.high)
    axes.set_ylim(panel.y.low, panel.y.high)
    _style_axes(axes, panel)
    for label in axis_labels(panel, box):
        if not label.is_tick:  # those are matplotlib's own
            _add_text(figure, options, label)
    if panel.y_right is not None:
        _add_right_scale(axes, panel.y_right)


def _add_layer(axes: Axes, layer: Bars | Steps | Trace | Marker) -> None:
    match layer:
        case Bars():
            axes.add_collection(_bars(layer), autolim=False)
        case Steps():
            edges = np.linspace(layer.left, layer.right, layer.heights.size + 1)
            axes.stairs(
                layer.heights, edges, color=_rgb(layer.colour), linewidth=POINTS_PER_PX, baseline=None, zorder=3
            )
        case Trace():
            extent = (layer.left, layer.right, layer.bottom, layer.top)
            pixels = np.dstack([ramp(layer.colour)[layer.levels], np.where(layer.levels, 255, 0).astype(np.uint8)])
            axes.imshow(
                pixels, extent=extent, origin="lower", aspect="auto", interpolation=_smoothing(axes, layer), zorder=3
            )
        case Marker():
            for marker, size in (("o", 12), ("+", 20)):
                axes.plot(
                    [layer.x],
                    [layer.y],
                    marker,
                    markersize=size * POINTS_PER_PX,
                    markerfacecolor="none",
                    markeredgecolor=_rgb(layer.colour),
                    markeredgewidth=POINTS_PER_PX,
                    path_effects=[withStroke(linewidth=3 * POINTS_PER_PX, foreground=_rgb(PLOT_BACKGROUND))],
                    zorder=4,
                )


def _smoothing(axes: Axes, trace: Trace) -> str:
    """Cells stay flat tiles where they are enlarged, and are averaged where several share a px."""
    area = axes.get_window_extent()
    rows, columns = trace.levels.shape
    return "hanning" if area.width < columns or area.height < rows else "nearest"


def _bars(bars: Bars) -> PolyCollection:
    edges = np.linspace(bars.left, bars.right, bars.top.size + 1)
    drawn = np.flatnonzero(bars.top > bars.bottom)
    left, right, low, high = edges[drawn], edges[drawn + 1], bars.bottom[drawn], bars.top[drawn]
    corners = np.stack([left, low, left, high, right, high, right, low], axis=1).reshape(-1, 4, 2)
    colours = [_rgb(bars.colours[k % len(bars.colours)]) for k in drawn]
    return PolyCollection(list(corners), facecolors=colours, edgecolors="none", antialiaseds=False, zorder=3)


def _style_axes(axes: Axes, panel: Panel) -> None:
    for spine in axes.spines.values():
        spine.set(color=_rgb(GRID_STRONG), linewidth=POINTS_PER_PX)
    axes.tick_params(length=0, pad=4, labelcolor=_rgb(TEXT_DIM))
    font = _font(LABEL_SIZE_PX)
    axes.set_xticks([tick.at for tick in panel.x.ticks], [tick.label for tick in panel.x.ticks], fontproperties=font)
    labels = [tick.label if panel.show_y else "" for tick in panel.y.ticks]
    axes.set_yticks([tick.at for tick in panel.y.ticks], labels, fontproperties=font)
    for axis, line in ((panel.x, axes.axvline), (panel.y, axes.axhline)):
        for tick in axis.ticks if axis.grid else ():
            colour = _rgb(GRID_STRONG if tick.strong else GRID)
            line(tick.at, color=colour, linewidth=POINTS_PER_PX, zorder=1 + tick.strong)


def _add_right_scale(axes: Axes, scale: Axis) -> None:
    right = axes.secondary_yaxis("right")
    right.set_yticks([tick.at for tick in scale.ticks], [tick.label for tick in scale.ticks])
    right.tick_params(length=0, pad=4, labelcolor=_rgb(TEXT_DIM))
    right.spines["right"].set(color=_rgb(GRID_STRONG), linewidth=POINTS_PER_PX)
    for label in right.get_yticklabels():
        label.set_fontproperties(_font(LABEL_SIZE_PX))


def _add_text(figure: Figure, options: ChartOptions, label: Label) -> None:
    figure.text(
        label.x / options.width,
        1 - label.y / options.height,
        drawable(label.text),
        color=_rgb(label.colour),
        fontproperties=_font(label.size),
        horizontalalignment="right" if label.upwards else label.anchor,
        verticalalignment="center" if label.upwards else "baseline",
        rotation=90 if label.upwards else 0,
        parse_math=False,
    )


def _font(size_px: int) -> FontProperties:
    return FontProperties(fname=font_path(), size=size_px * POINTS_PER_PX)


def _rgb(colour: Colour) -> tuple[float, float, float]:
    red, green, blue = colour
    return red / 255, green / 255, blue / 255
