"""What a job asks of reading and writing image files: policies as plain values, checked when made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from pipelines.errors import RayjobsError

DECODING_VERSION = "3"
"""Raised whenever a file that was read before gives other pixels: results of older ones are made anew."""

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
    quality: int | Literal["lossless"] = 90
    """Of JPEG, WebP and AVIF, 1 to 100, or without loss; PNG and TIFF are so anyway, JPEG can't be."""
    chroma: Literal[444, 420] | None = None
    """Colour resolution of JPEG, AVIF and WebP, full or half; that of the format unless given."""
    compression: str | int | None = None
    """PNG: 0 to 9, 6 unless given. TIFF: a name of ``TIFF_COMPRESSIONS``, deflate unless given."""
    bit_depth: Literal[8, 16] | None = None
    """Bits per sample. None: those of the pixels, as far as the format carries them."""
    metadata: Literal["strip", "keep", "keep_but_gps"] = "strip"
    """EXIF, XMP, IPTC and resolution of the source. A colour profile that the pixels are in is always written."""
    copyright: str | None = None
    """To say in the metadata, whatever the source says."""
    artist: str | None = None

    def __post_init__(self) -> None:
        self._check_quality()
        if self.bit_depth == 16 and self.format in _EIGHT_BIT:
            raise RayjobsError(f"{self.format} stores 8 bits per sample; for 16 use png or tiff")
        self._check_compression()

    def _check_quality(self) -> None:
        if self.quality != "lossless" and not 1 <= self.quality <= 100:
            raise RayjobsError(f"quality is {self.quality}; give 1 to 100, or lossless")
        if self.quality == "lossless" and self.format == "jpeg":
            raise RayjobsError("JPEG can't be lossless: give a quality up to 100, or use png, tiff, webp or avif")
        if self.chroma is None:
            return
        if self.format in ("png", "tiff"):
            raise RayjobsError(f"{self.format} always has its colours in full resolution; leave chroma out")
        if self.quality == "lossless" and self.chroma != 444:
            raise RayjobsError("what is lossless has its colours in full resolution; leave chroma out")
        if self.format == "webp" and self.chroma == 444 and self.quality != "lossless":
            raise RayjobsError(
                "WebP with loss always has half colour resolution: use quality: lossless, or avif or jpeg for 444"
            )

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
