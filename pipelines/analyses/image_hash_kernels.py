"""The inner loops of image_hash.py: which of many 64-bit hashes are linked by small differences.

Imports numba: import this module inside functions only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.kernel_compiler import compiled

BITS = 64

Hashes = NDArray[np.uint64]
Parents = NDArray[np.int64]


def linked(hashes: Hashes, max_distance: int) -> Parents:
    """For each hash the place of its group's first one; hashes must be distinct."""
    parents = np.arange(hashes.size, dtype=np.int64)
    edges = np.linspace(0, BITS, max_distance + 2).astype(int)
    if max_distance > 0:
        for first, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            keys = (hashes >> np.uint64(first)) & np.uint64((1 << (end - first)) - 1)
            order = np.argsort(keys, kind="stable")
            _link_alike(hashes[order], keys[order], order, max_distance, parents)
    return np.asarray(_roots(parents))


@compiled
def _link_alike(hashes: Hashes, keys: Hashes, places: Parents, limit: int, parents: Parents) -> None:
    """Link all near pairs among neighbours with one key."""
    for i in range(hashes.size):
        j = i + 1
        while j < hashes.size and keys[j] == keys[i]:
            if _bits(hashes[i] ^ hashes[j]) <= limit:
                one, other = _root(parents, places[i]), _root(parents, places[j])
                if one < other:
                    parents[other] = one
                elif other < one:
                    parents[one] = other
            j += 1


@compiled(inline="always")
def _bits(value: np.uint64) -> np.int64:
    """How many bits are set (Warren, Hacker's Delight)."""
    value -= (value >> np.uint64(1)) & np.uint64(0x5555555555555555)
    value = (value & np.uint64(0x3333333333333333)) + ((value >> np.uint64(2)) & np.uint64(0x3333333333333333))
    value = (value + (value >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((value * np.uint64(0x0101010101010101)) >> np.uint64(56))


@compiled
def _root(parents: Parents, place: int) -> int:
    while parents[place] != place:
        parents[place] = parents[parents[place]]
        place = parents[place]
    return place


@compiled
def _roots(parents: Parents) -> Parents:
    roots = np.empty(parents.size, np.int64)
    for place in range(parents.size):
        roots[place] = _root(parents, place)
    return roots
