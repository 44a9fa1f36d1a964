"""Stored samples as float32 numbers and back, for operations that compute in floats.

Covers scale, rounding and borders. Imports OpenCV inside functions only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.operations.registry import Image

LUMA = (0.2126, 0.7152, 0.0722)
"""Weights of R', G', B' in luma (ITU-R BT.709)."""

Plane = NDArray[np.float32]


def full_scale(dtype: np.dtype[Any]) -> float:
    """The sample value of white: 255, 65,535 or 1.0."""
    return 1.0 if dtype.kind == "f" else float(np.iinfo(dtype).max)


def stored(values: NDArray[Any], dtype: np.dtype[Any]) -> Image:
    """Values in the units of ``dtype`` as samples: integers rounded half to even and clipped, floats as they are."""
    if dtype.kind == "f":
        return values.astype(dtype, copy=False)
    rounded: NDArray[Any] = np.rint(values)
    np.clip(rounded, 0, full_scale(dtype), out=rounded)
    return rounded.astype(dtype)


def luma(image: Image) -> Image:
    """BT.709 luma, shape (M, N), in the image's dtype and rounded for integers; a gray image is its own luma."""
    if image.ndim == 2:
        return image
    red, green, blue = (image[..., channel].astype(np.float32) for channel in range(3))
    weights = tuple(np.float32(weight) for weight in LUMA)
    with np.errstate(invalid="ignore"):  # infinities of both signs have no luma
        return stored(red * weights[0] + green * weights[1] + blue * weights[2], image.dtype)


def reflected(image: Image, margin: int) -> Image:
    """The image with ``margin`` more pixels on each side, mirrored about the border pixel; a new, writable array."""
    import cv2

    return np.asarray(cv2.copyMakeBorder(image, margin, margin, margin, margin, cv2.BORDER_REFLECT_101))


def float_planes(image: Image, margin: int = 0) -> tuple[Plane, ...]:
    """The channels as contiguous float32 planes in stored units, each with a reflected margin; new, writable arrays."""
    channels = (image,) if image.ndim == 2 else tuple(image[..., channel] for channel in range(image.shape[-1]))
    return tuple(reflected(np.ascontiguousarray(channel, np.float32), margin) for channel in channels)


def interleaved(planes: tuple[NDArray[Any], ...], dtype: np.dtype[Any]) -> Image:
    """Planes in the units of ``dtype`` as an image of that dtype: (M, N) of one plane, (M, N, 3) of three."""
    result = tuple(stored(plane, dtype) for plane in planes)
    return result[0] if len(result) == 1 else np.stack(result, axis=-1)
