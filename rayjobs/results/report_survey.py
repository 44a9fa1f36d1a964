"""What is known of all inputs of a job together, from one reading of its rows.

Covers counts, where most images lie, and the values that one can choose inputs by. Memory doesn't grow with the inputs
but for the numbers of duplicates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from rayjobs.results.report_measures import Kinds, Measure, compared
from rayjobs.results.report_numbers import Distributions, OfKinds, distributions
from rayjobs.results.report_rows import MeasuredRows, ReportRow, cell_text

MAX_VALUES = 100
"""A column of the inputs with more values than these is nothing to choose by."""


@dataclass(slots=True)
class Survey:
    """What the rows of a job have in common."""

    columns: Sequence[int]
    """Places of the measures that images are compared by."""
    distributions: Distributions = field(default_factory=dict)
    total: int = 0
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(status, reason) of failed and skipped inputs."""
    charted: dict[str, None] = field(default_factory=dict)
    values: dict[str, dict[str, int] | None] = field(default_factory=dict)
    """Column of the inputs -> text -> how many; None for a column with too many."""
    twins: Counter[int] = field(default_factory=Counter)
    """Group of duplicates -> how many images."""
    clipped: int = 0
    soft: int = 0
    lesser: int = 0
    unlike: int = 0
    """Images that are unlike the others of their kind; the report names the farthest."""
    root: str | None = None
    """The folder that all inputs lie in or below; None when there is none."""
    _whites: list[float] = field(default_factory=list)

    @classmethod
    def of(
        cls, groups: Iterable[Sequence[ReportRow]], kinds: Kinds, measures: Sequence[Measure], expected: int
    ) -> Survey:
        """From all rows, read once, in groups."""
        survey = cls(compared(measures))
        watched = survey._watched(groups, kinds, len(measures))
        survey.distributions = distributions(watched, survey.columns, expected)
        return survey

    def _watched(
        self, groups: Iterable[Sequence[ReportRow]], kinds: Kinds, measures: int
    ) -> Iterator[tuple[OfKinds, NDArray[np.float64]]]:
        for rows in groups:
            for row in rows:
                self._see(row)
            measured = MeasuredRows.of(rows, measures)
            whites = [*measured.whites[np.isfinite(measured.whites)].tolist(), *self._whites]
            self._whites = [min(whites), max(whites)] if whites else []
            yield kinds.of(measured.values, measured.whites), kinds.compared(measured.values)

    def _see(self, row: ReportRow) -> None:
        folder = row.input.rpartition("/")[0]
        self.root = folder if self.total == 0 else _common(self.root, folder)
        self.total += 1
        if row.status != "done":
            self.reasons[row.status, row.reason] += 1
        self.charted |= dict.fromkeys(row.charts)
        self.lesser += row.degraded is not None
        if row.twins:
            self.twins[row.twins] += 1
        for name, cell in row.cells.items():
            self._see_cell(name, cell_text(cell))

    def _see_cell(self, name: str, text: str) -> None:
        known = self.values.setdefault(name, {})
        if known is not None:
            known[text] = known.get(text, 0) + 1
            if len(known) > MAX_VALUES:
                self.values[name] = None

    @property
    def white(self) -> float | None:
        """The level of white of all images; None where they differ or nothing is known."""
        return self._whites[0] if self._whites and self._whites[0] == self._whites[-1] else None

    @property
    def is_mixed(self) -> bool:
        """Whether white isn't one level in all images."""
        return bool(self._whites) and self._whites[0] != self._whites[-1]

    @property
    def cells(self) -> list[str]:
        """Columns of the inputs."""
        return list(self.values)

    @property
    def groups(self) -> Mapping[str, Mapping[str, int]]:
        """Columns of the inputs that one can choose by -> text -> its code, in the order of the texts."""
        chosen = {name: known for name, known in self.values.items() if known is not None and len(known) > 1}
        return {name: {text: code for code, text in enumerate(sorted(known))} for name, known in chosen.items()}

    @property
    def reason_codes(self) -> list[tuple[str, str]]:
        """(status, reason) of each code, the most frequent first."""
        return [reason for reason, _ in self.reasons.most_common()]


def _common(root: str | None, folder: str) -> str | None:
    """The folder above both."""
    if root is None or folder == root or folder.startswith(f"{root}/"):
        return root
    pairs = zip(root.split("/"), folder.split("/"), strict=False)
    steps = [step for step, _ in takewhile(lambda pair: pair[0] == pair[1], pairs)]
    return "/".join(steps) if any(steps) else None
