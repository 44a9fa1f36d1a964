"""What an analysis is, what its result columns mean, and the table of all of them by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from numpy.typing import NDArray

from pipelines.alpha_rules import AlphaRule
from pipelines.registry import Parameters, Registry, parameters_of

_SPELLED = {
    "lab": "L*a*b*",
    "lbp": "LBP",
    "max": "maximum",
    "min": "minimum",
    "nan": "NaN",
    "rgb": "RGB",
    "std": "standard deviation",
}
"""Words of names that people write otherwise."""

Result = Mapping[str, Any]
"""Column name -> number, text, None or array, as the analysis' columns say; of an analysis of objects also ``ROWS``."""

ROWS = "rows"
"""Key of a result under which the objects of the image lie: column name -> 1-D array, one value per object, with
exactly the names of the analysis' ``row_columns``. It is no column of the table of images."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a result table."""

    name: str
    """Within its analysis; in the table it is ``<analysis>_<name>``."""
    type: str
    """``float64``, ``int64``, ``uint32``, ``uint64``, ``bool``, ``string``, or an array such as ``uint32[256]``
    or ``uint32[256,256]`` (stored flat, row-major, as a fixed-size list; the shape goes into the metadata)."""
    unit: str
    """``pixels``, ``level``, ``degree``, ``1`` for a ratio, ``px`` for a length, empty without one, as of text."""
    meaning: str
    """One sentence for the reference page and the Parquet metadata."""
    label: str = ""
    """What a reader of the report and of charts sees, in a few words. Empty: the name in words."""

    @property
    def title(self) -> str:
        """The label, or the name in words."""
        return self.label or in_words(self.name)


def in_words(name: str) -> str:
    """A name as a label: ``red_std`` is ``Red standard deviation``."""
    text = " ".join(_SPELLED.get(word, word) for word in name.split("_"))
    return text[:1].upper() + text[1:]


def of_analysis(column: Column, analysis: str) -> Column:
    """A column as it stands beside those of other analyses: ``texture_entropy``, labelled ``Texture: Entropy``."""
    return replace(column, name=f"{analysis}_{column.name}", label=f"{in_words(analysis)}: {column.title}")


class Accumulator(Protocol):
    """An analysis that can be computed band by band, from top to bottom; the result does not depend on their heights.

    What looks at single pixels takes tiles of any width, in any order, as well.
    """

    def update(self, tile: NDArray[Any], *, row: int, column: int) -> None:
        """Count one tile whose top left pixel lies at (row, column) of the image."""

    def result(self) -> Result:
        """The finished columns."""


@dataclass(frozen=True, slots=True)
class Analysis:
    """One analysis: a pure function, its parameters and its columns."""

    name: str
    group: Literal["scopes", "measurements"]
    function: Callable[..., Result]
    """``function(image, **params) -> {column: value}``; image as for operations (gray, RGB or RGBA)."""
    parameters: type[Parameters]
    columns: Callable[..., Sequence[Column]]
    """Parameters -> the columns of the result, in table order."""
    row_columns: Callable[..., Sequence[Column]] | None = None
    """For an analysis of objects: parameters -> the columns of the table that bears its name, in table order."""
    alpha: AlphaRule = AlphaRule.OWN
    """What transparent pixels count."""
    sees_geometry: bool = False
    """Called as ``function(image, geometry, **params)`` with the ``ImageGeometry``."""
    accumulator: Callable[..., Accumulator] | None = None
    """``accumulator(height=, width=, dtype=, channels=, **params)`` when the analysis can be merged from bands."""
    version: int | str = 1
    """Raised whenever a number changes; part of every cache key. Of a plug-in: its package's version."""
    requires: Mapping[str, float] = field(default_factory=dict, hash=False)
    """Units that an image holds while it is analysed: ``gpu``, or what nodes or a provider have."""

    @property
    def grain(self) -> Literal["image", "object"]:
        """``image``: one row per image in the table ``analyses``; ``object``: also one row per object in its own."""
        return "image" if self.row_columns is None else "object"

    @property
    def summary(self) -> str:
        """The first line of the function's docstring; empty where Python was told to leave docstrings out."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]


ANALYSES: Registry[Analysis] = Registry("analysis")


def analysis(
    group: Literal["scopes", "measurements"],
    *,
    columns: Sequence[Column] | Callable[..., Sequence[Column]],
    row_columns: Callable[..., Sequence[Column]] | None = None,
    alpha: AlphaRule,
    sees_geometry: bool = False,
    accumulator: Callable[..., Accumulator] | None = None,
    version: int = 1,
) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    """Register a function as an analysis under its own name; the function itself stays as it is.

    With ``row_columns`` it is one of objects: its results hold their rows under ``ROWS``.
    """

    def decorate(function: Callable[..., Result]) -> Callable[..., Result]:
        ANALYSES.register(
            function.__name__,
            Analysis(
                name=function.__name__,
                group=group,
                function=function,
                parameters=parameters_of(function),
                columns=columns if callable(columns) else lambda **_: columns,
                row_columns=row_columns,
                alpha=alpha,
                sees_geometry=sees_geometry,
                accumulator=accumulator,
                version=version,
            ),
        )
        return function

    return decorate
