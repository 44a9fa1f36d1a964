"""Means of blocks, against NumPy's."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipelines.operations.block_means import MOST_HALVINGS, block_means
from tests.strategies import images


@settings(deadline=None)
@given(images(channels=(1, 3), min_side=16, max_side=50), st.integers(1, MOST_HALVINGS))
def test_means_are_those_of_numpy_rounded_once(image: NDArray[Any], halvings: int) -> None:
    side = 1 << halvings
    rows, columns = image.shape[0] // side, image.shape[1] // side
    blocks = image[: rows * side, : columns * side].reshape(rows, side, columns, side, *image.shape[2:])
    means = blocks.astype(np.float64).mean(axis=(1, 3))
    given = block_means(image, halvings)
    assert given.dtype == image.dtype
    if image.dtype.kind == "f":
        np.testing.assert_allclose(given, means, atol=1e-6)
    else:
        np.testing.assert_array_equal(given, np.floor(means + 0.5))


def test_the_brightest_picture_stays_so() -> None:
    for dtype in (np.uint8, np.uint16):
        white = np.full((32, 32, 3), np.iinfo(dtype).max, dtype)
        assert (block_means(white, MOST_HALVINGS) == np.iinfo(dtype).max).all()
