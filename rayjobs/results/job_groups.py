"""The table ``data/groups``: statistics of every measured number per group of inputs, from the tables of the job.

Worked out once, by the driver, when all tables can be read; each format is then written from that. What the numbers
are: ``pipelines.tables.group_statistics``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.column_models import InputColumn
from pipelines.tables import write_table
from pipelines.tables.group_statistics import OWN_COLUMNS, InputGroups, MeasuredTable, groups_schema
from pipelines.tables.input_fields import cells_array, input_fields
from rayjobs.results.published import TABLE
from rayjobs.results.report_numbers import Number
from rayjobs.results.results_store import ResultsStore

GROUPS = "groups"
_INPUTS = 10_000
"""Taken in at once."""


@dataclass(frozen=True, slots=True)
class GroupsTable:
    """The table as it was worked out."""

    path: Path
    schema: pa.Schema

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows."""
        with pq.ParquetFile(self.path) as file:
            for batch in file.iter_batches(use_threads=False):
                yield pa.RecordBatch.from_arrays(batch.columns, schema=self.schema)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that inputs are grouped by."""
        return tuple(self.schema.names[: -len(OWN_COLUMNS)])

    def overview(self, columns: Sequence[str], most: int) -> list[tuple[list[str], int, list[tuple[Number, Number]]]]:
        """Of the first groups: their values as texts, failed inputs, and mean and spread of columns of images."""
        import pyarrow.compute as pc

        found: dict[tuple[Any, ...], tuple[int, dict[str, tuple[Number, Number]]]] = {}
        for batch in self.batches():
            chosen = pc.is_in(batch.column("column"), pa.array(columns, pa.string()))
            of_images = pc.and_(chosen, pc.equal(batch.column("table"), TABLE))
            for row in batch.filter(of_images).to_pylist():
                key = tuple(row[name] for name in self.names)
                if key in found or len(found) < most:
                    found.setdefault(key, (row["failed"], {}))[1][row["column"]] = (row["mean"], row["std"])
        return [
            ([_shown(value) for value in key], failed, [numbers[column] for column in columns])
            for key, (failed, numbers) in found.items()
        ]


def _shown(value: Any) -> str:
    return "–" if value is None else str(value)  # noqa: RUF001 - an en dash is meant


def work_out_groups(
    path: Path, store: ResultsStore, group_by: Sequence[str], tables: Iterable[MeasuredTable]
) -> GroupsTable:
    """Write the statistics of the tables into the file ``path``, as Parquet."""
    known = {column.name: column for column in store.input_columns}
    by = [known[name] for name in group_by]
    fields = input_fields(by)
    groups = InputGroups(fields)
    for columns, failed in _inputs(store, by):
        groups.count_inputs(columns, failed)
    schema = groups_schema(fields)
    write_table(path, schema, groups.statistics(tables, schema), format="parquet")
    return GroupsTable(path, schema)


def _inputs(store: ResultsStore, by: Sequence[InputColumn]) -> Iterator[tuple[list[pa.Array], np.ndarray]]:
    """The cells of done and failed inputs, and which failed; skipped ones belong to no group."""
    stream = store.outcomes()
    while some := list(islice(stream, _INPUTS)):
        columns = [cells_array(each.type, [cells.get(each.name) for cells, _ in some]) for each in by]
        yield columns, np.array([failed for _, failed in some], bool)
