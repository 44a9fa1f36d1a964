"""What holds threads, leases or connections, and gives them back at the end of a ``with`` block."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self


class ClosedOnExit(ABC):
    """A ``with`` block closes it, however the block ends."""

    @abstractmethod
    def close(self) -> None:
        """Give everything back. Safe to call twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()
