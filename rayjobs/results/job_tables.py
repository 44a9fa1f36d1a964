"""The tables in ``data/``, made from the sealed results: one row per image, and one row per object where asked.

People open tables of scalars: ``analyses`` and those of objects. Arrays have tables of their own in ``data/scopes/``,
Parquet only, one per analysis, joined by ``input``. A table of up to so many inputs is one file (``file_rows`` of the
store, of arrays ``range_rows``); in Parquet a larger one is a directory of that name with a part for so many each.
Sealed parts are linked where they hold just what is asked for. The rows are in the order of the inputs, and the bytes
depend on inputs and job alone. Made without Ray.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.models import AnalysisRequest
from pipelines.storage.local_files import link_or_copy
from pipelines.tables import (
    Sheet,
    analyses_schema,
    object_schemas,
    row_bytes,
    scalars_of,
    scopes_of,
    scopes_schemas,
    seal_part,
    write_table,
    write_xlsx,
)
from pipelines.tables.group_statistics import MeasuredTable, is_number
from pipelines.tables.parquet_table import GROUP_BYTES
from pipelines.tables.schema import INPUT
from rayjobs.results.duplicates import GROUP_COLUMN, DuplicateGroups, find_duplicates
from rayjobs.results.fixed_files import FixedFiles
from rayjobs.results.input_cells import InputCells, with_inputs_columns
from rayjobs.results.job_groups import GROUPS, GroupsTable, work_out_groups
from rayjobs.results.published import SCOPES, TABLE
from rayjobs.results.results_store import ResultsStore

PARQUET = "parquet"
XLSX = "xlsx"
SHEET_NAME_CHARACTERS = 25
WRITERS = 2
"""Files of a table that are written side by side: most of it is copying, and each may hold some batches in memory."""


@dataclass(frozen=True, slots=True)
class _Sealed:
    """A sealed file of one range."""

    path: Path
    is_final: bool
    """Whether it is the table's part as it stands, to be linked."""
    sha256: str | None = None
    """As the ledger knows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """One table, as long as it is being written."""

    name: str
    schema: pa.Schema
    ranges: range
    """Of the store; all of them."""
    ranges_per_file: int
    sealed: Callable[[int], _Sealed | None]
    """Range -> its sealed file; None when no input of it is done."""
    cells: Callable[[int], InputCells] | None = None
    """Range -> the cells of its inputs, in columns that no sealed file has; None when the table has none of these."""
    groups: DuplicateGroups | None = None
    """Fills a column that only the whole job can know."""

    def batches(self, ranges: range) -> Iterator[pa.RecordBatch]:
        """The rows of some ranges, in order, about ``GROUP_BYTES`` at a time."""
        for number in ranges:
            sealed = self.sealed(number)
            if sealed is None:
                continue
            row, cells = 0, self.cells(number) if self.cells else None
            own = cells.sealed_names(self.schema.names) if cells else self.schema.names
            with pq.ParquetFile(sealed.path) as file:
                rows = file.metadata.num_rows // max(file.num_row_groups, 1)
                step = max(GROUP_BYTES // (max(rows, 1) * row_bytes(self.schema)), 1)
                for first in range(0, file.num_row_groups, step):
                    groups = range(first, min(first + step, file.num_row_groups))
                    table = file.read_row_groups(groups, columns=own).select(own)
                    if self.groups is not None:
                        table = self.groups.filled(table, number, row)
                    row += table.num_rows
                    if cells is not None:
                        table = cells.beside(table).select(self.schema.names)
                    yield from pa.table(table.columns, schema=self.schema).combine_chunks().to_batches()

    def only(self, names: Sequence[str]) -> _Table:
        """The same rows with ``input`` and some of the columns."""
        if not self.of_inputs & set(names):
            cells = None
        else:
            every = self.cells

            def cells(number: int) -> InputCells:
                assert every is not None  # it gave the names above
                found = every(number)
                return replace(found, columns=[column for column in found.columns if column.name in names])

        fields = [field for field in self.schema if field.name in (INPUT, *names)]
        duplicates = self.groups if GROUP_COLUMN in names else None
        return replace(self, schema=pa.schema(fields), cells=cells, groups=duplicates)

    @property
    def of_inputs(self) -> set[str]:
        """Names of the columns that come from the inputs."""
        return {column.name for column in self.cells(0).columns} if self.cells else set()


def seal_results(store: ResultsStore, begin: Callable[[str], None] = lambda part: None) -> None:
    """Seal what the run's shards have not: of a run that only changed its mind about what is asked for, all.

    ``begin`` is told each part before it is written.
    """
    for number in store.all_ranges():
        seal = store.to_seal(number)
        if seal is not None:
            begin(seal.part)
            store.record(seal, seal_part(seal.request))


def write_tables(
    files: FixedFiles, store: ResultsStore, formats: Sequence[str], groups: GroupsTable | None = None
) -> list[str]:
    """Make ``data/`` hold the wanted tables, from sealed results; return their paths relative to the output.

    Tables of objects and of groups are files of their own beside ``analyses``, except in a workbook, where they are
    further sheets.
    """
    tables = _tables(store, store.all_ranges()) if store.requests and formats else []
    people = [table for table in tables if not _is_of_arrays(table.name)]
    wanted = []
    for table in tables:
        for format in _formats_of(table.name, formats):
            relative = table_path(table.name, format)
            wanted.append(relative)
            _replace(files, relative, format, table, people, groups)
    if groups is not None:
        for format in _formats_of(GROUPS, formats):
            wanted.append(table_path(GROUPS, format))
            temporary = files.new_path()
            write_table(temporary, groups.schema, groups.batches(), format=format)
            files.place(wanted[-1], temporary)
    return wanted


def group_table(files: FixedFiles, store: ResultsStore, group_by: Sequence[str]) -> GroupsTable | None:
    """The statistics per group, for the tables and the report; None of a job that asks for none."""
    if not group_by or not store.requests:
        return None
    tables = [table for table in _tables(store, store.all_ranges()) if table.of_inputs.issuperset(group_by)]
    return work_out_groups(files.new_path(), store, group_by, map(_measured, tables))


def _measured(table: _Table) -> MeasuredTable:
    """The numbers that were measured; those that inputs brought along aren't."""
    fields = tuple(field for field in table.schema if is_number(field) and field.name not in table.of_inputs)
    return MeasuredTable(name=table.name, fields=fields, read=lambda names: table.only(names).batches(table.ranges))


