"""Results of analyses as bytes and back: for operators that pass them on, and for caches. No pickle.

Numbers, texts, None, arrays, and mappings or lists of them; the result of unpacking equals what was packed, but that
numpy's scalars come back as Python's.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.analyses import Result

_ARRAY = "__array__"


def pack_results(results: Mapping[str, Result]) -> bytes:
    """Analysis name -> its columns, as bytes."""
    arrays: dict[str, NDArray[Any]] = {}
    text = json.dumps(_without_arrays(results, arrays))
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, tree=np.frombuffer(text.encode(), np.uint8), **arrays)
    return buffer.getvalue()


def unpack_results(data: bytes) -> dict[str, Result]:
    """What ``pack_results`` packed."""
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        tree = json.loads(file["tree"].tobytes())
        return {name: _with_arrays(result, file) for name, result in tree.items()}


def _without_arrays(value: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    if isinstance(value, np.ndarray):
        name = f"a{len(arrays)}"
        arrays[name] = value
        return {_ARRAY: name}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {str(key): _without_arrays(entry, arrays) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_without_arrays(entry, arrays) for entry in value]
    return value


def _with_arrays(value: Any, file: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {_ARRAY}:
            return file[value[_ARRAY]]
        return {key: _with_arrays(entry, file) for key, entry in value.items()}
    if isinstance(value, list):
        return [_with_arrays(entry, file) for entry in value]
    return value
