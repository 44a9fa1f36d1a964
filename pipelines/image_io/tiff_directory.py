"""The directories of a TIFF file: their tags, read as libtiff reads them, and which of them are pictures.

A number may be stored as any integer type. Of tags that are given twice the first counts. Thumbnails, overviews and
masks are no pictures; where a file has nothing else, those below its directories (SubIFDs) are looked at. What the
numbers mean: ``tiff_page``.
"""

from __future__ import annotations

import json
import math
import re
import struct
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import FailedReason, ImageError
from pipelines.image_io.source_file import SourceFile

MAX_PAGES = 10_000
_MAX_ENTRIES = 4096
_INTEGERS = {1: "u1", 3: "u2", 4: "u4", 6: "i1", 8: "i2", 9: "i4", 13: "u4", 16: "u8", 17: "i8", 18: "u8"}
"""Field type -> how its numbers are stored."""
_BYTES = {1: 1, 2: 1, 4: 4, 6: 1, 7: 1}
"""Field type -> bytes of each value, of what isn't looked into."""
_NEW_SUBFILE, _SUBFILE, _WIDTH, _HEIGHT, _PHOTOMETRIC, _DESCRIPTION, _SUB_DIRECTORIES = (
    254,
    255,
    256,
    257,
    262,
    270,
    330,
)
_SAMPLES, _METAMORPH_PLANES = 277, 33629
_ONE_OF_SEVERAL = 2
"""Bit of NewSubfileType that says nothing but that there are more pages; all others say that it is no picture."""
_REDUCED = 2
"""The older SubfileType of thumbnails."""
_MASK = 4
_IMAGEJ = re.compile(rb"^images=(\d{1,18})\s*$", re.MULTILINE)
_FARTHEST = 1 << 61
"""No file is that large; offsets beyond are held as this."""


@dataclass(frozen=True, slots=True)
class Directory:
    """One directory of a file."""

    data: bytes | SourceFile
    at: int
    """Where it is."""
    order: Literal["<", ">"]
    big: bool
    """BigTIFF."""
    entries: tuple[tuple[int, int, int, bytes], ...]
    """Tag, field type, count, and the value or where it is."""

    def numbers(self, tag: int) -> NDArray[np.int64] | None:
        """A tag's numbers; None without the tag. Raises ImageError: ``corrupt`` or ``truncated``."""
        entry = self._entry(tag)
        if entry is None:
            return None
        _, kind, count, _ = entry
        if kind not in _INTEGERS or count == 0:
            raise ImageError(
                FailedReason.CORRUPT, f"TIFF tag {tag} has {count} values of type {kind}, not whole numbers"
            )
        found = np.frombuffer(self._value(entry, int(_INTEGERS[kind][1])), self.order + _INTEGERS[kind])
        if found.dtype.kind == "u":
            return (
                np.minimum(found, _FARTHEST).astype(np.int64) if found.dtype.itemsize == 8 else found.astype(np.int64)
            )
        if found.min() < 0:
            raise ImageError(FailedReason.CORRUPT, f"TIFF tag {tag} is negative")
        return found.astype(np.int64)

    def number(self, tag: int, default: int) -> int:
        """A tag's one number; several must be equal. Raises as ``numbers``."""
        entry = self._entry(tag)
        if entry is None:
            return default
        if entry[2] == 1 and entry[1] in (3, 4):  # nearly always
            return int(struct.unpack_from(self.order + ("H" if entry[1] == 3 else "I"), entry[3])[0])
        found = self.numbers(tag)
        if found is None or (found != found[0]).any():
            raise ImageError(FailedReason.CORRUPT, f"TIFF tag {tag} has several values: {found}")
        return int(found[0])

    def content(self, tag: int) -> bytes | None:
        """A tag's bytes, which some programs store as numbers; None without the tag, or if it is cut off."""
        entry = self._entry(tag)
        return None if entry is None else self._content(entry)

    def count(self, tag: int) -> int:
        """How many values a tag has; 0 without it."""
        entry = self._entry(tag)
        return 0 if entry is None else entry[2]

    @property
    def is_picture(self) -> bool:
        """No thumbnail, no overview, no mask."""
        kind = self.number(_NEW_SUBFILE, 0) & ~_ONE_OF_SEVERAL
        return kind == 0 and self.number(_SUBFILE, 0) != _REDUCED and self.number(_PHOTOMETRIC, 0) != _MASK

    def pictures(self, *, alone: bool) -> int:
        """How many pictures of the same kind follow one another after this one directory, itself included.

        ImageJ and MetaMorph write stacks like that when the file has no other directory, tifffile truncated series.
        """
        descriptions = [self._content(entry) or b"" for entry in self.entries if entry[0] == _DESCRIPTION]
        told = 1
        for description in descriptions:
            if alone and description.startswith(b"ImageJ=") and (match := _IMAGEJ.search(description)):
                told = int(match.group(1))
            elif description.startswith(b'{"shape":') and b'"truncated": true' in description:
                samples = self.number(_WIDTH, 0) * self.number(_HEIGHT, 0) * self.number(_SAMPLES, 1)
                told = _series(description) // max(1, samples)
        return max(1, told, self.count(_METAMORPH_PLANES) if alone else 1)

    def _entry(self, tag: int) -> tuple[int, int, int, bytes] | None:
        for entry in self.entries:
            if entry[0] == tag:
                return entry
        return None

    def _content(self, entry: tuple[int, int, int, bytes]) -> bytes | None:
        try:
            return self._value(entry, _BYTES[entry[1]]) if entry[1] in _BYTES else None
        except ImageError:
            return None

    def _value(self, entry: tuple[int, int, int, bytes], item_bytes: int) -> bytes:
        tag, _, count, value = entry
        size = count * item_bytes
        if size <= len(value):
            return value[:size]
        (start,) = struct.unpack(self.order + ("Q" if self.big else "I"), value)
        if start + size > len(self.data):
            raise ImageError(FailedReason.TRUNCATED, f"TIFF ends before the values of its tag {tag}")
        return self.data[start : start + size]


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a file."""

    directory: Directory
    follower: int = 0
    """How many pictures without directories of their own lie between the directory's and this one."""

    @property
    def pixels(self) -> int:
        return self.directory.number(_WIDTH, 0) * self.directory.number(_HEIGHT, 0)


