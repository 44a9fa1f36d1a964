"""A worker's process as its node sees it: which one it is, how it stands, how it is ended, and who was short of memory.

All of it is asked of Linux' ``/proc`` and of the control group's own counters, on the node where the process runs.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

END_S = 10.0
"""How long the kernel may take to end a process; one that waits for a dead disk takes for ever."""
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class WorkerProcess:
    """Which process it is: numbers are used again, together with the time of the start they aren't."""

    node: str
    """Ray's name of the node; empty outside of Ray."""
    pid: int
    started: int | None
    """Clock ticks from the machine's start; None where the system doesn't tell."""


class Ending(StrEnum):
    """What became of the wish to end a process."""

    GONE = "gone"
    """It wasn't there any more."""
    ENDED = "ended"
    WORKING = "working"
    """It isn't stopped, and only a stopped one was to be ended."""
    REFUSED = "refused"
    """The kernel doesn't end it."""


def this_process(node: str = "") -> WorkerProcess:
    """The process that asks."""
    found = _state(os.getpid())
    return WorkerProcess(node, os.getpid(), None if found is None else found[1])


def end_process(process: WorkerProcess, *, if_stopped: bool, wait_s: float = END_S) -> Ending:
    """End a process of this node, if it is the very one; ``if_stopped``: only one that a signal has stopped."""
    if process.started is None:
        return Ending.REFUSED
    state = _state_of(process)
    if state is None:
        return Ending.GONE
    if if_stopped and state != "T":
        return Ending.WORKING
    with suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
    deadline = time.monotonic() + wait_s
    while is_alive(process):
        if time.monotonic() > deadline:
            return Ending.REFUSED
        time.sleep(0.02)
    return Ending.ENDED


def is_alive(process: WorkerProcess) -> bool:
    """Whether it still runs, stopped or not; one that only waits to be counted by its parent doesn't."""
    return _state_of(process) is not None


def oom_kills(root: Path = _CGROUP, proc: Path = Path("/proc")) -> int | None:
    """How many processes the kernel has ended for want of memory: in this one's control group, else on the machine."""
    for line in _lines(proc / "self/cgroup"):
        number, controllers, path = [*line.split(":", 2), "", ""][:3]
        if number == "0" and not controllers:
            files = [root / path.lstrip("/") / "memory.events", root / "memory.events"]
        elif "memory" in controllers.split(","):
            files = [root / "memory" / path.lstrip("/") / "memory.oom_control", root / "memory/memory.oom_control"]
        else:
            continue
        for file in files:
            if (found := _counter(file)) is not None:
                return found
    return _counter(proc / "vmstat")


def _state_of(process: WorkerProcess) -> str | None:
    found = _state(process.pid)
    return None if found is None or found[1] != process.started or found[0] in "ZX" else found[0]


def _state(pid: int) -> tuple[str, int] | None:
    """(state, time of the start) of a process; None when there is none, or the system doesn't tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (OSError, ValueError):
        return None
    return fields[0].decode(), int(fields[19])


def _counter(file: Path) -> int | None:
    for line in _lines(file):
        name, _, value = line.partition(" ")
        if name == "oom_kill" and value.isdigit():
            return int(value)
    return None


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:
        return []
