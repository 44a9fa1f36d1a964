"""The live lines that a terminal shows while a job runs: what is being done, and how far it is."""

from __future__ import annotations

import time

from rich.console import Console, Group
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


class TerminalDisplay:
    """One or two live lines at the bottom of a terminal, drawn several times a second in any case."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._spinner = Spinner("dots", style="cyan")
        self._snapshot: Snapshot | None = None
        self._since = time.monotonic()
        self._stopping = False
        self._live = Live(console=self._console, refresh_per_second=8, transient=True, get_renderable=self._lines)
        self._live.start()

    def show(self, snapshot: Snapshot) -> None:
        if self._snapshot is None or snapshot.phase != self._snapshot.phase:
            self._since = time.monotonic()
        self._snapshot = snapshot

    def stopping(self) -> None:
        """The next line that is drawn says so."""
        self._stopping = True

    def close(self) -> None:
        self._live.stop()

    def _lines(self) -> Group:
        """What is shown now; no line is wider than the terminal, and none is broken."""
        snapshot, width = self._snapshot, self._console.width
        if snapshot is None:
            return Group(self._spinner)
        head = Table.grid(padding=(0, 1))
        phase = snapshot.phase
        if self._stopping:
            phase = STOPPING if len(STOPPING) + 2 <= width else STOPPING.partition(";")[0]
        waited = time.monotonic() - self._since
        if not snapshot.total and waited >= WAITING_S:
            phase += f", {waited:.0f} s"
        name = Text(snapshot.name, style="bold")
        if self._stopping and len(snapshot.name) + len(phase) + 3 > width:
            name = Text("")
        said = Text(phase, style="cyan", no_wrap=True, overflow="ellipsis")
        name.truncate(max(width - len(phase) - 4, 8), overflow="ellipsis")
        head.add_row(self._spinner, name, said) if name.plain else head.add_row(self._spinner, said)
        if not snapshot.total:
            return Group(head)
        has_bar = width >= 3 * BAR
        numbers = Text(numbers_text(snapshot, width - (BAR + 3 if has_bar else 2)), no_wrap=True, overflow="ellipsis")
        line = Table.grid(padding=(0, 1))
        finished = snapshot.done + snapshot.failed + snapshot.skipped
        bar = ProgressBar(total=snapshot.total, completed=finished, width=BAR)
        line.add_row(*((bar, numbers) if has_bar else (numbers,)))
        return Group(head, line)
