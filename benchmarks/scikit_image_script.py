"""The straightforward script: the standard work with scikit-image and floats, as its documentation suggests.

What one writes on a free afternoon, calling the library that others compare themselves with. No loop over pixels, no
tricks: every step is one documented call on a float image.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.standard_work import AMOUNT, CURVE, QUALITY, RADIUS, SATURATION

Counts = dict[str, NDArray[Any]]


def process(source: Path, target: Path) -> Counts:
    """Render one photograph to ``target`` and count its six scopes."""
    from PIL import Image
    from skimage.io import imread
    from skimage.util import img_as_float64, img_as_ubyte

    stored = img_as_ubyte(render(img_as_float64(imread(source))))
    Image.fromarray(stored).save(target, quality=QUALITY)  # skimage.io is about to lose the choice of a quality
    return scopes(img_as_float64(stored))


def render(image: NDArray[Any]) -> NDArray[Any]:
    """Tone curve, unsharp mask, saturation; values in 0..1."""
    from scipy.interpolate import PchipInterpolator
    from skimage import color, filters

    x, y = np.array(CURVE).T
    bent = np.clip(PchipInterpolator(x, y)(image), 0, 1)
    sharp = filters.unsharp_mask(bent, radius=RADIUS, amount=AMOUNT, channel_axis=2)  # 0.26 takes -1 for rows
    hsv = color.rgb2hsv(np.clip(sharp, 0, 1))
    hsv[..., 1] = np.clip(hsv[..., 1] * SATURATION, 0, 1)
    return np.asarray(np.clip(color.hsv2rgb(hsv), 0, 1))


def scopes(image: NDArray[Any]) -> Counts:
    """The six scopes as counts, by numpy's histograms."""
    from skimage import color

    levels = np.rint(image * 255)
    luma = np.rint(levels @ np.array([0.2126, 0.7152, 0.0722]))
    hsv, lab = color.rgb2hsv(image), color.rgb2lab(image)
    coloured = hsv[..., 1] > 0
    lab_range = [[-128, 128], [-128, 128]]
    counts: Counts = {
        "color_histogram": np.stack([_levels(plane) for plane in (*np.moveaxis(levels, -1, 0), luma)]),
        "luma_waveform": _waveform(luma),
        "rgb_parade": np.stack([_waveform(plane) for plane in np.moveaxis(levels, -1, 0)]),
        "hue_histogram": np.histogram(hsv[..., 0][coloured] * 360, 360, (0, 360))[0],
        "saturation_histogram": np.histogram(hsv[..., 1] * 255, 256, (0, 256))[0],
        "lab_chromaticity": np.histogram2d(lab[..., 1].ravel(), lab[..., 2].ravel(), 256, lab_range)[0],
    }
    return counts


def _levels(plane: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(np.histogram(plane, 256, (0, 256))[0])


def _waveform(plane: NDArray[Any]) -> NDArray[Any]:
    columns = np.broadcast_to(np.arange(plane.shape[1]) * 256 // plane.shape[1], plane.shape)
    return np.asarray(np.histogram2d(plane.ravel(), columns.ravel(), 256, [[0, 256], [0, 256]])[0])
