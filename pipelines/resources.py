"""Resources as the managers and providers know them: amounts asked for, held, free, limited and measured.

Data only. ``cpu`` counts CPUs, ``memory`` bytes, ``gpu`` GPUs; any other name is a resource that a cluster's nodes
declare or that a provider offers, counted in its own units.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


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
