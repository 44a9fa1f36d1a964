"""The heavy half of colour.py: HSV, mixing channels, and gray. See ``tetrahedral`` for 3D tables.

Imports numba: import this module inside functions only. Images are gray (M, N) or RGB (M, N, 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.kernel_compiler import compiled
from pipelines.operations.compiled_arithmetic import fused
from pipelines.operations.planes import (
    Limits,
    Plane,
    as_rgb,
    bands,
    change_by_bands,
    clipping,
    flat,
    put_together,
    take_apart,
)
from pipelines.operations.registry import Image

WEIGHT_UNIT = 30_000
"""Gray weights are whole multiples of 1 / WEIGHT_UNIT; 65,535 * WEIGHT_UNIT stays below 2**32."""

Factors = tuple[np.float32, np.float32]


def hue_saturation(image: Image, hue_degrees: float, saturation: float, value: float) -> Image:
    """HSV turned and scaled; RGB only. The result is rounded half up."""
    limits = clipping(image.dtype)
    factors = np.float32(saturation), np.float32(value)
    if hue_degrees:
        turn = np.float32(hue_degrees / 60)
        return change_by_bands(image, lambda red, green, blue, _: _turn(red, green, blue, turn, factors, limits))
    result = np.empty(image.shape, image.dtype)
    _saturate(flat(image), factors, limits, result.reshape(-1))
    if image.dtype.kind == "f":
        result[np.isnan(image).any(axis=2)] = np.nan
    return result


# The two kernels are free of branches and divide by a positive number even where the quotient isn't used: so they
# compile to vector instructions, and take a seventh of the time for uint8.


BLOCK_PIXELS = 2048
"""Pixels whose planes stay in the processor's first cache."""


