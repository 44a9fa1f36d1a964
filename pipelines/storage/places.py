"""Where a path leads, whatever it is spelled like, and whether what is written to two of them may meet.

One file has many spellings: through links, with ``..``, ``~`` or a slash at the end, relative or absolute. Two outputs
are in each other's way when they are one place, or when one lies inside of the other.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def real_place(path: str | os.PathLike[str], *, base: str | os.PathLike[str] | None = None) -> str:
    """A path absolute and without links, also of what doesn't exist yet; addresses of object stores stay as they are.

    Parameters
    ----------
    base
        What it is relative to; the current directory unless given.
    """
    text = os.fspath(path)
    if _ADDRESS.match(text):
        return text.rstrip("/")
    return os.path.realpath(os.path.join(base or os.getcwd(), os.path.expanduser(text)))


def above(place: str) -> Iterator[str]:
    """The places that one lies in, the nearest first."""
    while (parent := os.path.dirname(place)) not in ("", place):
        yield parent
        place = parent
