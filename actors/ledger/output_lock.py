"""Who may write one output directory: exactly one driver at a time.

On one host the kernel's file lock decides, at once, even after a kill. The lock file also names its holder, for the
message that a second driver gets, and carries the time of the last renewal for drivers of other hosts, where a file
lock may not reach: they wait until the lease has run out.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from pathlib import Path
from typing import Any

from pipelines.errors import JobError

LEASE_S = 60.0
"""A holder on another host that has not renewed for so long is dead."""


class OutputInUseError(JobError):
    """Another driver is running in this output directory."""


class OutputLock:
    """Held from construction to ``release``; ``renew`` it at least every ``LEASE_S / 3``."""

    def __init__(self, path: Path, *, now: float | None = None) -> None:
        now = time.time() if now is None else now
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        if not _locks(self._file):
            holder = _read(self._file)
            os.close(self._file)
            raise OutputInUseError(_in_use(path, holder))
        holder = _read(self._file)
        if holder.get("host") not in (None, socket.gethostname()) and now - holder.get("renewed", 0.0) < LEASE_S:
            os.close(self._file)
            raise OutputInUseError(_in_use(path, holder))
        self.renew(now)

    def renew(self, now: float | None = None) -> None:
        """Say that the holder is alive."""
        holder = {"host": socket.gethostname(), "pid": os.getpid(), "renewed": time.time() if now is None else now}
        os.pwrite(self._file, json.dumps(holder).ljust(256).encode(), 0)

    def release(self) -> None:
        """Let the next driver in at once. Safe to call twice."""
        if self._file >= 0:
            os.pwrite(self._file, b"{}".ljust(256), 0)
            os.close(self._file)
            self._file = -1


def holder_of(path: Path) -> str | None:
    """Who holds a lock, in words; None: nobody does."""
    if not is_locked(path):
        return None
    try:
        return _who(json.loads(path.read_bytes() or b"{}"))
    except (OSError, ValueError):  # it was let go in this moment, or is being written
        return _who({})


def is_locked(path: Path, *, now: float | None = None) -> bool:
    """Whether a driver is alive that holds the lock; doesn't disturb it."""
    try:
        probe = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(probe, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        holder = _read(probe)
        now = time.time() if now is None else now
        foreign = holder.get("host") not in (None, socket.gethostname())
        return foreign and bool(now - holder.get("renewed", 0.0) < LEASE_S)
    finally:
        os.close(probe)


def _locks(file: int) -> bool:
    """Whether the exclusive lock was got; somebody who only asks (``is_locked``) holds it for an instant."""
    for pause in (0.02, 0.1, 0.0):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(pause)
        else:
            return True
    return False


def _read(file: int) -> dict[str, Any]:
    try:
        found = json.loads(os.pread(file, 256, 0) or b"{}")
    except ValueError:  # a write that a kill cut short: the kernel's lock alone decides
        return {}
    return found if isinstance(found, dict) else {}


def _in_use(path: Path, holder: dict[str, Any]) -> str:
    return (
        f"{path.parent.parent}: another run is writing here ({_who(holder)}); wait for it (rayjobs watch), "
        "cancel it (rayjobs cancel), or choose another output"
    )


def _who(holder: dict[str, Any]) -> str:
    return f"process {holder.get('pid', '?')} on {holder.get('host', '?')}"
