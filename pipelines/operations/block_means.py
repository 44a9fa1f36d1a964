"""Pictures made smaller by a power of two in one walk: means of blocks of pixels.

Imports numba: import this module inside functions only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.kernel_compiler import compiled
from pipelines.operations.planes import flat
from pipelines.operations.registry import Image

MOST_HALVINGS = 4
"""The sum of 16 x 16 bytes fits in 16 bits."""
_SUMS: dict[str, Any] = {"uint8": np.uint16, "uint16": np.uint32, "float32": np.float32}

Samples = NDArray[Any]


def block_means(image: Image, halvings: int) -> Image:
    """(M, N) or (M, N, 3) halved up to ``MOST_HALVINGS`` times; integers are rounded once, up at a half.

    Rows and columns at the end that fill no block count for nothing.
    """
    side = 1 << halvings
    rows, columns = image.shape[0] // side, image.shape[1] // side
    source = flat(image).reshape(image.shape[0], -1)
    result = np.empty((rows, columns, *image.shape[2:]), image.dtype)
    sums = np.empty((2, source.shape[1]), _SUMS[image.dtype.name])
    half = np.float32(0 if image.dtype.kind == "f" else 0.5)
    _block_means(source, source.shape[1] // image.shape[1], halvings, half, sums, result.reshape(rows, -1))
    return result


@compiled
def _block_means(
    source: Samples, channels: int, halvings: int, half: np.float32, sums: Samples, result: Samples
) -> None:
    side, columns = 1 << halvings, source.shape[1] // channels
    share = np.float32(1) / np.float32(side * side)
    for row in range(result.shape[0]):
        for line in range(row * side, (row + 1) * side, 2):
            _add_two(source[line], source[line + 1], line == row * side, sums[0])
        for halving in range(halvings):
            count = (columns >> (halving + 1)) * channels
            _add_neighbours(sums[halving % 2], channels, sums[(halving + 1) % 2][:count])
        _mean(sums[halvings % 2], share, half, result[row])


@compiled
def _add_two(a: Samples, b: Samples, is_first: bool, sums: Samples) -> None:
    if is_first:
        for i in range(sums.size):
            sums[i] = a[i] + b[i]
    else:
        for i in range(sums.size):
            sums[i] += a[i] + b[i]


@compiled
def _add_neighbours(sums: Samples, channels: int, target: Samples) -> None:
    if channels == 1:
        for i in range(target.size):
            target[i] = sums[2 * i] + sums[2 * i + 1]
        return
    for i in range(target.size // 3):
        target[3 * i] = sums[6 * i] + sums[6 * i + 3]
        target[3 * i + 1] = sums[6 * i + 1] + sums[6 * i + 4]
        target[3 * i + 2] = sums[6 * i + 2] + sums[6 * i + 5]


@compiled
def _mean(sums: Samples, share: np.float32, half: np.float32, row: Samples) -> None:
    for i in range(row.size):
        row[i] = np.float32(sums[i]) * share + half
