"""Look-ups of bytes, four at a time: one load for four samples, and one store for as many results as it holds.

Loads and stores are what bounds a look-up; shifting and joining costs nothing beside them. Words are little-endian, as
on all targets of numba, which this module imports: import it inside functions only.
"""

# mypy: disable-error-code="untyped-decorator"
from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

Fours = NDArray[np.uint32]


def bytes_of_fours(table: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """256 bytes as the first, second, third and fourth of a word: for ``look_up_bytes``."""
    return np.stack([table.astype(np.uint32) << np.uint32(8 * place) for place in range(4)])


@numba.njit(cache=True, nogil=True)
def look_up_bytes(fours: Fours, tables: NDArray[np.uint32], result: Fours) -> None:
    """The byte of the table for each byte; ``tables``: ``bytes_of_fours``."""
    first, second, third, fourth = tables[0], tables[1], tables[2], tables[3]
    byte = np.uint32(255)
    for i in range(fours.size):
        four = fours[i]
        low = first[four & byte] | second[(four >> np.uint32(8)) & byte]
        result[i] = low | third[(four >> np.uint32(16)) & byte] | fourth[four >> np.uint32(24)]


def floats_of_pairs(table: NDArray[np.float32]) -> NDArray[np.uint64]:
    """256 floats as the first and as the second of two neighbours: for ``look_up_floats``."""
    bits = table.view(np.uint32).astype(np.uint64)
    return np.stack([bits, bits << np.uint64(32)])


@numba.njit(cache=True, nogil=True)
def look_up_floats(fours: Fours, tables: NDArray[np.uint64], pairs: NDArray[np.uint64]) -> None:
    """The float of the table for each byte, two in a word; ``tables``: ``floats_of_pairs``."""
    first, second, byte = tables[0], tables[1], np.uint32(255)
    for i in range(fours.size):
        four = fours[i]
        pairs[2 * i] = first[four & byte] | second[(four >> np.uint32(8)) & byte]
        pairs[2 * i + 1] = first[(four >> np.uint32(16)) & byte] | second[four >> np.uint32(24)]
