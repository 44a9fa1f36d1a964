"""The second level: results on disk, shared by all jobs of a user, kept until room is needed.

An entry is one file, written under a temporary name and renamed, so that a reader sees all of it or nothing; any number
of processes may read and write at once, and a writer that is killed leaves at most a temporary file, swept later. Every
read checks the checksum; a damaged entry is removed and counts as a miss. Local file systems only: that is what
``$RAYJOBS_HOME`` is. Nothing here ever fails a job: a full or read-only disk only means that nothing is kept.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import stat
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from actors.cache.cache_entry import DamagedEntryError, decode, encode
from actors.home import rayjobs_home
from pipelines.errors import JobError
from pipelines.result_cache import CacheStats

DEFAULT_MAX_BYTES = 2 * 2**30
STALE_S = 3600.0
"""A temporary file of that age has no writer any more."""
SHARES = 64
"""Room is reserved in so many shares of the bound: processes that begin with a full cache needn't look at all of it."""
SHRINK_TO = 0.9
"""Share of the bound that is left after making room, so that not every write must."""
LARGEST_SHARE = 0.25
"""A result larger than that share of the bound isn't kept: it would drive out everything else."""

_KEY = re.compile(r"[0-9a-f]{8,128}")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    bytes: int
    used: float
    """When it was last read or written (its mtime)."""


class DiskCache:
    """Implements ``pipelines.result_cache.ResultCache``; every method may be called from any thread and process.

    Parameters
    ----------
    directory
        Made when missing, readable by its owner alone; ``$RAYJOBS_HOME/cache`` unless told otherwise.
    max_bytes
        Bound of all entries together. Processes reserve shares of it before they write; what they reserved and didn't
        use is counted as used until somebody finds no room, and looks.
    """

    def __init__(self, directory: Path | None = None, *, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self._directory = directory
        self._root = (rayjobs_home() / "cache" if directory is None else directory) / "v1"
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._counts = CacheStats()
        self._room = 0
        """Bytes that may still be written of what was reserved."""

    def __reduce__(self) -> tuple[Callable[..., DiskCache | None], tuple[Path | None, int]]:
        """A worker that gets it uses the same directory of its own node: nobody needs another node's disk.

        One whose user has no home gets None: there is no cache then.
        """
        return _on_this_node, (self._directory, self._max_bytes)

    def get(self, key: str) -> Mapping[str, Any] | None:
        """The result, with read-only arrays, or None."""
        path = self._path(key)
        try:
            data = _read(path)
            result = decode(key, data)
        except FileNotFoundError:
            self._count(misses=1)
            return None
        except (DamagedEntryError, ValueError, KeyError, TypeError) as error:
            _log.warning("cache: %s is damaged and was removed (%s)", path, error)
            _remove(path)
            self._count(misses=1, damaged=1)
            return None
        except OSError as error:
            _log.warning("cache: %s can't be read: %s", path, error)
            self._count(misses=1)
            return None
        with suppress(OSError):  # removed or replaced meanwhile: what was read is still right
            os.utime(path)
        self._count(hits=1)
        return result

    def put(self, key: str, result: Mapping[str, Any]) -> None:
        """Keep a result if there is room, and if it holds nothing but JSON values and arrays of numbers."""
        path = self._path(key)
        try:
            data = encode(key, result)
        except TypeError as error:
            _log.warning("cache: a result can't be kept: %s", error)
            self._count(refused=1)
            return
        if len(data) > self._max_bytes * LARGEST_SHARE:
            self._count(refused=1)
            return
        try:
            self._make_room(len(data))
            _write(path, data, self._temporary())
        except OSError as error:
            _log.warning("cache: nothing was kept in %s: %s", self._root, error.strerror or error)
            self._count(refused=1)

    def clear(self) -> None:
        """Remove every entry; other processes go on with an empty cache."""
        for file in self._files():
            _remove(file.path)
        self._sweep(older_than_s=STALE_S)
        with self._lock:
            self._room = 0
        with suppress(OSError), _exclusive(self._root / "lock") as given:
            given.truncate(0)

    def stats(self) -> CacheStats:
        files = list(self._files())
        with self._lock:
            return replace(self._counts, entries=len(files), bytes=sum(file.bytes for file in files))

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError(f"{key!r} is no key of the cache: keys are hexadecimal")
        return self._root / key[:2] / key

    def _temporary(self) -> Path:
        return self._root / "tmp"

    def _count(self, **more: int) -> None:
        with self._lock:
            self._counts = replace(self._counts, **{name: getattr(self._counts, name) + n for name, n in more.items()})

    def _make_room(self, needed: int) -> None:
        """Reserve room, a share of the bound at a time; files are only looked at when all of it is given away."""
        with self._lock:
            self._room -= needed
            if self._room >= 0:
                return
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        share = max(needed, self._max_bytes // SHARES)
        with _exclusive(self._root / "lock") as file:
            given = _number(file.read())
            if given is None or given + share > self._max_bytes:
                given = self._shrink(self._max_bytes - share)
            file.truncate(0)
            file.write(str(given + share).encode())
            self._sweep(older_than_s=STALE_S)
        with self._lock:
            self._room = share - needed

    def _shrink(self, limit: int) -> int:
        """Remove the least recently used entries until at most ``limit`` bytes are left; returns what is left."""
        files = sorted(self._files(), key=lambda file: file.used)
        held = sum(file.bytes for file in files)
        if held <= limit:
            return held
        for file in files:
            if held <= min(limit, self._max_bytes * SHRINK_TO):
                break
            _remove(file.path)
            held -= file.bytes
            self._count(evicted=1)
        return held

    def _sweep(self, older_than_s: float) -> None:
        oldest = time.time() - older_than_s
        for file in _listed(self._temporary()):
            if file.used < oldest:
                _remove(file.path)

    def _files(self) -> Iterator[_File]:
        try:
            directories = [entry.path for entry in os.scandir(self._root) if len(entry.name) == 2 and entry.is_dir()]
        except OSError:  # not made yet, or out of reach: nothing is kept
            return
        for directory in directories:
            yield from _listed(Path(directory))


def _on_this_node(directory: Path | None, max_bytes: int) -> DiskCache | None:
    try:
        return DiskCache(directory, max_bytes=max_bytes)
    except JobError as error:
        _log.warning("cache: nothing is kept: %s", error)
        return None


def _listed(directory: Path) -> Iterator[_File]:
    try:
        entries = list(os.scandir(directory))
    except OSError:
        return
    for entry in entries:
        with suppress(FileNotFoundError):  # another process may remove entries meanwhile
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(status.st_mode):
                yield _File(Path(entry.path), status.st_size, status.st_mtime)


def _read(path: Path) -> bytes:
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
        return file.read()


def _write(path: Path, data: bytes, temporary: Path) -> None:
    own = temporary / uuid.uuid4().hex
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        descriptor = os.open(own, flags, 0o600)
    except FileNotFoundError:  # only asked for when it is lacking: that is once
        temporary.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(own, flags, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
        try:
            os.replace(own, path)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.replace(own, path)
    except BaseException:
        _remove(own)
        raise


def _remove(path: Path) -> None:
    with suppress(OSError):  # removed by another process, or a disk that became read-only
        path.unlink()


@contextmanager
def _exclusive(path: Path) -> Iterator[BinaryIO]:
    """One process and thread at a time; the file says how many bytes are there or reserved."""
    with path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        yield file


def _number(text: bytes) -> int | None:
    """Of a file that nobody but us writes, though not always to its end."""
    return int(text) if text.isdigit() and len(text) < 20 else None
