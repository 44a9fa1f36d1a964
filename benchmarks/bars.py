"""The bars that the design sets, in one place; a measure names its own.

Facts (Ray isn't started, nothing is computed again) have no bar: they hold, or don't.
"""

from __future__ import annotations

from typing import Any

from benchmarks.figures import Measure

AT_LEAST = {
    "P1": 0.97,
    "P2": 50.0,
    "P4": 3.0,
    "P5": 25.0,
    "P6 unchanged": 100.0,
    "P8 submissions": 20_000.0,
    "P10 pool": 2.5,
    "P10 threads": 0.75,
    "P11 1000": 0.80,
    "P11 10000": 0.93,
    "P13 vipsthumbnail": 1.0,
    "P13 Daft": 1.4,
}
AT_MOST = {
    "P3 scopes": 2.4,
    "P3 tone": 1.15,
    "P6 changed": 1.5,
    "P7 first result": 0.5,
    "P7 total": 1.3,
    "P8 memory": 1.1,
    "P9 cost": 1.05,
    "P9 memory": 1.1,
    "P12 embedded": 1.3,
    "P12 running": 2.0,
    "P15 first pictures": 1.5,
    "P15 search": 0.2,
    "P15 sort": 0.2,
    "P16": 0.5,
}
"""Flat memory is within 10 %: its peak is a matter of chance by a few MB."""


def measure(bar: str, name: str, value: float, detail: dict[str, Any] | None = None) -> Measure:
    """A value held to the bar of that name."""
    higher = bar in AT_LEAST
    limit = AT_LEAST[bar] if higher else AT_MOST[bar]
    return Measure(name=name, value=value, bar=limit, higher_is_better=higher, detail=detail or {})
