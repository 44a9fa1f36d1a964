"""The resource manager on real Ray: what the raylet enforces, what is refused, what numbers are published."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from actors.coordinator.resource_manager import ResourceManager
from pipelines.errors import JobError
from pipelines.resource_needs import InfeasibleError, ResourcesBusyError
from pipelines.resources import ResourceConfig, ResourceEstimate, ResourceLimits
from rayjobs.run.ray_session import ray_session
from tests.leaks import wait_until


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    with ray_session(name="resources", workers=2):
        yield


@pytest.fixture
def manager() -> Iterator[ResourceManager]:
    with ResourceManager(ResourceConfig(limits=ResourceLimits())) as manager:
        yield manager


def run_together(options: dict[str, Any], meeting: Path, *, together: int) -> int:
    """Run twice as many tasks as should run at a time, all of them until so many have met; most that met, and a bit."""
    import ray

    @ray.remote(max_retries=0)
    def meet(meeting: Path, number: int) -> int:
        mark = meeting / f"{number}.here"
        mark.touch()
        most = 0
        met: float | None = None
        deadline = time.monotonic() + 60
        while time.monotonic() < (deadline if met is None else met + 0.2):  # a moment more: would another one come?
            most = max(most, len(list(meeting.glob("*.here"))))
            if most >= together:
                (meeting / "met").touch()
            if met is None and (meeting / "met").exists():
                met = time.monotonic()
        mark.unlink()
        return most

    task = meet.options(**options)
    seen: list[int] = ray.get([task.remote(meeting, number) for number in range(2 * together)])
    return max(seen)


@pytest.mark.parametrize(
    ("estimate", "together"),
    [
        (ResourceEstimate(cpus=1), 2),
        (ResourceEstimate(cpus=2), 1),
        (ResourceEstimate(cpus=0.5, custom={"export_io": 2}), 1),
        (ResourceEstimate(cpus=0.5, custom={"render": 1}), 2),
    ],
    ids=["one CPU", "two CPUs", "declared: all", "declared: one each"],
)
def test_raylet_enforces_what_was_allocated(
    manager: ResourceManager, tmp_path: Path, estimate: ResourceEstimate, together: int
) -> None:
    allocation = manager.allocate_resources("look", estimate)
    assert run_together(manager.ray_options(allocation), tmp_path, together=together) == together


def test_memory_is_reserved_by_ray(manager: ResourceManager, tmp_path: Path) -> None:
    total = manager.get_available_resources("memory").total["memory"]
    estimate = ResourceEstimate(cpus=0.25, memory_bytes=int(total * 0.6))
    options = manager.ray_options(manager.allocate_resources("look", estimate))
    assert run_together(options, tmp_path, together=1) == 1


def test_requests_that_no_node_can_serve_are_refused(manager: ResourceManager) -> None:
    with pytest.raises(InfeasibleError, match=r"'render' asks for 3 CPUs, the largest node \(.+\) has 2 CPUs"):
        manager.allocate_resources("render", ResourceEstimate(cpus=3))
    with pytest.raises(InfeasibleError, match=r"asks for 1 GPU, the largest node \(.+\) has 0 GPUs"):
        manager.allocate_resources("render", ResourceEstimate(gpus=1))
    with pytest.raises(InfeasibleError, match="nothing offers 'licence'"):
        manager.allocate_resources("render", ResourceEstimate(custom={"licence": 1}))


def test_types_and_totals_are_those_of_the_nodes(manager: ResourceManager) -> None:
    assert manager.get_supported_resource_types() == ["analyze", "cpu", "export_io", "gpu", "memory", "render"]
    found = manager.get_available_resources()
    assert (found.total["cpu"], found.total["render"]) == (2, 2)
    assert found.total["memory"] > 2**28


def test_killed_worker_gives_back_what_the_raylet_counts(manager: ResourceManager) -> None:
    import ray
    from ray.exceptions import WorkerCrashedError

    @ray.remote(max_retries=0)
    def end_at_once() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    allocation = manager.allocate_resources("look", ResourceEstimate(cpus=2, custom={"render": 2}))
    with pytest.raises(WorkerCrashedError):
        ray.get(end_at_once.options(**manager.ray_options(allocation)).remote())
    manager.release_resources(allocation)

    def all_back() -> bool:
        available = manager.get_available_resources().available
        return (available["cpu"], available["render"]) == (2, 2)

    wait_until(all_back)


def test_threads_share_one_manager(manager: ResourceManager) -> None:
    import ray

    @ray.remote(max_retries=0)
    def double(number: int) -> int:
        return 2 * number

    def run(number: int) -> int:
        allocation = manager.allocate_resources("look", ResourceEstimate(cpus=1), timeout_s=60)
        try:
            doubled: int = ray.get(double.options(**manager.ray_options(allocation)).remote(number))
            return doubled
        finally:
            manager.release_resources(allocation)

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(run, range(24))) == [2 * number for number in range(24)]
    assert manager.get_performance_metrics().allocations == 0


SECOND = """
import sys, time
from actors import ResourceManager
from pipelines.resource_needs import ResourcesBusyError
from pipelines.resources import ResourceEstimate
from rayjobs.run.ray_session import ray_session

