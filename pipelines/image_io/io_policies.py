"""What a job asks of reading and writing image files: policies as plain values, checked when made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from pipelines.errors import RayjobsError

OutputFormat = Literal["jpeg", "png", "tiff", "webp", "avif", "original"]

TIFF_COMPRESSIONS = ("none", "deflate", "lzw", "zstd", "lzma", "packbits")
_SUFFIXES = {
    "jpeg": ".jpg",
    "png": ".png",
    "tiff": ".tif",
    "webp": ".webp",
    "avif": ".avif",
    "bmp": ".bmp",
    "gif": ".png",  # a GIF holds 256 colours, a rendered one seldom: its "original" format is PNG
}
_EIGHT_BIT = ("jpeg", "webp", "avif")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPolicy:
    """How inputs are decoded, and how much one may ask for."""

    truncated: Literal["strict", "salvage", "flag"] = "strict"
    """What a cut-off file becomes: failed; done with its valid share measured; done and marked, unmeasured."""
    frames: Literal["first", "all"] = "first"
    """Of files with several images; limits count every frame that is taken."""
    color: Literal["srgb", "keep"] = "srgb"
    """Convert embedded colour profiles to sRGB, or keep them beside the pixels."""
    max_pixels: int = 2_000_000_000
    """Width x height x frames, checked before decoding."""
    max_file_bytes: int = 4 * 1024**3
    """Checked before reading."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodeOptions:
    """How an image is written. Raises RayjobsError for options that contradict each other."""

    format: OutputFormat
    """``original``: that of the source; a GIF becomes a PNG."""
    quality: int = 90
    """Of JPEG, WebP and AVIF, 1 to 100."""
    compression: str | int | None = None
    """PNG: 0 to 9, 6 unless given. TIFF: a name of ``TIFF_COMPRESSIONS``, deflate unless given."""
    bit_depth: Literal[8, 16] | None = None
    """Bits per sample. None: those of the pixels, as far as the format carries them."""
    metadata: Literal["strip", "keep"] = "strip"
    """EXIF of the source. A colour profile that the pixels are in is always written."""

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            raise RayjobsError(f"quality is {self.quality}; give 1 to 100")
        if self.bit_depth == 16 and self.format in _EIGHT_BIT:
            raise RayjobsError(f"{self.format} stores 8 bits per sample; for 16 use png or tiff")
        self._check_compression()

    def _check_compression(self) -> None:
        value = self.compression
        if value is None:
            return
        if self.format == "png" and not (isinstance(value, int) and 0 <= value <= 9):
            raise RayjobsError(f"compression of PNG is {value!r}; give 0 to 9")
        if self.format == "tiff" and value not in TIFF_COMPRESSIONS:
            raise RayjobsError(f"compression of TIFF is {value!r}; give one of {', '.join(TIFF_COMPRESSIONS)}")
        if self.format in _EIGHT_BIT:
            raise RayjobsError(f"compression doesn't apply to {self.format}; use quality")


def format_of(suffix: str) -> OutputFormat:
    """What a file of a suffix is written as, by the suffix alone: ``.JPEG`` is ``jpeg``."""
    spelled = {".jpeg": ".jpg", ".tiff": ".tif"}.get(suffix.lower(), suffix.lower())
    formats = {_SUFFIXES[format]: format for format in get_args(OutputFormat) if format in _SUFFIXES}
    if spelled not in formats:
        raise RayjobsError(f"no format for {suffix!r}; give one of {', '.join(formats)}")
    found: OutputFormat = formats[spelled]
    return found


def suffix_of(format: str, source_format: str | None = None) -> str:
    """The suffix of files that are written as ``format``; ``original`` needs the format in the source's header."""
    return _SUFFIXES[source_format or "png" if format == "original" else format]
