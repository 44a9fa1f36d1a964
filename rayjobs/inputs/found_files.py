"""One path as an input: a regular file with its size and time, or the reason why it fails or is left out."""

from __future__ import annotations

import errno
import os
import stat
import unicodedata

from actors.ledger.staged_inputs import FoundInput
from pipelines.errors import FailedReason, SkippedReason
from pipelines.storage.local_files import time_of

IMAGE_EXTENSIONS = frozenset(b".jpg .jpeg .jpe .jfif .png .tif .tiff .btf .webp .avif .bmp .dib .gif".split())
GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE})
"""What the system says of a name that leads nowhere."""

_DENIED = frozenset({errno.EACCES, errno.EPERM})


def looks_like_image(name: bytes) -> bool:
    return os.path.splitext(name)[1].lower() in IMAGE_EXTENSIONS


def named_file(path: bytes, relative: bytes, order: bytes) -> FoundInput:
    """A path that is meant as a file; links are followed."""
    try:
        return _from_stat(path, relative, order, os.stat(path))
    except ValueError as error:  # a NUL in the name
        reason, message = FailedReason.NAME_INVALID, str(error)
    except OSError as error:
        reason, message = _reason(error), error.strerror or str(error)
        if reason == FailedReason.MISSING and (other := _other_spelling(path, relative)):
            message += f"; {other}"
    return FoundInput(path=path, relative=relative, order=order, status="failed", reason=reason, message=message)


def listed_file(entry: os.DirEntry[bytes], relative: bytes, order: bytes) -> FoundInput | None:
    """An entry of a directory that is no directory and no link; None when it vanished meanwhile."""
    try:
        return _from_stat(entry.path, relative, order, entry.stat(follow_symlinks=False))
    except FileNotFoundError:
        return None
    except OSError:  # a directory that may be listed but not entered
        return named_file(entry.path, relative, order)


def skipped(path: bytes, relative: bytes, order: bytes, reason: SkippedReason, message: str) -> FoundInput:
    """An input that the job's own policy leaves out."""
    return FoundInput(path=path, relative=relative, order=order, status="skipped", reason=reason, message=message)


def _from_stat(path: bytes, relative: bytes, order: bytes, status: os.stat_result) -> FoundInput:
    if not stat.S_ISREG(status.st_mode):
        kind = "a directory" if stat.S_ISDIR(status.st_mode) else "a pipe, socket or device"
        return skipped(path, relative, order, SkippedReason.NOT_REGULAR, f"{kind}, not a file")
    return FoundInput(path=path, relative=relative, order=order, size=status.st_size, mtime_ns=time_of(status))


def _reason(error: OSError) -> FailedReason:
    if error.errno in GONE:
        return FailedReason.MISSING
    if error.errno in _DENIED:
        return FailedReason.PERMISSION
    return FailedReason.CORRUPT if error.errno == errno.EIO else FailedReason.NAME_INVALID


def _other_spelling(path: bytes, relative: bytes) -> str | None:
    """What to say of a name that leads nowhere, if one that is written otherwise doesn't."""
    text = os.fsdecode(relative)
    start = os.fsdecode(path[: -len(relative)]) if relative and path.endswith(relative) else None
    if start is None:
        return None
    others = {
        "there is one whose letters are composed otherwise in Unicode: write its name as a listing gives it": (
            () if text.isascii() else (unicodedata.normalize(form, text) for form in ("NFC", "NFD"))
        ),
        "there is one with / in place of \\": (text.replace("\\", "/"),),
        "there is one without spaces around its name": (text.strip(),),
    }
    there = (told for told, names in others.items() for name in names if name != text and os.path.isfile(start + name))
    return next(there, None)