with ray_session(name="second"), ResourceManager() as manager:
    manager.allocate_resources("look", ResourceEstimate(cpus=1.5, memory_bytes=2**27), owner="me")
    try:
        manager.allocate_resources("look", ResourceEstimate(cpus=1))
    except ResourcesBusyError as error:
        print(error, flush=True)
    time.sleep(600)
"""
"""Another driver of the same cluster: holds what it can, tells what it can't have."""


def test_what_another_driver_holds_is_taken_until_it_is_killed(manager: ResourceManager) -> None:
    import ray

    available = manager.get_available_resources().available
    ours = manager.allocate_resources("look", ResourceEstimate(cpus=0.5))
    variables = os.environ | {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    with subprocess.Popen([sys.executable, "-c", SECOND], stdout=subprocess.PIPE, text=True, env=variables) as second:
        try:
            assert second.stdout is not None
            assert (
                second.stdout.readline()
                == "a task of type 'look' asks for 1 CPU; free now: 0.5 CPUs; try again later\n"
            )
            found = manager.get_available_resources().available
            assert (found["cpu"], available["memory"] - found["memory"]) == (0, 2**27)
            with pytest.raises(ResourcesBusyError, match=r"asks for 1 CPU; free now: 0 CPUs"):
                manager.allocate_resources("look", ResourceEstimate(cpus=1))
            assert manager.get_available_resources().available == found, "who was refused waits for nothing"
        finally:
            second.kill()
        killed = time.monotonic()
        late = manager.allocate_resources("look", ResourceEstimate(cpus=1.5), timeout_s=60)
        assert time.monotonic() - killed < 15
    for allocation in (ours, late):
        manager.release_resources(allocation)
    assert manager.get_available_resources().available["cpu"] == 2


def test_metrics_are_published_through_ray(manager: ResourceManager) -> None:
    import ray

    from actors.resources.performance_monitor import PerformanceMonitor
    from actors.resources.ray_metrics import RayMetrics

    monitor = PerformanceMonitor(sink=RayMetrics())
    monitor.sample()
    monitor.ended(job="look", stage="render", count=3, seconds=0.5)
    monitor.ended(job="look", stage="render", reason="corrupt")
    (node,) = ray.nodes()
    address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    published: dict[str, str] = {}

    def all_published() -> bool:
        with urllib.request.urlopen(address, timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        published.update(line.rsplit(" ", 1) for line in lines if line.startswith("ray_rayjobs_"))
        return {name.split("{")[0] for name in published} >= {
            "ray_rayjobs_images_total",
            "ray_rayjobs_work_seconds_total",
            "ray_rayjobs_driver_host_cpu_percent",
        }

    wait_until(all_published)
    images = {name: float(value) for name, value in published.items() if name.startswith("ray_rayjobs_images_total")}
    by_reason = {reason: value for name, value in images.items() for reason in ("done", "corrupt") if reason in name}
    assert by_reason == {"done": 3.0, "corrupt": 1.0}
    assert all('job="look"' in name and 'stage="render"' in name for name in images)


def test_manager_without_ray_says_what_is_missing() -> None:
    code = (
        "from actors.coordinator.resource_manager import ResourceManager\n"
        "from pipelines.resources import ResourceEstimate\n"
        "ResourceManager().allocate_resources('render', ResourceEstimate())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f"{JobError.__name__}: resources: this process isn't connected to Ray" in done.stderr
