"""Colour images as planes: kernels that change R, G and B run on contiguous planes, a part of the image at a time.

Planes let the compiler use vector instructions (interleaved pixels don't), parts keep them in the processor's cache.
Imports OpenCV and numba: import this module inside functions only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.kernel_compiler import compiled
from pipelines.operations.registry import Image

BAND_PIXELS = 1 << 16

Plane = NDArray[Any]
Change = Callable[[Plane, Plane, Plane, slice], None]
"""``change(red, green, blue, rows)`` alters the planes of these rows in place; they are flat and may be written to."""

Limits = tuple[np.float32, np.float32, np.float32]


def flat(image: Image) -> NDArray[Any]:
    """All samples in one row, read-only: so one compiled kernel serves arrays that may be written to and others."""
    samples = np.ascontiguousarray(image).reshape(-1).view()
    samples.flags.writeable = False
    return samples


@compiled
def take_apart(pixels: NDArray[Any], red: Plane, green: Plane, blue: Plane) -> None:
    """The samples of as many RGB pixels, flat, as the planes hold."""
    one, two = np.uint64(1), np.uint64(2)
    for i in range(red.size):
        start = np.uint64(3 * i)  # unsigned, so that no place is checked for counting from the end
        red[i] = pixels[start]
        green[i] = pixels[start + one]
        blue[i] = pixels[start + two]


@compiled
def put_together(red: Plane, green: Plane, blue: Plane, pixels: NDArray[Any]) -> None:
    """The reverse of ``take_apart``."""
    one, two = np.uint64(1), np.uint64(2)
    for i in range(red.size):
        start = np.uint64(3 * i)
        pixels[start] = red[i]
        pixels[start + one] = green[i]
        pixels[start + two] = blue[i]


def rgb_planes(image: Image) -> tuple[Plane, Plane, Plane]:
    """New flat arrays of the red, green and blue samples of an RGB or RGBA image."""
    if image.shape[2] != 3:
        red, green, blue = (plane.reshape(-1) for plane in cv2.split(image)[:3])
    else:
        red, green, blue = np.empty((3, image.shape[0] * image.shape[1]), image.dtype)
        take_apart(flat(image), red, green, blue)
    return red, green, blue


def bands(image: Image) -> Iterator[tuple[slice, tuple[Plane, Plane, Plane]]]:
    """The rows of each band of an RGB image, and new flat arrays of its red, green and blue samples."""
    step = max(1, BAND_PIXELS // image.shape[1])
    for start in range(0, image.shape[0], step):
        rows = slice(start, start + step)
        yield rows, rgb_planes(image[rows])


def change_by_bands(image: Image, change: Change) -> Image:
    """A new RGB image whose bands of rows went through ``change``. A pixel with a NaN becomes NaN in all channels."""
    result = np.empty(image.shape, image.dtype)
    for rows, (red, green, blue) in bands(image):
        unknown = np.isnan(red + green + blue) if image.dtype.kind == "f" else None
        change(red, green, blue, rows)
        band = result[rows].reshape(-1)
        put_together(red, green, blue, band)
        if unknown is not None:
            band.reshape(-1, 3)[unknown] = np.nan
    return result


def as_rgb(image: Image) -> Image:
    """The image itself, or a gray one as R = G = B."""
    return image if image.ndim == 3 else np.asarray(cv2.merge([image, image, image]))


def clipping(dtype: np.dtype[Any]) -> Limits:
    """(low, high, half) for kernels: limits of a result, and what to add so that truncation rounds halves up."""
    if dtype.kind == "f":
        return np.float32(-np.inf), np.float32(np.inf), np.float32(0)
    return np.float32(0), np.float32(np.iinfo(dtype).max), np.float32(0.5)
