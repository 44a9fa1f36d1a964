"""Samples from one bit depth to another: scaled over the full range, never clipped at the smaller one."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray


def to_depth(pixels: NDArray[Any], bits: Literal[8, 16] | None) -> NDArray[Any]:
    """The same picture in 8 or 16 bits; None leaves it as it is.

    16 to 8 bits rounds to the nearest level; 8 to 16 is exact (times 257). Floats are clipped to their declared range
    0..1 and NaN becomes 0.
    """
    if bits is None or pixels.dtype == (np.uint8 if bits == 8 else np.uint16):
        return pixels
    white = 255 if bits == 8 else 65535
    if pixels.dtype.kind == "f":
        scaled = np.nan_to_num(pixels, nan=0.0, posinf=1.0, neginf=0.0)
        np.clip(scaled, 0, 1, out=scaled)
        rounded: NDArray[Any] = np.rint(scaled.astype(np.float64) * white)
        return rounded.astype(np.uint8 if bits == 8 else np.uint16)
    if bits == 16:
        return pixels.astype(np.uint16) * np.uint16(257)
    # (v * 255 + 32895) >> 16 is round(v / 257) for every 16-bit v
    return ((pixels.astype(np.uint32) * 255 + 32895) >> 16).astype(np.uint8)
