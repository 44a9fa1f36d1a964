"""What a worker notes while it works, so that a crash leaves evidence: which input was in hand, which files are ours.

One append-only file per worker and epoch, below the output's temporary directory. Written without fsync: a killed
process loses nothing of it. The driver reads the journals after a stream lost rows, and after a crash of its own.

A hang is ended from outside the interpreter: ``faulthandler``'s watchdog, a C thread that needs no interpreter lock,
writes where every thread stood into a file beside the journal and ends the process.
"""

from __future__ import annotations

import faulthandler
import json
import os
import socket
import uuid
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path

SUFFIX = ".journal"
HUNG_SUFFIX = ".hung"


class WorkerJournal:
    """The journal of this process for one epoch's directory, which the driver makes.

    Raises
    ------
    FileNotFoundError
        The directory is gone: another driver has taken over since.
    """

    def __init__(self, directory: Path) -> None:
        self.name = f"{socket.gethostname()}-{os.getpid()}"
        name = f"{self.name}-{uuid.uuid4().hex[:8]}{SUFFIX}"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._file = os.open(directory / name, flags, 0o600)
        self._hung = os.open(directory / (name + HUNG_SUFFIX), flags, 0o600)

    def _append(self, *entry: object) -> None:
        os.write(self._file, json.dumps(entry).encode() + b"\n")

    def started(self, number: int, timeout_s: float | None = None) -> None:
        """This input is in hand now; the process ends itself if it still is after ``timeout_s``."""
        self._append("started", number)
        if timeout_s is not None:
            faulthandler.dump_traceback_later(timeout_s, exit=True, file=self._hung)

    def idle(self) -> None:
        """Nothing is in hand: every started input has its row."""
        faulthandler.cancel_dump_traceback_later()
        self._append("idle")

    def publishing(self, path: str, sha256: str) -> None:
        """This file (path relative to the output) is about to appear, and is ours."""
        self._append("publishing", path, sha256)

    def close(self) -> None:
        os.close(self._file)
        os.close(self._hung)


def inputs_in_hand(directory: Path) -> dict[int, bool]:
    """Inputs that workers had in hand when they ended -> whether the worker ended itself over the time limit.

    A torn last line is what a kill leaves and is passed over.
    """
    found: dict[int, bool] = {}
    for path in sorted(directory.glob(f"*{SUFFIX}")):
        in_hand: int | None = None
        for entry in _entries(path):
            match entry:
                case ["started", int(number)]:
                    in_hand = number
                case ["idle"]:
                    in_hand = None
        if in_hand is not None:
            found[in_hand] = path.with_name(path.name + HUNG_SUFFIX).stat().st_size > 0
    return found


@dataclass(frozen=True, slots=True)
class Published:
    """A file that a process published or was about to."""

    path: str
    """Relative to the output."""
    sha256: str
    input: int | None
    """In hand at that moment; None for what the driver writes."""


def published_files(directory: Path, of: Container[int] | None = None) -> Iterator[Published]:
    """What the journals say of files; for some inputs, or all."""
    for path in sorted(directory.glob(f"*{SUFFIX}")):
        in_hand: int | None = None
        for entry in _entries(path):
            match entry:
                case ["started", int(number)]:
                    in_hand = number
                case ["publishing", str(relative), str(sha256)] if of is None or in_hand in of:
                    yield Published(relative, sha256, in_hand)


def _entries(path: Path) -> Iterator[list[object]]:
    with path.open("rb") as lines:
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, list):
                yield entry
