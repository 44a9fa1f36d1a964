"""Images beside their sources (``layout: beside``): where they go.

Paths are relative to the output, with ``..``, so that they hold when the whole tree is moved. Charts, tables and the
manifest stay below the output. What keeps sources from being written over: ``actors.ledger.input_plan``.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

BESIDE = "beside"


def place(path: bytes, root: Path) -> bytes:
    """What stands for an input's path in the names of its outputs: files of one directory have one directory there.

    Below the directory that holds the output as far as possible, else from the top.
    """
    above = os.fsencode(root.parent) + b"/"
    return path.removeprefix(above).lstrip(b"/")


def beside_source(path: bytes, name: str, root: Path) -> str | None:
    """Where the image of an input goes, relative to the output and without its suffix.

    None in a directory whose name is no text: such an image goes below ``images/``.
    """
    directory = os.path.relpath(real_directory(os.path.dirname(path)), real_directory(os.fsencode(root)))
    try:
        return os.path.normpath(f"{directory.decode()}/{own_name(path, name, root)}")
    except UnicodeDecodeError:
        return None


def own_name(path: bytes, name: str, root: Path) -> str:
    """The part of an output's name that stands for the file, not for its directory."""
    directories = [part for part in os.path.dirname(place(path, root)).split(b"/") if part]
    return "/".join(name.split("/")[len(directories) :])


@lru_cache(maxsize=1024)
def real_directory(directory: bytes) -> bytes:
    """Its path without links."""
    return os.path.realpath(directory)