def pictures_of(data: bytes | SourceFile) -> tuple[list[Picture], bool]:
    """A file's pictures, and whether its chain of directories is cut off; one that bites its tail ends there.

    Raises ImageError: ``truncated``, ``corrupt``, ``too_large`` or ``unsupported_format``.
    """
    order: Literal["<", ">"] = ">" if data[:2] == b"MM" else "<"
    head = data[:16]
    big = head[2:4] in (b"+\0", b"\0+")
    if len(head) < (16 if big else 8):
        raise ImageError(FailedReason.TRUNCATED, "TIFF ends in its header")
    (first,) = struct.unpack_from(order + ("Q" if big else "I"), head, 8 if big else 4)
    if first == 0:
        raise ImageError(FailedReason.CORRUPT, "TIFF without a page")
    chain, cut = _chain(data, order, big, int(first))
    if not chain:
        raise ImageError(FailedReason.TRUNCATED, "TIFF ends before its directory")
    kept = [directory for directory in chain if directory.is_picture] or _below(chain)
    found: list[Picture] = []
    for directory in kept:
        told = directory.pictures(alone=len(chain) == 1)
        if len(found) + told > MAX_PAGES:
            raise ImageError(FailedReason.TOO_LARGE, f"TIFF has more than {MAX_PAGES:,} pages")
        found += [Picture(directory, follower) for follower in range(told)]
    return found, cut


def _chain(data: bytes | SourceFile, order: Literal["<", ">"], big: bool, offset: int) -> tuple[list[Directory], bool]:
    found: dict[int, Directory] = {}
    while offset and offset not in found:
        read = _directory(data, order, big, offset)
        if read is None:
            return list(found.values()), True
        found[offset], offset = read
        if len(found) > MAX_PAGES:
            raise ImageError(FailedReason.TOO_LARGE, f"TIFF has more than {MAX_PAGES:,} pages")
    return list(found.values()), False


def _directory(
    data: bytes | SourceFile, order: Literal["<", ">"], big: bool, offset: int
) -> tuple[Directory, int] | None:
    """A directory, and where the next one is; None if the file ends in it."""
    pointer, count_format, entry = ("Q", "Q", "HHQ8s") if big else ("I", "H", "HHI4s")
    entry_bytes, head = struct.calcsize(order + entry), struct.calcsize(order + count_format)
    content = data[offset : offset + head]
    if len(content) < head:
        return None
    (count,) = struct.unpack(order + count_format, content)
    if count > _MAX_ENTRIES:
        raise ImageError(FailedReason.CORRUPT, f"TIFF has a directory of {count:,} tags")
    end = offset + head + count * entry_bytes
    content, following = data[offset + head : end], data[end : end + struct.calcsize(order + pointer)]
    if len(following) < struct.calcsize(order + pointer):
        return None
    directory = Directory(data, offset, order, big, tuple(struct.iter_unpack(order + entry, content)))
    return directory, int(struct.unpack(order + pointer, following)[0])


def _below(chain: list[Directory]) -> list[Directory]:
    """The pictures below directories that are none themselves; else what the file has is taken for its picture."""
    found = []
    for directory in chain:
        for offset in (directory.numbers(_SUB_DIRECTORIES) if directory.count(_SUB_DIRECTORIES) else None) or ():
            read = _directory(directory.data, directory.order, directory.big, int(offset))
            found += [read[0]] if read is not None and read[0].is_picture else []
        if len(found) > MAX_PAGES:
            raise ImageError(FailedReason.TOO_LARGE, f"TIFF has more than {MAX_PAGES:,} pages")
    if not found and any(directory.count(_SUB_DIRECTORIES) for directory in chain):
        raise ImageError(FailedReason.UNSUPPORTED_FORMAT, "TIFF holds thumbnails only; its picture can't be read")
    return found or chain


def _series(description: bytes) -> int:
    """Samples of all pictures of a series, as tifffile's own description tells its shape; 0 if it is none."""
    try:
        shape: Any = json.loads(description.rstrip(b"\0"))["shape"]
        return math.prod(side for side in shape if side > 0)
    except (ValueError, KeyError, TypeError):
        return 0
