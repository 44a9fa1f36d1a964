"""The values that travel between the packages: what to do with an image, and what became of it.

Covers only plain, comparable values (no pixels, no handles). Times are Unix seconds, sizes are bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class ImageOperation:
    """One step of a chain: an operation's name and its parameters, as in a job file."""

    name: str
    params: Mapping[str, Any] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash(self.canonical())

    def canonical(self) -> str:
        """The same text for the same step, whatever the order of the parameters: part of cache keys."""
        return json.dumps([self.name, dict(self.params)], sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class AnalysisRequest:
    """One analysis to run: its name and its parameters, as in a job file."""

    name: str
    params: Mapping[str, Any] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash(self.canonical())

    def canonical(self) -> str:
        """The same text for the same request, whatever the order of the parameters: part of cache keys."""
        return json.dumps([self.name, dict(self.params)], sort_keys=True, separators=(",", ":"))
