"""The inner loops of the scopes: luma, hue, saturation and CIELAB per pixel, and counting.

Imports numba: import this module inside functions only. Every array is one-dimensional and contiguous; the planes of
red, green and blue hold the pixels of whole rows. What is computed per pixel goes to small buffers, without branches,
so that it compiles to vector instructions; counting, which can't, is a loop of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.kernel_compiler import compiled
from pipelines.operations.compiled_arithmetic import fused
from pipelines.operations.lookup_kernels import look_up_floats

Plane = NDArray[Any]
Counts = NDArray[np.uint32]

FRACTION_BITS = 16
"""a* and b* are kept as whole multiples of 2 ** -16, so that sums don't depend on the order."""
NEUTRAL = 128 << FRACTION_BITS
"""a* or b* of 0 in these units; they start at -128."""
LAB_PIXELS = 1024
"""Pixels whose linear light, a* and b* stay in the processor's first cache."""
_KAPPA = np.float32(24389 / 27 / 116)
_EPSILON = np.float32(216 / 24389)


@compiled(error_model="numpy")
def luma_of_integers(red: Plane, green: Plane, blue: Plane, weights: tuple[float, float, float], luma: Plane) -> None:
    """``numpy.rint(r * red + g * green + b * blue)`` in float64, in the units of the planes."""
    for i in range(luma.size):
        luma[i] = np.rint(weights[0] * red[i] + weights[1] * green[i] + weights[2] * blue[i])


@compiled
def count_bins(bins: Plane, counts: Counts) -> None:
    """counts[bin] += 1 for every bin; they are unsigned and lie within ``counts``.

    Four walks at once: neighbours are often in the same bin, and the count of one then waits for that of the other.
    """
    length = bins.size // 4
    first, second = bins[:length], bins[length : 2 * length]
    third, fourth = bins[2 * length : 3 * length], bins[3 * length : 4 * length]
    for i in range(length):
        counts[first[i]] += 1
        counts[second[i]] += 1
        counts[third[i]] += 1
        counts[fourth[i]] += 1
    for i in range(4 * length, bins.size):
        counts[bins[i]] += 1


_ONE = np.float32(1)
"""A sample times this is float32 for uint8 and float64 for all else: the narrowest type that is exact below."""


@compiled(inline="always")
def _turn(r: np.float32, g: np.float32, b: np.float32, top: np.float32, chroma: np.float32) -> np.float32:
    """HSV hue in degrees, times the chroma; ``top`` is the largest of the three."""
    zero, third, two_thirds, whole = np.float32(0), np.float32(120), np.float32(240), np.float32(360)
    difference, from_red = r - g, two_thirds
    difference, from_red = (b - r, third) if g == top else (difference, from_red)
    red_turn = zero if g >= b else whole
    difference, from_red = (g - b, red_turn) if r == top else (difference, from_red)
    return from_red * chroma + np.float32(60) * difference


@compiled(error_model="numpy")
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


