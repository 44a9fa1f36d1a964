"""The order of inputs where they are numbered, as keys that compare byte by byte.

Paths are in natural order: ``img2`` before ``img10``, directories by their names, upper and lower case alike. Total:
two paths never have one key.
"""

from __future__ import annotations

import re

_NUMBER = re.compile(r"([0-9]+)")
_SEPARATOR = b"\1"
"""Less than any character of a name, so that what is in a directory comes together."""
_END = b"\0"
"""Less than anything a key goes on with, so that a name comes before the longer ones that begin with it."""


def pattern_key(number: int) -> bytes:
    """The beginning of the keys of one input pattern, by its place in the job."""
    return number.to_bytes(4, "big")


def list_key(place: int) -> bytes:
    """A key for what has an order already."""
    return place.to_bytes(8, "big")


def natural_key(path: bytes) -> bytes:
    """A key for a relative path; whatever looks the same to it is in order of the exact bytes."""
    text = path.decode("utf-8", "surrogateescape").casefold()
    parts = _NUMBER.split(text)  # characters and numbers in turn
    key = bytearray()
    for number, part in enumerate(parts):
        key += _number_key(part) if number % 2 else part.encode("utf-8", "surrogateescape").replace(b"/", _SEPARATOR)
    return bytes(key) + _END + path


def _number_key(digits: str) -> bytes:
    """A number where ``0`` would stand: how many digits it has, then the digits; of any length."""
    exact = digits.lstrip("0") or "0"
    many, rest = divmod(len(exact), 255)
    return b"0" + b"\xff" * many + bytes([rest]) + exact.encode()
