"""Room on the output's disk, before and while a job runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.resources.disk_space import (
    RESERVE_BYTES,
    DiskSpace,
    NoSpaceError,
    check_room,
    disk_space,
    refusal,
    shortage,
)

GIB = 2**30
SIZES = st.integers(0, 2**50)


def space(free_bytes: int, *, total_bytes: int = 100 * GIB, free_files: int | None = None) -> DiskSpace:
    return DiskSpace(total_bytes=total_bytes, free_bytes=free_bytes, free_files=free_files)


def test_job_that_fits_beside_the_reserve_may_start() -> None:
    assert refusal(space(2 * GIB), 2 * GIB - RESERVE_BYTES) is None
    assert refusal(space(2 * GIB), 2 * GIB - RESERVE_BYTES + 1) == (
        "about 1.9 GiB are needed, 2.0 GiB are free and 64.0 MiB stay reserved"
    )


def test_small_disk_keeps_a_hundredth() -> None:
    assert space(0, total_bytes=100_000_000).reserve_bytes() == 1_000_000
    assert space(0, total_bytes=100_000_000).reserve_bytes(5) == 5


def test_files_are_counted_too() -> None:
    assert shortage(space(2 * GIB, free_files=0)) == "the file system can't take another file"
    assert shortage(space(2 * GIB, free_files=None)) is None


def test_running_job_stops_at_the_reserve() -> None:
    assert shortage(space(RESERVE_BYTES)) is None
    assert shortage(space(RESERVE_BYTES - 1)) == "only 64.0 MiB are free, 64.0 MiB must stay so"


@given(free=SIZES, needed=SIZES)
def test_job_that_may_start_has_its_reserve_left_at_its_end(free: int, needed: int) -> None:
    if refusal(space(free), needed) is None:
        assert shortage(space(free - needed)) is None


def test_directory_that_does_not_exist_yet_is_on_its_parents_disk(tmp_path: Path) -> None:
    assert disk_space(tmp_path / "not" / "there").total_bytes == disk_space(tmp_path).total_bytes


def test_refused_job_is_told_where_and_what_to_do(tmp_path: Path) -> None:
    check_room(tmp_path / "out", 1)
    with pytest.raises(NoSpaceError, match=r"output .*out: no space: about .* needed.*; make room, or choose another"):
        check_room(tmp_path / "out", 2**60)
