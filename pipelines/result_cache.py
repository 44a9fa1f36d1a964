"""What a cache of results is to those who use it; whether it lies in memory or on disk is its own affair.

A cache never fails its user: what can't be stored or read is a miss. See ``memory_cache`` for the processor's rendered
images, ``actors.cache.disk_cache`` for the results that jobs share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheStats:
    """What a cache holds, and how often it helped since it was opened."""

    hits: int = 0
    misses: int = 0
    entries: int = 0
    bytes: int = 0
    evicted: int = 0
    """Entries that left to keep the bounds."""
    damaged: int = 0
    """Entries that failed their checksum and were removed."""
    refused: int = 0
    """Results that weren't stored: too large, or the disk refused them."""


class ResultCache(Protocol):
    """Results by key: mappings from names to arrays, numbers, texts, None, and lists or mappings of these."""

    def get(self, key: str) -> Mapping[str, Any] | None:
        """The result, with read-only arrays, or None."""

    def put(self, key: str, result: Mapping[str, Any]) -> None:
        """Keep a result if there is room; keys are hexadecimal, from ``cache_keys``."""

    def clear(self) -> None:
        """Forget everything."""

    def stats(self) -> CacheStats:
        """Counts for people and for metrics."""
