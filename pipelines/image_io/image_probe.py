"""Headers: the format by its first bytes, then size, type and frames, and the limits before any pixel is decoded."""

from __future__ import annotations

import struct
from dataclasses import replace
from importlib import import_module
from typing import Protocol, cast

from pipelines.errors import FailedReason, ImageError
from pipelines.image_io.image_header import ImageFormat, ImageHeader, RawPixels
from pipelines.image_io.io_policies import ReadPolicy
from pipelines.image_io.png_chunks import SIGNATURE
from pipelines.image_io.source_file import SourceFile, open_source, read_bytes

HEAD_BYTES = 4096
"""Enough to tell every format."""
_OTHERS = (
    (b"8BPS", "Photoshop"),
    (b"DDS ", "DDS"),
    (b"\x01\xda", "SGI"),
    (b"\x59\xa6\x6a\x95", "Sun raster"),
    (b"gimp xcf", "GIMP"),
    (b"/* XPM */", "XPM"),
    (b"SDPX", "DPX"),
    (b"XPDS", "DPX"),
    (b"\x80\x2a\x5f\xd7", "Cineon"),
    (b"SIMPLE  =", "FITS"),
    (b"\x8aMNG", "MNG"),
    (b"\x8bJNG", "JNG"),
    (b"icns", "Apple icon"),
    (b"II\xbc\x01", "JPEG XR"),
    (b"\xabKTX ", "KTX"),
    (b"AT&TFORM", "DjVu"),
    (b"\xd7\xcd\xc6\x9a", "WMF"),
    (b"FLIF", "FLIF"),
    (b"BPG\xfb", "BPG"),
    (b"%!PS", "PostScript"),
    (b"\xc5\xd0\xd3\xc6", "EPS"),
    (b"\0\0\x01\0", "Windows icon"),
    (b"\0\0\x02\0", "Windows cursor"),
    (b"\x76\x2f\x31\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"qoif", "QOI"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"FUJIFILM", "camera raw"),
    (b"IIRO", "camera raw"),
    (b"IIU\0", "camera raw"),
)
"""Image formats that are told apart only to say that they aren't read."""
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_AVIF_BRANDS, _HEIF_BRANDS = (b"avif", b"avis"), (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis")
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)
_CONTAINERS = (b"mif1", b"msf1", b"miaf", b"MA1B", b"MA1A")


class Reader(Protocol):
    """What each ``<format>_reader`` module offers."""

    def probe(self, data: bytes, frame: int) -> ImageHeader: ...

    def decode(
        self, data: bytes, header: ImageHeader, frame: int, policy: ReadPolicy, scale_denom: int
    ) -> RawPixels: ...


def probe_header(data: bytes, policy: ReadPolicy, *, frame: int = 0) -> ImageHeader:
    """The header of one frame, checked against the policy's limits.

    Raises
    ------
    ImageError
        ``not_an_image``, ``unsupported_format``, ``codec_missing``, ``bad_shape``, ``corrupt``, ``truncated`` or
        ``too_large``.
    """
    if len(data) > policy.max_file_bytes:
        raise ImageError(
            FailedReason.TOO_LARGE, f"{len(data):,} bytes of file, more than the limit of {policy.max_file_bytes:,}"
        )
    return _checked(reader_of(format_of(data)).probe(data, frame), len(data), policy, frame)


def probe_tiff(file: SourceFile, policy: ReadPolicy) -> ImageHeader:
    """The header of a TIFF file's first page, whatever the file's size; raises as ``probe_header``."""
    from pipelines.image_io import tiff_reader

    return _checked(tiff_reader.probe(file, 0), len(file), policy, 0)


def probe_file(path: bytes, policy: ReadPolicy) -> ImageHeader:
    """The header of a file's first frame; of a TIFF only what belongs to it is read.

    Raises
    ------
    ImageError
        As ``read_bytes`` and ``probe_header``.
    """
    with open_source(path) as file:
        if format_of(file[:HEAD_BYTES]) == "tiff":
            return probe_tiff(file, policy)
    return probe_header(read_bytes(path, max_bytes=policy.max_file_bytes), policy)


def _checked(header: ImageHeader, size: int, policy: ReadPolicy, frame: int) -> ImageHeader:
    taken = header.frames if policy.frames == "all" else 1
    header = replace(header, file_bytes=size, frame_count=taken)
    own = header.width * header.height
    total = max(own, header.frames_pixels or own * taken) if taken > 1 else own
    if total > policy.max_pixels:
        frames = f" x {taken} frames" if taken > 1 else ""
        raise ImageError(
            FailedReason.TOO_LARGE,
            f"{header.width} x {header.height} px{frames}, more than limits.max_pixels ({policy.max_pixels:,})",
        )
    if not 0 <= frame < header.frames:
        raise ImageError(FailedReason.BAD_SHAPE, f"the file has {header.frames} frames; there is no frame {frame}")
    return header


def format_of(data: bytes) -> ImageFormat:
    """The format by content. Raises ImageError: ``not_an_image`` or ``unsupported_format``, which it names."""
    if not data:
        raise ImageError(FailedReason.EMPTY, "the file has 0 bytes")
    found = _known_format(data)
    if found is not None:
        return found
    other = _other_format(data)
    if other is not None:
        raise ImageError(
            FailedReason.UNSUPPORTED_FORMAT, f"{other} isn't read; JPEG, PNG, TIFF, WebP, AVIF, BMP and GIF are"
        )
    raise ImageError(FailedReason.NOT_AN_IMAGE, "the content is no image, whatever the name says")


def reader_of(format: ImageFormat) -> Reader:
    """The one module that reads a format; imported when first needed."""
    return cast(Reader, import_module(f"pipelines.image_io.{format}_reader"))


def _known_format(data: bytes) -> ImageFormat | None:
    tests: tuple[tuple[ImageFormat, bool], ...] = (
        ("jpeg", data.startswith(b"\xff\xd8\xff")),
        ("png", data.startswith(SIGNATURE)),
        ("gif", data.startswith((b"GIF87a", b"GIF89a"))),
        ("tiff", data.startswith(_TIFF) and data[8:10] != b"CR"),
        ("webp", data.startswith(b"RIFF") and data[8:12] == b"WEBP"),
        ("bmp", _is_bmp(data)),
        ("avif", _is_avif(data)),
    )
    return next((format for format, matches in tests if matches), None)


def _is_bmp(data: bytes) -> bool:
    """Two letters are too little to go by: the second header must be of a size that exists."""
    return data[:2] == b"BM" and (len(data) < 18 or int.from_bytes(data[14:18], "little") in _BMP_HEADERS)


def _is_avif(data: bytes) -> bool:
    brands = _brands(data)
    if not brands:
        return False
    return brands[0] in _AVIF_BRANDS or (brands[0] in _CONTAINERS and any(brand in _AVIF_BRANDS for brand in brands))


def _brands(data: bytes) -> list[bytes]:
    if data[4:8] != b"ftyp":
        return []
    end = min(int.from_bytes(data[:4], "big"), len(data), 256)
    return [data[8:12], *(data[at : at + 4] for at in range(16, end - 3, 4))]


def _other_format(data: bytes) -> str | None:
    brands = _brands(data)
    tests = (
        ("HEIF", bool(brands) and (brands[0] in _HEIF_BRANDS or brands[0] in _CONTAINERS)),
        ("camera raw", brands[:1] == [b"crx "] or (data[:4] in _TIFF and data[8:10] == b"CR")),
        ("DICOM", data[128:132] == b"DICM"),
        ("Netpbm", data[:1] == b"P" and data[1:2] in b"1234567Ff" and data[2:3] in b"\n\r\t "),
        ("OS/2 bitmap array", data[:2] == b"BA" and data[14:16] == b"BM"),
        *((name, data.startswith(magic)) for magic, name in _OTHERS),
        ("PCX", _is_pcx(data)),
        ("TGA", _is_tga(data)),
    )
    return next((name for name, matches in tests if matches), None)


def _is_pcx(data: bytes) -> bool:
    """One letter, then numbers that must be right: version, packing, bits, corners."""
    if len(data) < 68 or data[0] != 0x0A or data[1] > 5 or data[2] > 1 or data[3] not in (1, 2, 4, 8):
        return False
    left, top, right, bottom = struct.unpack_from("<HHHH", data, 4)
    return bool(left <= right and top <= bottom) and data[64] == 0 and 1 <= data[65] <= 4


def _is_tga(data: bytes) -> bool:
    """No letters at all at the beginning: every number must be right, or the letters at the end."""
    if data.endswith(b"TRUEVISION-XFILE.\0"):
        return True
    if len(data) < 19 or data[1] > 1:
        return False
    colours, first, count, entry = data[1], *struct.unpack_from("<HHB", data, 3)
    _, _, width, height, bits, flags = struct.unpack_from("<HHHHBB", data, 8)
    table = bool(count and entry in (15, 16, 24, 32)) if colours else (first, count, entry) == (0, 0, 0)
    depths = {1: (8, 16), 2: (15, 16, 24, 32), 3: (8, 16)}.get(data[2] & ~8, ())
    mapped = data[2] & ~8 != 1 or colours == 1
    return table and mapped and bits in depths and width > 0 and height > 0 and flags & 0xC0 == 0
