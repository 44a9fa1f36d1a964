"""Whoever waits for a task learns of the end of its run, however it ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from actors.batch_records import BatchRecords
from pipelines.errors import JobError
from pipelines.tasks import ExtensibleTask, TaskStatus
from rayjobs.task_book import TaskBook

TASK = "t1"


@pytest.fixture
def book(tmp_path: Path) -> Iterator[TaskBook]:
    book = TaskBook(BatchRecords(tmp_path))
    yield book
    book.release()


def begun(book: TaskBook) -> ExtensibleTask:
    task = ExtensibleTask(task_id=TASK, job_id="j", task_type="look", config={})
    book.begin(task)
    return task


def waits(book: TaskBook, then: Callable[[], None]) -> bool:
    """Whether somebody who waited without a limit goes on after ``then``."""
    waiter = threading.Thread(target=book.wait, args=(TASK, None), daemon=True)
    waiter.start()
    waiter.join(0.05)
    assert waiter.is_alive()
    then()
    waiter.join(5)
    return not waiter.is_alive()


def test_an_interrupted_run_ends_the_wait(book: TaskBook) -> None:
    task = begun(book)
    assert book.running("j") == [TASK]
    assert waits(book, lambda: book.over(TASK))
    assert task.status is TaskStatus.PENDING
    assert book.running("j") == []


def test_a_book_that_is_closed_ends_the_wait(book: TaskBook) -> None:
    begun(book)
    assert waits(book, book.release)


def test_an_end_that_cannot_be_written_down_ends_the_wait(book: TaskBook, monkeypatch: pytest.MonkeyPatch) -> None:
    task = begun(book)

    def full(_: object) -> None:
        raise JobError("the disk is full")

    def end() -> None:
        monkeypatch.setattr(BatchRecords, "put_task", lambda *_: full(None))
        with pytest.raises(JobError, match="full"):
            book.change(task, lambda: setattr(task, "status", TaskStatus.COMPLETED))

    assert waits(book, end)
