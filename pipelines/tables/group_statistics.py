"""Statistics per group of inputs: count, mean, spread and quantiles of every number, in rows of the table ``groups``.

Covers which group a row belongs to, the numbers, and their order. Numbers are those of pandas' ``groupby`` with
``dropna=False``. Does not know where rows come from, nor files. Memory holds a bounded block of columns, or one column
if that is more: 8 bytes per row, and some 40 bytes per row of one table for the groups and the order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.tables.schema import described, described_schema
from pipelines.tables.values import numbers_of

QUANTILES: Mapping[str, float] = {"q05": 0.05, "q25": 0.25, "q75": 0.75, "q95": 0.95}
"""Interpolated linearly between the two nearest values (pandas' default, Hyndman and Fan's definition 7)."""
BLOCK_BYTES = 64 * 2**20
"""Of numbers that are read at once."""
_NUMBERS: Mapping[str, str] = {
    "mean": "Arithmetic mean.",
    "std": "Standard deviation of a sample (divided by count - 1); nothing for a single value.",
    "minimum": "Smallest value.",
    "q05": "5 % quantile.",
    "q25": "25 % quantile.",
    "median": "Median.",
    "q75": "75 % quantile.",
    "q95": "95 % quantile.",
    "maximum": "Largest value.",
}
_LABELS = {"std": "Standard deviation", **{name: f"{share:.0%} quantile" for name, share in QUANTILES.items()}}
OWN_COLUMNS = ("table", "column", "label", "unit", "count", "failed", *_NUMBERS)
"""What no column that inputs are grouped by can be called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredTable:
    """A table whose numbers are grouped."""

    name: str
    fields: tuple[pa.Field, ...]
    """The columns of numbers, in the order of the result."""
    read: Callable[[Sequence[str]], Iterable[pa.RecordBatch]]
    """Names of columns -> all rows, in the same order at every call."""


def is_number(field: pa.Field) -> bool:
    """Whether a column has statistics: single numbers have, truth values and arrays haven't."""
    return bool(pa.types.is_integer(field.type) or pa.types.is_floating(field.type))


def groups_schema(by: Sequence[pa.Field], metadata: Mapping[str, str] | None = None) -> pa.Schema:
    """The schema of ``groups``: the columns of the inputs, what was measured, and the statistics of it."""
    texts = {
        "table": ("Table", "Table that the numbers stand in: analyses, or one with a row per object."),
        "column": ("Column", "Column of that table."),
        "label": ("Label", "What the column is called."),
        "unit": ("Unit", "Unit of its numbers, and of the statistics."),
    }
    counts = {
        "count": ("Count", "Values: rows of the group that have a number in the column."),
        "failed": ("Failed", "Inputs of the group that failed, and have no row."),
    }
    fields = [*by]
    fields += [described(name, pa.string(), label=label, meaning=text) for name, (label, text) in texts.items()]
    for name, (label, text) in counts.items():
        fields.append(described(name, pa.int64(), label=label, meaning=text, unit="1"))
    fields += [
        described(name, pa.float64(), label=_LABELS.get(name, name.capitalize()), meaning=text)
        for name, text in _NUMBERS.items()
    ]
    return described_schema(fields, metadata)


