"""exiftool (Debian: libimage-exiftool-perl), which reads and writes metadata without any code that we use."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

needs_exiftool = pytest.mark.skipif(
    shutil.which("exiftool") is None and not os.environ.get("RAYJOBS_REQUIRE_TOOLS"),
    reason="exiftool isn't installed (`make tools`): metadata aren't checked independently",
)


def write(*paths: Path, tags: Sequence[str]) -> None:
    """Write tags, given as ``GROUP:TAG=value``; those that a format has no place for are left out."""
    command = ["exiftool", "-q", "-q", "-m", "-overwrite_original", *(f"-{tag}" for tag in tags), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def read(*paths: Path) -> list[dict[str, Any]]:
    """Every tag of each file as ``GROUP:Tag``; numbers as such."""
    command = ["exiftool", "-j", "-G1", "-a", "-n", "-struct", "-validate", "-error", "-all", *map(str, paths)]
    found: list[dict[str, Any]] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return found
