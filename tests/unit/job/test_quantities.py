"""Sizes, durations and shares as people write them."""

from __future__ import annotations

import math

import pytest

from rayjobs.job.quantities import most_failures, parse_bytes, parse_count, parse_failures, parse_seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("2GiB", 2**31), ("1.5 MiB", 3 * 2**19), ("500MB", 500_000_000), ("7B", 7), ("030MB", 30_000_000), (12, 12)],
)
def test_sizes(text: object, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize(
    ("text", "count"), [("2G", 2 * 10**9), ("500M", 5 * 10**8), ("12", 12), (89_478_485, 89_478_485)]
)
def test_counts(text: object, count: int) -> None:
    assert parse_count(text) == count


@pytest.mark.parametrize(
    ("text", "seconds"), [("120s", 120), ("030s", 30), ("2min", 120), ("1.5h", 5400), ("250ms", 0.25), (3, 3)]
)
def test_durations(text: object, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "lots", "-1GiB", "2 GiBs", "0B", 0, -4, True, None, 1.5, "1e3MB", "٣GiB", "9" * 400 + "B", 10**400]
)
def test_what_is_no_size_is_refused_with_an_example(text: object) -> None:
    with pytest.raises(ValueError, match="such as"):
        parse_bytes(text)


@pytest.mark.parametrize(
    "text", ["", "soon", "0s", "-3s", 0, -1.0, True, None, "5 parsec", "9" * 400 + "s", 10**400, math.inf]
)
def test_what_is_no_duration_is_refused_with_an_example(text: object) -> None:
    with pytest.raises(ValueError, match="such as"):
        parse_seconds(text)


def test_failures_are_a_number_or_a_share() -> None:
    assert most_failures(parse_failures(3), 1000) == 3
    assert most_failures(parse_failures("5 %"), 1000) == 50
    assert most_failures(parse_failures("0.1%"), 999) == 0
    for wrong in (-1, "101%", "five", 0.5, True):
        with pytest.raises(ValueError, match="share"):
            parse_failures(wrong)
