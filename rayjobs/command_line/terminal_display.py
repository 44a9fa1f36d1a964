"""The live line that a terminal shows while a job runs."""

from __future__ import annotations

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rayjobs.run.progress import Snapshot, numbers_text


class TerminalDisplay:
    """One live line at the bottom of a terminal."""

    def __init__(self) -> None:
        self._live = Live(console=Console(stderr=True), refresh_per_second=8, transient=True)
        self._live.start()

    def show(self, snapshot: Snapshot) -> None:
        finished = snapshot.done + snapshot.failed + snapshot.skipped
        table = Table.grid(padding=(0, 1))
        cells: list[ProgressBar | Text] = [Text(snapshot.name, style="bold"), Text(snapshot.phase, style="cyan")]
        if snapshot.total:
            cells += [ProgressBar(total=snapshot.total, completed=finished, width=30), Text(numbers_text(snapshot))]
        table.add_row(*cells)
        self._live.update(table)

    def close(self) -> None:
        self._live.stop()
