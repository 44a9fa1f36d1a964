"""The cache on disk: round trips, concurrent writers, damage, bounds, and disks that refuse."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from actors.cache import disk_cache
from actors.cache.cache_entry import DamagedEntryError, decode, encode
from actors.cache.disk_cache import DiskCache
from pipelines.errors import JobError
from tests.strategies import example_image

KEY = "ab" * 20


def key_of(number: int) -> str:
    return f"{number:040x}"


def result_of(number: int, size: int = 1000) -> dict[str, Any]:
    """Random samples, so that they don't compress."""
    return {"number": number, "samples": np.random.default_rng(number).integers(0, 256, size, np.uint8)}


def assert_equal(found: Any, expected: Any) -> None:
    assert found is not None
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)


def files_of(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file() and path.name != "lock"]


arrays = hnp.arrays(
    st.sampled_from(["uint8", "uint16", "int64", "float32", "float64", "bool"]),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)
plain = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=5)
values = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)


@settings(max_examples=60)
@given(st.dictionaries(st.text(min_size=1, max_size=5), arrays | values, max_size=4))
def test_an_entry_gives_back_what_was_put_in(result: dict[str, Any]) -> None:
    found = decode(KEY, encode(KEY, result))
    assert found.keys() == result.keys()
    for name, value in result.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(found[name], value)
            assert found[name].dtype == value.dtype
            assert not found[name].flags.writeable
        else:
            assert found[name] == value


def test_an_image_survives_another_process_and_comes_back_read_only(tmp_path: Path) -> None:
    image = example_image("uint16", 4)
    DiskCache(tmp_path).put(KEY, {"pixels": image})
    found = DiskCache(tmp_path).get(KEY)
    assert_equal(found, {"pixels": image})
    assert found is not None
    assert not found["pixels"].flags.writeable
    assert os.stat(tmp_path / "v1").st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "value",
    [object(), np.array([object()]), np.array(["text"]), {"__array__": 1}, {1: "one"}],
    ids=["object", "objects", "texts", "name", "number as name"],
)
def test_what_is_no_plain_value_is_refused(tmp_path: Path, value: object) -> None:
    cache = DiskCache(tmp_path)
    cache.put(KEY, {"value": value})
    assert cache.get(KEY) is None
    assert cache.stats().refused == 1


def test_it_lies_in_the_home_directory_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYJOBS_HOME", str(tmp_path))
    DiskCache().put(KEY, result_of(1))
    assert len(files_of(tmp_path / "cache" / "v1")) == 1


