"""The ledger: sealed inputs, first committer wins, products, and the record of files."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.ledger.input_plan import Naming, seal_inputs
from actors.ledger.job_facts import JobFacts, SealedPart
from actors.ledger.job_ledger import JobLedger
from actors.ledger.job_registry import JobRegistry
from actors.ledger.product_plan import apply_products
from actors.ledger.staged_inputs import FoundInput
from pipelines.errors import JobError
from pipelines.models import ImageStatus, Output
from pipelines.storage.custody import Written
from rayjobs.command_line.cli import main
from rayjobs.job.output_directory import OutputDirectory

NAMING = Naming(
    name=lambda path, relative, _, cells: relative.decode().rpartition(".")[0],
    key=str.casefold,
    renamed=lambda name, number: f"{name}-{number}",
)
STATISTICS = 'analysis:["statistics",{}]'
SHARPNESS = 'analysis:["sharpness",{}]'


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[JobLedger]:
    opened = JobLedger(tmp_path / "ledger.sqlite")
    yield opened
    opened.close()


def found(*names: str, size: int = 10) -> list[FoundInput]:
    return [FoundInput(path=b"/in/" + name.encode(), relative=name.encode(), size=size, mtime_ns=1) for name in names]


def names(ledger: JobLedger) -> dict[bytes, str]:
    return {entry.path: entry.name for entry in ledger.open_inputs(0, 10**9)}


def done(ledger: JobLedger, products: dict[str, str], *, part: str | None = None) -> None:
    """Finish all open inputs with these products."""
    recipe = ledger.recipe_id(products)
    rows = [
        ImageStatus(
            id=entry.id,
            status="done",
            recipe=recipe,
            outputs=tuple(
                Output(product=p, path=f"{p}/{entry.name}", sha256=d, bytes=1)
                for p, d in products.items()
                if not p.startswith("analysis:")
            ),
            part=part,
            row=0 if part else None,
        )
        for entry in ledger.open_inputs(0, 10**9)
    ]
    ledger.commit(rows, epoch=1)


def test_inputs_are_sealed_in_order_of_path_and_once_each(ledger: JobLedger) -> None:
    sealed = seal_inputs(ledger, found("b.jpg", "a.jpg", "b.jpg"), NAMING)
    assert (sealed.total, sealed.added) == (2, 2)
    assert [(entry.seq, entry.path) for entry in ledger.open_inputs(0, 9)] == [(0, b"/in/a.jpg"), (1, b"/in/b.jpg")]


def test_sealing_again_changes_nothing(ledger: JobLedger) -> None:
    seal_inputs(ledger, found("a.jpg", "b.jpg"), NAMING)
    done(ledger, {"image": "1"})
    sealed = seal_inputs(ledger, found("b.jpg", "a.jpg"), NAMING)
    assert (sealed.added, sealed.changed, sealed.removed) == (0, 0, 0)
    assert ledger.counts().done == 2


def kept(ledger: JobLedger) -> dict[str, str]:
    """Path -> cause of the files that the job doesn't want any more."""
    return {kept.file.path: kept.cause for kept in ledger.files.kept(ledger.facts.read().products)}


def test_changed_input_is_open_again_and_its_file_is_to_be_replaced(ledger: JobLedger) -> None:
    seal_inputs(ledger, found("a.jpg", "b.jpg"), NAMING)
    done(ledger, {"image": "1"})
    sealed = seal_inputs(ledger, [*found("a.jpg"), *found("b.jpg", size=11)], NAMING)
    assert sealed.changed == 1
    assert [entry.path for entry in ledger.open_inputs(0, 9)] == [b"/in/b.jpg"]
    assert ledger.files.known(["image/a", "image/b"]) == (("image/a", "1"), ("image/b", "1"))
    assert [file.path for file in ledger.files.current()] == ["image/a"]


def test_vanished_input_leaves_and_its_file_is_kept(ledger: JobLedger) -> None:
    seal_inputs(ledger, found("a.jpg", "b.jpg"), NAMING)
    apply_products(ledger, {"image": "1"})
    done(ledger, {"image": "1"})
    assert seal_inputs(ledger, found("b.jpg"), NAMING).removed == 1
    assert ledger.counts().total == 1
    assert kept(ledger) == {"image/a": "gone"}


