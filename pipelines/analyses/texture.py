"""Texture: how the values of neighbours go together, as numbers that tell cloth from sky.

Gray level co-occurrence (Haralick 1973) and local binary patterns (Ojala 2002), both by scikit-image, on BT.709 luma.
scikit-image is imported when the analysis runs.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipelines.analyses.registry import Column, Result, analysis
from pipelines.operations.samples import luma

NEIGHBOURS = 8
PATTERNS = NEIGHBOURS + 2
_ANGLES = (0.0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)
_PROPERTIES = ("contrast", "dissimilarity", "homogeneity", "energy", "correlation", "entropy")

COLUMNS = (
    Column("contrast", "float64", "1", "Mean squared difference of neighbours, in steps of the reduced levels."),
    Column("dissimilarity", "float64", "1", "Mean absolute difference of neighbours, in the same steps."),
    Column("homogeneity", "float64", "1", "Mean of 1 / (1 + squared difference): 1 for an even image."),
    Column("energy", "float64", "1", "Root of the summed squared frequencies of pairs: 1 for an even image."),
    Column("correlation", "float64", "1", "Correlation of neighbours, -1 to 1; 1 for an even image."),
    Column("entropy", "float64", "nat", "Entropy of the pairs; 0 for an even image."),
    Column(
        "lbp",
        f"float64[{PATTERNS}]",
        "1",
        "Share of pixels per uniform pattern: 0 to 8 brighter neighbours in a row, then all that are not uniform.",
    ),
)


@analysis("measurements", columns=COLUMNS)
def texture(
    image: NDArray[Any],
    *,
    levels: Annotated[int, Field(ge=2, le=256, description="Levels that luma is reduced to, for co-occurrence")] = 32,
    distance: Annotated[int, Field(ge=1, le=50, description="Between the two pixels of a pair, px")] = 1,
) -> Result:
    """Describe the texture: six numbers of the co-occurrence of levels, and the local binary patterns.

    Co-occurrence: ``skimage.feature.graycomatrix(reduced, [distance], [0, 45, 90, 135 degrees], symmetric=True,
    normed=True)`` and ``graycoprops``, the mean over the directions in which the image has pairs; None if it has none.
    Luma is reduced by floor(share of full scale * levels). Patterns: the histogram of
    ``skimage.feature.local_binary_pattern(luma, 8, 1, "uniform")``; equal neighbours count as brighter, and outside the
    image all is 0. Float luma is cut to 0..1 and taken as 16-bit; a NaN counts as 0. Alpha is ignored.
    """
    from skimage.feature import local_binary_pattern

    gray = _integers(luma(image[..., :3] if image.ndim == 3 else image))
    patterns = local_binary_pattern(gray, NEIGHBOURS, 1, "uniform").astype(np.uint8)
    counts = np.bincount(patterns.ravel(), minlength=PATTERNS)
    return {**_co_occurrence(gray, levels, distance), "lbp": counts / patterns.size}


def _integers(gray: NDArray[Any]) -> NDArray[Any]:
    if gray.dtype.kind != "f":
        return gray
    return np.asarray(np.rint(np.clip(np.nan_to_num(gray, nan=0), 0, 1) * 65535), np.uint16)


def _co_occurrence(gray: NDArray[Any], levels: int, distance: int) -> dict[str, float | None]:
    from skimage.feature import graycomatrix, graycoprops

    top = int(np.iinfo(gray.dtype).max)
    reduced = (gray.astype(np.uint32) * levels // (top + 1)).astype(np.uint8)
    matrix = graycomatrix(reduced, [distance], _ANGLES, levels=levels, symmetric=True, normed=True)
    has_pairs = matrix.sum(axis=(0, 1)) > 0
    if not has_pairs.any():
        return dict.fromkeys(_PROPERTIES)
    return {name: float(graycoprops(matrix, name)[has_pairs].mean()) for name in _PROPERTIES}