class InputGroups:
    """Numbers the groups in the order in which they come up, and counts the failed inputs of each."""

    def __init__(self, by: Sequence[pa.Field]) -> None:
        self._by = tuple(by)
        self._codes: dict[tuple[Any, ...], int] = {}
        self._failed = np.zeros(0, np.int64)

    @property
    def names(self) -> list[str]:
        """The columns that inputs are grouped by."""
        return [field.name for field in self._by]

    def codes_of(self, columns: Sequence[pa.Array]) -> NDArray[np.int64]:
        """The number of each row's group; ``columns`` are those that inputs are grouped by, in order."""
        coded = [column.dictionary_encode(null_encoding="encode") for column in columns]
        places = np.stack([each.indices.to_numpy().astype(np.int64) for each in coded], axis=1)
        found, inverse = np.unique(places, axis=0, return_inverse=True)
        values = [[_key(value) for value in each.dictionary.to_pylist()] for each in coded]
        keys = [tuple(each[place] for each, place in zip(values, row, strict=True)) for row in found.tolist()]
        codes = np.array([self._codes.setdefault(key, len(self._codes)) for key in keys], np.int64)
        return codes[inverse.reshape(-1)]

    def count_inputs(self, columns: Sequence[pa.Array], failed: NDArray[np.bool_]) -> None:
        """Take in done and failed inputs."""
        codes = self.codes_of(columns)
        counts = np.bincount(codes[failed], minlength=len(self._codes))
        counts[: self._failed.size] += self._failed
        self._failed = counts

    def statistics(self, tables: Iterable[MeasuredTable], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """The rows of ``groups``: table by table, column by column, the groups of each by value with nulls last.

        Every group is there for every column, those whose inputs all failed as well. Of their rows ``count`` is 0.
        """
        keys = sorted(self._codes, key=lambda key: [(value is None, 0 if value is None else value) for value in key])
        ranks = np.empty(len(keys), np.int64)
        ranks[[self._codes[key] for key in keys]] = np.arange(len(keys))
        failed = np.zeros(len(keys), np.int64)
        failed[ranks[: self._failed.size]] = self._failed
        shown = [pa.array([key[place] for key in keys], field.type) for place, field in enumerate(self._by)]
        for table in tables if keys else ():
            codes = [ranks[self.codes_of(_named(batch, self.names))] for batch in table.read(self.names)]
            rows = np.concatenate([np.empty(0, np.int64), *codes])
            for field, values in _columns(table, rows.size):
                texts = (table.name, field.name, _text(field, b"label"), _text(field, b"unit"))
                counts, numbers = _of_groups(values, rows, len(keys))
                arrays = [
                    *shown,
                    *(pa.array([text] * len(keys), pa.string()) for text in texts),
                    pa.array(counts),
                    pa.array(failed),
                    *(pa.array(numbers[name], mask=counts < (2 if name == "std" else 1)) for name in _NUMBERS),
                ]
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _key(value: Any) -> Any:
    """A value by which rows are grouped: NaN is no value, and the two zeros are one."""
    if isinstance(value, float):
        return None if math.isnan(value) else value + 0.0
    return value


def _named(batch: pa.RecordBatch, names: Sequence[str]) -> list[pa.Array]:
    return [batch.column(batch.schema.get_field_index(name)) for name in names]


def _text(field: pa.Field, key: bytes) -> str:
    text: bytes = (field.metadata or {}).get(key, b"")
    return text.decode()


def _columns(table: MeasuredTable, rows: int) -> Iterator[tuple[pa.Field, NDArray[np.float64]]]:
    """Each column of numbers as floats, NaN for a null; as many are read at once as ``BLOCK_BYTES`` hold."""
    step = max(BLOCK_BYTES // (8 * max(rows, 1)), 1)
    for first in range(0, len(table.fields), step):
        fields = table.fields[first : first + step]
        block = np.empty((len(fields), rows))
        row = 0
        for batch in table.read([field.name for field in fields]):
            for place, field in enumerate(fields):
                column = batch.column(batch.schema.get_field_index(field.name))
                block[place, row : row + len(column)] = numbers_of(column)
            row += batch.num_rows
        yield from zip(fields, block, strict=True)


def _of_groups(
    values: NDArray[np.float64], groups: NDArray[np.int64], count: int
) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float64]]]:
    """How many values each group has, and its statistics: NaN where arithmetic gives that, anything where none is."""
    known = ~np.isnan(values)
    values, groups = values[known], groups[known]
    counts = np.bincount(groups, minlength=count)
    found = {name: np.full(count, np.nan) for name in _NUMBERS}
    present = counts > 0
    sizes = counts[present]
    if sizes.size:
        ordered = values[np.lexsort((values, groups))]
        starts = np.cumsum(sizes) - sizes
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            for name, numbers in _of_ordered(ordered, starts, sizes).items():
                found[name][present] = numbers
    return counts, found


def _of_ordered(
    ordered: NDArray[np.float64], starts: NDArray[np.int64], sizes: NDArray[np.int64]
) -> dict[str, NDArray[np.float64]]:
    """Statistics of groups that lie behind each other, each sorted and not empty."""
    mean = np.add.reduceat(ordered, starts) / sizes
    deviations = ordered - np.repeat(mean, sizes)
    rest = np.add.reduceat(deviations, starts) / sizes  # what rounding of large sums left over
    mean = np.where(np.isfinite(rest), mean + rest, mean)
    squares = np.add.reduceat((ordered - np.repeat(mean, sizes)) ** 2, starts)
    low, high = ordered[starts + (sizes - 1) // 2], ordered[starts + sizes // 2]
    return {
        "mean": mean,
        "std": np.sqrt(squares / (sizes - 1)),
        "minimum": ordered[starts],
        "median": np.where(low == high, low, (low + high) / 2),
        "maximum": ordered[starts + sizes - 1],
        **{name: _quantile(ordered, starts, sizes, share) for name, share in QUANTILES.items()},
    }


def _quantile(
    ordered: NDArray[np.float64], starts: NDArray[np.int64], sizes: NDArray[np.int64], share: float
) -> NDArray[np.float64]:
    place = share * (sizes - 1)
    below = np.floor(place).astype(np.int64)
    low, high = ordered[starts + below], ordered[starts + np.minimum(below + 1, sizes - 1)]
    part = place - below
    found: NDArray[np.float64] = np.where(part == 0, low, low + (high - low) * part)
    return found
