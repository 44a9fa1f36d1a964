"""Samples for analyses that look at neighbours: what is invisible (alpha 0) is NaN, and counts like what is missing."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from pipelines.operations.samples import LUMA


def is_invisible(image: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Which pixels are invisible, shape (M, N); None when none is. An alpha of NaN shows nothing."""
    if image.ndim == 2 or image.shape[2] == 3:
        return None
    hidden = ~(image[..., 3] > 0)
    return hidden if hidden.any() else None


def visible_channels(image: NDArray[Any], dtype: DTypeLike) -> list[NDArray[Any]]:
    """The colours, or the gray plane, in stored levels as floats of ``dtype``, NaN where a pixel is invisible."""
    planes = [image] if image.ndim == 2 else [image[..., channel] for channel in range(3)]
    floats = [np.array(plane, dtype, order="C") for plane in planes]
    hidden = is_invisible(image)
    if hidden is not None:
        for plane in floats:
            plane[hidden] = np.nan
    return floats


def visible_luma(channels: list[NDArray[Any]]) -> NDArray[Any]:
    """BT.709 luma of ``visible_channels``, not rounded; a gray plane is its own luma."""
    if len(channels) == 1:
        return channels[0]
    weights = [channels[0].dtype.type(weight) for weight in LUMA]
    with np.errstate(invalid="ignore"):  # infinities of both signs have no luma
        return np.asarray(channels[0] * weights[0] + channels[1] * weights[1] + channels[2] * weights[2])
