"""Small pictures of image files, for the report.

Files that would take much memory for it have none: a report is made beside other work, by several threads.
"""

from __future__ import annotations

from pathlib import Path

from pipelines.errors import ImageError
from pipelines.image_io import EncodeOptions, ReadPolicy, decode_image, encode_image, probe_header, read_bytes
from pipelines.models import ImageOperation
from pipelines.operations import apply_operations

THUMBNAIL_PX = 400
THUMBNAIL_BYTES = 1 << 30
"""Memory that a file may take for its thumbnail."""
_POLICY = ReadPolicy(truncated="salvage", max_file_bytes=THUMBNAIL_BYTES)
_CHAIN = (ImageOperation("auto_orient"), ImageOperation("resize", {"max_side": THUMBNAIL_PX}))


def make_thumbnail(path: Path) -> bytes | None:
    """A JPEG of at most 400 px per side; None when the file can't be shown, or only with more than 1 GiB of memory."""
    try:
        data = read_bytes(bytes(path), max_bytes=_POLICY.max_file_bytes)
        header = probe_header(data, _POLICY)
        scale = _scale(max(header.width, header.height))
        shrunk = scale if header.format == "jpeg" else 1  # the others are decoded in full size
        if header.file_bytes + (header.predicted_bytes - header.file_bytes) // shrunk**2 > THUMBNAIL_BYTES:
            return None
        decoded = decode_image(data, _POLICY, scale_denom=scale)
        result = apply_operations(decoded.pixels, _CHAIN, orientation=decoded.orientation)
        return encode_image(result.pixels, EncodeOptions(format="jpeg", quality=82))
    except ImageError:
        return None


def _scale(longest_px: int) -> int:
    """The strongest reduction in the decoder that leaves at least the thumbnail's size."""
    return next((scale for scale in (8, 4, 2) if longest_px // scale >= THUMBNAIL_PX), 1)
