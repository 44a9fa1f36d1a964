"""One path as an input: a regular file with its size and time, or the reason why it fails or is left out."""

from __future__ import annotations

import errno
import os
import stat

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
