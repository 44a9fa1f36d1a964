"""Tables as an Excel workbook: one sheet per table, streamed row by row.

Excel's limits are kept: a table of more than 1,048,576 rows continues on further sheets, a text of more than 32,767
characters is cut, an integer beyond 2**53 becomes text. Needs the optional package XlsxWriter.
"""

from __future__ import annotations

import datetime
import importlib
import importlib.util
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.errors import RayjobsError
from pipelines.tables.cells import printable, safe_cell
from pipelines.tables.values import scalar_values

SHEET_ROWS = 1_048_576
SHEET_COLUMNS = 16_384
CELL_CHARACTERS = 32_767
EXACT_INTEGER = 2**53
"""Excel keeps every number as a double."""
CREATED = datetime.datetime(2000, 1, 1)
"""A fixed date of creation: the same rows give the same bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """One table of a workbook."""

    name: str
    """At most 25 characters, without ``[]:*?/\\``."""
    schema: pa.Schema
    batches: Iterable[pa.RecordBatch]


class _Exact(float):
    """A number that is written with all its digits: XlsxWriter asks for 16, and some doubles need 17."""

    def __format__(self, spec: str) -> str:
        return float.__repr__(self)


def check_xlsx() -> None:
    """Raises RayjobsError where workbooks can't be written, so that a job is refused before it works for them."""
    if importlib.util.find_spec("xlsxwriter") is None:
        raise RayjobsError("xlsx needs the package XlsxWriter: pip install 'rayjobs-app[xlsx]'")


def write_xlsx(path: Path, sheets: Sequence[Sheet], *, sheet_rows: int = SHEET_ROWS) -> None:
    """Write a workbook with the tables in the order given; each is read once, in that order.

    ``sheet_rows`` counts the header, which every sheet has.

    Raises
    ------
    RayjobsError
        XlsxWriter is not installed, or a table has more columns than a sheet can have.
    """
    check_xlsx()
    xlsxwriter = importlib.import_module("xlsxwriter")
    for sheet in sheets:
        if len(sheet.schema) > SHEET_COLUMNS:
            raise RayjobsError(f"{sheet.name} has more than {SHEET_COLUMNS} columns, more than a sheet holds; use csv")
    options = {
        "constant_memory": True,
        "tmpdir": str(path.parent),
        "strings_to_formulas": False,
        "strings_to_urls": False,
        "strings_to_numbers": False,
        "use_zip64": True,
    }
    with xlsxwriter.Workbook(str(path), options) as book:
        book.set_properties({"created": CREATED})
        bold = book.add_format({"bold": True})
        for sheet in sheets:
            _write_table(book, bold, sheet, sheet_rows)


def _write_table(book: Any, bold: Any, sheet: Sheet, sheet_rows: int) -> None:
    names = sheet.schema.names
    page, number, row = _new_page(book, bold, sheet.name, names), 1, 1
    for cells in _rows(sheet.batches):
        if row == sheet_rows:
            number += 1
            page, row = _new_page(book, bold, f"{sheet.name} ({number})", names), 1
        for index, value in enumerate(cells):
            _write_cell(page, row, index, value)
        row += 1


def _new_page(book: Any, bold: Any, name: str, columns: Sequence[str]) -> Any:
    page = book.add_worksheet(name)
    page.freeze_panes(1, 1)
    page.set_column(0, 0, 40)
    for index, column in enumerate(columns):
        page.write_string(0, index, safe_cell(column), bold)
    return page


def _rows(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[Any, ...]]:
    for batch in batches:
        yield from zip(*map(scalar_values, batch.columns), strict=True)


def _write_cell(page: Any, row: int, index: int, value: Any) -> None:
    if value is None:
        return
    if isinstance(value, bool):
        page.write_boolean(row, index, value)
    elif isinstance(value, str):
        page.write_string(row, index, safe_cell(printable(value))[:CELL_CHARACTERS])
    elif isinstance(value, int) and abs(value) > EXACT_INTEGER:
        page.write_string(row, index, str(value))
    else:
        page.write_number(row, index, _Exact(value))
