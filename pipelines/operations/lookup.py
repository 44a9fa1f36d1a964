"""Lookup tables: how an operation on single samples runs for each dtype.

Such an operation is written once, as a *curve* on float values (share of full scale). Integer images go through a table
of the curve, computed in float64 and rounded half to even; float32 images go through the curve itself, in float32.
OpenCV is imported by the look-up alone, so that listing or validating operations stays cheap.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.operations.registry import Image, Table, levels

Values = NDArray[Any]
Curve = Callable[..., Values]
"""``curve(values, **params) -> values``: float arrays whose last axis is the channel (1 or 3). It may return three
channels for one: a gray value counts as R = G = B."""

COMPILED_SAMPLES = 1 << 20
"""From here on a uint8 image is looked up by compiled code; for less it isn't loaded."""


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
        if image.size >= COMPILED_SAMPLES and image.dtype == np.uint8:
            return _look_up_bytes(image, table)
        return np.asarray(cv2.LUT(image, table))
    rgb = image if image.ndim == 3 else cv2.merge([image, image, image])
    return np.asarray(cv2.LUT(rgb, table[None]))


def _look_up_bytes(image: Image, table: NDArray[np.uint8]) -> Image:
    from pipelines.operations.lookup_kernels import look_up_bytes
    from pipelines.operations.planes import flat

    result = np.empty(image.shape, np.uint8)
    look_up_bytes(flat(image), flat(table), result.reshape(-1))
    return result


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
