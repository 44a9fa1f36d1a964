"""New samples from old ones: separable resampling, rotation, and premultiplied alpha around them.

Imports numba and OpenCV: import this module inside functions only. Computes in float32, stored units.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.kernel_compiler import compiled
from pipelines.operations.compiled_arithmetic import LANES, no_lanes, plus_weighted, put_lanes
from pipelines.operations.reduction import Span
from pipelines.operations.registry import Image
from pipelines.operations.samples import full_scale, stored

Kernel = Literal["lanczos", "area", "nearest"]
Values = NDArray[np.float32]
Places = NDArray[np.int64]
Weights = tuple[Places, Values]
Four = tuple[Any, Any, Any, Any]
Pixels = NDArray[Any]
"""Shape (rows, columns, channels)."""

LOBES = 3
LEAST_ALPHA = 1e-4
"""Less alpha than this share of full scale is none: what was mixed leaves no colour to tell."""


def resample(
    image: Image,
    size: tuple[int, int],
    spans: tuple[Span, Span],
    kernel: Kernel,
    *,
    extents: tuple[Span, Span] | None = None,
) -> Image:
    """The part ``spans`` (of rows, of columns) of an image in ``size`` (rows, columns) pixels, alpha premultiplied.

    ``extents`` are the rows and columns that the picture covers, by default all. What lies outside is the encoder's
    padding: a pixel counts by the share of it that is picture (not for ``nearest``).
    """
    if kernel == "nearest":
        rows, columns = (_nearest(*pair) for pair in zip(image.shape, size, spans, strict=False))
        return np.ascontiguousarray(image[rows[:, None], columns[None, :]])
    values = premultiplied(image)
    axes = []
    for axis, (length, count, span) in enumerate(zip(image.shape, size, spans, strict=False)):
        whole = (0.0, float(length))
        extent = whole if extents is None else extents[axis]
        axes.append(
            _itself(length) if (length, whole) == (count, span) else _weights(length, count, span, kernel, extent)
        )
    source = np.ascontiguousarray(values).reshape(values.shape[0], -1).view()
    source.flags.writeable = False  # one compiled kernel, whether the caller's array is writable or not
    channels = source.shape[1] // image.shape[1]
    result = np.empty((-(-size[0] // LANES) * LANES, size[1] * channels), values.dtype)
    top = np.float32(0 if result.dtype.kind == "f" else full_scale(result.dtype))
    _resample(source, channels, *axes[0], *axes[1], top, result)
    resampled = result[: size[0]].reshape(*size, *image.shape[2:])
    return resampled if values is image else unpremultiplied(resampled, image)


def _nearest(length: int, count: int, span: Span) -> NDArray[np.int64]:
    places = np.floor(span[0] + (np.arange(count) + 0.5) * span[1] / count).astype(np.int64)
    return np.clip(places, 0, length - 1)


def _itself(length: int) -> Weights:
    """Every sample as it is."""
    return np.arange(length), np.ones((length, 1), np.float32)


@lru_cache(maxsize=16)
def _weights(length: int, count: int, span: Span, kernel: Kernel, extent: Span) -> Weights:
    """For each of ``count`` new samples: the first old sample that counts, and the weights from there on."""
    step = span[1] / count
    if kernel == "area" and step > 1:
        edges = span[0] + np.arange(count + 1) * step
        low, high = edges[:-1], edges[1:]
    else:
        reach = LOBES * max(step, 1.0)
        centre = span[0] + (np.arange(count) + 0.5) * step
        low, high = centre - reach, centre + reach
    first = np.clip(np.floor(low), 0, length - 1).astype(np.int64)
    taps = min(int(np.ceil(high - low).max()) + 1, length)
    first = np.minimum(first, length - taps)
    places = first[:, None] + np.arange(taps)
    if kernel == "area" and step > 1:
        weights = np.minimum(places + 1, high[:, None]) - np.maximum(places, low[:, None])
        weights = np.maximum(weights, 0)
    else:
        distance = (places + 0.5 - centre[:, None]) / max(step, 1.0)
        weights = np.where(np.abs(distance) < LOBES, np.sinc(distance) * np.sinc(distance / LOBES), 0)
    inside = np.minimum(places + 1, extent[0] + extent[1]) - np.maximum(places, extent[0])
    weights = weights * np.clip(inside, 0, 1)
    return first, (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


# Sums are made term by term in the order of the samples, whatever is computed side by side: the same on all processors.


@compiled
def _resample(
    source: Pixels,
    channels: int,
    first_rows: Places,
    row_weights: Values,
    first_columns: Places,
    column_weights: Values,
    top: np.float32,
    result: Pixels,
) -> None:
    """(rows, samples) to (new rows, new samples): down, then across; rounded and clipped to ``top`` unless it is 0.

    ``LANES`` new rows go together, and lie interleaved when they are added across: one weight serves all of them, and
    nothing leaves the cache between the two directions. The result's rows are a multiple of that, the last ones waste.
    """
    lines = np.zeros((LANES, source.shape[1]), np.float32)
    across = np.empty(LANES * source.shape[1], np.float32)
    sums = np.empty(LANES * result.shape[1], np.float32)
    nothing = np.zeros(source.shape[1], source.dtype)
    for band in range(0, result.shape[0], LANES):
        for row in range(min(LANES, first_rows.size - band)):
            _weigh_rows(source, first_rows[band + row], row_weights[band + row], nothing, lines[row])
        _interleave(lines, across)
        if channels == 3:
            _weigh_rgb(across, first_columns, column_weights, sums)
        else:
            _weigh_columns(across, channels, first_columns, column_weights, sums)
        _put(sums, top, result[band : band + LANES])


@compiled
def _weigh_rows(source: Pixels, first: int, weights: Values, nothing: Pixels, target: Values) -> None:
    """The weighted sum of some rows, four at a time; ``nothing``: a row of zeros."""
    start, stop = _weighing(weights)
    for tap in range(start, stop, 4):
        b, c, d = min(tap + 1, stop - 1), min(tap + 2, stop - 1), min(tap + 3, stop - 1)
        rows = (
            source[first + tap],
            source[first + b] if tap + 1 < stop else nothing,
            source[first + c] if tap + 2 < stop else nothing,
            source[first + d] if tap + 3 < stop else nothing,
        )
        _add_four(rows, (weights[tap], weights[b], weights[c], weights[d]), tap == start, target)


@compiled
def _weighing(weights: Values) -> tuple[int, int]:
    """Where the first weight is that isn't 0, and where the last one has been: a NaN outside counts for nothing."""
    start, stop = 0, weights.size
    while start < stop and weights[start] == 0:
        start += 1
    while stop > start and weights[stop - 1] == 0:
        stop -= 1
    return start, stop


