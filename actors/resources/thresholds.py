"""When a measured value has gone over its threshold, who is told, and whether further work is held back.

``Thresholds`` is pure: values in, crossings out. A callback runs once per crossing. A value counts as back to normal
only some way below its threshold, so that one that trembles around it doesn't ring all the time; CPU use is averaged
over some samples first, because a single busy second means nothing.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping

from actors.resources.disk_space import disk_space
from pipelines.resource_needs import CPU, DISK, MEMORY, say
from pipelines.resources import ResourceConfig, ResourceLimits, ThresholdEvent, UsageSample

log = logging.getLogger(__name__)

RELEASE_SHARE = 0.05
"""So far below its threshold, as a share of it, a value is back to normal."""
CPU_SAMPLES = 3
FLOORS = frozenset({DISK})
"""Resources whose threshold is a least value, not a largest."""

Callback = Callable[[ThresholdEvent], object]


class Thresholds:
    """Remembers which values are over their threshold."""

    def __init__(self) -> None:
        self._over: dict[str, ThresholdEvent] = {}

    def update(self, values: Mapping[str, float], thresholds: Mapping[str, float]) -> list[ThresholdEvent]:
        """Take note of new values, by resource; return the crossings."""
        crossed = []
        for resource, value in values.items():
            if resource not in thresholds:
                self._over.pop(resource, None)
                continue
            event = ThresholdEvent(resource=resource, value=value, threshold=thresholds[resource])
            if resource in self._over:
                if _back_to_normal(event):
                    del self._over[resource]
                else:
                    self._over[resource] = event
            elif _exceeded(event):
                self._over[resource] = event
                crossed.append(event)
        return crossed

    def over(self, resource: str) -> ThresholdEvent | None:
        """The latest value of a resource that is over its threshold; None: it isn't."""
        return self._over.get(resource)


class ThresholdWatch:
    """The thresholds of one resource manager and the callbacks of its driver; safe to use from several threads."""

    def __init__(self, config: ResourceConfig) -> None:
        self._config = config
        self._limits = config.limits
        self._lock = threading.Lock()
        self._thresholds = Thresholds()
        self._callbacks: dict[str, list[Callback]] = {}
        self._cpu: deque[float] = deque(maxlen=CPU_SAMPLES)
        self._values: dict[str, float] = {}
        self._crossed: list[ThresholdEvent] = []
        """Crossings that nobody was told of yet."""

    def register(self, resource: str, callback: Callback) -> Callable[[], None]:
        """Call back when a resource goes over its threshold; returns what ends it."""
        with self._lock:
            self._callbacks.setdefault(resource, []).append(callback)

        def undo() -> None:
            with self._lock:
                if callback in self._callbacks.get(resource, []):
                    self._callbacks[resource].remove(callback)

        return undo

    def watched(self) -> set[str]:
        """Resources that somebody wants to be called back for."""
        with self._lock:
            return {resource for resource, callbacks in self._callbacks.items() if callbacks}

    def set_limits(self, limits: ResourceLimits) -> None:
        """Hold the latest values against other limits; callbacks hear of it with the next sample."""
        with self._lock:
            self._limits = limits
            self._crossed += self._thresholds.update(self._values, self._levels())

    def see(self, sample: UsageSample, held_percent: Mapping[str, float]) -> None:
        """Take a sample, and how much of each counted resource was held; call back, in this thread."""
        with self._lock:
            self._cpu.append(sample.cpu_percent)
            self._values = {**held_percent, CPU: sum(self._cpu) / len(self._cpu), MEMORY: sample.memory_percent}
            if sample.free_disk_bytes is not None:
                self._values[DISK] = sample.free_disk_bytes
            crossed, self._crossed = [*self._crossed, *self._thresholds.update(self._values, self._levels())], []
            told = [(event, callback) for event in crossed for callback in self._callbacks.get(event.resource, [])]
        for event, callback in told:
            try:
                callback(event)
            except BaseException:  # foreign code must neither end the watch nor keep the others from being told
                log.exception("a callback for %r failed", event.resource)

    def hold_reason(self) -> str | None:
        """Why no further task should start now; None: go on."""
        with self._lock:
            limits = self._limits
            for resource, limit in ((CPU, limits.max_cpu_percent), (MEMORY, limits.max_memory_percent)):
                event = self._thresholds.over(resource)
                if event is not None and limit is not None:
                    return f"is held back: {resource} use is {event.value:.0f} %, the threshold {limit:g} %"
            event = self._thresholds.over(DISK)
            if event is not None:
                return f"is held back: {say(DISK, event.value)} are free, {say(DISK, event.threshold)} must stay so"
        return None

    def _levels(self) -> dict[str, float]:
        limits, config = self._limits, self._config
        counted = dict.fromkeys(self._values, 100.0)
        return counted | {
            CPU: config.cpu_callback_percent if limits.max_cpu_percent is None else limits.max_cpu_percent,
            MEMORY: config.memory_callback_percent if limits.max_memory_percent is None else limits.max_memory_percent,
            DISK: self._free_disk_bytes(),
        }

    def _free_disk_bytes(self) -> int:
        """Below it nothing starts; the same as what ends a job that runs, or a small disk would hold it for ever."""
        if self._config.output is None:
            return self._limits.min_free_disk_bytes or 0
        return disk_space(self._config.output).reserve_bytes(self._limits.min_free_disk_bytes)


def _exceeded(event: ThresholdEvent) -> bool:
    return event.value < event.threshold if event.resource in FLOORS else event.value >= event.threshold


def _back_to_normal(event: ThresholdEvent) -> bool:
    if event.resource in FLOORS:
        return event.value >= event.threshold * (1 + RELEASE_SHARE)
    return event.value < event.threshold * (1 - RELEASE_SHARE)
