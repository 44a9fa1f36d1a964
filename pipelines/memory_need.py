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


def needed_bytes(header: ImageHeader) -> int:
    """Memory that an image takes at its peak, on top of what an idle worker has."""
    return header.predicted_bytes + WORK_COPIES * header.pixel_bytes


def check_budget(header: ImageHeader, budget_bytes: int | None) -> None:
    """Before decoding.

    Raises
    ------
    MoreMemoryNeededError
        The image needs more than the budget of its task.
    """
    needed = needed_bytes(header)
    if budget_bytes is not None and needed > budget_bytes:
        raise MoreMemoryNeededError(needed)
