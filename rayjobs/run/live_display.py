"""The live lines that a person sees while a job runs: what is being done, and how far it is; rich draws them.

In a terminal they stand at the bottom and go at the end. In a notebook they are the output of the cell, of which rich
makes HTML; the last ones stay.
"""

from __future__ import annotations

import time
from dataclasses import replace

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.jupyter import JupyterMixin
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from rayjobs.run.progress import STOPPING, Snapshot, numbers_text

BAR = 24
"""Characters; where a line has less than three times as many there is no bar."""
WAITING_S = 1.0
"""A phase that takes longer says for how long it has been going on."""


class ProgressLines(JupyterMixin):
    """One or two lines that say what is known now; none is wider than there is room, and none is broken."""

    def __init__(self) -> None:
        self._spinner = Spinner("dots", style="cyan")
        self._snapshot: Snapshot | None = None
        self._since = time.monotonic()
        self._stopping = ""
        self._ended = False

    def show(self, snapshot: Snapshot) -> None:
        if self._snapshot is None or snapshot.phase != self._snapshot.phase:
            self._since = time.monotonic()
        self._snapshot = snapshot

    def stopping(self, text: str = STOPPING) -> None:
        """From now on they say so."""
        self._stopping = text

    def end(self) -> None:
        """Nothing moves any more."""
        self._ended = True

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self._lines(options.max_width)

    def _lines(self, width: int) -> Group:
        snapshot = self._snapshot
        if snapshot is None:
            return Group() if self._ended else Group(self._spinner)
        phase = snapshot.phase
        if self._stopping:
            phase = self._stopping if len(self._stopping) + 2 <= width else self._stopping.partition(";")[0]
            snapshot = replace(snapshot, rate=None)  # nobody waits for the rest
        waited = time.monotonic() - self._since
        if not snapshot.total and waited >= WAITING_S and not self._ended:
            phase += f", {waited:.0f} s"
        head = self._head(snapshot, phase, width)
        if not snapshot.total:
            return Group(head)
        has_bar = width >= 3 * BAR
        numbers = Text(numbers_text(snapshot, width - (BAR + 3 if has_bar else 2)), no_wrap=True, overflow="ellipsis")
        line = Table.grid(padding=(0, 1))
        finished = snapshot.done + snapshot.failed + snapshot.skipped
        bar = ProgressBar(total=snapshot.total, completed=finished, width=BAR)
        line.add_row(*((bar, numbers) if has_bar else (numbers,)))
        return Group(head, line)

    def _head(self, snapshot: Snapshot, phase: str, width: int) -> Table:
        head = Table.grid(padding=(0, 1))
        name = Text(snapshot.name, style="bold")
        if self._stopping and len(snapshot.name) + len(phase) + 3 > width:
            name = Text("")
        said = Text(phase, style="cyan", no_wrap=True, overflow="ellipsis")
        name.truncate(max(width - len(phase) - 4, 8), overflow="ellipsis")
        head.add_row(*(() if self._ended else (self._spinner,)), *((name,) if name.plain else ()), said)
        return head


class TerminalDisplay:
    """One or two live lines at the bottom of a terminal, drawn several times a second in any case."""

    def __init__(self) -> None:
        self._lines = ProgressLines()
        self._live = Live(self._lines, console=Console(stderr=True), refresh_per_second=8, transient=True)
        self._live.start()

    def show(self, snapshot: Snapshot) -> None:
        self._lines.show(snapshot)

    def stopping(self, text: str = STOPPING) -> None:
        self._lines.stopping(text)

    def close(self) -> None:
        self._live.stop()


class NotebookDisplay:
    """The same lines as the output of a notebook's cell, drawn anew with every snapshot; needs no widgets."""

    def __init__(self) -> None:
        from IPython.display import display

        self._lines = ProgressLines()
        self._output = display(self._lines, display_id=True)

    def show(self, snapshot: Snapshot) -> None:
        self._lines.show(snapshot)
        self._output.update(self._lines)

    def stopping(self, text: str = STOPPING) -> None:
        self._lines.stopping(text)

    def close(self) -> None:
        self._lines.end()
        self._output.update(self._lines)
