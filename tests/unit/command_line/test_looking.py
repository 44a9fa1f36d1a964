"""What the commands say to a person of a job that has ended: the same words everywhere, and what to know of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rayjobs.command_line.cli import main
from tests.places import JOB, Place, picture

Output = pytest.CaptureFixture[str]


@pytest.fixture
def here(place: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A place that is the current directory, with a broken picture."""
    monkeypatch.chdir(place.base)
    picture(place.base / "in/broken.png", 9).write_bytes(b"no picture")
    return place


def run_and_write(place: Place, **changes: Any) -> None:
    """Run a job in this process, and leave its file where it ran."""
    job = {"name": "quick", "output": "out", **JOB, **changes}
    place.run(job=job)
    Path("job.yaml").write_text(json.dumps(job))


def said(capsys: Output, *words: str) -> str:
    main(list(words))
    told = capsys.readouterr()
    return told.out + told.err


def test_a_state_has_one_word_everywhere(here: Place, capsys: Output) -> None:
    run_and_write(here)
    for words in (["status", "out"], ["watch", "out"], ["list"], ["cancel", "out"]):
        told = said(capsys, *words)
        assert "completed with failures" in told, words
        assert "completed_with_failures" not in told, words
    assert "completed with failures" in (here.out / "report/index.html").read_text()


def test_the_status_has_the_last_failure(here: Place, capsys: Output) -> None:
    run_and_write(here)
    assert f"last failure: {here.base}/in/broken.png: not_an_image: " in said(capsys, "status", "out")


def test_a_run_of_what_is_done_says_so(here: Place, capsys: Output) -> None:
    run_and_write(here)
    assert "quick: nothing to do; 4 were done before" in said(capsys, "run", "job.yaml")


def test_what_a_job_asks_for_in_vain_is_said_by_plan_and_run(here: Place, capsys: Output) -> None:
    run_and_write(here, analyses=["statistics"])
    told = "note:       charts are asked for, and none of the analyses has one; color_histogram, "
    assert told in said(capsys, "plan", "job.yaml")
    assert " ".join(told.split()) in said(capsys, "run", "job.yaml")
