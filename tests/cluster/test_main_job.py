"""The main job as a user runs it: files in; images, tables, charts, report and a complete manifest out."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from PIL import Image
from skimage.filters import unsharp_mask

from tests.runs import attempts, check_outputs, golden_tree, manifest, measured, rayjobs, write_job, write_photographs

BAD = {"broken/cut.jpg": "truncated", "broken/empty.jpg": "empty", "broken/text.png": "not_an_image"}
NO_RAY = {"RAY_ADDRESS": "127.0.0.1:1"}
"""Nothing answers there: a run that needs Ray can't end well."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a space in its path, photographs and three bad files."""
    root = tmp_path_factory.mktemp("main job")
    paths = write_photographs(root / "photos", 12)
    whole = paths[0].read_bytes()
    (root / "photos/broken").mkdir()
    (root / "photos/broken/cut.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "photos/broken/empty.jpg").write_bytes(b"")
    (root / "photos/broken/text.png").write_text("a text\n")
    return root


@pytest.fixture(scope="module")
def finished(place: Path) -> Path:
    """The output of the job, run once; tests that change the job leave it complete again."""
    job = write_job(place, export={"images": {"format": "png"}, "data": ["parquet", "csv"], "charts": True})
    done = rayjobs("run", job, "--json", home=place)
    assert done.code == 2, done.err  # three inputs failed, none may
    state = done.json
    assert (state["status"], state["total"], state["done"], state["failed"], state["skipped"]) == (
        "completed_with_failures",
        15,
        12,
        3,
        0,
    )
    assert re.fullmatch(r"test-job-[0-9a-f]{8}", state["job_id"])
    return place / "out"


def test_every_input_has_one_row_and_every_file_its_hash(finished: Path, place: Path) -> None:
    rows = manifest(finished)
    assert [row["input"] for row in rows] == sorted(row["input"] for row in rows)
    assert {row["input_bytes"] for row in rows} == {
        os.fsencode(path) for path in (place / "photos").rglob("*.*") if path.is_file()
    }
    failed = {row["input"].split("photos/")[1]: row["reason"] for row in rows if row["status"] == "failed"}
    assert failed == BAD
    assert all(row["message"] for row in rows if row["status"] == "failed")
    for row in rows:
        wanted = 3 if row["status"] == "done" else 0  # the image and two charts
        assert len(row["outputs"]) == wanted
        if wanted:
            assert (row["width"], row["height"]) == (96, 64)
    check_outputs(finished, rows)


def test_pixels_are_those_of_scikit_image(finished: Path, place: Path) -> None:
    source = np.asarray(Image.open(place / "photos/photo-0003.jpg"), float) / 255
    toned = np.rint(np.clip((source - 0.5) * 1.12 + 0.5 + 0.05, 0, 1) * 255)
    sharp = unsharp_mask(toned, radius=2, amount=0.5, preserve_range=True, channel_axis=2).clip(0, 255)
    found = np.asarray(Image.open(finished / "images/photo-0003.png"), float)
    inside = (slice(10, -10), slice(10, -10))  # borders are mirrored otherwise there
    assert np.abs(found - sharp)[inside].max() <= 1 + 1.5 * 0.5  # as the operation's docstring says


def test_tables_hold_what_numpy_counts_on_the_rendered_pixels(finished: Path) -> None:
    table = pq.read_table(finished / "data/analyses.parquet")
    assert table.num_rows == 12
    assert table.column("input").to_pylist() == sorted(table.column("input").to_pylist())
    row = measured(finished)[5]
    pixels = np.asarray(Image.open(finished / "images/photo-0005.png"))
    for channel, name in enumerate(("red", "green", "blue")):
        expected = np.bincount(pixels[..., channel].ravel(), minlength=256)
        np.testing.assert_array_equal(row[f"color_histogram_{name}"], expected)
    red, green, blue = (pixels[..., i].astype(float) for i in range(3))
    luma = np.rint(0.2126 * red + 0.7152 * green + 0.0722 * blue).astype(int)
    columns = np.broadcast_to(np.arange(96) * 256 // 96, luma.shape)
    waveform = np.zeros((256, 256), int)
    np.add.at(waveform, (luma, columns), 1)
    assert not [name for name in table.column_names if name.startswith(("luma_waveform_", "color_histogram_"))]
    np.testing.assert_array_equal(np.reshape(row["luma_waveform_counts"], (256, 256)), waveform)
    text = pyarrow.csv.read_csv(finished / "data/analyses.csv")
    assert text.num_rows == 12
    assert "statistics_mean_red" in text.column_names or any(n.startswith("statistics_") for n in text.column_names)


def test_the_report_shows_pictures_charts_and_failures_without_a_network(finished: Path) -> None:
    page = (finished / "report/index.html").read_text(encoding="utf-8")
    assert not re.findall(r"""(?:src|href)=["']?(?:https?:)?//""", page)
    links = re.findall(r'(?:src|href)="([^"#]+)"', page)
    assert {"report.js", "report.css", "data/job.js"} <= set(links)
    assert all((finished / "report" / link).is_file() for link in links)
    block = (finished / "report/data/block-00000.js").read_text(encoding="ascii")
    for name in BAD:
        assert json.dumps(Path(name).name) in block
    assert len(list((finished / "report/thumbnails").iterdir())) == 12


def test_provenance_says_what_ran_on_what(finished: Path) -> None:
    facts = json.loads((finished / "job.json").read_text(encoding="utf-8"))
    assert facts["status"] == "completed_with_failures"
    assert facts["job"]["operations"][0] == {"brightness_contrast": {"brightness": 0.05, "contrast": 1.12}}
    assert {"ray", "numpy", "Pillow"} <= facts["versions"].keys()


def test_the_unchanged_job_makes_no_attempt_and_needs_no_ray(finished: Path, place: Path) -> None:
    before, tree = attempts(finished), golden_tree(finished)
    done = rayjobs("run", place / "job.yaml", "--json", home=place, **NO_RAY)
    assert done.code == 2, done.err
    assert done.json["done"] == 12
    assert attempts(finished) == before
    assert golden_tree(finished) == tree


def test_fewer_analyses_or_another_table_format_need_no_ray_and_one_more_computes_only_that(
    finished: Path, place: Path
) -> None:
    job = place / "job.yaml"
    text, before, tree = job.read_text(), attempts(finished), golden_tree(finished)
    images = {path: path.stat().st_mtime_ns for path in (finished / "images").rglob("*.png")}
    try:
        write_job(
            place,
            analyses=["color_histogram", "statistics"],
            export={"images": {"format": "png"}, "data": ["json"], "charts": True},
        )
        fewer = rayjobs("run", job, "--json", home=place, **NO_RAY)
        assert fewer.code == 2, fewer.err
        assert golden_tree(finished).items() >= {(k, v) for k, v in tree.items() if k.startswith(("images", "charts"))}
        pruned = rayjobs("prune", finished, "--yes", "--json", home=place).json
        assert pruned["causes"]["unwanted"]["files"] == fewer.json["kept"]
        assert sorted(path.name for path in (finished / "data").iterdir()) == ["analyses.json"]
        assert not (finished / "charts/luma_waveform").exists()
        check_outputs(finished, manifest(finished))
        assert attempts(finished) == before
        write_job(
            place,
            analyses=["color_histogram", "statistics", "sharpness", "hue_histogram"],
            export={"images": {"format": "png"}, "data": ["parquet"], "charts": False},
        )
        more = rayjobs("run", job, "--json", home=place)
        assert more.code == 2, more.err
        names = pq.read_schema(finished / "data/analyses.parquet").names
        assert any(name.startswith("hue_histogram_") for name in names)
        assert {path: path.stat().st_mtime_ns for path in (finished / "images").rglob("*.png")} == images
    finally:
        job.write_text(text)
        back = rayjobs("run", job, "--json", home=place)
        assert back.code == 2, back.err
    assert rayjobs("prune", finished, "--yes", home=place).code == 0  # what the job asked for in between
    assert golden_tree(finished) == tree


def test_commands_know_the_job_by_id_and_by_directory(finished: Path, place: Path) -> None:
    by_directory = rayjobs("status", finished, "--json", home=place)
    assert by_directory.code == 0
    job_id = by_directory.json["job_id"]
    assert rayjobs("status", job_id, "--json", home=place).json == by_directory.json
    listed = rayjobs("list", "--json", home=place).json
    assert [job["job_id"] for job in listed] == [job_id]  # type: ignore[index]
    assert rayjobs("report", job_id, home=place).out.strip() == str(finished / "report/index.html")
    assert rayjobs("watch", job_id, home=place).code == 2
    history = rayjobs("history", job_id, "--input", "photo-0003", home=place)
    assert "done" in history.out
    assert rayjobs("cancel", job_id, "--json", home=place).json["status"] == "completed_with_failures"


def test_errors_are_one_message_and_exit_code_1(place: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("name: x\ninputs: [nothing/]\noperations: [blurr]\n")
    done = rayjobs("run", bad, home=tmp_path)
    assert done.code == 1
    assert "Traceback" not in done.err
    assert "bad.yaml:3:14: operations[0]: unknown operation 'blurr'" in done.err
    assert "output: is required" in done.err
    none = rayjobs("status", tmp_path, home=tmp_path)
    assert (none.code, "no job has run here" in none.err) == (1, True)
    nowhere = rayjobs("run", place / "job.yaml", "--output", bad / "below-a-file", "--json", home=tmp_path)
    assert (nowhere.code, nowhere.json["status"], nowhere.json["done"]) == (1, "failed", 0)
    assert nowhere.json["error"] in nowhere.err
    unreachable = rayjobs("run", place / "job.yaml", "--output", tmp_path / "x", "--json", home=tmp_path, **NO_RAY)
    assert unreachable.json["status"] == "failed"
    assert unreachable.json["error"] in unreachable.err
    assert (unreachable.code, "RAY_ADDRESS=127.0.0.1:1 can't be used" in unreachable.err) == (1, True)
    assert "Traceback" not in unreachable.err
