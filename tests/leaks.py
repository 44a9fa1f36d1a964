"""Waiting for a condition, and what must not be left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


def wait_until(condition: Callable[[], bool], *, timeout_s: float = 30.0, interval_s: float = 0.02) -> None:
    """Return as soon as the condition holds; raise AssertionError when it doesn't within the time."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:g} s: {getattr(condition, '__doc__', None) or condition}")
        pause.wait(interval_s)
