"""A provider's units limit tasks across jobs and drivers, and come back when a worker is killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.coordinator.resource_manager import ResourceManager
from actors.resources.performance_monitor import PerformanceMonitor
from pipelines.contracts import ResourceProvider, TaskHandler
from pipelines.resource_needs import InfeasibleError
from pipelines.resources import (
    ResourceAllocation,
    ResourceConfig,
    ResourceEstimate,
    ResourceInfo,
    ResourceLimits,
    UsageSample,
)
from pipelines.tasks import ExtensibleTask, Task, TaskResult, TaskStatus
from rayjobs.run.ray_session import ray_session
from tests.leaks import wait_until

UNITS = 3


class Licences(ResourceProvider):
    """Three licences; remembers how many were out at most."""

    def __init__(self) -> None:
        self.out: dict[str, int] = {}
        self.most = 0
        self.given = 0

    def get_available_resources(self) -> ResourceInfo:
        return ResourceInfo(total={"licence": UNITS}, available={"licence": UNITS - sum(self.out.values())})

    def allocate(self, amount: int) -> ResourceAllocation:
        assert sum(self.out.values()) + amount <= UNITS
        self.given += 1
        name = f"licence {self.given}"
        self.out[name] = amount
        self.most = max(self.most, sum(self.out.values()))
        return ResourceAllocation(allocation_id=name, resource_type="licence", amounts={"licence": amount})

    def release(self, allocation: ResourceAllocation) -> None:
        self.out.pop(allocation.allocation_id, None)


class Meet(TaskHandler):
    """Leaves a mark while it runs, until it is told to end; its result is how many marks it saw at most."""

    def handle_task(self, task: ExtensibleTask) -> TaskResult:
        place = Path(task.config["place"])
        mark = place / f"{task.task_id}.{os.getpid()}"
        mark.touch()
        most = len(list(place.glob("look*")))
        deadline = time.monotonic() + 60
        while not (place / "end").exists() and time.monotonic() < deadline:
            most = max(most, len(list(place.glob("look*"))))
        mark.unlink()
        return TaskResult(task_id=task.task_id, status=TaskStatus.COMPLETED, value=most)

    def get_supported_task_types(self) -> list[str]:
        return ["look"]


class Machine:
    """A machine as busy as the test says; a sampler."""

    memory = 10

    def __call__(self) -> UsageSample:
        return UsageSample(
            time=0.0, cpu_percent=0.0, memory_used_bytes=self.memory, memory_total_bytes=100, process_bytes=1
        )


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYJOBS_HOME", str(tmp_path_factory.mktemp("home")))
        with ray_session(name="providers", workers=2):
            yield


@pytest.fixture
def manager() -> Iterator[ResourceManager]:
    with ResourceManager(ResourceConfig(limits=ResourceLimits())) as manager:
        yield manager


def looks(place: Path, prefix: str, count: int) -> list[Task]:
    estimate = ResourceEstimate(cpus=0.1, custom={"licence": 1})
    return [
        Task(task_id=f"look-{prefix}-{n}", task_type="look", payload={"place": str(place)}, resources=estimate)
        for n in range(count)
    ]


def marks(place: Path) -> list[Path]:
    return list(place.glob("look*"))


def test_units_limit_tasks_of_two_drivers_together(manager: ResourceManager, tmp_path: Path) -> None:
    from actors.coordinator.task_coordinator import TaskCoordinator

    first, second = Licences(), Licences()
    manager.register_resource_provider("licence", first)
    with ResourceManager(ResourceConfig(limits=ResourceLimits())) as other, TaskCoordinator(manager) as one:
        other.register_resource_provider("licence", second)
        with TaskCoordinator(other) as two:
            handles = []
            for name, coordinator in (("one", one), ("two", two)):
                coordinator.register_handler(Meet())
                handles.append(coordinator.submit_tasks(looks(tmp_path, name, 4)))
            wait_until(lambda: len(marks(tmp_path)) == UNITS)
            (tmp_path / "end").touch()
            results = one.wait_for_completion(handles[0], 60) + two.wait_for_completion(handles[1], 60)
        assert [result.status for result in results] == [TaskStatus.COMPLETED] * 8
        assert max(result.value for result in results) <= UNITS
        assert first.out == second.out == {}
        assert first.given == second.given == 4


def test_units_come_back_when_a_worker_is_killed(manager: ResourceManager, tmp_path: Path) -> None:
    from actors.coordinator.task_coordinator import TaskCoordinator

    provider = Licences()
    manager.register_resource_provider("licence", provider)
    with TaskCoordinator(manager) as coordinator:
        coordinator.register_handler(Meet())
        handles = coordinator.submit_tasks(looks(tmp_path, "killed", UNITS + 1))
        wait_until(lambda: len(marks(tmp_path)) == UNITS)
        victim = marks(tmp_path)[0]
        os.kill(int(victim.suffix[1:]), signal.SIGKILL)
        victim.unlink()
        wait_until(lambda: len(marks(tmp_path)) == UNITS)  # the one that waited, or the same once more, has its unit
        assert provider.most == UNITS
        (tmp_path / "end").touch()
        results = coordinator.wait_for_completion(handles, 60)
        assert [result.status for result in results] == [TaskStatus.COMPLETED] * (UNITS + 1)
        wait_until(lambda: provider.out == {})
        assert provider.given == UNITS + 2


def test_fewer_units_by_a_limit_at_run_time(manager: ResourceManager, tmp_path: Path) -> None:
    from actors.coordinator.task_coordinator import TaskCoordinator

    manager.register_resource_provider("licence", Licences())
    with TaskCoordinator(manager) as coordinator:
        coordinator.register_handler(Meet())
        manager.set_resource_limits(ResourceLimits(custom={"licence": 1}))
        handles = coordinator.submit_tasks(looks(tmp_path, "limited", 3))
        wait_until(lambda: len(marks(tmp_path)) == 1)
        (tmp_path / "end").touch()
        assert [result.value for result in coordinator.wait_for_completion(handles, 60)] == [1, 1, 1]
        manager.set_resource_limits(ResourceLimits())


def test_infeasible_task_is_refused_when_it_is_submitted(manager: ResourceManager) -> None:
    from actors.coordinator.task_coordinator import TaskCoordinator

    with TaskCoordinator(manager) as coordinator:
        coordinator.register_handler(Meet())
        with pytest.raises(InfeasibleError, match=r"'look' asks for 9 CPUs, the largest node \(.+\) has 2 CPUs"):
            coordinator.submit_task(Task(task_id="large", task_type="look", resources=ResourceEstimate(cpus=9)))
        assert coordinator.get_queue_status().pending == 0


def test_nothing_begins_while_memory_is_over_its_threshold(tmp_path: Path) -> None:
    from actors.coordinator.task_coordinator import TaskCoordinator

    machine = Machine()
    monitor = PerformanceMonitor(machine, interval_s=0.05)
    config = ResourceConfig(limits=ResourceLimits(max_memory_percent=80))
    with ResourceManager(config, monitor=monitor) as manager, TaskCoordinator(manager) as coordinator:
        coordinator.register_handler(Meet())
        machine.memory = 90
        wait_until(lambda: manager.admission() is not None)
        task = Task(task_id="look-held", task_type="look", payload={"place": str(tmp_path)})
        handle = coordinator.submit_task(task)
        wait_until(lambda: coordinator.get_queue_status().held == 1)
        assert coordinator.wait_for_completion([handle], 2.0)[0].status is TaskStatus.PENDING
        assert manager.get_performance_metrics().held_back == 0, "it isn't even granted"
        assert marks(tmp_path) == []
        machine.memory = 10
        wait_until(lambda: len(marks(tmp_path)) == 1)
        (tmp_path / "end").touch()
        assert coordinator.wait_for_completion([handle], 60)[0].status is TaskStatus.COMPLETED
    monitor.stop()


def test_shard_gets_only_the_cpus_within_the_limit(manager: ResourceManager) -> None:
    from actors.coordinator.task_coordinator import TaskCoordinator
    from rayjobs.run.shard_grants import ShardGrants

    manager.set_resource_limits(ResourceLimits(max_cpus=1))
    with TaskCoordinator(manager) as coordinator:
        grants = ShardGrants(job_id="job", max_cpus=2, coordinator=coordinator)
        granted = []
        for name in ("a", "b"):
            grants.request(name)
        wait_until(lambda: bool(granted.extend(grants.decisions(0.1)) or granted))
        assert [grant.cpus for grant in granted] == [1]
        assert manager.get_performance_metrics().allocations == 1
        grants.end(granted[0].shard, finished=True)
        wait_until(lambda: bool(granted.extend(grants.decisions(0.1)) or len(granted) == 2))
        assert {grant.shard for grant in granted} == {"a", "b"}
        grants.end(granted[1].shard, finished=True)
        wait_until(lambda: manager.get_performance_metrics().allocations == 0)
        grants.close()
