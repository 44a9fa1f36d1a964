"""How a path may be spelled in a job file or on the command line: ``~`` is expanded, what is no path is refused.

Addresses (``s3://bucket``), drives (``C:/``) and what a shell would have put in place of ``$HOME`` or
``%USERPROFILE%`` can't be meant as names; unless there is such a name: one that exists literally is always that. Says
nothing of patterns: those are ``glob_patterns``.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from pipelines.errors import JobError

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")  # one slash: pathlib makes s3:/b of s3://b
_DRIVE = re.compile(r"[A-Za-z]:[/\\]")
_VARIABLE = re.compile(r"\$\{\w+\}|(?:(?<=/)|^)(?:\$[A-Za-z_]\w*(?=/|$)|%[A-Za-z_][\w()]*%)", re.ASCII)


def expanded(text: str, *, what: str, base: Path) -> str:
    """A path with its ``~`` or ``~user`` expanded; ``base`` is what it is relative to, ``what`` names it in errors.

    Raises
    ------
    JobError
        It looks like an address or a variable, or is no name at all.
    """
    start, rest = spelled(text, what=what, base=os.fsencode(base))
    if rest == os.fsencode(text):
        return text
    return os.fsdecode(os.path.join(start, rest) if rest else start)


def spelled(text: str, *, what: str, base: bytes) -> tuple[bytes, bytes]:
    """(what a text is relative to, the text): a home directory and the rest, or ``base`` and all of it.

    They are apart because only the text may be read as a pattern.

    Raises
    ------
    JobError
        As ``expanded``.
    """
    raw = encoded(text, what=what)
    if os.path.lexists(os.path.join(base, raw)):
        return base, raw
    _check(text, what, base)
    head, _, rest = raw.partition(b"/")
    home = os.path.expanduser(head) if head.startswith(b"~") else head
    return (base, raw) if home == head else (home, rest.lstrip(b"/"))


def encoded(text: str, *, what: str) -> bytes:
    """The bytes of a name.

    Raises
    ------
    JobError
        No file can have it.
    """
    try:
        raw = os.fsencode(text)
    except UnicodeEncodeError as error:
        raise JobError(f"{what}: {text!r} can't be the name of a file: {error.reason}") from error
    if b"\0" in raw:
        raise JobError(f"{what}: {text!r} can't be the name of a file: there is a NUL in it")
    return raw


def written_elsewhere(text: str) -> str | None:
    """What to do about a name that was written for an object store or Windows; None of any other."""
    if _DRIVE.match(text):
        return "a path of Windows; write where it is mounted, such as /mnt/c/photos"
    if _ADDRESS.match(text):
        return "object stores are not supported yet; mount it, or copy the files"
    return None


def _check(text: str, what: str, base: bytes) -> None:
    """Refuse what is no path; ``text`` as a whole doesn't exist."""
    if told := written_elsewhere(text):
        raise JobError(f"{what}: {text!r}: {told}")
    found = _VARIABLE.search(text)
    if found is None or os.path.lexists(os.path.join(base, os.fsencode(_up_to(text, found.end())))):
        return
    raise JobError(f"{what}: {text!r}: variables such as {found[0]} are not expanded; write the path, or ~")


def _up_to(text: str, end: int) -> str:
    """A text to the end of the component in which ``end`` lies."""
    slash = text.find("/", end)
    return text if slash < 0 else text[:slash]
