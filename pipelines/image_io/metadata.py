"""What outputs say of their picture besides its pixels: EXIF, XMP, IPTC and resolution of the source, made true.

Tags that tell how the pixels are stored, or where on them something is, are those of the source's pixels: they are set
to what is written, or left out. Which format has a place for what is told as well; writers put it there.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from xml.sax.saxutils import escape

from pipelines.image_io.exif_block import (
    LONG,
    MAKER_NOTE,
    RATIONAL,
    SHORT,
    Directory,
    ExifBlock,
    exif_bytes,
    parse_exif,
    text_field,
)
from pipelines.image_io.image_header import ImageHeader
from pipelines.image_io.io_policies import EncodeOptions

Resolution = tuple[float, float]
"""Pixels per inch, across and down."""

_ARTIST, _COPYRIGHT = 0x013B, 0x8298
_ORIENTATION, _X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 0x0112, 0x011A, 0x011B, 0x0128
_WIDTH, _HEIGHT = 0x0100, 0x0101
_EXIF_WIDTH, _EXIF_HEIGHT, _COLOUR_SPACE = 0xA002, 0xA003, 0xA001
_DESCRIPTIVE = {
    *(0x010D, 0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013C, _ARTIST, 0x83BB, _COPYRIGHT),
    *(0x4746, 0x4749, *range(0x9C9B, 0x9CA0), 0xA480, 0xA481),
    *(_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT),
}
"""Tags of a main directory that describe the picture rather than how it is stored; XP texts and ratings among them."""
_IPTC = 0x83BB
_OF_STORAGE = {0x9101, 0x9102, 0xA500}
"""Components, bits per pixel, gamma: of the source's file."""
_OF_GEOMETRY = {0x9214, 0xA214, 0xA20E, 0xA20F, 0xA210}
"""Places on the pixels and pixels of the sensor: untrue once the picture has another size or stands another way."""
_SRGB, _UNCALIBRATED = 1, 0xFFFF
_INCH, _CENTIMETRE = 2, 3
_CM_PER_INCH = 2.54
_PLACES = {
    "jpeg": {"EXIF", "XMP", "IPTC"},
    "png": {"EXIF", "XMP", "IPTC"},
    "tiff": {"EXIF", "XMP", "IPTC"},
    "webp": {"EXIF", "XMP"},
    "avif": {"EXIF", "XMP"},
    "bmp": set[str](),
}
"""Format -> what it has a place for. Resolution has one everywhere, in EXIF where not beside it."""
_OWN_RESOLUTION = {"jpeg", "png", "tiff", "bmp"}
_JPEG_BYTES = 65_000
"""That one segment of a JPEG can hold, names of the kinds aside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What a writer puts beside the pixels."""

    exif: bytes | None = None
    """With the orientation that is left to apply."""
    xmp: bytes | None = None
    iptc: bytes | None = None
    resolution: Resolution | None = None
    lost: tuple[str, ...] = ()
    """What was to be kept and has no place."""


def metadata_for(
    header: ImageHeader | None,
    options: EncodeOptions,
    format: str,
    *,
    size: tuple[int, int],
    orientation: int,
    is_srgb: bool,
) -> Metadata:
    """What to write.

    Parameters
    ----------
    header
        Of the source, if there is one.
    size
        Width and height of the pixels as they are stored.
    orientation
        What a viewer still has to apply.
    is_srgb
        No profile goes with the pixels.
    """
    kept = options.metadata != "strip"
    source = header if header is not None and kept else None
    without_gps = options.metadata == "keep_but_gps"
    block = (source and parse_exif(source.exif or b"")) or ExifBlock()
    if source is not None:
        _make_true(block, source, size, orientation, is_srgb)
    if without_gps:
        block.gps.clear()
        block.exif.pop(MAKER_NOTE, None)  # nobody can see what it holds
    resolution = None if source is None else source.resolution or resolution_of(block)
    if resolution is not None and (format not in _OWN_RESOLUTION or _X_RESOLUTION in block.main):
        _put_resolution(block, resolution)
    for tag, text in ((_ARTIST, options.artist), (_COPYRIGHT, options.copyright)):
        if text is not None:
            block.main[tag] = text_field(text)
    lost: list[str] = []
    xmp = None if source is None or source.xmp is None else _true_xmp(source.xmp, size, orientation, is_srgb)
    if xmp is not None:
        if _EXTENDED.search(xmp):
            xmp = _EXTENDED.sub(b"", xmp)
            lost.append("part of XMP left out: it lies in segments of its own")
        xmp = _credited_xmp(xmp, options)
        if without_gps and (xmp := _xmp_without_gps(xmp)) is None:
            lost.append("XMP left out: its GPS can't be told from the rest")
    iptc = None if source is None or source.iptc is None else _true_iptc(source.iptc, options)
    _put_orientation(block, orientation)
    exif = None if block.is_empty() else exif_bytes(block)
    found = {"EXIF": exif, "XMP": xmp, "IPTC": iptc or None}
    for name, content in found.items():
        if content is not None and name not in _PLACES[format]:
            # a tag of orientation alone is no loss: BMP is turned instead
            if name != "EXIF" or len(block.main) + len(block.exif) + len(block.gps) > (orientation != 1):
                lost.append(f"{name} left out: {format} has no place for it")
            found[name] = None
        elif content is not None and format == "jpeg" and len(content) > _JPEG_BYTES:
            lost.append(f"{name} left out: {len(content):,} bytes don't fit into a JPEG")
            found[name] = None
    return Metadata(exif=found["EXIF"], xmp=found["XMP"], iptc=found["IPTC"], resolution=resolution, lost=tuple(lost))


