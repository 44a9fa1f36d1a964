"""Outputs of the format before, as a run of that version left them: taken over with everything that is theirs.

``tests/data/output-format-2.tar.gz`` was made by commit e3965d9 in the directory ``/older``: the job ``finished``
ended, the job ``cut`` was killed with its workers while it ran. ``output-format-3.tar.gz`` has the same two of
commit 957fdf8, whose main table had the scopes in its rows, made in ``/tmp/older`` by ``tests.quick_runs``.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import tarfile
from contextlib import closing
from io import BytesIO
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageCms

from actors.ledger.job_ledger import JobLedger
from actors.ledger.ledger_format import FORMAT, format_of
from pipelines.errors import JobError
from pipelines.image_io import ReadPolicy, probe_file
from pipelines.models import ImageStatus
from rayjobs.job.job_file import load_job, parse_job
from rayjobs.job.job_state import JobStatus, read_state
from rayjobs.job.older_products import is_plain, older_products
from rayjobs.job.output_directory import OutputDirectory
from rayjobs.job.product_keys import wanted_products
from rayjobs.results.pruning import prune
from rayjobs.results.published import verify
from rayjobs.results.rebuilding import rebuild
from rayjobs.run.planning import planned_elsewhere
from rayjobs.run.run_request import RunRequest, request_of
from tests.quick_runs import run_here
from tests.runs import manifest

ARCHIVE = Path(__file__).parent.parent.parent / "data/output-format-2.tar.gz"
MADE_IN = "/older"
WIDE = ARCHIVE.with_name("output-format-3.tar.gz")
WIDE_MADE_IN = "/tmp/older"


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of then, as if they had been made here."""
    monkeypatch.setenv("RAYJOBS_HOME", str(tmp_path / "home"))
    root = _unpacked(ARCHIVE, MADE_IN, tmp_path / "older")
    text = (root / "finished/job.json").read_text()
    (root / "finished/job.json").write_text(text.replace(MADE_IN, str(root)))  # not in the record of that format
    return root


