"""What a job does with the columns of its inputs: which there are, which fill parameters of operations, and names.

Covers what the job alone says, and the check of one input's cells against it. The cells: ``rayjobs.inputs``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipelines.cache_keys import file_digest
from pipelines.column_models import WRONG, Cell
from pipelines.errors import RayjobsError
from pipelines.models import ImageOperation
from pipelines.operations import OPERATIONS
from pipelines.operations.column_values import Slot, slots_of, with_values
from pipelines.registry import named_files
from pipelines.stages.output_names import NamePattern
from pipelines.tables import analyses_schema, manifest_schema, object_schemas
from pipelines.tables.group_statistics import OWN_COLUMNS
from rayjobs.job.input_spec import InputTable
from rayjobs.job.job_spec import JobSpec
from rayjobs.job.path_spelling import expanded
from rayjobs.job.product_keys import table_requests


def tables_of(spec: JobSpec) -> list[InputTable]:
    """The tables among a job's inputs."""
    return [source for source in spec.inputs if isinstance(source, InputTable)]


def column_names(spec: JobSpec) -> tuple[str, ...]:
    """The columns of a job's inputs, in order: those of its tables, then those of its pattern."""
    groups = () if spec.groups is None else spec.groups.names
    listed = [name for table in tables_of(spec) for name in table.columns]
    used = [name for name in used_columns(spec) if name not in groups]
    return tuple(dict.fromkeys([*listed, *used, *groups]))


def used_columns(spec: JobSpec) -> dict[str, str]:
    """Column that operations or names use -> where it is used first."""
    found: dict[str, str] = {}
    for slot in slots_of(spec.operations):
        found.setdefault(slot.column, slot.where)
    for name in _name_pattern(spec).columns:
        found.setdefault(name, "export.images.name")
    for name in spec.group_by:
        found.setdefault(name, "group_by")
    return found


def column_mistakes(spec: JobSpec) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """(location, what is wrong) of columns that the job's own words rule out."""
    groups = () if spec.groups is None else spec.groups.names
    tables = tables_of(spec)
    taken = {name.casefold(): what for what, names in _taken(spec) for name in names}
    for number, name in enumerate(names := column_names(spec)):
        at = ("groups", "pattern") if name in groups else ("inputs",)
        if name.casefold() in taken:
            yield at, f"a column can't be called {name!r}: {taken[name.casefold()]} has one of that name; rename it"
        same = [other for other in names[:number] if other.casefold() == name.casefold()]
        if same:
            yield (
                at,
                f"two columns are called {same[0]!r} and {name!r}, which some readers can't tell apart; rename one",
            )
    for name in groups:
        if any(name in table.columns for table in tables):
            yield ("groups", "pattern"), f"{name!r} is a column of a table, too; rename the group"
    for slot in slots_of(spec.operations):
        if not tables and slot.column not in groups:
            place = ("operations", slot.step, slot.operation, slot.parameter)
            yield place, f"there is no column {slot.column!r}: columns come from a table in `inputs`, or from `groups`"
    for name in _name_pattern(spec).columns:
        if not tables and name not in groups:
            yield ("export", "images", "name"), NamePattern.unknown(name)
    yield from _group_mistakes(spec)


def _group_mistakes(spec: JobSpec) -> Iterator[tuple[tuple[str | int, ...], str]]:
    known = () if spec.groups is None else spec.groups.names
    if spec.group_by and not spec.analyses:
        yield ("group_by",), "there is nothing to group: ask for analyses, whose numbers it summarizes"
    for place, name in enumerate(spec.group_by):
        at = ("group_by", place)
        if name in spec.group_by[:place]:
            yield at, f"{name!r} is named twice"
        elif name in OWN_COLUMNS:
            yield at, f"the table groups has a column {name!r} of its own; rename that of the inputs"
        elif not tables_of(spec) and name not in known:
            yield at, f"there is no column {name!r}: columns come from a table in `inputs`, or from `groups`"


