"""What a process below a driver is, by its command line: one of Ray's own, a worker, an actor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

IDLE = "idle"
"""A worker that has had nothing to do yet."""
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
    if name in _OF_RAY:
        return name
    if name in _AGENTS or not command or not command[0].startswith("ray::"):
        return "agents"
    if name == IDLE:
        return IDLE
    return (
        "actors" if name.lstrip("_").partition(".")[0].isidentifier() and name.lstrip("_")[0].isupper() else "workers"
    )
