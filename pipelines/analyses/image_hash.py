"""Perceptual hashes: 64 bits that stay nearly the same when a picture is scaled, compressed or a little retouched.

Covers the hash of one image, and finding groups of duplicates among the hashes of a whole job. Copies that are turned
(but for an EXIF orientation), mirrored or strongly cropped are not recognised. Kernels and OpenCV are imported inside
functions.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipelines.alpha_rules import AlphaRule
from pipelines.analyses.registry import Column, Result, analysis
from pipelines.operations.geometry import auto_orient
from pipelines.operations.image_geometry import AS_STORED, ImageGeometry
from pipelines.operations.samples import full_scale, luma

HASH = "hash"
GROUP = "group"
MAX_DISTANCE = 5
"""Bits in which two pictures of one group may differ, unless told otherwise."""
_CLEAR = {"phash": 2.0, "dhash": 1.0}
"""Levels of 255 by which a frequency must differ from the median, a pixel from its neighbour, to say something. Less is
rounding and noise; a cosine of amplitude 1 has the frequency 16."""
_CLEAR_FREQUENCIES = 12
"""So many of the 64 must be clear. Even images have none, halves and slopes up to 9: they would all be alike."""
_CLEAR_TURNS = 9
"""So often the rows must turn from clearly brighter to darker or back: slopes never do, vignettes do it once in each of
the 8 rows, and all of them are alike."""

COLUMNS = (
    Column(HASH, "string", "", "Perceptual hash, 64 bits as 16 hexadecimal digits; nothing without structure."),
    Column(
        GROUP,
        "int64",
        "",
        "Number of the group of duplicates in this job; nothing for an image without any.",
        "Group of duplicates",
    ),
)


@analysis("measurements", columns=COLUMNS, alpha=AlphaRule.WEIGHED, sees_geometry=True, version=2)
def image_hash(
    image: NDArray[Any],
    geometry: ImageGeometry = AS_STORED,
    *,
    method: Annotated[
        Literal["phash", "dhash"],
        Field(description="phash: coarse frequencies; dhash: what gets brighter to the right"),
    ] = "phash",
    max_distance: Annotated[
        int, Field(ge=0, le=10, description="Bits of difference up to which two images are duplicates")
    ] = MAX_DISTANCE,
) -> Result:
    """Compute a perceptual hash; the job's table also gets the groups of duplicates.

    ``phash``: the 8 x 8 lowest frequencies (DCT-II) of BT.709 luma reduced to 32 x 32 pixels, each bit telling whether
    it is above their median. ``dhash``: luma reduced to 9 x 8 pixels, each bit telling whether the right neighbour is
    brighter. Bits run by rows, the first is the highest. Reduced by area means, of the picture upright as its EXIF
    orientation says and laid over mid gray by its alpha, as is a pixel that isn't finite. A picture without structure
    has no hash, as it would be like all others without (even areas, slopes, shading): one with less than 12 frequencies
    that differ from the median by 2 of 255 levels, or less than 9 turns from brighter to darker or back by a level.
    ``group`` is filled in when the job's tables are written (see ``group_numbers``).
    """
    import cv2

    upright = auto_orient(image, orientation=geometry.orientation)
    size = (32, 32) if method == "phash" else (9, 8)
    reduced = np.asarray(cv2.resize(_over_gray(upright), size, interpolation=cv2.INTER_AREA))
    if method == "phash":
        lowest = np.asarray(cv2.dct(reduced))[:8, :8]
        above = lowest - np.median(lowest)
        bits, clear = above > 0, np.abs(above) > _CLEAR[method]
        has_structure = int(np.count_nonzero(clear)) >= _CLEAR_FREQUENCIES
    else:
        steps = np.diff(reduced, axis=1)
        bits, signs = steps > 0, np.sign(steps) * (np.abs(steps) > _CLEAR[method])
        has_structure = sum(_turns(row) for row in signs) >= _CLEAR_TURNS
    return {HASH: np.packbits(bits).tobytes().hex() if has_structure else None}


def _turns(signs: NDArray[Any]) -> int:
    """How often the sign changes in a row, zeros left out."""
    clear = signs[signs != 0]
    return int(np.count_nonzero(clear[1:] != clear[:-1]))


def _over_gray(image: NDArray[Any]) -> NDArray[np.float32]:
    """Luma in levels of 255 over mid gray."""
    top = full_scale(image.dtype)
    gray = luma(image[..., :3] if image.ndim == 3 else image).astype(np.float32) * np.float32(255 / top)
    finite = np.isfinite(gray)
    if not finite.all():
        gray = np.where(finite, gray, np.float32(127.5))
    if image.ndim == 3 and image.shape[2] == 4:
        from pipelines.operations.alpha import shares_of

        shares = shares_of(image[..., 3])
        if shares is not None:
            gray = gray * shares + np.float32(127.5) * (1 - shares)
    return np.ascontiguousarray(gray)


def group_numbers(hashes: NDArray[np.uint64], known: NDArray[np.bool_], max_distance: int) -> NDArray[np.int64]:
    """Number the groups of hashes that are linked by steps of at most ``max_distance`` differing bits.

    Parameters
    ----------
    hashes, known
        64-bit numbers, and which of them there are; the others belong to no group.
    max_distance
        Bits. Two hashes of a group may differ by more, if others lie between them.

    Returns
    -------
    ndarray of int64
        1, 2, ... in the order in which the groups first occur; 0 for a hash that stands alone. It depends on the
        hashes and their order alone.

    Notes
    -----
    Hashes within d bits agree in at least one of d + 1 bands of bits, so only those that share a band are compared:
    a second or so for a million hashes of photographs, quadratic only where most are alike without being equal.
    """
    from pipelines.analyses import image_hash_kernels

    numbers = np.zeros(hashes.size, np.int64)
    values, members = np.unique(hashes[known], return_inverse=True)
    roots = image_hash_kernels.linked(values, max_distance)[members]
    grouped = np.bincount(roots, minlength=values.size)[roots] > 1
    _, firsts, groups = np.unique(roots[grouped], return_index=True, return_inverse=True)
    numbers[np.flatnonzero(known)[grouped]] = np.argsort(np.argsort(firsts))[groups] + 1
    return numbers
