"""Sizes and durations are for people."""

from __future__ import annotations

import pytest

from pipelines.quantity_texts import duration_text, size_text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (8.44, "8.4 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (725, "12 min 05 s"),
        (3599.7, "1 h 00 min"),
        (11_250, "3 h 07 min"),
    ],
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (812, "812 B"), (1024, "1.0 KiB"), (3 * 2**29, "1.5 GiB"), (2**52, "4,096.0 TiB")],
)
def test_sizes_read_well(size: int, text: str) -> None:
    assert size_text(size) == text
