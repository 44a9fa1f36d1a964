"""One task in its worker: whatever its handler does, one report leaves, and those behind it run."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import pytest

from actors.coordinator.ray_task_bundle import run_one
from actors.coordinator.ray_task_words import TaskWords
from actors.queue.queue_events import Outcome, TaskReport, TaskWord
from pipelines.contracts import TaskHandler
from pipelines.errors import FailedReason, ImageError
from pipelines.tasks import ExtensibleTask, TaskResult, TaskStatus


class Does(TaskHandler):
    """Whatever the test wants."""

    def __init__(self, what: Callable[[ExtensibleTask], Any]) -> None:
        self._what = what

    def handle_task(self, task: ExtensibleTask) -> TaskResult:
        return TaskResult(task_id=task.task_id, status=TaskStatus.COMPLETED, value=self._what(task))

    def get_supported_task_types(self) -> list[str]:
        return ["work"]


def report_of(what: Callable[[ExtensibleTask], Any]) -> TaskReport:
    task = ExtensibleTask(task_id="t", job_id="", task_type="work", config={}, extension_data={"given": 1})
    return run_one(Does(what), task, TaskWords(7))


def nested(task: ExtensibleTask) -> None:
    for _ in range(100_000):
        task.extension_data = {"more": task.extension_data}


@pytest.mark.parametrize(
    ("what", "word"),
    [
        (lambda task: None, None),
        (lambda task: setattr(task, "progress", 250.7), TaskWord(100)),
        (lambda task: setattr(task, "progress", -1), None),
        (lambda task: task.extension_data.clear(), TaskWord(0, "{}")),
        (lambda task: task.extension_data.update({"half": [1]}), TaskWord(0, '{"given": 1, "half": [1]}')),
    ],
    ids=["nothing", "too far", "too little", "taken away", "added"],
)
def test_what_a_handler_says_last_leaves_with_its_report(
    what: Callable[[ExtensibleTask], Any], word: TaskWord | None
) -> None:
    report = report_of(what)
    assert (report.number, report.outcome, report.word) == (7, Outcome.COMPLETED, word)


@pytest.mark.parametrize(
    "what",
    [
        lambda task: setattr(task, "progress", float("inf")),
        lambda task: setattr(task, "progress", "half"),
        lambda task: setattr(task, "extension_data", ["no", "names"]),
        lambda task: task.extension_data.update(it=task),
        lambda task: task.extension_data.update(it=task.extension_data),
        nested,
    ],
    ids=["no number of percent", "words", "no dictionary", "no plain value", "a circle", "too deep"],
)
@pytest.mark.parametrize("raises", [False, True])
def test_what_can_not_be_kept_fails_its_task_and_no_other(what: Callable[[ExtensibleTask], Any], raises: bool) -> None:
    def work(task: ExtensibleTask) -> None:
        what(task)
        if raises:
            raise ValueError("no such luck")

    report = report_of(work)
    assert (report.outcome, report.word) == (Outcome.FAILED, None)
    assert ("no such luck" if raises else "that its handler set can't be kept") in str(report.error)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (MemoryError("8 GiB"), Outcome.OUT_OF_MEMORY),
        (OSError(errno.ENOMEM, "no memory"), Outcome.OUT_OF_MEMORY),
        (ImageError(FailedReason.OUT_OF_MEMORY, "blur: MemoryError"), Outcome.OUT_OF_MEMORY),
        (ImageError(FailedReason.CORRUPT, "no picture"), Outcome.FAILED),
        (SystemExit(1), Outcome.FAILED),
    ],
)
def test_only_want_of_memory_is_no_final_failure(error: BaseException, outcome: Outcome) -> None:
    def work(task: ExtensibleTask) -> None:
        task.progress = 40
        raise error

    report = report_of(work)
    assert (report.outcome, report.word) == (outcome, TaskWord(40))
    assert report.error == f"{type(error).__name__}: {error}"


@pytest.mark.parametrize("error", [{"code": 1}, ValueError("it")], ids=["a dictionary", "an error"])
def test_a_reason_of_any_type_leaves_as_text(error: object) -> None:
    """The coordinator keeps it in its ledger, and couldn't even read what is of a class of the handler's."""

    class Says(Does):
        def handle_task(self, task: ExtensibleTask) -> TaskResult:
            return TaskResult(task_id=task.task_id, status=TaskStatus.FAILED, error=error)  # type: ignore[arg-type]

    task = ExtensibleTask(task_id="t", job_id="", task_type="work", config={})
    report = run_one(Says(lambda _: None), task, TaskWords(7))
    assert (report.outcome, report.error) == (Outcome.FAILED, str(error))
