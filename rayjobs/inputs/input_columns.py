"""The columns of a job's inputs: cells from tables and from paths, put together and checked for what the job does.

All mistakes are gathered by row while the inputs stream by; ``mistakes.tell`` ends the plan with them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path

from actors.ledger.staged_inputs import FoundInput
from pipelines.column_models import Cell, InputColumn
from pipelines.errors import JobError
from pipelines.registry import nearest
from pipelines.tables.cells import readable_path
from rayjobs.inputs.name_groups import GroupReader
from rayjobs.inputs.row_mistakes import RowMistakes
from rayjobs.job.column_uses import ColumnUses, column_names, used_columns
from rayjobs.job.job_spec import JobSpec

_BATCH = 4_096


@dataclass(slots=True)
class InputColumns:
    """What one job's inputs bring along beside their paths."""

    spec: JobSpec | None = None
    """None: nothing uses what tables say."""
    base: Path = Path()
    """What relative paths of the job are relative to."""
    mistakes: RowMistakes = field(default_factory=RowMistakes)
    columns: tuple[InputColumn, ...] = field(default=(), init=False)
    """All of them, once the tables are open."""
    groups: GroupReader | None = field(default=None, init=False)
    used: tuple[str, ...] = field(default=(), init=False)
    """What tables are asked for beside the columns that the job lists."""
    _uses: ColumnUses | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if self.spec is not None:
            self._uses = ColumnUses(self.spec, self.base)
            self.groups = GroupReader(self.spec.groups, self.mistakes) if self.spec.groups else None
            groups = self.spec.groups.names if self.spec.groups else ()
            self.used = tuple(name for name in used_columns(self.spec) if name not in groups)

    @property
    def unmatched(self) -> tuple[str, ...]:
        """The first inputs whose path the pattern doesn't match."""
        return tuple(self.groups.unmatched_first) if self.groups else ()

    def set_tables(self, of_tables: Iterable[InputColumn], there: Collection[str]) -> None:
        """Take over the columns of the tables, which are known before their rows are; ``there``: all that they have.

        Raises
        ------
        JobError
            The job uses one that none has.
        """
        uses = {} if self.spec is None else used_columns(self.spec)
        missing = [(uses[name], name) for name in self.used if name not in there]
        if missing:
            told = (f"{where}: no table has a column {name!r}{nearest(name, there)}" for where, name in missing)
            raise JobError("\n".join(told))
        found = {column.name: column for column in of_tables}
        found |= {column.name: column for column in (self.groups.columns if self.groups else ())}
        ordered = found if self.spec is None else column_names(self.spec)
        self.columns = tuple(found[name] for name in ordered if name in found)

    def named_twice(self, found: FoundInput, first: str) -> None:
        """Note that two rows name one input."""
        self.mistakes.add(found.row, f"{readable_path(found.path)} stands in {first}, too; leave one out")

    def completed(self, inputs: Iterable[FoundInput]) -> Iterator[FoundInput]:
        """The inputs with all their cells, and with what these decide."""
        stream = iter(inputs)
        first = next(stream, None)  # from here on the columns are known
        if first is None:
            return
        if self.groups is None and not self.columns and not self.used:
            yield first
            yield from stream
            return
        stream = chain([first], stream)
        while batch := list(islice(stream, _BATCH)):
            of_paths = self.groups.cells(batch) if self.groups else [{}] * len(batch)
            for found, further in zip(batch, of_paths, strict=True):
                yield self._with(found, {**(found.cells or {}), **further})

    def _with(self, found: FoundInput, known: dict[str, Cell]) -> FoundInput:
        cells = {column.name: known.get(column.name) for column in self.columns}
        problems: list[str] = []
        decided = self._uses.decided(cells, problems) if self._uses and found.status != "skipped" else ""
        for problem in problems:
            self.mistakes.add(found.row or readable_path(found.path), problem)
        return replace(found, cells=cells, decided=decided)
