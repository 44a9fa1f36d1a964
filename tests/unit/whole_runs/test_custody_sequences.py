"""Sequences of events that cost somebody a file, or a row its truth, before they were thought of."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipelines.errors import JobError
from rayjobs.inputs.found_outputs import FoundOutputs
from rayjobs.job.output_directory import OutputDirectory
from rayjobs.results.pruning import prune
from rayjobs.results.published import verify
from rayjobs.results.rebuilding import rebuild
from tests.places import JOB, Place, picture, tree
from tests.runs import manifest

FRAMES = {"read": {"frames": "all"}}


def pages(path: Path, count: int = 2) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [Image.new("RGB", (9, 9), (40 * n, 90, 30)) for n in range(count)]
    images[0].save(path, save_all=True, append_images=images[1:])
    return path


def outputs(place: Place) -> dict[str, list[str]]:
    """Name of each done input -> the paths of its outputs."""
    rows = manifest(place.out)
    return {Path(r["input"]).name: [o["path"] for o in r["outputs"]] for r in rows if r["status"] == "done"}


# ---- never an input --------------------------------------------------------------------------------------------------


def test_the_further_image_of_a_file_takes_no_inputs_place(place: Place) -> None:
    pages(place.base / "scan.tif")
    mine = picture(place.base / "images/scan-p0002.png", 77)
    before = mine.read_bytes()
    job = {"inputs": ["scan.tif", "images/"], "output": ".", **FRAMES}
    for policy in ("overwrite", "skip", "error"):
        with pytest.raises(JobError, match="would take the place of an input"):
            place.run(job=job, images={"on_conflict": policy})
    assert place.run(job=job).failed == 0
    assert mine.read_bytes() == before


def test_the_file_that_an_input_link_leads_to_is_an_input(place: Place) -> None:
    mine = picture(place.base / "images/a.png", 77)
    (place.base / "links").mkdir()
    (place.base / "links/a.png").symlink_to("../images/a.png")
    before = mine.read_bytes()
    with pytest.raises(JobError, match="would take the place of an input"):
        place.run(job={"inputs": ["links/a.png"], "output": "."}, images={"on_conflict": "overwrite"})
    assert mine.read_bytes() == before


def test_a_directory_that_became_a_link_in_one_process_is_seen(place: Place) -> None:
    job, images = {"inputs": ["stage/"], "output": "."}, {"on_conflict": "overwrite"}
    picture(place.base / "stage/a.png", 1)
    place.run(job=job, images=images)
    mine = picture(place.base / "kept/images/a.png", 77)
    before = mine.read_bytes()
    shutil.rmtree(place.base / "stage")
    (place.base / "images").rename(place.base / "earlier")
    mine.parent.rename(place.base / "images")
    (place.base / "stage").symlink_to("images")
    with pytest.raises(JobError, match=r"would take the place of an input|results of jobs"):
        place.run(job=job, images=images)
    assert (place.base / "images/a.png").read_bytes() == before


# ---- links -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tmp", "parts", "results"])
def test_what_lies_behind_a_link_among_the_runs_own_stays(place: Place, name: str) -> None:
    place.run()
    scratch = place.base / "scratch"
    (scratch / "mine").mkdir(parents=True)
    (scratch / "mine/a.txt").write_text("mine")
    (scratch / "b.txt").write_text("mine")
    control = place.out / f".rayjobs/{name}"
    shutil.rmtree(control, ignore_errors=True)
    control.symlink_to(scratch)
    before = tree(scratch)
    with pytest.raises(JobError, match=rf"\.rayjobs/{name} is a link"):
        place.run()
    assert tree(scratch) == before


def test_strange_directories_among_temporary_ones_stay(place: Place) -> None:
    place.run()
    mine = place.out / ".rayjobs/tmp/mine/a.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    picture(place.base / "in/new.png", 9)
    place.run()
    assert mine.read_text() == "mine"


def test_prune_does_not_follow_a_linked_directory(place: Place) -> None:
    picture(place.base / "in/sub/x.png", 9)
    place.run()
    archive = place.base / "archive"
    (place.out / "images/sub").rename(archive)
    (place.out / "images/sub").symlink_to(archive)
    place.run(job={"export": {**JOB["export"], "images": False}})
    before = tree(archive)
    prune(OutputDirectory(place.out), remove_them=True)
    assert tree(archive) == before


# ---- compared before it is touched -----------------------------------------------------------------------------------


def test_a_manifest_changed_within_its_size_and_time_is_not_lost(place: Place) -> None:
    place.run()
    path = place.out / "manifest.parquet"
    status, data = path.stat(), bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()
    path.write_bytes(data)
    os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))
    picture(place.base / "in/new.png", 9)
    with pytest.raises(JobError, match=r"manifest\.parquet exists and is not this job's, or was changed since"):
        place.run()
    assert path.read_bytes() == data


def test_a_kept_file_that_somebody_changed_is_theirs(place: Place) -> None:
    jpeg = {"format": "jpeg"}
    for policy, expected in (("rename", "images/p0-2.png"), ("skip", None)):
        shutil.rmtree(place.out, ignore_errors=True)
        images = {"on_conflict": policy}
        place.run(images=images)
        place.run(images={**images, **jpeg})
        (place.out / "images/p0.png").write_bytes(b"retouched")
        state = place.run(images=images)
        assert (place.out / "images/p0.png").read_bytes() == b"retouched"
        if expected is None:
            assert state.reasons == {"exists": 1}
        else:
            assert expected in outputs(place)["p0.png"]
            assert state.failed == 0


def test_a_retouched_further_image_is_theirs(place: Place) -> None:
    pages(place.base / "in/scan.tif")
    place.run(job=FRAMES)
    mine = place.out / "images/scan-p0002.png"
    mine.write_bytes(b"retouched")
    state = place.run(job=FRAMES)
    assert (state.failed, mine.read_bytes()) == (0, b"retouched")
    assert {"images/scan-2.png", "images/scan-2-p0002.png"} <= set(outputs(place)["scan.tif"])
    assert place.run(job=FRAMES).unchanged


# ---- what is refused leaves everything as it was ---------------------------------------------------------------------


def test_a_refused_run_forgets_nothing(place: Place) -> None:
    images = {"layout": "beside", "name": "{stem}_look"}
    place.run(images=images)
    (place.base / "in").rename(place.base / "unmounted")
    with pytest.raises(JobError):
        place.run(images=images)
    (place.base / "unmounted").rename(place.base / "in")
    state = place.run(images=images)
    assert (state.total, state.unchanged) == (4, True)


@pytest.mark.parametrize("between", ["refused", "other", "listed"])
def test_results_that_were_away_for_a_while_are_no_inputs(place: Place, between: str) -> None:
    job: dict[str, Any] = {"inputs": ["in/", "out/"], "output": "out"}
    (place.base / "out").mkdir()
    picture(place.out / "mine.png", 5)
    place.run(job=job)
    (place.out / "images").rename(place.base / "away")
    if between == "refused":
        with pytest.raises(JobError):
            place.run(job={**job, "inputs": ["nowhere/"]})
    elif between == "other":
        place.run(job={**job, "export": {"images": False, "data": ["parquet"], "charts": False}})
    else:
        prune(OutputDirectory(place.out), remove_them=False)
    (place.base / "away").rename(place.out / "images")
    assert place.run(job=job).total == 5


def test_an_interrupted_start_is_no_completed_job_and_prune_waits(place: Place) -> None:
    place.run()
    before = tree(place.out / "images")
    with pytest.raises(JobError, match="stopped before the work began"):
        place.run(images={"format": "jpeg"}, interrupted=True)
    with pytest.raises(JobError, match="let it finish first"):
        prune(OutputDirectory(place.out), remove_them=True)
    assert tree(place.out / "images") == before


def test_an_interrupted_start_does_not_hide_that_an_input_has_left(place: Place) -> None:
    place.run()
    (place.base / "in/p1.png").unlink()
    with pytest.raises(JobError, match="stopped before the work began"):
        place.run(interrupted=True)
    place.run()
    assert set(outputs(place)) == {"p0.png", "p2.png", "p3.png"}


# ---- done is there ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("listing", [False, True])
def test_what_was_pruned_is_made_again_when_it_is_wanted(place: Place, listing: bool) -> None:
    place.run()
    place.run(job={"exclude": ["p1.png"]})
    output = OutputDirectory(place.out)
    if listing:
        (place.out / "images/p1.png").unlink()
    prune(output, remove_them=not listing)
    assert place.run().done == 4
    assert {"images/p1.png", "charts/color_histogram/p1.png"} == set(outputs(place)["p1.png"])
    assert verify(output, deep=True) == []
    place.listed()


def test_rows_skipped_by_another_policy_are_looked_at_again(place: Place) -> None:
    picture(place.out / "images/p1.png", 200)
    assert place.run(images={"on_conflict": "skip"}).reasons == {"exists": 1}
    assert place.run(images={"on_conflict": "overwrite"}).done == 4
    place.listed()


def test_a_dangling_link_in_the_way_is_skipped_once(place: Place) -> None:
    (place.out / "images").mkdir(parents=True)
    (place.out / "images/p1.png").symlink_to("nowhere")
    assert place.run(images={"on_conflict": "skip"}).reasons == {"exists": 1}
    assert place.run(images={"on_conflict": "skip"}).unchanged


def test_a_changed_thumbnail_costs_a_thumbnail_alone(place: Place) -> None:
    place.run()
    thumbnail = next((place.out / "report/thumbnails").iterdir())
    thumbnail.write_bytes(b"mine")
    place.run()
    assert thumbnail.read_bytes() == b"mine"
    assert place.run().unchanged


# ---- rebuilding ------------------------------------------------------------------------------------------------------


def test_a_rebuilt_ledger_gives_the_names_of_the_job(place: Place) -> None:
    pages(place.base / "in/scan.tif")
    (place.base / "in/bad.png").write_bytes(b"no picture")
    for path in (place.base / "in").iterdir():
        os.utime(path, (1_700_000_000, 1_700_000_000))
    images = {"name": "{index:03d}_{stem}"}
    place.run(job=FRAMES, images=images)
    before = outputs(place)
    output = OutputDirectory(place.out)
    output.ledger.unlink()
    output.sealed_ledger.unlink()
    with pytest.raises(JobError, match=r"the job's ledger is gone; `rayjobs rebuild"):
        place.run(job=FRAMES, images=images)
    rebuild(output)
    picture(place.base / "in/bad.png", 3)
    picture(place.base / "in/aaa.png", 4)
    place.run(job=FRAMES, images=images)
    after = outputs(place)
    assert {name: after[name] for name in before} == before
    assert not any(str(place.base) in path or "//" in path for paths in after.values() for path in paths)
    assert after["aaa.png"][-1] == "images/006_aaa.png"


def test_another_jobs_ledger_is_read_without_writing_beside_it(place: Place) -> None:
    place.run()
    before = tree(place.out / ".rayjobs")
    outputs_ = FoundOutputs()
    assert outputs_.at(os.fsencode(place.out)).owns(b"images/p0.png")
    outputs_.close()
    assert tree(place.out / ".rayjobs") == before
