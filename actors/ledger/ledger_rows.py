"""What a job's ledger answers: values, as they were when it was asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.column_models import Cell
from pipelines.models import Output

Products = Mapping[str, str]
"""Product name -> digest of all that decides its bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenInput:
    """An input without a final row, and the recipes whose products it has already."""

    id: int
    seq: int
    path: bytes
    size: int
    mtime_ns: int
    name: str
    recipes: tuple[int, ...]
    values: str = ""
    """What its columns decide of its pixels, as JSON."""
    cells: Mapping[str, Cell] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalInput:
    """One row of the manifest, as the ledger has it."""

    id: int
    seq: int
    path: bytes
    size: int
    mtime_ns: int
    status: str
    reason: str | None
    message: str | None
    degraded: str | None
    width: int | None
    height: int | None
    outputs: tuple[Output, ...]
    values: str = ""
    """As of an ``OpenInput``."""
    cells: Mapping[str, Cell] = field(default_factory=dict)
    """Of its columns, by name; empty when the job's inputs have none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRow:
    """Where the results that one recipe computed for one input lie."""

    input: int
    seq: int
    path: bytes
    recipe: int
    part: str
    row: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One journalled attempt at one input."""

    path: bytes
    epoch: int
    """Number of the run."""
    finished: float
    """Unix seconds."""
    seconds: float
    outcome: str
    """``done``, ``failed``, ``skipped``, ``released``, or ``crashed`` when another attempt followed."""
    reason: str | None
    message: str | None
    worker: str

    def to_json(self) -> dict[str, Any]:
        """Plain values, without the path."""
        return {name: getattr(self, name) for name in self.__slots__ if name != "path"}


@dataclass(frozen=True, slots=True)
class Counts:
    """How many inputs are in which final state; ``open`` have none yet."""

    total: int
    done: int
    failed: int
    skipped: int

    @property
    def open(self) -> int:
        return self.total - self.done - self.failed - self.skipped
