"""The heavy half of colour.py: HSV, mixing channels, and gray. See ``tetrahedral`` for 3D tables.

Imports numba: import this module inside functions only. Images are gray (M, N) or RGB (M, N, 3).
"""

# mypy: disable-error-code="untyped-decorator"
from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np
from numpy.typing import NDArray

from pipelines.operations.planes import Limits, Plane, as_rgb, bands, change_by_bands, clipping
from pipelines.operations.registry import Image

WEIGHT_UNIT = 30_000
"""Gray weights are whole multiples of 1 / WEIGHT_UNIT; 65,535 * WEIGHT_UNIT stays below 2**32."""

Factors = tuple[np.float32, np.float32]


def hue_saturation(image: Image, hue_degrees: float, saturation: float, value: float) -> Image:
    """HSV turned and scaled; RGB only. The result is rounded half up."""
    limits = clipping(image.dtype)
    factors = np.float32(saturation), np.float32(value)
    turn = np.float32(hue_degrees / 60)

    def change(red: Plane, green: Plane, blue: Plane, rows: slice) -> None:
        if hue_degrees:
            _turn(red.ravel(), green.ravel(), blue.ravel(), turn, factors, limits)
        else:
            _saturate(red.ravel(), green.ravel(), blue.ravel(), factors, limits)

    return change_by_bands(image, change)


# The two kernels are free of branches and divide by a positive number even where the quotient isn't used: so they
# compile to vector instructions, 4 ms instead of 30 ms for 2.4 megapixels of uint8.


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _saturate(red: Plane, green: Plane, blue: Plane, factors: Factors, limits: Limits) -> None:
    saturation, value = factors
    low, high, half = limits
    one, tiny = np.float32(1), np.float32(1e-30)
    for i in range(red.size):
        r, g, b = np.float32(red[i]), np.float32(green[i]), np.float32(blue[i])
        top = max(r, g, b)
        gain = min(value, high / max(top, tiny))
        chroma_gain = gain * min(saturation, max(one, top / max(top - min(r, g, b), tiny)))
        top_new = top * gain
        red[i] = max(low, top_new - (top - r) * chroma_gain) + half
        green[i] = max(low, top_new - (top - g) * chroma_gain) + half
        blue[i] = max(low, top_new - (top - b) * chroma_gain) + half


@numba.njit(cache=True, nogil=True, error_model="numpy")
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

    def change(red: Plane, green: Plane, blue: Plane, band: slice) -> None:
        _mix(red.ravel(), green.ravel(), blue.ravel(), rows, limits)

    return change_by_bands(as_rgb(image), change)


@numba.njit(cache=True, nogil=True)
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
        _weigh(red.ravel(), green.ravel(), blue.ravel(), wholes, gray[rows].reshape(-1))
    return gray


@numba.njit(cache=True, nogil=True)
def _weigh(red: Plane, green: Plane, blue: Plane, weights: tuple[np.uint32, ...], gray: Plane) -> None:
    for i in range(gray.size):
        total = np.uint32(red[i]) * weights[0] + np.uint32(green[i]) * weights[1] + np.uint32(blue[i]) * weights[2]
        gray[i] = (total + np.uint32(WEIGHT_UNIT // 2)) // np.uint32(WEIGHT_UNIT)
