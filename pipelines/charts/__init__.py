"""Charts of analyses: a result becomes ``ChartData``, and an engine draws it as PNG, JPEG or SVG.

``registry`` is the way in; ``scope_charts`` decides what is plotted, ``layout`` where, ``fast_engine`` (with
``svg_writer``) and ``matplotlib_engine`` draw it. Importing this package loads no drawing library.
"""

from __future__ import annotations

from pipelines.charts.options import ChartOptions
from pipelines.charts.registry import CHARTABLE, ENGINES, ChartEngine, charts_of, draw_chart

__all__ = ["CHARTABLE", "ENGINES", "ChartEngine", "ChartOptions", "charts_of", "draw_chart"]
