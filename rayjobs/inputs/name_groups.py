"""Columns from the names of inputs: what the groups of a pattern say of each path.

RE2 does the matching, as Arrow brings it: its time is linear in the length of the path, whatever the pattern says, and
it has neither back references nor look-around.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from actors.ledger.staged_inputs import FoundInput
from pipelines.column_models import WRONG, Cell, InputColumn
from pipelines.tables.cell_types import as_cell
from pipelines.tables.cells import readable_path
from pipelines.tables.input_fields import cells_array
from rayjobs.inputs.row_mistakes import RowMistakes
from rayjobs.job.input_spec import NameGroups

LISTED = 100
"""Inputs that don't match which are listed; the rest is counted."""


@dataclass(slots=True)
class GroupReader:
    """Reads the columns of one job's pattern."""

    groups: NameGroups
    mistakes: RowMistakes
    unmatched: int = 0
    unmatched_first: list[str] = field(default_factory=list)

    @property
    def columns(self) -> tuple[InputColumn, ...]:
        return tuple(InputColumn(name, self.groups.types.get(name, "text")) for name in self.groups.names)

    def cells(self, inputs: Sequence[FoundInput]) -> list[dict[str, Cell]]:
        """Group -> cell of each input; all are null of one that doesn't match, and one that took part in no match."""
        import pyarrow.compute as pc

        readable = [readable_path(each.path) for each in inputs]
        found = pc.extract_regex(cells_array("text", readable), pattern=self.groups.pattern)
        matched = found.is_valid().to_pylist()
        texts = {name: found.field(name).to_pylist() for name in self.groups.names}
        rows: list[dict[str, Cell]] = []
        for place, path in enumerate(readable):
            if not matched[place] and inputs[place].status != "skipped":
                self._note(path)
            row: dict[str, Cell] = {}
            for column in self.columns:
                row[column.name] = self._cell(path, column, texts[column.name][place] if matched[place] else None)
            rows.append(row)
        return rows

    def _cell(self, path: str, column: InputColumn, text: str | None) -> Cell:
        try:
            return as_cell(text or None, column.type)
        except ValueError as error:
            self.mistakes.add(path, f"groups.{column.name}: {error}")
            return WRONG

    def _note(self, path: str) -> None:
        self.unmatched += 1
        if len(self.unmatched_first) < LISTED:
            self.unmatched_first.append(path)
