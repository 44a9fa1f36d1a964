"""The inner loops of the scopes: luma, hue, saturation and CIELAB per pixel, and counting.

Imports numba: import this module inside functions only. Every array is one-dimensional and contiguous; the planes of
red, green and blue hold the pixels of whole rows. What is computed per pixel goes to small buffers, without branches,
so that it compiles to vector instructions; counting, which can't, is a loop of its own.
"""

# mypy: disable-error-code="untyped-decorator"
from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[Any]
Counts = NDArray[np.uint32]

FRACTION_BITS = 16
"""a* and b* are kept as whole multiples of 2 ** -16, so that sums don't depend on the order."""
NEUTRAL = 128 << FRACTION_BITS
"""a* or b* of 0 in these units; they start at -128."""
_KAPPA = np.float32(24389 / 27 / 116)
_EPSILON = np.float32(216 / 24389)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def luma_of_integers(red: Plane, green: Plane, blue: Plane, weights: tuple[float, float, float], luma: Plane) -> None:
    """``numpy.rint(r * red + g * green + b * blue)`` in float64, in the units of the planes."""
    for i in range(luma.size):
        luma[i] = np.rint(weights[0] * red[i] + weights[1] * green[i] + weights[2] * blue[i])


_ONE = np.float32(1)
"""A sample times this is float32 for uint8 and float64 for all else: the narrowest type that is exact below."""


@numba.njit(inline="always")
def _turn(r: np.float32, g: np.float32, b: np.float32, top: np.float32, chroma: np.float32) -> np.float32:
    """HSV hue in degrees, times the chroma; ``top`` is the largest of the three."""
    sixth, third, two_thirds, whole = np.float32(60), np.float32(120), np.float32(240), np.float32(360)
    turned = sixth * (r - g) + two_thirds * chroma
    turned = sixth * (b - r) + third * chroma if g == top else turned
    from_red = sixth * (g - b)
    from_red = from_red + whole * chroma if from_red < 0 else from_red
    return from_red if r == top else turned


@numba.njit(cache=True, nogil=True, error_model="numpy")
def hue_bins(
    red: Plane, green: Plane, blue: Plane, per_degree: float, offset: float, achromatic: int, hue: NDArray[np.uint16]
) -> None:
    """floor(HSV hue in degrees * per_degree + offset), at most ``achromatic - 1``; ``achromatic`` where R = G = B.

    The products of integer samples are exact, and a quotient that is a whole number comes out as one. For bytes,
    ``per_degree`` and ``offset`` of float32 give the same bins sooner.
    """
    for i in range(hue.size):
        r, g, b = red[i] * _ONE, green[i] * _ONE, blue[i] * _ONE
        top = max(r, g, b)
        chroma = top - min(r, g, b)
        turned = _turn(r, g, b, top, chroma)
        place = np.int32(turned * per_degree / (_ONE if chroma == 0 else chroma) + offset)
        place = min(place, np.int32(achromatic - 1))
        hue[i] = np.uint16(np.int32(achromatic) if chroma == 0 else place)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def count_hue_and_saturation(
    red: Plane, green: Plane, blue: Plane, achromatic: int, places: NDArray[np.uint32], counts: Counts
) -> None:
    """Count the pixels in the flat array [degree of hue, saturation], 256 saturations; ``places`` is written over.

    The degrees are those of ``hue_bins``, from 0; saturation: floor(256 * HSV saturation), at most 255, 0 where
    R = G = B = 0. One count for both is sooner done than two, and equal neighbours wait less for each other.
    """
    bins = np.float32(256)
    for i in range(places.size):
        r, g, b = red[i] * _ONE, green[i] * _ONE, blue[i] * _ONE
        top = max(r, g, b)
        chroma = top - min(r, g, b)
        turned = _turn(r, g, b, top, chroma)
        hue = min(np.int32(turned / (_ONE if chroma == 0 else chroma)), np.int32(achromatic - 1))
        hue = np.int32(achromatic) if chroma == 0 else hue
        saturation = min(np.int32(bins * chroma / (_ONE if top == 0 else top)), np.int32(255))
        places[i] = np.uint32((hue << np.int32(8)) + saturation)
    for i in range(places.size):
        counts[places[i]] += 1


@numba.njit(cache=True, nogil=True)
def look_up(samples: Plane, table: NDArray[np.float32], values: NDArray[np.float32]) -> None:
    """values[i] = table[samples[i]] for unsigned samples."""
    for i in range(values.size):
        values[i] = table[samples[i]]


_THIRD = np.float32(-1 / 3)
_GUESS = np.float32(0x54A1F000)
_SERIES = tuple(np.float32(c) for c in (0.145696655, 0.174476832, 0.2222168, 0.33332905, 1.0))
"""(1 - r) ** (-1/3) for abs(r) <= 0.1024, fitted at the Chebyshev points: 1e-7 off at most."""


