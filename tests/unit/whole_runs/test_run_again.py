"""A run again tells the truth: what is gone is made again, what somebody changed is theirs, results outlive inputs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipelines.errors import JobError
from pipelines.models import ImageStatus
from rayjobs.job.output_directory import OutputDirectory
from rayjobs.results.pruning import prune
from rayjobs.results.published import verify
from rayjobs.run.run_end import RunEnd
from tests.places import JOB, Place, picture, tree
from tests.quick_runs import Killed
from tests.runs import manifest


def outside(output: Path) -> dict[str, bytes]:
    """What people see of an output."""
    return {path: data for path, data in tree(output).items() if "/.rayjobs/" not in path}


# ---- nothing to do, and what is gone or damaged ---------------------------------------------------------------------


def test_an_unchanged_job_has_nothing_to_do_and_touches_nothing(place: Place) -> None:
    first = place.run()
    assert (first.done, first.unchanged) == (4, False)
    before = {path: Path(path).stat().st_mtime_ns for path in outside(place.out)}
    again = place.run()
    assert again.unchanged
    assert place.rows == []
    assert {path: Path(path).stat().st_mtime_ns for path in before} == before
    assert verify(OutputDirectory(place.out), deep=True) == []


@pytest.mark.parametrize(
    ("gone", "worked"),
    [
        ("images/p1.png", 1),
        ("charts/color_histogram/p2.png", 1),
        ("images", 4),
        ("charts", 4),
        ("manifest.parquet", 0),
        ("data/analyses.csv", 0),
        ("data", 0),
        ("job.json", 0),
        ("report/index.html", 0),
        ("report", 0),
    ],
)
def test_what_is_gone_is_made_again_and_nothing_else(place: Place, gone: str, worked: int) -> None:
    place.run()
    whole, data = tree(place.out / "images", place.out / "charts"), place.data()
    sealed = (place.out / "manifest.parquet").read_bytes()
    path = place.out / gone
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    assert not place.run().unchanged
    assert len(place.rows) == worked
    assert tree(place.out / "images", place.out / "charts") == whole
    assert place.data() == data
    assert (place.out / "manifest.parquet").read_bytes() == sealed
    assert (place.out / "report/index.html").exists()
    assert verify(OutputDirectory(place.out), deep=True) == []
    assert place.run().unchanged


@pytest.mark.parametrize(
    "name", ["manifest.parquet", "data/analyses.parquet", "data/analyses.csv", "job.json", "report/index.html"]
)
@pytest.mark.parametrize("keep", [0, 40])
def test_a_fixed_file_that_was_cut_off_is_written_again(place: Place, name: str, keep: int) -> None:
    place.run()
    path = place.out / name
    whole = path.read_bytes()
    path.unlink()  # not the inode that a table shares with the results
    path.write_bytes(whole[:keep])
    place.run()
    if name not in ("job.json", "report/index.html"):  # those carry times
        assert path.read_bytes() == whole
    assert len(path.read_bytes()) > len(whole) / 2
    place.listed()
    assert place.run().unchanged


@pytest.mark.parametrize("name", ["manifest.parquet", "data/analyses.csv", "job.json", "report/index.html"])
def test_a_fixed_file_that_somebody_changed_is_theirs(place: Place, name: str) -> None:
    place.run()
    path = place.out / name
    mine = path.read_bytes() + b"a note of mine"
    path.write_bytes(mine)
    others = tree(place.out / "images", place.out / "charts")
    with pytest.raises(JobError, match=rf"{name}: was changed since the job wrote it\n.*move them away"):
        place.run()
    assert path.read_bytes() == mine
    assert tree(place.out / "images", place.out / "charts") == others
    path.unlink()
    place.run()
    assert place.run().unchanged


@pytest.mark.parametrize(
    ("name", "is_kept"),
    [
        ("report/data/block-00000.js", False),
        ("report/data/rows-00000.js", False),
        ("data/analyses.csv", False),
        ("manifest.parquet", False),
        ("report/data/job.js", True),
        ("report/index.html", True),
        ("report/report.css", True),
        ("report/report.js", True),
        ("job.json", True),
    ],
)
def test_a_fixed_file_that_was_cut_off_and_has_to_change_is_known_or_told_before_anything_is_touched(
    place: Place, name: str, is_kept: bool
) -> None:
    """``is_kept``: the record has what was in it."""
    place.run()
    path = place.out / name
    whole = path.read_bytes()
    picture(place.base / "in/a.png", 200)  # the first of all: nothing that lists them begins as it did
    path.unlink()
    path.write_bytes(whole[: len(whole) - 9])
    before = outside(place.out)
    if not is_kept:
        with pytest.raises(JobError, match=rf"{name}: was cut off or shortened .*\n.*nothing was touched"):
            place.run()
        assert outside(place.out) == before
        path.write_bytes(b"")  # in which nothing is that could be lost
    place.run()
    assert len(pq.read_table(place.out / "manifest.parquet")) == 5
    assert verify(OutputDirectory(place.out), deep=True) == []
    assert place.run().unchanged


def test_a_table_that_was_cut_off_is_written_again_though_an_image_is_gone_as_well(place: Place) -> None:
    place.run()
    path, whole = place.out / "data/analyses.csv", place.data()
    path.write_bytes(path.read_bytes()[:40])
    (place.out / "images/p1.png").unlink()
    place.run()
    assert place.data() == whole
    assert place.run().unchanged


def test_a_repair_that_was_killed_goes_on(place: Place) -> None:
    """It has withdrawn the results, so that what is lacking no longer tells whether tables will change."""
    place.run()
    path, whole = place.out / "data/analyses.csv", place.data()
    path.write_bytes(path.read_bytes()[:-9])
    (place.out / "images/p1.png").unlink()

    def kill(row: ImageStatus) -> None:
        raise Killed

    with pytest.raises(Killed):
        place.run(after=kill)
    assert path.read_bytes() == whole[path.name][:-9]
    place.run()
    assert place.data() == whole
    assert verify(OutputDirectory(place.out), deep=True) == []
    assert place.run().unchanged


def test_of_a_stopped_job_that_has_to_change_what_somebody_shortened_is_told_at_the_end(place: Place) -> None:
    place.run()
    path = place.out / "data/analyses.csv"
    picture(place.base / "in/a.png", 200)
    place.run(most=0, end=RunEnd.PAUSED)
    mine = path.read_bytes()[:-9]
    path.write_bytes(mine)
    for worked in (1, 0):  # the images are done once
        with pytest.raises(JobError, match=r"analyses\.csv exists and is not this job's.*move it away, then run again"):
            place.run()
        assert len(place.rows) == worked
        assert path.read_bytes() == mine
    path.unlink()
    place.run()
    assert len(pq.read_table(place.out / "manifest.parquet")) == 5
    assert place.run().unchanged


def test_a_table_that_somebody_shortened_is_theirs(place: Place) -> None:
    place.run()
    path = place.out / "data/analyses.csv"
    mine = b"\n".join(path.read_bytes().split(b"\n")[1:3])  # without the header: no beginning of ours
    path.unlink()
    path.write_bytes(mine)
    with pytest.raises(
        JobError, match=r"analyses\.csv exists and is not this job's, or was changed since; move it away"
    ):
        place.run()
    assert path.read_bytes() == mine


def test_damaged_results_open_just_their_inputs(place: Place) -> None:
    place.run()
    data = place.data()
    picture(place.base / "in/q.png", 200)  # sealed into a part of its own range later: all are sealed anew
    place.run()
    part = next((place.out / ".rayjobs/results").glob("*.parquet"))
    part.write_bytes(part.read_bytes()[:100])
    images = tree(place.out / "images")
    place.run()
    assert len(place.rows) == 5
    assert {output.product for row in place.rows for output in row.outputs} == set()  # only the numbers
    assert tree(place.out / "images") == images
    assert len(pq.read_table(place.out / "data/analyses.parquet")) == 5
    assert data != place.data()
    assert place.run().unchanged


def test_other_tables_and_the_report_are_written_without_waiting_for_pandas_or_ray(place: Place) -> None:
    place.run()
    job = {"name": "quick", "output": "out", **JOB, "export": {**JOB["export"], "data": ["json", "parquet"]}}
    (place.base / "job.yaml").write_text(json.dumps(job))
    code = "import sys; from rayjobs.command_line.cli import main; assert main(['run', 'job.yaml']) == 0"
    code += "; print({'pandas', 'ray'} & set(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", code], cwd=place.base, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == "set()"
    assert len(json.loads((place.out / "data/analyses.json").read_bytes())) == 4
    assert place.run(job=job).unchanged


def test_a_touched_file_is_compared_by_content_once(place: Place) -> None:
    place.run()
    for path in tree(place.out / "images", place.out / "data", place.out / ".rayjobs/results"):
        os.utime(path, (1, 1))
    assert place.run().unchanged
    assert place.rows == []


# ---- what somebody changed is theirs --------------------------------------------------------------------------------


def test_a_changed_image_stays_and_the_next_free_name_is_taken(place: Place) -> None:
    place.run()
    mine = place.out / "images/p1.png"
    whole = mine.read_bytes()
    mine.write_bytes(b"retouched")
    place.run()
    assert mine.read_bytes() == b"retouched"
    assert place.listed()["images/p1-2.png"] == whole
    assert "charts/color_histogram/p1-2.png" in place.listed()
    assert len(place.rows) == 1
    assert place.run().unchanged
    (place.out / "images/p1-2.png").write_bytes(b"again")
    place.run()
    assert place.listed()["images/p1-3.png"] == whole
    assert mine.read_bytes() == b"retouched"


def test_skip_says_so_until_the_file_is_gone(place: Place) -> None:
    place.run(images={"on_conflict": "skip"})
    mine = place.out / "images/p1.png"
    mine.write_bytes(b"retouched")
    for _ in range(2):
        state = place.run(images={"on_conflict": "skip"})
        assert (state.done, state.skipped, state.reasons) == (3, 1, {"exists": 1})
    assert state.unchanged
    assert mine.read_bytes() == b"retouched"
    mine.unlink()
    assert place.run(images={"on_conflict": "skip"}).done == 4
    assert "images/p1.png" in place.listed()


def test_error_refuses_and_leaves_everything(place: Place) -> None:
    place.run(images={"on_conflict": "error"})
    (place.out / "images/p1.png").write_bytes(b"retouched")
    before = tree(place.out / "images", place.out / "charts", place.out / "data")
    with pytest.raises(JobError, match=r"files that aren't this job's.*images/p1\.png; move them away"):
        place.run(images={"on_conflict": "error"})
    assert tree(place.out / "images", place.out / "charts", place.out / "data") == before
    assert (place.out / "manifest.parquet").exists()


def test_overwrite_replaces_a_regular_file_at_the_planned_name_alone(place: Place) -> None:
    mine = place.out / "images/p1.png"
    chart = place.out / "charts/color_histogram/p2.png"
    for path in (mine, chart):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"mine")
    (place.out / "images/p3.png").symlink_to(place.base / "in/p0.png")
    original = (place.base / "in/p0.png").read_bytes()
    state = place.run(images={"on_conflict": "overwrite"})
    assert mine.read_bytes() == place.listed()["images/p1.png"] != b"mine"
    assert chart.read_bytes() == b"mine"
    assert (place.out / "images/p3.png").is_symlink()
    assert (place.base / "in/p0.png").read_bytes() == original
    assert state.failed == 1
    assert state.reasons == {"write_error": 1}


@pytest.mark.parametrize(
    "name",
    [
        "manifest.parquet",
        "job.json",
        "data/analyses.parquet",
        "report/index.html",
        "data",
        "images",
        "report",
        ".rayjobs",
        "charts/color_histogram",
    ],
)
@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_name_that_is_needed_and_taken_is_refused_before_anything_is_touched(
    place: Place, name: str, kind: str
) -> None:
    path = place.out / name
    path.parent.mkdir(parents=True)
    elsewhere = place.base / "elsewhere"
    elsewhere.mkdir()
    if kind == "link":
        path.symlink_to(elsewhere)
    else:
        path.write_bytes(b"mine")
    for policy in ("rename", "overwrite"):
        with pytest.raises(JobError, match=name.replace(".", r"\.")):
            place.run(images={"on_conflict": policy})
    assert [str(p.relative_to(place.out)) for p in place.out.rglob("*") if not p.is_dir() or p.is_symlink()] == [name]
    assert list(elsewhere.iterdir()) == []


def test_other_files_in_the_output_stay(place: Place) -> None:
    mine = [
        "data/labels.csv",
        "report/thumbnails/mine.jpg",
        "images/mine.png",
        "charts/notes.txt",
        "x.txt",
        ".rayjobs/results/mine.parquet",
        ".rayjobs/notes.txt",
        "data/analyses.parquet.bak",
    ]
    for name in mine:
        (place.out / name).parent.mkdir(parents=True, exist_ok=True)
        (place.out / name).write_bytes(name.encode())
    place.run()
    place.run(job={"analyses": ["statistics"], "export": {"images": False, "data": ["csv"], "charts": False}})
    prune(OutputDirectory(place.out), remove_them=True)
    assert {name: (place.out / name).read_bytes() for name in mine} == {name: name.encode() for name in mine}


# ---- results outlive inputs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("inputs", [["in/"], ["in"], ["in/*.png"], ["in/**/*.png"], ["in/", "other/"]])
def test_a_folder_that_is_not_there_costs_nothing(place: Place, inputs: list[str]) -> None:
    picture(place.base / "other/x.png", 3)
    place.run(job={"inputs": inputs})
    before = tree(place.out / "images", place.out / "charts", place.out / "data", place.out / "report")
    sealed = (place.out / "manifest.parquet").read_bytes()
    (place.base / "in").rename(place.base / "unmounted")
    with pytest.raises(JobError, match="in"):
        place.run(job={"inputs": inputs})
    assert tree(place.out / "images", place.out / "charts", place.out / "data", place.out / "report") == before
    assert (place.out / "manifest.parquet").read_bytes() == sealed
    (place.base / "unmounted").rename(place.base / "in")
    assert place.run(job={"inputs": inputs}).unchanged


def test_an_input_that_is_gone_leaves_the_tables_and_its_files_stay(place: Place) -> None:
    place.run()
    files = tree(place.out / "images", place.out / "charts")
    (place.base / "in/p1.png").rename(place.base / "p1.png")
    state = place.run()
    assert (state.total, state.done, place.rows) == (3, 3, [])
    assert state.kept == 3  # image, chart and thumbnail
    assert tree(place.out / "images", place.out / "charts") == files
    assert [os.path.basename(row["input"]) for row in manifest(place.out)] == ["p0.png", "p2.png", "p3.png"]
    assert len(pq.read_table(place.out / "data/analyses.parquet")) == 3
    (place.base / "p1.png").rename(place.base / "in/p1.png")
    state = place.run()
    assert (state.done, place.rows, state.kept) == (4, [], 0)  # with its numbers, uncomputed
    assert len(pq.read_table(place.out / "data/analyses.parquet")) == 4


def test_a_named_file_that_is_missing_has_a_row_and_its_results_stay(place: Place) -> None:
    job = {"inputs": ["in/p0.png", "in/p1.png"]}
    place.run(job=job)
    files = tree(place.out / "images", place.out / "charts")
    (place.base / "in/p1.png").rename(place.base / "p1.png")
    state = place.run(job=job)
    assert (state.done, state.failed, state.reasons) == (1, 1, {"missing": 1})
    assert tree(place.out / "images", place.out / "charts") == files
    (place.base / "p1.png").rename(place.base / "in/p1.png")
    assert place.run(job=job).done == 2
    assert place.rows == []


def test_a_new_input_does_not_take_the_name_of_a_kept_file(place: Place) -> None:
    flat = {"layout": "flat"}
    picture(place.base / "in/a/x.png", 11)
    place.run(images=flat)
    old = (place.out / "images/x.png").read_bytes()
    (place.base / "in/a/x.png").unlink()
    picture(place.base / "in/b/x.png", 99)
    place.run(images=flat)
    assert (place.out / "images/x.png").read_bytes() == old
    assert set(place.listed()) >= {"images/x-2.png"}


@pytest.mark.parametrize(
    ("change", "cause", "count"),
    [
        ({"export": {**JOB["export"], "charts": False}}, "unwanted", 4),
        ({"export": {**JOB["export"], "images": {"format": "jpeg"}}}, "superseded", 4),
        ({"export": {**JOB["export"], "images": {"format": "png", "name": "look_{stem}"}}}, "superseded", 8),
        ({"export": {**JOB["export"], "data": ["parquet"]}}, "unwanted", 1),
        ({"exclude": ["p1.png"]}, "excluded", 2),
    ],
)
def test_what_the_job_does_not_want_stays_until_it_is_pruned(
    place: Place, change: dict[str, Any], cause: str, count: int
) -> None:
    place.run()
    before = tree(place.out / "images", place.out / "charts", place.out / "data")
    state = place.run(job=change)
    unharmed = {path for path, data in before.items() if Path(path).exists() and Path(path).read_bytes() == data}
    tables = ("analyses.parquet", "analyses.csv", "color_histogram.parquet")
    assert unharmed >= {path for path in before if not path.endswith(tables)}
    output = OutputDirectory(place.out)
    listed = prune(output, remove_them=False)
    assert listed.files[cause] == count
    assert sum(listed.files.values()) == state.kept
    assert tree(place.out / "images", place.out / "charts").keys() >= {p for p in before if "/data/" not in p}
    removed = prune(output, remove_them=True)
    assert removed.files == listed.files
    assert not any((place.out / path).exists() for path in listed.paths)
    wanted = place.listed()
    found = {str(Path(p).relative_to(place.out)) for p in tree(place.out / "images", place.out / "charts")}
    assert found == set(wanted)
    assert prune(output, remove_them=True).files == {}
    assert place.run(job=change).unchanged


def test_prune_leaves_what_somebody_changed(place: Place) -> None:
    place.run()
    (place.base / "in/p1.png").unlink()
    place.run()
    mine = place.out / "images/p1.png"
    mine.write_bytes(b"mine now")
    found = prune(OutputDirectory(place.out), remove_them=True)
    assert found.theirs == ["images/p1.png"]
    assert mine.read_bytes() == b"mine now"
    assert not (place.out / "charts/color_histogram/p1.png").exists()
    assert prune(OutputDirectory(place.out), remove_them=True).theirs == []


def test_prune_waits_for_the_end_of_the_job(place: Place) -> None:
    place.run(end=RunEnd.PAUSED)
    with pytest.raises(JobError, match=r"the job is paused.*let it finish first"):
        prune(OutputDirectory(place.out), remove_them=True)


def test_a_run_removes_what_it_published_for_an_input_that_failed(place: Place) -> None:
    pages = [Image.new("RGB", (9, 9), (40 * n, 90, 30)) for n in range(2)]
    pages[0].save(place.base / "in/pages.tif", save_all=True, append_images=pages[1:])
    mine = place.out / "charts/color_histogram/pages-p0002.png"

    def stranger() -> None:
        """Takes the name of the second frame's chart, after the plan has looked."""
        mine.parent.mkdir(parents=True)
        mine.write_bytes(b"mine")

    state = place.run(job={"read": {"frames": "all"}}, begin=stranger)
    assert state.reasons == {"write_error": 1}
    assert mine.read_bytes() == b"mine"
    assert sorted(path.name for path in (place.out / "images").iterdir()) == ["p0.png", "p1.png", "p2.png", "p3.png"]


