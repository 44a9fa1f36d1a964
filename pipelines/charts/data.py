"""What a chart shows, before anyone draws it: titles, axes, and layers in data coordinates.

Every engine is handed the same ``ChartData``, so that engines can differ in looks only. Covers the values; they are
filled by ``scope_charts`` and drawn by the engines. Arrays in them are never changed by an engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]
"""sRGB, 0 to 255."""

BACKGROUND: Colour = (22, 24, 28)
PLOT_BACKGROUND: Colour = (9, 10, 12)
GRID: Colour = (40, 44, 50)
GRID_STRONG: Colour = (78, 84, 93)
TEXT: Colour = (232, 234, 237)
TEXT_DIM: Colour = (154, 160, 168)

DENSITY_LEVELS = 47
"""Brightness steps of a trace; three traces and all text fit into a palette of 256 colours."""


@dataclass(frozen=True, slots=True)
class Tick:
    """One labelled position of an axis."""

    at: float
    label: str
    strong: bool = False
    """Its graticule line stands out: the ends of the legal range, the neutral axes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One axis: range, ticks, and whether graticule lines run from its ticks."""

    label: str
    low: float
    high: float
    ticks: tuple[Tick, ...] = ()
    grid: bool = True


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bars:
    """Adjoining bars of equal width from ``left`` to ``right``, each filled from ``bottom`` to ``top``."""

    left: float
    right: float
    bottom: NDArray[np.float64]
    top: NDArray[np.float64]
    """Both shape (n,), in y units; a bar with top <= bottom isn't drawn."""
    colours: tuple[Colour, ...]
    """One for all bars, or one each."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Steps:
    """The outline of a histogram as a thin line, without its fill."""

    left: float
    right: float
    heights: NDArray[np.float64]
    """Shape (n,), in y units."""
    colour: Colour


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trace:
    """How often each cell of a grid was hit, as brightness of one colour."""

    left: float
    right: float
    bottom: float
    top: float
    levels: NDArray[np.uint8]
    """Shape (rows, columns), row 0 at ``bottom``; 0 is transparent, ``DENSITY_LEVELS`` the full colour."""
    colour: Colour


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """A cross in a ring at one position."""

    x: float
    y: float
    colour: Colour


Layer = Bars | Steps | Trace | Marker


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Panel:
    """One plot: axes, layers in drawing order above graticule and backdrop."""

    x: Axis
    y: Axis
    layers: tuple[Layer, ...]
    y_right: Axis | None = None
    """A second labelling of the same heights, at the right edge; draws no lines."""
    backdrop: NDArray[np.uint8] | None = None
    """Colours behind everything, shape (rows, columns, 3), row 0 at the bottom, filling the panel in flat tiles."""
    square: bool = False
    show_y: bool = True
    """False for panels that share the axis of the panel to their left."""


@dataclass(frozen=True, slots=True)
class Note:
    """A short text below the title."""

    text: str
    colour: Colour = TEXT_DIM


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChartData:
    """All that one chart shows."""

    title: str
    """Whose chart it is; cleaned and shortened."""
    name: str
    """What kind of chart it is, in words."""
    panels: tuple[Panel, ...]
    """Side by side, of equal width."""
    legend: tuple[Note, ...] = ()
    """From the left, below the title."""
    notes: tuple[Note, ...] = ()
    """To the right of the legend, from the right edge."""


def ramp(colour: Colour) -> NDArray[np.uint8]:
    """The colours of the levels of a trace, shape (DENSITY_LEVELS + 1, 3); entry 0 stands for transparent.

    The first visible level is well above the background, so that a cell hit once can be seen.
    """
    share = np.concatenate([[0.0], np.linspace(0.2, 1.0, DENSITY_LEVELS)])[:, None]
    start, end = np.array(PLOT_BACKGROUND, float), np.array(colour, float)
    colours: NDArray[np.uint8] = np.rint(start + (end - start) * share).astype(np.uint8)
    return colours


def unit_colour(rgb: Any) -> Colour:
    """Turn three numbers in 0..1 into a colour."""
    red, green, blue = (round(255 * min(max(float(value), 0.0), 1.0)) for value in rgb)
    return red, green, blue
