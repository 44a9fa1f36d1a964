"""Commands as a user types them: what they refuse, in words, and what they leave alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.ledger.job_registry import JobRegistry
from rayjobs.command_line.cli import main


def test_init_writes_a_job_file_and_its_schema(tmp_path: Path) -> None:
    assert main(["init", str(tmp_path / "job.yaml"), "--schema"]) == 0
    assert (tmp_path / "job.yaml").read_text().startswith("# yaml-language-server: $schema=job.schema.json\n")
    assert (tmp_path / "job.schema.json").read_text().startswith("{")


@pytest.mark.parametrize("taken", [("job.yaml",), ("job.schema.json",), ("job.yaml", "job.schema.json")])
def test_init_where_a_job_file_or_a_schema_is_writes_nothing(
    taken: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in taken:
        (tmp_path / name).write_text("mine")
    assert main(["init", str(tmp_path / "job.yaml"), "--schema"]) == 1
    told = capsys.readouterr()
    assert told.err == f"rayjobs: {tmp_path / taken[0]} exists; give another name: rayjobs init FILE\n"
    assert told.out == ""
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(taken, "mine")


def test_init_without_a_schema_does_not_mind_one(tmp_path: Path) -> None:
    (tmp_path / "job.schema.json").write_text("mine")
    assert main(["init", str(tmp_path / "job.yaml")]) == 0
    assert (tmp_path / "job.schema.json").read_text() == "mine"


@pytest.mark.parametrize("name", ["job.yaml", "job.schema.json"])
def test_init_follows_no_link(name: str, tmp_path: Path) -> None:
    (tmp_path / name).symlink_to(tmp_path / "elsewhere")
    assert main(["init", str(tmp_path / "job.yaml"), "--schema"]) == 1
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("directory", [".", "/"])
def test_init_of_a_directory_says_so(directory: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", directory, "--schema"]) == 1
    assert capsys.readouterr().err == f"rayjobs: {directory} exists; give another name: rayjobs init FILE\n"


def test_init_in_no_directory_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", str(tmp_path / "none/job.yaml"), "--schema"]) == 1
    assert capsys.readouterr().err == f"rayjobs: {tmp_path / 'none/job.yaml'}: No such file or directory\n"


def test_a_reason_that_there_is_not_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["retry-failed", "job", "--reason", "timout"])
    assert "unknown --reason 'timout'; did you mean 'timeout'?" in capsys.readouterr().err


def test_a_damaged_list_of_jobs_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAYJOBS_HOME", str(tmp_path))
    (tmp_path / "jobs.sqlite").write_bytes(b"no database " * 500)
    assert main(["list"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"rayjobs: {tmp_path / 'jobs.sqlite'}: is damaged (file is not a database); move it away")


def test_a_job_that_is_on_the_list_and_has_not_begun_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAYJOBS_HOME", str(tmp_path))
    JobRegistry().add("later-1", "later", tmp_path / "out")
    assert main(["status", "later-1"]) == 1
    assert f"later-1: nothing is in {tmp_path / 'out'} yet; a job that was just submitted" in capsys.readouterr().err
