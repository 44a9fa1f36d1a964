"""Texture: how the values of neighbours go together, as numbers that tell cloth from sky.

Gray level co-occurrence (Haralick 1973) and local binary patterns (Ojala 2002), both by scikit-image, on BT.709 luma.
scikit-image is imported when the analysis runs.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipelines.alpha_rules import AlphaRule
from pipelines.analyses.registry import Column, Result, analysis
from pipelines.analyses.visible_samples import is_invisible
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


@analysis("measurements", columns=COLUMNS, alpha=AlphaRule.VISIBLE, version=2)
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
    image all is 0. Float luma is cut to 0..1 and taken as 16-bit. Pairs, and patterns, with an invisible pixel or one
    that isn't finite aren't counted; None where none is left.
    """
    from skimage.feature import local_binary_pattern

    gray, missing = _integers(image)
    patterns = local_binary_pattern(gray, NEIGHBOURS, 1, "uniform").astype(np.uint8)
    known = patterns if missing is None else patterns[~_grown(missing)]
    counts = np.bincount(known.ravel(), minlength=PATTERNS)
    return {**_co_occurrence(gray, missing, levels, distance), "lbp": counts / known.size if known.size else None}


def _integers(image: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Luma as integers, and which pixels are missing, where it is 0; None when none is."""
    colours = image[..., :3] if image.ndim == 3 else image
    missing = is_invisible(image)
    if image.dtype.kind == "f":
        finite = np.isfinite(colours) if image.ndim == 2 else np.isfinite(colours).all(axis=2)
        if not finite.all():
            missing = ~finite if missing is None else missing | ~finite
    if missing is not None:
        colours = np.where(missing if image.ndim == 2 else missing[..., None], image.dtype.type(0), colours)
    gray = luma(colours)
    if gray.dtype.kind == "f":
        gray = np.asarray(np.rint(np.clip(gray, 0, 1) * 65535), np.uint16)
    return gray, missing


def _grown(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask and all pixels beside it."""
    import cv2

    return np.asarray(cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8))) > 0


def _co_occurrence(
    gray: NDArray[Any], missing: NDArray[np.bool_] | None, levels: int, distance: int
) -> dict[str, float | None]:
    from skimage.feature import graycomatrix, graycoprops

    top = int(np.iinfo(gray.dtype).max)
    reduced = (gray.astype(np.uint32) * levels // (top + 1)).astype(np.uint8)
    if missing is None:
        matrix = graycomatrix(reduced, [distance], _ANGLES, levels=levels, symmetric=True, normed=True)
    else:  # missing pixels have a level of their own, whose pairs are left out; graycoprops norms the others
        marked = np.where(missing, levels, reduced.astype(np.uint16))
        pairs = graycomatrix(marked, [distance], _ANGLES, levels=levels + 1, symmetric=True)
        matrix = np.ascontiguousarray(pairs[:levels, :levels])
    has_pairs = matrix.sum(axis=(0, 1)) > 0
    if not has_pairs.any():
        return dict.fromkeys(_PROPERTIES)
    return {name: float(graycoprops(matrix, name)[has_pairs].mean()) for name in _PROPERTIES}
