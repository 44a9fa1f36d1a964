"""Analyses that were measured before aren't measured again, whichever job asked for them then, and wherever it wrote.

An entry of the cache is one image after one chain of operations: the file's bytes (sha256), which of its images, and
the chain. In it lies each analysis under everything else that decides its numbers, so that another version, another way
of decoding or another parameter finds nothing instead of something old. What was measured of less than the whole image
is never kept. How results are stored and bounded: ``result_cache``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.analyses import ANALYSES, Result
from pipelines.models import AnalysisRequest, ImageOperation
from pipelines.result_cache import ResultCache


@dataclass(frozen=True, slots=True)
class Kept:
    """Which of a recipe's analyses the cache may hold, and under which names."""

    chain: str
    """Of the operations, as the job has them."""
    names: tuple[tuple[str, str], ...]
    """(analysis, all that decides its result but for the file's bytes)."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the cache knows of one image."""

    key: str = ""
    """Of its entry; empty: nothing is kept of it."""
    entry: Mapping[str, Result] = field(default_factory=dict)
    """As it was read."""
    results: Mapping[str, Result] = field(default_factory=dict)
    """Those of the wanted analyses, by name; arrays are read-only."""


NOTHING = Known()


def chain_name(operations: Sequence[ImageOperation]) -> str:
    """A short text for a chain."""
    text = "\n".join(operation.canonical() for operation in operations)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def is_scalar(request: AnalysisRequest) -> bool:
    """Whether a result is a few numbers and texts: no array and no rows of objects."""
    analysis = ANALYSES[request.name]
    return analysis.grain == "image" and all("[" not in each.type for each in analysis.columns(**request.params))


def content_of(data: bytes) -> str:
    """What a file is known by, whatever its name and time."""
    return hashlib.sha256(data).hexdigest()


def look_up(cache: ResultCache, kept: Kept, content: str, frame: int = 0) -> Known:
    """What is known of one image of a file."""
    key = hashlib.sha256(f"{content} {frame} {kept.chain}".encode()).hexdigest()[:40]
    return known_in(kept, key, cache.get(key) or {})


def known_in(kept: Kept, key: str, entry: Mapping[str, Any]) -> Known:
    """What an entry says of the wanted analyses."""
    return Known(key, entry, {analysis: entry[name] for analysis, name in kept.names if name in entry})


def keep(cache: ResultCache, kept: Kept, known: Known, results: Mapping[str, Result]) -> None:
    """Add what was measured to the entry of an image; what other chains or versions left there stays."""
    names = dict(kept.names)
    new = {names[each]: result for each, result in results.items() if each in names and each not in known.results}
    if known.key and new:
        cache.put(known.key, {**known.entry, **new})
