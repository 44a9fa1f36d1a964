"""Thrift's compact protocol, as far as the footer of a Parquet file needs it: bytes to nested values and back.

A struct becomes a dict from field number to ``Typed`` in the order of its bytes, a list ``Typed`` as its elements are;
what a field means is the caller's knowledge, so fields of newer versions pass through unchanged. What the caller has no
use for can stay bytes. Written after the specification, https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)
"""Types of fields; a boolean's type is its value."""

_INTEGERS = frozenset((I16, I32, I64))
_BOOLEANS = frozenset((TRUE, FALSE))
_BYTES = frozenset((BYTE, TRUE, FALSE))
"""A boolean in a list is a byte."""
_NESTED = frozenset((STRUCT, LIST))
_SHORT_SIZE = 15
_DOUBLE_BYTES = 8


class Typed(NamedTuple):
    """A value and its type on the wire; for a list the type of its elements.

    The value of a struct or a list that no outline names is its bytes.
    """

    kind: int
    value: Any


Struct = dict[int, Typed]


class Outline(dict[int, "Outline"]):
    """Which of a struct's fields to read, if they are structs or lists, with the outline of those inside."""


def read_struct(data: bytes, start: int = 0, outline: Outline | None = None) -> tuple[Struct, int]:
    """Decode the struct that begins at ``start``; return it and where it ends.

    Parameters
    ----------
    outline
        Structs and lists that it names are decoded, others stay bytes; without one, all are decoded.

    Raises
    ------
    ValueError
        The bytes are no such struct, or hold a map, which Parquet's footers don't have.
    """
    try:
        return _read_struct(data, start, outline)
    except IndexError as error:
        raise ValueError("a Thrift struct ends too early") from error


def read_list(data: bytes) -> Typed:
    """Decode a list that stayed bytes.

    Raises
    ------
    ValueError
        As ``read_struct`` does.
    """
    try:
        return _read_list(data, 0, None)[0]
    except IndexError as error:
        raise ValueError("a Thrift list ends too early") from error


def write_struct(struct: Struct) -> bytes:
    """Encode a struct; what ``read_struct`` gave becomes the same bytes again, if they were as short as can be."""
    out = bytearray()
    _write_struct(out, struct)
    return bytes(out)


def _read_struct(data: bytes, at: int, outline: Mapping[int, Outline] | None) -> tuple[Struct, int]:
    struct: Struct = {}
    number = 0
    while header := data[at]:
        at += 1
        kind, step = header & 15, header >> 4
        if step:
            number += step
        else:
            zigzag, at = _read_varint(data, at)
            number = (zigzag >> 1) ^ -(zigzag & 1)
        if kind in _INTEGERS:
            zigzag, at = _read_varint(data, at)
            struct[number] = Typed(kind, (zigzag >> 1) ^ -(zigzag & 1))
        elif kind in _BOOLEANS:
            struct[number] = Typed(kind, kind == TRUE)
        elif kind in _NESTED and outline is not None and number not in outline:
            end = _skip(data, at, kind)
            struct[number] = Typed(kind, data[at:end])
            at = end
        else:
            value, at = _read_value(data, at, kind, None if outline is None else outline.get(number))
            struct[number] = Typed(kind, value)
    return struct, at + 1


def _read_list(data: bytes, at: int, outline: Mapping[int, Outline] | None) -> tuple[Typed, int]:
    kind, size, at = _read_list_header(data, at)
    values = []
    for _ in range(size):
        value, at = _read_value(data, at, kind, outline)
        values.append(value)
    return Typed(kind, values), at


def _read_list_header(data: bytes, at: int) -> tuple[int, int, int]:
    header = data[at]
    kind, size = header & 15, header >> 4
    if size == _SHORT_SIZE:
        size, at = _read_varint(data, at + 1)
        return kind, size, at
    return kind, size, at + 1


def _read_value(data: bytes, at: int, kind: int, outline: Mapping[int, Outline] | None) -> tuple[Any, int]:
    if kind in _INTEGERS:
        zigzag, at = _read_varint(data, at)
        return (zigzag >> 1) ^ -(zigzag & 1), at
    if kind == BINARY:
        size, at = _read_varint(data, at)
        return _slice(data, at, size)
    if kind == STRUCT:
        return _read_struct(data, at, outline)
    if kind == LIST:
        return _read_list(data, at, outline)
    if kind == DOUBLE:
        return _slice(data, at, _DOUBLE_BYTES)
    if kind in _BYTES:
        return data[at], at + 1
    raise ValueError(f"unexpected Thrift type {kind}")


def _skip(data: bytes, at: int, kind: int) -> int:
    """Where a value ends."""
    if kind == STRUCT:
        while header := data[at]:
            at += 1
            if not header >> 4:
                at = _skip_varint(data, at)
            if header & 15 not in _BOOLEANS:
                at = _skip(data, at, header & 15)
        return at + 1
    if kind == LIST:
        element, size, at = _read_list_header(data, at)
        for _ in range(size):
            at = _skip(data, at, element)
        return at
    if kind in _INTEGERS:
        return _skip_varint(data, at)
    return _read_value(data, at, kind, None)[1]


def _skip_varint(data: bytes, at: int) -> int:
    while data[at] >= 128:
        at += 1
    return at + 1


def _slice(data: bytes, at: int, size: int) -> tuple[bytes, int]:
    if at + size > len(data):
        raise ValueError("a Thrift value ends too early")
    return data[at : at + size], at + size


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    byte = data[at]
    at += 1
    if byte < 128:
        return byte, at
    value, shift = byte & 127, 7
    while (byte := data[at]) >= 128:
        value |= (byte & 127) << shift
        shift += 7
        at += 1
    return value | byte << shift, at + 1


def _write_struct(out: bytearray, struct: Struct) -> None:
    last = 0
    for number, (kind, value) in struct.items():
        step = number - last
        if 0 < step <= _SHORT_SIZE:
            out.append(step << 4 | kind)
        else:
            out.append(kind)
            _write_varint(out, number << 1 ^ number >> 63)
        last = number
        if kind not in _BOOLEANS:
            _write_value(out, kind, value)
    out.append(0)


def _write_list(out: bytearray, elements: Typed) -> None:
    kind, values = elements
    if len(values) < _SHORT_SIZE:
        out.append(len(values) << 4 | kind)
    else:
        out.append(_SHORT_SIZE << 4 | kind)
        _write_varint(out, len(values))
    for value in values:
        _write_value(out, kind, value)


def _write_value(out: bytearray, kind: int, value: Any) -> None:
    if kind in _INTEGERS:
        _write_varint(out, value << 1 ^ value >> 63)
    elif kind == BINARY:
        _write_varint(out, len(value))
        out += value
    elif kind == DOUBLE or (kind in _NESTED and isinstance(value, bytes)):
        out += value
    elif kind == STRUCT:
        _write_struct(out, value)
    elif kind == LIST:
        _write_list(out, value)
    else:
        out.append(value)


def _write_varint(out: bytearray, value: int) -> None:
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
