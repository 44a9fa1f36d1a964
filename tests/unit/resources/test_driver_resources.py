"""The resource manager: what is refused, what waits, what is held, who is told."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.coordinator.grant_resources import GrantResources
from actors.queue.placements import CLUSTER, Placement
from actors.queue.queue_events import Grant
from actors.resources.cluster_view import Node, capacity_of
from actors.resources.disk_space import disk_space
from actors.resources.driver_resources import DriverResources
from actors.resources.performance_monitor import PerformanceMonitor
from actors.resources.thresholds import Thresholds
from pipelines.contracts import ResourceProvider
from pipelines.errors import JobError, RayjobsError
from pipelines.registry import UnknownNameError
from pipelines.resource_needs import UNIT, InfeasibleError, ResourcesBusyError, in_grains
from pipelines.resources import (
    ResourceAllocation,
    ResourceConfig,
    ResourceEstimate,
    ResourceInfo,
    ResourceLimits,
    ThresholdEvent,
    UsageSample,
)
from pipelines.tasks import Task

GIB = 2**30


class TwoNodes:
    """A cluster of a small and a large node; implements ``ClusterView``."""

    def nodes(self) -> list[Node]:
        return [
            Node(name="small", total={"cpu": 2, "memory": 16 * GIB, "render": 2}),
            Node(name="large", total={"cpu": 8, "memory": 4 * GIB, "gpu": 1}),
        ]

    def available(self) -> dict[str, float]:
        return {"cpu": 9, "memory": 20 * GIB, "render": 2, "gpu": 1}


class Licences(ResourceProvider):
    """Counts its units; refuses to give more than it has."""

    def __init__(self, total: int = 3) -> None:
        self.total = total
        self.taken: dict[str, int] = {}

    def get_available_resources(self) -> ResourceInfo:
        free = self.total - sum(self.taken.values())
        return ResourceInfo(total={"licence": self.total}, available={"licence": free})

    def allocate(self, amount: int) -> ResourceAllocation:
        if amount > self.total - sum(self.taken.values()):
            raise RuntimeError("the licence server is out of tokens")
        name = f"token-{len(self.taken)}-{amount}"
        self.taken[name] = amount
        return ResourceAllocation(allocation_id=name, resource_type="licence", amounts={"licence": amount})

    def release(self, allocation: ResourceAllocation) -> None:
        self.taken.pop(allocation.allocation_id, None)


class Machine:
    """A machine whose use the test sets; a sampler."""

    def __init__(self) -> None:
        self.cpu = 10.0
        self.memory = 20.0
        self.disk: int | None = None

    def __call__(self) -> UsageSample:
        return UsageSample(
            time=0.0,
            cpu_percent=self.cpu,
            memory_used_bytes=int(self.memory * 1000),
            memory_total_bytes=100_000,
            process_bytes=1,
            free_disk_bytes=self.disk,
        )


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def monitor(machine: Machine) -> Iterator[PerformanceMonitor]:
    monitor = PerformanceMonitor(machine, interval_s=3600)
    yield monitor
    monitor.stop()


def manager_of(monitor: PerformanceMonitor, limits: ResourceLimits | None = None) -> DriverResources:
    config = ResourceConfig(limits=limits or ResourceLimits())
    return DriverResources(config, cluster=TwoNodes(), monitor=monitor)


@pytest.fixture
def manager(monitor: PerformanceMonitor) -> Iterator[DriverResources]:
    with manager_of(monitor) as manager:
        yield manager


@pytest.mark.parametrize(
    ("estimate", "message"),
    [
        (ResourceEstimate(cpus=16), r"'render' asks for 16 CPUs, the largest node \(large\) has 8 CPUs"),
        (
            ResourceEstimate(memory_bytes=64 * GIB),
            r"asks for 64\.00 GiB of memory, the largest node \(small\) has 16\.00 GiB",
        ),
        (ResourceEstimate(gpus=2), r"asks for 2 GPUs, the largest node \(large\) has 1 GPU"),
        (ResourceEstimate(custom={"render": 3}), r"asks for 3 of 'render', the largest node \(small\) has 2"),
        (ResourceEstimate(custom={"scanner": 1}), r"nothing offers 'scanner': declare it when nodes start"),
        (
            ResourceEstimate(cpus=8, memory_bytes=8 * GIB),
            r"asks for 8 CPUs and 8\.00 GiB of memory together, no single node has them; the nodes: small 2 CPUs",
        ),
        (ResourceEstimate(cpus=-1), r"asks for -1 of 'cpu': amounts are numbers from 0 on"),
        (ResourceEstimate(custom={"render": math.nan}), r"asks for nan of 'render'"),
        (ResourceEstimate(custom={"cpu": 1}), r"'cpu' has the name of a built-in one"),
    ],
    ids=["cpus", "memory", "gpus", "declared", "unknown", "together", "negative", "nan", "name"],
)
def test_what_no_node_can_serve_is_refused_at_once_with_the_reason(
    manager: DriverResources, estimate: ResourceEstimate, message: str
) -> None:
    with pytest.raises(InfeasibleError, match=message):
        manager.hold("render", estimate, timeout_s=3600)
    with pytest.raises(JobError, match=message):
        manager.check_feasible("render", estimate)


def test_what_others_hold_is_not_given_twice(manager: DriverResources) -> None:
    first = manager.hold("render", ResourceEstimate(cpus=8))
    second = manager.hold("render", ResourceEstimate(cpus=2))
    assert first.amounts == {"cpu": 8}
    with pytest.raises(ResourcesBusyError, match=r"'render' asks for 1 CPU; free now: 0 CPUs; try again later"):
        manager.hold("render", ResourceEstimate(cpus=1))
    manager.release_resources(second)
    manager.release_resources(second)
    manager.hold("render", ResourceEstimate(cpus=2))
    metrics = manager.get_performance_metrics()
    assert (metrics.allocations, metrics.held_back, metrics.refused) == (2, 1, 0)


def test_waiting_request_gets_what_is_released(manager: DriverResources) -> None:
    held = manager.hold("render", ResourceEstimate(gpus=1))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(manager.hold, "render", ResourceEstimate(gpus=1), timeout_s=30)
        manager.release_resources(held)
        assert waiting.result(30).amounts["gpu"] == 1


def test_everything_of_an_owner_is_given_back_together(manager: DriverResources) -> None:
    for _ in range(3):
        manager.hold("render", ResourceEstimate(cpus=1), owner="worker-1")
    manager.hold("render", ResourceEstimate(cpus=1), owner="worker-2")
    manager.release_owner("worker-1")
    assert manager.get_performance_metrics().allocations == 1


def test_options_ask_ray_for_what_nodes_declare_only(manager: DriverResources) -> None:
    manager.register_resource_provider("licence", Licences())
    allocation = manager.hold("render", ResourceEstimate(cpus=2, memory_bytes=GIB, custom={"render": 1, "licence": 1}))
    assert manager.ray_options(allocation) == {
        "num_cpus": 2,
        "memory": GIB,
        "resources": {"render": 1},
    }


def test_limits_change_at_run_time(manager: DriverResources) -> None:
    manager.hold("render", ResourceEstimate(cpus=2))
    manager.set_resource_limits(ResourceLimits(max_cpus=3, max_memory_bytes=GIB, custom={"render": 1}))
    with pytest.raises(InfeasibleError, match="asks for 4 CPUs, the limit is 3 CPUs"):
        manager.hold("render", ResourceEstimate(cpus=4))
    with pytest.raises(ResourcesBusyError, match="asks for 2 CPUs; free now: 1 CPU"):
        manager.hold("render", ResourceEstimate(cpus=2))
    with pytest.raises(InfeasibleError, match="the limit is 1 of 'render'"):
        manager.hold("render", ResourceEstimate(custom={"render": 2}))
    manager.set_resource_limits(ResourceLimits())
    manager.hold("render", ResourceEstimate(cpus=4))


@pytest.mark.parametrize(
    "limits",
    [ResourceLimits(max_cpus=-1), ResourceLimits(max_cpu_percent=0), ResourceLimits(max_memory_percent=101)],
    ids=str,
)
def test_limits_without_meaning_are_refused(manager: DriverResources, limits: ResourceLimits) -> None:
    with pytest.raises(JobError):
        manager.set_resource_limits(limits)


def test_available_resources_are_within_limits_and_what_ray_has_left(manager: DriverResources) -> None:
    manager.register_resource_provider("licence", Licences())
    manager.hold("render", ResourceEstimate(cpus=4, custom={"licence": 2}))
    found = manager.get_available_resources()
    assert found.total == {"cpu": 10, "memory": 20 * GIB, "gpu": 1, "render": 2, "licence": 3}
    assert found.available == {"cpu": 6, "memory": 20 * GIB, "gpu": 1, "render": 2, "licence": 1}
    assert manager.get_available_resources("cpu") == ResourceInfo(total={"cpu": 10}, available={"cpu": 6})
    assert manager.get_supported_resource_types() == ["cpu", "gpu", "licence", "memory", "render"]
    with pytest.raises(UnknownNameError, match="unknown resource type 'gpus'; there are cpu, gpu"):
        manager.get_available_resources("gpus")


def test_provider_limits_who_asks_for_its_units(manager: DriverResources) -> None:
    provider = Licences(3)
    undo = manager.register_resource_provider("licence", provider)
    held = [manager.hold("look", ResourceEstimate(custom={"licence": 1})) for _ in range(3)]
    assert sum(provider.taken.values()) == 3
    with pytest.raises(ResourcesBusyError, match="asks for 1 of 'licence'"):
        manager.hold("look", ResourceEstimate(custom={"licence": 1}))
    with pytest.raises(InfeasibleError, match="asks for 4 of 'licence', its provider has 3 of 'licence'"):
        manager.hold("look", ResourceEstimate(custom={"licence": 4}))
    for allocation in held:
        manager.release_resources(allocation)
    assert provider.taken == {}
    undo()
    with pytest.raises(InfeasibleError, match="nothing offers 'licence'"):
        manager.hold("look", ResourceEstimate(custom={"licence": 1}))


def test_provider_that_has_less_than_it_says_makes_the_request_wait(manager: DriverResources) -> None:
    provider = Licences(3)
    manager.register_resource_provider("licence", provider)
    provider.allocate(3)  # somebody else took them
    with pytest.raises(
        ResourcesBusyError, match="has to wait for 1 of 'licence', its provider has 0 of 'licence' free"
    ):
        manager.hold("look", ResourceEstimate(custom={"licence": 1}))
    assert manager.get_performance_metrics().allocations == 0


def test_provider_that_cannot_say_what_it_has_is_named(manager: DriverResources) -> None:
    class Broken(Licences):
        def get_available_resources(self) -> ResourceInfo:
            raise ConnectionError("no route to host")

    with pytest.raises(RayjobsError, match="provider of 'licence' can't say what it has: no route to host"):
        manager.register_resource_provider("licence", Broken())
    with pytest.raises(JobError, match="'memory' is built in"):
        manager.register_resource_provider("memory", Licences())


@pytest.mark.parametrize("said", [None, {"licence": None}, {"licence": "many"}], ids=["error", "nothing", "text"])
def test_provider_that_breaks_later_concerns_only_who_asks_for_it(
    manager: DriverResources, caplog: pytest.LogCaptureFixture, said: Any
) -> None:
    provider = Licences()
    manager.register_resource_provider("licence", provider)
    manager.register_resource_provider("scanner", Licences(2))

    def break_down() -> ResourceInfo:
        if said is None:
            raise ConnectionError("no route to host")
        return ResourceInfo(total=said, available={})

    provider.get_available_resources = break_down  # type: ignore[method-assign]
    grants = GrantResources(manager, lambda _name, _total: None, lambda _held: None)
    grant = Grant(owner="o", number=1, task_ids=("t",), cpus=2)
    assert grants.hold("job", grant, Task(task_id="t", task_type="shard", max_cpus=2)) == grant
    manager.hold("look", ResourceEstimate(custom={"scanner": 1}))
    assert manager.unit_totals() == {"scanner": 2}, "others may well have licences"
    with pytest.raises(InfeasibleError, match="asks for 1 of 'licence', its provider has 0 of 'licence'"):
        manager.hold("look", ResourceEstimate(custom={"licence": 1}))
    (warning,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert warning.getMessage().startswith("provider of 'licence' can't say what it has: ")
    del provider.get_available_resources
    assert manager.unit_totals() == {"licence": 3, "scanner": 2}
    grants.close()


def test_coordinator_hears_of_unit_totals(manager: DriverResources) -> None:
    heard: list[dict[str, float]] = []
    stop = manager.on_change(lambda: heard.append(manager.unit_totals()))
    undo = manager.register_resource_provider("licence", Licences(3))
    manager.set_resource_limits(ResourceLimits(custom={"licence": 2}))
    undo()
    stop()
    manager.set_resource_limits(ResourceLimits())
    assert heard == [{"licence": 3}, {"licence": 2}, {}]


def test_closing_gives_everything_back(monitor: PerformanceMonitor) -> None:
    provider = Licences()
    with manager_of(monitor) as manager:
        manager.register_resource_provider("licence", provider)
        manager.hold("look", ResourceEstimate(custom={"licence": 2}))
    assert provider.taken == {}


def test_memory_threshold_calls_back_once_and_holds_work_back(machine: Machine, monitor: PerformanceMonitor) -> None:
    told: list[ThresholdEvent] = []
    with manager_of(monitor, ResourceLimits(max_memory_percent=80)) as manager:
        manager.on_memory_threshold_exceeded(told.append)
        machine.memory = 85
        monitor.sample()
        monitor.sample()
        assert told == [ThresholdEvent(resource="memory", value=85.0, threshold=80)]
        assert manager.admission() == "is held back: memory use is 85 %, the threshold 80 %"
        with pytest.raises(ResourcesBusyError, match="'render' is held back: memory use is 85 %"):
            manager.hold("render", ResourceEstimate())
        machine.memory = 78  # not far enough below
        monitor.sample()
        assert manager.admission() is not None
        machine.memory = 70
        monitor.sample()
        assert manager.admission() is None
        manager.hold("render", ResourceEstimate())


def test_busy_cpus_hold_work_back_only_above_a_limit(machine: Machine, monitor: PerformanceMonitor) -> None:
    told: list[str] = []
    with manager_of(monitor) as manager:
        stop = manager.on_cpu_threshold_exceeded(lambda event: told.append(event.resource))
        machine.cpu = 100
        for _ in range(4):
            monitor.sample()
        assert told == ["cpu"]
        assert manager.admission() is None
        manager.set_resource_limits(ResourceLimits(max_cpu_percent=75))
        assert manager.admission() == "is held back: cpu use is 100 %, the threshold 75 %"
        stop()
        machine.cpu = 10
        for _ in range(3):
            monitor.sample()
        assert manager.admission() is None
        assert told == ["cpu"]


def test_low_disk_space_holds_work_back(machine: Machine, monitor: PerformanceMonitor) -> None:
    with manager_of(monitor, ResourceLimits(min_free_disk_bytes=GIB)) as manager:
        machine.disk = GIB // 2
        monitor.sample()
        assert manager.admission() == (
            "is held back: 0.50 GiB of disk space are free, 1.00 GiB of disk space must stay so"
        )


def test_a_small_disk_holds_work_back_only_where_a_running_job_would_end(
    machine: Machine, monitor: PerformanceMonitor, tmp_path: Path
) -> None:
    reserve = disk_space(tmp_path).reserve_bytes()
    with DriverResources(ResourceConfig(output=tmp_path), cluster=TwoNodes(), monitor=monitor) as manager:
        machine.disk = reserve + 1
        monitor.sample()
        assert manager.admission() is None
        machine.disk = reserve - 1
        monitor.sample()
        assert "of disk space are free" in (manager.admission() or "")


def test_what_a_task_writes_must_find_room(monitor: PerformanceMonitor, tmp_path: Path) -> None:
    with DriverResources(ResourceConfig(output=tmp_path / "out"), cluster=TwoNodes(), monitor=monitor) as manager:
        manager.hold("export", ResourceEstimate(disk_bytes=1000))
        with pytest.raises(InfeasibleError, match="of disk space: make room or write elsewhere"):
            manager.hold("export", ResourceEstimate(disk_bytes=2**60))


def test_last_unit_calls_back(manager: DriverResources, monitor: PerformanceMonitor) -> None:
    manager.register_resource_provider("licence", Licences(2))
    told: list[ThresholdEvent] = []
    manager.register_threshold_callback("licence", told.append)
    first = manager.hold("look", ResourceEstimate(custom={"licence": 1}))
    monitor.sample()
    assert told == []
    manager.release_resources(manager.hold("look", ResourceEstimate(custom={"licence": 1})))
    manager.release_resources(first)
    monitor.sample()  # both are back by now, but there was a moment without
    assert [event.value for event in told] == [100.0]


def test_callback_that_fails_keeps_nobody_else_from_being_told(
    machine: Machine, monitor: PerformanceMonitor, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []

    def broken(event: ThresholdEvent) -> None:
        raise ValueError("broken")

    with manager_of(monitor) as manager:
        manager.on_memory_threshold_exceeded(broken)
        manager.on_memory_threshold_exceeded(lambda event: told.append(threading.current_thread().name))
        machine.memory = 99
        monitor.sample()
    assert len(told) == 1
    assert "a callback for 'memory' failed" in caplog.text


def test_callbacks_run_in_a_thread_of_this_process(machine: Machine) -> None:
    told = threading.Event()
    machine.memory = 99
    monitor = PerformanceMonitor(machine, interval_s=0.01)
    with manager_of(monitor) as manager:
        manager.on_memory_threshold_exceeded(lambda event: told.set())
        assert told.wait(30)
    monitor.stop()


def test_many_threads_never_hold_more_than_there_is(manager: DriverResources) -> None:
    provider = Licences(3)
    manager.register_resource_provider("licence", provider)
    most = []

    def use(_: int) -> None:
        allocation = manager.hold("look", ResourceEstimate(cpus=1, custom={"licence": 1}), timeout_s=60)
        most.append(sum(provider.taken.values()))
        manager.release_resources(allocation)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(use, range(100)))
    assert len(most) == 100
    assert max(most) <= 3
    assert provider.taken == {}
    assert manager.get_performance_metrics().allocations == 0


AMOUNTS = st.dictionaries(st.sampled_from(["cpu", "memory", "render"]), st.integers(1, 6).map(float), max_size=3)


@given(requests=st.lists(AMOUNTS, max_size=20), returned=st.data())
def test_held_amounts_stay_within_what_there_is(requests: list[dict[str, float]], returned: st.DataObject) -> None:
    capacity = capacity_of([Node(name=str(n), total={"cpu": 4, "memory": 5, "render": n}) for n in range(2)])
    capacity.replace_units({"render": 3})
    capacity.set_limits({"memory": 7})
    most = {"cpu": 8.0, "memory": 7.0, "render": 3.0}
    held: list[Placement] = []
    for demand in requests:
        needs = in_grains(demand)
        if capacity.infeasible(needs) is None and capacity.shortage(needs) is None:
            held.append(Placement(((CLUSTER, needs),)))
            capacity.take(held[-1])
        elif held and returned.draw(st.booleans()):
            capacity.give(held.pop(returned.draw(st.integers(0, len(held) - 1))))
        used = {name: sum(dict(each.taken[0][1]).get(name, 0) for each in held) / UNIT for name in most}
        assert all(used[name] <= most[name] for name in most)
        assert {name: capacity.left(name) for name in most} == {name: most[name] - used[name] for name in most}
    for placement in held:
        capacity.give(placement)
    assert not any(capacity.used(name) for name in most)


@given(st.lists(st.floats(0, 100), max_size=50))
def test_a_crossing_is_told_once_until_the_value_is_well_below(values: list[float]) -> None:
    thresholds = Thresholds()
    over = False
    for value in values:
        crossed = thresholds.update({"memory": value}, {"memory": 80.0})
        assert bool(crossed) == (not over and value >= 80)
        over = value >= 80 or (over and value >= 76)
        assert (thresholds.over("memory") is not None) == over
