"""Alpha apart from colours: taking it off, putting it back, and counting pixels by it. Imports OpenCV: import this
module inside functions only.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.operations.registry import Image, Shares
from pipelines.operations.samples import full_scale

Alpha = NDArray[Any]
_AROUND = np.ones((3, 3), np.float32)


def split_alpha(image: Image) -> tuple[Image, Alpha]:
    """New arrays of the colours (M, N, 3) and the alpha (M, N) of an RGBA image."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGBA2RGB)), np.asarray(cv2.extractChannel(image, 3))


def join_alpha(colours: Image, alpha: Alpha) -> Image:
    """An RGBA image; gray colours (M, N) become R = G = B."""
    planes = cv2.split(colours) if colours.ndim == 3 else (colours,) * 3
    return np.asarray(cv2.merge([*planes, alpha]))


def shares_of(alpha: Alpha) -> Shares | None:
    """Alpha from 0 to 1, a NaN as 0; None when all is opaque."""
    top = full_scale(alpha.dtype)
    if alpha.min() >= top:  # not where there is a NaN
        return None
    if alpha.dtype.kind == "f":
        return np.asarray(np.nan_to_num(alpha, nan=0.0).clip(0, 1), np.float32)
    return np.asarray(alpha, np.float32) * np.float32(1 / top)


def present(plane: Image, shares: Shares | None) -> Shares | None:
    """1 where a pixel of a gray image is visible and finite, else 0; None when all are."""
    found = np.ones(plane.shape, bool) if shares is None else shares > 0
    if plane.dtype.kind == "f":
        found &= np.isfinite(plane)
    elif shares is None:
        return None
    return None if found.all() else found.astype(np.float32)


def counted(values: Image, shares: Shares | None) -> Image:
    """The values whose pixels aren't invisible, in one row (gray) or as rows of three; all of them as they are."""
    return values if shares is None else values[shares > 0]


def extended(image: Image, shares: Shares | None, pixels: int) -> Image:
    """The image with colours for its invisible pixels up to ``pixels`` from visible ones: a ring at a time, the mean of
    the neighbours that have some. Further ones are black."""
    if shares is None:
        return image
    known = shares > 0
    values = np.where(known if image.ndim == 2 else known[..., None], image, image.dtype.type(0)).astype(np.float32)
    for _ in range(pixels):
        if known.all():
            break
        options: dict[str, Any] = {"ddepth": cv2.CV_32F, "kernel": _AROUND, "borderType": cv2.BORDER_CONSTANT}
        count = np.asarray(cv2.filter2D(known.astype(np.float32), **options))
        ring = ~known & (count > 0)
        around = np.asarray(cv2.filter2D(values, **options))[ring]
        values[ring] = around / (count[ring] if image.ndim == 2 else count[ring][:, None])
        known |= ring
    return values if image.dtype.kind == "f" else np.asarray(np.rint(values), image.dtype)