def test_input_that_returns_as_it_was_is_taken_back_uncomputed(ledger: JobLedger) -> None:
    have = {"image": "1", STATISTICS: "2"}
    seal_inputs(ledger, found("a.jpg", "b.jpg"), NAMING)
    apply_products(ledger, have)
    done(ledger, have, part="p")
    before = [final for final in ledger.final_inputs() if final.path == b"/in/a.jpg"]
    for gone in (
        [],
        [FoundInput(path=b"/in/a.jpg", relative=b"a.jpg", status="skipped", reason="excluded")],
        [FoundInput(path=b"/in/a.jpg", relative=b"a.jpg", status="failed", reason="missing")],
    ):
        seal_inputs(ledger, [*found("b.jpg"), *gone], NAMING)
        apply_products(ledger, have)
        assert ledger.counts().done == 1
        assert [row.path for row in ledger.results(0, 9)] == [b"/in/b.jpg"]
        assert kept(ledger) == {
            "image/a": gone[0].reason if gone and gone[0].reason == "excluded" else "failed" if gone else "gone"
        }
        sealed = seal_inputs(ledger, found("a.jpg", "b.jpg"), NAMING)
        assert sealed.is_new
        apply_products(ledger, have)
        assert (ledger.counts().done, ledger.counts().open) == (2, 0)
        assert [final for final in ledger.final_inputs() if final.path == b"/in/a.jpg"] == before
        assert kept(ledger) == {}


def test_input_that_returns_changed_is_open(ledger: JobLedger) -> None:
    seal_inputs(ledger, found("a.jpg", "b.jpg"), NAMING)
    apply_products(ledger, {"image": "1"})
    done(ledger, {"image": "1"})
    seal_inputs(ledger, found("b.jpg"), NAMING)
    seal_inputs(ledger, [*found("a.jpg", size=11), *found("b.jpg")], NAMING)
    apply_products(ledger, {"image": "1"})
    assert [entry.path for entry in ledger.open_inputs(0, 9)] == [b"/in/a.jpg"]


def test_room_is_asked_for_what_will_be_written(ledger: JobLedger) -> None:
    seal_inputs(ledger, [*found("a.jpg", size=10), *found("b.jpg", size=20), *found("huge.jpg", size=2**40)], NAMING)
    assert ledger.open_bytes(1000) == 30


def test_names_are_given_once(ledger: JobLedger) -> None:
    seal_inputs(ledger, found("x.jpg", "x.png"), NAMING)
    assert names(ledger) == {b"/in/x.jpg": "x", b"/in/x.png": "x-2"}
    seal_inputs(ledger, found("x.png"), NAMING)
    assert names(ledger) == {b"/in/x.png": "x-2"}
    seal_inputs(ledger, found("x.bmp", "x.png"), NAMING)
    assert names(ledger) == {b"/in/x.bmp": "x", b"/in/x.png": "x-2"}
    seal_inputs(ledger, found("x.bmp", "x.jpg", "x.png"), NAMING)  # its name was given to another one meanwhile
    assert names(ledger) == {b"/in/x.bmp": "x", b"/in/x.jpg": "x-3", b"/in/x.png": "x-2"}


def test_another_name_leaves_the_numbers_and_makes_files_anew(ledger: JobLedger) -> None:
    have = {"image": "1", STATISTICS: "2"}
    seal_inputs(ledger, found("a.jpg"), NAMING)
    apply_products(ledger, have)
    done(ledger, have, part="p")
    other = replace(NAMING, name=lambda path, relative, _, cells: f"look-{relative.decode()}", kept=False)
    seal_inputs(ledger, found("a.jpg"), other)
    apply_products(ledger, have)
    [entry] = ledger.open_inputs(0, 9)
    assert [ledger.recipes()[number] for number in entry.recipes] == [{STATISTICS: "2"}]
    done(ledger, {"image": "1"})
    assert kept(ledger) == {"image/a": "superseded"}


def numbers(ledger: JobLedger) -> dict[str, str]:
    return {path.decode().rpartition("/")[2]: name for path, name in names(ledger).items()}


