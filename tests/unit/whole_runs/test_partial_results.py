"""Partial results: what is done so far of a job that runs or was stopped; made by custody, gone at completion."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipelines.errors import JobError
from pipelines.models import ImageStatus
from rayjobs.command_line.cli import main
from rayjobs.job.job_state import JobStatus
from rayjobs.job.output_directory import OutputDirectory
from rayjobs.results.published import verify
from rayjobs.run.asked_results import results_of
from rayjobs.run.run_end import RunEnd
from rayjobs.run.stopped_run import set_stopped
from tests.places import Place, tree
from tests.quick_runs import Killed
from tests.runs import manifest

SCOPES = "data/scopes/color_histogram.parquet"


@pytest.fixture
def golden(tmp_path: Path) -> Place:
    (tmp_path / "golden").mkdir()
    found = Place(tmp_path / "golden")
    found.run()
    return found


def check_partial(place: Place, golden: Place, count: int) -> None:
    """The first inputs' rows, as the complete tables have them; and no word that the job is complete."""
    assert not (place.out / "manifest.parquet").exists()
    partial = place.out / "partial"
    assert [Path(row["input"]).name for row in manifest(partial)] == [f"p{n}.png" for n in range(count)]
    for row in manifest(partial):
        assert all((place.out / output["path"]).is_file() for output in row["outputs"])
    for name in ("data/analyses.parquet", SCOPES):
        made, whole = (pq.read_table(top / name) for top in (partial, golden.out))
        assert made.drop(["input"]).equals(whole.drop(["input"]).slice(0, count)), name
    assert len((partial / "data/analyses.csv").read_text().splitlines()) == 1 + count


def check_completed(place: Place, golden: Place) -> None:
    place.run()
    assert not (place.out / "partial").exists()
    assert place.listed() == golden.listed()
    for name in ("data/analyses.parquet", SCOPES):
        made, whole = (pq.read_table(top / name).drop(["input"]) for top in (place.out, golden.out))
        assert made.equals(whole), name
    assert verify(OutputDirectory(place.out), deep=True) == []
    assert place.run().unchanged


@pytest.mark.parametrize("end", [RunEnd.PAUSED, RunEnd.CANCELLED, RunEnd.INTERRUPTED])
def test_a_stopped_run_leaves_what_is_done_so_far(place: Place, golden: Place, end: RunEnd) -> None:
    stopped = place.run(most=2, end=end)
    assert (stopped.status, stopped.done, stopped.error) == (JobStatus(end), 2, None)
    check_partial(place, golden, 2)
    output = OutputDirectory(place.out)
    assert list(output.store.glob("*")) == []  # what was sealed for it alone is gone
    assert verify(output, deep=True) == []
    assert place.run(most=1, end=end).done == 3
    check_partial(place, golden, 3)
    check_completed(place, golden)


@pytest.mark.parametrize("name", ["manifest.parquet", "data/analyses.csv", SCOPES])
def test_partial_results_that_were_cut_off_stop_no_run(place: Place, golden: Place, name: str) -> None:
    """They go at completion; a remainder that can't be told from what somebody shortened stays."""
    place.run(most=2, end=RunEnd.PAUSED)
    path = place.out / "partial" / name
    rest = path.read_bytes()[:-9]
    path.unlink()
    path.write_bytes(rest)
    place.run()
    assert tree(place.out / "partial") == {str(path): rest}
    assert place.listed() == golden.listed()
    assert place.run().unchanged
    (place.out / "data/analyses.csv").write_bytes(b"")
    assert place.run(job={"analyses": ["statistics"]}).status is JobStatus.COMPLETED  # nor one that changes all
    assert tree(place.out / "partial") == {str(path): rest}


def test_a_running_job_is_asked_and_goes_on(place: Place, golden: Place) -> None:
    def ask(row: ImageStatus) -> None:
        if len(place.rows) in (1, 3):  # so many are in the ledger
            found = results_of(output, wait_s=60)
            assert (found.complete, found.path) == (False, place.out / "partial")
            check_partial(place, golden, len(place.rows))
            asked.append(len(place.rows))

    output, asked = OutputDirectory(place.out), list[int]()
    assert place.run(after=ask).done == 4
    assert asked == [1, 3]
    assert not list(output.control.glob("*-results-*"))
    check_completed(place, golden)


def test_results_of_a_killed_run_are_written_by_whoever_asks(
    place: Place, golden: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    def kill(row: ImageStatus) -> None:
        if len(place.rows) == 2:
            raise Killed

    with pytest.raises(Killed):
        place.run(after=kill)
    assert not (place.out / "partial").exists()
    assert main(["results", str(place.out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["complete"], said["path"]) == (False, str(place.out / "partial"))
    check_partial(place, golden, 2)
    assert not OutputDirectory(place.out).temporary.exists()
    check_completed(place, golden)
    before = tree(place.out)
    assert main(["results", str(place.out)]) == 0
    assert capsys.readouterr().out == f"{place.out}\n"
    assert tree(place.out).keys() == before.keys()


def test_what_is_not_the_jobs_stays(place: Place) -> None:
    name = "partial/data/analyses.csv"
    mine = place.out / name
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(JobError, match=f"{name}: isn't this job's"):
        place.run()
    mine.unlink()

    def edit(row: ImageStatus) -> None:
        if len(place.rows) == 2:
            results_of(output, wait_s=60)
            mine.write_text("mine" * 10_000)
            with pytest.raises(JobError, match=f"{name}: was changed since"):
                results_of(output, wait_s=60)

    output = OutputDirectory(place.out)
    assert place.run(after=edit).status is JobStatus.COMPLETED
    assert tree(place.out / "partial") == {str(mine): b"mine" * 10_000}
    with pytest.raises(JobError, match=f"{name}: was changed since"):
        place.run(job={"analyses": ["statistics"]})
    assert mine.read_text() == "mine" * 10_000


def test_a_job_that_was_stopped_behind_its_results_has_them(place: Place) -> None:
    """As one does whose tasks were still to come."""
    place.run()
    output = OutputDirectory(place.out)
    set_stopped(output, JobStatus.PAUSED)
    found = results_of(output)
    assert (found.complete, found.path) == (True, place.out)
    assert not (place.out / "partial").exists()
    assert place.run(most=1, end=RunEnd.PAUSED, job={"analyses": ["sharpness"]}).status is JobStatus.PAUSED
    assert results_of(output).path == place.out / "partial"


def test_the_manifest_is_the_last_of_the_results(place: Place, golden: Place) -> None:
    mine = place.out / "data/analyses.csv"

    def edit(row: ImageStatus) -> None:
        mine.parent.mkdir(exist_ok=True)
        mine.write_text("mine")

    with pytest.raises(JobError, match=r"data/analyses.csv"):
        place.run(after=edit)
    assert not (place.out / "manifest.parquet").exists()
    assert (place.out / "report/index.html").is_file()
    mine.unlink()
    check_completed(place, golden)
