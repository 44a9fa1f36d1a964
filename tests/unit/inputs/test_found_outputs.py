"""Which files below an output are results: by its ledger, else by its manifest, else nobody can tell."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from actors.ledger.job_ledger import JobLedger
from pipelines.errors import JobError
from rayjobs.inputs.found_outputs import MOST_OPEN, FoundOutputs
from tests.leaks import open_below
from tests.outputs import damage, list_in_manifest, record, write


@pytest.fixture
def outputs() -> Iterator[FoundOutputs]:
    found = FoundOutputs()
    yield found
    found.close()


FIXED = [
    "manifest.parquet",
    "job.json",
    "data/analyses.parquet",
    "data/analyses.csv",
    "data/objects.json",
    "data/analyses.xlsx",
    "data/analyses.parquet/part-00000.parquet",
    "report/index.html",
    "report/page-0002.html",
    f"report/thumbnails/{'a1' * 32}.jpg",
    f"report/thumbnails/{'a1' * 16}-stretched.jpg",
    f"report/thumbnails/{'a1' * 12}-before-stretched.jpg",
    "report/report.js",
    "report/data/job.js",
    "report/data/block-00000.js",
    "report/data/column-012-00001.js",
    "report/data/rows-00199.js",
]
FOREIGN = [
    "images/mine.jpg",
    "data/notes.txt",
    "data/photo.jpg",
    "report/thumbnails/holiday.jpg",
    "report/cover.jpg",
    "report/data/notes.js",
    "report/mine.js",
    "images/a.jpg/x",
    "a.jpg",
]


def test_a_ledger_says_which_files_are_results(tmp_path: Path, outputs: FoundOutputs) -> None:
    record(tmp_path, "images/a.jpg", "charts/x/a.svg", "job.json")
    files = outputs.at(bytes(tmp_path))
    assert all(files.owns(name) for name in (b"images/a.jpg", b"charts/x/a.svg", b"job.json"))
    assert not any(files.owns(name.encode()) for name in FOREIGN)
    assert not files.owns(b"images/caf\xe9.jpg")
    assert list(files.outside()) == []


def test_results_beside_sources_are_told_by_their_absolute_paths(tmp_path: Path, outputs: FoundOutputs) -> None:
    record(tmp_path / "a/out", "images/a.jpg", "../photos/a_look.jpg", "../../b/ä.jpg", there=False)
    files = outputs.at(bytes(tmp_path / "a/out"))
    assert set(files.outside()) == {bytes(tmp_path / "a/photos/a_look.jpg"), os.fsencode(tmp_path / "b/ä.jpg")}
    assert files.owns(b"../photos/a_look.jpg")
    assert not files.owns(b"../photos/a.jpg")


def test_without_a_ledger_the_manifest_says_it(tmp_path: Path, outputs: FoundOutputs) -> None:
    list_in_manifest(tmp_path / "out", "images/a.jpg", "../photos/a.jpg", there=False)
    files = outputs.at(bytes(tmp_path / "out"))
    assert all(files.owns(name.encode()) for name in [*FIXED, "images/a.jpg", "../photos/a.jpg"])
    assert not any(files.owns(name.encode()) for name in FOREIGN)
    assert list(files.outside()) == [bytes(tmp_path / "photos/a.jpg")]


def test_a_damaged_ledger_is_replaced_by_the_manifest(tmp_path: Path, outputs: FoundOutputs) -> None:
    damage(list_in_manifest(tmp_path, "images/a.jpg"))
    assert outputs.at(bytes(tmp_path)).owns(b"images/a.jpg")


def test_a_ledger_whose_damage_shows_late_is_replaced_by_the_manifest(tmp_path: Path, outputs: FoundOutputs) -> None:
    names = [f"images/{number:05d}.jpg" for number in range(5000)]
    record(tmp_path, *names, there=False)
    list_in_manifest(tmp_path, *names, there=False)
    ledger = tmp_path / ".rayjobs/ledger.sqlite"
    whole = ledger.read_bytes()
    place = whole.index(b"images/02500.jpg") // 4096 * 4096
    ledger.write_bytes(whole[:place] + b"\xff" * 4096 + whole[place + 4096 :])
    files = outputs.at(bytes(tmp_path))
    assert all(files.owns(name.encode()) for name in names)
    assert not files.owns(b"images/mine.jpg")


def test_a_new_ledger_in_place_of_a_lost_one_does_not_hide_what_the_manifest_says(
    tmp_path: Path, outputs: FoundOutputs
) -> None:
    record(list_in_manifest(tmp_path, "images/a.jpg"))
    assert outputs.at(bytes(tmp_path)).owns(b"images/a.jpg")


def test_the_manifest_of_the_run_before_counts_while_results_change(tmp_path: Path, outputs: FoundOutputs) -> None:
    list_in_manifest(tmp_path, "images/a.jpg")
    (tmp_path / "manifest.parquet").rename(tmp_path / ".rayjobs/manifest.parquet")
    assert outputs.at(bytes(damage(tmp_path))).owns(b"images/a.jpg")


def test_results_that_cannot_be_told_are_said_so_with_the_remedies(tmp_path: Path, outputs: FoundOutputs) -> None:
    root = tmp_path / "out"
    (root / ".rayjobs").mkdir(parents=True)
    damage(root)
    for manifest in (None, b"no manifest"):
        if manifest is not None:
            (root / "manifest.parquet").write_bytes(manifest)
        with pytest.raises(JobError, match=rf"{root}.*rayjobs rebuild {root}.*exclude.*more narrowly"):
            outputs.at(bytes(root))
    (root / ".rayjobs/ledger.sqlite").unlink()
    with pytest.raises(JobError, match="can't be told"):
        outputs.at(bytes(root))


def test_a_run_that_never_was_planned_owns_nothing(tmp_path: Path, outputs: FoundOutputs) -> None:
    (tmp_path / ".rayjobs/tmp").mkdir(parents=True)
    files = outputs.at(bytes(tmp_path))
    assert not any(files.owns(name.encode()) for name in FIXED)
    assert list(files.outside()) == []


def test_a_manifest_of_something_else_owns_nothing_where_no_job_has_run(tmp_path: Path, outputs: FoundOutputs) -> None:
    (tmp_path / "manifest.parquet").write_bytes(b"of a shipping company")
    assert not outputs.at(bytes(tmp_path)).owns(b"manifest.parquet")


def test_an_output_may_be_reached_by_links(tmp_path: Path, outputs: FoundOutputs) -> None:
    record(tmp_path / "out", "images/a.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "out")
    assert outputs.at(bytes(tmp_path / "link")) is outputs.at(bytes(tmp_path / "out"))


def test_few_ledgers_are_open_at_a_time_and_none_afterwards(tmp_path: Path) -> None:
    roots = [bytes(record(tmp_path / f"out{number}", f"images/{number}.jpg")) for number in range(3 * MOST_OPEN)]

    def opened() -> int:
        ledgers = {Path(os.fsdecode(root)) / ".rayjobs/ledger.sqlite" for root in roots}
        return len(ledgers & set(open_below(tmp_path)))

    outputs = FoundOutputs(Path(os.fsdecode(roots[0])))
    for _ in range(2):
        for number, root in enumerate(roots):
            assert outputs.at(root).owns(b"images/%d.jpg" % number)
            assert outputs.is_own(os.path.join(roots[0], b"images/0.jpg"))
            assert opened() <= MOST_OPEN
    outputs.close()
    assert opened() == 0
    assert outputs.at(roots[1]).owns(b"images/1.jpg")
    outputs.close()


# ---- the job's own -----------------------------------------------------------------------------------------------


def test_own_results_are_told_by_any_path(tmp_path: Path) -> None:
    root = record(tmp_path / "out", "images/a.jpg")
    write(root, "images/mine.jpg")
    (tmp_path / "link").symlink_to(root / "images")
    outputs = FoundOutputs(root)
    assert outputs.is_own(bytes(root / "images/a.jpg"))
    assert outputs.is_own(bytes(tmp_path / "link/a.jpg"))
    assert outputs.is_own(bytes(tmp_path / "link/../images/../images/a.jpg"))
    assert not outputs.is_own(bytes(root / "images/mine.jpg"))
    assert not outputs.is_own(bytes(tmp_path / "images/a.jpg"))
    outputs.close()


def test_own_results_beside_sources_are_told(tmp_path: Path) -> None:
    root = record(tmp_path / "out", "../photos/a_look.jpg")
    outputs = FoundOutputs(root)
    assert outputs.is_own(bytes(tmp_path / "photos/a_look.jpg"))
    assert not outputs.is_own(bytes(tmp_path / "photos/a.jpg"))
    assert outputs.own_prefix(bytes(tmp_path / "photos")) == b"../photos/"
    outputs.close()


def test_where_no_own_result_can_be_nobody_is_asked(tmp_path: Path) -> None:
    outputs = FoundOutputs(record(tmp_path / "out", "images/a.jpg"))
    assert outputs.own_prefix(bytes(tmp_path)) is None
    assert outputs.own_prefix(bytes(tmp_path / "out2")) is None
    assert outputs.own_prefix(bytes(tmp_path / "out")) == b""
    assert outputs.own_prefix(bytes(tmp_path / "out/images")) == b"images/"
    outputs.close()


def test_a_ledger_that_is_open_already_is_asked_and_stays_open(tmp_path: Path) -> None:
    root = record(tmp_path / "out", "images/a.jpg")
    copy = record(tmp_path / "copy", "images/b.jpg")
    with closing(JobLedger(copy / ".rayjobs/ledger.sqlite")) as ledger:
        outputs = FoundOutputs(root, ledger=ledger)
        with ledger.transaction():
            assert outputs.is_own(bytes(root / "images/b.jpg"))
            assert not outputs.is_own(bytes(root / "images/a.jpg"))
        assert outputs.at(bytes(copy)).owns(b"images/b.jpg")
        outputs.close()
        assert ledger.owns("images/b.jpg")


def test_an_output_that_is_not_there_yet_owns_nothing(tmp_path: Path) -> None:
    outputs = FoundOutputs(tmp_path / "later/out")
    assert not outputs.is_own(bytes(tmp_path / "later/out/images/a.jpg"))
    assert not outputs.is_own(b"/with\0nul/a.jpg")
    assert not FoundOutputs().is_own(bytes(tmp_path / "a.jpg"))
    outputs.close()
