"""Whoever waits for a task learns of the end of its run, however it ends."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from actors.ledger.batch_records import BatchRecords
from pipelines.errors import JobError
from pipelines.tasks import ExtensibleTask, TaskStatus
from rayjobs.managers import task_book
from rayjobs.managers.task_book import TaskBook, TaskTakenError
from tests.leaks import wait_until

TASK = "t1"


@pytest.fixture
def book(tmp_path: Path) -> Iterator[TaskBook]:
    book = TaskBook(BatchRecords(tmp_path))
    yield book
    book.release()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[TaskBook]:
    """Of another manager over the same jobs."""
    other = TaskBook(BatchRecords(tmp_path))
    yield other
    other.release()


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

    def full(*_: object) -> None:
        raise JobError("the disk is full")

    def end() -> None:
        monkeypatch.setattr(BatchRecords, "change_task", full)
        with pytest.raises(JobError, match="full"):
            book.change(task, lambda: setattr(task, "status", TaskStatus.COMPLETED))

    assert waits(book, end)


def test_whoever_says_how_far_a_task_is_does_not_own_it(book: TaskBook, other: TaskBook) -> None:
    task = begun(book)
    book.change(task, lambda: setattr(task, "status", TaskStatus.RUNNING))
    other.progressed("j", TASK, 40)
    other.progressed("j", TASK, 30)
    assert (other.find("j", TASK).progress, other.running("j")) == (40, [])
    other.release()
    assert other.find("j", TASK).status is TaskStatus.RUNNING
    book.change(task, lambda: setattr(task, "progress", 20))
    assert book.find("j", TASK) is task
    assert task.progress == 40, "it never goes back"
    book.change(task, lambda: setattr(task, "status", TaskStatus.COMPLETED))
    assert other.find("j", TASK).status is TaskStatus.COMPLETED
    other.progressed("j", TASK, 50)
    assert other.find("j", TASK).progress == 40, "one that ended stays as it is"


def test_what_runs_is_no_orphan_and_an_orphan_gets_one_owner(book: TaskBook, other: TaskBook, tmp_path: Path) -> None:
    task = begun(book)
    assert other.orphans("j") == []
    assert other.elsewhere("j").keys() == {TASK}
    for somebody in (book, other):
        with pytest.raises(TaskTakenError):
            somebody.begin(replace(task))
    book.release()
    books = [other, *(TaskBook(BatchRecords(tmp_path)) for _ in range(7))]
    (orphan,) = other.orphans("j")

    def resume(each: TaskBook) -> bool:
        try:
            each.begin(replace(orphan))
        except TaskTakenError:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(resume, books)) == 1
    book.change(task, lambda: setattr(task, "status", TaskStatus.FAILED))
    assert other.find("j", TASK).status is TaskStatus.PENDING, "what the first owner still says is old news"
    for each in books:
        each.release()


def test_an_owner_says_again_and_again_that_it_is_alive(book: TaskBook, monkeypatch: pytest.MonkeyPatch) -> None:
    """For other hosts, where file locks may not reach."""
    monkeypatch.setattr(task_book, "RENEW_S", 0.01)
    file = book._directory / book._owner

    def renewed() -> float:
        return float(json.loads(file.read_bytes())["renewed"])

    begun(book)
    before = renewed()
    wait_until(lambda: renewed() > before)
    book.release()
    assert not file.exists()
    with pytest.raises(JobError, match="closed"):
        book.begin(ExtensibleTask(task_id="late", job_id="j", task_type="look", config={}))


def test_what_was_interrupted_here_can_be_resumed_here(book: TaskBook) -> None:
    task = begun(book)
    assert book.orphans("j") == []
    book.over(TASK)
    assert book.orphans("j") == [task]
    book.begin(task)
    assert (book.orphans("j"), book.running("j")) == ([], [TASK])
