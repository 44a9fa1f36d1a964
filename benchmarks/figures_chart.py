"""The chart of all figures against their bars, and their table: from ``results.json`` alone, for the documentation."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.__main__ import FIGURES, NOT_YET, RESULTS
from benchmarks.drawing import Drawing, number
from benchmarks.figures import Measure, weakest

WIDTH, ROW, TOP = 880, 24, 74
LEFT, RIGHT = 396, 664
"""Where the scale begins and ends."""
ALL = sorted([*FIGURES, *NOT_YET], key=lambda figure: int(figure[1:]))
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20)


def recorded() -> dict[str, Any]:
    """What was recorded last: figure -> its line."""
    results: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
    return results


def measures_of(line: Mapping[str, Any]) -> list[Measure]:
    """The measures of a figure's line."""
    return [
        Measure(name=each["name"], value=each["value"], bar=each["bar"], higher_is_better=each["better"] == "higher")
        for each in line.get("measures", [line])
    ]


def figures_chart(results: Mapping[str, Any]) -> str:
    """A row per figure: how many times better than its bar its weakest measure is, on a logarithmic scale."""
    rows = {figure: weakest(measures_of(results[figure])) if figure in results else None for figure in ALL}
    found = {figure: measure for figure, measure in rows.items() if measure is not None}
    missed = [figure for figure, measure in found.items() if not measure.ok]
    open_ = [figure for figure, measure in rows.items() if measure is None]
    said = f"{len(found) - len(missed)} of {len(rows)} figures meet their bars."
    said += f" Missed: {', '.join(missed)}." if missed else ""
    said += f" Not recorded: {', '.join(open_)}." if open_ else ""
    low, high = _range([measure.margin for measure in found.values()])
    bottom = TOP + ROW * len(rows)

    def x_of(margin: float) -> float:
        return LEFT + (RIGHT - LEFT) * math.log(min(max(margin, low), high) / low) / math.log(high / low)

    drawing = Drawing(WIDTH, bottom + 34, "Figures against their bars", said)
    drawing.text(16, 24, "Figures against their bars", size=16)
    drawing.text(16, 44, f"{said} Right of the thick line is better than the bar.", "dim")
    for tick in TICKS:
        if low <= tick <= high:
            drawing.line(
                f"M{number(x_of(tick))} {TOP - 8}V{bottom}", "dim" if tick == 1 else "rule", 2 if tick == 1 else 1
            )
            drawing.text(x_of(tick), TOP - 12, "bar" if tick == 1 else f"x {tick:g}", "dim", anchor="middle")
    for place, (figure, measure) in enumerate(rows.items()):
        y = TOP + ROW * place
        drawing.text(16, y + 16, figure)
        if measure is None:
            drawing.text(50, y + 16, NOT_YET.get(figure, "not recorded"), "dim")
            continue
        drawing.text(50, y + 16, measure.name)
        _mark(drawing, x_of(1), x_of(measure.margin), y, measure.ok)
        drawing.text(RIGHT + 16, y + 16, f"{'' if measure.ok else 'MISSED: '}{value_text(measure)}")
    drawing.text(16, bottom + 20, _machines(results), "dim", size=11)
    return drawing.svg()


def _range(margins: list[float]) -> tuple[float, float]:
    finite = [margin for margin in margins if 0 < margin < math.inf]
    return max(min(0.5, *finite, 0.5) * 0.9, TICKS[0]), min(max(2, *finite, 2) * 1.1, TICKS[-1])


def _mark(drawing: Drawing, bar: float, end: float, y: float, ok: bool) -> None:
    """Met: a filled beam with a cap; missed: a hollow one that ends in a cross."""
    role = "good" if ok else "bad"
    drawing.rectangle(min(bar, end), y + 6, abs(end - bar), ROW - 12, role, hollow=not ok)
    if ok:
        drawing.rectangle(end - 2, y + 3, 4, ROW - 6, role)
    else:
        drawing.line(f"M{number(end - 5)} {y + 7}l10 10m0 -10l-10 10", role, 2)


def value_text(measure: Measure) -> str:
    """``0.91, bar >= 0.97``."""
    return f"{_digits(measure.value)}, bar {'≥' if measure.higher_is_better else '≤'} {_digits(measure.bar)}"


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _machines(results: Mapping[str, Any]) -> str:
    machines = {f"{line['machine']['cpus']} CPUs of {line['machine']['processor']}" for line in results.values()}
    return f"Recorded on {'; '.join(sorted(machines))}. What is measured: benchmarks/README.md."


def figure_rows(results: Mapping[str, Any]) -> Iterator[list[str]]:
    """Every measure as a row of a table: figure, what is measured, value, the run before, bar, whether it is met."""
    for figure in ALL:
        if figure not in results:
            yield [figure, NOT_YET.get(figure, "not recorded"), "", "", "", ""]
            continue
        before = results[figure].get("before", {})
        for measure in measures_of(results[figure]):
            sign = "≥" if measure.higher_is_better else "≤"
            value, bar = _digits(measure.value), f"{sign} {_digits(measure.bar)}"
            last = _digits(before[measure.name]) if measure.name in before else ""
            yield [figure, measure.name, value, last, bar, "met" if measure.ok else "**missed**"]
