"""The processes below a driver: what each is, by its command line, how long it lives and how busy it is."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

LOOK_S = 0.05
AFTER_S = 10.0
"""How long processes that outlive the command are watched."""
IDLE = "idle"
"""A worker that has nothing to do, or whatever is just ending."""
_OF_RAY = ("raylet", "gcs_server")
_AGENTS = ("RuntimeEnvAgent", "DashboardAgent")
"""Of Ray's; their processes are titled like workers."""


def name_of(command: Sequence[str]) -> str:
    """A short name: of a worker the task that it has in hand, of a script its folder and file."""
    title = command[0] if command else ""
    if title.startswith("ray::"):
        return IDLE if title.startswith("ray::IDLE") else title.removeprefix("ray::").partition(" ")[0]
    scripts = [word for word in command if word.endswith(".py")]
    return "/".join(Path(scripts[0]).parts[-2:]) if scripts else Path(title).name


def kind_of(command: Sequence[str]) -> str:
    """``raylet`` (with the object store), ``gcs_server``, ``workers``, ``actors``, ``agents``, or ``IDLE``."""
    name = name_of(command)
    if not name:  # it ends, and has no command line any more
        return IDLE
    if name in _OF_RAY:
        return name
    if name in _AGENTS or not command[0].startswith("ray::"):
        return "agents"
    if name == IDLE:
        return IDLE
    return (
        "actors" if name.lstrip("_").partition(".")[0].isidentifier() and name.lstrip("_")[0].isupper() else "workers"
    )


@dataclass(slots=True)
class Life:
    """One process; seconds since the epoch."""

    pid: int
    start: float
    end: float = 0.0
    name: str = ""
    load: list[tuple[float, float]] = field(default_factory=list)
    """(moment, processor seconds until then)."""


def watch(process: subprocess.Popen[bytes]) -> tuple[list[Life], float]:
    """Look at a process and all below it until they have ended; (their lives, when the process itself had ended)."""
    root, prompt = psutil.Process(process.pid), 0.0
    lives: dict[psutil.Process, Life] = {}
    alive, ended = {root}, set[psutil.Process]()
    while alive and (not prompt or time.time() < prompt + AFTER_S):
        with suppress(psutil.NoSuchProcess):
            alive |= set(root.children(recursive=True)) - ended
        for each in list(alive):
            try:
                _look(each, lives.setdefault(each, Life(each.pid, _start_of(each))))
            except psutil.NoSuchProcess:
                alive.remove(each)
                ended.add(each)
        if process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(LOOK_S)
        else:
            time.sleep(LOOK_S)
        if process.returncode is not None:
            prompt = prompt or time.time()
    own = next(life for life in lives.values() if life.pid == process.pid)
    own.name, own.end = "rayjobs run", prompt
    return sorted(lives.values(), key=lambda life: life.start), prompt


def _start_of(process: psutil.Process) -> float:
    """Seconds since the epoch, by the clock of the spans; psutil knows only to the second when the system began."""
    since_boot: float = process.create_time() - psutil.boot_time()
    return since_boot + time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def _look(process: psutil.Process, life: Life) -> None:
    if process.status() == psutil.STATUS_ZOMBIE:
        raise psutil.NoSuchProcess(process.pid)
    times, command = process.cpu_times(), process.cmdline()
    life.end = time.time()
    life.load.append((life.end, times.user + times.system))
    if command and (name := name_of(command)) != IDLE:
        life.name = name