def table_path(table: str, format: str) -> str:
    """Where a table lies, relative to the output."""
    return f"data/{table}.{format}"


def table_paths(requests: Sequence[AnalysisRequest], formats: Sequence[str], group_by: Sequence[str] = ()) -> list[str]:
    """Where the tables of a job lie, relative to the output."""
    of_objects = object_schemas(requests)
    names = [TABLE, *(request.name for request in of_objects)] if requests else []
    arrays = [*scopes_schemas(requests), *(each for each, schema in of_objects.items() if scopes_of(schema))]
    names += [f"{SCOPES}/{request.name}" for request in arrays]
    names += [GROUPS] if requests and group_by else []
    return [table_path(name, format) for name in names for format in _formats_of(name, formats)]


def _is_of_arrays(table: str) -> bool:
    return table.startswith(f"{SCOPES}/")


def _formats_of(table: str, formats: Sequence[str]) -> list[str]:
    """Which of the wanted formats a table is written in: arrays in Parquet, all sheets of a workbook with the first."""
    if _is_of_arrays(table):
        return [format for format in formats if format == PARQUET]
    return [format for format in formats if format != XLSX or table == TABLE]


def _replace(
    files: FixedFiles,
    relative: str,
    format: str,
    table: _Table,
    tables: Sequence[_Table],
    groups: GroupsTable | None,
) -> None:
    parts = _parts(table) if format == PARQUET else []
    if len(parts) > 1:
        names = [f"{relative}/part-{number:05d}.parquet" for number in range(len(parts))]
        files.remove_file(relative)
        _write_parts(files, table, dict(zip(names, parts, strict=True)))
        files.remove_parts(relative, but=names)
        return
    temporary = files.new_path()
    _write(temporary, format, table, tables, groups)
    files.remove_parts(relative)
    files.place(relative, temporary)


