"""Colour images as planes: kernels that change R, G and B run on contiguous planes, one band of rows at a time.

Planes let the compiler use vector instructions (interleaved pixels don't), bands keep them in the processor's cache.
Imports OpenCV: import this module inside functions only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.operations.registry import Image

BAND_PIXELS = 1 << 16

Plane = NDArray[Any]
Change = Callable[[Plane, Plane, Plane, slice], None]
"""``change(red, green, blue, rows)`` alters the planes of these rows in place; they are writable and contiguous."""

Limits = tuple[np.float32, np.float32, np.float32]


def bands(image: Image) -> Iterator[tuple[slice, Sequence[Plane]]]:
    """The rows of each band of an RGB image and new arrays of its red, green and blue samples."""
    step = max(1, BAND_PIXELS // image.shape[1])
    for start in range(0, image.shape[0], step):
        rows = slice(start, start + step)
        yield rows, cv2.split(image[rows])


def change_by_bands(image: Image, change: Change) -> Image:
    """A new RGB image whose bands of rows went through ``change``. A pixel with a NaN becomes NaN in all channels."""
    result = np.empty(image.shape, image.dtype)
    for rows, (red, green, blue) in bands(image):
        unknown = np.isnan(red + green + blue) if image.dtype.kind == "f" else None
        change(red, green, blue, rows)
        band = result[rows]
        band[...] = cv2.merge([red, green, blue])
        if unknown is not None:
            band[unknown] = np.nan
    return result


def as_rgb(image: Image) -> Image:
    """The image itself, or a gray one as R = G = B."""
    return image if image.ndim == 3 else np.asarray(cv2.merge([image, image, image]))


def clipping(dtype: np.dtype[Any]) -> Limits:
    """(low, high, half) for kernels: limits of a result, and what to add so that truncation rounds halves up."""
    if dtype.kind == "f":
        return np.float32(-np.inf), np.float32(np.inf), np.float32(0)
    return np.float32(0), np.float32(np.iinfo(dtype).max), np.float32(0.5)
