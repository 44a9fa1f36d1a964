"""A cached result as bytes: a description in JSON, then its arrays, compressed; no pickle, and a checksum over all.

    magic | BLAKE2b of the rest | length of the description | description (JSON) | arrays (zstd)

Covers the format alone; files and bounds: ``disk_cache``.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAGIC = b"RJCACHE1"
DIGEST_BYTES = 32
_LENGTH = struct.Struct("<I")
_ARRAY = "__array__"
_KINDS = frozenset("biuf")
_PREFIX = len(MAGIC) + DIGEST_BYTES


class DamagedEntryError(Exception):
    """The bytes are not an entry, not a whole one, or that of another key."""


def encode(key: str, result: Mapping[str, Any]) -> bytes:
    """The entry of a result.

    Raises
    ------
    TypeError
        Something in it is neither JSON nor an array of numbers.
    """
    import pyarrow as pa

    arrays: list[NDArray[Any]] = []
    shape = _described(dict(result), arrays)
    raw = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)
    description = json.dumps({"key": key, "bytes": len(raw), "result": shape}, separators=(",", ":")).encode()
    packed: bytes = pa.Codec("zstd", compression_level=1).compress(raw, asbytes=True) if raw else b""
    rest = _LENGTH.pack(len(description)) + description + packed
    return MAGIC + hashlib.blake2b(rest, digest_size=DIGEST_BYTES).digest() + rest


def decode(key: str, data: bytes) -> dict[str, Any]:
    """The result of an entry, with read-only arrays.

    Raises
    ------
    DamagedEntryError
        It isn't what ``encode`` wrote for this key.
    """
    import pyarrow as pa

    rest = memoryview(data)[_PREFIX:]
    whole = MAGIC + hashlib.blake2b(rest, digest_size=DIGEST_BYTES).digest()
    if len(rest) < _LENGTH.size or data[:_PREFIX] != whole:
        raise DamagedEntryError(f"{key}: the checksum is wrong")
    (length,) = _LENGTH.unpack_from(rest)
    description = json.loads(bytes(rest[_LENGTH.size : _LENGTH.size + length]))
    if description["key"] != key:
        raise DamagedEntryError(f"{key}: holds {description['key']}")
    packed = rest[_LENGTH.size + length :]
    raw: bytes = b""
    if description["bytes"]:
        raw = pa.Codec("zstd").decompress(packed, decompressed_size=description["bytes"], asbytes=True)
    result: dict[str, Any] = _restored(description["result"], raw)
    return result


def _described(value: Any, arrays: list[NDArray[Any]]) -> Any:
    """The value as JSON; arrays are replaced by where they will lie."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in _KINDS:
            raise TypeError(f"an array of {value.dtype} can't be cached")
        start = sum(array.nbytes for array in arrays)
        arrays.append(value)
        return {_ARRAY: [value.dtype.str, list(value.shape), start]}
    if isinstance(value, Mapping):
        if _ARRAY in value or not all(isinstance(name, str) for name in value):
            raise TypeError(f"names are texts other than {_ARRAY}, not {list(value)}")
        return {name: _described(each, arrays) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_described(each, arrays) for each in value]
    return value


def _restored(value: Any, raw: bytes) -> Any:
    if isinstance(value, dict):
        if _ARRAY in value:
            dtype, shape, start = value[_ARRAY]
            flat = np.frombuffer(raw, np.dtype(dtype), count=math.prod(shape), offset=start)  # of bytes: read-only
            return flat.reshape(shape)
        return {name: _restored(each, raw) for name, each in value.items()}
    if isinstance(value, list):
        return [_restored(each, raw) for each in value]
    return value
