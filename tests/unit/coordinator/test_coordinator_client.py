"""A driver's client, its coordinator in the same process: what it does when things go wrong. See also tests/cluster."""

from __future__ import annotations

import pickle
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from actors.coordinator import grant_resources, task_coordinator
from actors.coordinator.cluster_ledger import ClusterLedger
from actors.coordinator.coordinator_service import LEASE_S, CoordinatorService
from actors.coordinator.task_coordinator import TaskCoordinator
from actors.queue.queue_events import Decision, Finished, Grant, Outcome, TaskReport
from actors.queue.task_queue import FORGET_S
from actors.resources import cluster_view
from actors.resources.driver_resources import DriverResources
from actors.resources.performance_monitor import PerformanceMonitor
from pipelines.contracts import ResourceProvider, TaskHandler
from pipelines.errors import RayjobsError
from pipelines.resources import (
    ResourceAllocation,
    ResourceConfig,
    ResourceEstimate,
    ResourceInfo,
    ResourceLimits,
    UsageSample,
)
from pipelines.tasks import ExtensibleTask, Task, TaskHandle, TaskPriority, TaskResult, TaskStatus
from tests.leaks import wait_until

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
        self.grants = 0
        """The number of the last that was given."""

    def change(self, method: str, *args: Any) -> Any:
        return self.call(method, uuid.uuid4().hex, *args)

    def submit(self, owner: str, tasks: Any) -> bool:
        return bool(self.change("submit", owner, pickle.loads(pickle.dumps(tasks))))

    def call(self, method: str, *args: Any) -> Any:
        with self._changed:
            if method == "news":
                self._changed.wait_for(lambda: self._is_news(*args), 0.05)
                self._changed.wait_for(lambda: not self._asleep)
            self._asleep = self._asleep and method != "close_owner"
            answer = getattr(self._service, method)(*args, *(() if method in ("outcomes", "status") else (self._now,)))
            if method == "submit" and not answer:
                self._asleep = False
                self.refused += 1
            self.grants = self._service._queue._grants.last_number
            self._changed.notify_all()
            return answer

    def pass_time(self, seconds: float) -> None:
        with self._changed:
            self._now += seconds
            self._service.tick(self._now)
            self._changed.notify_all()

    def forget_everybody(self) -> None:
        with self._changed:
            self._asleep = True
            self._now += LEASE_S + FORGET_S + 1
            self._service.tick(self._now)

    def _is_news(self, owner: str, incarnation: str, seen: int) -> bool:
        news = self._service.news(owner, incarnation, seen, self._now)
        return news is None or bool(news.decisions)


class OddBundle:
    """Ends at once what it runs: well, as long as it isn't hungry and has less than all of the node's memory.

    Ray would refuse the options of a task that is called bad.
    """

    def __init__(
        self, _handler: TaskHandler, tasks: Sequence[Task], grant: Grant, ended: Callable[[TaskReport], None]
    ) -> None:
        if any(task.task_id == "bad" for task in tasks):
            raise ValueError("the resource quantity -1 isn't positive")
        self.open = [task.task_id for task in tasks]
        self._memory_bytes = grant.memory_bytes
        self._number = grant.number
        self._ended = ended

    def start(self) -> None:
        while self.open:
            task_id, outcome = self.open.pop(), Outcome.COMPLETED
            if task_id == "hungry" and self._memory_bytes < 100:
                outcome = Outcome.OUT_OF_MEMORY
            self._ended(TaskReport(task_id=task_id, number=self._number, outcome=outcome, value="1", error="so it is"))


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


class Node:
    """The cluster as the resource manager sees it."""

    def nodes(self) -> list[cluster_view.Node]:
        return [cluster_view.Node(name="n", total={"cpu": 1.0, "memory": 100.0})]

    def available(self) -> dict[str, float]:
        return {"cpu": 1.0, "memory": 100.0}


class Pressure:
    """How much of the machine's memory is in use, as the test sets it."""

    percent = 50

    def __call__(self) -> UsageSample:
        return UsageSample(
            time=0.0, cpu_percent=0.0, memory_used_bytes=self.percent, memory_total_bytes=100, process_bytes=1
        )


