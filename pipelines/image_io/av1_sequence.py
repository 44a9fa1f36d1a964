"""What the AV1 stream of an AVIF says of its colours, for files without a colour box.

The stream's first header (AV1 specification, 5.5) holds the code points of H.273 that decoders and viewers go by where
the file's boxes hold none. Nothing here fails an image: what can't be read says nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from pipelines.image_io.avif_boxes import boxes

CodePoints = tuple[int, int, int]
"""Primaries, transfer and matrix."""

_SEQUENCE_HEADER = 1
_MOST_ITEMS = 1000
_HEAD_BYTES = 4096
"""Of a picture's data, within which its header lies."""


def stream_code_points(data: bytes) -> CodePoints | None:
    """Of the primary picture's stream; where that is a grid, of the first stream with colours."""
    try:
        return _of_streams(data)
    except (struct.error, IndexError, ValueError):
        return None


def _of_streams(data: bytes) -> CodePoints | None:
    meta = next((content for kind, content in boxes(data) if kind == b"meta"), None)
    if meta is None:
        return None
    inner = dict(boxes(meta[4:]))
    first = inner.get(b"pitm")
    primary = struct.unpack_from(">I" if first[0] else ">H", first, 4)[0] if first else -1
    places = dict(_places(inner[b"iloc"])) if b"iloc" in inner else {}
    for item in sorted(places, key=lambda item: item != primary):
        found = _of_stream(data[places[item] : places[item] + _HEAD_BYTES])
        if found is not None and (item == primary or not found[1]):
            return found[0]
    return None


def _places(data: bytes) -> Iterator[tuple[int, int]]:
    """Item and offset of its first extent, of those that lie in the file itself (ISO 14496-12, 8.11.3)."""
    version = data[0]
    offset_bytes, length_bytes = data[4] >> 4, data[4] & 15
    base_bytes, index_bytes = data[5] >> 4, data[5] & 15 if version else 0
    id_bytes = 4 if version == 2 else 2
    at = 6

    def number(size: int) -> int:
        nonlocal at
        at += size
        if at > len(data):
            raise ValueError("cut")
        return int.from_bytes(data[at - size : at], "big")

    for _ in range(min(number(id_bytes), _MOST_ITEMS)):
        item = number(id_bytes)
        method = number(2) & 15 if version else 0
        number(2)
        base = number(base_bytes)
        extents = number(2)
        for extent in range(min(extents, _MOST_ITEMS)):
            number(index_bytes)
            offset = base + number(offset_bytes)
            number(length_bytes)
            if extent == 0 and method == 0:
                yield item, offset


def _of_stream(stream: bytes) -> tuple[CodePoints, bool] | None:
    """Code points, and whether it is monochrome; None if no AV1 begins here."""
    at = 0
    while at < len(stream):
        head = stream[at]
        at += 2 if head & 4 else 1
        if head & 0x81 or not head & 2:  # a reserved bit, or no size
            return None
        size = 0
        for shift in range(0, 56, 7):
            byte = stream[at]
            at += 1
            size |= (byte & 0x7F) << shift
            if not byte & 0x80:
                break
        if head >> 3 == _SEQUENCE_HEADER:
            return _of_sequence(_Bits(stream[at : at + size]))
        at += size
    return None


class _Bits:
    def __init__(self, content: bytes) -> None:
        self._value, self._left = int.from_bytes(content, "big"), 8 * len(content)

    def take(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise ValueError("cut")
        return self._value >> self._left & ((1 << count) - 1)


def _of_sequence(bits: _Bits) -> tuple[CodePoints, bool]:
    """As 5.5.1 and 5.5.2 of the specification read a sequence header, down to its colours."""
    take = bits.take
    profile, _, is_reduced = take(3), take(1), take(1)
    if is_reduced:
        take(5)
    else:
        _skip_operating_points(bits)
    wide, high = take(4) + 1, take(4) + 1
    take(wide + high)
    if not is_reduced and take(1):
        take(7)
    take(3)
    if not is_reduced:
        _skip_tools(bits)
    take(3)
    if take(1) and profile == 2:
        take(1)
    is_gray = profile != 1 and bool(take(1))
    return ((take(8), take(8), take(8)) if take(1) else (2, 2, 2)), is_gray


def _skip_operating_points(bits: _Bits) -> None:
    take = bits.take
    delay = 0
    if take(1):  # timing
        take(64)
        if take(1):
            zeros = 0
            while not take(1):
                zeros += 1
            take(zeros)
        if take(1):
            delay = take(5) + 1
            take(42)
    has_delay = take(1)
    for _ in range(take(5) + 1):
        take(12)
        if take(5) > 7:
            take(1)
        if delay and take(1):
            take(2 * delay + 1)
        if has_delay and take(1):
            take(4)


def _skip_tools(bits: _Bits) -> None:
    take = bits.take
    take(4)
    has_order = take(1)
    if has_order:
        take(2)
    screen_content = 2 if take(1) else take(1)
    if screen_content and not take(1):
        take(1)
    if has_order:
        take(3)
