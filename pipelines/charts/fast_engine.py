"""The fast engine: draws a chart straight into palette indices; 1 to 3 ms for a chart, SVG included.

Covers PNG and JPEG; SVG is written by ``svg_writer``. A canvas holds one byte per px, an index into at most 256
colours, so that drawing and compressing touch a third of the bytes of truecolour.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.charts.data import (
    BACKGROUND,
    GRID,
    GRID_STRONG,
    PLOT_BACKGROUND,
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
from pipelines.charts.encode import encode_palette
from pipelines.charts.layout import Box, Label, axis_labels, boxes, header
from pipelines.charts.options import ChartOptions
from pipelines.charts.svg_writer import write_svg
from pipelines.charts.text import text_mask

TEXT_SHADES = 8


def draw(chart: ChartData, options: ChartOptions) -> bytes:
    """Draw a chart as the bytes of a file of ``options.format``."""
    if options.format == "svg":
        return write_svg(chart, options)
    canvas = paint(chart, options)
    return encode_palette(canvas.pixels, canvas.palette(), format=options.format, quality=options.quality)


def paint(chart: ChartData, options: ChartOptions) -> Canvas:
    """Draw a chart without encoding it."""
    canvas = Canvas(options.width, options.height)
    for panel, box in zip(chart.panels, boxes(chart, options.width, options.height), strict=True):
        _paint_panel(canvas, panel, box)
    for label in header(chart, options.width):
        canvas.text(label)
    return canvas


class Canvas:
    """Palette indices of a picture, and the palette, which grows as colours are used."""

    def __init__(self, width: int, height: int) -> None:
        self.pixels: NDArray[np.uint8] = np.zeros((height, width), np.uint8)
        self._colours: list[Colour] = [BACKGROUND]
        self._index: dict[Colour, int] = {BACKGROUND: 0}
        self._shades: dict[Colour, NDArray[np.uint8]] = {}

    def palette(self) -> NDArray[np.uint8]:
        """The colours by index, shape (n, 3)."""
        return np.array(self._colours, np.uint8)

    def index(self, colour: Colour) -> int:
        """The index of a colour; the nearest one in use when 256 are taken."""
        known = self._index.get(colour)
        if known is None:
            if len(self._colours) < 256:
                self._colours.append(colour)
                known = len(self._colours) - 1
            else:
                known = int(np.abs(self.palette().astype(int) - colour).sum(axis=1).argmin())
            self._index[colour] = known
        return known

    def indices(self, colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The indices of colours of shape (..., 3)."""
        flat = [self.index((red, green, blue)) for red, green, blue in colours.reshape(-1, 3).tolist()]
        return np.array(flat, np.uint8).reshape(colours.shape[:-1])

    def view(self, box: Box) -> NDArray[np.uint8]:
        """The pixels inside a box, to be written to."""
        return self.pixels[box.top : box.bottom, box.left : box.right]

    def text(self, label: Label) -> None:
        """Write a label on the background."""
        mask, ascent = text_mask(label.text, label.size)
        if label.upwards:
            turned = np.rot90(mask)
            self._blend(turned, round(label.x) - ascent, round(label.y - turned.shape[0] / 2), label.colour)
            return
        left = round(label.x - {"left": 0.0, "center": mask.shape[1] / 2, "right": mask.shape[1]}[label.anchor])
        self._blend(mask, left, round(label.y) - ascent, label.colour)

    def _blend(self, mask: NDArray[np.uint8], left: int, top: int, colour: Colour) -> None:
        skip_left, skip_top = max(-left, 0), max(-top, 0)
        target = self.pixels[top + skip_top : top + mask.shape[0], left + skip_left : left + mask.shape[1]]
        seen = mask[skip_top : skip_top + target.shape[0], skip_left : skip_left + target.shape[1]]
        shades = self._text_shades(colour)[seen]
        np.copyto(target, shades, where=shades > 0)

    def _text_shades(self, colour: Colour) -> NDArray[np.uint8]:
        """Coverage 0 to 255 -> palette index; 0, the background, where nothing is to be drawn."""
        if colour not in self._shades:
            steps = np.linspace(0, 1, TEXT_SHADES)[:, None]
            colours = np.rint(np.array(BACKGROUND) * (1 - steps) + np.array(colour) * steps).astype(np.uint8)
            nearest = np.rint(np.arange(256) * ((TEXT_SHADES - 1) / 255)).astype(int)
            self._shades[colour] = self.indices(colours)[nearest]
        return self._shades[colour]


