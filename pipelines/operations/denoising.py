"""Denoising: taking noise away and leaving the picture.

One operation with three methods, for Gaussian noise of a known strength; it doesn't estimate the noise. All methods are
local, with a mirror image outside the border (total variation: nothing outside), so that tiles give the pixels of the
whole. The kernels are imported when the operation runs.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from pipelines.alpha_rules import AlphaRule
from pipelines.operations.registry import Image, Shares, operation
from pipelines.operations.samples import Plane, float_planes, full_scale, interleaved

TV_ITERATIONS = 30
"""Steps of the total variation method; each one lets a pixel act one pixel further."""
HALO = {"tv": TV_ITERATIONS, "nl_means": 9, "wavelet": 8}
"""Pixels of surroundings that count, by method."""
BAND = 256
"""Rows whose wavelets are held in memory at a time."""


def _halo(*, method: str, strength: float) -> int:
    return 2 * HALO[method]  # what an invisible pixel within reach is given lies no further from it


@operation("filters", reach="local", halo=_halo, alpha=AlphaRule.VISIBLE, version=2)
def denoise(
    image: Image,
    shares: Shares | None = None,
    *,
    method: Annotated[
        Literal["tv", "nl_means", "wavelet"],
        Field(description="wavelet: fast; nl_means: best with textures, slow; tv: for pictures of even areas"),
    ] = "wavelet",
    strength: Annotated[
        float, Field(gt=0, le=1, description="Standard deviation of the noise as a share of full scale")
    ] = 0.02,
) -> Image:
    """Remove noise of a given strength.

    ``tv`` minimises |v - image| ** 2 / 2 + strength * total variation per channel with 30 steps of Chambolle (2004):
    ``skimage.restoration.denoise_tv_chambolle(weight=strength, eps=0, max_num_iter=30)`` within 1e-4.
    ``nl_means`` (Buades, Coll and Morel 2005) averages pixels within 7 pixels to each side by how alike their patches
    of 5 x 5 pixels are, all channels together: weight exp(-max(d - 2 strength ** 2, 0) / (0.8 strength) ** 2), 0 from
    exp(-5) on, for the mean squared difference d; within 1e-3 of that formula in float64, and as good as
    ``skimage.restoration.denoise_nl_means(fast_mode=True)`` within 0.3 dB.
    ``wavelet`` sets coefficients below 3 standard deviations of the noise to 0 in an undecimated Haar transform of
    three levels per channel (Coifman and Donoho 1995); the mean over all shifts of the plain transform within 1e-4.
    Integers are rounded half to even. A NaN spreads as far as the method looks. Invisible pixels are given the mean
    of the visible ones nearest to them before.
    """
    if shares is not None:
        from pipelines.operations import alpha

        image = alpha.extended(image, shares, HALO[method])
    sigma = np.float32(strength * full_scale(image.dtype))
    if method == "nl_means":
        return _non_local_means(image, sigma)
    smooth = _total_variation if method == "tv" else _wavelet
    margin = 0 if method == "tv" else HALO[method]
    return interleaved(tuple(smooth(plane, sigma) for plane in float_planes(image, margin)), image.dtype)


def _total_variation(plane: Plane, sigma: np.float32) -> Plane:
    from pipelines.operations import denoising_kernels

    return np.asarray(denoising_kernels.total_variation(plane, sigma, TV_ITERATIONS))


def _wavelet(padded: Plane, sigma: np.float32) -> Plane:
    from pipelines.operations import denoising_kernels

    margin = HALO["wavelet"]
    rows = padded.shape[0] - 2 * margin
    bands = []
    for top in range(0, rows, BAND):
        band = denoising_kernels.wavelet(padded[top : min(top + BAND, rows) + 2 * margin], sigma)
        bands.append(band[margin:-margin, margin:-margin])
    return np.concatenate(bands)


def _non_local_means(image: Image, sigma: np.float32) -> Image:
    from pipelines.operations import denoising_kernels

    padded = np.stack(float_planes(image, HALO["nl_means"]))
    result = np.empty((len(padded), *image.shape[:2]), np.float32)
    denoising_kernels.non_local_means(padded, sigma * sigma, np.float32(0.8) * sigma, result)
    return interleaved(tuple(result), image.dtype)
