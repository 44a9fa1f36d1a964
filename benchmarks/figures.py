"""What a benchmark gives: figures, each of one or several measures with the bar that it is held to.

Covers the arithmetic and the form of the JSON lines. What is measured is in one file per group of figures.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much is measured."""

    images: int = 1000
    """Photographs of the standard work; figures that don't use them scale their own sizes by it."""
    repeat: int = 3
    """Turns of each side; the medians count."""
    workers: int = 2
    """Processes of each side."""
    scratch: Path
    """Directory for outputs, emptied by whoever uses it."""

    def share(self, size: int) -> int:
        """A size that belongs to a thousand photographs, for as many as these; at least one."""
        return max(size * self.images // 1000, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One number with its bar."""

    name: str
    value: float
    bar: float
    higher_is_better: bool = True
    detail: Mapping[str, Any] = field(default_factory=dict)
    """What the number was made of."""

    @property
    def ok(self) -> bool:
        return self.value >= self.bar if self.higher_is_better else self.value <= self.bar

    @property
    def margin(self) -> float:
        """How far on the right side of the bar: 1 is on it, 2 twice as good, 0.5 half as good."""
        better, worse = (self.value, self.bar) if self.higher_is_better else (self.bar, self.value)
        return better / worse if worse > 0 else float("inf")

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "value": rounded(self.value),
            "bar": self.bar,
            "better": "higher" if self.higher_is_better else "lower",
            "ok": self.ok,
            **self.detail,
        }


def fact(name: str, holds: bool) -> Measure:
    """Something that is true (1) or not (0), and must be true."""
    return Measure(name=name, value=float(holds), bar=1.0)


def weakest(measures: Iterable[Measure]) -> Measure:
    """The one that decides: a missed one before all; a fact, which only holds, says less than a number."""
    return min(measures, key=lambda measure: (measure.ok, measure.value == measure.bar, measure.margin))


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of the design: met when all of its measures are."""

    name: str
    measures: Sequence[Measure]

    @property
    def ok(self) -> bool:
        return all(measure.ok for measure in self.measures)

    def to_json(self) -> dict[str, Any]:
        """The figure with the value and the bar of its weakest measure; all of them when there are several."""
        line = {"figure": self.name, **weakest(self.measures).to_json(), "ok": self.ok}
        if len(self.measures) > 1:
            line["measures"] = [measure.to_json() for measure in self.measures]
        return line

    def to_line(self) -> str:
        return json.dumps(self.to_json())


def rounded(value: float) -> float:
    """Four digits are more than a benchmark can tell."""
    return float(f"{value:.4g}")


def take_turns(sides: Mapping[str, Callable[[], float]], turns: int) -> dict[str, list[float]]:
    """Let each side run in each turn and collect what it gives, so that what else the machine does hits all alike."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(turns):
        for name, run in sides.items():
            os.sync()  # what the other side wrote goes to disk in nobody's time
            taken[name].append(run())
            say(f"  turn {turn + 1}, {name}: {rounded(taken[name][-1])}")
    return taken


def median_ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """The median of the turns' ratios: each compares what ran side by side."""
    return statistics.median(one / other for one, other in zip(above, below, strict=True))


def slope(points: Iterable[tuple[float, float]]) -> float:
    """Rise per unit of the line through the points, by least squares."""
    x, y = zip(*points, strict=True)
    return float(statistics.linear_regression(x, y).slope)


def timed(run: Callable[[], object]) -> float:
    """Seconds that a call takes; freeing what it returned isn't counted."""
    started = time.perf_counter()
    kept = run()
    seconds = time.perf_counter() - started
    del kept
    return seconds


def say(text: str) -> None:
    """Progress, for the person who waits; the figures alone go to standard output."""
    print(text, file=sys.stderr, flush=True)