def test_numbers_follow_the_users_order_have_no_holes_and_are_given_once(ledger: JobLedger) -> None:
    numbered = replace(NAMING, name=lambda path, relative, number, cells: f"n{number}", numbered=True)

    def listed(*names_: str) -> list[FoundInput]:
        return [
            replace(entry, order=b"%04d" % place, status=status, reason=status and "excluded")
            for place, name in enumerate(names_)
            for entry in found(name.removeprefix("-"))
            for status in ["skipped" if name.startswith("-") else None]
        ]

    seal_inputs(ledger, listed("b.jpg", "-x.jpg", "a.jpg", "c.jpg"), numbered)
    assert numbers(ledger) == {"b.jpg": "n0", "a.jpg": "n1", "c.jpg": "n2"}
    seal_inputs(ledger, listed("new.jpg", "c.jpg", "x.jpg", "b.jpg"), numbered)
    assert numbers(ledger) == {"b.jpg": "n0", "c.jpg": "n2", "new.jpg": "n3", "x.jpg": "n4"}
    seal_inputs(ledger, listed("a.jpg", "c.jpg"), numbered)
    assert numbers(ledger) == {"a.jpg": "n1", "c.jpg": "n2"}


def test_clashing_names_are_numbered_by_path_whatever_the_order(ledger: JobLedger) -> None:
    seal_inputs(ledger, found("X.png", "x.jpg", "x-2.jpg", "x.tif"), NAMING)
    assert names(ledger) == {b"/in/X.png": "X", b"/in/x-2.jpg": "x-2", b"/in/x.jpg": "x-3", b"/in/x.tif": "x-4"}


def test_clashing_names_can_be_refused_and_leave_the_ledger_as_it_was(ledger: JobLedger) -> None:
    strict = Naming(name=NAMING.name, key=NAMING.key, renamed=NAMING.renamed, collisions="error")
    with pytest.raises(JobError, match="2 inputs would share output names: x"):
        seal_inputs(ledger, found("x.jpg", "x.png"), strict)
    assert ledger.counts().total == 0


def test_name_of_a_foreign_file_is_not_used(ledger: JobLedger) -> None:
    naming = Naming(
        name=NAMING.name,
        key=NAMING.key,
        renamed=NAMING.renamed,
        taken=lambda at: at.name if at.name in {"a", "a-2"} else None,
    )
    assert seal_inputs(ledger, found("a.jpg", "b.jpg"), naming).renamed == 1
    assert names(ledger) == {b"/in/a.jpg": "a-3", b"/in/b.jpg": "b"}


@given(st.lists(st.text("aAbB.", min_size=1, max_size=4), min_size=1, max_size=12, unique=True), st.randoms())
@settings(max_examples=60, deadline=None)
def test_names_are_unique_and_independent_of_discovery_order(
    tmp_path_factory: pytest.TempPathFactory, stems: list[str], random: Random
) -> None:
    inputs = found(*(stem + ".x" for stem in stems))
    results = []
    for _ in range(2):
        ledger = JobLedger(tmp_path_factory.mktemp("order") / "ledger.sqlite")
        seal_inputs(ledger, inputs, NAMING)
        results.append(names(ledger))
        ledger.close()
        random.shuffle(inputs)
    assert results[0] == results[1]
    assert len({name.casefold() for name in results[0].values()}) == len(stems)


def test_first_final_row_wins_and_both_are_journalled(ledger: JobLedger) -> None:
    seal_inputs(ledger, found("a.jpg"), NAMING)
    [entry] = ledger.open_inputs(0, 9)
    row = ImageStatus(id=entry.id, status="failed", reason="corrupt", message="broken")
    assert ledger.commit([row], epoch=1) == 1
    assert ledger.commit([ImageStatus(id=entry.id, status="done")], epoch=1) == 0
    assert [(f.status, f.reason) for f in ledger.final_inputs()] == [("failed", "corrupt")]
    assert ledger.attempts.of(entry.id) == 2


def test_released_input_stays_open_and_is_no_attempt(ledger: JobLedger) -> None:
    seal_inputs(ledger, found("a.jpg"), NAMING)
    [entry] = ledger.open_inputs(0, 9)
    ledger.commit([ImageStatus(id=entry.id, status="released")], epoch=1)
    assert ledger.counts().open == 1
    assert ledger.attempts.of(entry.id) == 0


def test_failed_inputs_can_be_reopened_by_reason(ledger: JobLedger) -> None:
    seal_inputs(ledger, found("a.jpg", "b.jpg"), NAMING)
    first, second = ledger.open_inputs(0, 9)
    ledger.commit([ImageStatus(id=first.id, status="failed", reason="corrupt")], epoch=1)
    ledger.commit([ImageStatus(id=second.id, status="failed", reason="timeout")], epoch=1)
    assert ledger.reopen(["timeout"]) == 1
    assert [entry.id for entry in ledger.open_inputs(0, 9)] == [second.id]
    assert ledger.reopen() == 1


