"""What a person sees while a job runs: plain lines, or the live lines of a terminal or a notebook."""

from __future__ import annotations

import os
import sys
import time
from typing import Protocol, TextIO

from rayjobs.run.progress import STOPPING, Display, Snapshot, numbers_text

PLAIN_INTERVAL_S = 5.0


class CommandDisplay(Display, Protocol):
    """One that a person who presses Ctrl-C looks at."""

    def stopping(self, text: str = STOPPING) -> None:
        """Say that it was seen; called inside of a signal handler."""


class NoDisplay:
    """For runs that are asked for JSON."""

    def show(self, snapshot: Snapshot) -> None:
        """Nothing is shown."""

    def stopping(self, text: str = STOPPING) -> None:
        """Nothing is shown."""

    def close(self) -> None:
        """Nothing is held."""


class PlainDisplay:
    """A line for every change of phase, and one every few seconds."""

    def __init__(self, stream: TextIO, interval_s: float = PLAIN_INTERVAL_S) -> None:
        self._stream = stream
        self._interval_s = interval_s
        self._phase = ""
        self._last = float("-inf")

    def show(self, snapshot: Snapshot) -> None:
        now = time.monotonic()
        if snapshot.phase == self._phase and now - self._last < self._interval_s:
            return
        self._phase, self._last = snapshot.phase, now
        text = f"{snapshot.name}: {snapshot.phase}"
        self._stream.write(f"{text}, {numbers_text(snapshot)}\n" if snapshot.total else f"{text}\n")
        self._stream.flush()

    def stopping(self, text: str = STOPPING) -> None:
        """Say so at once, past the stream, which may be in use where the signal came."""
        try:
            os.write(self._stream.fileno(), f"{text}\n".encode())
        except (OSError, ValueError):  # nobody reads it, it is closed, or no file: the end is told all the same
            return

    def close(self) -> None:
        """Nothing is held."""


def open_display(*, quiet: bool) -> CommandDisplay:
    """The display that fits where standard error goes."""
    if quiet:
        return NoDisplay()
    if not sys.stderr.isatty():
        return PlainDisplay(sys.stderr)
    from rayjobs.run.live_display import TerminalDisplay  # only here: rich takes a while to import

    return TerminalDisplay()


def open_looked_at(*, quiet: bool = False) -> Display:
    """For a program that waits: the live lines where somebody looks, in a notebook or at a terminal; else nothing."""
    if not quiet and _in_notebook():
        from rayjobs.run.live_display import NotebookDisplay

        return NotebookDisplay()
    return open_display(quiet=quiet or not sys.stderr.isatty())


def _in_notebook() -> bool:
    if "IPython" not in sys.modules:
        return False
    from rich.console import Console

    return Console().is_jupyter
