"""The heavy half of tone.py: histograms, percentiles, CLAHE, and putting a new HSV value into a colour image.

Imports numba and OpenCV: import this module inside functions only. Arrays are gray (M, N) or RGB (M, N, 3).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.kernel_compiler import compiled
from pipelines.operations.planes import Plane, change_by_bands, clipping
from pipelines.operations.registry import Image, Shares, levels

BINS = 256


def level_counts(image: Image) -> NDArray[np.int64]:
    """How often each level occurs among all samples of an integer image: shape (levels,)."""
    samples = np.ravel(image).view()
    samples.flags.writeable = False  # one compiled kernel, whether the caller's array is writable or not
    counts = np.zeros(levels(image.dtype), np.int64)
    _count(samples, counts)
    return counts


@compiled
def _count(samples: Plane, counts: NDArray[np.int64]) -> None:
    for sample in samples:
        counts[sample] += 1


def percentiles(image: Image, percents: tuple[float, ...]) -> tuple[float, ...]:
    """Percentiles of all samples as a share of full scale (float: as they are; finite ones), method inverted_cdf.

    All are NaN if the image holds nothing finite.
    """
    if image.dtype.kind == "f":
        samples = image[np.isfinite(image)]
        if not samples.size:
            return (float("nan"),) * len(percents)
        return tuple(float(value) for value in np.percentile(samples, percents, method="inverted_cdf"))
    reached = level_counts(image).cumsum()
    wanted = np.maximum(np.array(percents) / 100 * reached[-1], 1)
    return tuple(float(level) / (reached.size - 1) for level in np.searchsorted(reached, wanted))


def value_of(image: Image) -> Image:
    """The HSV value, shape (M, N): the largest of R, G and B; a gray image is its own value."""
    if image.ndim == 2:
        return image
    return np.maximum(np.maximum(image[..., 0], image[..., 1]), image[..., 2])


def with_value(image: Image, value: Image) -> Image:
    """The image with a new HSV value of the same dtype; hue and saturation stay, black gets gray of that value."""
    if image.ndim == 2:
        return value
    _, _, half = clipping(image.dtype)

    def change(red: Plane, green: Plane, blue: Plane, rows: slice) -> None:
        _replace_value(red, green, blue, value[rows].ravel(), half)

    return change_by_bands(image, change)


@compiled(error_model="numpy")
def _replace_value(red: Plane, green: Plane, blue: Plane, value: Plane, half: np.float32) -> None:
    for i in range(red.size):
        r, g, b = np.float32(red[i]), np.float32(green[i]), np.float32(blue[i])
        new = np.float32(value[i])
        top = max(r, g, b)
        scale = new / top if top > 0 else np.float32(1)
        red[i] = new - (top - r) * scale + half
        green[i] = new - (top - g) * scale + half
        blue[i] = new - (top - b) * scale + half


def equalizing_table(value: Image) -> NDArray[Any]:
    """level -> rounded share of the pixels at or below it; the identity when only one level occurs."""
    counts = level_counts(value)
    top = counts.size - 1
    if np.count_nonzero(counts) == 1:
        return np.arange(top + 1, dtype=value.dtype)
    return np.asarray(np.rint(counts.cumsum() / counts.sum() * top), value.dtype)


def equalized_floats(value: Image, counted: Image) -> Image:
    """The same for float32: share of the finite ``counted`` up to the value, interpolated between 256 bins."""
    finite = counted[np.isfinite(counted)]
    if not finite.size or finite.min() == finite.max():
        return value
    counts, edges = np.histogram(finite, BINS)
    centres = (edges[:-1] + edges[1:]) / 2
    return np.asarray(np.interp(value, centres, counts.cumsum() / finite.size), value.dtype)


def clahe(value: Image, clip_limit: float, tiles: int, shares: Shares | None = None) -> Image:
    """Contrast limited adaptive histogram equalization of a gray image; see the operation for the maths."""
    full = 1.0 if value.dtype.kind == "f" else levels(value.dtype) - 1
    height, width = value.shape
    position = np.clip(value, 0, full) * np.float32((BINS - 1) / full)
    position = position.astype(np.float32, copy=False)
    down, across = min(tiles, height), min(tiles, width)
    tables = np.empty((down, across, BINS), np.float32)
    rows = np.linspace(0, height, down + 1).astype(np.int64)
    columns = np.linspace(0, width, across + 1).astype(np.int64)
    counted = position if shares is None else np.where(shares > 0, position, np.float32(np.nan))
    _tile_tables(counted, rows, columns, clip_limit, tables)
    low_row, row_weight = _between_centres(rows)
    low_column, column_weight = _between_centres(columns)
    share = np.empty(value.shape, np.float32)
    _blend(position, tables, low_row, row_weight, low_column, column_weight, share)
    if value.dtype.kind == "f":
        return share
    return np.asarray(np.rint(share * np.float32(full)), value.dtype)


def _between_centres(edges: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """For each pixel along an axis: the tile whose centre lies before it, and the weight of the next tile."""
    centres = (edges[:-1] + edges[1:] - 1) / 2
    place = np.interp(np.arange(edges[-1]), centres, np.arange(centres.size))
    low = np.minimum(place.astype(np.int64), max(centres.size - 2, 0))
    return low, (place - low).astype(np.float32)


@compiled
def _tile_tables(
    position: Plane, rows: NDArray[np.int64], columns: NDArray[np.int64], clip_limit: float, tables: NDArray[np.float32]
) -> None:
    """Fill tables[i, j, bin] with the share of tile (i, j) at or below the bin, after clipping."""
    for i in range(rows.size - 1):
        for j in range(columns.size - 1):
            counts = np.zeros(256, np.float64)
            total = 0
            for row in range(rows[i], rows[i + 1]):
                for column in range(columns[j], columns[j + 1]):
                    place = position[row, column]
                    if place >= 0:  # not NaN
                        counts[int(place + np.float32(0.5))] += 1
                        total += 1
            limit = max(clip_limit * total, total / 256)  # a limit below the mean can't be kept
            excess = 0.0
            for level in range(256):
                excess += max(counts[level] - limit, 0.0)
            reached = 0.0
            for level in range(256):
                reached += min(counts[level], limit) + excess / 256
                tables[i, j, level] = min(reached / total, 1.0) if total else level / 255


@compiled
def _blend(
    position: Plane,
    tables: NDArray[np.float32],
    low_row: NDArray[np.int64],
    row_weight: NDArray[np.float32],
    low_column: NDArray[np.int64],
    column_weight: NDArray[np.float32],
    share: NDArray[np.float32],
) -> None:
    one = np.float32(1)
    for row in range(position.shape[0]):
        above = tables[low_row[row]]
        below = tables[min(low_row[row] + 1, tables.shape[0] - 1)]
        down = row_weight[row]
        for column in range(position.shape[1]):
            place = position[row, column]
            if not place >= 0:
                share[row, column] = place
                continue
            level = min(int(place), 254)
            part = place - np.float32(level)
            left = low_column[column]
            right = min(left + 1, tables.shape[1] - 1)
            across = column_weight[column]
            low = (one - down) * ((one - across) * above[left, level] + across * above[right, level]) + down * (
                (one - across) * below[left, level] + across * below[right, level]
            )
            high = (one - down) * (
                (one - across) * above[left, level + 1] + across * above[right, level + 1]
            ) + down * ((one - across) * below[left, level + 1] + across * below[right, level + 1])
            share[row, column] = low + part * (high - low)