def _taken(spec: JobSpec) -> Iterator[tuple[str, list[str]]]:
    requests = table_requests(spec)
    yield "the table of images", analyses_schema(requests).names
    for request, schema in object_schemas(requests).items():
        yield f"the table {request.name}", schema.names
    yield "the manifest", manifest_schema().names


def _name_pattern(spec: JobSpec) -> NamePattern:
    images = spec.export.images
    return NamePattern.parse(images.name if images else "{stem}", columns=None)


@dataclass(slots=True)
class ColumnUses:
    """Takes what operations and names need from an input's cells."""

    spec: JobSpec
    base: Path
    """What relative paths of files are relative to."""
    _slots: tuple[Slot, ...] = field(init=False)
    _pattern: NamePattern = field(init=False)
    _digest: Any = field(init=False)

    def __post_init__(self) -> None:
        self._slots = slots_of(self.spec.operations)
        self._pattern = _name_pattern(self.spec)
        self._digest = lru_cache(maxsize=1024)(file_digest)

    def decided(self, cells: Mapping[str, Cell], mistakes: list[str]) -> str:
        """What the cells decide of an input's pixels, as JSON: a value of each slot, then digests of named files.

        Empty when they decide nothing. What is wrong with them is added to ``mistakes``.
        """
        mistakes += self._of_name(cells)
        if not self._slots:
            return ""
        missing = [slot for slot in self._slots if cells.get(slot.column) is None]
        mistakes += [f"{slot.where} needs {slot.column!r}, which has no value here" for slot in missing]
        if missing or any(cells[slot.column] == WRONG for slot in self._slots):
            return ""
        values: list[Cell] = []
        digests: list[str] = []
        for slot in self._slots:
            value, digest = self._value(slot, cells[slot.column], mistakes)
            values.append(value)
            digests += [digest] if digest else []
        mistakes += self._of_operations(values)
        return json.dumps([*values, *digests], ensure_ascii=False, separators=(",", ":"))

    def operations(self, cells: Mapping[str, Cell]) -> tuple[ImageOperation, ...]:
        """The chain of an input with these cells, as far as they are right."""
        decided = self.decided(cells, [])
        return with_values(self.spec.operations, json.loads(decided)) if decided else self.spec.operations

    def _value(self, slot: Slot, cell: Cell, mistakes: list[str]) -> tuple[Cell, str]:
        """The value of a parameter, and of one that names a file the digest of its content."""
        mark = named_files(OPERATIONS[slot.operation].parameters).get(slot.parameter)
        if mark is None or not isinstance(cell, str):
            return cell, ""
        try:
            path = os.path.normpath(self.base / expanded(cell, what=mark.what, base=self.base))
            (mark.check or file_digest)(path)
            return path, self._digest(path)
        except RayjobsError as error:
            mistakes.append(f"{slot.where}: {error}")
            return cell, ""

    def _of_operations(self, values: list[Cell]) -> Iterator[str]:
        filled = with_values(self.spec.operations, values)
        for step in dict.fromkeys(slot.step for slot in self._slots):
            operation = filled[step]
            try:
                OPERATIONS[operation.name].parameters(**operation.params)
            except ValidationError as error:
                for entry in error.errors(include_url=False):
                    at = ".".join(["", *map(str, entry["loc"])])
                    said = entry["msg"].removeprefix("Value error, ")
                    value = entry["input"]
                    shown = f", not {value!r}" if not isinstance(value, Mapping) else ""
                    yield f"operations[{step}].{operation.name}{at}: {said[:1].lower()}{said[1:]}{shown}"

    def _of_name(self, cells: Mapping[str, Cell]) -> Iterator[str]:
        for name, spec in self._pattern.columns.items():
            value = cells.get(name)
            if value is None:
                yield f"export.images.name needs {name!r}, which has no value here"
            elif value != WRONG and spec and (isinstance(value, bool) or not isinstance(value, int)):
                yield f"export.images.name: {{{name}:{spec}}} takes a whole number, not {value!r}"


def names_files(spec: JobSpec) -> bool:
    """Whether columns say which files operations read."""
    return any(
        slot.parameter in named_files(OPERATIONS[slot.operation].parameters) for slot in slots_of(spec.operations)
    )
