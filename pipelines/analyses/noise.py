"""Noise: how large its standard deviation is, estimated from one image by two methods.

Both expect additive Gaussian noise that is independent from pixel to pixel; what a JPEG or a denoiser smoothed looks
quieter than it was, and fine texture looks like noise. OpenCV is imported when the analysis runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.alpha_rules import AlphaRule
from pipelines.analyses.registry import Column, Result, analysis
from pipelines.analyses.visible_samples import visible_channels, visible_luma

Plane = NDArray[np.float64]

_MASK = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float64)
"""The difference of two Laplacians (Immerkaer): blind to planes and to straight edges along the axes."""
_ROOT = math.sqrt(3)
_HIGH_PASS = tuple(value / (4 * math.sqrt(2)) for value in (_ROOT - 1, 3 - _ROOT, -(3 + _ROOT), 1 + _ROOT))
"""Daubechies' wavelet of two vanishing moments (db2), as weights of four neighbours; its sign is of no matter here."""
_MEDIAN_OF_NORMAL = 0.6744897501960817
"""Median of the absolute value of a standard normal variable."""
_ROUNDING = 64 * float(np.finfo(np.float64).eps)
"""Coefficients up to this share of what they are sums of are zeros: the rounding of even areas and of slopes."""

COLUMNS = (
    Column("sigma", "float64", "level", "Standard deviation of the noise in BT.709 luma (Immerkaer 1996)."),
    Column("sigma_wavelet", "float64", "level", "The same by wavelets: hardly moved by edges.", "Sigma by wavelets"),
    Column("sigma_red", "float64", "level", "As sigma, of the red channel; nothing for gray images."),
    Column("sigma_green", "float64", "level", "As sigma, of the green channel; nothing for gray images."),
    Column("sigma_blue", "float64", "level", "As sigma, of the blue channel; nothing for gray images."),
)


@analysis("measurements", columns=COLUMNS, alpha=AlphaRule.VISIBLE, version=2)
def noise(image: NDArray[Any]) -> Result:
    """Estimate the noise: its standard deviation in luma and per channel, in stored levels.

    ``sigma``: sqrt(pi / 2) / 6 times the mean absolute response to the mask 1 -2 1, -2 4 -2, 1 -2 1 over all pixels
    but the border (Immerkaer, CVIU 64, 1996). ``sigma_wavelet``: median absolute diagonal coefficient of the db2
    wavelet, zeros left out, divided by 0.6745 (Donoho and Johnstone 1994): ``skimage.restoration.estimate_sigma``, but
    for areas that are even or a slope, whose coefficients are zeros here and there the rounding of zeros. Luma isn't
    rounded; all is computed in float64. Neighbourhoods with an invisible pixel, a NaN or an infinity aren't counted;
    None where nothing can be: below 3 x 3 pixels, and for ``sigma_wavelet`` of an even image.
    """
    channels = visible_channels(image, np.float64)
    gray = visible_luma(channels)
    colours = [None] * 3 if len(channels) == 1 else [_by_mask(plane) for plane in channels]
    return {
        "sigma": _by_mask(gray),
        "sigma_wavelet": _by_wavelet(gray),
        **dict(zip(("sigma_red", "sigma_green", "sigma_blue"), colours, strict=True)),
    }


def _by_mask(plane: Plane) -> float | None:
    import cv2

    if min(plane.shape) < 3:
        return None
    with np.errstate(invalid="ignore"):
        values = np.abs(np.asarray(cv2.filter2D(plane, cv2.CV_64F, _MASK))[1:-1, 1:-1])
    total, count = float(values.sum()), values.size
    if not math.isfinite(total):
        finite = np.isfinite(values)
        total, count = float(values[finite].sum()), int(finite.sum())
    return math.sqrt(math.pi / 2) * total / (6 * count) if count else None


def _by_wavelet(plane: Plane) -> float | None:
    with np.errstate(invalid="ignore"):
        details = np.abs(_transformed(plane, _HIGH_PASS))
        summed = _transformed(np.abs(plane), tuple(map(abs, _HIGH_PASS)))
        counted = details[np.isfinite(details) & (details > _ROUNDING * summed)]
    return float(np.median(counted)) / _MEDIAN_OF_NORMAL if counted.size else None


def _transformed(plane: Plane, weights: Sequence[float]) -> Plane:
    """The sums of four neighbours along both axes, every second one, the image mirrored with its border pixel."""
    for _ in range(2):
        padded = np.pad(plane, ((2, 3), (0, 0)), mode="symmetric")
        count = (plane.shape[0] + 3) // 2
        total = np.zeros((count, plane.shape[1]))
        for offset, weight in enumerate(weights):
            total += weight * padded[offset : offset + 2 * count : 2][:count]
        plane = np.ascontiguousarray(total.T)
    return plane
