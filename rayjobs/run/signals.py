"""Ctrl-C and SIGTERM as an event that loops look at."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def stopping_on_signals(interrupted: threading.Event) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM set the event, once; a second one ends the process as it would without us.

    The handlers only set the event: Ray must not be shut down inside of one. Does nothing outside the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signals = (signal.SIGINT, signal.SIGTERM)
    before: dict[signal.Signals, Any] = {number: signal.getsignal(number) for number in signals}

    def stop(number: int, _frame: object) -> None:
        interrupted.set()
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else stop_now)

    def stop_now(number: int, frame: FrameType | None) -> None:
        interrupted.set()  # a second time, for whoever tells
        signal.default_int_handler(number, frame)

    for number in signals:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
