"""The first level: values that lie in memory, least recently used out first, bounded by number and by bytes.

The processor keeps handles of rendered images in it, so that dropping an entry frees the image in the object store.
One per processor; what jobs share is on disk (``actors.cache.disk_cache``).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from pipelines.result_cache import CacheStats

V = TypeVar("V")


class MemoryCache(Generic[V]):
    """A bounded mapping; every method may be called from any thread."""

    def __init__(self, *, max_entries: int, max_bytes: int) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._entries: OrderedDict[str, tuple[V, int]] = OrderedDict()
        self._lock = threading.Lock()
        self._bytes = self._hits = self._misses = self._evicted = self._refused = 0

    def get(self, key: str, accept: Callable[[V], bool] | None = None) -> V | None:
        """The value of a key, now the most recently used; a value that ``accept`` refuses counts as a miss."""
        with self._lock:
            found = self._entries.get(key)
            if found is not None:
                self._entries.move_to_end(key)
        accepted = found is not None and (accept is None or accept(found[0]))
        with self._lock:
            self._hits += accepted
            self._misses += not accepted
        return found[0] if found is not None and accepted else None

    def put(self, key: str, value: V, size_bytes: int) -> None:
        """Keep a value; one that is larger than the whole cache is not kept."""
        dropped: list[tuple[V, int]] = []  # freed outside of the lock
        with self._lock:
            dropped += self._take(key)
            if size_bytes > self._max_bytes or self._max_entries < 1:
                self._refused += 1
                return
            self._entries[key] = (value, size_bytes)
            self._bytes += size_bytes
            while len(self._entries) > self._max_entries or self._bytes > self._max_bytes:
                dropped += self._take(next(iter(self._entries)))
                self._evicted += 1

    def discard(self, key: str) -> None:
        """Forget one entry, if it is there."""
        with self._lock:
            dropped = self._take(key)
        del dropped

    def clear(self) -> None:
        """Forget all entries; the counts stay."""
        with self._lock:
            dropped, self._entries, self._bytes = self._entries, OrderedDict(), 0
        dropped.clear()

    def stats(self) -> CacheStats:
        with self._lock:
            return CacheStats(
                hits=self._hits,
                misses=self._misses,
                entries=len(self._entries),
                bytes=self._bytes,
                evicted=self._evicted,
                refused=self._refused,
            )

    def _take(self, key: str) -> list[tuple[V, int]]:
        found = self._entries.pop(key, None)
        if found is None:
            return []
        self._bytes -= found[1]
        return [found]
