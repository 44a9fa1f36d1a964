"""What the kernels of operations and analyses are made of: fused arithmetic, look-ups four at a time, planes."""

# mypy: disable-error-code="untyped-decorator"
from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from pipelines.operations.compiled_arithmetic import fused, plus_high_product
from pipelines.operations.lookup_kernels import _look_up_fours, floats_of_pairs, look_up_bytes, look_up_floats
from pipelines.operations.planes import flat, put_together, rgb_planes, take_apart


@numba.njit
def fused_of(a: NDArray[Any], b: NDArray[Any], c: NDArray[Any], result: NDArray[Any]) -> None:
    for i in range(result.size):
        result[i] = fused(a[i], b[i], c[i])


@numba.njit
def high_products_of(total: np.uint16, a: NDArray[Any], b: NDArray[Any], result: NDArray[Any]) -> None:
    for i in range(result.size):
        result[i] = plus_high_product(total, a[i], b[i])


def test_a_fused_product_is_rounded_once() -> None:
    random = np.random.default_rng(11)
    a, b = random.normal(size=(2, 4096)).astype(np.float32)
    c = -(a * b)  # what is left is the product's rounding error, which two roundings would lose
    result = np.empty_like(a)
    fused_of(a, b, c, result)
    exact = a.astype(np.float64) * b.astype(np.float64) + c
    assert_array_equal(result, exact.astype(np.float32))
    assert np.count_nonzero(result) > 4000


@pytest.mark.parametrize("size", [1, 31, 65536])
def test_high_products_are_those_of_32_bits(size: int) -> None:
    random = np.random.default_rng(12)
    a, b = random.integers(0, 65536, (2, size)).astype(np.uint16)
    a[0] = b[0] = 65535
    result = np.empty_like(a)
    high_products_of(np.uint16(1), a, b, result)
    assert_array_equal(result, (a.astype(np.uint32) * b >> 16) + 1)


@given(hnp.arrays(np.uint8, st.integers(0, 200)), st.integers(0, 2**32 - 1))
def test_bytes_are_looked_up_together_as_one_is(samples: NDArray[np.uint8], seed: int) -> None:
    table = np.random.default_rng(seed).integers(0, 256, 256).astype(np.uint8)
    result = np.zeros(samples.size, np.uint8)
    look_up_bytes(samples, table, result)
    assert_array_equal(result, table[samples])
    fours = samples[: samples.size // 4 * 4].view(np.uint32)  # as where no processor looks up 64
    result = np.zeros(fours.size, np.uint32)
    _look_up_fours(fours, table, result)
    assert_array_equal(result.view(np.uint8), table[fours.view(np.uint8)])


@given(hnp.arrays(np.uint8, st.integers(0, 9).map(lambda fours: 4 * fours)), st.integers(0, 2**32 - 1))
def test_floats_of_four_bytes_are_looked_up_as_of_one(samples: NDArray[np.uint8], seed: int) -> None:
    random = np.random.default_rng(seed)
    values = random.normal(size=256).astype(np.float32)
    floats = np.empty(samples.size, np.float32)
    look_up_floats(samples.view(np.uint32), floats_of_pairs(values), floats.view(np.uint64))
    assert_array_equal(floats, values[samples])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 5, 3), (67, 129, 3), (3, 5, 4)])
def test_planes_are_the_channels(shape: tuple[int, ...], dtype: str) -> None:
    image = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    for view in (image, image[:, ::-1]):
        planes = rgb_planes(view)
        for channel, plane in enumerate(planes):
            assert_array_equal(plane, view[..., channel].ravel())
        pixels = np.empty((shape[0] * shape[1], 3), dtype)
        put_together(*planes, pixels.reshape(-1))
        assert_array_equal(pixels, view[..., :3].reshape(-1, 3))


def test_taking_apart_leaves_the_pixels_beyond_alone() -> None:
    samples = flat(np.arange(30, dtype=np.uint8).reshape(2, 5, 3))
    assert not samples.flags.writeable
    planes = np.zeros((3, 4), np.uint8)
    take_apart(samples[6:], *planes)
    assert_array_equal(planes, np.arange(6, 18).reshape(4, 3).T)
