"""Ends Ray's agents soon after the driver that started their cluster was killed: a small program, of Python's library.

Ray's raylet and control service (GCS) end with their driver, at once. The agents see the raylet's end within 2 s, and
then try for 60 s, which no option of Ray's shortens, to report it to the control service, which has ended as well.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress

GRACE_S = 3.0
"""How long they may take to end by themselves."""
LOOK_S = 1.0


def watch_children(raylet: int) -> subprocess.Popen[bytes] | None:
    """Start a watchdog over the processes that a raylet has started; None where the system has no such means.

    It ends with them. Closing its standard input tells it that they have to end now.
    """
    import psutil

    watched: list[int] = []
    try:
        for child in psutil.Process(raylet).children():
            with suppress(ProcessLookupError):
                watched.append(os.pidfd_open(child.pid))
        return subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, str(os.getpid()), *map(str, watched)],
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
    watchdog.stdin.close()
    with suppress(subprocess.TimeoutExpired):
        watchdog.wait(GRACE_S + 2 * LOOK_S)


def watch(driver: int, watched: set[int]) -> None:
    """Wait until processes (by descriptor) have ended; those that outlive the driver for too long are killed."""
    told = {sys.stdin.fileno()}
    deadline: float | None = None
    while watched:
        ready, _, _ = select.select(watched | told, [], [], LOOK_S)
        watched = watched - set(ready)
        if deadline is None and (told & set(ready) or os.getppid() != driver):
            told, deadline = set(), time.monotonic() + GRACE_S
        if deadline is not None and time.monotonic() > deadline:
            for descriptor in watched:
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            return


if __name__ == "__main__":
    watch(int(sys.argv[1]), {int(word) for word in sys.argv[2:]})
