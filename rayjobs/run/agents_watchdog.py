"""Ends Ray's agents soon after the driver that started their cluster was killed: a small program, of Python's library.

Ray's raylet and control service (GCS) end with their driver, at once. The agents see the raylet's end within 2 s, and
then try for 60 s, which no option of Ray's shortens, to report it to the control service, which has ended as well. So
does a worker that was just starting: it wants to connect to both.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

GRACE_S = 3.0
"""How long they may take to end by themselves."""
LOOK_S = 1.0
_WORKER = b"default_worker."
"""Ray's program of a worker of Python's."""


def watch_children(raylet: int) -> subprocess.Popen[bytes] | None:
    """Start a watchdog over the processes that a raylet has started; None where the system has no such means.

    It ends with them. A line on its standard input tells it that they have to end now; that it ends without one, that
    the driver was killed.
    """
    import psutil

    watched: list[int] = []
    try:
        for child in psutil.Process(raylet).children():
            with suppress(ProcessLookupError):
                watched.append(os.pidfd_open(child.pid))
        return subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(raylet), *map(str, watched)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=watched,
            start_new_session=True,  # Ctrl-C is for the driver
        )
    except (psutil.Error, OSError):
        return None
    finally:
        for descriptor in watched:
            os.close(descriptor)


def end_children(watchdog: subprocess.Popen[bytes]) -> None:
    """The raylet was ended: return once its processes have, a little later."""
    assert watchdog.stdin is not None
    with suppress(BrokenPipeError):  # they have ended before
        os.write(watchdog.stdin.fileno(), b"\n")
    watchdog.stdin.close()
    with suppress(subprocess.TimeoutExpired):
        watchdog.wait(GRACE_S + 2 * LOOK_S)


def watch(driver: int, raylet: int, watched: set[int]) -> None:
    """Wait until processes (by descriptor) have ended; those that outlive the driver for too long are killed.

    So are, when it was killed, workers that the raylet has started.
    """
    told = {sys.stdin.fileno()}
    deadline, killed = float("inf"), False
    while watched or killed:
        ready, _, _ = select.select(watched | told, [], [], LOOK_S)
        watched = watched - set(ready)
        if deadline == float("inf") and (told & set(ready) or os.getppid() != driver):
            killed = os.getppid() != driver or not os.read(sys.stdin.fileno(), 1)
            told, deadline = set(), time.monotonic() + GRACE_S
        if time.monotonic() > deadline:
            for descriptor in watched:
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            for process in workers_of(raylet) if killed else ():
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(process, signal.SIGKILL)
            return


def workers_of(raylet: int) -> Iterator[int]:
    """Workers of a raylet that have no title yet: by a variable of Ray's, over which that is written.

    What a task has started inherits the variable, and a container may have a process of that number as well.
    """
    mark, ours = f"RAY_RAYLET_PID={raylet}".encode(), os.readlink("/proc/self/ns/pid")
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            is_worker = any(word.rpartition(b"/")[2].startswith(_WORKER) for word in _words(name, "cmdline"))
            if is_worker and mark in _words(name, "environ") and os.readlink(f"/proc/{name}/ns/pid") == ours:
                yield int(name)


def _words(process: str, what: str) -> list[bytes]:
    with open(f"/proc/{process}/{what}", "rb") as file:
        return file.read().split(b"\0")


if __name__ == "__main__":
    watch(int(sys.argv[1]), int(sys.argv[2]), {int(word) for word in sys.argv[3:]})
