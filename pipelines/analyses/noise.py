"""Noise: how large its standard deviation is, estimated from one image by two methods.

Both expect additive Gaussian noise that is independent from pixel to pixel; what a JPEG or a denoiser smoothed looks
quieter than it was, and fine texture looks like noise. OpenCV is imported when the analysis runs.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.analyses.registry import Column, Result, analysis
from pipelines.operations.samples import Plane, full_scale, luma

_MASK = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
"""The difference of two Laplacians (Immerkaer): blind to planes and to straight edges along the axes."""
_ROOT = math.sqrt(3)
_HIGH_PASS = tuple(value / (4 * math.sqrt(2)) for value in (_ROOT - 1, 3 - _ROOT, -(3 + _ROOT), 1 + _ROOT))
"""Daubechies' wavelet of two vanishing moments (db2), as weights of four neighbours; its sign is of no matter here."""
_MEDIAN_OF_NORMAL = 0.6744897501960817
"""Median of the absolute value of a standard normal variable."""
_NOTHING = 1e-5
"""Coefficients up to this share of full scale count as none: they are the rounding of even areas."""

COLUMNS = (
    Column("sigma", "float64", "level", "Standard deviation of the noise in BT.709 luma (Immerkaer 1996)."),
    Column("sigma_wavelet", "float64", "level", "The same by wavelets: hardly moved by edges."),
    Column("sigma_red", "float64", "level", "As sigma, of the red channel; nothing for gray images."),
    Column("sigma_green", "float64", "level", "As sigma, of the green channel; nothing for gray images."),
    Column("sigma_blue", "float64", "level", "As sigma, of the blue channel; nothing for gray images."),
)


@analysis("measurements", columns=COLUMNS)
def noise(image: NDArray[Any]) -> Result:
    """Estimate the noise: its standard deviation in luma and per channel, in stored levels.

    ``sigma``: sqrt(pi / 2) / 6 times the mean absolute response to the mask 1 -2 1, -2 4 -2, 1 -2 1 over all pixels
    but the border (Immerkaer, CVIU 64, 1996). ``sigma_wavelet``: median absolute diagonal coefficient of the db2
    wavelet, zeros left out, divided by 0.6745 (Donoho and Johnstone 1994): ``skimage.restoration.estimate_sigma``, but
    for even areas, whose coefficients count as zeros here. Luma isn't rounded. Alpha is ignored. Neighbourhoods with a
    NaN or an infinity aren't counted; None where nothing can be: below 3 x 3 pixels, and for ``sigma_wavelet`` of an
    even image.
    """
    floats = image.astype(np.float32)
    gray = luma(floats[..., :3] if floats.ndim == 3 else floats)
    colours = [_by_mask(floats[..., channel]) if floats.ndim == 3 else None for channel in range(3)]
    return {
        "sigma": _by_mask(gray),
        "sigma_wavelet": _by_wavelet(gray, _NOTHING * full_scale(image.dtype)),
        **dict(zip(("sigma_red", "sigma_green", "sigma_blue"), colours, strict=True)),
    }


def _by_mask(plane: Plane) -> float | None:
    import cv2

    if min(plane.shape) < 3:
        return None
    response = np.asarray(cv2.filter2D(np.ascontiguousarray(plane), cv2.CV_32F, _MASK))[1:-1, 1:-1]
    values = np.abs(response)
    total = float(values.sum(dtype=np.float64))
    count = values.size
    if not math.isfinite(total):
        finite = np.isfinite(values)
        total, count = float(values[finite].sum(dtype=np.float64)), int(finite.sum())
    return math.sqrt(math.pi / 2) * total / (6 * count) if count else None


def _by_wavelet(plane: Plane, nothing: float) -> float | None:
    details = np.abs(_details(_details(plane).T))
    counted = details[np.isfinite(details) & (details > nothing)]
    return float(np.median(counted)) / _MEDIAN_OF_NORMAL if counted.size else None


def _details(plane: Plane) -> Plane:
    """High-pass coefficients along the columns, every second one, the image mirrored with its border pixel."""
    padded = np.pad(plane, ((2, 3), (0, 0)), mode="symmetric")
    count = (plane.shape[0] + 3) // 2
    total = np.zeros((count, plane.shape[1]), np.float32)
    for offset, weight in enumerate(_HIGH_PASS):
        total += np.float32(weight) * padded[offset : offset + 2 * count : 2][:count]
    return total
