"""Sums over rows of float32 samples, for filters that weigh whole neighbourhoods: denoising and the bilateral filter.

The first row says how long a sum is; those that it is added to may be longer. Imports numba: import this module inside
functions only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.kernel_compiler import compiled

Row = NDArray[np.float32]


@compiled
def add_squares(here: Row, there: Row, total: Row) -> None:
    for i in range(here.size):
        difference = here[i] - there[i]
        total[i] += difference * difference


@compiled
def add(values: Row, total: Row) -> None:
    for i in range(values.size):
        total[i] += values[i]


@compiled
def add_product(values: Row, weights: Row, total: Row) -> None:
    for i in range(values.size):
        total[i] += values[i] * weights[i]
