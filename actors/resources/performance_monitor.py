"""How a driver's work goes: samples of the machine, and counts of what the stages did.

A bounded history in memory, no time-series store: whoever wants curves scrapes the metrics that the sink publishes
(``ray_metrics``: Ray's own Prometheus endpoint, which a run's own Ray and a kept one don't have). Doesn't decide
anything; ``driver_resources`` listens to the samples.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from actors.resources.host_usage import HostUsage
from actors.resources.listeners import Listeners
from pipelines.resources import PerformanceMetrics, StageMetrics, UsageSample

log = logging.getLogger(__name__)

RATE_S = 60.0
"""Rates are those of the last minute."""
STOP_S = 5.0


class MetricsSink(Protocol):
    """Where numbers are published; see ``ray_metrics``."""

    def usage(self, sample: UsageSample) -> None:
        """How busy the machine is."""
        ...

    def ended(self, job: str, stage: str, reason: str, count: int, seconds: float) -> None:
        """So many images ended in a stage, after so much work."""
        ...


@dataclass(slots=True)
class _Stage:
    finished: int = 0
    failed: int = 0
    seconds: float = 0.0
    recent: deque[tuple[float, int]] = field(default_factory=deque)
    """(time, images) of the last minute, one entry per second at most."""


class PerformanceMonitor:
    """Keeps the last samples and the counts; safe to use from several threads.

    Parameters
    ----------
    sampler
        Takes a sample of the machine.
    sink
        Publishes; None: nothing is published.
    interval_s, history
        A sample each so many seconds, and how many are kept.
    clock
        Monotonic seconds, for rates.
    """

    def __init__(
        self,
        sampler: Callable[[], UsageSample] | None = None,
        *,
        sink: MetricsSink | None = None,
        interval_s: float = 1.0,
        history: int = 600,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sampler = sampler or HostUsage()
        self._sink = sink
        self._interval_s = interval_s
        self._clock = clock
        self._lock = threading.Lock()
        self._samples: deque[UsageSample] = deque(maxlen=history)
        self._process_bytes_peak = 0
        self._stages: dict[str, _Stage] = {}
        self._reasons: Counter[str] = Counter()
        self._listeners: Listeners[[UsageSample]] = Listeners()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Take samples in a thread of this process, until ``stop``; starting twice changes nothing."""
        with self._lock:
            if self._thread is None:
                self._stop.clear()
                self._thread = threading.Thread(target=self._run, name="rayjobs-performance-monitor", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """End the thread; the history stays."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._stop.set()
            if thread is not threading.current_thread():
                thread.join(STOP_S)

    def listen(self, listener: Callable[[UsageSample], None]) -> Callable[[], None]:
        """Call ``listener`` after each sample, in the monitor's thread; the returned function ends that."""
        return self._listeners.add(listener)

    def publish_to(self, sink: MetricsSink) -> None:
        """Publish from now on, unless numbers are published already."""
        self._sink = self._sink or sink

    def sample(self) -> UsageSample:
        """Take one sample now and tell everybody."""
        sample = self._sampler()
        with self._lock:
            self._samples.append(sample)
            self._process_bytes_peak = max(self._process_bytes_peak, sample.process_bytes)
        self._listeners.tell(sample)
        if self._sink is not None:
            self._sink.usage(sample)
        return sample

    def ended(self, *, job: str, stage: str, reason: str | None = None, count: int = 1, seconds: float = 0.0) -> None:
        """Count images that ended in a stage.

        Parameters
        ----------
        job
            Name of the job, for the published numbers.
        stage
            ``render``, ``analyze``, ``export``, or what the caller calls its work.
        reason
            Of the manifest's fixed list, when they failed or were skipped.
        count, seconds
            How many, and the work time of all of them.
        """
        now = self._clock()
        with self._lock:
            entry = self._stages.setdefault(stage, _Stage())
            if reason is None:
                entry.finished += count
            else:
                entry.failed += count
                self._reasons[reason] += count
            entry.seconds += seconds
            if entry.recent and now - entry.recent[-1][0] < 1.0:
                last, images = entry.recent[-1]
                entry.recent[-1] = (last, images + count)
            else:
                entry.recent.append((now, count))
            _forget(entry.recent, now)
        if self._sink is not None:
            self._sink.ended(job, stage, reason or "done", count, seconds)

    def history(self) -> list[UsageSample]:
        """The samples that are kept, oldest first."""
        with self._lock:
            return list(self._samples)

    def get_performance_metrics(self) -> PerformanceMetrics:
        """The latest values and what the history says; takes a first sample if there is none."""
        if not self.history():
            self.sample()
        now = self._clock()
        with self._lock:
            samples = list(self._samples)
            latest = samples[-1]
            cpu = [sample.cpu_percent for sample in samples]
            memory = [sample.memory_percent for sample in samples]
            return PerformanceMetrics(
                samples=len(samples),
                window_s=latest.time - samples[0].time,
                cpu_percent=latest.cpu_percent,
                cpu_percent_mean=sum(cpu) / len(cpu),
                cpu_percent_peak=max(cpu),
                memory_percent=latest.memory_percent,
                memory_percent_mean=sum(memory) / len(memory),
                memory_percent_peak=max(memory),
                process_bytes=latest.process_bytes,
                process_bytes_peak=self._process_bytes_peak,
                free_disk_bytes=latest.free_disk_bytes,
                stages={name: _metrics(stage, now) for name, stage in self._stages.items()},
                reasons=dict(self._reasons),
            )

    def _run(self) -> None:
        stop = self._stop
        while not stop.wait(self._interval_s):
            try:
                self.sample()
            except Exception:  # one sample is lost, the next may succeed; a listener's mistake must not end the watch
                log.exception("a sample of this machine failed")


def _metrics(stage: _Stage, now: float) -> StageMetrics:
    _forget(stage.recent, now)
    images = sum(count for _, count in stage.recent)
    span = max(now - stage.recent[0][0], 1.0) if stage.recent else RATE_S
    return StageMetrics(
        finished=stage.finished, failed=stage.failed, seconds=stage.seconds, per_second=images / min(span, RATE_S)
    )


def _forget(recent: deque[tuple[float, int]], now: float) -> None:
    while recent and now - recent[0][0] > RATE_S:
        recent.popleft()
