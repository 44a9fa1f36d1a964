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
from rayjobs.managers import task_store
from rayjobs.managers.task_store import TaskStore, TaskTakenError
from tests.leaks import wait_until

TASK = "t1"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TaskStore]:
    store = TaskStore(BatchRecords(tmp_path))
    yield store
    store.release()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[TaskStore]:
    """Of another manager over the same jobs."""
    other = TaskStore(BatchRecords(tmp_path))
    yield other
    other.release()


def begun(store: TaskStore) -> ExtensibleTask:
    task = ExtensibleTask(task_id=TASK, job_id="j", task_type="look", config={})
    store.begin(task)
    return task


def waits(store: TaskStore, then: Callable[[], None]) -> bool:
    """Whether somebody who waited without a limit goes on after ``then``."""
    waiter = threading.Thread(target=store.wait, args=(TASK, None), daemon=True)
    waiter.start()
    waiter.join(0.05)
    assert waiter.is_alive()
    then()
    waiter.join(30)
    return not waiter.is_alive()


def test_an_interrupted_run_ends_the_wait(store: TaskStore) -> None:
    task = begun(store)
    assert store.running("j") == [TASK]
    assert waits(store, lambda: store.over(TASK))
    assert task.status is TaskStatus.PENDING
    assert store.running("j") == []


def test_a_store_that_is_closed_ends_the_wait(store: TaskStore) -> None:
    begun(store)
    assert waits(store, store.release)


def test_an_end_that_cannot_be_written_down_ends_the_wait(store: TaskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    task = begun(store)

    def full(*_: object) -> None:
        raise JobError("the disk is full")

    def end() -> None:
        monkeypatch.setattr(BatchRecords, "change_task", full)
        with pytest.raises(JobError, match="full"):
            store.change(task, lambda: setattr(task, "status", TaskStatus.COMPLETED))

    assert waits(store, end)


def test_whoever_says_how_far_a_task_is_does_not_own_it(store: TaskStore, other: TaskStore) -> None:
    task = begun(store)
    store.change(task, lambda: setattr(task, "status", TaskStatus.RUNNING))
    other.progressed("j", TASK, 40)
    other.progressed("j", TASK, 30)
    assert (other.find("j", TASK).progress, other.running("j")) == (40, [])
    other.release()
    assert other.find("j", TASK).status is TaskStatus.RUNNING
    store.change(task, lambda: setattr(task, "progress", 20))
    assert store.find("j", TASK) is task
    assert task.progress == 40, "it never goes back"
    store.change(task, lambda: setattr(task, "status", TaskStatus.COMPLETED))
    assert other.find("j", TASK).status is TaskStatus.COMPLETED
    other.progressed("j", TASK, 50)
    assert other.find("j", TASK).progress == 40, "one that ended stays as it is"


def test_what_runs_is_no_orphan_and_an_orphan_gets_one_owner(
    store: TaskStore, other: TaskStore, tmp_path: Path
) -> None:
    task = begun(store)
    assert other.orphans("j") == []
    assert other.elsewhere("j").keys() == {TASK}
    for somebody in (store, other):
        with pytest.raises(TaskTakenError):
            somebody.begin(replace(task))
    store.release()
    stores = [other, *(TaskStore(BatchRecords(tmp_path)) for _ in range(7))]
    (orphan,) = other.orphans("j")

    def resume(each: TaskStore) -> bool:
        try:
            each.begin(replace(orphan))
        except TaskTakenError:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(resume, stores)) == 1
    store.change(task, lambda: setattr(task, "status", TaskStatus.FAILED))
    assert other.find("j", TASK).status is TaskStatus.PENDING, "what the first owner still says is old news"
    for each in stores:
        each.release()


def test_an_owner_says_again_and_again_that_it_is_alive(store: TaskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """For other hosts, where file locks may not reach."""
    monkeypatch.setattr(task_store, "RENEW_S", 0.01)
    file = store._directory / store._owner

    def renewed() -> float:
        return float(json.loads(file.read_bytes())["renewed"])

    begun(store)
    before = renewed()
    wait_until(lambda: renewed() > before)
    store.release()
    assert not file.exists()
    with pytest.raises(JobError, match="closed"):
        store.begin(ExtensibleTask(task_id="late", job_id="j", task_type="look", config={}))


def test_what_was_interrupted_here_can_be_resumed_here(store: TaskStore) -> None:
    task = begun(store)
    assert store.orphans("j") == []
    store.over(TASK)
    assert store.orphans("j") == [task]
    store.begin(task)
    assert (store.orphans("j"), store.running("j")) == ([], [TASK])
