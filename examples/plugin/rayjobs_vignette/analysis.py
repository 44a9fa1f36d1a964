"""The analysis ``vignette``: how evenly an image is lit from its centre to its corners, and its chart."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from rayjobs.plugins import (
    Analysis,
    Axis,
    Bars,
    ChartData,
    ChartOptions,
    Column,
    Image,
    Panel,
    Result,
    Tick,
    parameters_of,
)

LUMA = (0.2126, 0.7152, 0.0722)
COLUMNS = (
    Column("corner_ratio", "float64", "1", "Mean luma of the outermost ring as a share of the innermost one's"),
    Column("rings", "float64[16]", "1", "Mean luma of 16 rings from the centre to the corners; NaN where none lies"),
)


def measure(
    image: Image,
    *,
    floor: Annotated[float, Field(ge=0, le=1, description="Luma below it doesn't count")] = 0.0,
) -> Result:
    """Mean BT.709 luma of 16 rings of equal width around the centre, and the ratio of the last to the first."""
    top = 1.0 if image.dtype.kind == "f" else float(np.iinfo(image.dtype).max)
    luma = image.astype(np.float64) if image.ndim == 2 else image[..., :3] @ np.array(LUMA)
    luma /= top
    height, width = luma.shape
    down = (np.arange(height) + 0.5) / height * 2 - 1
    right = (np.arange(width) + 0.5) / width * 2 - 1
    distance = np.sqrt((down[:, None] ** 2 + right[None, :] ** 2) / 2)
    ring = np.minimum((distance * 16).astype(int), 15)
    counted = luma >= floor
    pixels = np.bincount(ring[counted], minlength=16)
    sums = np.bincount(ring[counted], weights=luma[counted], minlength=16)
    means = np.full(16, np.nan)
    np.divide(sums, pixels, out=means, where=pixels > 0)
    known = means[~np.isnan(means)]
    ratio = known[-1] / known[0] if known.size and known[0] > 0 else None
    return {"corner_ratio": ratio, "rings": means}


ANALYSIS = Analysis(
    name="vignette",
    group="measurements",
    function=measure,
    parameters=parameters_of(measure),
    columns=lambda **_: COLUMNS,
)


def chart(result: Result, title: str, options: ChartOptions) -> ChartData:
    """The rings as bars from the centre (left) to the corners (right)."""
    rings = np.nan_to_num(np.asarray(result["rings"], np.float64))
    share = [Tick(tenth / 10, f"{tenth * 10} %") for tenth in range(0, 11, 2)]
    return ChartData(
        title=title,
        name="Light towards the corners",
        panels=(
            Panel(
                x=Axis(label="centre to corners", low=0, high=1, ticks=(Tick(0, "centre"), Tick(1, "corner"))),
                y=Axis(label="mean luma", low=0, high=1, ticks=tuple(share)),
                layers=(Bars(left=0, right=1, bottom=np.zeros(16), top=rings, colours=((245, 246, 248),)),),
            ),
        ),
    )
