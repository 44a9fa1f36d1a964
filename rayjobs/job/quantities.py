"""Sizes, durations and shares as people write them in a job file."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer

_NUMBER = r"(?P<number>[0-9]+(?:\.[0-9]+)?)"
_COUNTS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BYTES = {
    **{f"{prefix}iB": 1024**power for power, prefix in enumerate("KMGT", start=1)},
    **{f"{prefix}B": 1000**power for power, prefix in enumerate(("k", "M", "G", "T"), start=1)},
    "B": 1,
}
_LARGEST = 1e18
_SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0}


def parse_bytes(value: object) -> int:
    """``2GiB``, ``500MB`` or a whole number of bytes."""
    return _parse(value, _BYTES, "a size such as 2GiB, 500MB or a number of bytes")


def parse_count(value: object) -> int:
    """``2G``, ``500M`` or a whole number."""
    return _parse(value, _COUNTS, "a number such as 500M, 2G or 89478485")


def parse_seconds(value: object) -> float:
    """``120s``, ``2min``, ``1.5h`` or a number of seconds, greater than 0."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= _LARGEST:
        return float(value)
    expected = "a duration such as 120s, 2min or 1.5h"
    number, unit = _split(value, expected)
    if unit not in _SECONDS or number == 0:
        raise ValueError(f"expected {expected}")
    return number * _SECONDS[unit]


def parse_failures(value: object) -> int | str:
    """A whole number of inputs, or a share of them such as ``5%``."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and (match := re.fullmatch(_NUMBER + r"\s*%", value)) and float(match["number"]) <= 100:
        return f"{float(match['number']):g}%"
    raise ValueError("expected a number of inputs, or a share such as 5%")


def most_failures(limit: int | str, total: int) -> int:
    """How many of ``total`` inputs may fail."""
    return limit if isinstance(limit, int) else int(total * float(limit.removesuffix("%")) / 100)


def _parse(value: object, units: dict[str, int], expected: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _LARGEST:
        return value
    number, unit = _split(value, expected)
    if unit not in units or number * units[unit] < 1:
        raise ValueError(f"expected {expected}")
    return int(number * units[unit])


def _split(value: object, expected: str) -> tuple[float, str]:
    match = re.fullmatch(_NUMBER + r"\s*(?P<unit>[a-zA-Z]*)", value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"expected {expected}")
    number = float(match["number"])
    if number > _LARGEST:  # no machine has as many of anything, and floats end at some 300 digits
        raise ValueError(f"expected {expected}")
    return number, match["unit"]


Bytes = Annotated[int, BeforeValidator(parse_bytes)]
Count = Annotated[int, BeforeValidator(parse_count)]
Seconds = Annotated[float, BeforeValidator(parse_seconds), PlainSerializer(float)]
Failures = Annotated[int | str, BeforeValidator(parse_failures)]
