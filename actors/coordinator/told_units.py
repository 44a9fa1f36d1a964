"""How many units of providers the whole cluster may use: a driver knows, and the coordinator counts by it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping


class ToldUnits:
    """Tells the coordinator what it hasn't heard yet; safe to use from several threads.

    Parameters
    ----------
    totals
        Resource -> units of its provider, as they are now.
    tell
        Tells the coordinator: (name, total). Saying it again changes nothing.
    """

    def __init__(self, totals: Callable[[], Mapping[str, float]], tell: Callable[[str, float], None]) -> None:
        self._totals = totals
        self._tell = tell
        self._lock = threading.Lock()
        """Held while the coordinator is told, so that what it hears last is how things are."""
        self._told: dict[str, float] = {}

    def told(self) -> dict[str, float]:
        """What the coordinator has heard."""
        with self._lock:
            return dict(self._told)

    def tell(self) -> None:
        """Tell the totals that are new or have changed."""
        with self._lock:
            for name, total in self._totals().items():
                if self._told.get(name) != total:
                    self._tell(name, total)
                    self._told[name] = total