def _paint_panel(canvas: Canvas, panel: Panel, box: Box) -> None:
    area = canvas.view(box)
    area[:] = canvas.index(PLOT_BACKGROUND)
    if panel.backdrop is not None:
        tiles = canvas.indices(panel.backdrop[::-1])
        area[:] = cv2.resize(tiles, (box.width, box.height), interpolation=cv2.INTER_NEAREST_EXACT)
    _paint_graticule(canvas, panel, box)
    for layer in panel.layers:
        match layer:
            case Bars():
                _paint_bars(canvas, layer, panel, box)
            case Steps():
                _paint_steps(canvas, layer, panel, box)
            case Trace():
                _paint_trace(canvas, layer, panel, box)
            case Marker():
                _paint_marker(canvas, layer, panel, box)
    cv2.rectangle(canvas.pixels, (box.left - 1, box.top - 1), (box.right, box.bottom), canvas.index(GRID_STRONG))
    for label in axis_labels(panel, box):
        canvas.text(label)


def _paint_graticule(canvas: Canvas, panel: Panel, box: Box) -> None:
    area = canvas.view(box)
    for strong in (False, True):
        colour = canvas.index(GRID_STRONG if strong else GRID)
        if panel.y.grid:
            for tick in (tick for tick in panel.y.ticks if tick.strong == strong):
                area[min(max(int(box.y_px(panel.y, tick.at)) - box.top, 0), box.height - 1)] = colour
        if panel.x.grid:
            for tick in (tick for tick in panel.x.ticks if tick.strong == strong):
                area[:, min(max(int(box.x_px(panel.x, tick.at)) - box.left, 0), box.width - 1)] = colour


def _paint_bars(canvas: Canvas, bars: Bars, panel: Panel, box: Box) -> None:
    """A px belongs to the bar in which its centre lies."""
    if not np.any(bars.top > bars.bottom):
        return
    count = bars.top.size
    x = panel.x.low + (np.arange(box.width) + 0.5) / box.width * (panel.x.high - panel.x.low)
    bar = np.floor((x - bars.left) / (bars.right - bars.left) * count).astype(int)
    inside = (bar >= 0) & (bar < count)
    bar = np.clip(bar, 0, count - 1)
    first = _first_row(bars.top, panel.y, box)[bar]
    beyond = np.where(inside, _first_row(bars.bottom, panel.y, box)[bar], 0)
    drawn = first < beyond
    if not drawn.any():
        return
    start, stop = int(first[drawn].min()), int(beyond[drawn].max())
    rows = np.arange(start, stop, dtype=np.int16)[:, None]
    where = (rows >= first.astype(np.int16)) & (rows < beyond.astype(np.int16))
    indices = np.array([canvas.index(colour) for colour in bars.colours], np.uint8)
    np.copyto(canvas.view(box)[start:stop], indices[bar % indices.size][None, :], where=where)


def _first_row(heights: NDArray[np.float64], axis: Axis, box: Box) -> NDArray[np.int64]:
    """The first px row of the box whose centre lies below each height."""
    rows = np.ceil((axis.high - heights) / (axis.high - axis.low) * box.height - 0.5)
    return np.clip(rows, 0, box.height).astype(np.int64)


def _paint_steps(canvas: Canvas, steps: Steps, panel: Panel, box: Box) -> None:
    edges = np.linspace(steps.left, steps.right, steps.heights.size + 1)
    x = np.array([box.x_px(panel.x, edge) for edge in edges])
    y = np.minimum(box.top + _first_row(steps.heights, panel.y, box), box.bottom - 1)
    points = np.stack([np.stack([x[:-1], x[1:]], axis=1).ravel(), np.repeat(y, 2)], axis=1)
    points[:, 0] = np.minimum(points[:, 0], box.right - 1)
    cv2.polylines(canvas.pixels, [np.rint(points).astype(np.int32)], False, canvas.index(steps.colour))


def _paint_trace(canvas: Canvas, trace: Trace, panel: Panel, box: Box) -> None:
    left, right = (round(box.x_px(panel.x, edge)) for edge in (trace.left, trace.right))
    top, bottom = (round(box.y_px(panel.y, edge)) for edge in (trace.top, trace.bottom))
    levels = np.ascontiguousarray(trace.levels[::-1])
    rows, columns = levels.shape
    size = (right - left, bottom - top)
    smaller = (min(size[0], columns), min(size[1], rows))
    levels = cv2.resize(levels, smaller, interpolation=cv2.INTER_AREA)  # mean of the cells that share a px
    levels = cv2.resize(levels, size, interpolation=cv2.INTER_NEAREST_EXACT)
    colours = canvas.indices(ramp(trace.colour))
    np.copyto(canvas.pixels[top:bottom, left:right], colours[levels], where=levels > 0)


def _paint_marker(canvas: Canvas, marker: Marker, panel: Panel, box: Box) -> None:
    x, y = round(box.x_px(panel.x, marker.x)), round(box.y_px(panel.y, marker.y))
    area = canvas.view(box)
    centre = (x - box.left, y - box.top)
    for colour, thickness in ((PLOT_BACKGROUND, 3), (marker.colour, 1)):
        index = canvas.index(colour)
        cv2.circle(area, centre, 6, index, thickness)
        cv2.drawMarker(area, centre, index, cv2.MARKER_CROSS, 21, thickness)