@compiled(error_model="numpy")
def _saturate(pixels: NDArray[Any], factors: Factors, limits: Limits, result: NDArray[Any]) -> None:
    planes = np.empty((3, BLOCK_PIXELS), pixels.dtype)
    for start in range(0, pixels.size // 3, BLOCK_PIXELS):
        size = min(pixels.size // 3 - start, BLOCK_PIXELS)
        red, green, blue = planes[0, :size], planes[1, :size], planes[2, :size]
        take_apart(pixels[3 * start :], red, green, blue)
        _saturate_planes(red, green, blue, factors, limits)
        put_together(red, green, blue, result[3 * start :])


@compiled(error_model="numpy")
def _saturate_planes(red: Plane, green: Plane, blue: Plane, factors: Factors, limits: Limits) -> None:
    value, high = factors[1], limits[1]
    if value <= 1 or high == np.inf:  # no value is clipped
        for i in range(red.size):
            red[i], green[i], blue[i] = _saturated(red[i], green[i], blue[i], value, factors, limits)
    else:
        for i in range(red.size):
            top = np.float32(max(red[i], green[i], blue[i]))
            gain = min(value, high / max(top, np.float32(1e-30)))
            red[i], green[i], blue[i] = _saturated(red[i], green[i], blue[i], gain, factors, limits)


@compiled(inline="always")
def _saturated(
    red: Any, green: Any, blue: Any, gain: np.float32, factors: Factors, limits: Limits
) -> tuple[np.float32, np.float32, np.float32]:
    """The pixel with ``gain`` times its value; needs no lower limit, as no saturation exceeds 1."""
    one, tiny = np.float32(1), np.float32(1e-30)
    r, g, b = np.float32(red), np.float32(green), np.float32(blue)
    top = max(r, g, b)
    chroma_gain = -gain * min(factors[0], max(one, top / max(top - min(r, g, b), tiny)))
    top_new = fused(top, gain, limits[2])
    return (
        fused(top - r, chroma_gain, top_new),
        fused(top - g, chroma_gain, top_new),
        fused(top - b, chroma_gain, top_new),
    )


@compiled(error_model="numpy")
def _turn(red: Plane, green: Plane, blue: Plane, turn: np.float32, factors: Factors, limits: Limits) -> None:
    saturation, value = factors
    low, high, half = limits
    zero, one, two, four, six = np.float32(0), np.float32(1), np.float32(2), np.float32(4), np.float32(6)
    tiny, sixth = np.float32(1e-30), np.float32(1 / 6)
    for i in range(red.size):
        r, g, b = np.float32(red[i]), np.float32(green[i]), np.float32(blue[i])
        top = max(r, g, b)
        chroma = top - min(r, g, b)
        per_chroma = one / max(chroma, tiny)
        hue = four + (r - g) * per_chroma
        hue = two + (b - r) * per_chroma if g == top else hue
        hue = (g - b) * per_chroma if r == top else hue
        hue = hue + turn
        gain = min(value, high / max(top, tiny))
        chroma_new = chroma * gain * min(saturation, max(one, top * per_chroma))
        top_new = top * gain
        # c = V' - C' * clip(min(k, 4 - k), 0, 1), k = (n + H') mod 6 with n = 5, 3, 1 for red, green, blue
        k = hue + np.float32(5)
        k = k - six * np.floor(k * sixth)
        red[i] = max(low, top_new - chroma_new * max(zero, min(k, four - k, one))) + half
        k = hue + np.float32(3)
        k = k - six * np.floor(k * sixth)
        green[i] = max(low, top_new - chroma_new * max(zero, min(k, four - k, one))) + half
        k = hue + one
        k = k - six * np.floor(k * sixth)
        blue[i] = max(low, top_new - chroma_new * max(zero, min(k, four - k, one))) + half


def mix_channels(image: Image, matrix: NDArray[np.float64], offset: NDArray[np.float64]) -> Image:
    """matrix @ (R, G, B) + offset for every pixel, offset as a share of full scale; gives RGB, rounded half up."""
    limits = clipping(image.dtype)
    full = 1.0 if image.dtype.kind == "f" else float(limits[1])
    rows = np.column_stack([matrix, offset * full]).astype(np.float32)

    return change_by_bands(as_rgb(image), lambda red, green, blue, _: _mix(red, green, blue, rows, limits))


@compiled
def _mix(red: Plane, green: Plane, blue: Plane, rows: NDArray[np.float32], limits: Limits) -> None:
    low, high, half = limits
    for i in range(red.size):
        r, g, b = np.float32(red[i]), np.float32(green[i]), np.float32(blue[i])
        x = rows[0, 0] * r + rows[0, 1] * g + rows[0, 2] * b + rows[0, 3]
        y = rows[1, 0] * r + rows[1, 1] * g + rows[1, 2] * b + rows[1, 3]
        z = rows[2, 0] * r + rows[2, 1] * g + rows[2, 2] * b + rows[2, 3]
        red[i] = min(max(x, low), high) + half
        green[i] = min(max(y, low), high) + half
        blue[i] = min(max(z, low), high) + half


def weighted_sum(image: Image, weights: Sequence[float]) -> Image:
    """A gray image from an RGB one; integers exactly, with halves rounded up."""
    if image.dtype.kind == "f":
        return np.asarray(sum(image[..., i] * np.float32(weights[i]) for i in range(3)), image.dtype)
    gray = np.empty(image.shape[:2], image.dtype)
    wholes = tuple(np.uint32(round(weight * WEIGHT_UNIT)) for weight in weights)
    for rows, (red, green, blue) in bands(image):
        _weigh(red, green, blue, wholes, gray[rows].reshape(-1))
    return gray


@compiled
def _weigh(red: Plane, green: Plane, blue: Plane, weights: tuple[np.uint32, ...], gray: Plane) -> None:
    for i in range(gray.size):
        total = np.uint32(red[i]) * weights[0] + np.uint32(green[i]) * weights[1] + np.uint32(blue[i]) * weights[2]
        gray[i] = (total + np.uint32(WEIGHT_UNIT // 2)) // np.uint32(WEIGHT_UNIT)