@pytest.fixture
def wide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of format 3, likewise."""
    monkeypatch.setenv("RAYJOBS_HOME", str(tmp_path / "home"))
    return _unpacked(WIDE, WIDE_MADE_IN, tmp_path / "wide")


def _unpacked(archive_path: Path, made_in: str, root: Path) -> Path:
    with tarfile.open(archive_path) as archive:
        archive.extractall(root, filter="data")
    for name in ("finished", "cut"):
        _relocate(root / name / ".rayjobs/ledger.sqlite", made_in, root)
    return root


def _relocate(ledger: Path, made_in: str, root: Path) -> None:
    with closing(sqlite3.connect(ledger)) as db:
        db.execute("UPDATE inputs SET path = CAST(replace(CAST(path AS TEXT), ?, ?) AS BLOB)", (made_in, str(root)))
        db.execute("UPDATE meta SET value = replace(value, ?, ?)", (made_in, str(root)))
        db.commit()


def job(tree: Path, name: str) -> RunRequest:
    return request_of(load_job(tree / f"{name}.yaml"), tree, None)


def contents(*tops: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for top in tops for path in sorted(top.rglob("*")) if path.is_file()}


def results(output: Path) -> dict[str, bytes]:
    return {path: data for path, data in contents(output).items() if "/.rayjobs/" not in path}


def check_manifest(output: Path) -> None:
    for row in manifest(output):
        for each in row["outputs"]:
            assert hashlib.sha256((output / each["path"]).read_bytes()).hexdigest() == each["sha256"]


def test_looking_at_an_older_output_changes_nothing(tree: Path) -> None:
    before = contents(tree)
    output = OutputDirectory(tree / "finished")
    assert read_state(output).status is JobStatus.COMPLETED
    assert verify(output, deep=True) == []
    with planned_elsewhere(job(tree, "finished")) as (ledger, _):
        assert ledger.counts().open == 0
    assert contents(tree) == before
    (tree / "finished/images/photo-0001.jpg").write_bytes(b"other")
    assert [each.path for each in verify(output, deep=False)] == ["images/photo-0001.jpg"]


def test_a_finished_job_is_taken_over_as_it_is(tree: Path) -> None:
    output = tree / "finished"
    files = results(output)
    rows: list[ImageStatus] = []
    state = run_here(job(tree, "finished"), rows=rows)
    assert (state.done, rows) == (4, [])  # nothing is measured, no image or chart is written
    after = results(output)
    written = {path for path in files if files[path] != after[path]}
    made_anew = ("job.json", "report/index.html", "manifest.parquet", "data/analyses.parquet", "data/analyses.csv")
    assert written <= {str(output / name) for name in made_anew}
    assert set(files) <= set(after)
    new = {path.removeprefix(f"{output}/") for path in set(after) - set(files)}
    assert {path for path in new if not path.startswith("report/data/")} == {
        "data/scopes/color_histogram.parquet", "report/report.css", "report/report.js"
    }  # fmt: skip
    names = pq.read_schema(output / "data/analyses.parquet").names
    assert "statistics_luma_mean" in names
    table = pq.read_table(output / "data/analyses.parquet")
    assert table.column("statistics_luma_mean").null_count == 0
    assert table.column("statistics_significant_bits").null_count == 4, "what that version didn't measure"
    assert not any(name.startswith("color_histogram_") for name in names)
    assert state.kept == 0
    check_manifest(output)
    assert format_of(output / ".rayjobs/ledger.sqlite") == FORMAT
    assert format_of(output / ".rayjobs/ledger-format-2.sqlite") == 2
    assert run_here(job(tree, "finished")).unchanged
    assert verify(OutputDirectory(output), deep=True) == []


def test_what_is_taken_over_is_what_this_version_makes(tree: Path) -> None:
    """Images, charts and counts of the version before, byte for byte: only so may they count as known."""
    run_here(job(tree, "finished"))
    (tree / "finished").rename(tree / "taken")
    run_here(job(tree, "finished"))
    for part in ("images", "charts", "data/scopes"):
        taken, made = contents(tree / "taken" / part), contents(tree / "finished" / part)
        assert made
        if part == "data/scopes":
            name = "data/scopes/color_histogram.parquet"
            assert pq.read_table(tree / "taken" / name).equals(pq.read_table(tree / "finished" / name))
        else:
            assert list(taken.values()) == list(made.values())


@pytest.mark.parametrize("kind", ["alpha", "orientation", "colours"])
def test_an_input_that_a_change_may_have_touched_is_made_again(tree: Path, kind: str) -> None:
    with Image.open(tree / "photos/photo-0001.jpg") as image:
        image.load()
    path, header = tree / "probed.png", BytesIO()
    exif = Image.Exif()
    if kind == "alpha":
        image.putalpha(200)
    elif kind == "orientation":
        exif[274] = 6
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes() if kind == "colours" else None
    image.save(header, "PNG", exif=exif, icc_profile=icc)
    path.write_bytes(header.getvalue())
    assert is_plain(probe_file(os.fsencode(tree / "photos/photo-0001.jpg"), ReadPolicy()))
    assert not is_plain(probe_file(os.fsencode(path), ReadPolicy()))


def test_tables_with_scopes_in_their_rows_are_made_anew_and_nothing_is_computed(wide: Path) -> None:
    output, rows = wide / "finished", list[ImageStatus]()
    counts = pq.read_table(output / "data/analyses.parquet")["color_histogram_red"].to_pylist()
    made = contents(output / "images", output / "charts")
    state = run_here(job(wide, "finished"), rows=rows)
    assert (state.done, rows) == (4, [])
    assert contents(output / "images", output / "charts") == made
    names = pq.read_schema(output / "data/analyses.parquet").names
    assert "statistics_luma_mean" in names
    assert "color_histogram_red" not in names
    scopes = pq.read_table(output / "data/scopes/color_histogram.parquet")
    assert counts in [scopes[name].to_pylist() for name in scopes.column_names]
    assert verify(OutputDirectory(output), deep=True) == []
    assert run_here(job(wide, "finished")).unchanged


def test_a_wide_table_that_somebody_changed_is_theirs(wide: Path) -> None:
    table = wide / "finished/data/analyses.parquet"
    table.write_bytes(b"mine")
    with pytest.raises(JobError, match=r"data/analyses\.parquet"):
        run_here(job(wide, "finished"))
    assert table.read_bytes() == b"mine"


def test_a_cut_job_with_wide_rows_goes_on(wide: Path) -> None:
    rows: list[ImageStatus] = []
    assert run_here(job(wide, "cut"), rows=rows).done == 24
    assert 0 < len(rows) < 24
    check_manifest(wide / "cut")


def test_a_wide_mask_is_made_again(tree: Path) -> None:
    """Its pixels are others since then, in every image."""
    text = (tree / "finished.yaml").read_text()
    spec = parse_job(text, base=tree)
    assert "image" in {each.now for each in older_products(spec, wanted_products(spec, {}))}
    wide = parse_job(text.replace("radius: 2", "radius: 6"), base=tree)
    assert older_products(wide, wanted_products(wide, {})) == []


def test_a_killed_job_goes_on_and_nothing_that_it_published_is_in_the_way(tree: Path) -> None:
    output = tree / "cut"
    published = contents(output / "images")
    rows: list[ImageStatus] = []
    state = run_here(job(tree, "cut"), rows=rows)
    assert (state.done, len(rows)) == (24, 18)
    assert sum(any(each.product == "image" for each in row.outputs) for row in rows) == 18
    after = contents(output / "images")
    assert len(after) == 24
    assert {path: after[path] for path in published} == published
    assert state.kept == 0
    check_manifest(output)
    assert run_here(job(tree, "cut")).unchanged


def test_an_older_output_is_pruned_by_custody(tree: Path) -> None:
    output = tree / "finished"
    (output / "data/labels.csv").write_text("mine\n")
    (tree / "photos/photo-0002.jpg").unlink()
    state = run_here(job(tree, "finished"))
    assert (state.total, state.kept) == (3, 3)
    found = prune(OutputDirectory(output), remove_them=True)
    assert sorted(found.paths)[:2] == ["charts/color_histogram/photo-0002.png", "images/photo-0002.jpg"]
    assert not (output / "images/photo-0002.jpg").exists()
    assert (output / "data/labels.csv").read_text() == "mine\n"


def test_fixed_files_of_another_job_are_not_taken_over(tree: Path) -> None:
    output = tree / "finished"
    said = json.loads((output / "job.json").read_text())
    (output / "job.json").write_text(json.dumps({**said, "job_id": "another-12345678"}))
    before = results(output)
    with pytest.raises(JobError, match=r"manifest\.parquet: isn't this job's"):
        run_here(job(tree, "finished"))
    assert results(output) == before


def test_a_damaged_older_ledger_is_made_again(tree: Path) -> None:
    output = OutputDirectory(tree / "finished")
    text = (output.root / "manifest.parquet").read_bytes()
    assert text
    output.ledger.write_bytes(output.ledger.read_bytes()[:5000])
    before = results(output.root)
    with pytest.raises(JobError, match="the job's ledger is damaged"):
        run_here(job(tree, "finished"))
    done = rebuild(output)
    assert done.source == "manifest"
    assert results(output.root) == before
    with closing(JobLedger(output.ledger)) as ledger:
        assert ledger.counts().total == 4


def test_an_output_that_was_copied_is_compared_by_content(tree: Path) -> None:
    output = tree / "finished"
    run_here(job(tree, "finished"))
    copy = tree / "copied"
    shutil.copytree(output, copy, copy_function=shutil.copyfile)  # with other times
    shutil.rmtree(output)
    copy.rename(output)
    assert run_here(job(tree, "finished")).unchanged
