"""Room on the output's disk, before and while a job runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.disk_space import (
    RESERVE_BYTES,
    DiskSpace,
    NoSpaceError,
    check_room,
    check_still_room,
    disk_space,
    predicted_output_bytes,
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
    assert refusal(space(2 * GIB, free_files=10), 1, files=11) == (
        "11 files are to be written and the file system has room for 10 more"
    )
    assert shortage(space(2 * GIB, free_files=0)) == "the file system can't take another file"
    assert refusal(space(2 * GIB, free_files=None), 1, files=10**9) is None


def test_running_job_stops_at_the_reserve() -> None:
    assert shortage(space(RESERVE_BYTES)) is None
    assert shortage(space(RESERVE_BYTES - 1)) == "only 64.0 MiB are free, 64.0 MiB must stay so"
    assert shortage(space(GIB), min_free_bytes=2 * GIB) == "only 1.0 GiB are free, 2.0 GiB must stay so"


@given(free=SIZES, needed=SIZES, least=st.none() | SIZES)
def test_job_that_may_start_has_its_reserve_left_at_its_end(free: int, needed: int, least: int | None) -> None:
    if refusal(space(free), needed, min_free_bytes=least) is None:
        assert shortage(space(free - needed), min_free_bytes=least) is None


def test_prediction_grows_with_what_is_asked_for() -> None:
    images = predicted_output_bytes(10**9, 1000)
    assert images == 10**9 + 1000 * 4096
    assert predicted_output_bytes(10**9, 1000, charts=6) > images
    assert predicted_output_bytes(10**9, 1000, growth=0.0) == 1000 * 4096


def test_directory_that_does_not_exist_yet_is_on_its_parents_disk(tmp_path: Path) -> None:
    assert disk_space(tmp_path / "not" / "there").total_bytes == disk_space(tmp_path).total_bytes


def test_refused_job_is_told_where_and_what_to_do(tmp_path: Path) -> None:
    check_room(tmp_path / "out", 1)
    check_still_room(tmp_path / "out", min_free_bytes=0)
    with pytest.raises(NoSpaceError, match=r"output .*out: no space: about .* needed.*; make room, or choose another"):
        check_room(tmp_path / "out", 2**60)
    with pytest.raises(NoSpaceError, match=r"only .* are free, .*; make room and run the job again, it continues"):
        check_still_room(tmp_path / "out", min_free_bytes=2**60)
