"""What outputs say of their picture besides its pixels: EXIF, XMP, IPTC and resolution of the source, made true.

Tags that tell how the pixels are stored, or where on them something is, are those of the source's pixels: they are set
to what is written, or left out. Which format has a place for what is told as well; writers put it there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipelines.image_io.exif_block import (
    LONG,
    MAKER_NOTE,
    RATIONAL,
    SHORT,
    SRGB,
    UNCALIBRATED,
    Directory,
    ExifBlock,
    exif_bytes,
    parse_exif,
    text_field,
)
from pipelines.image_io.image_header import ImageHeader
from pipelines.image_io.io_policies import EncodeOptions
from pipelines.image_io.iptc_sets import written_iptc
from pipelines.image_io.xmp_packet import written_xmp

Resolution = tuple[float, float]
"""Pixels per inch, across and down."""

Scale = tuple[float, float]
"""Rows and columns of the file's pixels that one pixel of the picture stands for."""

_DESCRIPTION_TAG, _ARTIST, _COPYRIGHT, _XP_AUTHOR = 0x010E, 0x013B, 0x8298, 0x9C9D
_ORIENTATION, _X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 0x0112, 0x011A, 0x011B, 0x0128
_WIDTH, _HEIGHT = 0x0100, 0x0101
_EXIF_WIDTH, _EXIF_HEIGHT, _COLOUR_SPACE = 0xA002, 0xA003, 0xA001
_DESCRIPTIVE = {
    *(0x010D, _DESCRIPTION_TAG, 0x010F, 0x0110, 0x0131, 0x0132, 0x013C, _ARTIST, 0x83BB, _COPYRIGHT),
    *(0x4746, 0x4749, *range(0x9C9B, 0x9CA0), 0xA480, 0xA481),
    *(_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT),
}
"""Tags of a main directory that describe the picture rather than how it is stored; XP texts and ratings among them."""
_IPTC = 0x83BB
_OF_STORAGE = {0x9101, 0x9102, 0xA500}
"""Components, bits per pixel, gamma: of the source's file."""
_OF_GEOMETRY = {0x9214, 0xA214, 0xA20E, 0xA20F, 0xA210}
"""Places on the pixels and pixels of the sensor: untrue once the picture has another size or stands another way."""
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
_STRUCTURED = {
    "ImageJ": re.compile(rb"^ImageJ="),
    "OME-XML": re.compile(rb"OME>$"),
    "tifffile": re.compile(rb'^(\{"shape"|shape=\()'),
}
"""Who writes into a description which pictures its file holds, and how large their pixels are."""
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
    per_centimetre: bool = False
    """Whether the resolution is that of what is shown, in centimetres, rather than that of a print."""
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
    scale: Scale | None = (1.0, 1.0),
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
    scale
        Of the pixels, along the rows and columns of what is stored; None: an operation didn't say.
    """
    source = header if header is not None and options.metadata != "strip" else None
    without_gps = options.metadata == "keep_but_gps"
    block = (source and parse_exif(source.exif or b"")) or ExifBlock()
    density, lost = _Density(), list[str]()
    if source is not None:
        density, lost = _true_density(block, source, orientation, scale)
        _make_true(block, source, size, orientation, is_srgb)
    if without_gps:
        block.gps.clear()
        block.exif.pop(MAKER_NOTE, None)  # nobody can see what it holds
    if density.resolution is not None and (format not in _OWN_RESOLUTION or _X_RESOLUTION in block.main):
        _put_resolution(block, density.resolution, density.is_measure)
    for tag, text in ((_ARTIST, options.artist), (_COPYRIGHT, options.copyright)):
        if text is not None:
            block.main[tag] = text_field(text)
    if options.artist is not None:
        block.main.pop(_XP_AUTHOR, None)  # Windows' word for the same
    xmp = None
    if source is not None and source.xmp is not None:
        xmp, lost_of_xmp = written_xmp(source.xmp, options, size=size, orientation=orientation, is_srgb=is_srgb)
        lost += lost_of_xmp
    iptc = None if source is None or source.iptc is None else written_iptc(source.iptc, options)
    _put_orientation(block, orientation)
    exif = None if block.is_empty() else exif_bytes(block)
    found = {"EXIF": exif, "XMP": xmp, "IPTC": iptc or None}
    # a tag of orientation alone is no loss: BMP is turned instead
    missed = len(block.main) + len(block.exif) + len(block.gps) > (orientation != 1)
    lost += _drop_misfits(found, format, exif_is_missed=missed)
    return Metadata(
        exif=found["EXIF"],
        xmp=found["XMP"],
        iptc=found["IPTC"],
        resolution=density.resolution,
        per_centimetre=density.is_measure,
        lost=tuple(lost),
    )


def _drop_misfits(found: dict[str, bytes | None], format: str, *, exif_is_missed: bool) -> list[str]:
    """Leave out what the format can't hold, and say so."""
    lost = []
    for name, content in found.items():
        if content is not None and name not in _PLACES[format]:
            if name != "EXIF" or exif_is_missed:
                lost.append(f"{name} left out: {format} has no place for it")
            found[name] = None
        elif content is not None and format == "jpeg" and len(content) > _JPEG_BYTES:
            lost.append(f"{name} left out: {len(content):,} bytes don't fit into a JPEG")
            found[name] = None
    return lost


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


