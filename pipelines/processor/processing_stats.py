"""What a processor did and has in hand: counts for people and metrics."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.result_cache import CacheStats


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessingStats:
    """A processor's counts since it was made."""

    submitted: int
    """Images that callers gave."""
    completed: int
    """Rendered, or found in a cache."""
    failed: int
    cancelled: int
    rendered: int
    """By workers; completed images that no cache had."""
    waiting: int
    """Images that no worker has yet."""
    running: int
    """Images in tasks."""
    tasks: int
    """Ray tasks started; fewer than images when small ones were merged."""
    render_seconds: float
    """Work time, summed over all workers."""
    by_hint: Mapping[str, int]
    """Images by processing hint."""
    memory_cache: CacheStats
    """First level: rendered images in the object store."""
    disk_cache: CacheStats | None
    """Second level: results on disk; None when the processor has none."""

    @property
    def cache_hits(self) -> int:
        """Images that one of the two levels had."""
        return self.memory_cache.hits + (self.disk_cache.hits if self.disk_cache else 0)


class Tally:
    """Counts that several threads raise."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._hints: Counter[str] = Counter()
        self._seconds = 0.0

    def add(self, name: str) -> None:
        with self._lock:
            self._counts[name] += 1

    def submitted(self, hint: str) -> None:
        with self._lock:
            self._counts["submitted"] += 1
            self._hints[hint] += 1

    def rendered(self, seconds: float) -> None:
        with self._lock:
            self._counts["rendered"] += 1
            self._seconds += seconds

    def snapshot(self) -> tuple[Counter[str], dict[str, int], float]:
        """Counts by name, images by hint, and the seconds of the workers."""
        with self._lock:
            return Counter(self._counts), dict(self._hints), self._seconds
