"""JPEG: header by walking the markers, pixels by libjpeg-turbo in strict mode.

Covers baseline, extended and progressive JPEG of 8 bits, gray, YCbCr, RGB, CMYK and YCCK. Further pictures in the file
(depth maps, gain maps, previews) aren't frames. Damage that leaves valid codes can't be seen: JPEG has no checksums.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import FailedReason, ImageError
from pipelines.image_io.colour_statements import exif_profile
from pipelines.image_io.exif import orientation_of, unprefixed
from pipelines.image_io.image_header import ColourSpace, ImageHeader, RawPixels
from pipelines.image_io.io_policies import ReadPolicy

_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_DECODABLE = {0xC0, 0xC1, 0xC2}
_PROGRESSIVE = 0xC2
_SCAN, _END, _APP0, _APP1, _APP2, _APP13 = 0xDA, 0xD9, 0xE0, 0xE1, 0xE2, 0xED
_STANDALONE = {0x01, *range(0xD0, 0xD9)}
_EXIF, _XMP, _ICC = b"Exif\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0"
_JFIF, _PHOTOSHOP = b"JFIF\0", b"Photoshop 3.0\0"
_CM_PER_INCH = {1: 1.0, 2: 2.54}
"""Unit of JFIF's density -> factor to pixels per inch."""
_IPTC_RESOURCE = 0x0404
_EXTRANEOUS = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
_MARKER = re.compile(rb"\xff+[\xc0-\xcf\xd8-\xfe]")
"""Not the zeros and restarts that stand in coded data."""
_SPACES: dict[int, ColourSpace] = {1: "gray", 3: "rgb", 4: "cmyk"}


@dataclass(slots=True)
class _Markers:
    """What stands before the first scan."""

    frame: tuple[int, int, int, int, int] | None = None
    """Marker, precision, height, width, components."""
    scan: int | None = None
    """Offset of the first scan."""
    exif: bytes | None = None
    xmp: bytes | None = None
    icc: dict[int, bytes] = field(default_factory=dict)
    photoshop: bytes = b""
    resolution: tuple[float, float] | None = None


def probe(data: bytes, frame: int) -> ImageHeader:
    """The header. Raises ImageError: ``truncated``, ``corrupt`` or ``unsupported_format``."""
    markers = _walk(data)
    if markers.frame is None:
        reason = FailedReason.TRUNCATED if markers.scan is None else FailedReason.CORRUPT
        raise ImageError(reason, "JPEG without a frame header")
    kind, precision, height, width, components = markers.frame
    if kind not in _DECODABLE or precision != 8:
        raise ImageError(
            FailedReason.UNSUPPORTED_FORMAT,
            f"JPEG of {precision} bits, process {kind - 0xC0}: only 8-bit baseline, extended and progressive are read",
        )
    if components not in _SPACES:
        raise ImageError(FailedReason.UNSUPPORTED_FORMAT, f"JPEG of {components} components; 1, 3 and 4 are read")
    if height == 0 or width == 0:
        raise ImageError(FailedReason.CORRUPT, f"JPEG of {width} x {height} px")
    icc = b"".join(content for _, content in sorted(markers.icc.items())) or None
    if icc is None and components != 4:
        icc = exif_profile(markers.exif, gray=components == 1)
    return ImageHeader(
        format="jpeg",
        width=width,
        height=height,
        channels=1 if components == 1 else 3,
        space=_SPACES[components],
        # progressive: the decoder holds every coefficient in 16 bits; CMYK: the inks
        working_copies=(2 if kind == _PROGRESSIVE else 0) + (2 if components == 4 else 0),
        orientation=orientation_of(markers.exif, markers.xmp),
        icc=icc,
        exif=markers.exif,
        xmp=markers.xmp,
        iptc=iptc_of(markers.photoshop),
        resolution=markers.resolution,
    )


def decode(data: bytes, header: ImageHeader, frame: int, policy: ReadPolicy, scale_denom: int) -> RawPixels:
    """The pixels, at 1/``scale_denom`` of the size (1, 2, 4 or 8), rounded up."""
    scan = _walk(data).scan
    if scan is None:
        raise ImageError(FailedReason.TRUNCATED, "JPEG ends before its first scan")
    if data.rfind(b"\xff\xd9", scan) >= 0:
        return RawPixels(_checked(data, header, scale_denom))
    if policy.truncated == "strict":
        raise ImageError(FailedReason.TRUNCATED, "JPEG ends in the middle of a scan; read.truncated: salvage shows it")
    data = _before_cut_segment(data, scan)
    pixels = _lenient(data, header, scale_denom)
    if policy.truncated == "flag":
        return RawPixels(pixels, "truncated")
    valid = _valid_share(data, header)
    if valid == 0:
        raise ImageError(FailedReason.TRUNCATED, "JPEG ends before its first rows are whole")
    return RawPixels(pixels, f"truncated: {valid:.0%} valid")


def _walk(data: bytes) -> _Markers:
    found, position = _Markers(), 2
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            raise ImageError(FailedReason.CORRUPT, f"JPEG has no marker at byte {position}")
        marker = data[position + 1]
        if marker == 0xFF or marker in _STANDALONE:
            position += 1 if marker == 0xFF else 2
            continue
        if marker == _END:
            break
        (length,) = struct.unpack_from(">H", data, position + 2)
        content = data[position + 4 : position + 2 + length]
        if length < 2:
            raise ImageError(FailedReason.CORRUPT, f"JPEG has a marker of {length} bytes at byte {position}")
        if len(content) < length - 2:
            break
        if marker == _SCAN:
            found.scan = position
            break
        _take(found, marker, content)
        position += 2 + length
    return found


