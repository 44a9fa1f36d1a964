"""What the hint ``fast`` saves: 8-bit samples, and wide blurs computed on a smaller image.

How far results may be off stands at each function and is tested. Imports OpenCV and kernels inside functions only.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pipelines.operations.chain import Step
from pipelines.operations.filters import blur, gaussian_radius
from pipelines.operations.registry import Image

WIDE_SIGMA = 8.0
"""Pixels: blurs from here on may be computed on an image of half the size or less."""
_SIGMA = {"gaussian": "sigma", "unsharp_mask": "radius"}
"""Operations that consist of a blur, and the parameter that is its standard deviation."""


def as_uint8(image: Image) -> Image:
    """The image with 256 levels, rounded; float32 is clipped to 0..1 and NaN becomes black."""
    if image.dtype == np.uint8:
        return image
    if image.dtype == np.uint16:
        table = ((np.arange(65536) * 255 + 32767) // 65535).astype(np.uint8)
        return np.asarray(table[image])
    return np.asarray(np.rint(np.nan_to_num(image, nan=0.0).clip(0, 1) * 255), np.uint8)


def from_uint8(image: Image, dtype: np.dtype[Any]) -> Image:
    """256 levels in the units of ``dtype``."""
    if dtype == np.uint8:
        return image
    if dtype == np.uint16:
        return image.astype(np.uint16) * np.uint16(257)
    return image.astype(np.float32) / np.float32(255)


def is_wide_blur(step: Step) -> bool:
    """Whether ``apply_wide_blur`` can do the step."""
    sigma = _SIGMA.get(step.operation.name)
    return sigma is not None and step.arguments[sigma] >= WIDE_SIGMA


def apply_wide_blur(image: Image, step: Step) -> Image:
    """A wide ``gaussian`` or ``unsharp_mask`` of a uint8 image, with the blur of ``reduced_blur``; alpha stays.

    Pixels that aren't opaque count by their alpha, in an image that is blurred in full.
    """
    if image.ndim == 3 and image.shape[2] == 4:
        from pipelines.operations.alpha import join_alpha, shares_of, split_alpha

        colours, alpha = split_alpha(image)
        shares = shares_of(alpha)
        if shares is not None:
            changed = step.operation.function(colours, shares, **step.arguments) if shares.any() else colours
            return join_alpha(changed, alpha)
        return join_alpha(apply_wide_blur(colours, step), alpha)
    blurred = reduced_blur(image, step.arguments[_SIGMA[step.operation.name]])
    if step.operation.name == "gaussian":
        return blurred
    from pipelines.operations import smoothing_kernels

    return smoothing_kernels.sharpened(image, blurred, step.arguments["amount"], step.arguments["threshold"] * 255)


def reduced_blur(image: Image, sigma: float) -> Image:
    """A Gaussian blur of sigma >= 8 pixels, within 3 levels of ``gaussian`` (half a level on average).

    The image is averaged over blocks of 2, 4, 8, ... pixels (at most a quarter of sigma), blurred by what sigma is
    then, and interpolated linearly; the two steps blur by themselves, which is taken off sigma.
    """
    import cv2

    factor = 2 ** int(np.log2(sigma / 4))
    height, width = image.shape[:2]
    margin = factor * -(-gaussian_radius(sigma) // factor)
    padded = cv2.copyMakeBorder(
        image, margin, margin + -height % factor, margin, margin + -width % factor, cv2.BORDER_REFLECT_101
    )
    rows, columns = padded.shape[:2]
    small = cv2.resize(padded, (columns // factor, rows // factor), interpolation=cv2.INTER_AREA)
    averaging, interpolating = (factor**2 - 1) / 12, factor**2 / 6
    small = blur(small, float(np.sqrt(sigma**2 - averaging - interpolating)) / factor)
    full = cv2.resize(small, (columns, rows), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(full[margin : margin + height, margin : margin + width])
