"""Small pictures for the report: made by workers, who have the pixels in hand, or from files that they didn't make.

A picture says what it hides: what is transparent lies on a checkerboard, and of samples of 16 bits or floats, which are
often too dark or too bright to see, there is a second picture between percentiles of its own. Files that would take
much memory have none: a report is made beside other work, by several threads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import ImageError
from pipelines.image_io import EncodeOptions, ReadPolicy, decode_image, encode_image, probe_header, read_bytes
from pipelines.models import ImageOperation, Output, WorkItem
from pipelines.operations import Image, apply_operations
from pipelines.stages.image_stages import Rendered
from pipelines.stages.publish import Publisher

FOLDER = "report/thumbnails"
"""Where they lie in an output."""
THUMBNAIL_PX = 400
THUMBNAIL_BYTES = 1 << 30
"""Memory that a file may take for its thumbnail."""
STRETCH = (0.5, 99.5)
"""Percentiles of a picture's samples that its stretched thumbnail shows as black and white."""
_POLICY = ReadPolicy(truncated="salvage", max_file_bytes=THUMBNAIL_BYTES)
_CHAIN = (ImageOperation("auto_orient"), ImageOperation("resize", {"max_side": THUMBNAIL_PX}))
_JPEG = EncodeOptions(format="jpeg", quality=82)
_SQUARE_PX = 8
_SQUARES = np.array([255, 204], np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumbnails:
    """JPEGs of at most 400 px per side."""

    plain: bytes
    stretched: bytes | None = None
    """Of samples that aren't of 8 bits: between the percentiles ``STRETCH``."""

    def named(self, key: str) -> Iterator[tuple[str, bytes]]:
        """File name and content of each."""
        yield thumbnail_name(key), self.plain
        if self.stretched is not None:
            yield thumbnail_name(key, stretched=True), self.stretched


def thumbnail_name(key: str, *, stretched: bool = False) -> str:
    """The file name of a thumbnail."""
    return f"{key}-stretched.jpg" if stretched else f"{key}.jpg"


def shown_image(outputs: Sequence[Output]) -> Output | None:
    """The rendered image that stands for an input: of a file with several images the first, whose name is shortest."""
    return min((each for each in outputs if each.product == "image"), key=lambda each: len(each.path), default=None)


def thumbnail_key(number: int, size: int, image: Output | None) -> str:
    """What thumbnails are known by: the content of the rendered image, else the input's number and size in bytes."""
    return f"{number:08x}{size:016x}" if image is None else image.sha256[:32]


def leave_thumbnails(item: WorkItem, rendered: Rendered, outputs: Sequence[Output], publisher: Publisher) -> None:
    """Leave the thumbnails of what was rendered in the run's temporary directory, unless the report has them.

    Pixels that another profile than sRGB belongs to are left to whoever reads the file. No input fails for its picture.
    """
    if not rendered.pixels.size or rendered.source.icc is not None:
        return
    key = thumbnail_key(item.id, item.size, shown_image(outputs))
    if (publisher.root / FOLDER / thumbnail_name(key)).exists():
        return
    try:
        for name, data in thumbnails_of(rendered.pixels, rendered.orientation).named(key):
            publisher.leave(name, data)
    except Exception:  # noqa: BLE001 - the report makes it from the file, or shows none: no input fails for it
        return


def make_thumbnails(path: Path) -> Thumbnails | None:
    """Of an image file; None when it can't be shown, or only with more than 1 GiB of memory."""
    try:
        data = read_bytes(bytes(path), max_bytes=_POLICY.max_file_bytes)
        header = probe_header(data, _POLICY)
        scale = _scale(max(header.width, header.height))
        shrunk = scale if header.format == "jpeg" else 1  # the others are decoded in full size
        if header.file_bytes + (header.predicted_bytes - header.file_bytes) // shrunk**2 > THUMBNAIL_BYTES:
            return None
        decoded = decode_image(data, _POLICY, scale_denom=scale)
        return thumbnails_of(decoded.pixels, decoded.orientation)
    except ImageError:
        return None


def thumbnails_of(pixels: Image, orientation: int) -> Thumbnails:
    """Of pixels in sRGB: uint8, uint16 or float32 in 0..1; (M, N), (M, N, 3) or (M, N, 4) with straight alpha.

    Raises
    ------
    ImageError
        They can't be resized.
    """
    small = apply_operations(_halved(pixels), _CHAIN, orientation=orientation).pixels
    if small.dtype == np.uint8:
        return Thumbnails(plain=_jpeg(small))
    white = 65535.0 if small.dtype == np.uint16 else 1.0
    samples = np.nan_to_num(small.astype(np.float32) / white, nan=0.0, posinf=1.0, neginf=0.0)
    stretched = samples.copy()
    colour = stretched[..., :3] if samples.ndim == 3 else stretched  # not the transparency
    low, high = np.percentile(colour, STRETCH)
    if high > low:
        colour -= low
        colour /= high - low
    return Thumbnails(plain=_jpeg(_bytes(samples)), stretched=_jpeg(_bytes(stretched)))


def _halved(pixels: Image) -> Image:
    """By means of 2 x 2 pixels, as often as more than a thumbnail is left: several times as fast as in one go.

    Colours with transparency are left to ``resize``, which weights them by it.
    """
    import cv2

    if pixels.ndim == 3 and pixels.shape[2] == 4:
        return pixels
    while max(pixels.shape[:2]) >= 2 * THUMBNAIL_PX and min(pixels.shape[:2]) >= 2:
        rows, columns = pixels.shape[0] // 2, pixels.shape[1] // 2
        even = pixels[: rows * 2, : columns * 2]  # of an odd number the last one goes
        pixels = cv2.resize(even, (columns, rows), interpolation=cv2.INTER_AREA)
    return pixels


def _bytes(samples: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.rint(np.clip(samples, 0, 1) * 255).astype(np.uint8)


def _jpeg(pixels: NDArray[np.uint8]) -> bytes:
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        pixels = _on_squares(pixels)
    return encode_image(pixels, _JPEG)


def _on_squares(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(M, N, 4) over a checkerboard."""
    rows, columns = np.ogrid[: pixels.shape[0], : pixels.shape[1]]
    ground = _SQUARES[(rows // _SQUARE_PX + columns // _SQUARE_PX) % 2][..., None]
    alpha = pixels[..., 3:].astype(np.float32) / 255
    over: NDArray[np.uint8] = np.rint(pixels[..., :3] * alpha + ground * (1 - alpha)).astype(np.uint8)
    return over


def _scale(longest_px: int) -> int:
    """The strongest reduction in the decoder that leaves at least the thumbnail's size."""
    return next((scale for scale in (8, 4, 2) if longest_px // scale >= THUMBNAIL_PX), 1)
