"""How an image's pixels lie in the picture of its file: for analyses that tell lengths, or see the picture upright."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.operations.chain import ChainResult
from pipelines.operations.registry import Scale


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageGeometry:
    """What pixels don't tell themselves."""

    orientation: int = 1
    """The EXIF orientation that is still to be applied."""
    scale: Scale | None = (1.0, 1.0)
    """Rows and columns of the file's pixels that one pixel stands for; None when an operation didn't say."""
    unscaled: str = ""
    """That operation, for messages."""
    pixel_size_um: Scale | None = None
    """Height and width of one pixel in micrometres, by what the file states of its own; None: it doesn't, wasn't asked,
    or an operation didn't say."""


AS_STORED = ImageGeometry()
"""Of pixels as they come out of a file that states nothing."""


def geometry_of(result: ChainResult) -> ImageGeometry:
    """Of what a chain gave."""
    return ImageGeometry(
        orientation=result.orientation, scale=result.scale, unscaled=result.unscaled, pixel_size_um=result.pixel_size
    )
