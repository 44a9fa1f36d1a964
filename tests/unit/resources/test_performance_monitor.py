"""The monitor's bounded history, counts, rates and what it publishes; samples of this machine; threads of kernels."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from actors.resources.host_usage import HostUsage, cpu_count, memory_use
from actors.resources.performance_monitor import PerformanceMonitor
from pipelines.resources import UsageSample


def sample_of(number: int) -> UsageSample:
    return UsageSample(
        time=1000.0 + number,
        cpu_percent=float(number % 100),
        memory_used_bytes=number,
        memory_total_bytes=1000,
        process_bytes=1000 - number,
        free_disk_bytes=7,
    )


class Counting:
    """Samples that differ, one after the other."""

    def __init__(self) -> None:
        self.number = 0

    def __call__(self) -> UsageSample:
        self.number += 1
        return sample_of(self.number)


class Recorder:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.samples: list[UsageSample] = []
        self.counts: list[tuple[str, str, str, int, float]] = []

    def usage(self, sample: UsageSample) -> None:
        self.samples.append(sample)

    def ended(self, job: str, stage: str, reason: str, count: int, seconds: float) -> None:
        self.counts.append((job, stage, reason, count, seconds))


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_history_is_bounded_and_summed_up() -> None:
    monitor = PerformanceMonitor(Counting(), history=10)
    for _ in range(25):
        monitor.sample()
    assert monitor.history() == [sample_of(number) for number in range(16, 26)]
    metrics = monitor.get_performance_metrics()
    assert metrics.samples == 10
    assert metrics.window_s == 9.0
    assert (metrics.cpu_percent, metrics.cpu_percent_mean, metrics.cpu_percent_peak) == (25, 20.5, 25)
    assert metrics.memory_percent == pytest.approx(2.5)
    assert (metrics.process_bytes, metrics.process_bytes_peak) == (975, 999)
    assert metrics.free_disk_bytes == 7


def test_metrics_need_no_sample_before() -> None:
    assert PerformanceMonitor(Counting()).get_performance_metrics().samples == 1


def test_stages_reasons_and_the_last_minutes_rate() -> None:
    clock = Clock()
    monitor = PerformanceMonitor(Counting(), clock=clock)
    monitor.ended(job="look", stage="render", count=30, seconds=3.0)
    clock.now = 10.0
    monitor.ended(job="look", stage="render", count=10, seconds=1.0)
    monitor.ended(job="look", stage="render", reason="corrupt", count=2)
    monitor.ended(job="look", stage="export", reason="corrupt")
    metrics = monitor.get_performance_metrics()
    render = metrics.stages["render"]
    assert (render.finished, render.failed, render.seconds, render.per_second) == (40, 2, 4.0, 4.2)
    assert metrics.reasons == {"corrupt": 3}
    clock.now = 75.0
    render = monitor.get_performance_metrics().stages["render"]
    assert (render.finished, render.per_second) == (40, 0.0)


def test_numbers_are_published_with_few_labels() -> None:
    sink = Recorder()
    monitor = PerformanceMonitor(Counting())
    monitor.publish_to(sink)
    monitor.publish_to(Recorder())  # the first one stays
    monitor.sample()
    monitor.ended(job="look", stage="render", count=3, seconds=0.5)
    monitor.ended(job="look", stage="render", reason="timeout")
    assert sink.samples == [sample_of(1)]
    assert sink.counts == [("look", "render", "done", 3, 0.5), ("look", "render", "timeout", 1, 0.0)]


def test_thread_samples_until_stopped() -> None:
    monitor = PerformanceMonitor(Counting(), interval_s=0.001)
    seen = threading.Semaphore(0)
    undo = monitor.listen(lambda sample: seen.release())
    monitor.start()
    monitor.start()
    for _ in range(3):
        assert seen.acquire(timeout=30)
    monitor.stop()
    monitor.stop()
    undo()
    assert not any(thread.name == "rayjobs-performance-monitor" for thread in threading.enumerate())
    monitor.start()  # and again
    monitor.stop()


def test_listener_that_fails_does_not_end_the_watch() -> None:
    monitor = PerformanceMonitor(Counting(), interval_s=0.001)
    calls = threading.Semaphore(0)

    def broken(sample: UsageSample) -> None:
        calls.release()
        raise ValueError("broken")

    monitor.listen(broken)
    monitor.start()
    assert calls.acquire(timeout=30)
    assert calls.acquire(timeout=30)
    monitor.stop()


def test_counts_of_many_threads_add_up() -> None:
    monitor = PerformanceMonitor(Counting())
    with ThreadPoolExecutor(8) as pool:
        for _ in range(400):
            pool.submit(monitor.ended, job="look", stage="render", count=2, seconds=0.25)
    render = monitor.get_performance_metrics().stages["render"]
    assert (render.finished, render.seconds) == (800, 100.0)


def test_this_machine_is_measured(tmp_path: Path) -> None:
    usage = HostUsage(tmp_path)
    sum(range(200_000))
    sample = usage()
    assert 0 <= sample.cpu_percent <= 100
    assert 0 < sample.memory_used_bytes < sample.memory_total_bytes
    assert 0 < sample.memory_percent < 100
    assert sample.process_bytes > 2**20
    assert sample.free_disk_bytes is not None
    assert HostUsage()().free_disk_bytes is None
    assert 1 <= cpu_count() <= (os.cpu_count() or 1)


@pytest.fixture(params=["v2", "v1"])
def cgroup(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A container with 1 MiB of memory, of which it uses 600 KiB, 100 KiB of that as cache."""
    if request.param == "v2":
        (tmp_path / "memory.max").write_text(f"{2**20}\n")
        (tmp_path / "memory.current").write_text(f"{600 * 1024}\n")
        (tmp_path / "memory.stat").write_text(f"anon 5\ninactive_file {100 * 1024}\n")
    else:
        (tmp_path / "memory").mkdir()
        (tmp_path / "memory" / "memory.limit_in_bytes").write_text(f"{2**20}\n")
        (tmp_path / "memory" / "memory.usage_in_bytes").write_text(f"{600 * 1024}\n")
        (tmp_path / "memory" / "memory.stat").write_text(f"cache 5\ntotal_inactive_file {100 * 1024}\n")
    return tmp_path


def test_memory_is_the_containers(cgroup: Path) -> None:
    assert memory_use(cgroup) == (500 * 1024, 2**20)


def test_container_without_a_limit_has_the_machines_memory(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1\n")
    assert memory_use(tmp_path)[1] == memory_use(tmp_path / "nothing")[1]


THREADS = """
import json, os
{before}
from pipelines.cpu_threads import limit_threads
limit_threads({cpus})
import cv2, numba, numpy
from threadpoolctl import threadpool_info
blas = [pool["num_threads"] for pool in threadpool_info()]
print(json.dumps([cv2.getNumThreads(), numba.get_num_threads(), max(blas)]))
"""


@pytest.mark.parametrize("before", ["", "import cv2, numba, scipy.linalg"], ids=["loaded later", "loaded before"])
def test_kernels_use_as_many_threads_as_the_task_has_cpus(before: str) -> None:
    code = THREADS.format(before=before, cpus=1.5)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[1, 1, 1]\n"
