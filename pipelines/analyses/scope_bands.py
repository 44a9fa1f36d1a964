"""An image for the scopes: bands of rows as planes, small enough for the processor's cache.

Covers dtypes, channels, the declared range of floats and what isn't finite. Does not count. Imports OpenCV and numba:
import this module inside functions only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.analyses.scope_kernels import (
    Counts,
    Plane,
    count_lab,
    count_lab_of_bytes,
    look_up,
    luma_of_integers,
)
from pipelines.operations.lookup_kernels import floats_of_pairs
from pipelines.operations.planes import rgb_planes
from pipelines.operations.srgb import to_linear

Luma = Literal["bt709", "bt601"]

BAND_PIXELS = 1 << 17
LUMA_WEIGHTS: dict[str, tuple[float, float, float]] = {
    "bt709": (0.2126, 0.7152, 0.0722),
    "bt601": (0.299, 0.587, 0.114),
}
"""Of R', G' and B': ITU-R BT.709-6, 3.2, and ITU-R BT.601-7, 2.5.1."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Band:
    """Whole rows of an image, flat. The three planes of a gray image are one array."""

    values: tuple[Plane, Plane, Plane]
    """Red, green and blue: as stored, or float64 in 0..1 with a missing pixel black."""
    missing: NDArray[np.bool_] | None
    """Pixels that are invisible or not finite in all samples; None when there are none."""

    def levels(self) -> tuple[NDArray[np.uint8], ...]:
        """Red, green and blue in 256 levels: the high byte of integers, 256 equal parts of the range of floats."""
        return _each_once(self.values, _levels)

    def luma(self, weights: Luma) -> NDArray[np.uint8]:
        """Luma in 256 levels, rounded in the units of the samples before that."""
        return _levels(luma_of(self.values, weights))

    def linear(self) -> tuple[Plane, Plane, Plane]:
        """Red, green and blue as linear light in 0..1, float32."""
        return _each_once(self.values, _linear)

    def count_lab(self, matrix: tuple[np.float32, ...], counts: Counts) -> tuple[int, int]:
        """Count the pixels at [a*, b*]; returns the sums of a* and b*. Matrix and units: ``lab_of_linear``."""
        if self.values[0].dtype == np.uint8 and self.values[0].size % 4 == 0:
            sums = count_lab_of_bytes(*self.values, _paired_linear_table(), matrix, counts)
        else:
            sums = count_lab(*self.linear(), matrix, counts)
        return sums[0], sums[1]


def bands(image: NDArray[Any], float_range: tuple[float, float]) -> Iterator[Band]:
    """The image from top to bottom; float samples as a share of ``float_range``, clipped to it."""
    for planes, invisible in planes_by_band(image):
        if image.dtype.kind == "f":
            yield _floats(planes, invisible, float_range)
            continue
        if invisible is not None:
            for plane in planes:
                plane[invisible] = 0
        yield Band(values=planes, missing=invisible)


def _floats(
    planes: tuple[Plane, Plane, Plane], invisible: NDArray[np.bool_] | None, float_range: tuple[float, float]
) -> Band:
    unknown = ~np.isfinite(planes[0])
    if planes[1] is not planes[0]:
        unknown |= ~(np.isfinite(planes[1]) & np.isfinite(planes[2]))
    if invisible is not None:
        unknown |= invisible
    missing = unknown if unknown.any() else None
    return Band(values=_each_once(planes, lambda plane: _share(plane, float_range, missing)), missing=missing)


def planes_by_band(
    image: NDArray[Any],
) -> Iterator[tuple[tuple[Plane, Plane, Plane], NDArray[np.bool_] | None]]:
    """From top to bottom: new flat arrays of red, green and blue, thrice the same array for gray, and which pixels are
    invisible (alpha 0), None when there are none."""
    step = max(1, BAND_PIXELS // image.shape[1])
    for start in range(0, image.shape[0], step):
        part = image[start : start + step]
        if part.ndim == 2:
            yield (part.flatten(),) * 3, None
        else:
            yield rgb_planes(part), _invisible(part)


def _invisible(part: NDArray[Any]) -> NDArray[np.bool_] | None:
    if part.shape[2] == 3:
        return None
    hidden = ~(part[..., 3] > 0)  # a NaN shows nothing
    return hidden.ravel() if hidden.any() else None


def luma_of(planes: Sequence[Plane], weights: Luma) -> Plane:
    """Luma in the units of the planes: integers as ``numpy.rint`` rounds, floats as float64. Gray is its own luma."""
    red, green, blue = planes
    if red.dtype.kind == "f":
        wide = (plane.astype(np.float64, copy=False) for plane in planes)
        return np.asarray(sum(weight * plane for weight, plane in zip(LUMA_WEIGHTS[weights], wide, strict=True)))
    if green is red:
        return red
    luma = np.empty_like(red)
    luma_of_integers(red, green, blue, LUMA_WEIGHTS[weights], luma)
    return luma


def _each_once(planes: Sequence[Plane], change: Callable[[Plane], Plane]) -> tuple[Plane, Plane, Plane]:
    red, green, blue = planes
    changed = change(red)
    return (changed,) * 3 if green is red else (changed, change(green), change(blue))


def _share(plane: Plane, float_range: tuple[float, float], missing: NDArray[np.bool_] | None) -> Plane:
    low, high = float_range
    share = np.clip((plane.astype(np.float64) - low) / (high - low), 0, 1)
    if missing is not None:
        share[missing] = 0
    return share


def _levels(values: Plane) -> NDArray[np.uint8]:
    if values.dtype.kind == "f":
        return np.asarray(np.minimum(values * 256, 255), np.uint8)
    return np.asarray(values >> 8 if values.dtype == np.uint16 else values, np.uint8)


def _linear(values: Plane) -> NDArray[np.float32]:
    if values.dtype.kind == "f":
        return to_linear(values.astype(np.float32))
    light = np.empty(values.size, np.float32)
    look_up(values, _linear_table(values.dtype), light)
    return light


@lru_cache(maxsize=2)
def _linear_table(dtype: np.dtype[Any]) -> NDArray[np.float32]:
    top = np.iinfo(dtype).max
    return np.asarray(to_linear(np.arange(top + 1) / top), np.float32)


@lru_cache(maxsize=1)
def _paired_linear_table() -> NDArray[np.uint64]:
    return floats_of_pairs(_linear_table(np.dtype(np.uint8)))