@numba.njit(inline="always")
def _lightness_root(t: np.float32) -> np.float32:
    """f(t) of CIE 1976: cube root above (6/29)**3, a line below; the root within 5e-7 of its value.

    y guesses t ** (-1/3) from the bits of t, within 3.5 %; with r = 1 - t * y ** 3, what it lacks is the factor
    (1 - r) ** (-1/3), a short series. No division, and fewer instructions than Newton's iteration.
    """
    c4, c3, c2, c1, c0 = _SERIES
    bits = np.float32(np.float32(t).view(np.int32))
    y = np.int32(bits * _THIRD + _GUESS).view(np.float32)
    square = t * (y * y)
    r = np.float32(1) - square * y
    factor = (((c4 * r + c3) * r + c2) * r + c1) * r + c0
    return square * (factor * factor) if t > _EPSILON else _KAPPA * t + np.float32(16 / 116)


@numba.njit(cache=True, nogil=True)
def lab_of_linear(
    red: NDArray[np.float32],
    green: NDArray[np.float32],
    blue: NDArray[np.float32],
    matrix: tuple[np.float32, ...],
    a: NDArray[np.int32],
    b: NDArray[np.int32],
) -> None:
    """a* and b* of linear light in 0..1, as (value + 128) * 2 ** 16, rounded down.

    ``matrix``: linear RGB to XYZ divided by the white, row by row. Pixels with R = G = B are neutral but for the digits
    of the published matrix and white, which leave -0.0025 <= a* < 0 <= b* < 0.005 (0 for black): that is too little for
    float32, so their place is given.
    """
    m0, m1, m2, m3, m4, m5, m6, m7, m8 = matrix
    unit, shift = np.float32(1 << FRACTION_BITS), np.float32(128)
    for i in range(a.size):
        r, g, bl = red[i], green[i], blue[i]
        x = _lightness_root(m0 * r + m1 * g + m2 * bl)
        y = _lightness_root(m3 * r + m4 * g + m5 * bl)
        z = _lightness_root(m6 * r + m7 * g + m8 * bl)
        place_a = np.int32((np.float32(500) * (x - y) + shift) * unit)
        place_b = np.int32((np.float32(200) * (y - z) + shift) * unit)
        gray = (r == g) & (g == bl)
        gray_a = np.int32(NEUTRAL) if r == 0 else np.int32(NEUTRAL - 1)
        a[i] = gray_a if gray else place_a
        b[i] = np.int32(NEUTRAL) if gray else place_b


@numba.njit(cache=True, nogil=True)
def count_lab(a: NDArray[np.int32], b: NDArray[np.int32], counts: Counts) -> tuple[int, int]:
    """Count the pixels at [a, b], flat, on the grid of whole numbers; returns the sums of a and b."""
    sum_a, sum_b = np.int64(0), np.int64(0)
    places = np.empty(a.size, np.uint16)
    for i in range(a.size):
        sum_a += a[i]
        sum_b += b[i]
    for i in range(a.size):
        places[i] = np.uint16(((a[i] >> FRACTION_BITS) << 8) + (b[i] >> FRACTION_BITS))
    for i in range(a.size):
        counts[places[i]] += 1
    return int(sum_a), int(sum_b)


LAB_PIXELS = 1024
"""Pixels whose linear light, a* and b* stay in the processor's first cache."""


@numba.njit(cache=True, nogil=True)
def count_lab_of_integers(
    red: Plane, green: Plane, blue: Plane, table: NDArray[np.float32], matrix: tuple[np.float32, ...], counts: Counts
) -> tuple[int, int]:
    """``look_up``, ``lab_of_linear`` and ``count_lab`` in one walk; ``table``: linear light of each sample."""
    light = np.empty((3, LAB_PIXELS), np.float32)
    places = np.empty((2, LAB_PIXELS), np.int32)
    sum_a, sum_b = 0, 0
    for start in range(0, red.size, LAB_PIXELS):
        end = min(start + LAB_PIXELS, red.size)
        r, g, bl = light[0, : end - start], light[1, : end - start], light[2, : end - start]
        a, b = places[0, : end - start], places[1, : end - start]
        look_up(red[start:end], table, r)
        look_up(green[start:end], table, g)
        look_up(blue[start:end], table, bl)
        lab_of_linear(r, g, bl, matrix, a, b)
        more_a, more_b = count_lab(a, b, counts)
        sum_a += more_a
        sum_b += more_b
    return sum_a, sum_b


@numba.njit(cache=True, nogil=True)
def count_bins(bins: Plane, counts: Counts) -> None:
    """counts[bin] += 1 for every bin; they are unsigned and lie within ``counts``."""
    for i in range(bins.size):
        counts[bins[i]] += 1


@numba.njit(cache=True, nogil=True)
def count_levels(
    red: NDArray[np.uint8],
    green: NDArray[np.uint8],
    blue: NDArray[np.uint8],
    luma: NDArray[np.uint8],
    places: NDArray[np.uint32],
    counts: Counts,
) -> None:
    """Count rows of pixels in the flat array [column, channel, level]: what belongs to a pixel lies near together.

    ``places``: for each pixel of a row, where its column begins, 1,024 apart or more. Places are unsigned, so that none
    is checked for counting from the end.
    """
    for start in range(0, red.size, places.size):
        for x in range(places.size):
            i = start + x
            place = np.uint64(places[x])
            counts[place + red[i]] += 1
            counts[place + np.uint64(256) + green[i]] += 1
            counts[place + np.uint64(512) + blue[i]] += 1
            counts[place + np.uint64(768) + luma[i]] += 1
