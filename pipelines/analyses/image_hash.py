"""Perceptual hashes: 64 bits that stay nearly the same when a picture is scaled, compressed or a little retouched.

Covers the hash of one image, and finding groups of duplicates among the hashes of a whole job. Rotated, mirrored or
strongly cropped copies are not recognised. Kernels and OpenCV are imported inside functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipelines.analyses.registry import Column, Result, analysis
from pipelines.operations.samples import full_scale, luma

HASH = "hash"
GROUP = "group"
MAX_DISTANCE = 5
"""Bits in which two pictures of one group may differ, unless told otherwise."""
_EVEN = 1 / 255
"""An image whose reduced luma varies by less than this share of full scale shows nothing to recognise."""

COLUMNS = (
    Column(HASH, "string", "", "Perceptual hash, 64 bits as 16 hexadecimal digits; nothing for an even image."),
    Column(GROUP, "int64", "", "Number of the group of duplicates in this job; nothing for an image without any."),
)


@analysis("measurements", columns=COLUMNS)
def image_hash(
    image: NDArray[Any],
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
    brighter. Bits run by rows, the first is the highest. Reduced by area means. Alpha is ignored; a NaN counts as 0.
    ``group`` is filled in when the job's tables are written (see ``duplicate_groups``).
    """
    import cv2

    gray = luma(image[..., :3] if image.ndim == 3 else image).astype(np.float32)
    gray = np.nan_to_num(gray, nan=0, posinf=full_scale(image.dtype), neginf=0)
    size = (32, 32) if method == "phash" else (9, 8)
    reduced = np.asarray(cv2.resize(np.ascontiguousarray(gray), size, interpolation=cv2.INTER_AREA))
    if np.ptp(reduced) < _EVEN * full_scale(image.dtype):
        return {HASH: None}
    if method == "phash":
        lowest = np.asarray(cv2.dct(reduced))[:8, :8]
        bits = lowest > np.median(lowest)
    else:
        bits = reduced[:, 1:] > reduced[:, :-1]
    return {HASH: np.packbits(bits).tobytes().hex()}


def duplicate_groups(hashes: Sequence[int | None], max_distance: int = MAX_DISTANCE) -> list[int | None]:
    """Number the groups of hashes that are linked by steps of at most ``max_distance`` differing bits.

    Parameters
    ----------
    hashes
        64-bit numbers; None belongs to no group.
    max_distance
        Bits. Two hashes of a group may differ by more, if others lie between them.

    Returns
    -------
    list of int or None
        1, 2, ... in the order in which the groups first occur; None for a hash that stands alone. It depends on the
        hashes and their order alone.

    Notes
    -----
    Hashes within d bits agree in at least one of d + 1 bands of bits, so only those that share a band are compared:
    a second or so for a million hashes of photographs, quadratic only where most are alike without being equal.
    """
    known = np.array([value is not None for value in hashes], bool)
    values = np.array([0 if value is None else value for value in hashes], np.uint64)
    return [number or None for number in group_numbers(values, known, max_distance).tolist()]


def group_numbers(hashes: NDArray[np.uint64], known: NDArray[np.bool_], max_distance: int) -> NDArray[np.int64]:
    """``duplicate_groups`` of arrays: 0 for none; hashes that aren't ``known`` count for nothing."""
    from pipelines.analyses import image_hash_kernels

    numbers = np.zeros(hashes.size, np.int64)
    values, members = np.unique(hashes[known], return_inverse=True)
    roots = image_hash_kernels.linked(values, max_distance)[members]
    grouped = np.bincount(roots, minlength=values.size)[roots] > 1
    _, firsts, groups = np.unique(roots[grouped], return_index=True, return_inverse=True)
    numbers[np.flatnonzero(known)[grouped]] = np.argsort(np.argsort(firsts))[groups] + 1
    return numbers
