"""The curve is scipy's, to the bit, and doesn't take scipy to compute."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy.interpolate import PchipInterpolator

from pipelines.operations.monotone_curve import monotone_curve

SHARES = st.one_of(st.integers(0, 10).map(lambda tenths: tenths / 10), st.floats(0, 1, width=32))
POINTS = st.lists(st.tuples(SHARES, SHARES), min_size=2, max_size=8, unique_by=lambda point: point[0]).map(sorted)


@given(POINTS)
def test_it_is_pchip_to_the_bit(points: list[tuple[float, float]]) -> None:
    x, y = np.array(points, np.float64).T
    at = np.clip(np.concatenate([np.linspace(x[0], x[-1], 257), x]), x[0], x[-1])
    with np.errstate(all="ignore"):  # points that lie as close as float allows
        expected = PchipInterpolator(x, y)(at)
        assert_array_equal(monotone_curve(x, y, at), expected)


def test_a_worker_that_bends_a_curve_does_not_import_scipy() -> None:
    code = (
        "import sys, numpy as np; from pipelines.operations.tone import curves; "
        "curves(np.zeros((2, 2, 3), np.uint8), points=((0, 0), (0.3, 0.5), (1, 1))); "
        "assert not [name for name in sys.modules if name.startswith('scipy')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
