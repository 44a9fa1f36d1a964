"""For numba: the last of the places where it may keep compiled kernels, and how it names them there.

``kernel_compiler`` imports this module before there is a kernel, and numba does, by its name, where that place is to
be tried.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from functools import cache
from types import ModuleType, SimpleNamespace
from typing import Any

from numba.core.caching import IndexDataCacheFile, UserWideCacheLocator, _SourceFileBackedLocatorMixin

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


def _source_stamp(self: Any) -> tuple[Any, ...]:
    """``get_source_stamp`` with the files that a kernel's module takes functions from: they are compiled into it.

    numba looks at the module's own file only, and would go on with what it compiled before another one changed.
    """
    files = self._py_file, *_taken_from(self._py_file)
    return tuple(_of_own_file(SimpleNamespace(_py_file=file)) for file in files)


@cache
def _taken_from(py_file: str) -> tuple[str, ...]:
    """Files of the same package that the module of a file has functions and classes from, or imports; not constants.

    A package has whatever was imported of it until now, and isn't gone into.
    """
    modules = [module for module in list(sys.modules.values()) if getattr(module, "__file__", None) == py_file]
    found: set[str] = set()
    while modules:
        module = modules.pop()
        package = module.__name__.partition(".")[0]
        for value in list(vars(module).values()):
            name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
            if not isinstance(name, str) or name.partition(".")[0] != package or name not in sys.modules:
                continue
            source = getattr(sys.modules[name], "__file__", None)
            if source is not None and source not in found and os.path.isfile(source):
                found.add(source)
                if not hasattr(sys.modules[name], "__path__"):
                    modules.append(sys.modules[name])
    return tuple(sorted(found - {py_file}))


_of_own_file = _SourceFileBackedLocatorMixin.get_source_stamp
_SourceFileBackedLocatorMixin.get_source_stamp = _source_stamp
IndexDataCacheFile.save = _save
