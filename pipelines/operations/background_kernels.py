"""The inner loop of background.py: a ball that rolls below a surface, on float32 planes.

Imports numba: import this module inside functions only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.kernel_compiler import compiled

Plane = NDArray[np.float32]


@compiled
def under_ball(padded: Plane, rises: Plane, result: Plane) -> None:
    """The least of (value + rise) over the ball's pixels: how high its top gets at each place.

    ``padded`` is larger than ``result`` by half of ``rises`` on each side, with infinity there; ``rises`` is infinite
    outside the ball. A NaN counts for nothing.
    """
    rows, columns = result.shape
    radius = rises.shape[0] // 2
    for row in range(rows):
        lowest = result[row]
        lowest[:] = np.inf
        for down in range(2 * radius + 1):
            line = padded[row + down]
            _lower(line[radius : radius + columns], line[radius : radius + columns], rises[down, radius], lowest)
            for right in range(1, radius + 1):
                rise = rises[down, radius + right]
                if rise == np.inf:
                    break
                before, after = radius - right, radius + right
                _lower(line[before : before + columns], line[after : after + columns], rise, lowest)


@compiled
def _lower(before: Plane, after: Plane, rise: np.float32, lowest: Plane) -> None:
    for i in range(lowest.size):
        here = before[i] + rise
        there = after[i] + rise
        least = here if here < lowest[i] else lowest[i]
        lowest[i] = there if there < least else least