def test_a_changed_input_replaces_its_own_files(place: Place) -> None:
    place.run()
    picture(place.base / "in/p1.png", 222, (10, 4))
    before = place.listed()
    state = place.run()
    assert len(place.rows) == 1
    after = place.listed()
    assert set(after) == set(before)
    assert {path for path in after if after[path] != before[path]} == {"images/p1.png", "charts/color_histogram/p1.png"}
    assert state.kept == 1  # the thumbnail of the image as it was


# ---- kills ----------------------------------------------------------------------------------------------------------


def test_a_killed_run_goes_on_and_makes_the_same(place: Place, tmp_path: Path) -> None:
    def kill(row: ImageStatus) -> None:
        if len(place.rows) == 2:
            raise Killed

    with pytest.raises(Killed):
        place.run(after=kill)
    assert len(list((place.out / "images").iterdir())) == 3  # the third was published, and isn't in the ledger
    place.run()
    assert len(place.rows) == 2
    (tmp_path / "fresh").mkdir()
    golden = Place(tmp_path / "fresh")
    golden.run()
    assert place.listed() == golden.listed()


# ---- outputs and inputs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "inputs"),
    [("in", ["in/"]), (".", ["in/"]), (".", ["."]), ("in/deep/out", ["in"]), ("in", ["in/*.png", "in/**/*.png"])],
)
@pytest.mark.parametrize("layout", ["mirror", "flat", "beside"])
def test_results_never_become_inputs(place: Place, output: str, inputs: list[str], layout: str) -> None:
    before = tree(place.base / "in")
    job = {"inputs": inputs, "output": output}
    images = {"layout": layout, "name": "{stem}_look"}
    counts = [place.run(job=job, images=images).total for _ in range(3)]
    assert counts == [4, 4, 4]
    place.run(job=job, images={**images, "format": "jpeg"})
    assert place.run(job=job, images={**images, "format": "jpeg"}).total == 4
    assert {path: Path(path).read_bytes() for path in before} == before


