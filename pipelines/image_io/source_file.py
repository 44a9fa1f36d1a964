"""Read an input's bytes from a local path: whole and bounded, or piece by piece; or with the reason why not.

Covers what a file system can do to a name between planning and reading. Doesn't look into the bytes.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from pipelines.errors import FailedReason, ImageError
from pipelines.storage.local_files import time_of

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
    with _reasons():
        descriptor = _open(path)
        try:
            before = _checked(descriptor, expected_size, expected_mtime_ns)
            return _read(descriptor, before, max_bytes)
        finally:
            os.close(descriptor)


@contextmanager
def open_source(
    path: bytes, *, expected_size: int | None = None, expected_mtime_ns: int | None = None
) -> Iterator[SourceFile]:
    """A file to read piece by piece, however large it is.

    Raises
    ------
    ImageError
        As ``read_bytes``, but ``too_large``; ``changed`` at the end if the file changed meanwhile.
    """
    with _reasons():
        descriptor = _open(path)
        try:
            before = _checked(descriptor, expected_size, expected_mtime_ns)
            # by its name, since libraries look at a stream's
            stream = open(os.fsdecode(path), "rb", opener=lambda *_: descriptor)  # noqa: SIM115
        except BaseException:
            os.close(descriptor)
            raise
    with stream:
        yield SourceFile(stream, before.st_size)
        with _reasons():
            _check_unchanged(descriptor, before)


class SourceFile:
    """An open file that is sliced like bytes; only what is asked for is read."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self.stream = stream
        self._size = size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> bytes:
        start, stop, _ = part.indices(self._size)
        pieces = []
        with _reasons():
            while start < stop and (piece := os.pread(self.stream.fileno(), stop - start, start)):
                pieces.append(piece)
                start += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


@contextmanager
def _reasons() -> Iterator[None]:
    """What the system says as an ImageError."""
    try:
        yield
    except OSError as error:
        reason, text = _REASONS.get(error.errno or 0, (FailedReason.CORRUPT, f"can't be read: {error.strerror}"))
        raise ImageError(reason, text) from error
    except ValueError as error:  # a NUL in the name
        raise ImageError(FailedReason.NAME_INVALID, f"the path can't be opened: {error}") from error


def _open(path: bytes) -> int:
    # non-blocking: opening a pipe that took the file's place must not wait for a writer
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)


def _checked(descriptor: int, expected_size: int | None, expected_mtime_ns: int | None) -> os.stat_result:
    before = os.fstat(descriptor)
    if not stat.S_ISREG(before.st_mode):
        raise ImageError(FailedReason.NOT_AN_IMAGE, "not a regular file")
    if expected_size not in (None, before.st_size) or expected_mtime_ns not in (None, time_of(before)):
        raise ImageError(
            FailedReason.CHANGED,
            f"the file changed since the job was planned ({before.st_size:,} bytes now); run again to take it as it is",
        )
    if before.st_size == 0:
        raise ImageError(FailedReason.EMPTY, "the file has 0 bytes")
    return before


def _read(descriptor: int, before: os.stat_result, max_bytes: int) -> bytes:
    if before.st_size > max_bytes:
        raise ImageError(
            FailedReason.TOO_LARGE, f"the file has {before.st_size:,} bytes, more than the limit of {max_bytes:,}"
        )
    data = _read_up_to(descriptor, before.st_size + 1)
    _check_unchanged(descriptor, before, len(data))
    return data


def _check_unchanged(descriptor: int, before: os.stat_result, read: int | None = None) -> None:
    after = os.fstat(descriptor)
    same = (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    if not same or read not in (None, before.st_size):
        raise ImageError(FailedReason.CHANGED, "the file changed while it was read; run again when it is complete")


def _read_up_to(descriptor: int, limit: int) -> bytes:
    parts = [os.read(descriptor, limit)]
    left = limit - len(parts[0])
    while left and parts[-1]:
        parts.append(os.read(descriptor, left))
        left -= len(parts[-1])
    return parts[0] if len(parts) == 2 and not parts[1] else b"".join(parts)
