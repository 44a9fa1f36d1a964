"""EXIF as its directories of tags: read from a block or from a TIFF file, changed, and written again.

Values stay the bytes that they were, with their type, and a maker's note stays at its offset where there is room: it
may hold offsets of its own. The thumbnail's directory and what can't be read are left out. Which tags stay, and what
they must say: ``metadata``.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from pipelines.image_io.source_file import SourceFile

EXIF, GPS, INTEROP = 0x8769, 0x8825, 0xA005
"""Tags that point to directories."""
MAKER_NOTE = 0x927C
ASCII, SHORT, LONG, RATIONAL, UNDEFINED, LONG8 = 2, 3, 4, 5, 7, 16
SRGB, UNCALIBRATED = 1, 0xFFFF
"""What ColorSpace says, in EXIF as in XMP."""
MAX_BYTES = 1 << 20
"""Of a block: JPEG can hold 64 KiB, and nobody needs more to describe a picture."""
_MOST_FIELDS = 1000
_MOST_ROOM = 1 << 15
"""Offset up to which a maker's note stays where it was; in a TIFF file it may lie anywhere."""
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_UNITS = {3: 2, 4: 4, 5: 4, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of what the byte order turns, by field type."""
_INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 18: "Q"}


@dataclass(frozen=True, slots=True)
class Field:
    """One value, as it is stored."""

    kind: int
    data: bytes
    at: int = 0
    """Where it was read from; 0: in the directory itself, or nowhere."""

    @property
    def count(self) -> int:
        return len(self.data) // _SIZES[self.kind]


Directory = dict[int, Field]


@dataclass(slots=True)
class ExifBlock:
    """The directories of a block; tags that point from one to another are no fields."""

    order: str = "<"
    """Of bytes, as ``struct`` writes it."""
    main: Directory = field(default_factory=dict)
    exif: Directory = field(default_factory=dict)
    gps: Directory = field(default_factory=dict)
    interop: Directory = field(default_factory=dict)

    def numbers(self, directory: Mapping[int, Field], tag: int) -> tuple[float, ...]:
        """The values of a field of integers or positive fractions; none if there is none. A fraction by 0 is 0."""
        found = directory.get(tag)
        if found is None:
            return ()
        if found.kind == RATIONAL:
            parts = np.frombuffer(found.data, self.order + "u4").reshape(-1, 2).tolist()
            return tuple(above / below if below else 0.0 for above, below in parts)
        if found.kind not in _INTEGERS:
            return ()
        return struct.unpack(f"{self.order}{found.count}{_INTEGERS[found.kind]}", found.data)

    def put(self, directory: Directory, tag: int, kind: int, *values: int) -> None:
        letter = "I" if kind == RATIONAL else _INTEGERS[kind]
        directory[tag] = Field(kind, struct.pack(f"{self.order}{len(values)}{letter}", *values))

    def is_empty(self) -> bool:
        return not (self.main or self.exif or self.gps or self.interop)


def text_field(text: str) -> Field:
    """Text as EXIF holds it; beyond ASCII in UTF-8, as everybody writes it."""
    return Field(ASCII, text.encode() + b"\0")


def parse_exif(data: bytes | SourceFile, *, directory: int | None = None) -> ExifBlock | None:
    """The directories of an EXIF block or TIFF file (classic or BigTIFF); None if it is neither, or unreadable.

    ``directory``: where the main one lies, if not where the header says.
    """
    head = data[:16]
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 8 or (isinstance(data, bytes) and directory is None and len(data) > MAX_BYTES):
        return None
    big = struct.unpack_from(order + "H", head, 2)[0] == 43
    try:
        start = directory or struct.unpack_from(order + ("Q" if big else "I"), head, 8 if big else 4)[0]
    except struct.error:
        return None
    block = ExifBlock(order)
    pointers: dict[int, int] = {}
    for tag, found in _fields(data, start, order, big).items():
        if tag in (EXIF, GPS):
            pointers[tag] = _pointed(found, order)
        else:
            block.main[tag] = found
    block.exif = _fields(data, pointers.get(EXIF, 0), order, big)
    block.gps = _fields(data, pointers.get(GPS, 0), order, big)
    inner = block.exif.pop(INTEROP, None)
    block.interop = _fields(data, _pointed(inner, order), order, big) if inner else {}
    return None if block.is_empty() else block


def _pointed(found: Field, order: str) -> int:
    letter = _INTEGERS.get(found.kind)
    if letter is None or len(found.data) < struct.calcsize(letter):
        return 0
    return int(struct.unpack_from(order + letter, found.data)[0])


def _fields(data: bytes | SourceFile, start: int, order: str, big: bool) -> Directory:
    """The fields of one directory that lie within the data; the first of each tag."""
    found: Directory = {}
    head, entry, inline, pointer = ("Q", 20, 8, "Q") if big else ("H", 12, 4, "I")
    size = struct.calcsize(head)
    counted = data[start : start + size] if start > 0 else b""
    if len(counted) < size:
        return found
    count = min(struct.unpack(order + head, counted)[0], _MOST_FIELDS)
    entries = data[start + size : start + size + count * entry]
    total = 0
    for at in range(0, len(entries) - entry + 1, entry):
        tag, kind, number = struct.unpack_from(order + "HH" + pointer, entries, at)
        length = _SIZES.get(kind, 0) * number
        total += length
        if tag in found or not length or total > MAX_BYTES:
            total -= length
            continue
        if length <= inline:
            found[tag] = Field(kind, entries[at + entry - inline : at + entry - inline + length])
            continue
        (place,) = struct.unpack_from(order + pointer, entries, at + entry - inline)
        value = data[place : place + length]
        if len(value) == length:
            found[tag] = Field(kind, value, place)
    return found


def exif_bytes(block: ExifBlock) -> bytes:
    """A block as files other than TIFF hold it; its thumbnail isn't in it."""
    note = block.exif.get(MAKER_NOTE)
    if note is None or not 8 <= note.at <= _MOST_ROOM:
        return _head(block.order, 8) + _directories(block, 8, {})
    placed = {MAKER_NOTE: note.at}
    before = _head(block.order, 8) + _directories(block, 8, placed)
    if len(before) <= note.at:
        return before.ljust(note.at, b"\0") + note.data
    start = note.at + len(note.data) + (note.at + len(note.data)) % 2
    head = _head(block.order, start).ljust(note.at, b"\0") + note.data
    return head.ljust(start, b"\0") + _directories(block, start, placed)


def _head(order: str, start: int) -> bytes:
    return {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", start)


def _directories(block: ExifBlock, start: int, placed: Mapping[int, int]) -> bytes:
    """All directories, one after the other, the main one first."""
    order, main, exif = block.order, dict(block.main), dict(block.exif)
    # How long a directory is doesn't depend on what its pointers say: first all get their size, then their values.
    for tag, below in ((EXIF, exif or block.interop), (GPS, block.gps)):
        if below:
            main[tag] = Field(LONG, bytes(4))
    if block.interop:
        exif[INTEROP] = Field(LONG, bytes(4))
    at = start + len(directory_bytes(main, start, order))
    for holder, tag, below in ((main, EXIF, exif), (main, GPS, block.gps), (exif, INTEROP, block.interop)):
        if tag in holder:
            holder[tag] = Field(LONG, struct.pack(order + "I", at))
            at += len(directory_bytes(below, at, order, placed=placed))
    written = b""
    for directory in (main, exif, block.gps, block.interop):
        if directory or not written:
            written += directory_bytes(directory, start + len(written), order, placed=placed)
    return written


def directory_bytes(
    fields: Mapping[int, Field], at: int, order: str, *, big: bool = False, placed: Mapping[int, int] | None = None
) -> bytes:
    """A directory and its values, of even length, as it must stand at ``at``; no other follows it.

    Values that are ``placed`` lie there already; BigTIFF has ``big`` directories.
    """
    head, entry, inline, pointer = ("Q", 20, 8, "Q") if big else ("H", 12, 4, "I")
    size = struct.calcsize(head) + entry * len(fields) + inline
    size += size % 2
    listed, values = b"", b""
    for tag, found in sorted(fields.items()):
        if len(found.data) <= inline:
            value = found.data.ljust(inline, b"\0")
        elif placed and tag in placed:
            value = struct.pack(order + pointer, placed[tag])
        else:
            value = struct.pack(order + pointer, at + size + len(values))
            values += found.data + bytes(len(found.data) % 2)
        listed += struct.pack(order + "HH" + pointer, tag, found.kind, found.count) + value
    written = struct.pack(order + head, len(fields)) + listed + bytes(inline)
    return written.ljust(size, b"\0") + values


def turned(fields: Mapping[int, Field], order: str, wanted: str) -> Directory:
    """The same values in another byte order."""
    if order == wanted:
        return dict(fields)
    return {tag: Field(found.kind, _turned(found), found.at) for tag, found in fields.items()}


def _turned(found: Field) -> bytes:
    unit = _UNITS.get(found.kind)
    return found.data if unit is None else np.frombuffer(found.data, f"u{unit}").byteswap().tobytes()
