"""The same operations with libvips, as its users write them: one pipeline from file to file, evaluated in pieces.

The tone curve is the table that our own chain uses, so that only speed differs; unsharp mask and saturation follow the
definitions of the standard work. ``VIPS_CONCURRENCY=1`` must be set before this is imported: as many processes as the
other side, one thread each.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.standard_work import AMOUNT, QUALITY, RADIUS, SATURATION, TONE
from pipelines.operations import apply_operations


def process(source: Path, target: Path) -> None:
    """Render one photograph to ``target``."""
    import pyvips  # type: ignore[import-untyped]

    image = pyvips.Image.new_from_file(str(source), access="sequential")
    bent = image.maplut(_curve())
    # The mask is a gaussian of integers, as in libvips' own `sharpen`: its fast path for 8-bit images.
    blurred = bent.gaussblur(RADIUS, precision="integer")
    sharp = (bent * (1 + AMOUNT) - blurred * AMOUNT).cast("uchar")
    hsv = sharp.copy(interpretation="srgb").colourspace("hsv")
    saturated = hsv.maplut(_saturation()).copy(interpretation="hsv")
    saturated.colourspace("srgb").jpegsave(str(target), Q=QUALITY)


@lru_cache(maxsize=1)
def _curve() -> Any:
    """The tone curve as a table of 256 levels."""
    import pyvips

    levels = np.arange(256, dtype=np.uint8)[None]
    return pyvips.Image.new_from_array(apply_operations(levels, [TONE]).pixels)


@lru_cache(maxsize=1)
def _saturation() -> Any:
    """Three tables, for hue, saturation and value; only the second changes anything."""
    import pyvips

    levels = np.arange(256)
    scaled = np.minimum(np.rint(levels * SATURATION), 255)
    return pyvips.Image.new_from_array(np.stack([levels, scaled, levels], axis=-1).astype(np.uint8)[None])
