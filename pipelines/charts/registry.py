"""From a result to the bytes of its chart: which analyses have a chart, and which engines can draw one.

Plug-ins add to ``CHARTABLE`` a function that turns a result into ``ChartData``, and to ``ENGINES`` an object that
draws ``ChartData``. Engines are imported when they are first used.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from pipelines.analyses.registry import Result
from pipelines.charts import scope_charts
from pipelines.charts.data import ChartData
from pipelines.charts.layout import TITLE_SIZE_PX, title_width_px
from pipelines.charts.options import ChartOptions
from pipelines.charts.text import clean_title, shorten
from pipelines.models import AnalysisRequest
from pipelines.registry import Registry


class ChartEngine(Protocol):
    """Draws any chart in any format; the same chart and options give the same bytes."""

    def draw(self, chart: ChartData, options: ChartOptions) -> bytes:
        """The bytes of a file of ``options.format`` and of ``options.width`` x ``options.height`` px."""


ChartBuilder = Callable[[Result, str, ChartOptions], ChartData]
"""``builder(result, title, options)``: what to plot of one result; the title is clean already."""


@dataclass(frozen=True, slots=True)
class BuiltInEngine:
    """An engine that is a module of this package with a function ``draw``; imported at its first chart."""

    module: str

    def draw(self, chart: ChartData, options: ChartOptions) -> bytes:
        """Import the module, unless done before, and let it draw."""
        done: bytes = importlib.import_module(self.module).draw(chart, options)
        return done


ENGINES: Registry[ChartEngine] = Registry("chart engine")
ENGINES.register("fast", BuiltInEngine("pipelines.charts.fast_engine"))
ENGINES.register("matplotlib", BuiltInEngine("pipelines.charts.matplotlib_engine"))

CHARTABLE: Registry[ChartBuilder] = Registry("chart")
"""The analyses that have a chart, by name."""
for _builder in (
    scope_charts.color_histogram,
    scope_charts.luma_waveform,
    scope_charts.rgb_parade,
    scope_charts.hue_histogram,
    scope_charts.saturation_histogram,
    scope_charts.lab_chromaticity,
):
    CHARTABLE.register(_builder.__name__, _builder)


def charts_of(requests: Iterable[AnalysisRequest]) -> tuple[str, ...]:
    """The names of the analyses that have a chart, each once, in the order asked for."""
    return tuple(dict.fromkeys(request.name for request in requests if request.name in CHARTABLE))


def chart_data(analysis_name: str, result: Result, *, title: str, options: ChartOptions) -> ChartData:
    """What the chart of a result shows, for any engine.

    ``title`` may be any text, undecodable file names included: it is cleaned, and shortened to the width of the chart.
    """
    fitting = shorten(clean_title(title), TITLE_SIZE_PX, title_width_px(options.width))
    return CHARTABLE[analysis_name](result, fitting, options)


def draw_chart(analysis_name: str, result: Result, *, title: str, options: ChartOptions) -> bytes:
    """Draw the chart of one result as the bytes of a file.

    ``result`` holds the columns of the analysis, arrays in their shape or flat; it isn't changed. Raises
    ``UnknownNameError`` for an analysis without a chart or an unknown engine, ``KeyError`` for a missing column and
    ``ImageError`` (``chart_error``) for an array of the wrong size.
    """
    engine = ENGINES[options.engine]
    return engine.draw(chart_data(analysis_name, result, title=title, options=options), options)
