"""The transfer function of sRGB (IEC 61966-2-1): stored, gamma-encoded values to linear light and back.

Both functions work on float arrays of any shape in any float type, and continue to negative values by point symmetry
(as IEC 61966-2-2 does), so that nothing outside 0..1 is lost. NaN stays NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

LUMINANCE = (0.2126, 0.7152, 0.0722)
"""Weights of linear R, G, B in the relative luminance (BT.709 primaries, D65)."""


def to_linear(values: NDArray[Any]) -> NDArray[Any]:
    """Linear light of encoded values: v / 12.92 up to 0.04045, ((v + 0.055) / 1.055) ** 2.4 above."""
    size = np.abs(values)
    linear = np.where(size <= 0.04045, size / 12.92, ((size + 0.055) / 1.055) ** 2.4)
    return np.asarray(np.copysign(linear, values))


def from_linear(linear: NDArray[Any]) -> NDArray[Any]:
    """Encoded values of linear light: 12.92 l up to 0.0031308, 1.055 l ** (1 / 2.4) - 0.055 above."""
    size = np.abs(linear)
    values = np.where(size <= 0.0031308, size * 12.92, 1.055 * size ** (1 / 2.4) - 0.055)
    return np.asarray(np.copysign(values, linear))
