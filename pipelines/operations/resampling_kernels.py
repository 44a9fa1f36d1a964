"""New samples from old ones: separable resampling, rotation, and premultiplied alpha around them.

Imports numba and OpenCV: import this module inside functions only. Computes in float32, stored units.
"""

# mypy: disable-error-code="untyped-decorator"
from __future__ import annotations

import math
from typing import Any, Literal

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from pipelines.operations.reduction import Span
from pipelines.operations.registry import Image
from pipelines.operations.samples import full_scale, stored

Kernel = Literal["lanczos", "area", "nearest"]
Values = NDArray[np.float32]
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
    for axis, (length, count, span) in enumerate(zip(image.shape, size, spans, strict=False)):
        whole = (0.0, float(length))
        if (length, whole) != (count, span):
            extent = whole if extents is None else extents[axis]
            values = _along_rows(values, *_weights(length, count, span, kernel, extent))
        values = np.asarray(cv2.transpose(values))
    return unpremultiplied(values, image)


def _nearest(length: int, count: int, span: Span) -> NDArray[np.int64]:
    places = np.floor(span[0] + (np.arange(count) + 0.5) * span[1] / count).astype(np.int64)
    return np.clip(places, 0, length - 1)


def _weights(length: int, count: int, span: Span, kernel: Kernel, extent: Span) -> tuple[NDArray[np.int64], Values]:
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


def _along_rows(values: Pixels, first: NDArray[np.int64], weights: Values) -> Values:
    source = np.ascontiguousarray(values).reshape(values.shape[0], -1).view()
    source.flags.writeable = False  # one compiled kernel, whether the caller's array is writable or not
    result = np.zeros((first.size, source.shape[1]), np.float32)
    _weigh_rows(source, first, weights, result)
    return result.reshape(first.size, *values.shape[1:])


@numba.njit(cache=True, nogil=True)
def _weigh_rows(source: Pixels, first: NDArray[np.int64], weights: Values, result: Values) -> None:
    for row in range(first.size):
        target = result[row]
        for tap in range(weights.shape[1]):
            if weights[row, tap] == 0:  # a NaN there counts for nothing
                continue
            _add_weighted(source[first[row] + tap], weights[row, tap], target)


@numba.njit(cache=True, nogil=True)
def _add_weighted(line: Pixels, weight: np.float32, target: Values) -> None:
    for i in range(target.size):
        target[i] += weight * np.float32(line[i])


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


@numba.njit(cache=True, nogil=True)
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


@numba.njit(cache=True, nogil=True, inline="always")
def _catmull_rom(part: np.float32, weights: Values) -> None:
    """Weights of the four samples around a place between the middle two (Keys 1981, a = -1/2)."""
    half, t = np.float32(0.5), part
    weights[0] = half * t * (t * (np.float32(2) - t) - np.float32(1))
    weights[1] = half * (t * t * (np.float32(3) * t - np.float32(5)) + np.float32(2))
    weights[2] = half * t * (t * (np.float32(4) - np.float32(3) * t) + np.float32(1))
    weights[3] = half * t * t * (t - np.float32(1))
