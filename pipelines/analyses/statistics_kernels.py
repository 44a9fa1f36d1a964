"""The inner loop of the statistics of floats: sums without rounding, and counts by value.

Imports numba: import this module inside functions only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.kernel_compiler import compiled

RANKS = 1 << 24
"""Bins by value: half of them for each sign, 65,536 // 2 within every doubling."""
ZERO_RANK = RANKS // 2
MANTISSA_BITS = 24
EXPONENTS = 256


@compiled
def add_floats(
    samples: NDArray[np.float32], ranks: NDArray[np.uint32], sums: NDArray[np.int64], special: NDArray[np.int64]
) -> None:
    """Add samples to the counts of a channel.

    ``ranks``: how often each value occurs, cut to its 16 leading significant bits; rising with the value.
    ``sums`` (256, 3): per exponent, the sum of the signed 24-bit mantissas, and the sum of their squares in a high and
    a low half of 24 bits: integers, so that neither rounding nor order matters.
    ``special``: counts of NaN and infinities.
    """
    bits = samples.view(np.uint32)
    for i in range(bits.size):
        word = np.int64(bits[i])
        size = word & 0x7FFFFFFF
        exponent = size >> 23
        if exponent == 255:
            special[0 if size > 0x7F800000 else 1] += 1
            continue
        mantissa = size & 0x7FFFFF
        if exponent > 0:
            mantissa |= 0x800000
        square = mantissa * mantissa
        if size in (word, 0):  # -0 is 0
            ranks[ZERO_RANK + (size >> 8)] += 1
            sums[exponent, 0] += mantissa
        else:
            ranks[ZERO_RANK - 1 - (size >> 8)] += 1
            sums[exponent, 0] -= mantissa
        sums[exponent, 1] += square >> MANTISSA_BITS
        sums[exponent, 2] += square & 0xFFFFFF
