"""Thresholds that an image's own values suggest: Otsu's and Li's, for operations and analyses alike.

Values are those of a gray image in stored units; NaN isn't counted. OpenCV isn't needed; numba is, for integer images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.operations.registry import Image

FLOAT_BINS = 256
MAX_STEPS = 1000
SAME = 1e-5
"""Differences from a local mean up to this share of full scale count as none: they are the blur's rounding."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """How often each value occurs, in rising order."""

    values: NDArray[Any]
    """Float64 values, rising; at least one."""
    counts: NDArray[Any]
    """Float64 counts of the same length."""


def otsu(gray: Image) -> float:
    """The value between two classes that differ most: pixels above it are the foreground (Otsu 1979).

    As ``skimage.filters.threshold_otsu``: equal for integers, with 256 bins over the range for float32. The value
    itself if there is only one; NaN for an image of nothing but NaN.
    """
    found = _distribution(gray, FLOAT_BINS)
    if found is None:
        return float("nan")
    if found.values.size == 1:
        return float(found.values[0])
    below, above = found.counts.cumsum(), found.counts[::-1].cumsum()[::-1]
    mass = found.counts * found.values
    mean_below = mass.cumsum() / below
    mean_above = (mass[::-1].cumsum() / above[::-1])[::-1]
    between = below[:-1] * above[1:] * (mean_below[:-1] - mean_above[1:]) ** 2
    return float(found.values[int(np.argmax(between))])


def li(gray: Image) -> float:
    """The value that keeps most of the image's information: minimal cross entropy (Li and Tam 1998).

    As ``skimage.filters.threshold_li``, within half a level, or half the least distance of two values for float32. The
    value itself if there is only one; NaN for an image of nothing but NaN.
    """
    found = _distribution(gray, None)
    if found is None:
        return float("nan")
    least = float(found.values[0])
    values = found.values - least
    if values.size == 1:
        return least
    tolerance = 0.5 if gray.dtype.kind != "f" else float(np.diff(values).min()) / 2
    counts, masses = found.counts.cumsum(), (found.counts * values).cumsum()
    threshold = masses[-1] / counts[-1]
    for _ in range(MAX_STEPS):
        place = int(np.searchsorted(values, threshold, side="right"))
        mean_below = masses[place - 1] / counts[place - 1]
        if mean_below == 0 or place == values.size:
            break
        mean_above = (masses[-1] - masses[place - 1]) / (counts[-1] - counts[place - 1])
        before = threshold
        threshold = (mean_below - mean_above) / (np.log(mean_below) - np.log(mean_above))
        if abs(threshold - before) <= tolerance:
            break
    return float(threshold + least)


def _distribution(gray: Image, bins: int | None) -> Distribution | None:
    """Levels that occur between the least and the largest; of floats the values, or the centres of bins over them."""
    if gray.dtype.kind != "f":
        from pipelines.operations.tone_kernels import level_counts

        counts = level_counts(gray)
        used = np.flatnonzero(counts)
        return Distribution(used.astype(np.float64), counts[used].astype(np.float64))
    finite = gray[np.isfinite(gray)].astype(np.float64)
    if not finite.size:
        return None
    if bins is None or finite.min() == finite.max():
        values, counts = np.unique(finite, return_counts=True)
        return Distribution(values, counts.astype(np.float64))
    counts, edges = np.histogram(finite, bins)
    used = np.flatnonzero(counts)
    return Distribution(((edges[:-1] + edges[1:]) / 2)[used], counts[used].astype(np.float64))