def described_exif(tiff: ExifBlock | None) -> bytes | None:
    """The descriptive tags of a TIFF page as an EXIF block; None if there are none."""
    if tiff is None:
        return None
    kept = {tag: found for tag, found in tiff.main.items() if tag in _DESCRIPTIVE - {_IPTC}}
    described = ExifBlock(tiff.order, kept, tiff.exif, tiff.gps, tiff.interop)
    return None if described.is_empty() else exif_bytes(described)


def resolution_of(block: ExifBlock | None) -> Resolution | None:
    """Pixels per inch as the tags of a main directory say."""
    if block is None:
        return None
    across, down, unit = (
        next(iter(block.numbers(block.main, tag)), 0) for tag in (_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT)
    )
    across, down, unit = across or down, down or across, unit or _INCH
    if not across or not down or unit not in (_INCH, _CENTIMETRE):
        return None
    scale = _CM_PER_INCH if unit == _CENTIMETRE else 1.0
    return across * scale, down * scale


# ---- EXIF ------------------------------------------------------------------------------------------------------------


def _make_true(block: ExifBlock, header: ImageHeader, size: tuple[int, int], orientation: int, is_srgb: bool) -> None:
    """Leave out or set what is said of the source's pixels."""
    stated = {tag for tag in (_WIDTH, _HEIGHT) if tag in block.main}
    block.main = {tag: found for tag, found in block.main.items() if tag in _DESCRIPTIVE}
    for tag, value in ((_WIDTH, size[0]), (_HEIGHT, size[1])):
        if tag in stated:
            block.put(block.main, tag, LONG, value)
    gone = set(_OF_STORAGE)
    if (header.width, header.height, header.orientation) != (*size, orientation):
        gone |= _OF_GEOMETRY
    block.exif = {tag: found for tag, found in block.exif.items() if tag not in gone}
    for tag, value in ((_EXIF_WIDTH, size[0]), (_EXIF_HEIGHT, size[1])):
        if tag in block.exif:
            block.put(block.exif, tag, LONG, value)
    if _COLOUR_SPACE in block.exif:
        block.put(block.exif, _COLOUR_SPACE, SHORT, _SRGB if is_srgb else _UNCALIBRATED)
    block.interop = {}  # R98 or R03, and sizes: what it says stands elsewhere by now


def _put_orientation(block: ExifBlock, orientation: int) -> None:
    block.main.pop(_ORIENTATION, None)
    if orientation != 1:
        block.put(block.main, _ORIENTATION, SHORT, orientation)


def _put_resolution(block: ExifBlock, resolution: Resolution) -> None:
    """Say it in EXIF, too; what the format itself says comes first where the source has two."""
    for tag, value in zip((_X_RESOLUTION, _Y_RESOLUTION), resolution, strict=True):
        block.put(block.main, tag, RATIONAL, *as_fraction(value))
    block.put(block.main, _RESOLUTION_UNIT, SHORT, _INCH)


def as_fraction(value: float) -> tuple[int, int]:
    """A positive number as EXIF and TIFF hold it: whole where it is whole."""
    if value == round(value) and value < 1 << 32:
        return int(value), 1
    return min(round(value * 1000), (1 << 32) - 1), 1000


# ---- XMP -------------------------------------------------------------------------------------------------------------

_STATED = r"(?:(\s{name}\s*=\s*)([\"'])(?:(?!\2).)*\2|(<{name}(?:\s[^>]*)?>)[^<]*(</{name}>))"
_THUMBNAILS = re.compile(rb"<xmp:Thumbnails\b.*?</xmp:Thumbnails>", re.DOTALL)
_GPS_ATTRIBUTE = re.compile(rb"\s[\w.-]+:gps[\w.-]*\s*=\s*(?:\"[^\"]*\"|'[^']*')", re.IGNORECASE)
_GPS_ELEMENT = re.compile(rb"<([\w.-]+:gps[\w.-]*)(?:\s[^>]*)?(?:/>|>.*?</\1\s*>)", re.IGNORECASE | re.DOTALL)
_EXTENDED = re.compile(rb"\sxmpNote:HasExtendedXMP\s*=\s*(?:\"[^\"]*\"|'[^']*')")
"""In a JPEG, says that more of XMP is elsewhere."""
_DESCRIPTION = re.compile(rb"<rdf:Description\b[^>]*?(/?)>", re.DOTALL)


