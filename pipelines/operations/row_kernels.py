"""Sums over rows of float32 samples, for filters that weigh whole neighbourhoods: denoising and the bilateral filter.

The first row says how long a sum is; those that it is added to may be longer. Imports numba: import this module inside
functions only.
"""

# mypy: disable-error-code="untyped-decorator"
from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

Row = NDArray[np.float32]


@numba.njit(cache=True, nogil=True)
def add_squares(here: Row, there: Row, total: Row) -> None:
    for i in range(here.size):
        difference = here[i] - there[i]
        total[i] += difference * difference


@numba.njit(cache=True, nogil=True)
def add(values: Row, total: Row) -> None:
    for i in range(values.size):
        total[i] += values[i]


@numba.njit(cache=True, nogil=True)
def add_product(values: Row, weights: Row, total: Row) -> None:
    for i in range(values.size):
        total[i] += values[i] * weights[i]
