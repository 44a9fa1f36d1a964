"""The six charts with pyplot, as one writes them from its documentation: a figure, an axes, a plot, savefig."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np

from pipelines.analyses import Result

WIDTH_PX, HEIGHT_PX, DPI = 608, 344, 100
"""The size of our own charts."""


def charts(results: Mapping[str, Result], title: str) -> list[bytes]:
    """One PNG per scope."""
    import matplotlib

    matplotlib.use("agg")
    return [_chart(name, result, title) for name, result in results.items()]


def _chart(name: str, result: Result, title: str) -> bytes:
    from matplotlib import pyplot

    columns = 3 if name == "rgb_parade" else 1
    figure, axes = pyplot.subplots(1, columns, figsize=(WIDTH_PX / DPI, HEIGHT_PX / DPI), dpi=DPI, squeeze=False)
    if name == "color_histogram":
        for channel, colour in (("red", "r"), ("green", "g"), ("blue", "b"), ("luma", "k")):
            axes[0, 0].fill_between(np.arange(256), result[channel], color=colour, alpha=0.5)
    elif name == "rgb_parade":
        for place, channel in enumerate(("red", "green", "blue")):
            axes[0, place].imshow(_shown(result[channel]), origin="lower", aspect="auto")
    elif name in ("hue_histogram", "saturation_histogram"):
        counts = np.asarray(result["counts"])
        axes[0, 0].fill_between(np.arange(counts.size), counts)
    else:
        axes[0, 0].imshow(_shown(result["counts"]), origin="lower", aspect="auto")
    figure.suptitle(f"{name}: {title}")
    target = BytesIO()
    figure.savefig(target, format="png")
    pyplot.close(figure)
    return target.getvalue()


def _shown(counts: Any) -> Any:
    return np.log1p(np.asarray(counts))
