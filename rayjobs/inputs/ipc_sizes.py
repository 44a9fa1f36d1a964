"""What record batches of Arrow's IPC take once they are decompressed, as their heads say; nothing else of them is read.

Arrow allocates what stands before each compressed buffer, whatever is behind it, so this is known before anything is.
Format: https://arrow.apache.org/docs/format/Columnar.html, "Serialization and Interprocess Communication"; its heads
are Flatbuffers: https://flatbuffers.dev/internals.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import pyarrow as pa

MAGIC = b"ARROW1"
"""What files begin and end with; streams don't."""
_CONTINUED = 0xFFFFFFFF
"""Before the length of a message's head, since format 0.15."""
_V4, _DICTIONARY, _BATCH = 3, 2, 3
"""A version of the format, and kinds of messages."""
_LENGTH = 8
"""Bytes before each buffer of a compressed batch; -1 where the buffer isn't compressed."""


class MalformedError(ValueError):
    """The heads are none."""


def decompressed_sizes(source: pa.NativeFile, schema: pa.Schema, names: Collection[str]) -> Iterator[int]:
    """Bytes of some columns of every compressed record batch, and of all compressed dictionaries up to each.

    Raises
    ------
    MalformedError
    """
    dictionaries: dict[int, int] = {}
    read = _buffers_of(schema, names)
    try:
        for message in _of_file(source) if source.read(len(MAGIC)) == MAGIC else _of_stream(source):
            if message.kind == _BATCH:
                yield message.size(source, message.header, read)
            elif message.kind == _DICTIONARY:
                number, delta = message.header.number(0, "q"), message.header.number(2, "?")
                before = dictionaries.get(number, 0) if delta else 0
                dictionaries[number] = before + message.size(source, message.header.table(1))
                yield sum(dictionaries.values())
    except (struct.error, IndexError, OverflowError) as error:
        raise MalformedError("what it says of its record batches is damaged") from error


@dataclass(frozen=True, slots=True)
class _Table:
    """A table of Flatbuffers: fields by number, each of which may be left out."""

    data: bytes
    place: int

    def at(self, field: int) -> int | None:
        outline = self.place - self.read("i", self.place)
        inside = 4 + 2 * field
        offset = self.read("H", outline + inside) if inside < self.read("H", outline) else 0
        return self.place + offset if offset else None

    def read(self, kind: str, place: int) -> int:
        if place < 0:  # which would count from the end
            raise IndexError(place)
        found: int = struct.unpack_from(f"<{kind}", self.data, place)[0]
        return found

    def number(self, field: int, kind: str) -> int:
        place = self.at(field)
        return 0 if place is None else self.read(kind, place)

    def table(self, field: int) -> _Table:
        place = self.at(field)
        if place is None:
            raise IndexError(field)
        return _Table(self.data, place + self.read("I", place))

    def pairs(self, field: int, kind: str) -> Iterator[tuple[int, ...]]:
        """A vector of structures."""
        place = self.at(field)
        if place is None:
            return
        begin = place + self.read("I", place)
        for number in range(self.read("I", begin)):
            yield struct.unpack_from(f"<{kind}", self.data, begin + 4 + number * struct.calcsize(f"<{kind}"))


@dataclass(frozen=True, slots=True)
class _Message:
    head: _Table
    body: int
    """Where its buffers begin."""

    @property
    def kind(self) -> int:
        return self.head.number(1, "B")

    @property
    def header(self) -> _Table:
        return self.head.table(2)

    @property
    def end(self) -> int:
        length = self.head.number(3, "q")
        if length < 0:
            raise IndexError(length)
        return self.body + length

    def size(self, source: pa.NativeFile, batch: _Table, read: Collection[int] | None = None) -> int:
        in_old_words = self.head.number(0, "h") <= _V4 and self.head.at(4) is not None
        if batch.at(3) is None and not in_old_words:  # not compressed: it takes no more than there is
            return 0
        total = 0
        for number, (offset, length) in enumerate(batch.pairs(2, "qq")):
            if length >= _LENGTH and (read is None or number in read):
                source.seek(self.body + offset)
                (said,) = struct.unpack("<q", source.read(_LENGTH))
                total += length - _LENGTH if said < 0 else said
        return total


def _buffers_of(schema: pa.Schema, names: Collection[str]) -> set[int] | None:
    """Which buffers of a record batch are those of some columns; None: it can't be told from the schema."""
    found: set[int] = set()
    begin = 0
    for field in schema:
        count = _buffers(field.type)
        if count is None:
            return None
        if field.name in names:
            found.update(range(begin, begin + count))
        begin += count
    return found


def _buffers(kind: pa.DataType) -> int | None:
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):  # each batch says how many
        return None
    inner = [_buffers(kind.field(place).type) for place in range(kind.num_fields)]
    known = [count for count in inner if count is not None]
    # Of these Arrow counts a validity that is never sent.
    unsent = pa.types.is_null(kind) or pa.types.is_union(kind) or pa.types.is_run_end_encoded(kind)
    return kind.num_buffers - unsent + sum(known) if len(known) == len(inner) else None


def _of_stream(source: pa.NativeFile) -> Iterator[_Message]:
    place = 0
    while (message := _message(source, place)) is not None:
        yield message
        place = message.end


def _of_file(source: pa.NativeFile) -> Iterator[_Message]:
    """Those that its end names: it says where they lie."""
    tail = len(MAGIC) + 4
    size = source.size()
    source.seek(size - tail)
    (length,) = struct.unpack("<i", source.read(4))
    if not 0 < length <= size - tail:
        raise IndexError(length)
    source.seek(size - tail - length)
    footer = _root(source.read(length))
    for field in (2, 3):  # dictionaries, then batches
        for offset, head, _ in footer.pairs(field, "qixxxxq"):
            message = _message(source, offset)
            if message is None:
                raise IndexError(offset)
            yield _Message(message.head, offset + head)


def _message(source: pa.NativeFile, place: int) -> _Message | None:
    """The one at a place; None at the end."""
    source.seek(place, os.SEEK_SET)
    begin = source.read(4)
    if len(begin) < 4:
        return None
    (length,) = struct.unpack("<I", begin)
    if length == _CONTINUED:
        place += 4
        (length,) = struct.unpack("<I", source.read(4))
    if not length:
        return None
    if length > source.size():
        raise IndexError(length)
    head = source.read(length)
    return _Message(_root(head), place + 4 + length)


def _root(data: bytes) -> _Table:
    return _Table(data, struct.unpack_from("<I", data)[0])
