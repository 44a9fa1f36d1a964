"""Look-ups of bytes, 64 at a time where the processor can (AVX-512 VBMI), else four at a time.

One load for four samples, and one store for as many results as it holds: loads and stores are what bounds a look-up;
shifting and joining costs nothing beside them. Words are little-endian, as
on all targets of numba, which this module imports: import it inside functions only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.kernel_compiler import compiled
from pipelines.operations.compiled_arithmetic import can_look_up_64, look_up_64

Bytes = NDArray[np.uint8]
Fours = NDArray[np.uint32]


@compiled
def look_up_bytes(samples: Bytes, table: Bytes, result: Bytes) -> None:
    """The byte of the table for each byte."""
    start = 0
    if can_look_up_64():
        start = samples.size // 64 * 64
        for place in range(0, start, 64):
            look_up_64(table, samples, place, result)
    fours, rest = samples[start : samples.size // 4 * 4].view(np.uint32), samples.size // 4 * 4
    _look_up_fours(fours, table, result[start:rest].view(np.uint32))
    for i in range(rest, samples.size):
        result[i] = table[samples[i]]


@compiled
def _look_up_fours(fours: Fours, table: Bytes, result: Fours) -> None:
    words = np.empty((4, 256), np.uint32)
    first, second, third, fourth = words[0], words[1], words[2], words[3]
    for i in range(256):
        level = np.uint32(table[i])
        first[i], second[i] = level, level << np.uint32(8)
        third[i], fourth[i] = level << np.uint32(16), level << np.uint32(24)
    byte = np.uint32(255)
    for i in range(fours.size):
        four = fours[i]
        low = first[four & byte] | second[(four >> np.uint32(8)) & byte]
        result[i] = low | third[(four >> np.uint32(16)) & byte] | fourth[four >> np.uint32(24)]


def floats_of_pairs(table: NDArray[np.float32]) -> NDArray[np.uint64]:
    """256 floats as the first and as the second of two neighbours: for ``look_up_floats``."""
    bits = table.view(np.uint32).astype(np.uint64)
    return np.stack([bits, bits << np.uint64(32)])


@compiled
def look_up_floats(fours: Fours, tables: NDArray[np.uint64], pairs: NDArray[np.uint64]) -> None:
    """The float of the table for each byte, two in a word; ``tables``: ``floats_of_pairs``."""
    first, second, byte = tables[0], tables[1], np.uint32(255)
    for i in range(fours.size):
        four = fours[i]
        pairs[2 * i] = first[four & byte] | second[(four >> np.uint32(8)) & byte]
        pairs[2 * i + 1] = first[(four >> np.uint32(16)) & byte] | second[four >> np.uint32(24)]
