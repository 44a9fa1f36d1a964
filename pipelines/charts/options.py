"""How a chart is drawn: format, engine, scale and size, as a job file's ``charts`` says.

Covers the validated value only; what is plotted is decided in ``scope_charts``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from pipelines.errors import RayjobsError

ChartFormat = Literal["png", "svg", "jpeg"]
Scale = Literal["8bit", "10bit", "ire"]
Density = Literal["log", "gamma"]

WIDTH_RANGE_PX = (540, 4096)  # below, labels touch, and 360 hue bars no longer get a column of px each
HEIGHT_RANGE_PX = (300, 4096)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartOptions:
    """The choices of a person who looks at charts; every one has a default."""

    format: ChartFormat = "png"
    engine: str = "fast"
    """A name in ``ENGINES``: ``fast``, ``matplotlib``, or one that a plug-in registered."""
    scale: Scale = "8bit"
    """Labels of R'G'B' levels: 0-255, 0-1023 (full range), or 0-100 IRE (0 is level 0, 100 is level 255)."""
    width: int = 608
    """In px. At the default size the plot has 512 x 256 px: a whole number of px per bin, so nothing is resampled."""
    height: int = 344
    """In px."""
    density: Density = "log"
    """How brightly a trace shines: by the logarithm of the count, or by its power 0.4."""
    log_counts: bool = False
    """Histogram heights by log10(1 + count) instead of the count."""
    quality: int = 90
    """Of JPEG, 1 to 100."""

    def __post_init__(self) -> None:
        for name, allowed in (("format", ChartFormat), ("scale", Scale), ("density", Density)):
            if getattr(self, name) not in get_args(allowed):
                choices = ", ".join(get_args(allowed))
                raise RayjobsError(f"charts: {name} {getattr(self, name)!r} is not one of {choices}")
        for name, (low, high) in (("width", WIDTH_RANGE_PX), ("height", HEIGHT_RANGE_PX), ("quality", (1, 100))):
            if not low <= getattr(self, name) <= high:
                raise RayjobsError(f"charts: {name} {getattr(self, name)} is not within {low} to {high}")
