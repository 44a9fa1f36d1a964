"""The program's own operations, analyses and charts keep what plug-ins are held to, by the same checks."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest

from pipelines.analyses import ANALYSES
from pipelines.charts import CHARTABLE, ENGINES
from pipelines.operations import OPERATIONS
from rayjobs.testing import check_analysis, check_chart, check_operation
from tests.operation_cases import Case, analysis_cases, operation_cases

UNALIKE: set[str] = set()
"""Operations that look at the levels of a dtype."""


def by_name(cases: list[Case]) -> dict[str, list[dict[str, Any]]]:
    found = defaultdict(list)
    for name, params in cases:
        found[name].append(params)
    return found


OF_OPERATIONS = by_name(operation_cases())
OF_ANALYSES = by_name(analysis_cases())


@pytest.mark.parametrize("name", OF_OPERATIONS)
def test_operations_keep_the_contract(name: str) -> None:
    check_operation(OPERATIONS[name], OF_OPERATIONS[name], wrong=[{"no_such": 1}], alike=name not in UNALIKE)


@pytest.mark.parametrize("name", [name for name in OF_ANALYSES if name != "image_hash"])  # the table adds a column
def test_analyses_keep_the_contract(name: str) -> None:
    check_analysis(ANALYSES[name], OF_ANALYSES[name])


@pytest.mark.parametrize("name", [name for name in CHARTABLE if name in OF_ANALYSES])
def test_charts_keep_the_contract(name: str) -> None:
    check_chart(CHARTABLE[name], ANALYSES[name])


def test_the_chart_engine_keeps_the_contract() -> None:
    check_chart(ENGINES["fast"])
