"""Filters: what a pixel's surroundings do to it. Smoothing and sharpening; see ``denoising`` and ``segmentation``.

Each channel is filtered alone, except by ``bilateral``, which compares colours. Everything is local: outside the image
lies its mirror image about the border pixel (``median``: the border pixel repeated), and a tile with a halo gives the
pixels of the whole image, exactly for integers; of float32 within 1e-6 of the largest value near (``unsharp_mask``:
times 1 + amount). Float32 is never clipped. How close results are to exact ones: docs/reference/trust.md.
Kernels and OpenCV are imported when an operation runs, so that listing operations stays cheap.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipelines.alpha_rules import AlphaRule
from pipelines.operations.registry import Image, Shares, operation
from pipelines.operations.samples import full_scale, stored

TRUNCATE = 4
"""Gaussians end after this many standard deviations, as in scipy and scikit-image."""


QUICK_SIGMA = 3.0
"""Up to here uint8 is blurred with weights of 1/256, several times as fast as otherwise."""


def gaussian_radius(sigma: float) -> int:
    """Pixels of surroundings that count in a Gaussian: four standard deviations, rounded."""
    return int(TRUNCATE * sigma + 0.5)


def blur(image: Image, sigma: float) -> Image:
    """The image convolved with a Gaussian; see ``gaussian``."""
    radius = gaussian_radius(sigma)
    if image.dtype == np.uint8 and sigma <= QUICK_SIGMA:
        radius = int(3 * sigma + 0.5)  # what lies beyond weighs less than OpenCV's unit of 1/256
    elif image.dtype == np.uint8:  # in 16 bits OpenCV's unit is 1/65,536
        return ((_convolved(image.astype(np.uint16) * np.uint16(257), radius, sigma) + np.uint32(128)) // 257).astype(
            np.uint8
        )
    elif image.dtype == np.uint16:
        return settled(_convolved(image.astype(np.float64), radius, sigma), image.dtype)
    return _convolved(image, radius, sigma)


def _convolved(image: Image, radius: int, sigma: float) -> Image:
    import cv2

    side = 2 * radius + 1
    return np.asarray(cv2.GaussianBlur(image, (side, side), sigma, borderType=cv2.BORDER_REFLECT_101))


def settled(values: NDArray[Any], dtype: np.dtype[Any]) -> Image:
    """Float64 values as samples; halves that the last bits would round either way, by place in a tile, go one way."""
    return stored(np.rint(values * 65536) / 65536, dtype)


def weighted_blur(image: Image, sigma: float, shares: Shares | None) -> NDArray[Any]:
    """Gaussian means around each pixel, of the pixels that there are: floats in stored units.

    Where all within reach have no share, the pixel stays as it is. What has no share may be NaN. Of integers and shares
    it is computed in float64, so that tiles are rounded like the whole image.
    """
    if shares is None:
        return blur(np.asarray(image, np.float32), sigma)
    wide = np.float32 if image.dtype.kind == "f" else np.float64
    each = shares if image.ndim == 2 else shares[..., None]
    values = np.where(each > 0, image, image.dtype.type(0)) * each.astype(wide)
    total, norm = blur(values, sigma), blur(shares.astype(wide), sigma)
    norm = norm if image.ndim == 2 else norm[..., None]
    return np.asarray(np.divide(total, norm, out=image.astype(wide), where=norm > 0))


def _gaussian_halo(*, sigma: float) -> int:
    return gaussian_radius(sigma)


@operation("filters", reach="local", halo=_gaussian_halo, alpha=AlphaRule.WEIGHED, version=2)
def gaussian(
    image: Image,
    shares: Shares | None = None,
    *,
    sigma: Annotated[float, Field(gt=0, le=200, description="Standard deviation in pixels")] = 1.0,
) -> Image:
    """Blur with a Gaussian.

    As ``skimage.filters.gaussian(image, sigma, mode="mirror", truncate=4)``: the rounded value for uint16, within 1e-5
    of the largest value near for float32, within 1 level for uint8. Up to a sigma of 3, uint8 is computed with weights
    of 1/256: within 2.5 levels in noise and photographs, within 8 in patterns made to be the worst. A NaN spreads as
    far as the Gaussian.
    """
    if shares is None:
        return blur(image, sigma)
    return (stored if image.dtype.kind == "f" else settled)(weighted_blur(image, sigma, shares), image.dtype)


def _window_halo(*, radius: int) -> int:
    return radius


@operation("filters", reach="local", halo=_window_halo, alpha=AlphaRule.VISIBLE, version=2)
def median(
    image: Image,
    shares: Shares | None = None,
    *,
    radius: Annotated[int, Field(ge=1, le=50, description="The window is 2 radius + 1 pixels wide and high")] = 1,
) -> Image:
    """Replace each sample by the median of a square window: removes specks and keeps edges.

    Equals ``skimage.filters.median(image, np.ones((2 * radius + 1,) * 2), mode="nearest")`` per channel, exactly. A NaN
    counts as larger than every number. Of an even number of visible pixels it is the larger of the middle two.
    """
    import cv2

    if shares is not None:
        from pipelines.operations import smoothing_kernels

        return smoothing_kernels.wide_median(image, radius, shares > 0)
    fast = image.dtype == np.uint8 or radius <= 2
    if fast and not (image.dtype.kind == "f" and np.isnan(image.min())):
        return np.asarray(cv2.medianBlur(image, 2 * radius + 1))
    from pipelines.operations import smoothing_kernels

    return smoothing_kernels.wide_median(image, radius)


def _bilateral_halo(*, sigma_space: float, sigma_color: float) -> int:
    return math.ceil(2 * sigma_space)


@operation("filters", reach="local", halo=_bilateral_halo, alpha=AlphaRule.WEIGHED, version=2)
def bilateral(
    image: Image,
    shares: Shares | None = None,
    *,
    sigma_space: Annotated[float, Field(gt=0, le=25, description="Standard deviation of the place, pixels")] = 2.0,
    sigma_color: Annotated[float, Field(gt=0, le=10, description="Of the difference; 1 is full scale")] = 0.1,
) -> Image:
    """Smooth areas of similar colour and keep the edges between them.

    Mean over a square window of 2 ceil(2 sigma_space) + 1 pixels, with the weight exp(-place ** 2 / (2 sigma_space **
    2)) * exp(-difference ** 2 / (2 sigma_color ** 2)) (Tomasi and Manduchi 1998); the difference is the Euclidean
    distance of the colours. Within 1 level, or 1e-4, of that formula in float64. A NaN makes its window NaN.
    """
    from pipelines.operations import smoothing_kernels

    return smoothing_kernels.smooth_alike(image, sigma_space, sigma_color * full_scale(image.dtype), shares)


def _unsharp_halo(*, radius: float, amount: float, threshold: float) -> int:
    return gaussian_radius(radius)


@operation("filters", reach="local", halo=_unsharp_halo, alpha=AlphaRule.WEIGHED, version=3)
def unsharp_mask(
    image: Image,
    shares: Shares | None = None,
    *,
    radius: Annotated[float, Field(gt=0, le=200, description="Standard deviation of the blur, pixels")] = 1.0,
    amount: Annotated[float, Field(ge=-1, le=20, description="Share of the difference that is added")] = 1.0,
    threshold: Annotated[float, Field(ge=0, le=1, description="Differences below stay; 1 is full scale")] = 0.0,
) -> Image:
    """Sharpen by adding the difference between the image and its blurred copy.

    v' = v + amount * (v - blurred) where that difference reaches the threshold, as ``skimage.filters.unsharp_mask``
    (which knows no threshold, and reflects borders otherwise): within 1 + amount levels for uint8 and uint16, and
    within 1e-5 * (1 + amount) of the largest value near for float32. Integers are clipped; a NaN spreads as far as the
    blur.
    """
    from pipelines.operations import smoothing_kernels

    levels = threshold * full_scale(image.dtype)
    if shares is not None:
        return smoothing_kernels.sharpened(image, weighted_blur(image, radius, shares), amount, levels)
    if image.dtype == np.uint8 and radius <= smoothing_kernels.MASK_SIGMA:
        return smoothing_kernels.sharpened_bytes(image, radius, amount, levels)
    return smoothing_kernels.sharpened(image, blur(image, radius), amount, levels)
