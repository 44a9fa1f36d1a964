"""Kernels that several processes keep in one directory."""

from __future__ import annotations

from pathlib import Path

import pytest
from numba.core.caching import IndexDataCacheFile

from pipelines import kernel_cache_locator  # noqa: F401 - as numba does, by its name

WITH, WITHOUT = (("uint8", "with VBMI"), b"code with"), (("uint8", "without"), b"code without")


def test_kernels_kept_at_once_are_never_taken_for_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, later = (IndexDataCacheFile(tmp_path, "kernel", "stamp") for _ in range(3))
    late: list[tuple[str, bytes]] = []
    monkeypatch.setattr(second, "_save_data", lambda *written: late.append(written))
    index = first._save_index

    def beside_another(overloads: object) -> None:
        second.save(*WITHOUT)
        index(overloads)

    monkeypatch.setattr(first, "_save_index", beside_another)
    first.save(*WITH)
    IndexDataCacheFile._save_data(second, *late.pop())
    assert [later.load(key) for key, _ in (WITH, WITHOUT)] == [b"code with", None]  # it is compiled again
    later.save(*WITHOUT)
    assert [later.load(key) for key, _ in (WITH, WITHOUT)] == [b"code with", b"code without"]