# ---- how large pixels are --------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Density:
    resolution: Resolution | None = None
    is_measure: bool = False
    """Of what is shown, as microscopes say it; else of a print, which has as many pixels per inch at any size."""


def _structure(block: ExifBlock) -> str | None:
    """Whose words the description is, if it tells which pictures the source's file holds."""
    found = block.main.get(_DESCRIPTION_TAG)
    text = b"" if found is None else found.data.strip(b"\0 \t\r\n")
    return next((writer for writer, pattern in _STRUCTURED.items() if pattern.search(text)), None)


def _true_density(
    block: ExifBlock, source: ImageHeader, orientation: int, scale: Scale | None
) -> tuple[_Density, list[str]]:
    """The resolution of the new pixels, and what had to be left out of the block.

    TIFF measures in centimetres, or beside a description of its structure; inches are those of a print, as in all
    formats.
    """
    lost = []
    writer = _structure(block)
    if writer is not None:
        del block.main[_DESCRIPTION_TAG]
        lost.append(f"description left out: it tells what the source's file holds, as {writer} writes it")
    resolution = source.resolution or resolution_of(block)
    unit = next(iter(block.numbers(block.main, _RESOLUTION_UNIT)), _INCH)
    if source.format != "tiff" or (writer is None and unit == _INCH):
        return _Density(resolution), lost
    turned = (source.orientation >= 5) != (orientation >= 5)
    if resolution is not None and scale is not None:
        across, down = resolution[::-1] if turned else resolution
        return _Density((across / scale[1], down / scale[0]), is_measure=True), lost
    if resolution is not None:
        lost.append("resolution left out: an operation doesn't say its scale")
    if resolution is not None or scale != (1.0, 1.0) or turned or writer is not None:
        for tag in (_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT):
            block.main.pop(tag, None)
    return _Density(is_measure=True), lost


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
        block.put(block.exif, _COLOUR_SPACE, SHORT, SRGB if is_srgb else UNCALIBRATED)
    block.interop = {}  # R98 or R03, and sizes: what it says stands elsewhere by now


def _put_orientation(block: ExifBlock, orientation: int) -> None:
    block.main.pop(_ORIENTATION, None)
    if orientation != 1:
        block.put(block.main, _ORIENTATION, SHORT, orientation)


def _put_resolution(block: ExifBlock, resolution: Resolution, per_centimetre: bool) -> None:
    """Say it in EXIF, too; what the format itself says comes first where the source has two."""
    across, down, unit = resolution_tags(resolution, per_centimetre)
    for tag, fraction in ((_X_RESOLUTION, across), (_Y_RESOLUTION, down)):
        block.put(block.main, tag, RATIONAL, *fraction)
    block.put(block.main, _RESOLUTION_UNIT, SHORT, unit)


def resolution_tags(resolution: Resolution, per_centimetre: bool) -> tuple[tuple[int, int], tuple[int, int], int]:
    """XResolution and YResolution as fractions, and ResolutionUnit."""
    per_unit = _CM_PER_INCH if per_centimetre else 1.0
    across, down = (_as_fraction(value / per_unit) for value in resolution)
    return across, down, _CENTIMETRE if per_centimetre else _INCH


def _as_fraction(value: float) -> tuple[int, int]:
    """A positive number as EXIF and TIFF hold it: whole where it is whole, else to six digits or more."""
    most = (1 << 32) - 1
    if abs(value - round(value)) <= 1e-9 * value and value < most:
        return round(value), 1
    below = next((below for below in (10**power for power in range(3, 10)) if value * below >= 1e6), 10**9)
    while below > 1 and value * below > most:
        below //= 10
    return min(round(value * below), most), below


__all__ = ["Directory", "Metadata", "Resolution", "described_exif", "metadata_for", "resolution_of", "resolution_tags"]
