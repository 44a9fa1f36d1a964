"""The size of a pixel as a file states it: OME-XML, ImageJ's description, or the resolution tags of a TIFF.

Read only when a job asks for it. Other formats than TIFF state the resolution of a print at most, and aren't asked.
"""

from __future__ import annotations

import re

from pipelines.image_io.exif_block import ExifBlock, parse_exif
from pipelines.image_io.tiff_directory import pictures_of

MICROMETRES = {
    "pm": 1e-6,
    "nm": 1e-3,
    "um": 1.0,
    "\u00b5m": 1.0,
    "\u03bcm": 1.0,
    "\\u00b5m": 1.0,  # as ImageJ writes it where a file is ASCII
    "micron": 1.0,
    "microns": 1.0,
    "mm": 1e3,
    "cm": 1e4,
    "dm": 1e5,
    "m": 1e6,
    "in": 25_400.0,
    "inch": 25_400.0,
    "inches": 25_400.0,
}
"""Units of length as OME-XML and ImageJ write them."""
_DESCRIPTION, _X_RESOLUTION, _Y_RESOLUTION, _UNIT = 270, 282, 283, 296
_TAG_UNITS = {2: 25_400.0, 3: 1e4}
"""TIFF's ResolutionUnit: inch, centimetre; 1 is none."""
_IMAGEJ_UNIT = re.compile(r"^unit=(.*)$", re.M)
_OME_PIXELS = re.compile(r"<(?:\w+:)?Pixels\b([^>]*)>")

Size = tuple[float, float]


def pixel_size_um(data: bytes, frame: int = 0) -> Size | None:
    """Height and width of a pixel in micrometres; None when the file states none, or isn't a TIFF.

    Raises
    ------
    ImageError
        ``corrupt``: it is a damaged TIFF.
    """
    if data[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return None
    pictures, _ = pictures_of(data)
    first = pictures[0].directory
    text = (first.content(_DESCRIPTION) or b"").rstrip(b"\0").decode("utf-8", "replace").strip()
    if text.endswith("OME>"):
        return _of_ome(text)
    if text.startswith("ImageJ="):
        unit = _IMAGEJ_UNIT.search(text)
        return _of_resolution(parse_exif(data, directory=first.at), MICROMETRES.get(unit[1].lower()) if unit else None)
    page = parse_exif(data, directory=pictures[frame if 0 < frame < len(pictures) else 0].directory.at)
    units = () if page is None else page.numbers(page.main, _UNIT)
    return _of_resolution(page, _TAG_UNITS.get(int(units[0]) if units else 2))


def _of_ome(text: str) -> Size | None:
    found = _OME_PIXELS.search(text)
    if found is None:
        return None
    sizes = [_ome_length(found[1], axis) for axis in "YX"]
    return None if sizes[0] is None or sizes[1] is None else (sizes[0], sizes[1])


def _ome_length(attributes: str, axis: str) -> float | None:
    size = re.search(rf'\bPhysicalSize{axis}\s*=\s*["\']([^"\']*)["\']', attributes)
    unit = re.search(rf'\bPhysicalSize{axis}Unit\s*=\s*["\']([^"\']*)["\']', attributes)
    times = MICROMETRES.get(unit[1] if unit else "um")
    try:
        length = float(size[1]) if size else 0.0
    except ValueError:
        return None
    return length * times if times is not None and 0 < length < float("inf") else None


def _of_resolution(page: ExifBlock | None, unit_um: float | None) -> Size | None:
    """From pixels per unit along both axes."""
    if page is None or unit_um is None:
        return None
    down, across = (next(iter(page.numbers(page.main, tag)), 0.0) for tag in (_Y_RESOLUTION, _X_RESOLUTION))
    return (unit_um / down, unit_um / across) if down and across else None
