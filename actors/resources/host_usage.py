"""How busy this machine is: CPUs, memory, disk, and this process' own memory.

In a container the memory is the container's, as Ray counts it. Covers the machine that it runs on only; the other
nodes of a cluster are guarded by what Ray reserves there and by Ray's memory monitor.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from actors.resources.disk_space import free_bytes
from pipelines.resources import UsageSample

_CGROUPS = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
)
"""(limit, use, the name in memory.stat of cache that is given up when needed) of versions 2 and 1."""


class HostUsage:
    """Takes samples of this machine; CPU use counts from the sample before."""

    def __init__(
        self,
        output: Path | None = None,
        *,
        clock: Callable[[], float] = time.time,
        cgroup_root: Path = Path("/sys/fs/cgroup"),
    ) -> None:
        self._output = output
        self._clock = clock
        self._cgroup_root = cgroup_root
        self._process = psutil.Process()
        self._cpu = psutil.cpu_times()

    def __call__(self) -> UsageSample:
        used, total = memory_use(self._cgroup_root)
        return UsageSample(
            time=self._clock(),
            cpu_percent=self._cpu_percent(),
            memory_used_bytes=used,
            memory_total_bytes=total,
            process_bytes=self._process.memory_info().rss,
            free_disk_bytes=None if self._output is None else free_bytes(self._output),
        )

    def _cpu_percent(self) -> float:
        # psutil.cpu_percent keeps its last reading for the whole process: two monitors would halve each other's window.
        now = psutil.cpu_times()
        total = sum(now) - sum(self._cpu)
        idle = now.idle - self._cpu.idle + getattr(now, "iowait", 0.0) - getattr(self._cpu, "iowait", 0.0)
        self._cpu = now
        return min(max(100.0 * (total - idle) / total, 0.0), 100.0) if total > 0 else 0.0


def memory_use(cgroup_root: Path = Path("/sys/fs/cgroup")) -> tuple[int, int]:
    """(used, total) bytes of this machine, or of the container when it has less."""
    memory = psutil.virtual_memory()
    total, used = int(memory.total), int(memory.total - memory.available)
    for limit_name, use_name, cache_name in _CGROUPS:
        limit, use = _number(cgroup_root / limit_name), _number(cgroup_root / use_name)
        if limit is not None and use is not None and 0 < limit < total:
            cache = _stat((cgroup_root / use_name).with_name("memory.stat"), cache_name)
            return max(use - cache, 0), limit
    return used, total


def cpu_count() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # no such cgroup, or "max": no limit
        return None


def _stat(path: Path, name: str) -> int:
    try:
        rows = dict(line.split() for line in path.read_text().splitlines())
        return int(rows.get(name, 0))
    except (OSError, ValueError):
        return 0
