"""The boxes of an AVIF (ISO/IEC 14496-12 and 23008-12): which properties are its picture's.

Those of its alpha or thumbnail may stand first. Doesn't look into the properties, nor for the pixels.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

Box = tuple[bytes, bytes]
"""Type and content."""


def picture_properties(data: bytes) -> list[Box] | None:
    """The properties of the primary item; None of a file without one, or whose boxes can't be followed."""
    try:
        meta = _first(boxes(data), b"meta")[4:]
        primary = _number(_first(boxes(meta), b"pitm"))
        properties = _first(boxes(meta), b"iprp")
        known = list(boxes(_first(boxes(properties), b"ipco")))
        indices = [
            index
            for kind, content in boxes(properties)
            if kind == b"ipma"
            for item, index in _associations(content)
            if item == primary
        ]
    except (LookupError, struct.error):
        return None
    return [known[index - 1] for index in indices if 0 < index <= len(known)] or None


def boxes(data: bytes) -> Iterator[Box]:
    """The boxes that follow one another in a file or in another box; what reaches beyond the end is cut there."""
    return ((kind, data[start:end]) for kind, start, end in _spans(data))


def is_cut(data: bytes) -> bool:
    """Whether a file is shorter than its boxes say."""
    try:
        return any(end > len(data) for _, _, end in _spans(data))
    except struct.error:  # in the midst of a length
        return True


def _spans(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Type, beginning and end of the content of each box."""
    at = 0
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        head = 16 if length == 1 else 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, at + 8)
        elif length == 0:
            length = len(data) - at
        if length < head:
            return
        yield kind, at + head, at + length
        at += length


def _first(found: Iterator[Box], wanted: bytes) -> bytes:
    for kind, content in found:
        if kind == wanted:
            return content
    raise LookupError(wanted)


def _number(content: bytes) -> int:
    """Of an item, after version and flags."""
    return int(struct.unpack_from(">I" if content[0] else ">H", content, 4)[0])


def _associations(content: bytes) -> Iterator[tuple[int, int]]:
    """Items and the numbers of their properties, from 1, as an ``ipma`` box lists them."""
    item_format, is_wide = (">I" if content[0] else ">H"), content[3] & 1
    (count,) = struct.unpack_from(">I", content, 4)
    at = 8
    for _ in range(count):
        (item,) = struct.unpack_from(item_format, content, at)
        at += struct.calcsize(item_format)
        properties = content[at]
        at += 1
        for _ in range(properties):
            (index,) = struct.unpack_from(">H" if is_wide else ">B", content, at)
            at += 2 if is_wide else 1
            yield int(item), int(index) & (0x7FFF if is_wide else 0x7F)  # without the bit that says essential