def _true_xmp(xmp: bytes, size: tuple[int, int], orientation: int, is_srgb: bool) -> bytes:
    values = {
        "tiff:Orientation": orientation,
        "tiff:ImageWidth": size[0],
        "tiff:ImageLength": size[1],
        "exif:PixelXDimension": size[0],
        "exif:PixelYDimension": size[1],
        "exif:ColorSpace": _SRGB if is_srgb else _UNCALIBRATED,
    }
    for name, value in values.items():
        xmp = _stated_in(xmp, name, str(value).encode())
    if is_srgb:
        xmp = _stated_in(xmp, "photoshop:ICCProfile", b"sRGB IEC61966-2.1")
    return _THUMBNAILS.sub(b"", xmp)


def _stated_in(xmp: bytes, name: str, value: bytes) -> bytes:
    """A property with another value, where the packet has it."""
    pattern = re.compile(_STATED.format(name=name).encode(), re.DOTALL)

    def replaced(match: re.Match[bytes]) -> bytes:
        if match[1] is not None:
            return match[1] + match[2] + value + match[2]
        return match[3] + value + match[4]

    return pattern.sub(replaced, xmp)


def _xmp_without_gps(xmp: bytes) -> bytes | None:
    """A packet without places; None where something is left that may be one."""
    cleaned = _GPS_ATTRIBUTE.sub(b"", _GPS_ELEMENT.sub(b"", xmp))
    return None if b"gps" in cleaned.lower() or b"\0" in cleaned else cleaned


def _credited_xmp(xmp: bytes, options: EncodeOptions) -> bytes:
    """A packet that says ``copyright`` and ``artist`` as the options do."""
    added = b""
    wanted = (
        ("dc:rights", options.copyright, '<rdf:Alt><rdf:li xml:lang="x-default">{}</rdf:li></rdf:Alt>'),
        ("dc:creator", options.artist, "<rdf:Seq><rdf:li>{}</rdf:li></rdf:Seq>"),
    )
    for name, text, form in wanted:
        if text is not None:
            xmp = re.sub(rf"<{name}\b.*?</{name}\s*>".encode(), b"", xmp, flags=re.DOTALL)
            added += f"<{name}>{form.format(escape(text))}</{name}>".encode()
    match = _DESCRIPTION.search(xmp)
    if not added or match is None:
        return xmp
    opened = xmp[match.start() : match.end()]
    if b"xmlns:dc=" not in opened:
        at = len(b"<rdf:Description")
        opened = opened[:at] + b' xmlns:dc="http://purl.org/dc/elements/1.1/"' + opened[at:]
    if match[1]:
        opened = opened[:-2] + b">" + added + b"</rdf:Description>"
    else:
        opened += added
    return xmp[: match.start()] + opened + xmp[match.end() :]


# ---- IPTC ------------------------------------------------------------------------------------------------------------

_PREVIEWS = {(2, 200), (2, 201), (2, 202), (2, 131)}
"""Previews of the picture, and which way it lies."""
_OF_IMAGE_RECORD = 3
_BYLINE, _IPTC_COPYRIGHT = (2, 80), (2, 116)
_UTF8 = b"\x1b%G"


def _true_iptc(iptc: bytes, options: EncodeOptions) -> bytes:
    """The data sets that don't describe pixels, with ``copyright`` and ``artist`` as the options say."""
    replaced = {
        number: text
        for number, text in ((_BYLINE, options.artist), (_IPTC_COPYRIGHT, options.copyright))
        if text is not None
    }
    sets = list(_data_sets(iptc))
    charset = "utf-8" if any(number == (1, 90) and value == _UTF8 for number, value in sets) else "latin-1"
    kept = [
        (number, value)
        for number, value in sets
        if number[0] != _OF_IMAGE_RECORD and number not in _PREVIEWS and number not in replaced
    ]
    for number, text in replaced.items():
        kept.append((number, text.encode(charset, "replace")))
    # sets of one record stand together; within it they may come in any order
    return b"".join(
        struct.pack(">BBBH", 0x1C, *number, len(value)) + value
        for number, value in sorted(kept, key=lambda entry: entry[0][0])
        if len(value) < 0x8000
    )


def _data_sets(iptc: bytes) -> Iterator[tuple[tuple[int, int], bytes]]:
    at = 0
    while at + 5 <= len(iptc) and iptc[at] == 0x1C:
        record, number, length = struct.unpack_from(">BBH", iptc, at + 1)
        at += 5
        if length & 0x8000:  # the length's own length
            size = length & 0x7FFF
            length = int.from_bytes(iptc[at : at + size], "big")
            at += size
        if at + length > len(iptc):
            return
        yield (record, number), iptc[at : at + length]
        at += length


__all__ = ["Directory", "Metadata", "Resolution", "as_fraction", "described_exif", "metadata_for", "resolution_of"]
