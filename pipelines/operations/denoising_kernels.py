"""The inner loops of denoising.py: total variation, non-local means and wavelets, on float32 planes in stored units.

Imports numba: import this module inside functions only. Every sum runs in an order that depends on the pixel alone, so
tiles with their surroundings give exactly the pixels of the whole image.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.kernel_compiler import compiled
from pipelines.operations.row_kernels import add, add_product, add_squares

Plane = NDArray[np.float32]

PATCH = 2
"""Patches of non-local means reach two pixels to each side: 5 x 5."""
DISTANCE = 7
"""Pixels to each side in which non-local means looks for similar patches: 15 x 15."""
BLOCK_ROWS, BLOCK_COLUMNS = 32, 256
"""Pixels that non-local means works on together, so that its buffers stay in the processor's cache."""
SCALES = 3
"""Levels of the wavelet transform."""
HARD_LIMIT = 3
"""Wavelet coefficients below this many standard deviations of the noise become 0."""


@compiled
def total_variation(image: Plane, weight: np.float32, iterations: int) -> Plane:
    """Minimise half the squared difference to the image plus ``weight`` times the total variation (Chambolle 2004)."""
    rows, columns = image.shape
    across, down = np.zeros((rows, columns), np.float32), np.zeros((rows, columns), np.float32)
    here, below = np.zeros(columns, np.float32), np.zeros(columns, np.float32)
    for _ in range(iterations - 1):
        _smoothed_row(image, across, down, 0, here)
        for row in range(rows):
            if row + 1 < rows:
                _smoothed_row(image, across, down, row + 1, below)
            else:
                below[:] = here
            _update_row(here, below, across[row], down[row], weight)
            here, below = below, here
    result = np.empty((rows, columns), np.float32)
    for row in range(rows):
        _smoothed_row(image, across, down, row, result[row])
    return result


@compiled
def _smoothed_row(image: Plane, across: Plane, down: Plane, row: int, result: Plane) -> None:
    """The image plus the divergence of the dual field, in one row."""
    line, right, lower = image[row], across[row], down[row]
    upper = down[row - 1] if row > 0 else down[row]
    keep = np.float32(1) if row > 0 else np.float32(0)
    result[0] = line[0] - (right[0] + lower[0]) + keep * upper[0]
    for i in range(1, result.size):
        result[i] = line[i] - (right[i] + lower[i]) + keep * upper[i] + right[i - 1]


@compiled
def _update_row(here: Plane, below: Plane, across: Plane, down: Plane, weight: np.float32) -> None:
    step = np.float32(0.25)
    last = here.size - 1
    for i in range(last):
        gradient_x, gradient_y = here[i + 1] - here[i], below[i] - here[i]
        norm = np.float32(1) + step / weight * np.sqrt(gradient_x * gradient_x + gradient_y * gradient_y)
        across[i] = (across[i] - step * gradient_x) / norm
        down[i] = (down[i] - step * gradient_y) / norm
    gradient_y = below[last] - here[last]
    norm = np.float32(1) + step / weight * np.abs(gradient_y)
    across[last] = across[last] / norm
    down[last] = (down[last] - step * gradient_y) / norm


@compiled
def non_local_means(padded: Plane, variance: np.float32, width: np.float32, result: Plane) -> None:
    """Mean of the pixels around, weighted by exp(-max(d - 2 variance, 0) / width ** 2).

    d is the mean squared difference of the patches about both pixels over all channels; exponents beyond 5 count as
    weight 0. ``padded`` (channels, rows, columns) is larger than ``result`` by PATCH + DISTANCE on each side. The
    exponential is the power (1 - t / 64 + (t / 64) ** 2 / 2) ** 64, within 1e-4.
    """
    _, rows, columns = result.shape
    for top in range(0, rows, BLOCK_ROWS):
        for left in range(0, columns, BLOCK_COLUMNS):
            high, wide = min(BLOCK_ROWS, rows - top), min(BLOCK_COLUMNS, columns - left)
            _means_of_block(padded, variance, width, result[:, top : top + high, left : left + wide], top, left)


