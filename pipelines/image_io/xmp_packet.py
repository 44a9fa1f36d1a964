"""XMP of a source made true of the picture that is written: sizes, orientation, places, and whose it is.

Packets are changed as text, property by property, so that all else stays byte for byte.
"""

from __future__ import annotations

import re
from html import escape

from pipelines.image_io.exif_block import SRGB, UNCALIBRATED
from pipelines.image_io.io_policies import EncodeOptions

_STATED = r"(?:(\s{name}\s*=\s*)([\"'])(?:(?!\2).)*\2|(<{name}(?:\s[^>]*)?>)[^<]*(</{name}>))"
_THUMBNAILS = re.compile(rb"<xmp:Thumbnails\b.*?</xmp:Thumbnails>", re.DOTALL)
_GPS_ATTRIBUTE = re.compile(rb"\s[\w.-]+:gps[\w.-]*\s*=\s*(?:\"[^\"]*\"|'[^']*')", re.IGNORECASE)
_GPS_ELEMENT = re.compile(rb"<([\w.-]+:gps[\w.-]*)(?:\s[^>]*)?(?:/>|>.*?</\1\s*>)", re.IGNORECASE | re.DOTALL)
_EXTENDED = re.compile(rb"\sxmpNote:HasExtendedXMP\s*=\s*(?:\"[^\"]*\"|'[^']*')")
"""In a JPEG, says that more of XMP is elsewhere."""
_OF_ELEMENT = r"<{name}(?:\s[^>]*?)?(?:/>|>.*?</{name}\s*>)|\s{name}\s*=\s*(?:\"[^\"]*\"|'[^']*')"
"""A property as RDF writes it: an element, or an attribute of its description."""
_DESCRIPTION = re.compile(rb"<rdf:Description\b[^>]*?(/?)>", re.DOTALL)


def written_xmp(
    xmp: bytes, options: EncodeOptions, *, size: tuple[int, int], orientation: int, is_srgb: bool
) -> tuple[bytes | None, list[str]]:
    """A packet that is true of the new pixels, without what the options leave out; and what had to go, in sentences."""
    xmp, lost = _true_xmp(xmp, size, orientation, is_srgb), list[str]()
    if _EXTENDED.search(xmp):
        xmp = _EXTENDED.sub(b"", xmp)
        lost.append("part of XMP left out: it lies in segments of its own")
    credited = _credited_xmp(xmp, options)
    if credited is None:
        return None, [*lost, "XMP left out: it isn't UTF-8, and may name another artist or copyright"]
    if options.metadata != "keep_but_gps":
        return credited, lost
    cleaned = _xmp_without_gps(credited)
    return cleaned, lost if cleaned is not None else [*lost, "XMP left out: its GPS can't be told from the rest"]


def _true_xmp(xmp: bytes, size: tuple[int, int], orientation: int, is_srgb: bool) -> bytes:
    values = {
        "tiff:Orientation": orientation,
        "tiff:ImageWidth": size[0],
        "tiff:ImageLength": size[1],
        "exif:PixelXDimension": size[0],
        "exif:PixelYDimension": size[1],
        "exif:ColorSpace": SRGB if is_srgb else UNCALIBRATED,
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


def _credited_xmp(xmp: bytes, options: EncodeOptions) -> bytes | None:
    """A packet that says ``copyright`` and ``artist`` as the options do; None where it can't be read."""
    if (options.copyright, options.artist) == (None, None):
        return xmp
    if b"\0" in xmp:
        return None
    added = b""
    wanted = (
        (
            "dc:rights",
            "tiff:Copyright",
            options.copyright,
            '<rdf:Alt><rdf:li xml:lang="x-default">{}</rdf:li></rdf:Alt>',
        ),
        ("dc:creator", "tiff:Artist", options.artist, "<rdf:Seq><rdf:li>{}</rdf:li></rdf:Seq>"),
    )
    for name, same, text, form in wanted:
        if text is not None:
            for said in (name, same):
                xmp = re.sub(_OF_ELEMENT.format(name=said).encode(), b"", xmp, flags=re.DOTALL)
            added += f"<{name}>{form.format(escape(text, quote=False))}</{name}>".encode()
    match = _DESCRIPTION.search(xmp)
    if match is None:
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
