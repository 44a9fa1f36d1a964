"""Kernels that several processes keep in one directory."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import pytest
from numba.core.caching import IndexDataCacheFile

from pipelines import kernel_cache_locator  # noqa: F401 - as numba does, by its name

ARITHMETIC = "from numba import njit\n\n@njit\ndef change(value):\n    return value {}\n"
KERNEL = """from numba import njit
from kernels_of_a_test.arithmetic import change

@njit(cache=True)
def kernel(value):
    return change(value)
"""
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


def test_a_kernel_is_compiled_again_when_what_it_calls_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "kernels_of_a_test"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "kernels.py").write_text(KERNEL)
    monkeypatch.syspath_prepend(tmp_path)

    def computed(change: str) -> int:
        (package / "arithmetic.py").write_text(ARITHMETIC.format(change))
        for name in [name for name in sys.modules if name.startswith(package.name)]:
            monkeypatch.delitem(sys.modules, name)
        result: int = import_module("kernels_of_a_test.kernels").kernel(5)
        return result

    assert [computed("+ 1"), computed("+ 100"), computed("+ 1000")] == [6, 105, 1005]
