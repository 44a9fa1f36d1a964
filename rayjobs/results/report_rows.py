"""What a report is made from: the job's summary, and a row per input."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.column_models import Cell
from pipelines.models import AnalysisRequest, ImageOperation


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSummary:
    """What the head of the report says about the job."""

    name: str
    status: str
    done: int
    failed: int
    skipped: int
    seconds: float | None = None
    """Duration of the last run."""
    processed: int | None = None
    """Inputs that the last run itself processed; with ``seconds`` it gives the images per second."""
    finished: str = ""
    """When it ended, as text."""
    operations: tuple[ImageOperation, ...] = ()
    analyses: tuple[AnalysisRequest, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    """Package -> version."""
    files: tuple[str, ...] = ()
    """Tables to link to, relative to the output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRow:
    """One input, whatever became of it."""

    input: str
    """Readable path (``pipelines.tables.readable_path``)."""
    source: bytes
    """Exact path of the input."""
    size: int | None = None
    """Of that file, in bytes, as the job took it."""
    mtime_ns: int | None = None
    status: Literal["done", "failed", "skipped"] = "done"
    reason: str = ""
    message: str = ""
    key: str = ""
    """Of one that is done, the hexadecimal digest that names the thumbnail: one of that key is used again."""
    original_key: str = ""
    """The same of the original, where something else was made of it."""
    image: str | None = None
    """Rendered image, relative to the output; None when the job renders none."""
    image_sha256: str | None = None
    charts: Mapping[str, str] = field(default_factory=dict)
    """Analysis -> chart, relative to the output."""
    cells: Mapping[str, Cell] = field(default_factory=dict)
    """What the job's table or its path says of it."""
    values: NDArray[np.float64] | None = None
    """The job's measures, NaN for nothing; None when nothing was measured."""
    white: float = math.nan
    """The level of white of its samples, where that was measured."""
    twins: int = 0
    """Number of its group of duplicates; 0 for none."""
    width: int | None = None
    height: int | None = None
    degraded: str | None = None


@dataclass(frozen=True, slots=True)
class MeasuredRows:
    """Those of some rows that have numbers."""

    rows: NDArray[np.intp]
    """Which they are."""
    values: NDArray[np.float64]
    """(rows, measures)"""
    whites: NDArray[np.float64]

    @classmethod
    def of(cls, rows: Sequence[ReportRow], measures: int) -> MeasuredRows:
        """Of rows with so many measures."""
        places = [place for place, row in enumerate(rows) if row.values is not None]
        values = np.array([rows[place].values for place in places], np.float64).reshape(len(places), measures)
        return cls(np.array(places, np.intp), values, np.array([rows[place].white for place in places], np.float64))


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportGroups:
    """Mean and spread of the key numbers per group of inputs, as texts: the first groups of the table ``groups``."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def cell_text(value: Cell) -> str:
    """A cell of an input as people read it; nothing for none."""
    if value is None:
        return ""
    return value if isinstance(value, str) else str(value).lower()
