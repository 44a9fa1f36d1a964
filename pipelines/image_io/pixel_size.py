"""The size of a pixel as a file states it: OME-XML, ImageJ's description, or the resolution tags of a TIFF.

Read only when a job asks for it. Other formats than TIFF state the resolution of a print at most, and aren't asked.
"""

from __future__ import annotations

import html
import re

from pipelines.errors import FailedReason, ImageError
from pipelines.image_io.exif_block import ExifBlock, parse_exif
from pipelines.image_io.tiff_directory import pictures_of

MICROMETRES = {
    "\u00c5": 1e-4,
    "\u212b": 1e-4,
    "pm": 1e-6,
    "nm": 1e-3,
    "um": 1.0,
    "\u00b5m": 1.0,
    "\u03bcm": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "mm": 1e3,
    "cm": 1e4,
    "dm": 1e5,
    "m": 1e6,
    "km": 1e9,
    "thou": 25.4,
    "pt": 25_400 / 72,
    "in": 25_400.0,
    "inch": 25_400.0,
    "inches": 25_400.0,
    "ft": 304_800.0,
}
"""Units of length as OME-XML and ImageJ write them."""
_NO_LENGTH = ("", "pixel", "pixels")
"""What they write where no size is known."""
_DESCRIPTION, _X_RESOLUTION, _Y_RESOLUTION, _UNIT = 270, 282, 283, 296
_TAG_UNITS = {2: 25_400.0, 3: 1e4}
"""TIFF's ResolutionUnit: inch, centimetre; 1 is none."""
_IMAGEJ_UNIT, _IMAGEJ_UNIT_DOWN = (re.compile(rf"^{name}=(.*)$", re.M) for name in ("unit", "yunit"))
_ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})")
"""How ImageJ writes what isn't ASCII."""
_OME_PIXELS = re.compile(r"<(?:\w+:)?Pixels\b([^>]*)>")

Size = tuple[float, float]


def pixel_size_um(data: bytes, frame: int = 0) -> Size | None:
    """Height and width of a pixel in micrometres; None when the file states none, or isn't a TIFF.

    Raises
    ------
    ImageError
        ``corrupt``: it is a damaged TIFF. ``analysis_error``: the unit isn't known.
    """
    if data[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return None
    pictures, _ = pictures_of(data)
    first = pictures[0].directory
    text = (first.content(_DESCRIPTION) or b"").rstrip(b"\0").decode("utf-8", "replace").strip()
    if text.endswith("OME>"):
        return _of_ome(text)
    if text.startswith("ImageJ="):
        across = _IMAGEJ_UNIT.search(text)
        down = _IMAGEJ_UNIT_DOWN.search(text) or across
        units = [_micrometres(_of_imagej(unit[1])) if unit else None for unit in (down, across)]
        return _of_resolution(parse_exif(data, directory=first.at), *units)
    page = parse_exif(data, directory=pictures[frame if 0 < frame < len(pictures) else 0].directory.at)
    kinds = () if page is None else page.numbers(page.main, _UNIT)
    unit_um = _TAG_UNITS.get(int(kinds[0]) if kinds else 2)
    return _of_resolution(page, unit_um, unit_um)


def _of_imagej(unit: str) -> str:
    """A unit as it is meant: unescaped, and without capitals that merely begin a word."""
    unit = _ESCAPED.sub(lambda code: chr(int(code[1], 16)), unit).strip()
    return unit if unit in MICROMETRES else unit.lower()


def _micrometres(unit: str) -> float | None:
    """Of one unit; None for pixels. Raises ImageError."""
    if unit in _NO_LENGTH:
        return None
    if unit not in MICROMETRES:
        raise ImageError(
            FailedReason.ANALYSIS_ERROR,
            f"pixel_size: file, but the file gives the size of its pixels in {unit!r}, an unknown unit; give a number",
        )
    return MICROMETRES[unit]


def _of_ome(text: str) -> Size | None:
    found = _OME_PIXELS.search(text)
    if found is None:
        return None
    sizes = [_ome_length(found[1], axis) for axis in "YX"]
    return None if sizes[0] is None or sizes[1] is None else (sizes[0], sizes[1])


def _ome_length(attributes: str, axis: str) -> float | None:
    size = re.search(rf'\bPhysicalSize{axis}\s*=\s*["\']([^"\']*)["\']', attributes)
    unit = re.search(rf'\bPhysicalSize{axis}Unit\s*=\s*["\']([^"\']*)["\']', attributes)
    try:
        length = float(size[1]) if size else 0.0
    except ValueError:
        return None
    if not 0 < length < float("inf"):
        return None
    times = _micrometres(html.unescape(unit[1]) if unit else "um")
    return None if times is None else length * times


def _of_resolution(page: ExifBlock | None, unit_down: float | None, unit_across: float | None) -> Size | None:
    """From pixels per unit along both axes."""
    if page is None or unit_down is None or unit_across is None:
        return None
    down, across = (next(iter(page.numbers(page.main, tag)), 0.0) for tag in (_Y_RESOLUTION, _X_RESOLUTION))
    return (unit_down / down, unit_across / across) if down and across else None
