"""What comes over from outputs of an older version is what this version makes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rayjobs.job.older_products import _ANALYSES, _OPERATIONS
from tests.older_results import results

GOLDEN: dict[str, dict[str, str]] = json.loads(
    (Path(__file__).parents[2] / "data/results-of-format-2.json").read_text(encoding="utf-8")
)
GAINED = {"statistics": {"significant_bits"}, "sharpness": {"white"}}
"""Columns that the older version didn't have."""


@pytest.fixture(scope="module")
def now() -> dict[str, dict[str, str]]:
    return results()


def test_plain_images_give_what_they_gave(now: dict[str, dict[str, str]]) -> None:
    assert now.keys() == GOLDEN.keys()
    for what, columns in GOLDEN.items():
        gained = GAINED.get(what.rpartition(" ")[2], set())
        assert {name: value for name, value in now[what].items() if name not in gained} == columns, what


def test_all_that_comes_over_though_it_was_raised_was_compared() -> None:
    compared = {what.partition(": ")[2].partition(" ")[0] for what in GOLDEN}
    assert set(_OPERATIONS) | set(_ANALYSES) <= compared
