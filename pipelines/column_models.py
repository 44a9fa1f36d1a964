"""Columns that inputs bring along, from a table or from their paths: names, types and what a cell may be.

A cell is held as JSON: whole numbers, floats, texts, true and false, null; dates and times as ISO 8601 text. Columns
and cells in tables of results: ``pipelines.tables.input_fields``; where cells come from: ``rayjobs.inputs``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

ColumnType = Literal["int", "float", "text", "bool", "date", "timestamp", "timestamp_utc"]
Cell = bool | int | float | str | None

COLUMN_TYPES: tuple[ColumnType, ...] = get_args(ColumnType)
WRONG: Cell = "\0"
"""Stands for a cell that was told to be wrong already; no text has a NUL."""
MAX_COLUMNS = 64
MAX_CELL = 1_000
"""Characters of a text."""
_NAME = re.compile(r"\w(?:[\w .()%/°+-]{0,62}[\w)%°])?")


@dataclass(frozen=True, slots=True)
class InputColumn:
    """One column of a job's inputs."""

    name: str
    type: ColumnType


def check_column_name(name: str) -> str:
    """The name, if a column may be called so.

    Raises
    ------
    ValueError
        It is too long, or has characters that a table, a name pattern or a spreadsheet would take for something else.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name[:80]!r} can't be a column: names have at most 64 letters, digits, _ and, inside, spaces and "
            ". ( ) % / ° + -"
        )
    return name
