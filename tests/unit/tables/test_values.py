"""Columns as numpy's numbers: those of Arrow, whatever their type, wherever they begin."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipelines.tables import numbers_of


@given(
    st.lists(st.none() | st.integers(0, 100), max_size=70),
    st.sampled_from([pa.float64(), pa.float32(), pa.int8(), pa.uint16(), pa.int64(), pa.uint64()]),
    st.integers(0, 20),
    st.integers(0, 70),
)
def test_numbers_are_those_of_the_column_with_nan_for_a_null(
    values: list[int | None], kind: pa.DataType, first: int, count: int
) -> None:
    column = pa.array(values, kind)
    some = column.slice(first, count)
    found = numbers_of(some)
    assert found.dtype == np.float64
    expected = [np.nan if value is None else float(value) for value in values[first : first + count]]
    np.testing.assert_array_equal(found, expected)
    found[:] = 0  # its own
    assert some.to_pylist() == column.to_pylist()[first : first + count]