def test_a_worker_of_a_user_without_a_home_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets the cache with its task's arguments: an error there would be nobody's."""
    sent = pickle.dumps(DiskCache())
    monkeypatch.setattr(disk_cache, "rayjobs_home", _no_home)
    assert pickle.loads(sent) is None


def _no_home() -> Path:
    raise JobError("no home directory is known of user 1234")


@pytest.mark.parametrize("key", ["../../etc/passwd", "", "AB" * 10, "ab/cd" * 4])
def test_only_digests_are_keys(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match="hexadecimal"):
        DiskCache(tmp_path).get(key)


def flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        flip,
        lambda data: data[:-1],
        lambda data: data[:20],
        lambda _: b"",
        lambda data: data + b"x",
        lambda _: b"\0" * 99,
    ],
    ids=["a bit", "a byte less", "a stump", "nothing", "a byte more", "zeros"],
)
def test_a_damaged_entry_is_a_miss_and_is_removed(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    cache = DiskCache(tmp_path)
    cache.put(KEY, result_of(1))
    (file,) = files_of(tmp_path)
    file.write_bytes(damage(file.read_bytes()))
    assert cache.get(KEY) is None
    assert files_of(tmp_path) == []
    assert (cache.stats().damaged, cache.stats().misses, cache.stats().entries) == (1, 1, 0)
    cache.put(KEY, result_of(1))
    assert_equal(cache.get(KEY), result_of(1))


def test_every_single_flipped_byte_is_noticed() -> None:
    data = encode(KEY, {"samples": np.arange(8, dtype=np.uint8), "name": "x"})
    for place in range(len(data)):
        broken = data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :]
        with pytest.raises(DamagedEntryError):
            decode(KEY, broken)


def test_an_entry_under_the_wrong_name_is_damaged(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path)
    cache.put(KEY, result_of(1))
    (file,) = files_of(tmp_path)
    other = "ab" + "cd" * 19
    file.rename(file.with_name(other))
    assert cache.get(other) is None
    assert cache.stats().damaged == 1


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "cache")
    cache.put(KEY, result_of(1))
    (file,) = files_of(tmp_path)
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    assert cache.get(KEY) is None


def test_the_least_recently_used_entries_make_room(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, max_bytes=20_000)
    for number in range(10):
        cache.put(key_of(number), result_of(number))
        file = next(path for path in files_of(tmp_path) if path.name == key_of(number))
        os.utime(file, (1000 + number, 1000 + number))
    assert_equal(cache.get(key_of(0)), result_of(0))  # now the most recently used
    for number in range(10, 40):
        cache.put(key_of(number), result_of(number))
        assert sum(path.stat().st_size for path in files_of(tmp_path)) <= 20_000
    assert cache.get(key_of(1)) is None
    assert cache.stats().evicted > 0
    assert_equal(cache.get(key_of(39)), result_of(39))


def test_reading_keeps_an_entry_alive(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, max_bytes=20_000)
    cache.put(KEY, result_of(0))
    for number in range(60):
        (mine,) = [path for path in files_of(tmp_path) if path.name == KEY]
        os.utime(mine, (1, 1))
        assert_equal(cache.get(KEY), result_of(0))
        cache.put(key_of(number), result_of(number))
    assert cache.get(KEY) is not None


def test_a_result_that_would_drive_out_the_others_is_refused(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, max_bytes=10_000)
    cache.put(KEY, result_of(1, size=5000))
    assert cache.get(KEY) is None
    assert cache.stats().refused == 1


def test_leftovers_of_killed_writers_are_swept(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path)
    cache.put(KEY, result_of(1))
    old, fresh = tmp_path / "v1/tmp/old", tmp_path / "v1/tmp/fresh"
    old.write_bytes(b"half")
    fresh.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    DiskCache(tmp_path).put(KEY, result_of(2))
    assert not old.exists()
    assert fresh.exists()


def test_clear_removes_all_entries(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path)
    for number in range(5):
        cache.put(key_of(number), result_of(number))
    cache.clear()
    assert cache.stats().entries == 0
    assert cache.get(key_of(0)) is None
    cache.put(KEY, result_of(1))
    assert_equal(cache.get(KEY), result_of(1))


def test_a_disk_that_refuses_fails_nobody(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("where the directory should be")
    cache = DiskCache(place)
    cache.put(KEY, result_of(1))
    assert cache.get(KEY) is None
    assert cache.stats().refused == 1


def test_threads_share_one_cache(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, max_bytes=60_000)

    def use(seed: int) -> None:
        for i in range(60):
            number = (seed + i) % 17
            found = cache.get(key_of(number))
            if found is not None:
                assert_equal(found, result_of(number, 3000))
            cache.put(key_of(number), result_of(number, 3000))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(use, range(4)))
    stats = cache.stats()
    assert stats.hits + stats.misses == 240
    assert stats.damaged == stats.refused == 0
    assert stats.bytes <= 60_000 * (1 + 1 / 16)


def hammer(directory: str, seed: int) -> int:
    """In a process: write and read the same few keys as the others, whose values say which key they belong to."""
    cache = DiskCache(Path(directory), max_bytes=60_000)
    for i in range(80):
        number = (seed * 3 + i) % 13
        cache.put(key_of(number), result_of(number, 3000))
        found = cache.get(key_of((number + 5) % 13))
        if found is not None:
            assert_equal(found, result_of((number + 5) % 13, 3000))
    return cache.stats().damaged + cache.stats().refused


def test_processes_share_one_directory(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as processes:
        problems = processes.starmap(hammer, [(str(tmp_path), seed) for seed in range(3)])
    assert problems == [0, 0, 0]
    files = files_of(tmp_path)
    assert not [path for path in files if path.parent.name == "tmp"]
    assert sum(path.stat().st_size for path in files) <= 60_000 * (1 + 3 / 16)
    for path in files:
        decode(path.name, path.read_bytes())
