"""The example of a data team: ten thousand pictures whose crops, names and numbers come from a table."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq

from pipelines.models import ImageStatus
from rayjobs.job.job_file import load_job
from rayjobs.run.planning import planned_elsewhere
from rayjobs.run.run_request import request_of
from tests.quick_runs import run_here

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
sys.path.insert(0, str(EXAMPLES))
import crops_inputs  # noqa: E402

PICTURES, RUN = 10_000, 1_100


def place(tmp_path: Path, number: int) -> Path:
    """The example's job file, with so many pictures."""
    (tmp_path / "examples").mkdir()
    shutil.copy(EXAMPLES / "crops.yaml", tmp_path / "examples")
    crops_inputs.make(tmp_path / "out/crops-inputs", number)
    return tmp_path / "examples/crops.yaml"


def test_ten_thousand_rows_are_planned_with_one_recipe(tmp_path: Path) -> None:
    job = place(tmp_path, PICTURES)
    with planned_elsewhere(request_of(load_job(job), job.parent, None)) as (ledger, plan):
        assert (plan.sealed.total, plan.sealed.renamed, ledger.counts().open) == (PICTURES, 0, PICTURES)
        opened = ledger.open_inputs(0, PICTURES)
    table = pq.read_table(tmp_path / "out/crops-inputs/subjects.parquet").to_pylist()
    for entry, row in zip(opened, table, strict=True):  # both are in the order of the paths
        assert entry.values == f"[{row['side']},{row['side']},{row['x0']},{row['y0']}]"


def test_the_example_crops_as_its_table_says(tmp_path: Path) -> None:
    job = place(tmp_path, RUN)
    request = request_of(load_job(job), job.parent, None)
    assert run_here(request, per_block=64).status == "completed"
    output = tmp_path / "out/crops"
    table = pq.read_table(tmp_path / "out/crops-inputs/subjects.parquet").to_pylist()
    found = pq.read_table(output / "data/analyses.parquet").to_pylist()
    assert [row["input"].rpartition("pictures/")[2] for row in found] == [row["file"] for row in table]
    for number, (row, said) in enumerate(zip(found, table, strict=True)):
        for column in ("subject", "weight", "taken", "x0", "y0", "side"):
            assert row[column] == said[column]
        assert row["batch"] == number // 1000
        assert row["statistics_luma_mean"] == crops_inputs.gray_of(number)
    images = {path.stem: path for path in (output / "images").iterdir()}
    assert len(images) == RUN
    for number in (0, 1, 1034):
        subject = table[number]["subject"].replace("/", "_")
        (name,) = [each for each in images if each.endswith(f"_{number:05d}")]
        assert name.startswith(f"{number // 1000:02d}_{subject}")
        pixels = cv2.imread(str(images[name]), cv2.IMREAD_UNCHANGED)
        side = table[number]["side"]
        np.testing.assert_array_equal(pixels, np.full((side, side), crops_inputs.gray_of(number), np.uint8))


def test_a_moved_crop_is_the_only_one_made_again(tmp_path: Path) -> None:
    job = place(tmp_path, 40)
    request = request_of(load_job(job), job.parent, None)
    run_here(request, per_block=64)
    path = tmp_path / "out/crops-inputs/subjects.parquet"
    rows = pq.read_table(path).to_pylist()
    rows[7]["x0"] += 1
    rows[8]["weight"] = -1.0
    pq.write_table(pq.read_table(path).from_pylist(rows), path)
    worked_on: list[ImageStatus] = []
    assert run_here(request, rows=worked_on).status == "completed"
    assert len(worked_on) == 1
    found = pq.read_table(tmp_path / "out/crops/data/analyses.parquet").to_pylist()
    assert (found[7]["x0"], found[8]["weight"]) == (rows[7]["x0"], -1.0)
    assert found[7]["statistics_luma_mean"] < crops_inputs.gray_of(7)
