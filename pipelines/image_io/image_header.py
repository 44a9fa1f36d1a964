"""What is known of an image: before decoding (its header) and after (its pixels).

Headers come from ``image_probe``, decoded images from ``image_decoding``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from numpy.typing import NDArray

ImageFormat = Literal["jpeg", "png", "tiff", "webp", "avif", "bmp", "gif"]
ColourSpace = Literal["gray", "rgb", "cmyk"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageHeader:
    """One frame of a file as its header describes it; no pixel has been decoded."""

    format: ImageFormat
    """By content; the name of the file plays no part."""
    width: int
    """As stored, before any EXIF orientation."""
    height: int
    channels: int
    """Of the decoded pixels: 1 gray, 3 RGB, 4 RGB and straight alpha."""
    dtype: str = "uint8"
    """Of the decoded pixels: ``uint8``, ``uint16`` or ``float32``."""
    space: ColourSpace = "rgb"
    """Of the stored colours; CMYK is decoded to RGB."""
    frames: int = 1
    """Images in the file."""
    frames_pixels: int = 0
    """Width x height summed over all frames, where they differ in size; 0: all are as large as this one."""
    frame_count: int = 1
    """Images that the policy takes: 1 or ``frames``."""
    working_copies: int = 1
    """Arrays of the image's size that decoding holds at a time, besides the result."""
    file_bytes: int = 0
    orientation: int = 1
    """EXIF 1 to 8; what a viewer would apply."""
    icc: bytes | None = field(default=None, repr=False)
    """Colour profile: embedded, or made of what the file says of its colours otherwise; None: sRGB, or not said."""
    exif: bytes | None = field(default=None, repr=False)
    """EXIF as a TIFF structure, without the ``Exif`` signature."""
    xmp: bytes | None = field(default=None, repr=False)
    """XMP packet."""
    iptc: bytes | None = field(default=None, repr=False)
    """IPTC data sets (IIM)."""
    resolution: tuple[float, float] | None = None
    """Pixels per inch, across and down, as the format says beside EXIF."""
    stored_bits: int = 0
    """Bits per sample of an AVIF with more than 8, which ``dtype`` doesn't tell; else 0."""
    is_lossless: bool = False
    """Whether a WebP or AVIF, which may be either, holds its pixels without loss."""
    notes: tuple[str, ...] = ()
    """What is odd about the file's metadata though its pixels are fine."""

    @property
    def pixel_bytes(self) -> int:
        """Size of the decoded array."""
        return self.width * self.height * self.channels * {"uint8": 1, "uint16": 2, "float32": 4}[self.dtype]

    @property
    def predicted_bytes(self) -> int:
        """Memory that decoding one frame takes at its peak: the file, the pixels and what is made on the way."""
        return self.file_bytes + self.pixel_bytes * (1 + self.working_copies)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedImage:
    """The pixels of one frame, and what else its file says that outputs need."""

    pixels: NDArray[Any]
    """uint8, uint16 or float32; (M, N), (M, N, 3) or (M, N, 4) with straight alpha. Not turned by ``orientation``."""
    header: ImageHeader
    orientation: int = 1
    """EXIF 1 to 8, still to be applied: by ``auto_orient``, or by whoever shows the pixels."""
    degraded: str | None = None
    """Why the pixels are less than the file promised: ``truncated: 63% valid``."""
    icc: bytes | None = field(default=None, repr=False)
    """Profile that the pixels are in; None: sRGB, or unknown."""

    @property
    def exif(self) -> bytes | None:
        return self.header.exif


@dataclass(frozen=True, slots=True)
class RawPixels:
    """What a reader gives: pixels in the file's own colours."""

    pixels: NDArray[Any]
    """(M, N), (M, N, 2) gray with alpha, (M, N, 3), (M, N, 4): RGB with alpha, or CMYK (255 = full ink)."""
    degraded: str | None = None