@pytest.fixture
def here(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    """The coordinator is in this process, without Ray."""
    monkeypatch.setattr(task_coordinator, "CoordinatorLink", lambda: link)
    monkeypatch.setattr(task_coordinator, "Bundle", OddBundle)
    ray = SimpleNamespace(is_initialized=lambda: True, put=lambda handler: handler)
    monkeypatch.setattr(task_coordinator, "ray", ray)


@pytest.fixture
def coordinator(here: None) -> Iterator[TaskCoordinator]:
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


@pytest.mark.parametrize("when", ["before it is submitted", "once it is granted"])
def test_what_cannot_begin_for_want_of_memory_is_pending_and_granted_once_it_can(
    here: None, link: Link, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    monkeypatch.setattr(grant_resources, "LOOK_S", 0.01)
    pressure = Pressure()
    pressure.percent = 99 if when == "before it is submitted" else 50
    monitor = PerformanceMonitor(pressure, interval_s=0.01)
    with (
        DriverResources(cluster=Node(), monitor=monitor) as manager,
        TaskCoordinator(manager) as coordinator,
    ):
        coordinator.register_handler(Works())
        monitor.start()
        wait_until(lambda: (manager.admission() is None) == (pressure.percent == 50))
        if when == "once it is granted":
            monkeypatch.setattr(manager, "admission", lambda: None)  # it is exceeded in the moment after
            pressure.percent = 99
            wait_until(lambda: manager.busy("work", ResourceEstimate()) is not None)
        handles = coordinator.submit_tasks([task(f"{n}") for n in range(20)])
        wait_until(lambda: coordinator.get_queue_status().held == 20)
        granted = link.grants
        assert granted <= (when == "once it is granted"), "one grant is enough to learn it"
        results = coordinator.wait_for_completion(handles, 0.5)
        assert [result.status for result in results] == [TaskStatus.PENDING] * 20
        assert link.grants == granted, "nothing is granted and released meanwhile"
        pressure.percent = 50
        results = coordinator.wait_for_completion(handles, PATIENCE_S)
        assert [result.status for result in results] == [TaskStatus.COMPLETED] * 20
        assert coordinator.get_queue_status().held == 0
    monitor.stop()


def test_tasks_beyond_a_limit_of_their_driver_follow_as_soon_as_there_is_room(
    here: None, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a second later, as often as that was looked at; and without being granted over and over."""
    monkeypatch.setattr(grant_resources, "LOOK_S", 3600.0)
    monitor = PerformanceMonitor(Pressure(), interval_s=3600.0)
    with DriverResources(cluster=Node(), monitor=monitor) as manager:
        manager.set_resource_limits(ResourceLimits(max_cpus=1.0))
        other = manager.hold("other", ResourceEstimate())
        with TaskCoordinator(manager) as coordinator:
            coordinator.register_handler(Works())
            handles = coordinator.submit_tasks([task(f"{n}") for n in range(5)])
            wait_until(lambda: coordinator.get_queue_status().held == 5)
            manager.release_resources(other)
            manager.set_resource_limits(ResourceLimits())
            results = coordinator.wait_for_completion(handles, PATIENCE_S)
            assert [result.status for result in results] == [TaskStatus.COMPLETED] * 5
            assert link.grants == 6, "one that couldn't begin, and one each"
    monitor.stop()


@pytest.mark.parametrize(
    ("limit", "ends"),
    [(None, (TaskStatus.COMPLETED, None)), (60, (TaskStatus.FAILED, "no memory for it, 2 times: so it is"))],
)
def test_what_finds_no_memory_gets_more_within_the_limits_of_its_driver(
    here: None, link: Link, limit: int | None, ends: tuple[TaskStatus, str | None]
) -> None:
    """Beyond them it would wait for ever."""
    monitor = PerformanceMonitor(Pressure(), interval_s=3600.0)
    limits = ResourceConfig(limits=ResourceLimits(max_memory_bytes=limit))
    with DriverResources(limits, cluster=Node(), monitor=monitor) as manager, TaskCoordinator(manager) as coordinator:
        coordinator.register_handler(Works())
        handle = coordinator.submit_task(replace(task("hungry"), resources=ResourceEstimate(memory_bytes=30)))
        wait_until(lambda: link.grants == 1 and coordinator.get_queue_status().running == 0)
        link.pass_time(1.0)
        (hungry,) = coordinator.wait_for_completion([handle], PATIENCE_S)
        assert (hungry.status, hungry.error) == ends
        assert link.grants == 2
        assert manager.get_performance_metrics().allocations == 0
    monitor.stop()


@pytest.mark.parametrize(
    "spelled",
    ["out/a", "./out/../out/a/", "link/a", "{here}/out/a", "~/out/a", "out"],
    ids=["plain", "dots", "link", "absolute", "home", "around"],
)
def test_an_output_is_the_same_however_it_is_spelled(
    coordinator: TaskCoordinator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelled: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to("out")
    heard: list[Decision] = []
    first = replace(task("first"), resources=ResourceEstimate(cpus=0.1), outputs=(f"{tmp_path}/out/a",))
    second = replace(first, task_id="second", outputs=(spelled.format(here=tmp_path),))
    third = replace(first, task_id="third", outputs=("out/b",))
    for each in (first, second, third):
        coordinator.request_grant(each, NORMAL, heard.append)
    wait_until(lambda: "third" in str(heard))
    granted = [task_id for decision in heard if isinstance(decision, Grant) for task_id in decision.task_ids]
    assert granted == ["first", "third"]
    coordinator.end_grant("first", Outcome.COMPLETED)
    if spelled == "out":
        coordinator.end_grant("third", Outcome.COMPLETED)
    wait_until(lambda: "second" in str(heard))


def test_limits_that_make_no_sense_are_refused(coordinator: TaskCoordinator) -> None:
    with pytest.raises(RayjobsError, match="timeout_s of task t is 0; give seconds"):
        coordinator.submit_task(replace(task("t"), timeout_s=0))
    with pytest.raises(RayjobsError, match="max_attempts of task t is 0"):
        coordinator.submit_task(replace(task("t"), max_attempts=0))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"max_cpus": float("inf")}, "max_cpus of task t is inf; give a number of CPUs"),
        ({"max_cpus": -1.0}, "max_cpus of task t is -1.0"),
        ({"resources": ResourceEstimate(cpus=-1)}, "task t asks for -1 of 'cpu': amounts are numbers from 0 on"),
        ({"resources": ResourceEstimate(custom={"pen": float("nan")})}, "task t asks for nan of 'pen'"),
        ({"resources": ResourceEstimate(custom={"pen": 1e305})}, "task t asks for 1e.305 of 'pen'"),
        ({"resources": ResourceEstimate(custom={"cpu": 1})}, "'cpu' has the name of a built-in one"),
    ],
)
def test_needs_that_make_no_sense_are_refused_and_cost_nobody_else_a_decision(
    coordinator: TaskCoordinator, more: dict[str, Any], words: str
) -> None:
    with pytest.raises(RayjobsError, match=words):
        coordinator.submit_task(replace(task("t"), **more))
    with pytest.raises(RayjobsError, match="units of 'pen' make no sense"):
        coordinator.set_resource_units("pen", float("nan"))
    (good,) = coordinator.wait_for_completion([coordinator.submit_task(task("good"))], PATIENCE_S)
    assert good.status is TaskStatus.COMPLETED


class Pens(ResourceProvider):
    """One pen."""

    def __init__(self) -> None:
        self.taken = 0

    def get_available_resources(self) -> ResourceInfo:
        return ResourceInfo(total={"pen": 1}, available={"pen": 1 - self.taken})

    def allocate(self, amount: int) -> ResourceAllocation:
        self.taken += amount
        return ResourceAllocation(allocation_id="1", resource_type="pen", amounts={"pen": amount})

    def release(self, allocation: ResourceAllocation) -> None:
        self.taken = 0


def test_what_a_driver_held_that_was_thought_dead_is_free_here_as_well(here: None, link: Link) -> None:
    """Else it waits for ever for what it holds itself."""
    pens, heard = Pens(), threading.Event()
    monitor = PerformanceMonitor(Pressure(), interval_s=3600.0)
    with DriverResources(cluster=Node(), monitor=monitor) as manager:
        manager.register_resource_provider("pen", pens)
        with TaskCoordinator(manager) as coordinator:
            coordinator.register_handler(Works())
            wants = replace(task("wants"), resources=ResourceEstimate(custom={"pen": 1}))
            coordinator.request_grant(wants, NORMAL, lambda _: heard.set())
            assert heard.wait(PATIENCE_S)
            assert pens.taken == 1
            link.forget_everybody()
            handle = coordinator.submit_task(replace(wants, task_id="late"))
            (late,) = coordinator.wait_for_completion([handle], PATIENCE_S)
            assert late.status is TaskStatus.COMPLETED
            assert pens.taken == 0
    monitor.stop()


def test_nothing_is_left_of_grants_that_have_ended(coordinator: TaskCoordinator, link: Link) -> None:
    for n in range(10):
        granted, ended = threading.Event(), threading.Event()
        tell = {Grant: granted.set, Finished: ended.set}
        coordinator.request_grant(task(f"{n}"), NORMAL, lambda decision, tell=tell: tell[type(decision)]())  # type: ignore[misc]
        assert granted.wait(PATIENCE_S)
        coordinator.end_grant(f"{n}", Outcome.COMPLETED)
        assert ended.wait(PATIENCE_S)
    assert coordinator._known == {}
    assert list(link._service._queue.entries()) == []
    assert coordinator.get_task_status(TaskHandle("9")) is TaskStatus.COMPLETED
