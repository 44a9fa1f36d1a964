"""For numba: the last of the places where it may keep compiled kernels, and how it names them there.

numba imports this module by its name, before it keeps or takes the first kernel.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import Any

from numba.core.caching import IndexDataCacheFile, UserWideCacheLocator

from pipelines.kernel_cache import private_directory


class PrivateCacheLocator(UserWideCacheLocator):  # type: ignore[misc]
    """A directory of this user's among the temporary files."""

    def __init__(self, py_func: Callable[..., Any], py_file: str) -> None:
        super().__init__(py_func, py_file)
        self._cache_path = os.path.join(private_directory(), self.get_suitable_cache_subpath(py_file))


def _save(self: Any, key: Any, data: Any) -> None:
    """``IndexDataCacheFile.save``, with a file name that belongs to what is compiled (types, processor, code) alone.

    numba counts files, and two processes that keep a kernel at the same time take the same number: one is then given
    what the other compiled, which may be for other types, or, where processors share a directory, for another one.
    Here the worst is that one of them compiles again.
    """
    number = int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8])
    name = self._data_name(number)
    self._save_data(name, data)
    self._save_index({**self._load_index(), key: name})


IndexDataCacheFile.save = _save