def test_same_products_open_nothing(ledger: JobLedger) -> None:
    seal_inputs(ledger, found("a.jpg"), NAMING)
    apply_products(ledger, {"image": "1", STATISTICS: "2"})
    done(ledger, {"image": "1", STATISTICS: "2"}, part="p")
    apply_products(ledger, {STATISTICS: "2", "image": "1"})
    assert ledger.counts().open == 0


def test_one_analysis_more_opens_inputs_that_keep_what_they_have(ledger: JobLedger) -> None:
    seal_inputs(ledger, found("a.jpg"), NAMING)
    have = {"image": "1", STATISTICS: "2"}
    done(ledger, have, part="p")
    apply_products(ledger, {**have, SHARPNESS: "3"})
    [entry] = ledger.open_inputs(0, 9)
    assert [ledger.recipes()[number] for number in entry.recipes] == [have]
    done(ledger, {SHARPNESS: "3"}, part="q")
    assert [(row.recipe, row.part) for row in ledger.results(0, 9)] == [(1, "p"), (2, "q")]
    [final] = ledger.final_inputs()
    assert [output.path for output in final.outputs] == ["image/a"]


def test_one_analysis_less_opens_nothing_and_keeps_its_numbers(ledger: JobLedger) -> None:
    seal_inputs(ledger, found("a.jpg"), NAMING)
    all_of_them = {"image": "1", STATISTICS: "2", SHARPNESS: "3"}
    done(ledger, all_of_them, part="p")
    apply_products(ledger, {"image": "1", STATISTICS: "2"})
    assert ledger.counts().open == 0
    apply_products(ledger, all_of_them)
    assert ledger.counts().open == 0


def test_dropped_chart_is_kept_and_is_drawn_again_when_asked_for(ledger: JobLedger) -> None:
    seal_inputs(ledger, found("a.jpg"), NAMING)
    with_chart = {"image": "1", "chart:statistics": "9"}
    done(ledger, with_chart)
    apply_products(ledger, {"image": "1"})
    assert ledger.counts().open == 0
    assert [output.path for output in next(ledger.final_inputs()).outputs] == ["image/a"]
    assert kept(ledger) == {"chart:statistics/a": "unwanted"}
    apply_products(ledger, with_chart)
    assert ledger.counts().open == 1


def test_new_look_opens_everything_and_replaces_its_files(ledger: JobLedger) -> None:
    seal_inputs(ledger, found("a.jpg"), NAMING)
    done(ledger, {"image": "1", STATISTICS: "2"}, part="p")
    apply_products(ledger, {"image": "other", STATISTICS: "other"})
    [entry] = ledger.open_inputs(0, 9)
    assert entry.recipes == ()
    assert ledger.files.known(["image/a"]) == (("image/a", "1"),)
    done(ledger, {"image": "other", STATISTICS: "other"}, part="q")
    assert ledger.files.known(["image/a"]) == (("image/a", "other"),)
    assert kept(ledger) == {}


def test_new_plan_gives_failed_inputs_another_chance(ledger: JobLedger) -> None:
    seal_inputs(ledger, found("a.jpg"), NAMING)
    apply_products(ledger, {"image": "1"})
    [entry] = ledger.open_inputs(0, 9)
    ledger.commit([ImageStatus(id=entry.id, status="failed", reason="operation_error")], epoch=1)
    apply_products(ledger, {"image": "1"})
    assert ledger.counts().failed == 1
    apply_products(ledger, {"image": "2"})
    assert ledger.counts().open == 1


def test_input_that_fails_later_loses_its_products(ledger: JobLedger) -> None:
    seal_inputs(ledger, found("a.jpg"), NAMING)
    done(ledger, {"image": "1"})
    apply_products(ledger, {"image": "1", STATISTICS: "2"})
    [entry] = ledger.open_inputs(0, 9)
    ledger.commit([ImageStatus(id=entry.id, status="failed", reason="analysis_error")], epoch=2)
    assert next(ledger.final_inputs()).outputs == ()
    assert kept(ledger) == {"image/a": "failed"}


def test_reader_sees_committed_rows_while_the_writer_works(ledger: JobLedger) -> None:
    seal_inputs(ledger, found("a.jpg"), NAMING)
    reader = JobLedger(ledger.path, read_only=True)
    assert reader.counts().open == 1
    done(ledger, {"image": "1"})
    assert reader.counts().done == 1
    with pytest.raises(Exception, match="readonly"):
        reader.facts.write(JobFacts(status="mine"))
    reader.close()


