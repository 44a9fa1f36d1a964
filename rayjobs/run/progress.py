"""Where a run stands, and how quick it is."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from actors.ledger.ledger_rows import Counts
from pipelines.quantity_texts import duration_text
from rayjobs.job.job_state import JobState, read_state
from rayjobs.job.output_directory import OutputDirectory

WATCH_INTERVAL_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Where a job stands."""

    name: str
    phase: str
    """What is being done: ``planning``, ``starting Ray``, ``running``, ``writing tables``, ..."""
    total: int = 0
    done: int = 0
    failed: int = 0
    skipped: int = 0
    rate: float | None = None
    """Images per second over the last half minute."""
    holds: Mapping[str, float] = field(default_factory=dict)
    """What its granted shards hold, by resource."""

    @classmethod
    def of(cls, name: str, phase: str, counts: Counts | JobState, **more: Any) -> Snapshot:
        """Where a job stands whose inputs stand so; ``more`` are other fields."""
        numbers = {key: getattr(counts, key) for key in ("total", "done", "failed", "skipped")}
        return cls(name=name, phase=phase.replace("_", " "), **numbers, **more)

    @property
    def eta_s(self) -> float | None:
        """Seconds to the end at the present rate."""
        left = self.total - self.done - self.failed - self.skipped
        return left / self.rate if self.rate else None


LEAST_RATE_S = 2.0
"""A rate over less time than this says nothing about the rest."""


class Rate:
    """Images per second over a sliding window, which begins when the first images are ready: loading is no rate."""

    def __init__(self, window_s: float = 30.0) -> None:
        self._window_s = window_s
        self._points: list[tuple[float, int]] = []

    def update(self, finished: int, now: float) -> float | None:
        """Take the number of inputs finished by now; give the rate, or None as long as it says nothing."""
        if len(self._points) == 1 and self._points[0][1] == finished:
            self._points.clear()
        self._points.append((now, finished))
        while len(self._points) > 2 and now - self._points[0][0] > self._window_s:
            self._points.pop(0)
        (start, before), (end, after) = self._points[0], self._points[-1]
        return (after - before) / (end - start) if end - start >= LEAST_RATE_S and after > before else None


def watched(output: OutputDirectory) -> Iterator[tuple[JobState, Snapshot]]:
    """How a job stands, again and again as long as somebody works on it, and at last how that ended."""
    rate = Rate()
    while True:
        is_last = not output.running  # asked first: what is read then is the end
        state = read_state(output)
        speed = rate.update(state.done + state.failed + state.skipped, time.monotonic())
        yield state, Snapshot.of(state.name, state.status, state, rate=speed)
        if is_last:
            return
        time.sleep(WATCH_INTERVAL_S)


class Display(Protocol):
    """Shows snapshots until it is closed."""

    def show(self, snapshot: Snapshot) -> None: ...

    def close(self) -> None: ...


STOPPING = "stopping after the images in hand; Ctrl-C again to stop now"
STOPPING_NOW = "stopping now"


def numbers_text(snapshot: Snapshot, width: int | None = None) -> str:
    """How many of how many, how quick, how long still; of a line of ``width`` characters as much as fits in whole."""
    parts = [f"{snapshot.done + snapshot.failed + snapshot.skipped:,} of {snapshot.total:,}"]
    if snapshot.failed:
        parts.append(f"{snapshot.failed:,} failed")
    if snapshot.skipped:
        parts.append(f"{snapshot.skipped:,} skipped")
    if snapshot.rate:
        parts.append(f"{snapshot.rate:.1f} images/s")
    if snapshot.eta_s is not None and snapshot.eta_s >= 1:
        parts.append(f"{duration_text(snapshot.eta_s)} left")
    while width is not None and len(parts) > 1 and len(", ".join(parts)) > width:
        del parts[-2 if len(parts) > 2 else -1]  # what is left to wait matters more than how quick it is
    return ", ".join(parts)
