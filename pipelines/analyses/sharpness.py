"""Sharpness: how strong the fine detail of an image is.

Computed from luma (BT.709, not rounded) in stored levels: divided by ``white`` squared, numbers of images of different
depth compare. They grow with noise and with contrast too: compare pictures of the same kind and size.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.alpha_rules import AlphaRule
from pipelines.analyses.registry import Column, Result, analysis
from pipelines.analyses.row_windows import RowWindows
from pipelines.analyses.visible_samples import is_invisible
from pipelines.operations.samples import LUMA, full_scale

BAND_PIXELS = 1 << 16


class SharpnessAccumulator:
    """``sharpness``, band by band: of the image's whole width, from top to bottom."""

    def __init__(self, *, height: int, width: int, dtype: Any, channels: int) -> None:
        self._height, self._width = height, width
        self._windows = RowWindows(height, step=max(1, BAND_PIXELS // width), halo=1)
        self._white = full_scale(np.dtype(dtype))
        self._details, self._gradients, self._steps = _Squares(), _Squares(), _Squares()

    def update(self, tile: NDArray[Any], *, row: int, column: int) -> None:
        """Add up one band; ``column`` is 0."""
        import cv2

        for window, own in self._windows.add(tile, row=row):
            luma = _luma(window)
            self._details.add(cv2.Laplacian(luma, cv2.CV_32F, ksize=1)[own])
            across, down = cv2.Sobel(luma, cv2.CV_32F, 1, 0, ksize=3), cv2.Sobel(luma, cv2.CV_32F, 0, 1, ksize=3)
            self._gradients.add(across[own], down[own])
            if self._width > 2:
                self._steps.add(cv2.subtract(luma[own, 2:], luma[own, :-2]))

    def result(self) -> Result:
        """The finished columns."""
        details = self._details
        energy = details.mean_square()
        mean = details.total / details.count if details.count else 0.0
        return {
            "laplacian_variance": None if energy is None else max(energy - mean * mean, 0.0),
            "tenengrad": self._gradients.mean_square(),
            "brenner": self._steps.mean_square() if self._width > 2 else 0.0,
            "white": self._white,
        }


class _Squares:
    """The sums of one measure over all places at which it can be told."""

    def __init__(self) -> None:
        self.total = self._squares = 0.0
        self.count = 0

    def add(self, *parts: NDArray[np.float32]) -> None:
        """One value per place, or the parts whose squares it is the sum of."""
        import cv2

        squares = sum(_energy(part) for part in parts)
        count = parts[0].size
        if not np.isfinite(squares):  # a NaN, an infinity or something invisible: its surroundings aren't counted
            known = np.logical_and.reduce([np.isfinite(part) for part in parts])
            parts = tuple(np.where(known, part, np.float32(0)) for part in parts)
            squares, count = sum(_energy(part) for part in parts), int(np.count_nonzero(known))
        self.total += float(cv2.sumElems(parts[0])[0])
        self._squares += squares
        self.count += count

    def mean_square(self) -> float | None:
        """None when it can be told nowhere."""
        return self._squares / self.count if self.count else None


@analysis(
    "measurements",
    columns=(
        Column("laplacian_variance", "float64", "level²", "Variance of the Laplacian; blurred pictures are low."),
        Column("tenengrad", "float64", "level²", "Mean squared magnitude of the Sobel gradient."),
        Column("brenner", "float64", "level²", "Mean squared difference of samples two pixels apart in a row."),
        Column("white", "float64", "level", "The level of white: 255, 65535, or 1 for floats.", "Level of white"),
    ),
    alpha=AlphaRule.VISIBLE,
    accumulator=SharpnessAccumulator,
    version=2,
)
def sharpness(image: NDArray[Any]) -> Result:
    """Measure sharpness by the variance of the Laplacian, Tenengrad and Brenner's focus measure.

    Laplacian: kernel 0 1 0 / 1 -4 1 / 0 1 0 (Pech-Pacheco et al. 2000, "Diatom autofocusing in brightfield
    microscopy"). Tenengrad: mean of gx**2 + gy**2 by the 3 x 3 Sobel kernels (Krotkov 1988, "Focusing"). Brenner: mean
    of (v[x + 2] - v[x])**2 (Brenner et al. 1976), 0 for pictures narrower than 3 px. Borders mirror without repeating
    the outermost pixel, as OpenCV's default. Numbers are in stored levels squared: of the same picture those of 16 bits
    are 257 squared times those of 8. Neighbourhoods with an invisible pixel, a NaN or an infinity aren't counted; None
    where nothing can be.
    """
    height, width = image.shape[:2]
    whole = SharpnessAccumulator(height=height, width=width, dtype=image.dtype, channels=image.ndim)
    whole.update(image, row=0, column=0)
    return whole.result()


def _luma(rows: NDArray[Any]) -> NDArray[np.float32]:
    """float32 in stored levels, NaN where invisible."""
    import cv2

    has_alpha = rows.ndim == 3 and rows.shape[2] == 4
    levels = np.asarray(cv2.cvtColor(rows, cv2.COLOR_RGBA2RGB) if has_alpha else rows, np.float32)
    luma = levels if levels.ndim == 2 else np.asarray(cv2.transform(levels, np.array([LUMA], np.float32)))
    hidden = is_invisible(rows)
    return luma if hidden is None else np.where(hidden, np.float32(np.nan), luma)


def _energy(values: NDArray[np.float32]) -> float:
    import cv2

    return float(cv2.norm(values, cv2.NORM_L2SQR))
