"""The store of analysis results: parts that workers left become sealed Parquet parts, and those become the tables.

A sealed part holds the rows of one range of the sealed input list, so its bytes depend on the inputs and the job alone.
It is the store and, by a hard link, the table that the user opens. Asking for fewer analyses, or for another table
format, reads the store; asking for one more seals its ranges again with one group of columns more. Arrays and objects
lie in files beside the parts, one per analysis, whose names follow from theirs: the ledger knows only parts.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from actors.ledger.job_facts import SealedPart
from actors.ledger.job_ledger import JobLedger
from actors.ledger.ledger_rows import ResultRow
from actors.ledger.product_plan import ANALYSIS
from pipelines.analyses.frames import FRAMES, TABLED
from pipelines.column_models import Cell, InputColumn
from pipelines.models import AnalysisRequest
from pipelines.storage.custody import Written
from pipelines.storage.local_files import remove_own
from pipelines.tables import (
    FILE_BYTES,
    SAVED_ROWS,
    WIDE_FILE_ROWS,
    InputParts,
    ObjectsSeal,
    PartColumns,
    SealRequest,
    analyses_schema,
    has_wide_rows,
    object_schemas,
    objects_part,
    part_of,
    readable_path,
    row_bytes,
    rows_per_file,
    saved_schema,
    scalars_of,
    scopes_of,
    scopes_part,
    scopes_schemas,
)
from pipelines.tables.parquet_table import WIDE_BYTES
from rayjobs.job.output_directory import OutputDirectory
from rayjobs.results.input_cells import InputCells

SEALED_SUFFIX = ".parquet"
_PART_NAME = re.compile(r"\.?(\d{6,}-)?[0-9a-f]{32}\.")
OBJECTS_PER_IMAGE = 1000
FRAMES_PER_FILE = 8
"""Guesses that keep the files of objects near the size of other files; they only decide how many images one covers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeSeal:
    """A range that has to be sealed: what a worker writes, and what the ledger learns afterwards."""

    part: str
    request: SealRequest
    rows: tuple[tuple[int, int], ...]
    """(input, row in the part)."""


