"""A chart as SVG text: bars, lines and labels as vectors, traces and backdrops as embedded PNG pictures.

Uses the layout of the fast engine. Needs no scripts, styles or files from outside; text stays text, so that viewers
with more fonts than ours show names that a PNG can't.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from html import escape

import numpy as np
from numpy.typing import NDArray

from pipelines.charts.data import (
    BACKGROUND,
    GRID,
    GRID_STRONG,
    PLOT_BACKGROUND,
    Bars,
    ChartData,
    Colour,
    Layer,
    Marker,
    Panel,
    Steps,
    Trace,
    ramp,
)
from pipelines.charts.encode import encode_palette, encode_rgb
from pipelines.charts.layout import LABEL_SIZE_PX, Box, Label, axis_labels, boxes, header
from pipelines.charts.options import ChartOptions


def write_svg(chart: ChartData, options: ChartOptions) -> bytes:
    """Write a chart as an SVG 1.1 document in UTF-8."""
    width, height = options.width, options.height
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'xml:space="preserve" font-family="DejaVu Sans, sans-serif" font-size="{LABEL_SIZE_PX}">',
        f"<title>{escape(f'{chart.name}: {chart.title}', quote=False)}</title>",
        _rectangle(0, 0, width, height, BACKGROUND),
        *map(_text, header(chart, width)),
    ]
    for number, (panel, box) in enumerate(zip(chart.panels, boxes(chart, width, height), strict=True)):
        lines += _panel(panel, box, f"plot{number}")
    return ("\n".join([*lines, "</svg>"]) + "\n").encode()


def _panel(panel: Panel, box: Box, clip: str) -> Iterator[str]:
    yield _rectangle(box.left, box.top, box.width, box.height, PLOT_BACKGROUND)
    if panel.backdrop is not None:
        yield _image(encode_rgb(panel.backdrop[::-1]), box.left, box.top, box.width, box.height)
    yield from _graticule(panel, box)
    shape = f'<rect x="{box.left}" y="{box.top}" width="{box.width}" height="{box.height}"/>'
    yield f'<clipPath id="{clip}">{shape}</clipPath><g clip-path="url(#{clip})">'
    for layer in panel.layers:
        yield from _layer(layer, panel, box)
    frame = f'x="{box.left - 0.5}" y="{box.top - 0.5}" width="{box.width + 1}" height="{box.height + 1}"'
    yield f'</g><rect {frame} fill="none" stroke="{_hex(GRID_STRONG)}"/>'
    yield from map(_text, axis_labels(panel, box))


def _graticule(panel: Panel, box: Box) -> Iterator[str]:
    for strong in (False, True):
        path = ""
        if panel.y.grid:
            ys = (box.y_px(panel.y, tick.at) for tick in panel.y.ticks if tick.strong == strong)
            path += "".join(f"M{box.left} {_number(y)}H{box.right}" for y in ys)
        if panel.x.grid:
            xs = (box.x_px(panel.x, tick.at) for tick in panel.x.ticks if tick.strong == strong)
            path += "".join(f"M{_number(x)} {box.top}V{box.bottom}" for x in xs)
        if path:
            yield f'<path d="{path}" stroke="{_hex(GRID_STRONG if strong else GRID)}"/>'


def _layer(layer: Layer, panel: Panel, box: Box) -> Iterator[str]:
    match layer:
        case Bars():
            yield from _bars(layer, panel, box)
        case Steps():
            x = [_number(box.x_px(panel.x, edge)) for edge in _edges(layer)]
            y = [_number(box.y_px(panel.y, height)) for height in layer.heights.tolist()]
            path = f"M{x[0]} {y[0]}" + "".join(f"V{y[k]}H{x[k + 1]}" for k in range(len(y)))
            yield f'<path d="{path}" fill="none" stroke="{_hex(layer.colour)}"/>'
        case Trace():
            left, top = box.x_px(panel.x, layer.left), box.y_px(panel.y, layer.top)
            width, height = box.x_px(panel.x, layer.right) - left, box.y_px(panel.y, layer.bottom) - top
            picture = encode_palette(layer.levels[::-1], ramp(layer.colour), transparent_first=True)
            yield _image(picture, left, top, width, height)
        case Marker():
            x_px, y_px = box.x_px(panel.x, layer.x), box.y_px(panel.y, layer.y)
            cross = f'<path d="M{_number(x_px - 10)} {_number(y_px)}h20m-10 -10v20"/>'
            ring = f'<circle cx="{_number(x_px)}" cy="{_number(y_px)}" r="6"/>'
            for colour, width in ((PLOT_BACKGROUND, 3), (layer.colour, 1)):
                yield f'<g fill="none" stroke="{_hex(colour)}" stroke-width="{width}">{cross}{ring}</g>'


def _bars(bars: Bars, panel: Panel, box: Box) -> Iterator[str]:
    """One path per colour, of the bars that have it."""
    paths: dict[Colour, list[str]] = {}
    x = [_number(box.x_px(panel.x, edge)) for edge in _edges(bars)]
    for k, (bottom, top) in enumerate(zip(bars.bottom.tolist(), bars.top.tolist(), strict=True)):
        if top > bottom:
            low, high = _number(box.y_px(panel.y, bottom)), _number(box.y_px(panel.y, top))
            paths.setdefault(bars.colours[k % len(bars.colours)], []).append(f"M{x[k]} {low}V{high}H{x[k + 1]}V{low}z")
    for colour, path in paths.items():
        yield f'<path d="{"".join(path)}" fill="{_hex(colour)}" shape-rendering="crispEdges"/>'


def _text(label: Label) -> str:
    where = f'x="{_number(label.x)}" y="{_number(label.y)}"'
    if label.upwards:
        where = f'transform="translate({_number(label.x)} {_number(label.y)}) rotate(-90)"'
    anchor = {"left": "start", "center": "middle", "right": "end"}[label.anchor]
    extra = "" if label.size == LABEL_SIZE_PX else f' font-size="{label.size}"'
    text = escape(label.text, quote=False)
    return f'<text {where} text-anchor="{anchor}" fill="{_hex(label.colour)}"{extra}>{text}</text>'


def _rectangle(left: float, top: float, width: float, height: float, colour: Colour) -> str:
    return f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="{_hex(colour)}"/>'


def _image(png: bytes, left: float, top: float, width: float, height: float) -> str:
    where = f'x="{_number(left)}" y="{_number(top)}" width="{_number(width)}" height="{_number(height)}"'
    source = base64.b64encode(png).decode("ascii")
    return (
        f'<image {where} preserveAspectRatio="none" style="image-rendering:pixelated" '
        f'xlink:href="data:image/png;base64,{source}"/>'
    )


def _edges(layer: Bars | Steps) -> NDArray[np.float64]:
    count = layer.top.size if isinstance(layer, Bars) else layer.heights.size
    return np.linspace(layer.left, layer.right, count + 1)


def _hex(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
