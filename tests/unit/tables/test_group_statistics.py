"""Statistics per group: the numbers are those of pandas' groupby, whatever the tables hold and however they are cut."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.tables import group_statistics
from pipelines.tables.group_statistics import QUANTILES, InputGroups, MeasuredTable, groups_schema, is_number

KEYS = {
    pa.string(): st.sampled_from(["", "A01", "a01", "ä", "=1+1", "🧪"]),
    pa.int64(): st.sampled_from([0, 1, -1, 2**62]),
    pa.float64(): st.sampled_from([0.0, -0.0, 0.1, float("inf"), float("nan")]),
    pa.bool_(): st.booleans(),
    pa.date32(): st.sampled_from([datetime.date(1969, 7, 20), datetime.date(2026, 1, 1)]),
}
NUMBERS = {
    pa.float64(): st.floats(-1e60, 1e60) | st.sampled_from([float("nan"), float("inf"), -float("inf")]),
    pa.int64(): st.integers(-(2**53), 2**53),
    pa.uint32(): st.integers(0, 2**32 - 1),
}


@st.composite
def tables(draw: st.DrawFn) -> tuple[pa.Table, int, list[int]]:
    """Rows, how many of their first columns they are grouped by, and where the rows are cut."""
    keys = draw(st.lists(st.sampled_from(list(KEYS)), min_size=1, max_size=2))
    numbers = draw(st.lists(st.sampled_from(list(NUMBERS)), min_size=1, max_size=3))
    rows = draw(st.integers(0, 40))
    columns = [
        pa.array(draw(st.lists(st.none() | pool[kind], min_size=rows, max_size=rows)), kind)
        for pool, kinds in ((KEYS, keys), (NUMBERS, numbers))
        for kind in kinds
    ]
    names = [f"key{index}" for index in range(len(keys))] + [f"x{index}" for index in range(len(numbers))]
    cuts = sorted(draw(st.lists(st.integers(0, rows), max_size=3)))
    return pa.table(columns, names=names), len(keys), cuts


def batches(table: pa.Table, cuts: Sequence[int]) -> list[pa.RecordBatch]:
    edges = [0, *cuts, table.num_rows]
    pieces = [table.slice(low, high - low) for low, high in pairwise(edges)]
    return [batch for piece in pieces for batch in piece.combine_chunks().to_batches()]


def statistics(table: pa.Table, keys: int, cuts: Sequence[int] = (), failed: Iterable[bool] = ()) -> pa.Table:
    """The table ``groups`` of rows that stand for inputs; failed ones are counted alone."""
    fields = list(table.schema)
    groups = InputGroups(fields[:keys])
    flags = np.array(list(failed) or [False] * table.num_rows, bool)
    first = 0
    for batch in batches(table, cuts):
        groups.count_inputs(batch.columns[:keys], flags[first : first + batch.num_rows])
        first += batch.num_rows
    done = table.filter(pa.array(~flags))
    measured = MeasuredTable(
        name="analyses",
        fields=tuple(field for field in fields[keys:] if is_number(field)),
        read=lambda names: (batch.select(names) for batch in batches(done, [cut for cut in cuts if cut < len(done)])),
    )
    schema = groups_schema(fields[:keys])
    return pa.Table.from_batches(groups.statistics([measured], schema), schema)


def by_pandas(table: pa.Table, keys: int) -> pd.DataFrame:
    names = table.column_names
    frame = table.to_pandas(integer_object_nulls=True)
    for name, kind in zip(names[:keys], table.schema.types[:keys], strict=True):
        if pa.types.is_floating(kind):
            frame[name] = frame[name] + 0.0
    parts = []
    for name in names[keys:]:
        frame[name] = pd.to_numeric(frame[name]).astype(float)
        grouped = frame.groupby(names[:keys], dropna=False, sort=False)[name]
        part = grouped.agg(["count", "mean", "std", "min", "median", "max"])
        for quantile, share in QUANTILES.items():
            part[quantile] = grouped.quantile(share)
        part["column"] = name
        parts.append(part.rename(columns={"min": "minimum", "max": "maximum"}).reset_index())
    return pd.concat(parts, ignore_index=True)


def as_key(value: Any) -> Any:
    return None if pd.isna(value) else value


@given(tables())
@settings(deadline=None)
def test_the_numbers_are_those_of_pandas_groupby(drawn: tuple[pa.Table, int, list[int]]) -> None:
    table, keys, cuts = drawn
    found = statistics(table, keys, cuts)
    if not table.num_rows:
        assert not found.num_rows
        return
    names = [*table.column_names[:keys], "column"]
    theirs = {tuple(as_key(row[name]) for name in names): row for row in by_pandas(table, keys).to_dict("records")}
    assert found.num_rows == len(theirs)
    for row in found.to_pylist():
        expected = theirs[tuple(row[name] for name in names)]
        assert row["count"] == expected["count"]
        size = max(abs(expected["minimum"]), abs(expected["maximum"]))
        slack = 1e-13 * size if np.isfinite(size) else 0.0  # what rounding leaves of sums that cancel out
        for name in ("mean", "std", "minimum", "median", "maximum", *QUANTILES):
            number = np.nan if row[name] is None else row[name]
            np.testing.assert_allclose(number, expected[name], rtol=1e-9, atol=slack, err_msg=f"{name} of {row}")


@given(tables())
@settings(deadline=None)
def test_groups_stand_in_the_order_of_their_values(drawn: tuple[pa.Table, int, list[int]]) -> None:
    table, keys, cuts = drawn
    found = statistics(table, keys, cuts)
    first = found.filter(pc.equal(found["column"], "x0")) if found.num_rows else found
    rows = [tuple(row.values()) for row in first.select(table.column_names[:keys]).to_pylist()]
    assert len(set(rows)) == len(rows)
    for one, other in pairwise(rows):
        left, right = next((a, b) for a, b in zip(one, other, strict=True) if a != b)
        assert left is not None
        assert right is None or left < right


@given(tables(), st.integers(1, 200))
@settings(deadline=None)
def test_neither_cuts_nor_memory_change_a_bit(drawn: tuple[pa.Table, int, list[int]], block_bytes: int) -> None:
    table, keys, cuts = drawn
    whole = statistics(table, keys)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(group_statistics, "BLOCK_BYTES", block_bytes)
        cut = statistics(table, keys, cuts)
    assert repr(cut.to_pylist()) == repr(whole.to_pylist())  # NaN isn't equal to itself


def test_known_numbers_of_a_plate() -> None:
    table = pa.table({"dose": [2.0, 1.0, 2.0, None, 2.0, 3.0], "count": [10, 7, 20, 5, 40, None]})
    found = statistics(table, 1, failed=[False, False, False, False, True, True]).to_pylist()
    shown = [(row["dose"], row["count"], row["failed"], row["mean"], row["std"], row["q25"]) for row in found]
    assert shown == [
        (1.0, 1, 0, 7.0, None, 7.0),
        (2.0, 2, 1, 15.0, pytest.approx(50**0.5), 12.5),
        (3.0, 0, 1, None, None, None),
        (None, 1, 0, 5.0, None, 5.0),
    ]


def test_large_numbers_near_each_other_keep_their_spread() -> None:
    values = 1e9 + np.arange(1000) / 1000
    (row,) = statistics(pa.table({"plate": ["p"] * 1000, "x": values}), 1).to_pylist()
    assert row["std"] == pytest.approx(pd.Series(values).std(), rel=1e-9)
    assert row["mean"] == pytest.approx(1e9 + 0.4995, rel=1e-15)


def test_every_column_says_what_it_is() -> None:
    schema = groups_schema([])
    assert all(field.metadata[b"label"] and field.metadata[b"meaning"].endswith(b".") for field in schema)
