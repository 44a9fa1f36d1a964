"""Publishes numbers through Ray's metrics, so that the cluster's Prometheus endpoint serves them.

Labels stay few: job, stage and reason; never an input, a path or a worker.
"""

from __future__ import annotations

import ray
from ray.util.metrics import Counter, Gauge

from pipelines.resources import UsageSample


class RayMetrics:
    """Implements ``performance_monitor.MetricsSink``; usable once Ray is connected."""

    def __init__(self) -> None:
        tags = ("job", "stage", "reason")
        self._images = Counter("rayjobs_images_total", "Images that ended in a stage", tag_keys=tags)
        self._seconds = Counter("rayjobs_work_seconds_total", "Work time of these images", tag_keys=tags)
        self._cpu = Gauge("rayjobs_driver_host_cpu_percent", "CPU use of the driver's machine")
        self._memory = Gauge("rayjobs_driver_host_memory_percent", "Memory use of the driver's machine")
        self._process = Gauge("rayjobs_driver_memory_bytes", "Resident memory of the driver")
        self._disk = Gauge("rayjobs_output_free_bytes", "Free space below the output")

    def usage(self, sample: UsageSample) -> None:
        """How busy the machine is."""
        if not ray.is_initialized():  # the session has ended, a monitor may go on for a moment
            return
        self._cpu.set(sample.cpu_percent)
        self._memory.set(sample.memory_percent)
        self._process.set(sample.process_bytes)
        if sample.free_disk_bytes is not None:
            self._disk.set(sample.free_disk_bytes)

    def ended(self, job: str, stage: str, reason: str, count: int, seconds: float) -> None:
        """So many images ended in a stage, after so much work."""
        if not ray.is_initialized():
            return
        tags = {"job": job, "stage": stage, "reason": reason}
        self._images.inc(count, tags=tags)
        if seconds > 0:
            self._seconds.inc(seconds, tags=tags)