@compiled
def _means_of_block(padded: Plane, variance: np.float32, width: np.float32, result: Plane, top: int, left: int) -> None:
    channels, rows, columns = result.shape
    squares = np.empty((rows + 2 * PATCH, columns + 2 * PATCH), np.float32)
    line, near = np.empty(columns + 2 * PATCH, np.float32), np.empty(columns, np.float32)
    total, norm = np.zeros((channels, rows, columns), np.float32), np.zeros((rows, columns), np.float32)
    scale = np.float32(1 / (channels * (2 * PATCH + 1) ** 2))
    for dy in range(2 * DISTANCE + 1):
        for dx in range(2 * DISTANCE + 1):
            for row in range(rows + 2 * PATCH):
                squares[row] = 0
                for channel in range(channels):
                    start = left + DISTANCE
                    here = padded[channel, top + row + DISTANCE, start : start + squares.shape[1]]
                    there = padded[channel, top + row + dy, left + dx : left + dx + squares.shape[1]]
                    add_squares(here, there, squares[row])
            for row in range(rows):
                line[:] = 0
                for i in range(2 * PATCH + 1):
                    add(squares[row + i], line)
                _weights_of_row(line, scale, np.float32(2) * variance, np.float32(1) / (width * width), near)
                add(near, norm[row])
                for channel in range(channels):
                    start = left + dx + PATCH
                    there = padded[channel, top + row + dy + PATCH, start : start + columns]
                    add_product(there, near, total[channel, row])
    for channel in range(channels):
        for row in range(rows):
            for column in range(columns):
                result[channel, row, column] = total[channel, row, column] / norm[row, column]


@compiled
def _weights_of_row(sums: Plane, scale: np.float32, noise: np.float32, rate: np.float32, near: Plane) -> None:
    for i in range(near.size):
        distance = (sums[i] + sums[i + 1] + sums[i + 2] + sums[i + 3] + sums[i + 4]) * scale
        t = (distance - noise) * rate
        t = np.float32(0) if t < np.float32(0) else t
        keep = np.float32(0) if t > np.float32(5) else np.float32(1)
        t = (np.float32(5) if t > np.float32(5) else t) * np.float32(1 / 64)
        power = np.float32(1) - t + np.float32(0.5) * t * t
        power *= power
        power *= power
        power *= power
        power *= power
        power *= power
        power *= power
        near[i] = power * keep


@compiled
def wavelet(image: Plane, sigma: np.float32) -> Plane:
    """Undecimated Haar wavelets over SCALES levels, hard-thresholded (Coifman and Donoho 1995), and back.

    The last 2 ** SCALES - 1 rows and columns on each side of the result aren't valid: give a plane with that margin.
    """
    rows, columns = image.shape
    details = np.empty((SCALES, 3, rows, columns), np.float32)
    mean = image
    for scale in range(SCALES):
        # four samples are averaged, so the noise of a coefficient is half of the level before
        limit = np.float32(HARD_LIMIT) * sigma / np.float32(2 ** (scale + 1))
        coarse = np.zeros((rows, columns), np.float32)
        details[scale] = 0
        _split(mean, 2**scale, limit, coarse, details[scale])
        mean = coarse
    for scale in range(SCALES - 1, -1, -1):
        fine = np.zeros((rows, columns), np.float32)
        _merge(mean, details[scale], 2**scale, fine)
        mean = fine
    return mean


@compiled
def _split(image: Plane, step: int, limit: np.float32, mean: Plane, details: Plane) -> None:
    quarter = np.float32(0.25)
    for row in range(image.shape[0] - step):
        upper, lower = image[row], image[row + step]
        means, across, down, both = mean[row], details[0, row], details[1, row], details[2, row]
        for i in range(image.shape[1] - step):
            a, b, c, d = upper[i], upper[i + step], lower[i], lower[i + step]
            means[i] = ((a + b) + (c + d)) * quarter
            across[i] = _kept(((a - b) + (c - d)) * quarter, limit)
            down[i] = _kept(((a + b) - (c + d)) * quarter, limit)
            both[i] = _kept(((a - b) - (c - d)) * quarter, limit)


@compiled(inline="always")
def _kept(value: np.float32, limit: np.float32) -> np.float32:
    return np.float32(0) if abs(value) < limit else value


@compiled
def _merge(mean: Plane, details: Plane, step: int, result: Plane) -> None:
    """The mean of the four ways to get a sample back: from the squares of which it is one of the four corners."""
    quarter = np.float32(0.25)
    for row in range(step, mean.shape[0]):
        m0, m1 = mean[row], mean[row - step]
        x0, x1 = details[0, row], details[0, row - step]
        y0, y1 = details[1, row], details[1, row - step]
        z0, z1 = details[2, row], details[2, row - step]
        line = result[row]
        for i in range(step, mean.shape[1]):
            j = i - step
            upper = (m0[i] + x0[i] + y0[i] + z0[i]) + (m0[j] - x0[j] + y0[j] - z0[j])
            lower = (m1[i] + x1[i] - y1[i] - z1[i]) + (m1[j] - x1[j] - y1[j] + z1[j])
            line[i] = (upper + lower) * quarter