def _tables(store: ResultsStore, ranges: range) -> list[_Table]:
    """The table of images, then those of objects in the order of the job's analyses, then those of arrays."""
    groups = find_duplicates(store, ranges)

    def of_images(number: int) -> _Sealed | None:
        found = store.sealed_part(number)
        if found is None:
            return None
        is_final = found[1] == store.requests and TABLE not in groups
        return _Sealed(found[0], is_final=is_final, sha256=store.sha256_of(found[0].name))

    def of_objects(request: AnalysisRequest, *, is_whole: bool) -> Callable[[int], _Sealed | None]:
        def sealed(number: int) -> _Sealed | None:
            path = store.sealed_objects(number, request)
            is_final = is_whole and request.name not in groups
            return None if path is None else _Sealed(path, is_final=is_final)

        return sealed

    def of_arrays(request: AnalysisRequest) -> Callable[[int], _Sealed | None]:
        def sealed(number: int) -> _Sealed | None:
            path = store.sealed_scopes(number, request)
            return None if path is None else _Sealed(path, is_final=True, sha256=store.sha256_of(path.name))

        return sealed

    def table(name: str, schema: pa.Schema, sealed: Callable[[int], _Sealed | None], per_file: int) -> _Table:
        same = groups.get(name)
        return _Table(name=name, schema=schema, ranges=ranges, ranges_per_file=per_file, sealed=sealed, groups=same)

    per_file = store.file_rows // store.range_rows
    found = [table(TABLE, analyses_schema(store.requests), of_images, per_file)]
    of_frames: list[_Table] = []
    for request, schema in store.object_schemas.items():
        scalars, arrays = scalars_of(schema), scopes_of(schema, schema.names[:2])
        found.append(table(request.name, scalars, of_objects(request, is_whole=arrays is None), per_file))
        if arrays is not None:
            name = f"{SCOPES}/{request.name}"
            of_frames.append(table(name, arrays, of_objects(request, is_whole=False), 1))
    for request, schema in store.scopes_schemas.items():
        found.append(table(f"{SCOPES}/{request.name}", schema, of_arrays(request), 1))
    return [_with_inputs_columns(table, store) for table in (*found, *of_frames)]


def _with_inputs_columns(table: _Table, store: ResultsStore) -> _Table:
    """A table that people open with the columns of the inputs, if they have any."""
    if not store.input_columns or _is_of_arrays(table.name):
        return table
    return replace(table, schema=with_inputs_columns(table.schema, store.input_columns), cells=store.cells)


def _write(target: Path, format: str, table: _Table, tables: Sequence[_Table], groups: GroupsTable | None) -> None:
    if format == PARQUET:
        _write_file(target, table, table.ranges)
    elif format == XLSX:
        sheets = [
            Sheet(name=each.name[:SHEET_NAME_CHARACTERS], schema=each.schema, batches=each.batches(each.ranges))
            for each in tables
        ]
        if groups is not None:
            sheets.append(Sheet(name=GROUPS, schema=groups.schema, batches=groups.batches()))
        write_xlsx(target, sheets)
    else:
        write_table(target, table.schema, table.batches(table.ranges), format=format)


def _parts(table: _Table) -> list[range]:
    """The ranges of each file of a table."""
    per_file = table.ranges_per_file
    return [table.ranges[first : first + per_file] for first in range(0, len(table.ranges), per_file)]


def _write_parts(files: FixedFiles, table: _Table, parts: Mapping[str, range]) -> None:
    """The files of a table, side by side: writing one is copying, and giving it its name is comparing contents."""

    def write(name: str, ranges: range) -> None:
        temporary = files.new_path()
        files.place(name, temporary, sha256=_write_file(temporary, table, ranges))

    with ThreadPoolExecutor(max_workers=WRITERS) as threads:
        writing = [threads.submit(write, name, ranges) for name, ranges in parts.items()]
        try:
            for each in writing:
                each.result()
        except BaseException:  # the disk is full, or somebody wants an end: no further file is begun
            threads.shutdown(wait=False, cancel_futures=True)
            raise


def _write_file(target: Path, table: _Table, ranges: range) -> str | None:
    """One file of a table; gives its sha256 if that is known."""
    sealed = table.sealed(ranges[0]) if len(ranges) == 1 else None
    if sealed is not None and sealed.is_final and table.cells is None:
        link_or_copy(sealed.path, target)
        return sealed.sha256
    write_table(target, table.schema, table.batches(ranges), format=PARQUET)
    return None
