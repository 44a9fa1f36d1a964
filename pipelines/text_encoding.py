"""Telling UTF-16 from what programs read: UTF-8, or bytes that are ASCII where it matters."""

from __future__ import annotations

import codecs

_MOSTLY = 0.6
"""Share of NULs among every other byte: text of UTF-16 has more, a list that they separate less."""


def is_utf16(start: bytes) -> bool:
    """Told by the byte order mark, or by the NULs that every other byte of mostly Latin text is."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return True
    return any(len(half) > 1 and half.count(0) > _MOSTLY * len(half) for half in (start[::2], start[1::2]))
