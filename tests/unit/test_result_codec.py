"""Results as bytes and back: what comes out equals what went in, types and shapes of arrays included."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipelines.result_codec import pack_results, unpack_results

NUMBERS = st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False), st.text())
ARRAYS = hnp.arrays(
    st.sampled_from([np.dtype(name) for name in ("uint8", "uint32", "int64", "float64", "bool")]),
    hnp.array_shapes(min_dims=1, max_dims=2, min_side=0, max_side=4),
    elements={"allow_nan": False},
)
VALUES = st.recursive(
    NUMBERS | ARRAYS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


def same(left: object, right: object) -> bool:
    if isinstance(left, np.ndarray):
        return isinstance(right, np.ndarray) and left.dtype == right.dtype and bool(np.array_equal(left, right))
    if isinstance(left, dict):
        return isinstance(right, dict) and left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    if isinstance(left, list):
        return isinstance(right, list) and len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and left == right


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(max_size=8), st.dictionaries(st.text(max_size=8), VALUES, max_size=4), max_size=3))
def test_what_was_packed_comes_back(results: dict[str, dict[str, object]]) -> None:
    assert same(unpack_results(pack_results(results)), results)


def test_numpys_numbers_come_back_as_pythons() -> None:
    found = unpack_results(pack_results({"a": {"n": np.uint32(7), "x": np.float64(0.5), "pair": (1, np.int64(2))}}))
    assert found == {"a": {"n": 7, "x": 0.5, "pair": [1, 2]}}
    assert type(found["a"]["n"]) is int


def test_not_a_number_survives() -> None:
    assert np.isnan(unpack_results(pack_results({"a": {"x": float("nan")}}))["a"]["x"])


def test_objects_are_refused_rather_than_pickled() -> None:
    with pytest.raises((TypeError, ValueError)):
        pack_results({"a": {"x": np.array([object()], object)}})
