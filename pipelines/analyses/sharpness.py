"""Sharpness: how strong the fine detail of an image is.

Computed from luma (BT.709, not rounded) on the scale 0 to 255 whatever the dtype, so that numbers of images of
different depth compare. They grow with noise and with contrast too: compare pictures of the same kind and size. Alpha
is ignored.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.analyses.registry import Column, Result, analysis
from pipelines.analyses.row_windows import RowWindows

BAND_PIXELS = 1 << 16
LUMA = (0.2126, 0.7152, 0.0722)


class SharpnessAccumulator:
    """``sharpness``, band by band: of the image's whole width, from top to bottom."""

    def __init__(self, *, height: int, width: int, dtype: Any, channels: int) -> None:
        self._height, self._width = height, width
        self._windows = RowWindows(height, step=max(1, BAND_PIXELS // width), halo=1)
        self._laplacian = self._squares = self._gradient = self._steps = 0.0

    def update(self, tile: NDArray[Any], *, row: int, column: int) -> None:
        """Add up one band; ``column`` is 0."""
        import cv2

        for window, own in self._windows.add(tile, row=row):
            luma = _luma(window)
            detail = cv2.Laplacian(luma, cv2.CV_32F, ksize=1)[own]
            self._laplacian += float(cv2.sumElems(detail)[0])
            self._squares += _energy(detail)
            across, down = cv2.Sobel(luma, cv2.CV_32F, 1, 0, ksize=3), cv2.Sobel(luma, cv2.CV_32F, 0, 1, ksize=3)
            self._gradient += _energy(across[own]) + _energy(down[own])
            if self._width > 2:
                self._steps += _energy(cv2.subtract(luma[own, 2:], luma[own, :-2]))

    def result(self) -> Result:
        """The finished columns."""
        number = self._height * self._width
        mean = self._laplacian / number
        numbers = {
            "laplacian_variance": max(self._squares / number - mean * mean, 0.0),
            "tenengrad": self._gradient / number,
            "brenner": self._steps / (self._height * (self._width - 2)) if self._width > 2 else 0.0,
        }
        return {name: value if np.isfinite(value) else None for name, value in numbers.items()}


@analysis(
    "measurements",
    columns=(
        Column("laplacian_variance", "float64", "level²", "Variance of the Laplacian; blurred pictures are low."),
        Column("tenengrad", "float64", "level²", "Mean squared magnitude of the Sobel gradient."),
        Column("brenner", "float64", "level²", "Mean squared difference of samples two pixels apart in a row."),
    ),
    accumulator=SharpnessAccumulator,
)
def sharpness(image: NDArray[Any]) -> Result:
    """Measure sharpness by the variance of the Laplacian, Tenengrad and Brenner's focus measure.

    Laplacian: kernel 0 1 0 / 1 -4 1 / 0 1 0 (Pech-Pacheco et al. 2000, "Diatom autofocusing in brightfield
    microscopy"). Tenengrad: mean of gx**2 + gy**2 by the 3 x 3 Sobel kernels (Krotkov 1988, "Focusing"). Brenner: mean
    of (v[x + 2] - v[x])**2 (Brenner et al. 1976), 0 for pictures narrower than 3 px. Borders mirror without repeating
    the outermost pixel, as OpenCV's default. An image with NaN or infinities gives None.
    """
    height, width = image.shape[:2]
    whole = SharpnessAccumulator(height=height, width=width, dtype=image.dtype, channels=image.ndim)
    whole.update(image, row=0, column=0)
    return whole.result()


def _luma(rows: NDArray[Any]) -> NDArray[np.float32]:
    """float32 of 0 to 255."""
    import cv2

    white = 1.0 if rows.dtype.kind == "f" else float(np.iinfo(rows.dtype).max)
    has_alpha = rows.ndim == 3 and rows.shape[2] == 4
    scaled = np.asarray(cv2.cvtColor(rows, cv2.COLOR_RGBA2RGB) if has_alpha else rows, np.float32)
    if white != 255:
        scaled = scaled * np.float32(255 / white)
    return scaled if scaled.ndim == 2 else np.asarray(cv2.transform(scaled, np.array([LUMA], np.float32)))


def _energy(values: NDArray[np.float32]) -> float:
    import cv2

    return float(cv2.norm(values, cv2.NORM_L2SQR))
