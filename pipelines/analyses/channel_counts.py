"""What is kept of one channel while its image goes by, and the numbers that follow from it.

Covers integers (how often each level occurs) and float32 (sums without rounding, and how often each value cut to 16
significant bits occurs). Everything kept is an integer, so the order of the samples never matters.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

_UNIT_EXPONENT = 149
"""The smallest float32 is 2 ** -149."""


class ChannelCounts(ABC):
    """The samples of one channel seen so far."""

    @abstractmethod
    def add(self, samples: NDArray[Any]) -> None:
        """Count a flat, contiguous, writable array of samples."""

    @abstractmethod
    def moments(self) -> tuple[int, float, float]:
        """Number of finite samples, their mean and their standard deviation (population), each rounded once."""

    @abstractmethod
    def occurring(self) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """The values that occur, rising, and how often each does."""

    @abstractmethod
    def extremes(self) -> tuple[float, float]:
        """The smallest and the largest finite sample."""

    def entropy(self) -> float:
        """Shannon entropy of the values that occur, in bits."""
        _, counts = self.occurring()
        share = counts / counts.sum()
        return abs(float(np.sum(share * np.log2(share))))

    def percentiles(self, percents: tuple[float, ...]) -> list[float]:
        """Percentiles by linear interpolation between the samples, as ``numpy.percentile`` does by default."""
        values, counts = self.occurring()
        reached = np.cumsum(counts)
        place = (int(reached[-1]) - 1) * np.asarray(percents, np.float64) / 100
        below = np.floor(place).astype(np.int64)
        low = values[np.searchsorted(reached, below, side="right")].astype(np.float64)
        high = values[np.searchsorted(reached, np.ceil(place).astype(np.int64), side="right")].astype(np.float64)
        return [float(value) for value in np.clip(low + (high - low) * (place - below), *self.extremes())]


class IntegerCounts(ChannelCounts):
    """Samples of uint8 or uint16."""

    def __init__(self, levels: int) -> None:
        self._counts = np.zeros(levels, np.uint32)

    def add(self, samples: NDArray[Any]) -> None:
        """Count a flat, contiguous, writable array of samples."""
        from pipelines.analyses.scope_kernels import count_bins

        count_bins(samples, self._counts)

    def moments(self) -> tuple[int, float, float]:
        """Number of samples, their mean and their standard deviation (population), each rounded once."""
        values, counts = (array.astype(np.uint64) for array in self.occurring())
        number = int(counts.sum())
        total, squares = int(np.sum(counts * values)), int(np.sum(counts * values * values))
        return number, total / number, math.sqrt((number * squares - total * total) / (number * number))

    def occurring(self) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """The levels that occur, rising, and how often each does."""
        values = np.flatnonzero(self._counts)
        return values, self._counts[values].astype(np.int64)

    def extremes(self) -> tuple[float, float]:
        """The lowest and the highest level that occurs."""
        values = np.flatnonzero(self._counts)
        return float(values[0]), float(values[-1])


class FloatCounts(ChannelCounts):
    """Samples of float32; NaN and infinities are counted apart."""

    def __init__(self) -> None:
        from pipelines.analyses.statistics_kernels import EXPONENTS, RANKS

        self._ranks = np.zeros(RANKS, np.uint32)  # 64 MB of addresses; memory is taken for values that occur
        self._sums = np.zeros((EXPONENTS, 3), np.int64)
        self._special = np.zeros(2, np.int64)
        self._low, self._high = math.inf, -math.inf
        self._count = 0
        self._occurring: tuple[NDArray[Any], NDArray[np.int64]] | None = None
        """Kept until more samples come: finding them may mean to search all of ``_ranks``."""

    def add(self, samples: NDArray[Any]) -> None:
        """Count a flat, contiguous, writable array of samples."""
        from pipelines.analyses.statistics_kernels import add_floats

        self._occurring = None
        add_floats(samples, self._ranks, self._sums, self._special)
        finite = np.isfinite(samples)
        self._count += int(np.count_nonzero(finite))
        self._low = float(np.min(samples, where=finite, initial=self._low))
        self._high = float(np.max(samples, where=finite, initial=self._high))

    @property
    def nans(self) -> int:
        """How many samples are NaN."""
        return int(self._special[0])

    @property
    def infinities(self) -> int:
        """How many samples are infinite."""
        return int(self._special[1])

    def moments(self) -> tuple[int, float, float]:
        """Number of finite samples, their mean and their standard deviation (population), each rounded once."""
        total = squares = 0  # in units of the smallest float32, and of its square
        for exponent in np.flatnonzero(self._sums.any(axis=1)):
            signed, high, low = (int(part) for part in self._sums[exponent])
            shift = max(int(exponent), 1) - 1
            total += signed << shift
            squares += ((high << 24) + low) << 2 * shift
        number = self._count
        mean = total / (number << _UNIT_EXPONENT)
        variance = (number * squares - total * total) / (number * number << 2 * _UNIT_EXPONENT)
        return number, mean, math.sqrt(variance)

    def occurring(self) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """The values that occur, cut towards 0 to 16 significant bits, rising, and how often each does."""
        if self._occurring is None:
            self._occurring = self._find_occurring()
        return self._occurring

    def _find_occurring(self) -> tuple[NDArray[Any], NDArray[np.int64]]:
        from pipelines.analyses.statistics_kernels import ZERO_RANK

        first, last = (self._rank(end) for end in self.extremes())
        places = np.flatnonzero(self._ranks[first : last + 1]) + first
        negative = places < ZERO_RANK
        size = np.where(negative, ZERO_RANK - 1 - places, places - ZERO_RANK).astype(np.uint32) << np.uint32(8)
        values = np.where(negative, -1, 1) * size.view(np.float32).astype(np.float64) + 0.0
        return values, self._ranks[places].astype(np.int64)

    def extremes(self) -> tuple[float, float]:
        """The smallest and the largest finite sample."""
        return self._low, self._high

    def _rank(self, value: float) -> int:
        from pipelines.analyses.statistics_kernels import ZERO_RANK

        size = int(np.float32(abs(value)).view(np.uint32)) >> 8
        return ZERO_RANK - 1 - size if value < 0 else ZERO_RANK + size
