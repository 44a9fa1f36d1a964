"""Images beside their sources (``layout: beside``): where they go, and how a later run tells them from inputs.

Paths are relative to the output, with ``..``, so that they hold when the whole tree is moved. Charts, tables and the
manifest stay below the output. What keeps sources from being written over: ``actors.input_plan``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from actors.input_plan import FoundInput
from actors.job_ledger import JobLedger

BESIDE = "beside"


def place(path: bytes, root: Path) -> bytes:
    """What stands for an input's path in the names of its outputs: files of one directory have one directory there.

    Below the directory that holds the output as far as possible, else from the top.
    """
    above = os.fsencode(root.parent) + b"/"
    return path.removeprefix(above).lstrip(b"/")


def image_stem(path: bytes, name: str, root: Path) -> str | None:
    """Where the image of an input goes, relative to the output and without its suffix.

    None in a directory whose name is no text: such an image goes below ``images/``.
    """
    directory = os.path.relpath(_real(os.path.dirname(path)), _real(os.fsencode(root)))
    try:
        return f"{directory.decode()}/{own_name(path, name, root)}"
    except UnicodeDecodeError:
        return None


def own_name(path: bytes, name: str, root: Path) -> str:
    """The part of an output's name that stands for the file, not for its directory."""
    directories = [part for part in os.path.dirname(place(path, root)).split(b"/") if part]
    return "/".join(name.split("/")[len(directories) :])


def without_own(inputs: Iterable[FoundInput], ledger: JobLedger, root: Path) -> Iterator[FoundInput]:
    """The inputs but for images that this job itself has put beside its sources."""
    if not ledger.fact("beside", False):
        return iter(inputs)
    ledger.note_outside_files()  # now: the inputs are read within a transaction
    return (found for found in inputs if not ledger.is_outside_file(_relative(found.path, root)))


def _relative(path: bytes, root: Path) -> bytes:
    directory, name = os.path.split(path)
    return os.path.relpath(os.path.join(_real(directory), name), _real(os.fsencode(root)))


@lru_cache(maxsize=1024)
def _real(directory: bytes) -> bytes:
    return os.path.realpath(directory)
