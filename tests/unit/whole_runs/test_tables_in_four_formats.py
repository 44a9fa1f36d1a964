"""A whole run whose tables are written in all formats: they agree value by value, and the groups are pandas'."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.errors import JobError
from pipelines.tables import safe_cell
from rayjobs.job.job_file import parse_job
from tests.quick_runs import request, run_here
from tests.unit.tables.test_table_formats import sheet_cells

FORMATS = ["parquet", "csv", "json", "xlsx"]
TABLES = ("analyses", "objects", "groups")
PLATES = ["P1", "P1", "P2", "=SUM(A1)", None, "", "@Ünï🧪", 'a;b,"c"\nd', "P1", "P2"]
"""Of the images; the last two are none."""
COLUMNS = {
    "plate": PLATES,
    "dose": [0.1, 0.2, 0.1, -0.0, 1e300, None, 0.3, 5e-324, 0.1, 0.1],
    "number": [1, 2**53, -(2**53) - 1, 0, None, 7, 8, 9, 10, 11],
    "control": [True, False, None, True, True, False, True, False, True, True],
    "day": [None if n == 3 else pd.Timestamp(f"2026-01-0{n + 1}").date() for n in range(9)] + [None],
}
JOB = {
    "inputs": {"table": "plates.parquet", "path": "file", "columns": list(COLUMNS), "nulls": "keep"},
    "analyses": ["statistics", "sharpness", {"objects": {"minimum_area": 1, "properties": ["area", "circularity"]}}],
    "group_by": ["plate"],
    "export": {"data": FORMATS},
    "max_failures": 9,
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("plates")
    random = np.random.default_rng(7)
    names = [f"{number}.png" for number in range(len(PLATES))]
    for number, name in enumerate(names[:-2]):
        image = random.integers(0, 30, (40, 40), np.uint8)
        image[30, 30] = 250  # an object without a perimeter, whose circularity is NaN
        for place in range(number):
            cv2.circle(image, (5 + 4 * place, 10), 1, (255,), -1)
        cv2.imwrite(str(root / name), image)
    for name in names[-2:]:
        (root / name).write_bytes(b"no image")
    pq.write_table(
        pa.table({"file": names, **{name: pa.array(cells) for name, cells in COLUMNS.items()}}), root / "plates.parquet"
    )
    state = run_here(request(root, JOB))
    assert (state.done, state.failed) == (8, 2)
    return root / "out"


def rows_of(root: Path, table: str) -> tuple[list[str], list[list[Any]]]:
    """What Parquet says: the truth that other formats are compared with."""
    found = pq.read_table(root / "data" / f"{table}.parquet")
    plain = [
        name for name, kind in zip(found.column_names, found.schema.types, strict=True) if not pa.types.is_nested(kind)
    ]
    return plain, [list(row.values()) for row in found.select(plain).to_pylist()]


def as_text(value: Any) -> Any:
    """What plain formats hold: texts are made harmless, dates are texts."""
    if isinstance(value, str):
        return safe_cell(value)
    return value.isoformat() if hasattr(value, "isoformat") else value


def as_json(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value.isoformat() if hasattr(value, "isoformat") else value


def as_sheet(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 2**53:
        return str(value)
    text = as_text(value)
    return float(text) if isinstance(text, int | float) else text


WORDS = {"": None, "true": True, "false": False}


def csv_rows(text: str) -> Iterator[list[Any]]:
    """Cells as the reference says: in quotes is text; of the others nothing is null, and the rest numbers."""
    row: list[Any] = []
    place = 0
    while place < len(text):
        if text[place] == '"':
            end = place + 1
            while text[end] != '"' or text[end + 1 : end + 2] == '"':
                end += 2 if text[end] == '"' else 1
            row.append(text[place + 1 : end].replace('""', '"'))
            place = end + 1
        else:
            end = min(found for found in (text.find(",", place), text.find("\r\n", place)) if found >= 0)
            cell = text[place:end]
            row.append(WORDS[cell] if cell in WORDS else float(cell))
            place = end
        if text[place] == ",":
            place += 1
        else:
            yield row
            row, place = [], place + 2


def same(found: Any, expected: Any) -> bool:
    if isinstance(expected, float) and math.isnan(expected):
        return isinstance(found, float) and math.isnan(found)
    if isinstance(expected, bool) or expected is None:
        return found is expected or (isinstance(expected, bool) and found == float(expected))
    return bool(found == (float(expected) if isinstance(found, float) else expected))


def assert_equal(found: list[list[Any]], expected: list[list[Any]]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        wrong = [(a, b) for a, b in zip(one, other, strict=True) if not same(a, b)]
        assert not wrong


@pytest.mark.parametrize("table", TABLES)
def test_csv_has_what_parquet_has(root: Path, table: str) -> None:
    names, rows = rows_of(root, table)
    heads, *found = csv_rows((root / "data" / f"{table}.csv").read_bytes().decode())
    assert heads == names
    assert_equal(found, [[as_text(value) for value in row] for row in rows])


@pytest.mark.parametrize("table", TABLES)
def test_json_has_what_parquet_has(root: Path, table: str) -> None:
    names, rows = rows_of(root, table)
    found = json.loads((root / "data" / f"{table}.json").read_text(encoding="utf-8"))
    assert_equal([[row[name] for name in names] for row in found], [[as_json(value) for value in row] for row in rows])


@pytest.mark.parametrize(("number", "table"), list(enumerate(TABLES, start=1)))
def test_a_sheet_has_what_parquet_has(root: Path, number: int, table: str) -> None:
    names, rows = rows_of(root, table)
    heads, *found = (list_of(cells, len(names)) for cells in sheet_cells(root / "data" / "analyses.xlsx", number))
    assert heads == names
    assert_equal(found, [[as_sheet(value) for value in row] for row in rows])


def list_of(cells: dict[str, str | float], count: int) -> list[Any]:
    from xlsxwriter.utility import xl_col_to_name

    return [cells.get(xl_col_to_name(place)) for place in range(count)]


@pytest.mark.parametrize(
    ("table", "column"), [("analyses", "statistics_luma_mean"), ("objects", "area"), ("objects", "circularity")]
)
def test_groups_are_those_of_pandas(root: Path, table: str, column: str) -> None:
    data = root / "data"
    grouped = pd.read_parquet(data / f"{table}.parquet").groupby("plate", dropna=False)[column]
    expected = grouped.agg(["count", "mean", "std", "median"]).assign(q25=grouped.quantile(0.25))
    groups = pd.read_parquet(data / "groups.parquet")
    found = groups[(groups.table == table) & (groups.column == column)].set_index("plate")
    pd.testing.assert_frame_equal(
        found[expected.columns], expected, check_dtype=False, check_names=False, check_like=True, rtol=1e-12
    )


def test_failed_inputs_are_counted_in_their_groups(root: Path) -> None:
    groups = pd.read_parquet(root / "data" / "groups.parquet")
    failed = groups[groups.column == "statistics_luma_mean"].set_index("plate").failed
    assert {plate: count for plate, count in failed.items() if count} == {"P1": 1, "P2": 1}


def test_the_report_shows_groups_by_labels(root: Path) -> None:
    page = (root / "report" / "index.html").read_text(encoding="utf-8")
    assert '<th scope="col">Brightness (level)</th>' in page
    assert "<td>@Ünï🧪</td>" in page


def test_the_same_job_again_has_nothing_to_do(root: Path) -> None:
    before = {path: path.stat().st_ctime_ns for path in (root / "data").iterdir()}
    assert run_here(request(root.parent, JOB)).unchanged
    assert {path: path.stat().st_ctime_ns for path in (root / "data").iterdir()} == before


def test_other_groups_make_only_the_tables_anew(root: Path) -> None:
    before = (root / "data" / "analyses.csv").read_bytes()
    worked: list[Any] = []
    state = run_here(request(root.parent, {**JOB, "group_by": ["control", "dose"]}), rows=worked)
    assert not worked
    assert state.done == 8
    assert pq.read_schema(root / "data" / "groups.parquet").names[:3] == ["control", "dose", "table"]
    assert (root / "data" / "analyses.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": ["in/"]}, "there is no column 'plate'"),
        ({"group_by": ["plate", "plate"]}, "'plate' is named twice"),
        ({"analyses": []}, "ask for analyses"),
        ({"group_by": ["mean"]}, "has a column 'mean' of its own"),
    ],
)
def test_what_cannot_be_grouped_is_told_before_anything_runs(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(JobError, match=message):
        parse_job(json.dumps({"name": "x", "output": "out", **JOB, **changes}), base=tmp_path)


def test_a_column_that_the_table_lacks_is_told_when_planning(tmp_path: Path, root: Path) -> None:
    (tmp_path / "plates.csv").write_text("file,plate\na.png,P1\n")
    job = {"inputs": {"table": "plates.csv", "path": "file"}, "analyses": ["noise"], "group_by": ["dose"]}
    with pytest.raises(JobError, match="dose"):
        run_here(request(tmp_path, job))
