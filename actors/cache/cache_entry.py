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

from pipelines.result_codec import described, restored

MAGIC = b"RJCACHE1"
DIGEST_BYTES = 32
_LENGTH = struct.Struct("<I")
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

    def keep(array: NDArray[Any]) -> list[Any]:
        if array.dtype.kind not in _KINDS:
            raise TypeError(f"an array of {array.dtype} can't be cached")
        arrays.append(array)
        return [array.dtype.str, list(array.shape), sum(each.nbytes for each in arrays[:-1])]

    shape = described(dict(result), keep)
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

    def array(where: list[Any]) -> NDArray[Any]:
        dtype, shape, start = where
        flat = np.frombuffer(raw, np.dtype(dtype), count=math.prod(shape), offset=start)  # of bytes: read-only
        return flat.reshape(shape)

    result: dict[str, Any] = restored(description["result"], array)
    return result
