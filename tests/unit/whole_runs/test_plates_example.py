"""The example of a lab, run as it stands: its objects are those that were drawn, its groups those of pandas."""

from __future__ import annotations

import runpy
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from rayjobs.job.job_file import load_job
from rayjobs.run.run_request import request_of
from tests.quick_runs import run_here

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
INPUTS: dict[str, Any] = runpy.run_path(str(EXAMPLES / "plates_inputs.py"))
BY = ["plate", "dose"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("lab")
    INPUTS["gather"](root / "out" / "plates-inputs")
    (root / "examples").mkdir()
    job = Path(shutil.copy(EXAMPLES / "plates.yaml", root / "examples"))
    state = run_here(request_of(load_job(job), job.parent, None))
    assert (state.done, state.failed) == (23, 1)
    return root / "out" / "plates" / "data"


def test_each_well_has_its_columns_and_the_objects_that_were_drawn(data: Path) -> None:
    wells = pd.read_parquet(data / "analyses.parquet")
    assert wells.columns[:4].tolist() == ["input", "plate", "well", "dose"]
    assert wells.objects_count.tolist() == wells.dose.map(INPUTS["NUCLEI"]).tolist()


def test_each_object_has_the_columns_of_its_well(data: Path) -> None:
    wells, objects = pd.read_parquet(data / "analyses.parquet"), pd.read_parquet(data / "objects.parquet")
    counted = objects.groupby(["plate", "well"]).size()
    assert counted.to_dict() == wells.set_index(["plate", "well"]).objects_count.to_dict()


@pytest.mark.parametrize(("table", "column"), [("analyses", "objects_count"), ("objects", "area")])
def test_groups_are_those_of_pandas(data: Path, table: str, column: str) -> None:
    grouped = pd.read_parquet(data / f"{table}.parquet").groupby(BY, dropna=False)[column]
    expected = grouped.agg(["count", "mean", "std", "median"])
    groups = pd.read_parquet(data / "groups.parquet").query("table == @table and column == @column").set_index(BY)
    pd.testing.assert_frame_equal(groups[expected.columns], expected, check_dtype=False, rtol=1e-12)


def test_the_well_that_could_not_be_read_is_counted_in_its_group(data: Path) -> None:
    groups = pd.read_parquet(data / "groups.parquet").query("column == 'objects_count'").set_index(BY)
    assert groups.failed[groups.failed > 0].to_dict() == {("P2", 1.0): 1}
    assert groups.loc[("P2", 1.0), "count"] == 2


def test_a_higher_dose_leaves_fewer_and_smaller_nuclei(data: Path) -> None:
    groups = pd.read_parquet(data / "groups.parquet")
    for column in ("objects_count", "area"):
        means = groups[groups.column == column].pivot(index="dose", columns="plate", values="mean")
        assert (means.diff().dropna() < 0).sum().min() >= 2
        assert (means.iloc[-1] < means.iloc[0] / 2).all()