@compiled(error_model="numpy")
def count_hue_and_saturation(
    red: Plane, green: Plane, blue: Plane, achromatic: int, places: NDArray[np.uint32], counts: Counts
) -> None:
    """Count the pixels in the flat array [degree of hue, saturation], 256 saturations; ``places`` is written over.

    The degrees are those of ``hue_bins``, from 0; saturation: floor(256 * HSV saturation), at most 255, 0 where
    R = G = B = 0. One count for both is sooner done than two.
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
    count_bins(places, counts)


@compiled
def look_up(samples: Plane, table: NDArray[np.float32], values: NDArray[np.float32]) -> None:
    """values[i] = table[samples[i]] for unsigned samples."""
    for i in range(samples.size):
        values[i] = table[samples[i]]


_THIRD = np.float32(-1 / 3)
_GUESS = np.float32(0x54A1F000)
_SERIES = tuple(np.float32(c) for c in (0.145696655, 0.174476832, 0.2222168, 0.33332905, 1.0))
"""(1 - r) ** (-1/3) for abs(r) <= 0.1024, fitted at the Chebyshev points: 1e-7 off at most."""


@compiled(inline="always")
def _lightness_root(t: np.float32) -> np.float32:
    """f(t) of CIE 1976: cube root above (6/29)**3, a line below; the root within 5e-7 of its value.

    y guesses t ** (-1/3) from the bits of t, within 3.5 %; with r = 1 - t * y ** 3, what it lacks is the factor
    (1 - r) ** (-1/3), a short series. No division, and fewer instructions than Newton's iteration.
    """
    c4, c3, c2, c1, c0 = _SERIES
    bits = np.float32(np.float32(t).view(np.int32))
    y = np.int32(fused(bits, _THIRD, _GUESS)).view(np.float32)
    square = t * (y * y)
    r = fused(-square, y, np.float32(1))
    factor = fused(fused(fused(fused(c4, r, c3), r, c2), r, c1), r, c0)
    root: np.float32 = square * (factor * factor)
    line: np.float32 = fused(_KAPPA, t, np.float32(16 / 116))
    return root if t > _EPSILON else line


@compiled
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
    zero = np.float32(NEUTRAL)
    per_a, per_b = np.float32(500 << FRACTION_BITS), np.float32(200 << FRACTION_BITS)
    for i in range(a.size):
        r, g, bl = red[i], green[i], blue[i]
        x = _lightness_root(fused(m0, r, fused(m1, g, m2 * bl)))
        y = _lightness_root(fused(m3, r, fused(m4, g, m5 * bl)))
        z = _lightness_root(fused(m6, r, fused(m7, g, m8 * bl)))
        place_a = np.int32(fused(per_a, x - y, zero))
        place_b = np.int32(fused(per_b, y - z, zero))
        gray = (r == g) & (g == bl)
        gray_a = np.int32(NEUTRAL) if r == 0 else np.int32(NEUTRAL - 1)
        a[i] = gray_a if gray else place_a
        b[i] = np.int32(NEUTRAL) if gray else place_b


@compiled
def _count_places(
    a: NDArray[np.int32], b: NDArray[np.int32], places: NDArray[np.uint32], counts: Counts
) -> tuple[int, int]:
    """Count at most LAB_PIXELS pixels at [a, b], on the grid of whole numbers; returns the sums of a and b.

    The sums of the whole and of the broken parts of a and b fit in 32 bits.
    """
    fraction, row = np.int32((1 << FRACTION_BITS) - 1), np.int32(8)
    high_a, low_a, high_b, low_b = np.int32(0), np.int32(0), np.int32(0), np.int32(0)
    for i in range(a.size):
        whole_a, whole_b = a[i] >> np.int32(FRACTION_BITS), b[i] >> np.int32(FRACTION_BITS)
        high_a = np.int32(high_a + whole_a)
        high_b = np.int32(high_b + whole_b)
        low_a = np.int32(low_a + (a[i] & fraction))
        low_b = np.int32(low_b + (b[i] & fraction))
        places[i] = np.uint32((whole_a << row) + whole_b)
    count_bins(places[: a.size], counts)
    return (int(high_a) << FRACTION_BITS) + int(low_a), (int(high_b) << FRACTION_BITS) + int(low_b)


@compiled
def count_lab(red: Plane, green: Plane, blue: Plane, matrix: tuple[np.float32, ...], counts: Counts) -> tuple[int, int]:
    """Count the pixels at [a*, b*], on the grid of whole numbers from -128; returns the sums of a* and b*.

    The planes hold linear light, float32 in 0..1. Matrix and units: ``lab_of_linear``.
    """
    lab, places = np.empty((2, LAB_PIXELS), np.int32), np.empty(LAB_PIXELS, np.uint32)
    sum_a, sum_b = 0, 0
    for start in range(0, red.size, LAB_PIXELS):
        end = min(start + LAB_PIXELS, red.size)
        a, b = lab[0, : end - start], lab[1, : end - start]
        lab_of_linear(red[start:end], green[start:end], blue[start:end], matrix, a, b)
        more_a, more_b = _count_places(a, b, places, counts)
        sum_a += more_a
        sum_b += more_b
    return sum_a, sum_b


@compiled
def count_lab_of_bytes(
    red: NDArray[np.uint8],
    green: NDArray[np.uint8],
    blue: NDArray[np.uint8],
    table: NDArray[np.uint64],
    matrix: tuple[np.float32, ...],
    counts: Counts,
) -> tuple[int, int]:
    """``count_lab`` of bytes, whose number must be a multiple of 4.

    ``table``: ``floats_of_pairs`` of the linear light of each.
    """
    reds, greens, blues = red.view(np.uint32), green.view(np.uint32), blue.view(np.uint32)
    pairs, lab = np.empty((3, LAB_PIXELS // 2), np.uint64), np.empty((2, LAB_PIXELS), np.int32)
    light, places = pairs.view(np.float32), np.empty(LAB_PIXELS, np.uint32)
    sum_a, sum_b = 0, 0
    for start in range(0, reds.size, LAB_PIXELS // 4):
        fours = min(reds.size - start, LAB_PIXELS // 4)
        look_up_floats(reds[start : start + fours], table, pairs[0])
        look_up_floats(greens[start : start + fours], table, pairs[1])
        look_up_floats(blues[start : start + fours], table, pairs[2])
        a, b = lab[0, : 4 * fours], lab[1, : 4 * fours]
        lab_of_linear(light[0], light[1], light[2], matrix, a, b)
        more_a, more_b = _count_places(a, b, places, counts)
        sum_a += more_a
        sum_b += more_b
    return sum_a, sum_b


@compiled
def count_levels(
    red: NDArray[np.uint8],
    green: NDArray[np.uint8],
    blue: NDArray[np.uint8],
    luma: NDArray[np.uint8],
    places: NDArray[np.uint32],
    counts: Counts,
) -> None:
    """Count rows of pixels in the flat array [column, channel, level]: what belongs to a pixel lies near together.

    ``places``: for each pixel of a row, where its column begins, 1,024 apart or more. Places are unsigned and rows are
    arrays of their own, so that no index is taken for one that counts from the end. Samples are loaded by fours, as in
    ``lookup_kernels``.
    """
    fours = places.size // 4
    byte, green_row, blue_row, luma_row = np.uint32(255), np.uint64(256), np.uint64(512), np.uint64(768)
    for start in range(0, red.size, places.size):
        end = start + places.size
        reds, greens, blues, lumas = red[start:end], green[start:end], blue[start:end], luma[start:end]
        reds_of, greens_of = reds[: 4 * fours].view(np.uint32), greens[: 4 * fours].view(np.uint32)
        blues_of, lumas_of = blues[: 4 * fours].view(np.uint32), lumas[: 4 * fours].view(np.uint32)
        for four in range(fours):
            r, g, b, y = reds_of[four], greens_of[four], blues_of[four], lumas_of[four]
            for i in range(4):
                place = np.uint64(places[np.uint64(4) * np.uint64(four) + np.uint64(i)])
                shift = np.uint32(8 * i)
                counts[place + ((r >> shift) & byte)] += 1
                counts[place + green_row + ((g >> shift) & byte)] += 1
                counts[place + blue_row + ((b >> shift) & byte)] += 1
                counts[place + luma_row + ((y >> shift) & byte)] += 1
        for x in range(4 * fours, places.size):
            place = np.uint64(places[x])
            counts[place + reds[x]] += 1
            counts[place + green_row + greens[x]] += 1
            counts[place + blue_row + blues[x]] += 1
            counts[place + luma_row + lumas[x]] += 1
