"""What all inputs take, told from a few of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayjobs.run.plan_sample import TIMED, picked_by_size, seconds_of_all

SMALL, LARGE = 40_000, 4_000_000


def told(sizes: list[int], seconds: list[float]) -> float | None:
    return seconds_of_all(sizes, {n: seconds[n] for n in picked_by_size(sizes)})


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=60))
def test_places_are_of_what_has_a_size(sizes: list[int]) -> None:
    picked = picked_by_size(sizes)
    assert len(picked) == (TIMED if any(sizes) else 0)
    assert all(sizes[n] > 0 for n in picked)
    assert picked == sorted(picked, key=lambda n: sizes[n])


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=60), st.floats(1e-9, 1e-6))
def test_a_time_that_goes_by_the_size_is_told_exactly(sizes: list[int], rate: float) -> None:
    assert told(sizes, [rate * size for size in sizes]) == pytest.approx(rate * sum(sizes))


@pytest.mark.parametrize(("small", "large"), [(99, 1), (90, 10), (50, 50), (3, 97), (1000, 2)])
@pytest.mark.parametrize("fixed", [0.0, 0.002, 0.005])
def test_the_time_of_a_few_large_ones_among_small_ones_is_told_within_a_factor_of_two(
    small: int, large: int, fixed: float
) -> None:
    """Wherever they lie in the list; each image takes something beside its bytes."""
    sizes = [SMALL] * small + [LARGE] * large
    np.random.default_rng(small).shuffle(sizes)
    seconds = [fixed + 7e-8 * size for size in sizes]
    found = told(sizes, seconds)
    assert found is not None
    assert 0.5 < found / sum(seconds) < 2


def test_without_a_picked_one_that_was_done_nothing_is_told() -> None:
    assert seconds_of_all([5, 5, 5], {}) is None
    assert seconds_of_all([0, 0], {0: 1.0}) is None
