"""How a run ends, and who wants it to: a signal, or another process."""

from __future__ import annotations

import threading
from enum import StrEnum

from rayjobs.job.output_directory import CANCEL, PAUSE, OutputDirectory


class RunEnd(StrEnum):
    """Why a run is over."""

    FINISHED = "finished"
    CANCELLED = "cancelled"
    PAUSED = "paused"
    INTERRUPTED = "interrupted"
    TOO_MANY_FAILURES = "too_many_failures"
    NO_SPACE = "no_space"


def stop_asked(interrupted: threading.Event, output: OutputDirectory) -> RunEnd | None:
    """Whether somebody wants the run to stop, by a signal or from another process, and how it ends then."""
    if interrupted.is_set():
        return RunEnd.INTERRUPTED
    request = output.requested()
    return None if request is None else {CANCEL: RunEnd.CANCELLED, PAUSE: RunEnd.PAUSED}[request]