@pytest.mark.parametrize("policy", ["skip", "overwrite", "error"])
def test_an_image_in_the_place_of_an_input_is_refused(place: Place, policy: str) -> None:
    shutil.copytree(place.base / "in", place.out / "images")
    before = tree(place.out)
    with pytest.raises(JobError, match="would take the place of an input"):
        place.run(job={"inputs": ["out/images/"]}, images={"on_conflict": policy})
    assert tree(place.out) == before
    state = place.run(job={"inputs": ["out/images/"]})
    assert state.done == 4
    assert {path: Path(path).read_bytes() for path in before} == before
    assert "images/p0-2.png" in place.listed()


@pytest.mark.parametrize("policy", ["skip", "overwrite"])
def test_links_do_not_hide_that_an_image_would_be_an_input(place: Place, policy: str) -> None:
    shutil.copytree(place.base / "in", place.out / "images")
    (place.base / "linked").symlink_to(place.out / "images")
    before = tree(place.out)
    with pytest.raises(JobError, match="would take the place of an input"):
        place.run(job={"inputs": ["linked/"]}, images={"on_conflict": policy})
    assert tree(place.out) == before


def test_a_listed_file_that_is_missing_keeps_its_place_free(place: Place) -> None:
    (place.base / "list.txt").write_text("in/p0.png\nout/images/p0.png\n")
    with pytest.raises(JobError, match="would take the place of an input"):
        place.run(job={"inputs": ["@list.txt"]}, images={"on_conflict": "overwrite", "layout": "flat"})


def test_the_ledger_is_sealed_by_each_run(place: Place) -> None:
    place.run()
    with closing(OutputDirectory(place.out).read_ledger()) as ledger:
        assert ledger.facts.read().status == "completed"
    assert (place.out / ".rayjobs/ledger-sealed.sqlite").stat().st_size > 0
    assert json.loads((place.out / "job.json").read_text())["status"] == "completed"
