"""The columns of the inputs in tables of results: facts of the ledger, put in as a table is written.

No sealed part has them, so a changed cell makes no part anew. Rows of a table are in the order of the inputs, as the
ledger gives them; an input may have one, several or none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from actors.ledger.job_ledger import JobLedger
from pipelines.column_models import Cell, InputColumn
from pipelines.errors import RayjobsError
from pipelines.tables import readable_path
from pipelines.tables.input_fields import cells_array, input_fields
from pipelines.tables.schema import INPUT, described_schema


@dataclass(slots=True)
class InputCells:
    """Gives the cells for rows of some places of the sealed list; asked once for each row, in order."""

    ledger: JobLedger
    columns: Sequence[InputColumn]
    first_seq: int
    end_seq: int
    _stream: Iterator[tuple[bytes, Mapping[str, Cell]]] = field(init=False)
    _input: str | None = field(default=None, init=False)
    _cells: Mapping[str, Cell] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._stream = self.ledger.cells(self.first_seq, self.end_seq)

    def sealed_names(self, names: Sequence[str]) -> list[str]:
        """What sealed files have of a table's columns, and the inputs by which cells are found."""
        own = {column.name for column in self.columns}
        return list(dict.fromkeys([INPUT, *(name for name in names if name not in own)]))

    def beside(self, table: pa.Table) -> pa.Table:
        """The next rows, with a column of cells for each of ``columns`` after their own."""
        rows = [self._of(name) for name in table.column(INPUT).to_pylist()]
        for column in self.columns:
            table = table.append_column(column.name, cells_array(column.type, [row.get(column.name) for row in rows]))
        return table

    def _of(self, name: str) -> Mapping[str, Cell]:
        while self._input != name:
            path, self._cells = next(self._stream, (None, {}))
            if path is None:
                raise RayjobsError(f"{name}: its results are there, but the ledger doesn't have it in that place")
            self._input = readable_path(path)
        return self._cells


def with_inputs_columns(schema: pa.Schema, columns: Sequence[InputColumn]) -> pa.Schema:
    """A table's schema with the columns of the inputs right after ``input``."""
    if not columns:
        return schema
    first, *others = schema
    return described_schema([first, *input_fields(columns), *others])
