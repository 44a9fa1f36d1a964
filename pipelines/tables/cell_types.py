"""What a value of a table is as a cell: the type that it has or that its text shows, and its value in a column's type.

A text without quotes is never guessed to be more than it shows: ``007`` and ``1e5`` with leading zeros stay text, since
names and codes would lose them. Covers single values; files are ``rayjobs.inputs.table_files``.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from pipelines.column_models import MAX_CELL, Cell, ColumnType

_INT = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")
_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,3})?")
_GIVEN_INT = re.compile(r"[-+]?[0-9]{1,40}")
_GIVEN_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?")
_COMMA = re.compile(r"-?[0-9]{1,15},[0-9]+")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIMESTAMP = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?(Z|[-+][0-9]{2}:?[0-9]{2})?"
)
_BOOLS = {"true": True, "false": False}
_SMALLEST, _LARGEST = -(2**63), 2**63 - 1
_NAMES = {"int": "a whole number", "float": "a number", "text": "text", "bool": "true or false", "date": "a date"}


def type_of_text(text: str) -> ColumnType:
    """The type that a cell of CSV shows."""
    if _INT.fullmatch(text) and _SMALLEST <= int(text) <= _LARGEST:
        return "int"
    if _FLOAT.fullmatch(text) and math.isfinite(float(text)):
        return "float"
    if text.lower() in _BOOLS:
        return "bool"
    for kind in ("date", "timestamp", "timestamp_utc"):
        try:
            _time(text, kind)
        except ValueError:
            continue
        return kind
    return "text"


def has_comma(text: str) -> bool:
    """Whether a text looks like a number as it is written where decimals have a comma."""
    return _COMMA.fullmatch(text) is not None


def type_of_value(value: Any) -> ColumnType | None:
    """The type that a value of JSON has; None for what is no cell."""
    if isinstance(value, bool):
        return "bool"
    return {int: "int", float: "float", str: "text"}.get(type(value))  # type: ignore[return-value]


def as_cell(value: Any, kind: ColumnType) -> Cell:
    """A value in a column's type; None and NaN, by which pandas says that nothing is there, are null.

    Raises
    ------
    ValueError
        It has none, or is too long; the text goes after the column's name.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str):
        return _of_text(value, kind)
    if kind == "text" and isinstance(value, int | Decimal) and not isinstance(value, bool):
        return f"{value:f}" if isinstance(value, Decimal) else str(value)
    if kind == "bool" and isinstance(value, bool):
        return value
    if kind in ("int", "float") and isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return _number(value, kind)
    if isinstance(value, date | datetime):
        return _time(value.isoformat(), kind)
    raise ValueError(_not(value, kind))


def _of_text(text: str, kind: ColumnType) -> Cell:
    if kind == "text":
        if len(text) > MAX_CELL:
            raise ValueError(f"has {len(text):,} characters, and a cell at most {MAX_CELL:,}")
        if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
            raise ValueError("has a character that no text has")
        return text
    if kind == "bool" and text.lower() in _BOOLS:
        return _BOOLS[text.lower()]
    if kind == "int" and _GIVEN_INT.fullmatch(text):
        return _number(int(text), kind)
    if kind == "float" and len(text) <= MAX_CELL and _GIVEN_FLOAT.fullmatch(text):
        return _number(float(text), kind)
    if kind in ("date", "timestamp", "timestamp_utc"):
        return _time(text, kind)
    raise ValueError(_not(text, kind))


def _number(value: float | Decimal, kind: ColumnType) -> int | float:
    if not math.isfinite(value):
        raise ValueError("is infinite")
    if kind == "float":
        return float(value)
    if value != int(value):
        raise ValueError(_not(value, kind))
    if not _SMALLEST <= value <= _LARGEST:
        raise ValueError("is no whole number of 64 bits with a sign; `types` may say float or text")
    return int(value)


def _time(text: str, kind: str) -> str:
    """A date or time in the one way in which cells are written."""
    if kind == "date" and _DATE.fullmatch(text):
        return date.fromisoformat(text).isoformat()
    found = _TIMESTAMP.fullmatch(text)
    if found and kind == "timestamp" and not found[1]:
        return datetime.fromisoformat(text).isoformat()
    if found and kind == "timestamp_utc" and found[1]:
        return datetime.fromisoformat(text).astimezone(UTC).isoformat()
    raise ValueError(_not(text, kind))


def _not(value: Any, kind: str) -> str:
    shown = str(value) if isinstance(value, Decimal) else repr(value)
    wanted = _NAMES.get(kind) or f"a time {'with' if kind == 'timestamp_utc' else 'without'} a zone"
    point = "; decimals have a point" if kind == "float" and isinstance(value, str) and has_comma(value) else ""
    return f"{shown if len(shown) <= 40 else shown[:37] + '...'} is not {wanted}{point}"
