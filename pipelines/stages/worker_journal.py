"""What a worker notes while it works, so that a crash leaves evidence: which input was in hand, which files are ours.

One append-only file per worker and epoch, below the output's temporary directory. Written without fsync: a killed
process loses nothing of it. The driver reads the journals after a stream lost rows, and after a crash of its own.

A hang is ended from outside the interpreter: ``faulthandler``'s watchdog, a C thread that needs no interpreter lock,
writes where every thread stood into a file beside the journal and ends the process. A process that can't even do that,
being stopped or in the kernel, is ended by the driver, which sees that its journal doesn't grow: so the journal begins
with who writes it (see ``worker_process``), and how many processes the kernel had ended there for want of memory.
"""

from __future__ import annotations

import faulthandler
import json
import os
import socket
import uuid
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import is_out_of_memory
from pipelines.worker_process import WorkerProcess, oom_kills, this_process

SUFFIX = ".journal"
HUNG_SUFFIX = ".hung"


CHARGED = "charged to the input in hand"
"""Noted on an error that a journal names an input for: it is tried alone, and the error is no news to anybody else."""


class WorkerJournal:
    """The journal of this process for one epoch's directory, which the driver makes.

    Raises
    ------
    FileNotFoundError
        The directory is gone: another driver has taken over since.
    """

    def __init__(self, directory: Path, node: str = "") -> None:
        self.name = f"{socket.gethostname()}-{os.getpid()}"
        name = f"{self.name}-{uuid.uuid4().hex[:8]}{SUFFIX}"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._file = os.open(directory / name, flags, 0o600)
        self._hung = os.open(directory / (name + HUNG_SUFFIX), flags, 0o600)
        self._in_hand: int | None = None
        process = this_process(node)
        self._append("worker", process.node, process.pid, process.started, oom_kills())

    def _append(self, *entry: object) -> None:
        os.write(self._file, json.dumps(entry).encode() + b"\n")

    def started(self, number: int, timeout_s: float | None = None) -> None:
        """This input is in hand now; the process ends itself if it still is after ``timeout_s``."""
        self._in_hand = number
        self._append("started", number)
        if timeout_s is not None:
            faulthandler.dump_traceback_later(timeout_s, exit=True, file=self._hung)

    def idle(self) -> None:
        """Nothing is in hand: every started input has its row, and whoever takes the rows may take their time."""
        faulthandler.cancel_dump_traceback_later()
        if self._in_hand is not None:
            self._in_hand = None
            self._append("idle")

    @contextmanager
    def block(self) -> Iterator[None]:
        """Around the work on several inputs: what ends it before its end is noted with the input in hand."""
        try:
            yield
        except GeneratorExit:  # nobody wants the rest
            raise
        except BaseException as error:
            if self._in_hand is not None:
                self._append("lost", self._in_hand, is_out_of_memory(error))
                error.add_note(CHARGED)
            raise
        finally:
            self.idle()

    def publishing(self, path: str, sha256: str) -> None:
        """This file (path relative to the output) is about to appear, and is ours."""
        self._append("publishing", path, sha256)

    def close(self) -> None:
        os.close(self._file)
        os.close(self._hung)


@dataclass(frozen=True, slots=True, kw_only=True)
class InHand:
    """An input that a worker had in hand when its journal ended, or when the work on its block did."""

    input: int
    journal: str
    process: WorkerProcess
    noted_ns: int
    """When the journal was written last: of several that name an input, the latest counts."""
    oom_kills: int | None = None
    """When the worker began; see ``worker_process``."""
    hung: bool = False
    """Whether the worker ended itself over the time limit."""
    lost: bool = False
    """The process may live on: an error ended the work on the block."""
    out_of_memory: bool = False
    """That error was a want of memory."""


def inputs_in_hand(directory: Path) -> list[InHand]:
    """What workers had in hand when they ended, or have now.

    A torn last line is what a kill leaves and is passed over.
    """
    return [found for path in sorted(directory.glob(f"*{SUFFIX}")) for found in in_hand_of(path)]


def in_hand_of(path: Path) -> list[InHand]:
    """As ``inputs_in_hand``, of one journal; nothing of one that is gone, as when another driver has taken over."""
    try:
        return _read_in_hand(path)
    except FileNotFoundError:
        return []


def _read_in_hand(path: Path) -> list[InHand]:
    found: list[InHand] = []
    in_hand: int | None = None
    process, noted_ns = WorkerProcess("", 0, None), path.stat().st_mtime_ns
    kills: int | None = None
    for entry in _entries(path):
        match entry:
            case ["worker", str(node), int(pid), int() | None as started, int() | None as before]:
                process, kills = WorkerProcess(node, pid, started), before
            case ["started", int(number)]:
                in_hand = number
            case ["idle"]:
                in_hand = None
            case ["lost", int(number), bool(memory)]:
                found.append(
                    InHand(
                        input=number,
                        journal=path.name,
                        process=process,
                        noted_ns=noted_ns,
                        oom_kills=kills,
                        lost=True,
                        out_of_memory=memory,
                    )
                )
    if in_hand is not None:
        hung = path.with_name(path.name + HUNG_SUFFIX).stat().st_size > 0
        found.append(
            InHand(input=in_hand, journal=path.name, process=process, noted_ns=noted_ns, oom_kills=kills, hung=hung)
        )
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
