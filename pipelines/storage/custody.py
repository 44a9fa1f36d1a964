"""Custody: what a job may remove, replace or give another name. Files belong to people.

Pure: what bears a name now, and what the job's record says of it, are arguments. A file is the job's when the record
says that the job wrote it and its content is still what was written; size and time alone suffice for leaving it as it
is, never for touching it. Whatever else bears a name (a changed file, a stranger's, a link, a directory) stays.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

UNKNOWN = -1
"""Size of a file that the record of an older format doesn't tell."""


class Kind(StrEnum):
    """What bears a name; links are not followed."""

    NOTHING = "nothing"
    FILE = "a file"
    DIRECTORY = "a directory"
    LINK = "a link"
    OTHER = "a pipe, socket or device"


@dataclass(frozen=True, slots=True)
class Present:
    """What bears a name at the moment."""

    kind: Kind
    bytes: int = 0
    mtime_ns: int = 0
    ctime_ns: int = 0
    """When the system last noted a change of content, name or owner; no program can set it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A file as the job wrote it, relative to the output: one entry of the job's record."""

    path: str
    sha256: str
    bytes: int
    mtime_ns: int | None = None
    """None: not known; its content has to be compared."""
    ctime_ns: int | None = None
    """Of files that are large and often replaced; None: not known."""


class Standing(StrEnum):
    """How a file of the record stands."""

    AS_WRITTEN = "as written"
    GONE = "gone"
    CHANGED = "changed"
    """By somebody, or by an accident: no longer the job's."""
    UNSURE = "unsure"
    """Its content has to be compared."""


def standing(present: Present, written: Written) -> Standing:
    """How a file of the record stands, as far as size and time tell."""
    if present.kind is Kind.NOTHING:
        return Standing.GONE
    if present.kind is not Kind.FILE or written.bytes not in (present.bytes, UNKNOWN):
        return Standing.CHANGED
    return Standing.AS_WRITTEN if present.mtime_ns == written.mtime_ns else Standing.UNSURE


def is_untouched(present: Present, written: Written) -> bool:
    """Whether nobody can have changed a file since it was written, so that its content need not be read to know it."""
    return standing(present, written) is Standing.AS_WRITTEN and present.ctime_ns == written.ctime_ns


def is_ours(present: Present, sha256: str | None, known: Iterable[str]) -> bool:
    """Whether what bears a name may be removed or replaced.

    Parameters
    ----------
    sha256
        Of its content, read just now.
    known
        sha256 of what the job's record says that the job wrote under this name.
    """
    return present.kind is Kind.FILE and sha256 is not None and sha256 in known


def may_replace(present: Present, sha256: str | None, known: Iterable[str], *, overwrite: bool = False) -> bool:
    """Whether a finished file may take this name from what bears it.

    ``overwrite`` is the user's word (``on_conflict: overwrite``), given for images at their planned names alone. It
    covers regular files; never a link, never a directory.
    """
    return is_ours(present, sha256, known) or (overwrite and present.kind is Kind.FILE)
