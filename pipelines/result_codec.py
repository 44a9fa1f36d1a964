"""Results of analyses as bytes and back: for operators that pass them on, and for caches. No pickle.

Numbers, texts, None, arrays, and mappings or lists of them; the result of unpacking equals what was packed, but that
numpy's scalars come back as Python's.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.analyses import Result

_ARRAY = "__array__"


def pack_results(results: Mapping[str, Result]) -> bytes:
    """Analysis name -> its columns, as bytes."""
    arrays: dict[str, NDArray[Any]] = {}

    def keep(array: NDArray[Any]) -> str:
        name = f"a{len(arrays)}"
        arrays[name] = array
        return name

    text = json.dumps(described(results, keep))
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, tree=np.frombuffer(text.encode(), np.uint8), **arrays)
    return buffer.getvalue()


def unpack_results(data: bytes) -> dict[str, Result]:
    """What ``pack_results`` packed."""
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        tree = json.loads(file["tree"].tobytes())
        return {name: restored(result, file.__getitem__) for name, result in tree.items()}


def described(value: Any, keep: Callable[[NDArray[Any]], Any]) -> Any:
    """A result as JSON has it: what ``keep`` returns for an array stands in its place, marked as such.

    Raises
    ------
    TypeError
        A mapping has keys that aren't text, or the mark.
    """
    if isinstance(value, np.ndarray):
        return {_ARRAY: keep(value)}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        if _ARRAY in value or not all(isinstance(name, str) for name in value):
            raise TypeError(f"names are texts other than {_ARRAY}, not {list(value)}")
        return {name: described(entry, keep) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [described(entry, keep) for entry in value]
    return value


def restored(value: Any, array: Callable[[Any], NDArray[Any]]) -> Any:
    """What was ``described``; ``array`` gives the array for what ``keep`` returned."""
    if isinstance(value, dict):
        if value.keys() == {_ARRAY}:
            return array(value[_ARRAY])
        return {name: restored(entry, array) for name, entry in value.items()}
    return [restored(entry, array) for entry in value] if isinstance(value, list) else value


def plain(value: Any) -> Any:
    """A result as people read it in JSON: arrays are nested lists."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Mapping):
        return {name: plain(entry) for name, entry in value.items()}
    return [plain(entry) for entry in value] if isinstance(value, list | tuple) else value
