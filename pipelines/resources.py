"""Resources as the managers and providers know them: amounts asked for, held, free, limited and measured.

Data only. ``cpu`` counts CPUs, ``memory`` bytes, ``gpu`` GPUs, ``disk`` bytes below the output; any other name is a
resource that a cluster's nodes declare or that a provider offers, counted in its own units.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceEstimate:
    """What a task needs while it runs."""

    cpus: float = 1.0
    memory_bytes: int = 0
    """0: nothing is reserved."""
    gpus: float = 0.0
    disk_bytes: int = 0
    """Bytes that it will write below its output."""
    custom: Mapping[str, float] = field(default_factory=dict)
    """Units of declared resources (``render``, ``export_io``) and of providers (``licence``)."""


ONE_CPU = ResourceEstimate()
"""What a task needs that doesn't say; one for all of them, so that a batch of tasks carries it once."""


def times(per_cpu: ResourceEstimate, cpus: int) -> ResourceEstimate:
    """What whole CPUs need together, of what each one needs."""
    return ResourceEstimate(
        cpus=cpus,
        memory_bytes=per_cpu.memory_bytes * cpus,
        gpus=per_cpu.gpus * cpus,
        disk_bytes=per_cpu.disk_bytes * cpus,
        custom={name: amount * cpus for name, amount in per_cpu.custom.items()},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceAllocation:
    """Resources that are held until released, or until their owner dies."""

    allocation_id: str
    resource_type: str
    """The task type it was made for, or the provider's resource."""
    amounts: Mapping[str, float]
    owner: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceInfo:
    """Total and free amounts by resource name."""

    total: Mapping[str, float]
    available: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceLimits:
    """Upper bounds that can be changed while tasks run; None: as much as there is."""

    max_cpus: float | None = None
    max_memory_bytes: int | None = None
    min_free_disk_bytes: int | None = None
    max_cpu_percent: float | None = None
    """Above this use of the CPUs no further task is admitted."""
    max_memory_percent: float | None = None
    """Above this use of memory no further task is admitted."""
    custom: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceConfig:
    """How a resource manager is set up; everything has a default."""

    limits: ResourceLimits = field(default_factory=lambda: ResourceLimits(max_memory_percent=90.0))
    """A batch is meant to keep the CPUs busy, so their use is not limited unless asked."""
    output: Path | None = None
    """Where tasks write: ``disk`` is the free space there; None: disk space isn't looked at."""
    cpu_callback_percent: float = 95.0
    """Above it ``cpu`` callbacks run while no ``max_cpu_percent`` is set."""
    memory_callback_percent: float = 90.0
    """Above it ``memory`` callbacks run while no ``max_memory_percent`` is set."""
    sample_interval_s: float = 1.0
    history: int = 600
    """Samples that are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageSample:
    """How busy a machine was at one moment."""

    time: float
    """Unix seconds."""
    cpu_percent: float
    """Of all CPUs since the sample before."""
    memory_used_bytes: int
    memory_total_bytes: int
    process_bytes: int
    """Resident memory of the process that measured."""
    free_disk_bytes: int | None = None
    """Below the output, when one is watched."""

    @property
    def memory_percent(self) -> float:
        return 100.0 * self.memory_used_bytes / self.memory_total_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdEvent:
    """What a threshold callback is told."""

    resource: str
    value: float
    """Percent for ``cpu``, ``memory`` and counted resources; free bytes for ``disk``."""
    threshold: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StageMetrics:
    """What a stage did so far."""

    finished: int
    failed: int
    seconds: float
    """Work time, summed over all workers."""
    per_second: float
    """Images that ended per second of the last minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PerformanceMetrics:
    """How the machine and the work stand: the latest values, and what the history says."""

    samples: int
    window_s: float
    """Time between the oldest and the newest sample kept."""
    cpu_percent: float
    cpu_percent_mean: float
    cpu_percent_peak: float
    memory_percent: float
    memory_percent_mean: float
    memory_percent_peak: float
    process_bytes: int
    process_bytes_peak: int
    free_disk_bytes: int | None
    stages: Mapping[str, StageMetrics]
    reasons: Mapping[str, int]
    """Failures and skips by their reason in the manifest."""
    allocations: int = 0
    """Held now."""
    refused: int = 0
    """Requests that no node could ever serve."""
    held_back: int = 0
    """Requests that had to wait, for a free resource or for a threshold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceUsageInfo:
    """What a job used so far."""

    cpu_seconds: float = 0.0
    """Of the workers, while they worked on images that came to their end."""
    peak_memory_bytes: int = 0
    """Resident memory of the largest worker."""
    disk_bytes: int = 0
    images: int = 0
