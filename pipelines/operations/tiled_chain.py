"""Running a chain tile by tile: between the operations there are copies of a tile, not of the whole image.

Each tile is cut out with the surroundings that the chain needs (``chain_halo``), so the pixels are those of the whole
image: exactly for integers, for float32 as ``filters`` says. Chains with an operation that needs the whole image can't
be cut; ``segments`` finds the parts of a chain that can.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby

import numpy as np

from pipelines.errors import ImageError
from pipelines.models import ImageOperation
from pipelines.operations.chain import apply_operations, chain_halo
from pipelines.operations.registry import Image

Operations = Sequence[ImageOperation]

_LABEL = re.compile(r"operation (\d+) (?=\(\w+\))")


def apply_by_tiles(image: Image, operations: Operations, *, halo: int, side: int) -> Image:
    """The chain on tiles of ``side`` x ``side`` pixels, put together; ``halo`` is the chain's.

    Parameters
    ----------
    image
        (M, N), (M, N, 3) or (M, N, 4), at least one pixel.
    """
    result: Image | None = None
    for top in range(0, image.shape[0], side):
        above = min(top, halo)
        window, rows = image[top - above : top + side + halo], min(side, image.shape[0] - top)
        for left, done in band_by_tiles(window, operations, above=above, rows=rows, halo=halo, side=side):
            if result is None:
                result = np.empty((*image.shape[:2], *done.shape[2:]), done.dtype)
            result[top : top + rows, left : left + done.shape[1]] = done
    assert result is not None
    return result


def band_by_tiles(
    window: Image, operations: Operations, *, above: int, rows: int, halo: int, side: int
) -> Iterator[tuple[int, Image]]:
    """The chain on ``rows`` rows of an image, as tiles of ``side`` pixels' width, each with the column it begins at.

    Parameters
    ----------
    window
        These rows of the whole image's width, with the ``halo`` rows before and after them that the image has;
        ``above`` is how many there are before.
    """
    for left in range(0, window.shape[1], side):
        before = min(left, halo)
        cut = window[:, left - before : left + side + halo]
        yield left, apply_operations(cut, operations).pixels[above : above + rows, before : before + side]


def segments(operations: Operations) -> Iterator[tuple[Operations, int | None]]:
    """The longest runs of operations that can be cut, with their halo; between them the others, with None."""
    for local, group in groupby(operations, key=lambda operation: chain_halo([operation]) is not None):
        members = list(group)
        yield members, chain_halo(members) if local else None


@contextmanager
def numbered_from(first: int) -> Iterator[None]:
    """Name operations in errors by their place in the whole chain: the part that runs inside begins at ``first``."""
    try:
        yield
    except ImageError as error:
        label, colon, text = str(error).partition(":")
        renumbered = _LABEL.sub(lambda found: f"operation {int(found[1]) + first - 1} ", label)
        raise ImageError(error.reason, renumbered + colon + text) from error
