"""Room on the output's disk: enough before a job starts, and enough left while it runs.

Decisions are pure, over the numbers that ``statvfs`` gives. One write that still meets a full disk is the publisher's
(``no_space``); here a whole job is refused, or ended cleanly so that it can be resumed once there is room.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import JobError
from pipelines.quantity_texts import size_text

RESERVE_BYTES = 64 * 2**20
"""Always left free: the ledger and the manifest must still find room when images no longer do."""
RESERVE_SHARE = 0.01


class NoSpaceError(JobError):
    """The output's disk is full, or would be; a job that was running can be resumed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskSpace:
    """A file system at one moment."""

    total_bytes: int
    free_bytes: int
    """For this user."""
    free_files: int | None = None
    """Inodes left; None: the file system doesn't count them."""

    def reserve_bytes(self, min_free_bytes: int | None = None) -> int:
        """What has to stay free: what the user asks for, or a hundredth of the disk up to 64 MiB."""
        if min_free_bytes is not None:
            return min_free_bytes
        return min(int(self.total_bytes * RESERVE_SHARE), RESERVE_BYTES)


def disk_space(path: Path) -> DiskSpace:
    """The file system that ``path``, or its nearest existing parent, lies on."""
    place = path.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    if not hasattr(os, "statvfs"):
        usage = shutil.disk_usage(place)
        return DiskSpace(total_bytes=usage.total, free_bytes=usage.free)
    stat = os.statvfs(place)
    return DiskSpace(
        total_bytes=stat.f_blocks * stat.f_frsize,
        free_bytes=stat.f_bavail * stat.f_frsize,
        free_files=stat.f_favail if stat.f_files else None,
    )


def free_bytes(path: Path) -> int:
    """Bytes that can be written below ``path``."""
    return disk_space(path).free_bytes


def refusal(space: DiskSpace, needed_bytes: int) -> str | None:
    """Why a job that writes so much shouldn't start; None: there is room."""
    reserve = space.reserve_bytes()
    if space.free_bytes - reserve < needed_bytes:
        needed, free, stay = map(size_text, (needed_bytes, space.free_bytes, reserve))
        return f"about {needed} are needed, {free} are free and {stay} stay reserved"
    return None


def shortage(space: DiskSpace) -> str | None:
    """Why a running job should stop now; None: go on."""
    reserve = space.reserve_bytes()
    if space.free_bytes < reserve:
        return f"only {size_text(space.free_bytes)} are free, {size_text(reserve)} must stay so"
    return "the file system can't take another file" if space.free_files == 0 else None


def check_room(output: Path, needed_bytes: int) -> None:
    """Before a job starts.

    Raises
    ------
    NoSpaceError
        The disk can't take what the job will write.
    """
    reason = refusal(disk_space(output), needed_bytes)
    if reason is not None:
        raise NoSpaceError(f"output {output}: no space: {reason}; make room, or choose another with --output")
