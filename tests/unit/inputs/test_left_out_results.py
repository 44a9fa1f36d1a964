"""Results of jobs among inputs: which are left out, which are meant, and which are refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.errors import JobError
from tests.outputs import damage, list_in_manifest, record
from tests.searches import find, kept, names, search, touch


def paths(root: Path, *relative: str) -> set[bytes]:
    return {bytes(root / name) for name in relative}


@pytest.mark.parametrize("make", [record, list_in_manifest])
def test_own_results_are_never_inputs_and_what_lies_beside_them_is(tmp_path: Path, make: Callable[..., Path]) -> None:
    out = make(tmp_path / "out", "images/a.jpg", "charts/x/a.png")
    touch(tmp_path, b"a.jpg", b"out/mine.jpg", b"out/images/mine.jpg", b"out/.rayjobs/tmp/x.jpg")
    for pattern in (".", "**/*.{jpg,png}", "**"):
        discovery = search(tmp_path, pattern, own=out)
        assert kept(discovery) == paths(tmp_path, "a.jpg", "out/mine.jpg", "out/images/mine.jpg")
        assert discovery.results_left_out[str(out)] >= 2
    assert kept(search(tmp_path, "out", own=out)) == paths(tmp_path, "out/mine.jpg", "out/images/mine.jpg")
    assert kept(search(tmp_path, "out/images/*.jpg", own=out)) == paths(tmp_path, "out/images/mine.jpg")


def test_own_results_are_known_behind_links(tmp_path: Path) -> None:
    out = record(tmp_path / "data/out", "images/a.jpg")
    touch(tmp_path, b"data/out/images/mine.jpg", b"data/in/b.jpg")
    (tmp_path / "view").symlink_to("data/out/images")
    (tmp_path / "own").symlink_to("data/out")
    (tmp_path / "data/in/result.jpg").symlink_to("../out/images/a.jpg")
    assert kept(search(tmp_path, "view", own=out)) == paths(tmp_path, "view/mine.jpg")
    assert kept(search(tmp_path, "view/*", own=tmp_path / "own")) == paths(tmp_path, "view/mine.jpg")
    assert kept(search(tmp_path, "data", own=out)) == paths(tmp_path, "data/out/images/mine.jpg", "data/in/b.jpg")


def test_own_results_beside_sources_are_never_inputs(tmp_path: Path) -> None:
    out = record(tmp_path / "out", "../photos/a_look.jpg", "../photos/sub/b_look.jpg")
    touch(tmp_path, b"photos/a.jpg", b"photos/sub/b.jpg", b"photos/c_look.jpg")
    (tmp_path / "view").symlink_to("photos")
    discovery = search(tmp_path, "photos", own=out)
    assert kept(discovery) == paths(tmp_path / "photos", "a.jpg", "sub/b.jpg", "c_look.jpg")
    assert discovery.withdrawn == set()
    assert discovery.results_left_out == {str(out): 2}
    assert kept(search(tmp_path, "view/*.jpg", own=out)) == paths(tmp_path / "view", "a.jpg", "c_look.jpg")


def test_results_of_other_jobs_are_left_out_unless_a_pattern_starts_inside(tmp_path: Path) -> None:
    out = record(tmp_path / "in/out", "images/r.jpg", "images/sub/s.jpg")
    touch(tmp_path, b"in/a.jpg", b"in/out/mine.jpg")
    discovery = search(tmp_path, "in")
    assert kept(discovery) == paths(tmp_path / "in", "a.jpg", "out/mine.jpg")
    assert discovery.results_left_out == {str(out): 2}
    assert kept(search(tmp_path, "in/out")) == paths(out, "mine.jpg")
    assert kept(search(tmp_path, "in/out/**/*.jpg")) == paths(out, "mine.jpg")
    for inside in ("in/out/images", "in/out/images/", "in/out/images/**/*.jpg"):
        assert kept(search(tmp_path, inside)) == paths(out, "images/r.jpg", "images/sub/s.jpg")
    assert kept(search(tmp_path, "in", "in/out/images")) == paths(
        tmp_path / "in", "a.jpg", "out/mine.jpg", "out/images/r.jpg", "out/images/sub/s.jpg"
    )


def test_results_among_ignored_files_are_not_counted_as_ignored(tmp_path: Path) -> None:
    record(tmp_path / "out", "images/r.jpg", "manifest.parquet", "data/analyses.csv")
    touch(tmp_path, b"a.jpg", b"out/notes.csv")
    discovery = search(tmp_path, ".")
    assert kept(discovery) == paths(tmp_path, "a.jpg")
    assert discovery.ignored == {".csv": 1}
    assert discovery.results_left_out == {str(tmp_path / "out"): 1}


def test_outputs_within_outputs_are_all_known(tmp_path: Path) -> None:
    record(tmp_path / "out", "images/a.jpg", "second/images/c.jpg")
    record(tmp_path / "out/second", "images/b.jpg")
    touch(tmp_path, b"out/second/images/d.jpg")
    assert kept(search(tmp_path, ".")) == paths(tmp_path, "out/second/images/d.jpg")


@pytest.mark.parametrize("output", ["photos/0", "photos/zz", "photos/m/out"])
def test_results_beside_sources_are_left_out_whenever_their_output_is_found(tmp_path: Path, output: str) -> None:
    photos = tmp_path / "photos"
    touch(photos, b"a.jpg", b"b/c.jpg", b"x/y.jpg", b"n.txt")
    outside = [os.path.relpath(photos / name, tmp_path / output) for name in ("a_l.jpg", "b/c_l.jpg", "x/y_l.jpg")]
    record(tmp_path / output, *outside, os.path.relpath(photos / "gone.jpg", tmp_path / output))
    (photos / "gone.jpg").unlink()
    (tmp_path / "view").symlink_to("photos")
    for start in ("photos", "view"):
        discovery = search(tmp_path, f"{start}/**/*.jpg", start)
        assert kept(discovery) == paths(tmp_path / start, "a.jpg", "b/c.jpg", "x/y.jpg")
        assert discovery.results_left_out == {str(tmp_path / output): 3}


def test_a_result_of_another_job_that_is_named_itself_is_meant(tmp_path: Path) -> None:
    record(tmp_path / "in/out", "images/r.jpg", "../a_look.jpg", "../b_look.jpg")
    (tmp_path / "x.txt").write_bytes(b"in/b_look.jpg\n")
    for order in (["in", "in/a_look.jpg", "@x.txt"], ["@x.txt", "in/a_look.jpg", "in/out/images/r.jpg", "in"]):
        touch(tmp_path, b"in/a.jpg")
        found = kept(search(tmp_path, *order))
        assert found >= paths(tmp_path / "in", "a.jpg", "a_look.jpg", "b_look.jpg")


@pytest.mark.parametrize("pattern", ["out/images/r.jpg", "@x.txt", "view/r.jpg", "beside.jpg"])
def test_an_own_result_that_is_named_itself_is_refused(tmp_path: Path, pattern: str) -> None:
    out = record(tmp_path / "out", "images/r.jpg", "../beside.jpg")
    (tmp_path / "x.txt").write_bytes(b"out/images/r.jpg\n")
    (tmp_path / "view").symlink_to("out/images")
    touch(tmp_path, b"a.jpg")
    with pytest.raises(JobError, match=r"inputs: .*\.jpg is a result of this job"):
        find(tmp_path, "a.jpg", pattern, own=out)


def test_an_output_whose_results_cannot_be_told_is_a_problem_unless_it_is_left_out(tmp_path: Path) -> None:
    out = damage(record(tmp_path / "in/out", "images/r.jpg"))
    touch(tmp_path, b"in/a.jpg")
    with pytest.raises(JobError, match=f"inputs: 'in': .*{out}.*rayjobs rebuild"):
        find(tmp_path, "in")
    assert kept(search(tmp_path, "in", exclude=("out",))) == paths(tmp_path, "in/a.jpg")
    assert kept(search(tmp_path, "in/out/images")) == paths(tmp_path, "in/out/images/r.jpg")


def test_what_a_job_works_with_is_never_an_input(tmp_path: Path) -> None:
    touch(tmp_path, b"a.jpg", b".rayjobs/tmp/x.jpg", b"sub/.rayjobs/y.jpg")
    (tmp_path / "link").symlink_to(".rayjobs")
    for pattern in (".", "**", "**/*.jpg", "{.rayjobs,.}/**/*.jpg"):
        assert b"a.jpg" in names(find(tmp_path, pattern))
        assert not any(b".rayjobs" in name for name in names(find(tmp_path, pattern)))
    for pattern in (".rayjobs", ".rayjobs/tmp/*.jpg", "sub/.rayjobs/**", "link"):
        with pytest.raises(JobError, match="rayjobs holds what a job works with"):
            find(tmp_path, pattern)