def test_lost_file_makes_its_product_alone_anew(ledger: JobLedger) -> None:
    have = {"image": "1", "chart:statistics": "9", STATISTICS: "2"}
    seal_inputs(ledger, found("a.jpg", "b.jpg"), NAMING)
    apply_products(ledger, have)
    done(ledger, have, part="p")
    ledger.lost_files(1, "image")
    ledger.files.forget(["image/a"])
    apply_products(ledger, have)
    [entry] = ledger.open_inputs(0, 9)
    assert [ledger.recipes()[number] for number in entry.recipes] == [{"chart:statistics": "9", STATISTICS: "2"}]
    assert [(row.part, row.path) for row in ledger.results(0, 9)] == [("p", b"/in/b.jpg")]
    done(ledger, {"image": "1"})
    assert [output.path for output in next(ledger.final_inputs()).outputs] == ["chart:statistics/a", "image/a"]


def test_lost_results_open_just_their_inputs_and_leave_their_files(ledger: JobLedger) -> None:
    have = {"image": "1", STATISTICS: "2"}
    apply_products(ledger, have)
    seal_inputs(ledger, found("a.jpg"), NAMING)
    done(ledger, have, part="p")
    seal_inputs(ledger, found("a.jpg", "b.jpg"), NAMING)
    done(ledger, have, part="q")
    assert ledger.lost_results("q") == 1
    [entry] = ledger.open_inputs(0, 9)
    assert entry.path == b"/in/b.jpg"
    assert [ledger.recipes()[number] for number in entry.recipes] == [{"image": "1"}]
    assert [file.path for file in ledger.files.current()] == ["image/a", "image/b"]


def test_damaged_ledger_is_told_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "out/.rayjobs/ledger.sqlite"
    JobLedger(path).close()
    path.write_bytes(b"no database, whatever this is" * 40)
    for read_only in (False, True):
        with pytest.raises(JobError, match=r"ledger is damaged .*`rayjobs rebuild .*out` makes it anew"):
            JobLedger(path, read_only=read_only)


def test_facts_come_back_as_they_were(ledger: JobLedger) -> None:
    assert ledger.facts.read() == JobFacts()
    facts = JobFacts(status="running", epoch=3, products={"b": "2", "a": "1"}, tasks=({"type": "render"},), started=1.5)
    ledger.facts.write(facts)
    assert ledger.facts.read() == facts
    ledger.facts.write(replace(facts, started=None))
    assert ledger.facts.read() == replace(facts, started=None)
    assert ledger.facts.spec() is None


def test_what_is_known_of_a_part_goes_with_its_results(ledger: JobLedger) -> None:
    have = {"analysis:x": "1"}
    apply_products(ledger, have)
    seal_inputs(ledger, found("a.jpg"), NAMING)
    done(ledger, have, part="p")
    file = Written(path="p", sha256="0" * 64, bytes=3, mtime_ns=5)
    part = SealedPart(analyses=("x",), rows=1, files=(file,))
    for name in ("p", "q"):
        ledger.facts.write_part(name, part)
    ledger.facts.forget_parts()
    assert (ledger.facts.part("p"), ledger.facts.part("q")) == (part, None)


@pytest.mark.parametrize("read_only", [False, True])
def test_a_ledger_of_another_format_is_left_alone(read_only: bool, tmp_path: Path) -> None:
    path = tmp_path / "out" / ".rayjobs" / "ledger.sqlite"
    JobLedger(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 1")
    with pytest.raises(JobError, match=r"out: made by another version of Rayjobs \(format 1; .*choose another output"):
        JobLedger(path, read_only=read_only)


def test_a_job_of_another_format_is_listed_as_unreadable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAYJOBS_HOME", str(tmp_path / "home"))
    for name in ("old", "new", "gone"):
        JobRegistry().add(name, name, tmp_path / name)
        if name != "gone":
            JobLedger(OutputDirectory(tmp_path / name).ledger).close()
    with closing(sqlite3.connect(OutputDirectory(tmp_path / "old").ledger)) as db:
        db.execute("PRAGMA user_version = 1")
    assert main(["list", "--all", "--json"]) == 0
    listed = {Path(row["output"]).name: row["status"] for row in json.loads(capsys.readouterr().out)}
    assert listed == {"old": "unreadable", "new": "pending", "gone": "removed"}
