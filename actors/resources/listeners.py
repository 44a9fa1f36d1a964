"""Who wants to be told of something, until they don't any more."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, ParamSpec

P = ParamSpec("P")


class Listeners(Generic[P]):
    """Told one after the other, in the thread that tells; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: list[Callable[P, object]] = []

    def add(self, listener: Callable[P, object]) -> Callable[[], None]:
        """Tell a listener from now on; returns what ends that, a second time changes nothing."""
        with self._lock:
            self._listeners.append(listener)

        def undo() -> None:
            with self._lock:
                if listener in self._listeners:
                    self._listeners.remove(listener)

        return undo

    def tell(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Tell those who listen now."""
        with self._lock:
            listeners = list(self._listeners)
        for listener in listeners:
            listener(*args, **kwargs)
