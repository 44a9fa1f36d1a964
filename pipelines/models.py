"""The values that travel between the packages: what to do with an image, and what became of it.

Covers only plain, comparable values (no pixels, no handles). Times are Unix seconds, sizes are bytes.
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self

from pipelines.errors import RayjobsError, storable

_to_json = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
"""Made once: steps are hashed some forty times per image."""


@dataclass(frozen=True, slots=True)
class _Step:
    name: str
    params: Mapping[str, Any] = field(default_factory=dict)

    _EXAMPLE: ClassVar[str]

    def __post_init__(self) -> None:
        """Values of other kinds would be found out late, or be taken for something that nobody meant.

        Raises
        ------
        RayjobsError
            The name isn't text, or the parameters aren't a mapping by name.
        """
        if not isinstance(self.name, str):
            raise RayjobsError(f"give a name, such as {self._EXAMPLE}, not {reprlib.repr(self.name)}")
        if not isinstance(self.params, Mapping) or not all(isinstance(key, str) for key in self.params):
            given = reprlib.repr(self.params)
            raise RayjobsError(f"{self.name}: give a mapping of its parameters, such as {self._EXAMPLE}, not {given}")

    @classmethod
    def of(cls, step: object) -> Self:
        """The step that somebody wrote: a name, one name with its parameters as in a job file, or a step itself.

        Raises
        ------
        RayjobsError
            It is something else; the text says what to write.
        """
        if isinstance(step, cls):
            return step
        if isinstance(step, str):
            return cls(step)
        if not isinstance(step, Mapping) or len(step) != 1:
            given = reprlib.repr(step)
            raise RayjobsError(f"give a name, or one name with its parameters such as {cls._EXAMPLE}, not {given}")
        ((name, params),) = step.items()
        found = cls(name, {} if params is None else params)
        return replace(found, params=dict(found.params))

    def __hash__(self) -> int:
        return hash(self.canonical())

    def canonical(self) -> str:
        """The same text for the same step, whatever the order of the parameters: part of cache keys."""
        return _to_json([self.name, dict(self.params)])


class ImageOperation(_Step):
    """One step of a chain: an operation's name and its parameters, as in a job file."""

    __slots__ = ()
    _EXAMPLE = "{'gamma': {'gamma': 1.2}}"


class AnalysisRequest(_Step):
    """One analysis to run: its name and its parameters, as in a job file."""

    __slots__ = ()
    _EXAMPLE = "{'luma_waveform': {'luma': 'bt601'}}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One published file of an input."""

    product: str
    """What it is: ``image`` or ``chart:<analysis>``."""
    path: str
    """Relative to the output directory, with ``/``."""
    sha256: str
    bytes: int
    mtime_ns: int | None = field(default=None, compare=False)
    """As the file bears it; for the ledger alone, since equal runs have other times. None: unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkItem:
    """One input as planned: what a worker must know of it."""

    id: int
    """Its number in the job's ledger; stays the same over all runs."""
    path: bytes
    size: int
    mtime_ns: int
    name: str
    """Where its outputs go, below ``images/`` and ``charts/<analysis>/``, without the suffix of the format."""
    title: str
    """Readable name, for charts and messages."""
    recipe: int
    """Which of the shard's recipes it needs."""
    seq: int = 0
    """Its place in the sealed list of inputs."""
    image: str = ""
    """Where its image goes, relative to the output and without the suffix; empty: ``images/`` and its name."""
    values: str = ""
    """What its columns fill in the recipe's operations, as JSON; see ``column_values.with_values``."""
    known: tuple[tuple[str, str], ...] = ()
    """(relative path, sha256) of files that earlier attempts published: ours to adopt or to replace."""


Status = Literal["done", "failed", "skipped", "released"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageStatus:
    """What became of one input in one attempt."""

    id: int
    status: Status
    """``released``: given up untouched, because the shard was asked to stop or for ``needs_bytes``."""
    reason: str | None = None
    message: str | None = None
    """``storable``, whatever it is made of: a plug-in's words may name any file."""
    degraded: str | None = None
    width: int | None = None
    """Of the input as stored, in px; None when its header can't be read."""
    height: int | None = None
    outputs: tuple[Output, ...] = ()
    part: str | None = None
    """File below ``.rayjobs/parts`` that holds the analysis results, and the row in it."""
    row: int | None = None
    recipe: int = 0
    known: int = 0
    """Analyses that weren't measured, since another job had measured them."""
    needs_bytes: int | None = None
    """Of a released row: memory that the image needs and its task didn't have."""
    seconds: float = 0.0
    worker: str = ""
    spent: Mapping[str, tuple[float, float]] = field(default_factory=dict, compare=False, hash=False)
    """Of a done row: stage -> seconds and CPU seconds."""
    peak_bytes: int = field(default=0, compare=False)
    """Most memory that the worker has had, as far as this row says it."""

    def __post_init__(self) -> None:
        if self.message is not None:
            object.__setattr__(self, "message", storable(self.message))