class ResultsStore:
    """The sealed parts of one job."""

    def __init__(
        self,
        ledger: JobLedger,
        output: OutputDirectory,
        requests: Sequence[AnalysisRequest],
        *,
        durable: bool = False,
    ) -> None:
        self._ledger = ledger
        self._output = output
        self._durable = durable
        self.requests = tuple(requests)
        self.object_schemas = object_schemas(self.requests)
        """Analysis of objects -> schema of its table."""
        self.scopes_schemas = scopes_schemas(self.requests)
        """Analysis of arrays -> schema of its table."""
        most = [
            FILE_BYTES // (_rows_per_input(request) * row_bytes(scalars_of(schema)))
            for request, schema in self.object_schemas.items()
        ]
        rows = max(min([rows_per_file(analyses_schema(self.requests)), *most]), 1)
        self.file_rows = rows // WIDE_FILE_ROWS * WIDE_FILE_ROWS or rows // SAVED_ROWS * SAVED_ROWS or rows
        """Places of the sealed list per file of a table of scalars; decided by what is asked for."""
        self.range_rows = min(self.file_rows, self._rows_of_arrays())
        """Places per range, a fraction of a file's; what was once asked for may still be there, and be large."""

    def _rows_of_arrays(self) -> int:
        """Places per file of a table of arrays, whatever was and is asked for."""
        recipes = self._ledger.recipes()
        saved = saved_schema(self._all_requests(set(recipes), recipes))
        of_rows = [row_bytes(schema) * FRAMES_PER_FILE for schema in self.object_schemas.values() if scopes_of(schema)]
        if has_wide_rows(saved) or any(size >= WIDE_BYTES for size in of_rows):
            return WIDE_FILE_ROWS
        return max(rows_per_file(saved) // WIDE_FILE_ROWS * WIDE_FILE_ROWS, WIDE_FILE_ROWS)

    @cached_property
    def input_columns(self) -> tuple[InputColumn, ...]:
        """The columns of the inputs; no sealed part has them."""
        return self._ledger.facts.read().columns

    def outcomes(self) -> Iterator[tuple[Mapping[str, Cell], bool]]:
        """Of every done or failed input its cells, and whether it failed."""
        for final in self._ledger.final_inputs():
            if final.status in ("done", "failed"):
                yield final.cells, final.status == "failed"

    def cells(self, number: int) -> InputCells:
        """The cells of the inputs of a range."""
        first = number * self.range_rows
        return InputCells(self._ledger, self.input_columns, first, first + self.range_rows)

    def ranges(self, first_seq: int, end_seq: int) -> list[int]:
        """The numbers of the ranges that lie wholly within first_seq <= seq < end_seq."""
        first = -(-first_seq // self.range_rows)
        total = self._ledger.counts().total
        last = -(-total // self.range_rows) if end_seq >= total else end_seq // self.range_rows
        return list(range(first, last))

    def all_ranges(self) -> range:
        """The numbers of all ranges."""
        return range(-(-self._ledger.counts().total // self.range_rows))

    def to_seal(self, number: int) -> RangeSeal | None:
        """What has to be written for a range; None when its sealed part is as it should be."""
        rows = self._rows(number)
        if not rows or self._is_sealed(rows):
            return None
        recipes = self._ledger.recipes()
        columns = {number: _columns(_requests(products)) for number, products in recipes.items()}
        requests = self._all_requests({row.recipe for row in rows}, recipes)
        inputs: list[InputParts] = []
        for group in _by_input(rows):
            parts = tuple(
                PartColumns(path=self._path(row.part), columns=columns[row.recipe], row=row.row) for row in group
            )
            inputs.append(InputParts(input=readable_path(group[0].path), seq=group[0].seq, parts=parts))
        part = f"{number:06d}-{uuid.uuid4().hex}{SEALED_SUFFIX}"
        return RangeSeal(
            part=part,
            request=SealRequest(
                target=self._output.store / part,
                requests=requests,
                inputs=tuple(inputs),
                durable=self._durable,
                objects=tuple(self._objects_seal(part, request, rows, recipes) for request in object_schemas(requests)),
            ),
            rows=tuple((group[0].input, row) for row, group in enumerate(_by_input(rows))),
        )

    def _objects_seal(
        self, part: str, request: AnalysisRequest, rows: Sequence[ResultRow], recipes: dict[int, dict[str, str]]
    ) -> ObjectsSeal:
        product = ANALYSIS + request.canonical()
        inputs: list[InputParts] = []
        for group in _by_input(rows):
            found = [row for row in group if product in recipes[row.recipe]]
            if found:
                latest = found[-1].part
                place = PartColumns(path=self._path(latest).with_name(objects_part(latest, request.name)))
                inputs.append(InputParts(input=readable_path(group[0].path), seq=group[0].seq, parts=(place,)))
        target = self._output.store / objects_part(part, request.name)
        return ObjectsSeal(target=target, request=request, inputs=tuple(inputs))

    def record(self, seal: RangeSeal, files: tuple[Written, ...]) -> None:
        """Take a written part over, in these files: from now on the results of its inputs are there."""
        analyses = tuple(request.canonical() for request in seal.request.requests)
        self._ledger.facts.write_part(seal.part, SealedPart(analyses=analyses, rows=len(seal.rows), files=files))
        self._ledger.move_results(seal.part, seal.rows)

    def sealed_part(self, number: int) -> tuple[Path, tuple[AnalysisRequest, ...]] | None:
        """The sealed part of a range and its analyses, in order of its columns; None when no input of it is done."""
        rows = self._rows(number, most=1)
        if not rows:
            return None
        part = rows[0].part
        sealed = self._ledger.facts.part(part)
        assert sealed is not None  # it was noted before results were there
        return self._output.store / part, tuple(map(_from_canonical, sealed.analyses))

    def sha256_of(self, name: str) -> str | None:
        """Of a file of a sealed part, as it was when it was written."""
        sealed = self._ledger.facts.part(part_of(name))
        files = () if sealed is None else sealed.files or ()
        return next((file.sha256 for file in files if file.path == name), None)

    def sealed_objects(self, number: int, request: AnalysisRequest) -> Path | None:
        """The file with the objects of a range; None when no input of it is done."""
        sealed = self.sealed_part(number)
        return None if sealed is None else sealed[0].with_name(objects_part(sealed[0].name, request.name))

    def sealed_scopes(self, number: int, request: AnalysisRequest) -> Path | None:
        """The file with the arrays of a range; None when no input of it is done."""
        sealed = self.sealed_part(number)
        return None if sealed is None else sealed[0].with_name(scopes_part(sealed[0].name, request.name))

    def remove_unused(self) -> None:
        """Delete parts that the ledger no longer refers to; call it when no worker is running."""
        used = self._ledger.parts()
        self._ledger.facts.forget_parts()
        for directory in (self._output.parts, self._output.store):
            if directory.is_dir():
                for path in directory.iterdir():
                    if _PART_NAME.match(path.name) and part_of(path.name) not in used:
                        remove_own(path)  # a worker that outlived its driver removes its own

    def _rows(self, number: int, most: int = -1) -> list[ResultRow]:
        return self._ledger.results(number * self.range_rows, (number + 1) * self.range_rows, most)

    def _is_sealed(self, rows: Sequence[ResultRow]) -> bool:
        """Whether one sealed part holds the rows of exactly these inputs."""
        parts = {row.part for row in rows}
        if len(parts) > 1 or not rows[0].part.endswith(SEALED_SUFFIX):
            return False
        places, sealed = [group[0].row for group in _by_input(rows)], self._ledger.facts.part(rows[0].part)
        if sealed is None or places != list(range(sealed.rows)):
            return False
        files = {file.path for file in sealed.files or ()}
        asked = map(_from_canonical, sealed.analyses)
        return all(scopes_part(rows[0].part, request.name) in files for request in scopes_schemas(list(asked)))

    def _path(self, part: str) -> Path:
        return (self._output.store if part.endswith(SEALED_SUFFIX) else self._output.parts) / part

    def _all_requests(self, used: set[int], recipes: dict[int, dict[str, str]]) -> tuple[AnalysisRequest, ...]:
        """The analyses that the job asks for, then those that it once asked for and still has."""
        kept = {request.canonical(): request for number in sorted(used) for request in _requests(recipes[number])}
        asked = {request.name for request in self.requests}
        others = [request for _, request in sorted(kept.items()) if request.name not in asked]
        return (*self.requests, *others)


def _rows_per_input(request: AnalysisRequest) -> int:
    return FRAMES_PER_FILE if request.name == FRAMES else OBJECTS_PER_IMAGE


def _by_input(rows: Sequence[ResultRow]) -> Iterator[list[ResultRow]]:
    group: list[ResultRow] = []
    for row in rows:
        if group and group[0].input != row.input:
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def _requests(products: dict[str, str]) -> list[AnalysisRequest]:
    return [_from_canonical(name.removeprefix(ANALYSIS)) for name in products if name.startswith(ANALYSIS)]


def _from_canonical(text: str) -> AnalysisRequest:
    name, params = json.loads(text)
    return AnalysisRequest(name, params)


def _columns(requests: Sequence[AnalysisRequest]) -> frozenset[str]:
    return frozenset(
        f"{request.name}_{column.name}"
        for request in requests
        for column in TABLED[request.name].columns(**request.params)
    )
