"""Numbers of a whole job at a glance: where most images lie, and which lie far from those of their kind.

Covers robust centre and spread of columns from a bounded sample, and keeping the farthest of a stream. Does not know
HTML or files.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal
from random import Random

import numpy as np
from numpy.typing import NDArray

SAMPLE = 100_000
"""About how many images the centre and spread are taken from: of a larger job, so many that are chosen at random."""
OUTLIER_SCORE = 3.5
MAX_OUTLIERS = 10
LIKE = 8
"""So many images of a kind it takes to call one of them unlike the others."""
NEGLIGIBLE_SHARE = 1e-3
"""Of the mean absolute deviation: a median absolute deviation below it is rounding."""

NEXT_TO_NOTHING = 5e-5
"""Shown as 0; the page's script does so as well."""
_THREE_DIGITS = Context(prec=3, rounding=ROUND_HALF_UP)

MINUS = "\N{MINUS SIGN}"

Number = float | int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """How one column is distributed over the images of a kind."""

    count: int
    """Finite values that it was taken from."""
    is_sample: bool = False
    """Whether there are more that weren't looked at."""
    median: float
    spread: float
    """Robust standard deviation; 0 when all values are the same."""

    def scores(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """How many robust standard deviations each value lies above the median.

        0 for not finite ones, among few, and where the difference is next to nothing.
        """
        if self.spread == 0 or self.count < LIKE:
            return np.zeros(values.shape)
        differences = values - self.median
        tells = np.isfinite(values) & (np.abs(differences) >= NEXT_TO_NOTHING)
        return np.where(tells, differences / self.spread, 0.0)


Distributions = Mapping[str, Mapping[int, Distribution]]
"""Kind of image -> column -> its distribution."""
OfKinds = Mapping[str, NDArray[np.intp]]
"""Kind of image -> which rows of an array are of it."""


def distributions(
    groups: Iterable[tuple[OfKinds, NDArray[np.float64]]], columns: Sequence[int], expected_rows: int
) -> Distributions:
    """Of the values of all images, a row each, given in groups with their kinds; memory is bounded by ``SAMPLE``.

    Images of a larger job are chosen at random, not by their places: plates, channels and cameras recur. The choice
    is the same each time, and so are the pages that come of it.
    """
    share = SAMPLE / max(expected_rows, SAMPLE)
    chance = Random(SAMPLE)
    found: dict[str, dict[int, list[NDArray[np.float64]]]] = {}
    for of_kinds, values in groups:
        chosen = np.array([share == 1 or chance.random() < share for _ in values], bool)
        for kind, rows in of_kinds.items():
            of_kind = found.setdefault(kind, {})
            some = values[rows[chosen[rows]]]
            for column in columns:
                numbers = some[:, column]
                of_kind.setdefault(column, []).append(numbers[np.isfinite(numbers)])
    return {
        kind: {
            column: distribution(numbers, is_sample=share < 1)
            for column, lists in of_kind.items()
            if (numbers := np.concatenate(lists)).size
        }
        for kind, of_kind in found.items()
    }


def distribution(values: NDArray[np.float64], *, is_sample: bool = False) -> Distribution:
    """Centre and spread of finite values, at least one.

    The spread is the median absolute deviation / 0.6745, and the mean absolute deviation * 1.2533 where the former is
    zero (Iglewicz and Hoaglin, "How to Detect and Handle Outliers", 1993; 3.5 is their bound for outliers). Less than a
    thousandth of the latter counts as zero: most images being the same but for rounding doesn't make outliers of all
    others.
    """
    median = float(np.median(values))
    deviations = np.abs(values - median)
    spread, mean_spread = float(np.median(deviations)) / 0.6745, float(deviations.mean()) * 1.2533
    if spread < NEGLIGIBLE_SHARE * mean_spread:
        spread = mean_spread
    return Distribution(count=values.size, is_sample=is_sample, median=median, spread=spread)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlier:
    """An image that is unlike the others of its kind."""

    row: int
    kind: str
    columns: tuple[int, ...]
    """What is far, the farthest first."""
    values: tuple[float, ...]
    """As they are compared."""
    scores: tuple[float, ...]


class Outliers:
    """Counts images that lie far from the medians of their kinds, and keeps the farthest, while a stream goes by."""

    count: int
    """All that lie far."""

    def __init__(self, known: Distributions, columns: Sequence[int]) -> None:
        self._known = known
        self._columns = columns
        self._farthest: list[tuple[float, int, Outlier]] = []
        self.count = 0

    def see(self, rows: NDArray[np.intp], of_kinds: OfKinds, values: NDArray[np.float64]) -> None:
        """Some images: their rows in the job, and their values as they are compared."""
        for kind, places in of_kinds.items():
            known = self._known.get(kind, {})
            columns = np.array([column for column in self._columns if column in known], np.intp)
            scores = np.zeros((places.size, columns.size))
            for number, column in enumerate(columns.tolist()):
                scores[:, number] = known[column].scores(values[places, column])
            are_far = np.abs(scores) >= OUTLIER_SCORE
            for each in np.flatnonzero(are_far.any(axis=1)):
                farthest = np.argsort(-np.abs(scores[each]), kind="stable")[: are_far[each].sum()]
                self._keep(
                    Outlier(
                        row=int(rows[places[each]]),
                        kind=kind,
                        columns=tuple(columns[farthest].tolist()),
                        values=tuple(values[places[each], columns[farthest]].tolist()),
                        scores=tuple(scores[each, farthest].tolist()),
                    )
                )

    def _keep(self, outlier: Outlier) -> None:
        self.count += 1
        entry = (abs(outlier.scores[0]), -outlier.row, outlier)  # of equals the earlier image stays
        if len(self._farthest) < MAX_OUTLIERS:
            heapq.heappush(self._farthest, entry)
        else:
            heapq.heappushpop(self._farthest, entry)

    def found(self) -> list[Outlier]:
        """The farthest images, farthest first."""
        return [outlier for _, _, outlier in sorted(self._farthest, key=lambda entry: (-entry[0], -entry[1]))]


def number_text(value: Number) -> str:
    """A number for the eye: three significant digits, thousands apart, 0 for next to nothing, a dash for none.

    As the page's script writes it (``figure``): halves are rounded away from zero, never a power of ten.
    """
    if value is None or not math.isfinite(value):
        return "–"  # noqa: RUF001 - an en dash is meant
    exact = Decimal(value if isinstance(value, int) else float(value))  # numpy's, too
    if isinstance(value, int) or abs(value) >= 999.5:
        text = f"{exact.to_integral_value(ROUND_HALF_UP):,f}"
    else:
        text = "0" if abs(value) < NEXT_TO_NOTHING else f"{_THREE_DIGITS.plus(exact).normalize():f}"
    return text.replace("-", MINUS)


def share_text(share: float) -> str:
    """A share in per cent with at most one decimal, as the page's script writes it (``said``)."""
    percent = share * 100
    if 0 < percent < 0.05:
        return "< 0.1 %"
    tenths = Decimal(percent).quantize(Decimal("0.1"), ROUND_HALF_UP) + 0  # no minus before nothing
    return f"{tenths.normalize():f} %".replace("-", MINUS)
