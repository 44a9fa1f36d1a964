"""Commands as a user types them: what they refuse, in words, and what they leave alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.job_registry import JobRegistry
from rayjobs.cli import main


def test_init_writes_a_job_file_and_its_schema(tmp_path: Path) -> None:
    assert main(["init", str(tmp_path / "job.yaml"), "--schema"]) == 0
    assert (tmp_path / "job.yaml").read_text().startswith("# yaml-language-server: $schema=job.schema.json\n")
    assert (tmp_path / "job.schema.json").read_text().startswith("{")


def test_init_where_a_job_file_is_leaves_its_schema_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("job.yaml", "job.schema.json"):
        (tmp_path / name).write_text("mine")
    assert main(["init", str(tmp_path / "job.yaml"), "--schema"]) == 1
    assert "exists; give another name" in capsys.readouterr().err
    assert {path.read_text() for path in tmp_path.iterdir()} == {"mine"}


def test_init_in_no_directory_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", str(tmp_path / "none/job.yaml"), "--schema"]) == 1
    assert capsys.readouterr().err == f"rayjobs: {tmp_path / 'none/job.yaml'}: No such file or directory\n"


def test_a_reason_that_there_is_not_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["retry-failed", "job", "--reason", "timout"])
    assert "'timout' (choose from" in capsys.readouterr().err


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
