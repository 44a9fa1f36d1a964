"""Lookup tables: how an operation on single samples runs for each dtype.

Such an operation is written once, as a *curve* on float values (share of full scale). Integer images go through a table
of the curve, computed in float64 and rounded half to even; float32 images go through the curve itself, in float32.
OpenCV is imported by the look-up alone, so that listing or validating operations stays cheap.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.operations.registry import Image, Table, levels

Values = NDArray[Any]
Curve = Callable[..., Values]
"""``curve(values, **params) -> values``: float arrays whose last axis is the channel (1 or 3). It may return three
channels for one: a gray value counts as R = G = B."""

PAIRED_SAMPLES = 1 << 20
"""From here on a uint8 image is looked up by pairs of samples: half the loads, for a table of 128 KiB."""


def tabulated(curve: Curve) -> Table:
    """The lookup table of a curve: (dtype, **params) -> (levels,), or (levels, 3) when the channels differ."""

    def table(dtype: np.dtype[Any], **params: Any) -> NDArray[Any]:
        top = levels(dtype) - 1
        values = _evaluate(curve, np.arange(top + 1)[:, None] / top, params)
        samples: NDArray[Any] = np.rint(np.clip(values, 0, 1) * top).astype(dtype)
        return np.asarray(samples[:, 0]) if samples.shape[1] == 1 else samples

    return table


def apply_curve(image: Image, curve: Curve, **params: Any) -> Image:
    """The image with each sample sent through the curve; a float32 image is not clipped and keeps its NaN."""
    if image.dtype.kind != "f":
        return look_up(image, tabulated(curve)(image.dtype, **params))
    values = _evaluate(curve, image if image.ndim == 3 else image[..., None], params)
    return np.asarray(values[..., 0] if values.shape[-1] == 1 else values, image.dtype)


def look_up(image: Image, table: NDArray[Any]) -> Image:
    """``table[image]`` for a gray or RGB integer image; a (levels, 3) table makes an RGB image of a gray one."""
    import cv2

    if table.ndim == 1:
        if image.size >= PAIRED_SAMPLES and _is_of_pairs(image):
            pairs = image.reshape(-1).view(np.uint16)[None]
            return np.asarray(cv2.LUT(pairs, _paired(table.tobytes()))).view(np.uint8).reshape(image.shape)
        return np.asarray(cv2.LUT(image, table))
    rgb = image if image.ndim == 3 else cv2.merge([image, image, image])
    return np.asarray(cv2.LUT(rgb, table[None]))


def _is_of_pairs(image: Image) -> bool:
    """Whether its samples can be taken two at a time; OpenCV counts the bytes of a row in 31 bits."""
    even = image.size % 2 == 0 and image.size < 1 << 31
    return bool(image.dtype == np.uint8 and image.flags.c_contiguous and even)


@lru_cache(maxsize=8)
def _paired(table: bytes) -> NDArray[np.uint16]:
    """The table of two neighbouring samples at once, whichever of them the machine puts first."""
    pairs = np.arange(1 << 16, dtype=np.uint16).view(np.uint8)
    return np.frombuffer(table, np.uint8)[pairs].view(np.uint16)


def compose(first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
    """The one table that does what ``first`` and then ``second`` do, exactly."""
    if second.ndim == 1:
        return np.asarray(second[first])
    channels = first if first.ndim == 2 else first[:, None]
    return np.asarray(second[channels, np.arange(3)])


def signed_power(values: Values, exponent: float | Values) -> Values:
    """``values ** exponent``, continued to negative values by point symmetry."""
    return np.copysign(np.abs(values) ** exponent, values)


def _evaluate(curve: Curve, values: NDArray[Any], params: dict[str, Any]) -> NDArray[Any]:
    with np.errstate(over="ignore", invalid="ignore"):  # infinity and NaN of a float image are carried through
        return curve(values, **params)
