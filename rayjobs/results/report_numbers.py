"""Numbers of a whole job at a glance: where most images lie, and which lie far from them.

Covers robust centre, spread and histogram of one column from a bounded sample. Does not know HTML or files.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

SAMPLE = 100_000
"""About how many images the centre and spread are taken from; every n-th image of a larger job."""
OUTLIER_SCORE = 3.5
NEGLIGIBLE_SHARE = 1e-3
"""Of the mean absolute deviation: a median absolute deviation below it is rounding."""
BINS = 48

Number = float | int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """How one column is distributed over the images."""

    name: str
    count: int
    """Finite values in the sample."""
    median: float
    spread: float
    """Robust standard deviation; 0 when all values are the same."""
    low: float
    """Left edge of the histogram; smaller values are counted in the first bin."""
    high: float
    bins: tuple[int, ...]

    def score(self, value: Number) -> float:
        """How many robust standard deviations a value lies above the median; 0 for none and not finite ones."""
        if value is None or not math.isfinite(value) or self.spread == 0:
            return 0.0
        return (value - self.median) / self.spread


def distributions(rows: Iterable[Mapping[str, Number]], expected_rows: int) -> tuple[list[Distribution], int]:
    """The distribution of every column that has numbers, and the number of rows; memory is bounded by ``SAMPLE``."""
    step = max(math.ceil(expected_rows / SAMPLE), 1)
    columns: dict[str, array[float]] = {}
    count = 0
    for row in rows:
        if count % step == 0:
            for name, value in row.items():
                if value is not None and math.isfinite(value):
                    columns.setdefault(name, array("d")).append(value)
        count += 1
    return [distribution(name, values) for name, values in columns.items()], count


def distribution(name: str, values: array[float]) -> Distribution:
    """Centre, spread and histogram of finite values, at least one.

    The spread is the median absolute deviation / 0.6745, and the mean absolute deviation * 1.2533 where the former is
    zero (Iglewicz and Hoaglin, "How to Detect and Handle Outliers", 1993; 3.5 is their bound for outliers). Less than a
    thousandth of the latter counts as zero: most images being the same but for rounding, such as gray ones among colour
    ones, doesn't make outliers of all others.
    """
    numbers = np.frombuffer(values)
    median = float(np.median(numbers))
    deviations = np.abs(numbers - median)
    spread, mean_spread = float(np.median(deviations)) / 0.6745, float(deviations.mean()) * 1.2533
    if spread < NEGLIGIBLE_SHARE * mean_spread:
        spread = mean_spread
    low = max(float(numbers.min()), median - 6 * spread)
    high = min(float(numbers.max()), median + 6 * spread)
    if high > low:
        counts = np.histogram(np.clip(numbers, low, high), BINS, (low, high))[0]
    else:
        counts = np.bincount([BINS // 2], [numbers.size], BINS)
    return Distribution(
        name=name,
        count=numbers.size,
        median=median,
        spread=spread,
        low=low,
        high=high,
        bins=tuple(int(number) for number in counts),
    )


def number_text(value: Number) -> str:
    """A number for the eye: four significant digits, thousands apart, a dash for none."""
    if value is None or not math.isfinite(value):
        return "–"  # noqa: RUF001 - an en dash is meant
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"
