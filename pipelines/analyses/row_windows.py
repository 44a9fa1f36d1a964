"""Bands of an image that come one after the other, cut anew: for analyses whose numbers depend on where they are cut.

Sums of floats do, in their last digits. Cut at the same places, an image in bands gives the numbers of the whole image.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray


class RowWindows:
    """Windows of some rows of an image's whole width, each with the rows around that it depends on.

    Parameters
    ----------
    height
        Of the image.
    step
        Rows of a window.
    halo
        Further rows before and after it, as far as the image has them.
    """

    def __init__(self, height: int, *, step: int, halo: int) -> None:
        self._height, self._step, self._halo = height, step, halo
        self._top = 0
        """First row of the next window."""
        self._end = 0
        """Rows that have come."""
        self._held: NDArray[Any] | None = None
        """The last of them that windows still to come depend on."""

    def add(self, band: NDArray[Any], *, row: int) -> Iterator[tuple[NDArray[Any], slice]]:
        """The windows that a further band completes, each with the place of its own rows in it.

        Raises
        ------
        ValueError
            The band doesn't follow the last one.
        """
        if row != self._end:
            raise ValueError(f"a band at row {row} where row {self._end} comes next")
        end = row + band.shape[0]
        while self._top < self._height:
            bottom = min(self._top + self._step, self._height)
            first, last = max(self._top - self._halo, 0), min(bottom + self._halo, self._height)
            if last > end:
                break
            yield self._rows(first, last, band), slice(self._top - first, bottom - first)
            self._top = bottom
        self._held = self._rows(max(self._top - self._halo, 0), end, band).copy()
        self._end = end

    def _rows(self, first: int, last: int, band: NDArray[Any]) -> NDArray[Any]:
        if first >= self._end or self._held is None:
            return band[first - self._end : last - self._end]
        held = self._held[self._held.shape[0] - (self._end - first) :]
        return np.concatenate([held, band[: last - self._end]])
