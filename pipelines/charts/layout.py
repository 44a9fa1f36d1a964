"""Where things go on a chart of a given size, in px from the top left corner; the same for every engine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pipelines.charts.data import TEXT, TEXT_DIM, Axis, ChartData, Colour, Note, Panel
from pipelines.charts.text import text_width

TITLE_SIZE_PX = 14
LABEL_SIZE_PX = 11
LEFT_PX = 52
RIGHT_PX = 44
TOP_PX = 46
BOTTOM_PX = 42
GAP_PX = 7
_TITLE_BASELINE_PX = 19
_NOTE_BASELINE_PX = 38
NOTE_GAP_PX = 14


@dataclass(frozen=True, slots=True)
class Box:
    """The plotting area of one panel."""

    left: int
    top: int
    width: int
    height: int

    @property
    def right(self) -> int:
        """The first px column beyond the box."""
        return self.left + self.width

    @property
    def bottom(self) -> int:
        """The first px row beyond the box."""
        return self.top + self.height

    def x_px(self, axis: Axis, value: float) -> float:
        """The horizontal position of a value."""
        return self.left + (value - axis.low) / (axis.high - axis.low) * self.width

    def y_px(self, axis: Axis, value: float) -> float:
        """The vertical position of a value."""
        return self.top + (axis.high - value) / (axis.high - axis.low) * self.height


def boxes(chart: ChartData, width: int, height: int) -> tuple[Box, ...]:
    """The plotting area of each panel, from the left."""
    count = len(chart.panels)
    whole_width, whole_height = width - LEFT_PX - RIGHT_PX, height - TOP_PX - BOTTOM_PX
    square = all(panel.square for panel in chart.panels)
    gap = 0 if square else GAP_PX
    panel_width = (whole_width - gap * (count - 1)) // count
    if square:
        side = min(panel_width, whole_height)
        spare = (whole_width - count * side) // 2
        return tuple(Box(LEFT_PX + spare + k * side, TOP_PX, side, side) for k in range(count))
    return tuple(Box(LEFT_PX + k * (panel_width + gap), TOP_PX, panel_width, whole_height) for k in range(count))


def title_width_px(width: int) -> int:
    """How long a title may be: the chart's name stands at the right end of the same line."""
    return width - LEFT_PX - RIGHT_PX - 170


def note_places(chart: ChartData, width: int) -> tuple[tuple[Note, float], ...]:
    """Legend and notes with the left edge of each; those that find no room on a narrow chart are left out."""
    places: list[tuple[Note, float]] = []
    left, right = float(LEFT_PX), float(width - RIGHT_PX)
    for note in chart.legend:
        length = text_width(note.text, LABEL_SIZE_PX)
        if left + length <= right:
            places.append((note, left))
            left += length + NOTE_GAP_PX
    for note in reversed(chart.notes):
        length = text_width(note.text, LABEL_SIZE_PX)
        if right - length >= left:
            places.append((note, right - length))
            right -= length + NOTE_GAP_PX
    return tuple(places)


Anchor = Literal["left", "center", "right"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A line of text on a chart."""

    text: str
    x: float
    """Of its anchor; of one that runs upwards, its baseline."""
    y: float
    """Of its baseline; of one that runs upwards, its middle."""
    colour: Colour
    anchor: Anchor = "left"
    size: int = LABEL_SIZE_PX
    upwards: bool = False
    is_tick: bool = False
    """Whether it stands at a value of an axis."""


def header(chart: ChartData, width: int) -> Iterator[Label]:
    """Title, the chart's name, legend and notes."""
    right = width - RIGHT_PX
    yield Label(text=chart.title, x=LEFT_PX, y=_TITLE_BASELINE_PX, colour=TEXT, size=TITLE_SIZE_PX)
    yield Label(text=chart.name, x=right, y=_TITLE_BASELINE_PX, colour=TEXT_DIM, anchor="right", size=TITLE_SIZE_PX)
    for note, left in note_places(chart, width):
        yield Label(text=note.text, x=left, y=_NOTE_BASELINE_PX, colour=note.colour)


def axis_labels(panel: Panel, box: Box) -> Iterator[Label]:
    """What stands at the axes of a panel."""
    for tick in panel.x.ticks:
        at = box.x_px(panel.x, tick.at)
        yield Label(text=tick.label, x=at, y=box.bottom + 14, colour=TEXT_DIM, anchor="center", is_tick=True)
    yield Label(text=panel.x.label, x=box.left + box.width / 2, y=box.bottom + 31, colour=TEXT, anchor="center")
    middle = box.top + box.height / 2
    if panel.show_y:
        for tick in panel.y.ticks:
            at = box.y_px(panel.y, tick.at) + 4
            yield Label(text=tick.label, x=box.left - 6, y=at, colour=TEXT_DIM, anchor="right", is_tick=True)
        yield Label(text=panel.y.label, x=13, y=middle, colour=TEXT, anchor="center", upwards=True)
    if panel.y_right is not None:
        for tick in panel.y_right.ticks:
            at = box.y_px(panel.y_right, tick.at) + 4
            yield Label(text=tick.label, x=box.right + 6, y=at, colour=TEXT_DIM, is_tick=True)
        right = box.right + RIGHT_PX - 5
        yield Label(text=panel.y_right.label, x=right, y=middle, colour=TEXT, anchor="center", upwards=True)
