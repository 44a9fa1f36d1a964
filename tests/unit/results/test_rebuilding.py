"""A damaged or lost ledger is told in one line with the remedy, and made again without touching another file."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from pipelines.errors import JobError
from rayjobs.command_line.cli import main
from rayjobs.job.output_directory import OutputDirectory
from rayjobs.results.rebuilding import rebuild
from tests.places import JOB, Place, tree
from tests.quick_runs import request, run_here


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:3000])


def scribble(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096 : 4096 * 4] = os.urandom(4096 * 3)
    path.write_bytes(bytes(data))


def results(place: Place) -> dict[str, bytes]:
    return {path: data for path, data in tree(place.out).items() if "/.rayjobs/" not in path}


@pytest.mark.parametrize("damage", [cut, scribble, Path.unlink, lambda path: path.write_bytes(b"x" * 9000)])
def test_from_the_sealed_copy_everything_is_as_it_was(place: Place, damage: Callable[[Path], None]) -> None:
    place.run()
    output = OutputDirectory(place.out)
    before = results(place)
    damage(output.ledger)
    done = rebuild(output)
    assert (done.source, done.total, done.done) == ("copy", 4, 4)
    assert results(place) == before
    assert place.run().unchanged


@pytest.mark.parametrize("damage", [cut, Path.unlink])
def test_from_manifest_and_sealed_parts_nothing_is_computed_again(place: Place, damage: Callable[[Path], None]) -> None:
    (place.base / "in/broken.png").write_bytes(b"no picture")
    for path in (place.base / "in").iterdir():
        os.utime(path, (1_700_000_000, 1_700_000_000))  # older than the run
    place.run()
    output = OutputDirectory(place.out)
    before = results(place)
    damage(output.ledger)
    output.sealed_ledger.unlink()
    done = rebuild(output)
    assert (done.source, done.total, done.done) == ("manifest", 5, 4)
    assert results(place) == before
    state = place.run()
    assert (state.done, state.failed) == (4, 1)
    assert [row.status for row in place.rows] == ["failed"]  # nothing proves a failure
    after = results(place)
    times = {str(place.out / name) for name in ("job.json", "report/index.html")}
    assert {path for path in before if after[path] != before[path]} <= times
    assert set(after) == set(before)
    assert place.run().unchanged


def test_what_can_not_be_proven_is_computed_again(place: Place) -> None:
    for number, path in enumerate(sorted((place.base / "in").iterdir())):
        age = 1_700_000_000 if number < 2 else 4_000_000_000  # younger than the run: it may have changed since
        os.utime(path, (age, age))
    place.run()
    output = OutputDirectory(place.out)
    whole = place.listed()
    output.ledger.unlink()
    output.sealed_ledger.unlink()
    (place.out / "images/p0.png").write_bytes(b"retouched")
    done = rebuild(output)
    assert done.done == 1
    place.run()
    assert len(place.rows) == 3
    assert (place.out / "images/p0.png").read_bytes() == b"retouched"
    assert place.listed()["images/p0-2.png"] == whole["images/p0.png"]


def test_without_manifest_or_job_json_it_says_what_is_lacking(place: Place) -> None:
    place.run()
    output = OutputDirectory(place.out)
    output.ledger.unlink()
    output.sealed_ledger.unlink()
    for name in ("manifest.parquet", "job.json"):
        (place.out / name).rename(place.out / f"{name}.away")
        with pytest.raises(JobError, match=name.replace(".", r"\.") if name == "job.json" else "no job has run here"):
            rebuild(output)
        (place.out / f"{name}.away").rename(place.out / name)


def test_the_damaged_ledger_is_kept(place: Place) -> None:
    place.run()
    output = OutputDirectory(place.out)
    cut(output.ledger)
    damaged = output.ledger.read_bytes()
    done = rebuild(output)
    assert done.kept_as is not None
    assert (place.out / done.kept_as).read_bytes() == damaged


@pytest.mark.parametrize("command", ["run", "status", "verify", "prune", "history", "cancel", "plan"])
@pytest.mark.parametrize("damage", [cut, scribble])
def test_each_command_tells_a_damaged_ledger_in_one_line_with_the_remedy(
    place: Place,
    command: str,
    damage: Callable[[Path], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    place.run()
    output = OutputDirectory(place.out)
    damage(output.ledger)
    job = place.base / "job.yaml"
    job.write_text("name: quick\ninputs: [in/]\noutput: out\nanalyses: [statistics]\n")
    code = main([command, str(job if command in ("run", "plan") else place.out)])
    said = capsys.readouterr().err
    if code == 0:  # what it read was whole
        assert damage is scribble
        return
    assert code == 1
    assert "Traceback" not in said
    assert f"`rayjobs rebuild {place.out}`" in said.splitlines()[-1]
    assert [line for line in said.splitlines() if line.startswith("rayjobs:")] == said.splitlines()[-1:]


def test_a_whole_ledger_is_left_alone(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.run()
    before = tree(place.out)
    assert main(["rebuild", str(place.out)]) == 0
    assert "the ledger is whole; nothing was done" in capsys.readouterr().out
    lock = str(OutputDirectory(place.out).lock)
    assert {k: v for k, v in tree(place.out).items() if k != lock} == {k: v for k, v in before.items() if k != lock}


def test_a_wal_that_was_left_is_no_part_of_the_new_ledger(place: Place) -> None:
    place.run()
    output = OutputDirectory(place.out)
    db = sqlite3.connect(output.ledger)
    db.execute("PRAGMA wal_autocheckpoint=0")
    db.execute("UPDATE inputs SET status = 'failed'")
    db.commit()
    shutil.copy(output.ledger.with_name("ledger.sqlite-wal"), place.base / "wal")
    db.close()
    cut(output.ledger)
    shutil.copy(place.base / "wal", output.ledger.with_name("ledger.sqlite-wal"))
    assert rebuild(output).done == 4
    with closing(output.read_ledger()) as ledger:
        assert ledger.counts().done == 4


def test_a_job_of_beside_images_is_made_again(place: Place) -> None:
    for path in (place.base / "in").iterdir():
        os.utime(path, (1_700_000_000, 1_700_000_000))
    job = {**JOB, "export": {**JOB["export"], "images": {"format": "jpeg", "layout": "beside", "name": "{stem}_look"}}}
    run_here(request(place.base, job))
    output = OutputDirectory(place.out)
    looks = {path.name for path in (place.base / "in").iterdir()}
    assert len(looks) == 8
    output.ledger.unlink()
    output.sealed_ledger.unlink()
    rebuild(output)
    assert run_here(request(place.base, job)).total == 4
    assert {path.name for path in (place.base / "in").iterdir()} == looks
