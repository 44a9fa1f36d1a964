"""IPTC data sets (IIM 4) of a source, made true of the picture that is written."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from pipelines.image_io.io_policies import EncodeOptions

_PREVIEWS = {(2, 200), (2, 201), (2, 202), (2, 131)}
"""Previews of the picture, and which way it lies."""
_OF_TEXTS, _OF_IMAGE_RECORD = 2, 3
_BYLINE, _IPTC_COPYRIGHT = (2, 80), (2, 116)
_CHARSET, _UTF8 = (1, 90), b"\x1b%G"
_BINARY = {(2, 0), (2, 125), *((2, number) for number in range(150, 155))}
"""Data sets that hold no text though they are of the record of texts: version, rasterized caption, sound."""


def written_iptc(iptc: bytes, options: EncodeOptions) -> bytes:
    """The data sets that don't describe pixels, with ``copyright`` and ``artist`` as the options say."""
    replaced = {
        number: text
        for number, text in ((_BYLINE, options.artist), (_IPTC_COPYRIGHT, options.copyright))
        if text is not None
    }
    sets = list(_data_sets(iptc))
    if (_CHARSET, _UTF8) not in sets and not all(text.isascii() for text in replaced.values()):
        sets = [(_CHARSET, _UTF8), *((number, _as_utf8(number, value)) for number, value in sets if number != _CHARSET)]
    kept = [
        (number, value)
        for number, value in sets
        if number[0] != _OF_IMAGE_RECORD and number not in _PREVIEWS and number not in replaced
    ]
    for number, text in replaced.items():
        kept.append((number, text.encode()))
    # sets of one record stand together; within it they may come in any order
    return b"".join(
        struct.pack(">BBBH", 0x1C, *number, len(value)) + value
        for number, value in sorted(kept, key=lambda entry: entry[0][0])
        if len(value) < 0x8000
    )


def _as_utf8(number: tuple[int, int], value: bytes) -> bytes:
    """A text of unsaid charset: UTF-8 where it is that already, else Latin-1."""
    if number[0] != _OF_TEXTS or number in _BINARY:
        return value
    try:
        value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1").encode()
    return value


def _data_sets(iptc: bytes) -> Iterator[tuple[tuple[int, int], bytes]]:
    at = 0
    while at + 5 <= len(iptc) and iptc[at] == 0x1C:
        record, number, length = struct.unpack_from(">BBH", iptc, at + 1)
        at += 5
        if length & 0x8000:  # the length's own length
            size = length & 0x7FFF
            length = int.from_bytes(iptc[at : at + size], "big")
            at += size
        if at + length > len(iptc):
            return
        yield (record, number), iptc[at : at + length]
        at += length
