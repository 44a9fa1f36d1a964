"""What an image cost its worker: seconds and CPU seconds by stage, and how large the worker became."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

AT_ONCE = "render-analyze-export"
"""Stands for the stages of an image that goes through all of them together, or fails."""


@dataclass(slots=True)
class WorkMeter:
    """Measures the stages of one image, wherever each of them runs."""

    spent: dict[str, tuple[float, float]] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what happens inside of the ``with`` block for a stage, unless it fails."""
        begun, cpu = time.perf_counter(), time.process_time()
        yield
        self.spent[name] = (time.perf_counter() - begun, time.process_time() - cpu)


def peak_memory_bytes() -> int:
    """The most memory that this process has had at a time since it began; 0 where the system doesn't say."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            line = next((line for line in file if line.startswith("VmHWM:")), "VmHWM: 0 kB")
    except OSError:
        return 0
    return int(line.split()[1]) * 1024
