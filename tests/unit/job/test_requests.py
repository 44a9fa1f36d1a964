"""What others ask a running driver for, by files in its output."""

from __future__ import annotations

from pathlib import Path

import pytest

from rayjobs.job.output_directory import CANCEL, PAUSE, OutputDirectory


@pytest.fixture
def output(tmp_path: Path) -> OutputDirectory:
    made = OutputDirectory(tmp_path / "out")
    made.control.mkdir(parents=True)
    return made


def test_cancelling_comes_before_a_pause(output: OutputDirectory) -> None:
    assert output.requested() is None
    output.request(PAUSE)
    assert output.requested() == PAUSE
    output.request(CANCEL)
    assert output.requested() == CANCEL
    output.clear_requests()
    assert output.requested() is None


def test_a_priority_is_told_once_and_is_no_wish_to_stop(output: OutputDirectory) -> None:
    output.request_priority("urgent")
    assert output.requested() is None
    assert [output.requested_priority(), output.requested_priority()] == ["urgent", None]


def test_each_who_asks_for_results_has_an_answer_of_its_own(output: OutputDirectory) -> None:
    output.request_results("one")
    output.request_results("two")
    assert sorted(output.results_requests()) == ["one", "two"]
    output.answer_results("one", "no room")
    assert output.results_requests() == ["two"]
    assert [output.results_answer("one"), output.results_answer("two")] == ["no room", None]


def test_where_no_directory_is_nobody_asks(tmp_path: Path) -> None:
    output = OutputDirectory(tmp_path / "gone")
    assert [output.requested(), output.requested_priority(), output.results_requests()] == [None, None, []]
