"""Waiting for a condition, and what must not be left behind."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from rayjobs.run.embedded_sessions import KEPT

MARK = "TEST_RUN_OF_RAYJOBS"
"""Environment variable that every process below this one inherits, also when its parent is gone."""


def wait_until(condition: Callable[[], bool], *, timeout_s: float = 30.0, interval_s: float = 0.02) -> None:
    """Return as soon as the condition holds; raise AssertionError when it doesn't within the time."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:g} s: {getattr(condition, '__doc__', None) or condition}")
        pause.wait(interval_s)


def open_below(directory: Path) -> list[Path]:
    """Where descriptors of this process lead that lead below there; others, of other threads, come and go meanwhile."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            found.append(Path(os.readlink(f"/proc/self/fd/{number}")))
    return [path for path in found if path.is_relative_to(directory)]


@contextmanager
def nothing_left_behind(*, timeout_s: float = 15.0) -> Iterator[None]:
    """What begins inside has ended soon after: processes, however they came to be, and threads that keep one alive.

    Raises
    ------
    AssertionError
        With what is left.
    """
    os.environ.setdefault(MARK, uuid.uuid4().hex)
    processes, threads = set(_processes()), set(threading.enumerate())
    yield
    deadline = time.monotonic() + timeout_s
    while True:
        left = {number: command for number, command in _processes().items() if number not in processes}
        alive = [thread.name for thread in threading.enumerate() if not thread.daemon and thread not in threads]
        if not left and not alive:
            return
        if time.monotonic() > deadline:
            told = [f"process {number}: {command}" for (number, _), command in left.items()]
            raise AssertionError("left behind: " + "; ".join([*told, *(f"thread {name}" for name in alive)]))
        time.sleep(0.1)


def output_left(output: Path) -> list[str]:
    """What only a run itself needed of what lies in an output."""
    control = output / ".rayjobs"
    left = [*control.glob("tmp"), *control.glob("request-*"), *control.glob(".*.tmp"), *control.glob(".ledger-*")]
    left += [path for pattern in ("*.journal", "*.hung", "stop-*") for path in output.rglob(pattern)]
    return sorted({str(path) for path in left})


def files_left(output: Path, home: Path, ray: Path, *, failed: int = 0) -> list[str]:
    """What runs should have taken with them: below an output, ``RAYJOBS_HOME`` and Ray's directory for temporary files.

    ``failed`` is how many runs failed or were killed: the session directories of the last few of those stay.
    """
    sessions = [path for path in ray.glob("ray/session_*") if not path.is_symlink()]
    kept = min(failed, KEPT)
    told = output_left(output) + [str(path) for path in (home / "clusters").glob("*")]
    if len(sessions) != kept:
        told.append(f"{len(sessions)} session directories below {ray}, {kept} should be")
    if len(list((home / "sessions").glob("*"))) != kept:
        told.append(f"records of sessions below {home} other than the {kept} of those directories")
    return told


def processes_left(directory: Path) -> list[str]:
    """Processes of Ray whose session lies below a directory."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            # the agents of Ray write their title over command line and environment; their logs stay open
            words = process.cmdline()
            if any(str(directory) in word for word in [*words, *(file.path for file in process.open_files())]):
                found.append(f"process {process.pid}: {' '.join(words)[:200]}")
    return found


def _processes() -> dict[tuple[int, float], str]:
    """(number, time of its start) of every process that this one is the cause of -> its command."""
    found = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            if process.environ().get(MARK) == os.environ[MARK]:
                found[process.pid, process.create_time()] = " ".join(process.cmdline())[:200] or process.name()
    return found
