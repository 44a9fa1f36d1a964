"""Where things go on a chart of a given size, in px from the top left corner; the same for every engine."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.charts.data import Axis, ChartData, Note
from pipelines.charts.text import text_width

TITLE_SIZE_PX = 14
LABEL_SIZE_PX = 11
LEFT_PX = 52
RIGHT_PX = 44
TOP_PX = 46
BOTTOM_PX = 42
GAP_PX = 7
TITLE_BASELINE_PX = 19
NOTE_BASELINE_PX = 38
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
