"""Reading values of the old batch format, with a note for each that is not carried over as it stands."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

DRIVE = re.compile(r"[A-Za-z]:(/|$)")


@dataclass(frozen=True, slots=True)
class Note:
    """Something of the old file that isn't in the job files, or not as it was."""

    key: str
    """Where it stands in the old file: ``jobs[1].export_config.prefix``."""
    kind: Literal["left", "changed"]
    """``left``: no job file has it; ``changed``: carried over, but not word for word."""
    text: str
    value: Any
    """As the old file has it."""


@dataclass(slots=True)
class Reading:
    """One old job while it is read: what it gives so far, and its notes."""

    place: str
    """Its own key, with a dot, or empty."""
    raw: Mapping[str, Any]
    notes: list[Note] = field(default_factory=list)

    def note(self, key: str, kind: Literal["left", "changed"], text: str, value: Any) -> None:
        """Note something; ``key`` is below this one's."""
        self.notes.append(Note(f"{self.place}{key}", kind, text, value))


def read_choice(section: Reading, key: str, choices: Sequence[str], default: str) -> str:
    """One of several words."""
    value = section.raw.get(key, default)
    if isinstance(value, str) and value in choices:
        return value
    section.note(key, "left", f"not one of {', '.join(choices)}; taken was {default}", value)
    return default


def read_directory(section: Reading, key: str) -> str:
    """A directory with ``/``; empty when there is none."""
    value = section.raw.get(key, "")
    if value is None or value == "":
        return ""
    if not isinstance(value, str) or "\0" in value:
        section.note(key, "left", "not a path", value)
        return ""
    plain = value.replace("\\", "/")
    if DRIVE.match(plain) or plain.startswith("//"):
        section.note(key, "changed", f"became {plain}, a Windows path: change it to a directory of this machine", value)
    elif plain != value:
        section.note(key, "changed", f"became {plain}: paths are written with /", value)
    return plain


def read_count(section: Reading, key: str, default: int, low: int, high: int) -> int:
    """A whole number in a range."""
    value = section.raw.get(key, default)
    if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
        return value
    section.note(key, "left", f"not a whole number in {low} to {high}; taken was {default}", value)
    return default
