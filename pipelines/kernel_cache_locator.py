"""For numba: the last of the places where it may keep compiled kernels. numba imports it by its name."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from numba.core.caching import UserWideCacheLocator

from pipelines.kernel_cache import private_directory


class PrivateCacheLocator(UserWideCacheLocator):  # type: ignore[misc]
    """A directory of this user's among the temporary files."""

    def __init__(self, py_func: Callable[..., Any], py_file: str) -> None:
        super().__init__(py_func, py_file)
        self._cache_path = os.path.join(private_directory(), self.get_suitable_cache_subpath(py_file))
