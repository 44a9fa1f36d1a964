"""Custody: only what the job wrote, and what still is as it was written, may be touched."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.storage.custody import Kind, Present, Standing, Written, is_ours, may_replace, standing
from pipelines.storage.local_files import (
    TakenError,
    appear,
    compare,
    discard_directory,
    look,
    make_way,
    remove,
    remove_cut_off,
    remove_empty,
    sha256_of,
)

SHA = st.sampled_from(["a", "b", "c"])


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@given(kind=st.sampled_from(Kind), sha256=SHA | st.none(), known=st.sets(SHA), overwrite=st.booleans())
def test_only_a_file_of_known_content_is_ours_and_overwriting_is_for_files_alone(
    kind: Kind, sha256: str | None, known: set[str], overwrite: bool
) -> None:
    present = Present(kind)
    ours = kind is Kind.FILE and sha256 in known
    assert is_ours(present, sha256, known) == ours
    assert may_replace(present, sha256, known, overwrite=overwrite) == (ours or (overwrite and kind is Kind.FILE))


@given(
    kind=st.sampled_from(Kind), size=st.integers(0, 2), time=st.integers(0, 2), recorded=st.integers(0, 2) | st.none()
)
def test_size_and_time_tell_only_that_a_file_is_as_it_was(
    kind: Kind, size: int, time: int, recorded: int | None
) -> None:
    found = standing(Present(kind, size, time), Written(path="a", sha256="x", bytes=1, mtime_ns=recorded))
    if kind is Kind.NOTHING:
        assert found is Standing.GONE
    elif kind is not Kind.FILE or size != 1:
        assert found is Standing.CHANGED
    else:
        assert found is (Standing.AS_WRITTEN if time == recorded else Standing.UNSURE)


def test_a_file_is_compared_by_content_when_time_does_not_tell(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    written = Written(path="a", sha256=digest(b"one"), bytes=3, mtime_ns=look(path).mtime_ns)
    assert compare(path, written)[0] is Standing.AS_WRITTEN
    os.utime(path, ns=(1, 1))
    assert compare(path, written)[0] is Standing.AS_WRITTEN
    path.write_bytes(b"two")
    assert compare(path, written)[0] is Standing.CHANGED
    os.utime(path, ns=(written.mtime_ns or 0, written.mtime_ns or 0))
    assert compare(path, written)[0] is Standing.AS_WRITTEN  # size and time suffice to leave it alone ...
    assert compare(path, written, deep=True)[0] is Standing.CHANGED
    assert not remove(tmp_path, "a", {written.sha256})  # ... never to touch it
    assert path.read_bytes() == b"two"


def test_a_time_that_64_bits_do_not_hold_is_still_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"")
    times = []
    for seconds in (1, 13_569_465_600, 13_569_465_601):
        os.utime(path, (seconds, seconds))
        times.append(look(path).mtime_ns)
    assert len(set(times)) == 3
    assert all(-(2**63) <= time < 2**63 for time in times)


@pytest.mark.parametrize("what", ["link", "directory", "pipe", "changed", "nothing"])
def test_what_is_not_as_it_was_written_is_not_removed(tmp_path: Path, what: str) -> None:
    path, other = tmp_path / "a", tmp_path / "other"
    other.write_bytes(b"one")
    match what:
        case "link":
            path.symlink_to(other)
        case "directory":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "changed":
            path.write_bytes(b"one, and a note")
    before = look(path)
    assert not remove(tmp_path, "a", {digest(b"one")})
    assert look(path) == before
    assert other.read_bytes() == b"one"


def test_a_file_as_it_was_written_is_removed_with_the_directories_that_are_empty_then(tmp_path: Path) -> None:
    for name in ("charts/x/a", "charts/x/deep/b", "charts/mine"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"one")
    assert remove(tmp_path, "charts/x/deep/b", {digest(b"one")})
    remove_empty(tmp_path, "charts/x/deep/b")
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")) == [
        "charts",
        "charts/mine",
        "charts/x",
        "charts/x/a",
    ]


def test_a_file_behind_a_linked_directory_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive/a").write_bytes(b"one")
    (tmp_path / "images").symlink_to(tmp_path / "archive")
    assert not remove(tmp_path, "images/a", {digest(b"one")})
    assert (tmp_path / "archive/a").read_bytes() == b"one"


@given(whole=st.binary(max_size=40), cut=st.integers(0, 40), more=st.binary(max_size=3))
def test_only_the_beginning_of_the_whole_is_cut_off(
    tmp_path_factory: pytest.TempPathFactory, whole: bytes, cut: int, more: bytes
) -> None:
    directory = tmp_path_factory.mktemp("cut")
    path, other = directory / "a", directory / "whole"
    path.write_bytes(whole[:cut] + more)
    other.write_bytes(whole)
    found = path.read_bytes()
    assert remove_cut_off(path, other) == whole.startswith(found)
    assert path.exists() != whole.startswith(found)


def test_a_name_that_is_taken_stays_taken(tmp_path: Path) -> None:
    temporary, final = tmp_path / "t", tmp_path / "f"
    temporary.write_bytes(b"new")
    final.write_bytes(b"mine")
    with pytest.raises(TakenError):
        appear(temporary, final, digest(b"new"), known={digest(b"old")})
    assert final.read_bytes() == b"mine"
    appear(temporary, final, digest(b"new"), known={digest(b"mine")})
    assert final.read_bytes() == b"new"


def test_a_file_that_nobody_touched_is_known_without_reading_and_any_touch_is_seen(tmp_path: Path) -> None:
    temporary, final = tmp_path / "t", tmp_path / "f"
    final.write_bytes(b"old")
    present = look(final)
    wrong = Written(path="f", sha256=digest(b"x"), bytes=3, mtime_ns=present.mtime_ns, ctime_ns=present.ctime_ns)
    temporary.write_bytes(b"new")
    appear(temporary, final, digest(b"new"), known=(wrong.sha256,), written=wrong)  # the record was believed
    assert final.read_bytes() == b"new"
    present = look(final)
    record = Written(path="f", sha256=digest(b"new"), bytes=3, mtime_ns=present.mtime_ns, ctime_ns=present.ctime_ns)
    final.write_bytes(b"moi")
    os.utime(final, ns=(present.mtime_ns, present.mtime_ns))  # nobody can set the other time back
    temporary.write_bytes(b"two")
    with pytest.raises(TakenError):
        appear(temporary, final, digest(b"two"), known=(record.sha256,), written=record)
    assert final.read_bytes() == b"moi"


def test_another_name_of_a_file_needs_no_reading_unless_that_was_changed(tmp_path: Path) -> None:
    temporary, final = tmp_path / "t", tmp_path / "f"
    final.write_bytes(b"old")
    written = Written(path="f", sha256=digest(b"not read"), bytes=3, mtime_ns=look(final).mtime_ns, ctime_ns=0)
    os.link(final, temporary)
    appear(temporary, final, digest(b"not read"), written=written)
    assert os.path.samefile(temporary, final)
    final.write_bytes(b"somebody's own")
    for record in (written, None):
        with pytest.raises(TakenError):
            appear(temporary, final, digest(b"not read"), written=record)
    assert final.read_bytes() == b"somebody's own"


@pytest.mark.parametrize("size", [0, 1, 2**23 - 1, 2**23, 2**23 + 1])
def test_a_digest_is_that_of_the_whole_file(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "file").write_bytes(data)
    assert sha256_of(tmp_path / "file") == digest(data)


def test_no_link_is_followed_on_the_way(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/images").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "out/charts").write_bytes(b"mine")
    for name in ("images/a.png", "images/deep/a.png", "charts/a.png"):
        with pytest.raises(NotADirectoryError):
            make_way(tmp_path / "out", name)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_links_in_a_discarded_directory_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/a").write_bytes(b"one")
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp/link").symlink_to(tmp_path / "mine")
    discard_directory(tmp_path / "tmp")
    assert not (tmp_path / "tmp").exists()
    assert (tmp_path / "mine/a").read_bytes() == b"one"
    (tmp_path / "tmp").symlink_to(tmp_path / "mine")
    discard_directory(tmp_path / "tmp")
    assert (tmp_path / "mine/a").read_bytes() == b"one"


def test_only_regular_files_have_a_content(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "file").write_bytes(b"one")
    assert [sha256_of(tmp_path / name) for name in ("pipe", "link", "gone", ".", "file/below")] == [None] * 5
    assert sha256_of(tmp_path / "file") == digest(b"one")
