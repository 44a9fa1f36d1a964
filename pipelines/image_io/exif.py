"""What decides pixels in EXIF blocks: how the picture stands, and which colours it has.

A block that can't be read never fails an image: it says nothing. Where it lies in a file is the readers' business;
what else it says, that of ``metadata``.
"""

from __future__ import annotations

import re
import struct

from pipelines.image_io.exif_block import parse_exif

ORIENTATION = 0x0112
MAX_EXIF_BYTES = 1 << 20
"""A larger block is left alone: JPEG can hold 64 KiB, and nobody needs more to turn a picture."""
_XMP_ORIENTATION = re.compile(rb"tiff:Orientation(?:=[\"']|>)\s*([1-8])\b")
_SHORT = 3
_COLOUR_SPACE, _INTEROP_INDEX = 0xA001, 1
_SRGB, _ADOBE_RGB = 1, 2
_SIGNS_OF_ADOBE = (
    b"R03",
    struct.pack("<HHIH", _COLOUR_SPACE, _SHORT, 1, _ADOBE_RGB),
    struct.pack(">HHIH", _COLOUR_SPACE, _SHORT, 1, _ADOBE_RGB),
)
_INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}
"""Field type -> how a number is stored; writers use others than the standard's SHORT, and readers take them."""
_PREFIX = re.compile(rb"Exif\0.", re.DOTALL)


def orientation_of(exif: bytes | None, xmp: bytes | None = None) -> int:
    """Orientation 1 to 8 of an EXIF block, else of an XMP packet, else 1."""
    found = _exif_orientation(exif) if exif else None
    if found is None and xmp:
        match = _XMP_ORIENTATION.search(xmp)
        found = int(match.group(1)) if match else None
    return found or 1


def unprefixed(content: bytes | None) -> bytes | None:
    """The TIFF structure of what a file holds as EXIF: some writers put JPEG's prefix before it in other formats."""
    if content is None:
        return None
    while match := _PREFIX.match(content):
        content = content[match.end() :]
    return content


def _exif_orientation(exif: bytes) -> int | None:
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None or len(exif) > MAX_EXIF_BYTES:
        return None
    try:
        (start,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, start)
        for index in range(count):
            tag, kind, values, value = struct.unpack_from(order + "HHI4s", exif, start + 2 + 12 * index)
            if tag == ORIENTATION:
                known = _INTEGERS.get(kind)
                found = struct.unpack_from(order + known, value)[0] if known and values == 1 else 0
                return int(found) if 1 <= found <= 8 else None
    except struct.error:
        return None
    return None


def says_adobe_rgb(exif: bytes) -> bool:
    """Whether the colours are Adobe RGB: by the Interop index R03 of DCF, or a colour space of 2 as some write it."""
    if len(exif) > MAX_EXIF_BYTES or not any(sign in exif for sign in _SIGNS_OF_ADOBE):
        return False  # nearly every file ends here
    block = parse_exif(exif)
    if block is None:
        return False
    space = next(iter(block.numbers(block.exif, _COLOUR_SPACE)), None)
    index = block.interop.get(_INTEROP_INDEX)
    return space == _ADOBE_RGB or (space != _SRGB and index is not None and index.data[:3] == b"R03")
