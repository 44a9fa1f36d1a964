"""Thrift's compact protocol, as far as the footer of a Parquet file needs it: bytes to nested values and back.

A struct becomes a dict from field number to ``Typed`` in the order of its bytes, a list ``Typed`` as its elements are;
what a field means is the caller's knowledge, so fields of newer versions pass through unchanged. Written after the
specification, https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md.
"""

from __future__ import annotations

from typing import Any, NamedTuple

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)
"""Types of fields; a boolean's type is its value."""

_INTEGERS = frozenset((I16, I32, I64))
_SHORT_SIZE = 15
_DOUBLE_BYTES = 8


class Typed(NamedTuple):
    """A value and its type on the wire; for a list the type of its elements."""

    kind: int
    value: Any


Struct = dict[int, Typed]


def read_struct(data: bytes, start: int = 0) -> tuple[Struct, int]:
    """Decode the struct that begins at ``start``; return it and where it ends.

    Raises
    ------
    ValueError
        The bytes are no such struct, or hold a map, which Parquet's footers don't have.
    """
    try:
        return _read_struct(data, start)
    except IndexError as error:
        raise ValueError("a Thrift struct ends too early") from error


def write_struct(struct: Struct) -> bytes:
    """Encode a struct; what ``read_struct`` gave becomes the same bytes again, if they were as short as can be."""
    out = bytearray()
    _write_struct(out, struct)
    return bytes(out)


def _read_struct(data: bytes, at: int) -> tuple[Struct, int]:
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
        if kind in (TRUE, FALSE):
            struct[number] = Typed(kind, kind == TRUE)
        elif kind == LIST:
            elements, at = _read_list(data, at)
            struct[number] = Typed(LIST, elements)
        else:
            value, at = _read_value(data, at, kind)
            struct[number] = Typed(kind, value)
    return struct, at + 1


def _read_list(data: bytes, at: int) -> tuple[Typed, int]:
    header = data[at]
    at += 1
    kind, size = header & 15, header >> 4
    if size == _SHORT_SIZE:
        size, at = _read_varint(data, at)
    if kind == STRUCT:
        structs = []
        for _ in range(size):
            struct, at = _read_struct(data, at)
            structs.append(struct)
        return Typed(kind, structs), at
    values = []
    for _ in range(size):
        value, at = _read_value(data, at, kind)
        values.append(value)
    return Typed(kind, values), at


def _read_value(data: bytes, at: int, kind: int) -> tuple[Any, int]:
    if kind in _INTEGERS:
        zigzag, at = _read_varint(data, at)
        return (zigzag >> 1) ^ -(zigzag & 1), at
    if kind == BINARY:
        size, at = _read_varint(data, at)
        return _slice(data, at, size)
    if kind == STRUCT:
        return _read_struct(data, at)
    if kind == DOUBLE:
        return _slice(data, at, _DOUBLE_BYTES)
    if kind in (BYTE, TRUE, FALSE):  # a boolean in a list is a byte
        return data[at], at + 1
    raise ValueError(f"unexpected Thrift type {kind}")


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
        if kind == LIST:
            _write_list(out, value)
        elif kind not in (TRUE, FALSE):
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
    elif kind == STRUCT:
        _write_struct(out, value)
    elif kind == DOUBLE:
        out += value
    else:
        out.append(value)


def _write_varint(out: bytearray, value: int) -> None:
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
