"""Running a chain piece by piece: bands that stay in the processor's cache, or tiles that keep memory small.

Each piece is cut out with the surroundings that the chain needs (``chain_halo``), so the pixels are those of the whole
image: exactly for integers, within 1e-6 for float32. Chains with an operation that needs the whole image can't be cut;
``segments`` finds the parts of a chain that can.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np

from pipelines.models import ImageOperation
from pipelines.operations.chain import apply_operations, chain_halo
from pipelines.operations.registry import Image

Operations = Sequence[ImageOperation]


def apply_by_pieces(image: Image, operations: Operations, *, halo: int, rows: int, columns: int) -> Image:
    """The chain on pieces of ``rows`` x ``columns`` pixels, put together; ``halo`` is the chain's.

    Parameters
    ----------
    image
        (M, N), (M, N, 3) or (M, N, 4), at least one pixel.
    """
    result: Image | None = None
    for top in range(0, image.shape[0], rows):
        for left in range(0, image.shape[1], columns):
            above, before = min(top, halo), min(left, halo)
            cut = image[top - above : top + rows + halo, left - before : left + columns + halo]
            done = apply_operations(cut, operations).pixels[above : above + rows, before : before + columns]
            if result is None:
                result = np.empty((*image.shape[:2], *done.shape[2:]), done.dtype)
            result[top : top + rows, left : left + columns] = done
    assert result is not None
    return result


def segments(operations: Operations) -> Iterator[tuple[Operations, int | None]]:
    """The longest runs of operations that can be cut, with their halo; between them the others, with None."""
    for local, group in groupby(operations, key=lambda operation: chain_halo([operation]) is not None):
        members = list(group)
        yield members, chain_halo(members) if local else None
