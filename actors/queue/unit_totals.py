"""How many units of each provider's resource the cluster may use: what was said last by a driver that lives."""

from __future__ import annotations

from collections.abc import Mapping

from actors.queue.capacity import Capacity


class UnitTotals:
    """Keeps a capacity in step with what drivers say of the providers that they have."""

    def __init__(self, capacity: Capacity) -> None:
        self._capacity = capacity
        self._said: dict[str, dict[str, float]] = {}
        """Resource -> what each driver said, who did so last at the end."""
        self.changed: dict[str, float] = {}
        """Totals that changed since somebody emptied this: what the ledger has to write."""

    def say(self, name: str, total: float, owner: str | None = None) -> None:
        """Count so many units from now on; None says so for good, as the ledger does."""
        self._count(name, total)
        if owner is not None:
            said = self._said.setdefault(name, {})
            said.pop(owner, None)
            said[owner] = total

    def recall(self, units: Mapping[str, float], owner: str) -> None:
        """Take note of what a driver that comes, or comes back, said before; it counts where nobody said anything."""
        for name, total in units.items():
            self._said.setdefault(name, {}).setdefault(owner, total)
            if not self._capacity.has_units(name):
                self._count(name, total)

    def forget(self, owner: str) -> None:
        """A driver has ended: what others said counts again, as long as there are some."""
        for name, said in self._said.items():
            if said.pop(owner, None) is not None and said:
                self._count(name, next(reversed(said.values())))

    def _count(self, name: str, total: float) -> None:
        self._capacity.set_units(name, total)
        self.changed[name] = total