def _take(found: _Markers, marker: int, content: bytes) -> None:
    if marker in _FRAMES and len(content) >= 6:
        found.frame = (marker, *struct.unpack_from(">BHHB", content))
    elif marker == _APP1 and content.startswith(_EXIF):
        found.exif = found.exif or unprefixed(content)
    elif marker == _APP1 and content.startswith(_XMP):
        found.xmp = found.xmp or content[len(_XMP) :]
    elif marker == _APP0 and content.startswith(_JFIF) and len(content) >= 12:
        unit, across, down = struct.unpack_from(">BHH", content, 7)
        if unit in _CM_PER_INCH and across and down:
            found.resolution = (across * _CM_PER_INCH[unit], down * _CM_PER_INCH[unit])
    elif marker == _APP13 and content.startswith(_PHOTOSHOP):
        found.photoshop += content[len(_PHOTOSHOP) :]
    elif marker == _APP2 and content.startswith(_ICC) and len(content) > len(_ICC) + 2:
        found.icc.setdefault(content[len(_ICC)], content[len(_ICC) + 2 :])


def iptc_of(photoshop: bytes) -> bytes | None:
    """IPTC among Photoshop's resources: each has a name and a length, both padded to an even one."""
    at = 0
    while photoshop[at : at + 4] == b"8BIM" and at + 7 < len(photoshop):
        kind = int.from_bytes(photoshop[at + 4 : at + 6], "big")
        at += 6 + (photoshop[at + 6] + 2) // 2 * 2
        size = int.from_bytes(photoshop[at : at + 4], "big")
        if kind == _IPTC_RESOURCE:
            return photoshop[at + 4 : at + 4 + size] or None
        at += 4 + size + size % 2
    return None


def _checked(data: bytes, header: ImageHeader, scale_denom: int) -> NDArray[Any]:
    try:
        return _turbo(data, header, scale_denom, strict=True)
    except ValueError as error:
        if not _is_padding(data, str(error)):
            raise ImageError(FailedReason.CORRUPT, f"JPEG is damaged: {error}") from error
    return _lenient(data, header, scale_denom)


def _is_padding(data: bytes, message: str) -> bool:
    """Whether a warning is about nothing but the zeros that some cameras leave before the end."""
    match = _EXTRANEOUS.search(message)
    if match is None:
        return False
    count, end = int(match.group(1)), data.rfind(b"\xff\xd9")
    padding = data[max(0, end - count) : end]
    return padding.strip(b"\0") == b"" or padding.strip(b"\xff") == b""


def _before_cut_segment(data: bytes, scan: int) -> bytes:
    """Without the segment that the cut goes through: libjpeg gives up on it, and on all that stands before."""
    at = scan
    while at + 4 <= len(data):
        end = at + 2 + struct.unpack_from(">H", data, at + 2)[0]
        if end > len(data):
            return data[:at]
        following = _MARKER.search(data, end) if data[at + 1] == _SCAN else _MARKER.match(data, end)
        if following is None:
            return data
        at = following.end() - 2
    return data[:at]


def _lenient(data: bytes, header: ImageHeader, scale_denom: int) -> NDArray[Any]:
    """The pixels with all gaps filled in. Raises ImageError: ``corrupt``, where the decoder gave up.

    simplejpeg then says nothing and returns what lay in memory: what it leaves alone shows over two grounds.
    """
    first, second = (_turbo(data, header, scale_denom, strict=False, ground=ground) for ground in (0, 255))
    if not np.array_equal(first, second):
        raise ImageError(FailedReason.CORRUPT, "JPEG is damaged where it is cut off: its decoder gives up")
    return first


def _turbo(
    data: bytes, header: ImageHeader, scale_denom: int, *, strict: bool, ground: int | None = None
) -> NDArray[Any]:
    rows, columns = -(-header.height // scale_denom), -(-header.width // scale_denom)
    options: dict[str, Any] = {} if scale_denom == 1 else {"min_height": rows, "min_width": columns}
    if ground is not None:
        stored = {"gray": 1, "rgb": 3, "cmyk": 4}[header.space]
        options["buffer"] = np.full((rows, columns, stored), ground, np.uint8)
    pixels = turbo_decode(data, header.space, strict=strict, **options)
    # Adobe stores the inks inverted, and everyone follows
    return np.subtract(255, pixels, dtype=np.uint8) if header.space == "cmyk" else pixels


def shape_of(data: bytes) -> tuple[int, int, int]:
    """Height, width and components as the header says. Raises ImageError."""
    frame = _walk(data).frame
    if frame is None:
        raise ImageError(FailedReason.CORRUPT, "JPEG without a frame header")
    return frame[2], frame[3], frame[4]


def turbo_decode(data: bytes, space: ColourSpace, *, strict: bool = True, **options: Any) -> NDArray[Any]:
    """libjpeg-turbo's pixels; strict: ValueError for everything that it warns of and fills in."""
    import simplejpeg  # type: ignore[import-untyped]

    colours = {"gray": "GRAY", "rgb": "RGB", "cmyk": "CMYK"}[space]
    pixels: NDArray[Any] = simplejpeg.decode_jpeg(data, colours, strict=strict, **options)
    return pixels[..., 0] if space == "gray" else pixels


def _valid_share(data: bytes, header: ImageHeader) -> float:
    """Share of the rows that don't depend on what follows the cut: two different endings leave them the same."""
    endings = (b"\x00" * 4096, b"\xaa" * 4096)
    cut = data[:-2] if len(data) > 2 else data  # the last bytes may be half a code
    first, second = (_lenient(cut + ending + b"\xff\xd9", header, 1) for ending in endings)
    same = (first == second).reshape(header.height, -1).all(axis=1)
    differing = np.flatnonzero(~same)
    return float(differing[0] / header.height) if differing.size else 1.0
