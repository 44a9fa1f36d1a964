"""White balance: how much red, green and blue light to give so that gray things look gray.

Covers estimating the three gains, in linear light; ``colour.white_balance`` applies them. All images are RGB.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.operations.registry import Image, levels
from pipelines.operations.srgb import LUMINANCE, to_linear

Gains = tuple[float, float, float]

XYZ_TO_LINEAR_SRGB = np.array(
    [[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]]  # IEC 61966-2-1
)
REFERENCE_KELVIN = 6504.0


def gray_world_gains(image: Image) -> Gains:
    """Gains that make the mean of the linear image gray, of the luminance it has."""
    means = np.array([_linear_mean(image[..., channel]) for channel in range(3)])
    return _gains(float(means @ LUMINANCE), means)


def white_patch_gains(image: Image, percentile: float) -> Gains:
    """Gains that raise this percentile of each channel (linear) to the largest of the three."""
    from pipelines.operations import tone_kernels

    bright = [tone_kernels.percentiles(image[..., channel], (percentile,))[0] for channel in range(3)]
    whites = to_linear(np.array(bright))
    return _gains(float(whites.max()), whites)


def temperature_gains(kelvin: float, tint: float) -> Gains:
    """Gains that make light of this temperature look like 6504 K; the luminance of white stays."""
    gains = _planckian_rgb(REFERENCE_KELVIN) / _planckian_rgb(kelvin)
    gains[1] /= 2.0**tint
    gains /= gains @ LUMINANCE
    return float(gains[0]), float(gains[1]), float(gains[2])


def planckian_chromaticity(kelvin: float) -> tuple[float, float]:
    """CIE 1931 x, y of a black body, 1667 K to 25,000 K.

    Cubic approximation of Kim et al., US patent 7,024,034 (2006); within 0.001 of the locus.
    """
    t = 1000 / kelvin
    if kelvin <= 4000:
        x = ((-0.2661239 * t - 0.2343589) * t + 0.8776956) * t + 0.179910
    else:
        x = ((-3.0258469 * t + 2.1070379) * t + 0.2226347) * t + 0.240390
    if kelvin <= 2222:
        y = ((-1.1063814 * x - 1.34811020) * x + 2.18555832) * x - 0.20219683
    elif kelvin <= 4000:
        y = ((-0.9549476 * x - 1.37418593) * x + 2.09137015) * x - 0.16748867
    else:
        y = ((3.0817580 * x - 5.87338670) * x + 3.75112997) * x - 0.37001483
    return x, y


def _planckian_rgb(kelvin: float) -> NDArray[np.float64]:
    x, y = planckian_chromaticity(kelvin)
    return np.asarray(XYZ_TO_LINEAR_SRGB @ (x / y, 1.0, (1 - x - y) / y))


def _linear_mean(channel: NDArray[Any]) -> float:
    if channel.dtype.kind == "f":
        samples = channel[np.isfinite(channel)]
        return float(to_linear(samples.astype(np.float64)).mean()) if samples.size else float("nan")
    from pipelines.operations import tone_kernels

    count = levels(channel.dtype)
    light = to_linear(np.arange(count) / (count - 1))
    return float(tone_kernels.level_counts(channel) @ light) / channel.size


def _gains(target: float, values: NDArray[np.float64]) -> Gains:
    red, green, blue = (target / value if value > 0 and target > 0 else 1.0 for value in values.tolist())
    return red, green, blue
