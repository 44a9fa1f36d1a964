"""A driver's client, its coordinator in the same process: what it does when things go wrong. See also tests/cluster."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from actors import task_coordinator
from actors.cluster_ledger import ClusterLedger
from actors.coordinator_service import LEASE_S, CoordinatorService
from actors.queue_events import Decision, Finished, Grant, Outcome, TaskReport
from actors.task_coordinator import TaskCoordinator
from actors.task_queue import FORGET_S
from pipelines.contracts import TaskHandler
from pipelines.tasks import ExtensibleTask, Task, TaskPriority, TaskResult, TaskStatus

PATIENCE_S = 20.0
NORMAL = TaskPriority.NORMAL


class Link:
    """Calls a coordinator of this process; implements what the client uses of ``CoordinatorLink``."""

    def __init__(self, service: CoordinatorService) -> None:
        self._service = service
        self._changed = threading.Condition()
        self._now = 0.0
        self._asleep = False
        """The listening thread hears nothing until somebody was told to attach first."""
        self.refused = 0

    def change(self, method: str, *args: Any) -> Any:
        return self.call(method, uuid.uuid4().hex, *args)

    def call(self, method: str, *args: Any) -> Any:
        with self._changed:
            if method == "news":
                self._changed.wait_for(lambda: self._is_news(*args), 0.05)
                self._changed.wait_for(lambda: not self._asleep)
            self._asleep = self._asleep and method != "close_owner"
            answer = getattr(self._service, method)(*args, *(() if method == "outcomes" else (self._now,)))
            if method == "submit" and not answer:
                self._asleep = False
                self.refused += 1
            self._changed.notify_all()
            return answer

    def forget_everybody(self) -> None:
        with self._changed:
            self._asleep = True
            self._now += LEASE_S + FORGET_S + 1
            self._service.tick(self._now)

    def _is_news(self, owner: str, incarnation: str, seen: int) -> bool:
        news = self._service.news(owner, incarnation, seen, self._now)
        return news is None or bool(news.decisions)


class OddBundle:
    """Ends at once what it runs; Ray would refuse the options of a task that is called bad."""

    def __init__(
        self, _handler: TaskHandler, tasks: Sequence[Task], grant: Grant, ended: Callable[[TaskReport], None]
    ) -> None:
        if any(task.task_id == "bad" for task in tasks):
            raise ValueError("the resource quantity -1 isn't positive")
        self.open = [task.task_id for task in tasks]
        self._number = grant.number
        self._ended = ended

    def start(self) -> None:
        while self.open:
            report = TaskReport(
                task_id=self.open.pop(), number=self._number, outcome=Outcome.COMPLETED, value="1", error=None
            )
            self._ended(report)


class Works(TaskHandler):
    def get_supported_task_types(self) -> list[str]:
        return ["work"]

    def handle_task(self, task: ExtensibleTask) -> TaskResult:
        raise NotImplementedError("OddBundle runs nothing")


@pytest.fixture
def link(tmp_path: Path) -> Iterator[Link]:
    ledger = ClusterLedger(tmp_path / "ledger.sqlite")
    service = CoordinatorService(ledger, 0.0)
    service.set_nodes({"n": {"cpu": 1.0, "memory": 100.0}}, 0.0)
    yield Link(service)
    ledger.close()


@pytest.fixture
def coordinator(link: Link, monkeypatch: pytest.MonkeyPatch) -> Iterator[TaskCoordinator]:
    monkeypatch.setattr(task_coordinator, "CoordinatorLink", lambda: link)
    monkeypatch.setattr(task_coordinator, "Bundle", OddBundle)
    ray = SimpleNamespace(is_initialized=lambda: True, put=lambda handler: handler)
    monkeypatch.setattr(task_coordinator, "ray", ray)
    with TaskCoordinator() as coordinator:
        coordinator.register_handler(Works())
        yield coordinator


def task(task_id: str) -> Task:
    return Task(task_id=task_id, task_type="work")


def test_a_task_that_cannot_be_started_fails_and_the_next_one_runs(coordinator: TaskCoordinator) -> None:
    handles = coordinator.submit_tasks([task("bad"), task("good")])
    bad, good = coordinator.wait_for_completion(handles, PATIENCE_S)
    assert (bad.status, bad.error) == (TaskStatus.FAILED, "ValueError: the resource quantity -1 isn't positive")
    assert (good.status, good.value) == (TaskStatus.COMPLETED, 1)


def test_a_listener_that_fails_costs_its_own_task_only(coordinator: TaskCoordinator) -> None:
    heard: list[Decision] = []
    told = threading.Event()

    def hear(decision: Decision) -> None:
        heard.append(decision)
        if isinstance(decision, Finished):
            told.set()
        raise TypeError("this listener is odd")

    coordinator.request_grant(task("odd"), NORMAL, hear)
    assert told.wait(PATIENCE_S)
    assert [type(decision) for decision in heard] == [Grant, Finished]
    assert isinstance(heard[1], Finished)
    assert (heard[1].status, heard[1].error) == (TaskStatus.FAILED, "TypeError: this listener is odd")
    (good,) = coordinator.wait_for_completion([coordinator.submit_task(task("good"))], PATIENCE_S)
    assert good.status is TaskStatus.COMPLETED


def test_a_driver_that_slept_until_it_was_forgotten_submits_all_the_same(
    coordinator: TaskCoordinator, link: Link
) -> None:
    link.forget_everybody()
    handle = coordinator.submit_task(task("late"))
    assert link.refused == 1
    (late,) = coordinator.wait_for_completion([handle], PATIENCE_S)
    assert late.status is TaskStatus.COMPLETED
