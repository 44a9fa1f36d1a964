"""Whole runs whose inputs have columns: what stands in the outputs, and what a changed cell makes anew."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Sequence
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.cache.disk_cache import DiskCache
from pipelines.models import ImageStatus
from rayjobs.command_line.ray_submit import resolved_job
from rayjobs.job.job_check import check_job
from rayjobs.job.output_directory import OutputDirectory
from rayjobs.managers.batch_job_manager import BatchJobManager
from rayjobs.managers.job_images import JobWithImages
from rayjobs.results.rebuilding import rebuild
from rayjobs.run.dry_run import dry_run
from rayjobs.run.run_request import stored_request
from tests.quick_runs import request, run_here

SIDE = 32
COLUMNS = ["plate", "well", "dose", "day"]
CROP = {"crop": {"x": {"column": "x0"}, "y": 4, "width": 12, "height": 10}}
GROUPS = {"pattern": r"plate_(?P<folder>\d+)/(?P<spot>[A-H]\d\d)", "types": {"folder": "int"}}


class Lab:
    """Six pictures, a table of them, and a job."""

    def __init__(self, base: Path) -> None:
        self.base, self.output = base, base / "out"
        self.rows: list[dict[str, Any]] = []
        for place in range(6):
            file = f"plate_{place // 3}/A0{place % 3}.png"
            path = base / "images" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(place).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
            cv2.imwrite(str(path), pixels)
            self.rows.append(
                {
                    "file": file,
                    "plate": place // 3,
                    "well": f"A0{place % 3}",
                    "dose": place / 4,
                    "day": date(2026, 1, place + 1),
                    "x0": place,
                }
            )
        self.job: dict[str, Any] = {
            "inputs": {"table": "plates.csv", "path": "file", "base": "images/", "columns": COLUMNS},
            "groups": GROUPS,
            "operations": [CROP],
            "analyses": ["statistics", "objects"],
            "export": {"images": {"format": "png", "layout": "flat", "name": "{plate}_{well}"}, "data": ["parquet"]},
        }

    def write(self) -> None:
        with (self.base / "plates.csv").open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, list(self.rows[0]))
            writer.writeheader()
            writer.writerows(self.rows)

    def run(self, **options: Any) -> list[str]:
        """Names of the inputs that were worked on."""
        self.write()
        rows: list[ImageStatus] = []
        state = run_here(request(self.base, self.job), rows=rows, **options)
        assert state.status == "completed", state
        names = {each.id: os.path.basename(each.path) for each in self.finals()}
        return sorted(names[row.id].decode() for row in rows)

    def finals(self) -> list[Any]:
        with closing(OutputDirectory(self.output).read_ledger()) as ledger:
            return list(ledger.final_inputs())

    def table(self, name: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = pq.read_table(self.output / name).to_pylist()
        return rows

    def images(self) -> dict[str, np.ndarray]:
        return {path.stem: cv2.imread(str(path)) for path in sorted((self.output / "images").iterdir())}

    def crop_of(self, place: int) -> np.ndarray:
        row = self.rows[place]
        source = cv2.imread(str(self.base / "images" / row["file"]))
        return source[4:14, row["x0"] : row["x0"] + 12]


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def expected(row: dict[str, Any]) -> dict[str, Any]:
    folder, spot = row["file"][6], row["file"][8:11]
    return {**{name: row[name] for name in [*COLUMNS, "x0"]}, "folder": int(folder), "spot": spot}


def test_columns_stand_in_every_table_and_decide_pixels_and_names(lab: Lab) -> None:
    assert len(lab.run()) == 6
    assert list(lab.images()) == ["0_A00", "0_A01", "0_A02", "1_A00", "1_A01", "1_A02"]
    for place, pixels in enumerate(lab.images().values()):
        np.testing.assert_array_equal(pixels, lab.crop_of(place))
    names = [*COLUMNS, "x0", "folder", "spot"]
    for table in ("data/analyses.parquet", "manifest.parquet"):
        assert [{name: row[name] for name in names} for row in lab.table(table)] == list(map(expected, lab.rows))
    schema = pq.read_schema(lab.output / "data/analyses.parquet")
    assert schema.names[: len(names) + 1] == ["input", *names]
    types = [pa.int64(), pa.string(), pa.float64(), pa.date32(), pa.int64(), pa.int64(), pa.string()]
    assert [schema.field(name).type for name in names] == types
    objects = lab.table("data/objects.parquet")
    by_input = {row["input"]: row for row in lab.table("data/analyses.parquet")}
    assert objects
    assert {row["input"] for row in objects} == set(by_input)
    assert all(row[name] == by_input[row["input"]][name] for row in objects for name in names)
    said = json.loads((lab.output / "job.json").read_text())
    assert said["columns"] == {
        "plate": "int", "well": "text", "dose": "float", "day": "date", "x0": "int", "folder": "int", "spot": "text"
    }  # fmt: skip
    assert "2026-01-03" in (lab.output / "report/data/rows-00000.js").read_text(encoding="ascii")


def test_a_changed_cell_makes_just_what_it_decides(lab: Lab) -> None:
    lab.run()
    before = lab.images()
    assert lab.run() == []

    lab.rows[1]["dose"] = 99.5  # stands in tables alone
    assert lab.run() == []
    assert [row["dose"] for row in lab.table("data/analyses.parquet")] == [row["dose"] for row in lab.rows]
    assert [row["dose"] for row in lab.table("manifest.parquet")] == [row["dose"] for row in lab.rows]

    lab.rows[2]["x0"] = 17  # an operation uses it
    assert lab.run() == ["A02.png"]
    after = lab.images()
    np.testing.assert_array_equal(after["0_A02"], lab.crop_of(2))
    assert all(np.array_equal(before[name], after[name]) for name in before if name != "0_A02")

    lab.rows[3]["well"] = "H/12"  # a name says it
    assert lab.run() == ["A00.png"]
    (name,) = set(lab.images()) - set(before)
    assert name.startswith("1_H_12-")  # made safe as every name is; what it was called is kept until `prune`
    assert "1_A00" in lab.images()
    np.testing.assert_array_equal(lab.images()[name], lab.crop_of(3))


def test_a_column_more_or_less_computes_nothing(lab: Lab) -> None:
    lab.run()
    lab.job["inputs"]["columns"] = ["well", "plate"]
    del lab.job["groups"]
    assert lab.run() == []
    assert pq.read_schema(lab.output / "data/analyses.parquet").names[:4] == ["input", "well", "plate", "x0"]
    assert pq.read_schema(lab.output / "manifest.parquet").names[-3:] == ["well", "plate", "x0"]


def test_rows_in_another_order_are_the_same_job(lab: Lab) -> None:
    lab.run()
    before = (lab.output / "manifest.parquet").read_bytes()
    lab.rows.reverse()
    assert lab.run() == []
    assert (lab.output / "manifest.parquet").read_bytes() == before


def test_failed_inputs_and_unmatched_ones_have_their_cells(lab: Lab) -> None:
    lab.rows[4]["file"] = "plate_1/gone.png"
    lab.rows[5]["file"] = "other.png"
    shutil.copy(lab.base / "images/plate_1/A02.png", lab.base / "images/other.png")
    lab.write()
    state = run_here(request(lab.base, lab.job))
    assert (state.status, state.unmatched) == ("completed_with_failures", 2)
    by_name = {os.path.basename(row["input"]): row for row in lab.table("manifest.parquet")}
    assert (by_name["gone.png"]["reason"], by_name["gone.png"]["dose"]) == ("missing", 1.0)
    assert (by_name["other.png"]["status"], by_name["other.png"]["folder"]) == ("done", None)
    said = json.loads((lab.output / "job.json").read_text())
    assert sorted(map(os.path.basename, said["unmatched_inputs"])) == ["gone.png", "other.png"]
    outlook = dry_run(request(lab.base, lab.job))
    assert (outlook.unmatched, outlook.columns["dose"]) == (2, "float")
    assert any("other.png" in line for line in outlook.lines())


def test_every_format_shows_the_same_cells(lab: Lab) -> None:
    lab.job["export"]["data"] = ["parquet", "csv", "json"]
    lab.run()
    with (lab.output / "data/analyses.csv").open(encoding="utf-8", newline="") as stream:
        of_csv = list(csv.DictReader(stream))
    of_json = json.loads((lab.output / "data/analyses.json").read_text(encoding="utf-8"))
    for row, shown, plain in zip(lab.rows, of_csv, of_json, strict=True):
        assert [shown[name] for name in COLUMNS] == [str(row[name]) for name in COLUMNS]
        assert [plain[name] for name in COLUMNS] == [*(row[name] for name in COLUMNS[:3]), str(row["day"])]


def test_scopes_and_groups_of_duplicates_beside_columns(lab: Lab) -> None:
    lab.job["analyses"] = ["scopes", "image_hash"]
    lab.run()
    rows = lab.table("data/analyses.parquet")
    assert [row["dose"] for row in rows] == [row["dose"] for row in lab.rows]
    lab.rows[0]["dose"] = 7.5
    assert lab.run() == []
    assert lab.table("data/analyses.parquet")[0]["dose"] == 7.5


def test_what_is_known_of_one_crop_is_not_taken_for_another(lab: Lab, tmp_path: Path) -> None:
    del lab.job["export"]["images"]
    lab.job |= {"cache": "on", "analyses": ["statistics"]}
    cache = DiskCache(tmp_path / "cache", max_bytes=10**8)
    lab.run(cache=cache)
    means = [row["statistics_luma_mean"] for row in lab.table("data/analyses.parquet")]
    lab.rows[0]["x0"] = 19
    lab.run(cache=cache)
    again = [row["statistics_luma_mean"] for row in lab.table("data/analyses.parquet")]
    assert again[0] != means[0]
    assert again[1:] == means[1:]


def test_a_lookup_table_may_come_from_a_column(lab: Lab) -> None:
    cubes = ('TITLE "x"\nLUT_3D_SIZE 2\n', ["0 0 0", "1 0 0", "0 1 0", "1 1 0", "0 0 1", "1 0 1", "0 1 1", "1 1 1"])
    (lab.base / "same.cube").write_text(cubes[0] + "\n".join(cubes[1]) + "\n")
    (lab.base / "none.cube").write_text(cubes[0] + "\n".join(["0 0 0"] * 8) + "\n")
    for place, row in enumerate(lab.rows):
        row["look"] = "none.cube" if place == 3 else "same.cube"
    lab.job["operations"] = [{"lut3d": {"path": {"column": "look"}}}]
    assert len(lab.run()) == 6
    assert [bool(pixels.any()) for pixels in lab.images().values()] == [True, True, True, False, True, True]
    shutil.copy(lab.base / "same.cube", lab.base / "none.cube")
    assert lab.run() == ["A00.png"]
    lab.rows[0]["look"] = "gone.cube"
    lab.write()
    with pytest.raises(Exception, match=r"plates.csv row 1: operations\[0\].lut3d.path: .*gone.cube"):
        run_here(request(lab.base, lab.job))


# ---- the other ways in -----------------------------------------------------------------------------------------------


def test_a_stored_job_and_a_submitted_one_are_the_same_job(lab: Lab, tmp_path: Path) -> None:
    lab.run()
    stored = stored_request(OutputDirectory(lab.output))
    assert run_here(stored).unchanged
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    resolved = check_job(resolved_job(stored), base=elsewhere)
    (table,) = resolved.inputs
    assert (table.table, table.base) == (str(lab.base / "plates.csv"), f"{lab.base}/images/")  # type: ignore[union-attr]
    state = run_here(request(elsewhere, resolved.model_dump(mode="json")))
    assert (state.done, state.unchanged) == (6, True)


def test_a_ledger_made_again_from_the_manifest_has_the_columns(lab: Lab) -> None:
    lab.run()
    output = OutputDirectory(lab.output)
    for path in (output.ledger, output.sealed_ledger):
        path.unlink()
    assert rebuild(output).done == 6
    assert lab.run() == []
    assert [row["dose"] for row in lab.table("data/analyses.parquet")] == [row["dose"] for row in lab.rows]


def test_managers_take_tables(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.write()
    monkeypatch.chdir(lab.base)
    (lab.base / "job.json").write_text(json.dumps({"name": "j", "output": "out", **lab.job}))
    with BatchJobManager(tmp_path / "home") as manager:
        job = manager.create_job_from_file(lab.base / "job.json")
        table = job.source_paths[0]
        assert isinstance(table, dict)
        assert table["table"] == "plates.csv"
        assert manager.add_images(job.job_id, [table, "more/"]).source_paths == [table, "more/"]
        assert manager.remove_images(job.job_id, ["more/"]).source_paths == [table]
        other = manager.create_job("k", [lab.job["inputs"]], [CROP], output="other")
        assert other.source_paths == [lab.job["inputs"]]
        images = JobWithImages(job=job, include_effects=True, request=request(lab.base, lab.job)).images
    for place, image in enumerate(sorted(images, key=lambda each: each.source)):
        np.testing.assert_array_equal(image.load(), lab.crop_of(place)[..., ::-1])


def test_staged_and_fused_work_alike(lab: Lab) -> None:
    """``own_recipe`` is asked by both; here the fused one, the staged one by the cluster's tests."""
    from pipelines.stages.recipe import own_recipe
    from rayjobs.job.recipes import JobRecipes
    from rayjobs.run.planning import planned_elsewhere

    lab.write()
    with planned_elsewhere(request(lab.base, lab.job)) as (ledger, plan):
        book = JobRecipes(request(lab.base, lab.job).spec, plan.wanted, ledger)
        items = book.items(ledger.open_inputs(0, 9))
        chains: Sequence[Any] = [own_recipe(book.by_number[item.recipe], item).operations for item in items]
        assert len(book.by_number) == 1
    assert [chain[0].params["x"] for chain in chains] == [row["x0"] for row in lab.rows]
