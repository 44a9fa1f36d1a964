"""The cache in memory: recency, both bounds, and counts that hold with many threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.processor.memory_cache import MemoryCache


def test_the_least_recently_used_entry_leaves_first() -> None:
    cache: MemoryCache[str] = MemoryCache(max_entries=2, max_bytes=100)
    cache.put("a", "A", 1)
    cache.put("b", "B", 1)
    assert cache.get("a") == "A"
    cache.put("c", "C", 1)
    assert [cache.get(key) for key in "abc"] == ["A", None, "C"]
    assert cache.stats().evicted == 1


def test_bytes_bound_it_as_well_as_entries() -> None:
    cache: MemoryCache[str] = MemoryCache(max_entries=100, max_bytes=10)
    for key in "abc":
        cache.put(key, key, 4)
    assert (cache.stats().entries, cache.stats().bytes) == (2, 8)
    cache.put("d", "d", 11)
    assert cache.get("d") is None
    assert (cache.stats().entries, cache.stats().refused) == (2, 1)


def test_putting_again_replaces_value_and_size() -> None:
    cache: MemoryCache[str] = MemoryCache(max_entries=9, max_bytes=10)
    cache.put("a", "old", 9)
    cache.put("a", "new", 3)
    assert cache.get("a") == "new"
    assert (cache.stats().entries, cache.stats().bytes, cache.stats().evicted) == (1, 3, 0)


def test_no_entries_keep_nothing() -> None:
    cache: MemoryCache[str] = MemoryCache(max_entries=0, max_bytes=10)
    cache.put("a", "A", 1)
    assert cache.get("a") is None


def test_a_value_that_is_not_accepted_counts_as_a_miss() -> None:
    cache: MemoryCache[str] = MemoryCache(max_entries=1, max_bytes=1)
    cache.put("a", "A", 1)
    assert cache.get("a", lambda value: value == "B") is None
    assert cache.get("a", lambda value: value == "A") == "A"
    assert (cache.stats().hits, cache.stats().misses) == (1, 1)


def test_clear_forgets_entries_and_keeps_counts() -> None:
    cache: MemoryCache[str] = MemoryCache(max_entries=3, max_bytes=9)
    cache.put("a", "A", 1)
    cache.get("a")
    cache.clear()
    assert (cache.stats().entries, cache.stats().bytes, cache.stats().hits) == (0, 0, 1)
    assert cache.get("a") is None


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 12)), max_size=40))
def test_the_bounds_hold_after_every_step(steps: list[tuple[str, int]]) -> None:
    cache: MemoryCache[int] = MemoryCache(max_entries=3, max_bytes=20)
    for number, (key, size) in enumerate(steps):
        cache.put(key, number, size)
        stats = cache.stats()
        assert stats.entries <= 3
        assert stats.bytes <= 20
        assert cache.get(key) == number


def test_many_threads_lose_no_count() -> None:
    cache: MemoryCache[int] = MemoryCache(max_entries=5, max_bytes=50)

    def use(seed: int) -> None:
        for i in range(500):
            key = str((seed * 7 + i) % 11)
            cache.put(key, i, 10)
            cache.get(key)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(use, range(4)))
    stats = cache.stats()
    assert stats.hits + stats.misses == 2000
    assert stats.entries == 5
    assert stats.bytes == 50
