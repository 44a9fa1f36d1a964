"""EXIF blocks: the orientation in them, and copies for outputs.

A block that can't be read never fails an image: it counts as no orientation, and isn't copied. Covers the TIFF
structure itself; where it lies in a file is the readers' business.
"""

from __future__ import annotations

import re
import struct

from pipelines.image_io.source_file import SourceFile, stream_of

ORIENTATION = 0x0112
MAX_EXIF_BYTES = 1 << 20
"""A larger block is left alone: JPEG can hold 64 KiB, and nobody needs more to turn a picture."""
_XMP_ORIENTATION = re.compile(rb"tiff:Orientation(?:=[\"']|>)\s*([1-8])\b")
_SHORT = 3
_INTEROPERABILITY = 0xA005
_SUB_DIRECTORIES = (0x8769, 0x8825)  # EXIF, GPS


def orientation_of(exif: bytes | None, xmp: bytes | None = None) -> int:
    """Orientation 1 to 8 of an EXIF block, else of an XMP packet, else 1."""
    found = _exif_orientation(exif) if exif else None
    if found is None and xmp:
        match = _XMP_ORIENTATION.search(xmp)
        found = int(match.group(1)) if match else None
    return found or 1


def _exif_orientation(exif: bytes) -> int | None:
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None or len(exif) > MAX_EXIF_BYTES:
        return None
    try:
        (start,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, start)
        for index in range(count):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", exif, start + 2 + 12 * index)
            if tag == ORIENTATION:
                return value if kind == _SHORT and 1 <= value <= 8 else None
    except struct.error:
        return None
    return None


def copied_exif(exif: bytes | None, orientation: int) -> bytes | None:
    """A clean copy of an EXIF block for an output that has this orientation; None without a readable block.

    The thumbnail isn't copied: it shows the picture before its operations.
    """
    if exif is None or len(exif) > MAX_EXIF_BYTES:
        return None
    from PIL import Image

    block = Image.Exif()
    try:
        block.load(b"Exif\0\0" + exif)
        if not len(block):
            return None
        for directory in _SUB_DIRECTORIES:
            block.get_ifd(directory)  # loads it, so that it is copied with its own values
        if orientation == 1:
            block.pop(ORIENTATION, None)
        else:
            block[ORIENTATION] = orientation
        return block.tobytes().removeprefix(b"Exif\0\0")
    except Exception:  # noqa: BLE001 - Pillow's parser raises whatever a broken block makes it
        return None


def orientation_exif(orientation: int) -> bytes | None:
    """The smallest EXIF block that says how to turn the picture; None when there is nothing to say."""
    if orientation == 1:
        return None
    return b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, ORIENTATION, _SHORT, 1, orientation, 0, 0)


def directories(exif: bytes, offset: int) -> list[tuple[int, bytes]]:
    """The EXIF and GPS directories of a block, by tag, as they must stand one after the other from ``offset`` on."""
    from PIL import Image
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    block = Image.Exif()
    block.load(b"Exif\0\0" + exif)
    found = []
    for tag in _SUB_DIRECTORIES:
        fields = {key: value for key, value in block.get_ifd(tag).items() if not isinstance(value, dict)}
        fields.pop(_INTEROPERABILITY, None)  # a directory below this one; says nothing about the picture
        if fields:
            directory = ImageFileDirectory_v2(b"II*\0\x08\0\0\0", group=tag)
            directory.update(fields)
            content = directory.tobytes(offset)
            content += bytes(len(content) % 2)
            found.append((tag, content))
            offset += len(content)
    return found


_DESCRIPTIVE = {270, 271, 272, 305, 306, 315, 33432, *_SUB_DIRECTORIES}
"""Tags of a TIFF page that describe the picture rather than how it is stored."""


def described_exif(tiff: bytes | SourceFile) -> bytes | None:
    """The descriptive tags of a TIFF file's first page as an EXIF block; None if there are none, or unreadable."""
    from PIL import Image

    block = Image.Exif()
    try:
        block.load_from_fp(stream_of(tiff))
        for directory in _SUB_DIRECTORIES:
            block.get_ifd(directory)
        for tag in list(block):
            if tag not in _DESCRIPTIVE:
                del block[tag]
        return block.tobytes().removeprefix(b"Exif\0\0") if len(block) else None
    except Exception:  # noqa: BLE001 - as above
        return None