@compiled
def _add_four(rows: Four, weights: Four, is_first: bool, target: Values) -> None:
    a, b, c, d = rows
    of_a, of_b, of_c, of_d = weights
    if is_first:
        for i in range(target.size):
            total = np.float32(0) + of_a * np.float32(a[i])
            total = total + of_b * np.float32(b[i])
            total = total + of_c * np.float32(c[i])
            target[i] = total + of_d * np.float32(d[i])
        return
    for i in range(target.size):
        total = target[i] + of_a * np.float32(a[i])
        total = total + of_b * np.float32(b[i])
        total = total + of_c * np.float32(c[i])
        target[i] = total + of_d * np.float32(d[i])


@compiled
def _interleave(lines: Values, across: Values) -> None:
    a, b, c, d, e, f, g, h = lines[0], lines[1], lines[2], lines[3], lines[4], lines[5], lines[6], lines[7]
    for i in range(across.size // LANES):
        at = i * LANES
        across[at], across[at + 1], across[at + 2], across[at + 3] = a[i], b[i], c[i], d[i]
        across[at + 4], across[at + 5], across[at + 6], across[at + 7] = e[i], f[i], g[i], h[i]


@compiled
def _weigh_columns(across: Values, channels: int, first: Places, weights: Values, sums: Values) -> None:
    step = channels * LANES
    for column in range(first.size):
        start, stop = _weighing(weights[column])
        for channel in range(channels):
            total = no_lanes()
            at = (first[column] + start) * step + channel * LANES
            for tap in range(start, stop):
                total = plus_weighted(total, weights[column, tap], across, at)
                at += step
            put_lanes(total, sums, column * step + channel * LANES)


@compiled
def _weigh_rgb(across: Values, first: Places, weights: Values, sums: Values) -> None:
    """As ``_weigh_columns``: three sums at a time don't wait for each other, in half of the time."""
    step = 3 * LANES
    for column in range(first.size):
        start, stop = _weighing(weights[column])
        red, green, blue = no_lanes(), no_lanes(), no_lanes()
        at = (first[column] + start) * step
        for tap in range(start, stop):
            weight = weights[column, tap]
            red = plus_weighted(red, weight, across, at)
            green = plus_weighted(green, weight, across, at + LANES)
            blue = plus_weighted(blue, weight, across, at + 2 * LANES)
            at += step
        put_lanes(red, sums, column * step)
        put_lanes(green, sums, column * step + LANES)
        put_lanes(blue, sums, column * step + 2 * LANES)


@compiled
def _put(sums: Values, top: np.float32, rows: Pixels) -> None:
    a, b, c, d, e, f, g, h = rows[0], rows[1], rows[2], rows[3], rows[4], rows[5], rows[6], rows[7]
    if top > 0:
        for i in range(a.size):
            at = i * LANES
            a[i], b[i] = _level(sums[at], top), _level(sums[at + 1], top)
            c[i], d[i] = _level(sums[at + 2], top), _level(sums[at + 3], top)
            e[i], f[i] = _level(sums[at + 4], top), _level(sums[at + 5], top)
            g[i], h[i] = _level(sums[at + 6], top), _level(sums[at + 7], top)
        return
    for i in range(a.size):
        at = i * LANES
        a[i], b[i], c[i], d[i] = sums[at], sums[at + 1], sums[at + 2], sums[at + 3]
        e[i], f[i], g[i], h[i] = sums[at + 4], sums[at + 5], sums[at + 6], sums[at + 7]


@compiled(inline="always")
def _level(value: np.float32, top: np.float32) -> np.int32:
    return np.int32(np.rint(max(np.float32(0), min(value, top))))


def premultiplied(image: Image) -> Pixels:
    """RGBA with colours times alpha, as float32 in stored units; an image without alpha is returned as it is."""
    if image.ndim == 2 or image.shape[2] == 3:
        return image
    alpha = image[..., 3:].astype(np.float32)
    values = np.where(alpha > 0, image, image.dtype.type(0)).astype(np.float32)  # what is invisible may be NaN
    values[..., :3] *= alpha * np.float32(1 / full_scale(image.dtype))
    values[..., 3:] = alpha
    return values


def unpremultiplied(values: Pixels, like: Image) -> Image:
    """Back to samples of the dtype of ``like``; alpha is clipped, and where it is 0 the colour is black.

    Colours are divided by alpha as it was mixed, overshoot and all: so one colour stays that colour. What overshoots
    beyond the colours that are there, near alpha's edges, is clipped to them.
    """
    if values.ndim == 3 and values.shape[2] == 4:
        top = np.float32(full_scale(like.dtype))
        mixed = values[..., 3:]
        defined = mixed > top * np.float32(LEAST_ALPHA)
        colours = np.divide(values[..., :3] * top, mixed, out=np.zeros_like(values[..., :3]), where=defined)
        partly = (mixed < top * np.float32(1 - LEAST_ALPHA)) & defined
        if partly.any():
            colours = np.where(partly, np.clip(colours, *_visible_range(like)), colours)
        values = np.concatenate([colours, np.where(defined, np.clip(mixed, 0, top), np.float32(0))], axis=-1)
    return stored(values, like.dtype)


def _visible_range(image: Image) -> tuple[Values, Values]:
    """The least and the largest finite sample of each colour among the visible pixels of an RGBA image."""
    colours = image[..., :3]
    counted = (image[..., 3:] > 0) & np.isfinite(colours)
    ends = (-np.inf, np.inf) if image.dtype.kind == "f" else (0, full_scale(image.dtype))
    low = np.min(colours, axis=(0, 1), where=counted, initial=ends[1])
    high = np.max(colours, axis=(0, 1), where=counted, initial=ends[0])
    return np.asarray(low, np.float32), np.asarray(high, np.float32)


def rotate(image: Image, degrees: float, size: tuple[int, int], fill: NDArray[np.float32]) -> Image:
    """The image turned counter-clockwise about its centre, in ``size`` (rows, columns) pixels; bicubic."""
    values = np.ascontiguousarray(premultiplied(image))
    pixels = values.reshape(*values.shape[:2], -1).view()
    pixels.flags.writeable = False
    outside = fill.copy()
    if outside.size == 4:
        outside[:3] *= outside[3] / np.float32(full_scale(image.dtype))
    result = np.empty((*size, pixels.shape[2]), np.float32)
    _rotate(pixels, math.cos(math.radians(degrees)), math.sin(math.radians(degrees)), outside, result)
    return unpremultiplied(result.reshape(*size, *values.shape[2:]), image)


@compiled
def _rotate(pixels: Pixels, cosine: float, sine: float, outside: Values, result: Values) -> None:
    rows, columns, channels = pixels.shape
    across, down = np.empty(4, np.float32), np.empty(4, np.float32)
    for row in range(result.shape[0]):
        y = row - (result.shape[0] - 1) / 2
        for column in range(result.shape[1]):
            x = column - (result.shape[1] - 1) / 2
            source_x = cosine * x - sine * y + (columns - 1) / 2
            source_y = sine * x + cosine * y + (rows - 1) / 2
            left, top = int(np.floor(source_x)), int(np.floor(source_y))
            _catmull_rom(np.float32(source_x - left), across)
            _catmull_rom(np.float32(source_y - top), down)
            inside = left >= 1 and top >= 1 and left + 2 < columns and top + 2 < rows
            for channel in range(channels):
                total = np.float32(0)
                for i in range(4):
                    line = np.float32(0)
                    for j in range(4):
                        place_y, place_x = top - 1 + i, left - 1 + j
                        if inside or (0 <= place_y < rows and 0 <= place_x < columns):
                            line += across[j] * np.float32(pixels[place_y, place_x, channel])
                        else:
                            line += across[j] * outside[channel]
                    total += down[i] * line
                result[row, column, channel] = total


@compiled(inline="always")
def _catmull_rom(part: np.float32, weights: Values) -> None:
    """Weights of the four samples around a place between the middle two (Keys 1981, a = -1/2)."""
    half, t = np.float32(0.5), part
    weights[0] = half * t * (t * (np.float32(2) - t) - np.float32(1))
    weights[1] = half * (t * t * (np.float32(3) * t - np.float32(5)) + np.float32(2))
    weights[2] = half * t * (t * (np.float32(4) - np.float32(3) * t) + np.float32(1))
    weights[3] = half * t * t * (t - np.float32(1))
