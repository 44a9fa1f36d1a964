"""How much memory an image needs in a worker, as its header says: known before a pixel is decoded."""

from __future__ import annotations

from pipelines.errors import FailedReason, ImageError
from pipelines.image_io import ImageHeader

WORK_COPIES = 4
"""Arrays of the image's size that operations, analyses and encoders hold at a time, about, on top of decoding."""


class MoreMemoryNeededError(Exception):
    """An image needs more than its task has; it hasn't been decoded, and can be tried again in a larger task."""

    def __init__(self, needed_bytes: int) -> None:
        super().__init__(f"{needed_bytes:,} bytes are needed")
        self.needed_bytes = needed_bytes


class BeyondMemoryError(ImageError):
    """An image is larger than the memory for one; it may still be possible in bands."""

    def __init__(self, message: str) -> None:
        super().__init__(FailedReason.TOO_LARGE, message)


def decoding_bytes(header: ImageHeader, reduction: int = 1) -> int:
    """Memory that decoding takes at its peak, when the decoder makes each side ``reduction`` times smaller.

    What decoders hold on the way, as the coefficients of a progressive JPEG, stays as large as it is.
    """
    return header.predicted_bytes - header.pixel_bytes + header.pixel_bytes // reduction**2


def needed_bytes(header: ImageHeader, reduction: int = 1) -> int:
    """Memory that an image takes at its peak, on top of what an idle worker has."""
    return decoding_bytes(header, reduction) + WORK_COPIES * header.pixel_bytes // reduction**2


def check_budget(header: ImageHeader, budget_bytes: int | None, reduction: int = 1) -> None:
    """Before decoding.

    Raises
    ------
    MoreMemoryNeededError
        The image needs more than the budget of its task.
    """
    needed = needed_bytes(header, reduction)
    if budget_bytes is not None and needed > budget_bytes:
        raise MoreMemoryNeededError(needed)
