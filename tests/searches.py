"""Searches for inputs in tests: files to find, and what was found in short."""

from __future__ import annotations

import os
from pathlib import Path

from actors.ledger.staged_inputs import FoundInput
from rayjobs.inputs.discovery import Discovery
from rayjobs.inputs.found_outputs import FoundOutputs


def names(found: list[FoundInput], status: str | None = None) -> set[bytes]:
    return {entry.relative for entry in found if entry.status == status}


def reasons(found: list[FoundInput]) -> dict[bytes, str | None]:
    return {entry.relative: entry.reason for entry in found if entry.status}


def search(root: Path, *patterns: str, exclude: tuple[str, ...] = (), own: Path | None = None) -> Discovery:
    return Discovery(patterns, root, exclude, FoundOutputs(own))


def find(root: Path, *patterns: str, exclude: tuple[str, ...] = (), own: Path | None = None) -> list[FoundInput]:
    return list(search(root, *patterns, exclude=exclude, own=own).inputs())


def kept(discovery: Discovery) -> set[bytes]:
    """The paths that stay when what turned out to be a result is taken out, as the caller does."""
    return {entry.path for entry in discovery.inputs()} - discovery.withdrawn


def touch(root: Path, *relative: bytes) -> None:
    for name in relative:
        path = os.path.join(os.fsencode(root), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(b"x")
