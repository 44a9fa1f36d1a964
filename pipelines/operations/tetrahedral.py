"""Tetrahedral interpolation in a 3D table of colours.

Kasson, Nin, Plouffe and Hafner, "Performing color space conversions with three-dimensional linear interpolation",
J. Electronic Imaging 4(3), 1995: a cell of the table is cut into six tetrahedra along its gray diagonal, and the four
corners of the one that holds the colour are weighted. Imports numba: import this module inside functions only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.kernel_compiler import compiled
from pipelines.operations.planes import Limits, Plane, as_rgb, change_by_bands, clipping
from pipelines.operations.registry import Image

STRIDE = np.int32(4)
"""Numbers per entry of the flat table: three, padded so that an entry lies within one cache line."""

Corners = NDArray[np.int32]
Weights = NDArray[np.float32]


def interpolate(image: Image, table: NDArray[np.float32], domain: tuple[Sequence[float], Sequence[float]]) -> Image:
    """Each pixel looked up in a table of shape (size, size, size, 3), indexed [blue, green, red]; gives RGB.

    ``domain`` holds the least and the largest input of each channel; a value outside counts as the nearer of them. The
    table's values are shares of full scale. Rounded half up; a pixel with a NaN becomes NaN.
    """
    limits = clipping(image.dtype)
    full = np.float32(1 if image.dtype.kind == "f" else limits[1])
    size = table.shape[0]
    least, most = np.array(domain[0]), np.array(domain[1])
    scale = (size - 1) / (most - least)
    to_place = np.array([scale / full, -least * scale], np.float32)
    entries = np.zeros((size**3, STRIDE), np.float32)
    entries[:, :3] = table.reshape(-1, 3) * full

    def change(red: Plane, green: Plane, blue: Plane, rows: slice) -> None:
        corners = np.empty((4, red.size), np.int32)
        weights = np.empty((4, red.size), np.float32)
        _find(red, green, blue, np.int32(size), to_place, corners, weights)
        _weigh(red, green, blue, entries.ravel(), corners, weights, limits)

    return change_by_bands(as_rgb(image), change)


# Two passes: the first is free of look-ups and compiles to vector instructions; in one pass nothing does, and it takes
# three times as long. Rows are indexed one by one, since unpacking an array in numba keeps the loop scalar as well.


@compiled(error_model="numpy")
def _find(
    red: Plane, green: Plane, blue: Plane, size: np.int32, to_place: Weights, corners: Corners, weights: Weights
) -> None:
    """For each pixel: where its tetrahedron's corners lie in the flat table, and their weights."""
    zero, one, last, last_cell = np.float32(0), np.float32(1), np.float32(size - 1), np.float32(size - 2)
    scale_x, scale_y, scale_z = to_place[0]
    shift_x, shift_y, shift_z = to_place[1]
    step_x, step_y, step_z = STRIDE, np.int32(STRIDE * size), np.int32(STRIDE * size * size)
    across = np.int32(step_x + step_y + step_z)
    first, second, third, fourth = corners[0], corners[1], corners[2], corners[3]
    weight_1, weight_2, weight_3, weight_4 = weights[0], weights[1], weights[2], weights[3]
    for i in range(red.size):
        x = np.float32(red[i]) * scale_x + shift_x
        y = np.float32(green[i]) * scale_y + shift_y
        z = np.float32(blue[i]) * scale_z + shift_z
        x = min(x, last) if x > 0 else zero  # also a NaN, which must not become an index
        y = min(y, last) if y > 0 else zero
        z = min(z, last) if z > 0 else zero
        cell_x, cell_y, cell_z = min(np.floor(x), last_cell), min(np.floor(y), last_cell), min(np.floor(z), last_cell)
        x, y, z = x - cell_x, y - cell_y, z - cell_z
        largest, middle, smallest = max(x, y, z), max(min(x, y), min(max(x, y), z)), min(x, y, z)
        # from the near corner along the axis of the largest fraction, and last along that of the smallest
        step_first = step_y if y >= z else step_z
        step_first = step_x if x >= max(y, z) else step_first
        step_last = step_y if y <= x else step_x
        step_last = step_z if z <= min(x, y) else step_last
        corner = np.int32(cell_x) * step_x + np.int32(cell_y) * step_y + np.int32(cell_z) * step_z
        first[i] = corner
        second[i] = corner + step_first
        third[i] = corner + across - step_last
        fourth[i] = corner + across
        weight_1[i] = one - largest
        weight_2[i] = largest - middle
        weight_3[i] = middle - smallest
        weight_4[i] = smallest


@compiled
def _weigh(
    red: Plane, green: Plane, blue: Plane, entries: Weights, corners: Corners, weights: Weights, limits: Limits
) -> None:
    low, high, half = limits
    first, second, third, fourth = corners[0], corners[1], corners[2], corners[3]
    weight_1, weight_2, weight_3, weight_4 = weights[0], weights[1], weights[2], weights[3]
    green_of, blue_of = np.uint32(1), np.uint32(2)
    for i in range(red.size):
        p, q, s, t = np.uint32(first[i]), np.uint32(second[i]), np.uint32(third[i]), np.uint32(fourth[i])
        a, b, c, d = weight_1[i], weight_2[i], weight_3[i], weight_4[i]
        x = a * entries[p] + b * entries[q] + c * entries[s] + d * entries[t]
        y = (
            a * entries[p + green_of]
            + b * entries[q + green_of]
            + c * entries[s + green_of]
            + d * entries[t + green_of]
        )
        z = a * entries[p + blue_of] + b * entries[q + blue_of] + c * entries[s + blue_of] + d * entries[t + blue_of]
        red[i] = min(max(x, low), high) + half
        green[i] = min(max(y, low), high) + half
        blue[i] = min(max(z, low), high) + half
