"""Read an input's bytes from a local path: whole, unchanged and bounded, or with the reason why not.

Covers what a file system can do to a name between planning and reading. Doesn't look into the bytes.
"""

from __future__ import annotations

import errno
import os
import stat

from pipelines.errors import FailedReason, ImageError

_REASONS = {
    errno.ENOENT: (FailedReason.MISSING, "the file is gone"),
    errno.ENOTDIR: (FailedReason.MISSING, "the file is gone: its directory is no directory"),
    errno.ELOOP: (FailedReason.MISSING, "a symbolic link leads to itself"),
    errno.ESTALE: (FailedReason.MISSING, "the file is gone from its server"),
    errno.EACCES: (FailedReason.PERMISSION, "no permission to read"),
    errno.EPERM: (FailedReason.PERMISSION, "no permission to read"),
    errno.ENAMETOOLONG: (FailedReason.NAME_INVALID, "the path is too long for the system"),
    errno.ENXIO: (FailedReason.NOT_AN_IMAGE, "not a regular file"),
}


def read_bytes(
    path: bytes, *, max_bytes: int, expected_size: int | None = None, expected_mtime_ns: int | None = None
) -> bytes:
    """Read a file that was planned with this size and time of change.

    Raises
    ------
    ImageError
        ``missing``, ``permission``, ``name_invalid``, ``not_an_image`` (a directory or device), ``empty``,
        ``too_large``, ``changed`` (since planning, or while reading), ``corrupt`` (the disk can't read it).
    """
    try:
        # non-blocking: opening a pipe that took the file's place must not wait for a writer
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return _read(descriptor, max_bytes, expected_size, expected_mtime_ns)
        finally:
            os.close(descriptor)
    except OSError as error:
        reason, text = _REASONS.get(error.errno or 0, (FailedReason.CORRUPT, f"can't be read: {error.strerror}"))
        raise ImageError(reason, text) from error
    except ValueError as error:  # a NUL in the name
        raise ImageError(FailedReason.NAME_INVALID, f"the path can't be opened: {error}") from error


def _read(descriptor: int, max_bytes: int, expected_size: int | None, expected_mtime_ns: int | None) -> bytes:
    before = os.fstat(descriptor)
    if not stat.S_ISREG(before.st_mode):
        raise ImageError(FailedReason.NOT_AN_IMAGE, "not a regular file")
    if expected_size not in (None, before.st_size) or expected_mtime_ns not in (None, before.st_mtime_ns):
        raise ImageError(
            FailedReason.CHANGED,
            f"the file changed since the job was planned ({before.st_size:,} bytes now); run again to take it as it is",
        )
    if before.st_size == 0:
        raise ImageError(FailedReason.EMPTY, "the file has 0 bytes")
    if before.st_size > max_bytes:
        raise ImageError(
            FailedReason.TOO_LARGE, f"the file has {before.st_size:,} bytes, more than the limit of {max_bytes:,}"
        )
    data = _read_up_to(descriptor, before.st_size + 1)
    after = os.fstat(descriptor)
    if len(data) != before.st_size or (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise ImageError(FailedReason.CHANGED, "the file changed while it was read; run again when it is complete")
    return data


def _read_up_to(descriptor: int, limit: int) -> bytes:
    parts = [os.read(descriptor, limit)]
    left = limit - len(parts[0])
    while left and parts[-1]:
        parts.append(os.read(descriptor, left))
        left -= len(parts[-1])
    return parts[0] if len(parts) == 2 and not parts[1] else b"".join(parts)
