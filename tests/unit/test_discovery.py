"""Finding inputs: no name is lost, no loop is followed, and what is left out says why."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.input_plan import FoundInput
from pipelines.errors import JobError
from rayjobs.discovery import Discovery

HOSTILE = [
    b"two\nlines.jpg",
    b"caf\xe9-latin1.jpg",
    b"what?.png",
    b"_underscore.jpg",
    b".hidden.jpg",
    b"-dash.jpg",
    b" space .jpg",
    "夕焼け🌇.jpg".encode(),
    b"star*.tif",
    b"[brackets].webp",
    b"UPPER.JPG",
    b"tab\there.bmp",
]


def names(found: list[FoundInput], status: str | None = None) -> set[bytes]:
    return {entry.relative for entry in found if entry.status == status}


def find(root: Path, *patterns: str, exclude: tuple[str, ...] = (), output: Path | None = None) -> list[FoundInput]:
    return list(Discovery(patterns, root, exclude, output).inputs())


def touch(root: Path, *relative: bytes) -> None:
    for name in relative:
        path = os.path.join(os.fsencode(root), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(b"x")


def test_no_name_is_lost(tmp_path: Path) -> None:
    touch(tmp_path, *HOSTILE)
    found = find(tmp_path, ".")
    assert names(found) == set(HOSTILE)
    assert all(entry.size == 1 and entry.mtime_ns > 0 for entry in found)


@settings(max_examples=30, deadline=None)
@given(name=st.binary(min_size=1, max_size=40).filter(lambda b: not set(b) & set(b"\0/") and b not in (b".", b"..")))
def test_any_name_that_a_file_system_takes_is_found(tmp_path_factory: pytest.TempPathFactory, name: bytes) -> None:
    root = tmp_path_factory.mktemp("any")
    touch(root, name + b".png")
    assert names(find(root, ".")) == {name + b".png"}


def test_directories_are_searched_in_depth_and_other_files_counted(tmp_path: Path) -> None:
    touch(tmp_path, b"a/b/c/deep.jpg", b"a/notes.txt", b"a/Thumbs.db", b"plain")
    discovery = Discovery(["."], tmp_path)
    assert names(list(discovery.inputs())) == {b"a/b/c/deep.jpg"}
    assert discovery.ignored == {".txt": 1, ".db": 1, "(no extension)": 1}


def test_a_directory_called_like_an_image_is_searched(tmp_path: Path) -> None:
    touch(tmp_path, b"folder.jpg/inside.png")
    assert names(find(tmp_path, ".")) == {b"folder.jpg/inside.png"}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jpg", {b"top.jpg"}),
        ("**/*.jpg", {b"top.jpg", b"a/one.jpg", b"a/b/two.jpg"}),
        ("a/**", {b"one.jpg", b"b/two.jpg", b"b/two.raw"}),
        ("a/b/two.*", {b"two.jpg", b"two.raw"}),
        ("a/[no]ne.jpg", {b"one.jpg"}),
        ("a/[!o]ne.jpg", set()),
        ("?op.jpg", {b"top.jpg"}),
    ],
)
def test_globs(tmp_path: Path, pattern: str, expected: set[bytes]) -> None:
    touch(tmp_path, b"top.jpg", b"a/one.jpg", b"a/b/two.jpg", b"a/b/two.raw")
    if not expected:
        with pytest.raises(JobError, match="matches no image"):
            find(tmp_path, pattern)
        return
    assert {os.path.basename(name) for name in names(find(tmp_path, pattern))} == {
        os.path.basename(name) for name in expected
    }


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path: Path) -> None:
    touch(tmp_path, b"a[1].jpg", b"a1.jpg")
    assert names(find(tmp_path, "a[1].jpg")) == {b"a[1].jpg"}


def test_lists_name_files_by_line_or_nul_relative_to_the_list(tmp_path: Path) -> None:
    touch(tmp_path, b"in/a.jpg", b"in/two\nlines.jpg")
    (tmp_path / "lines.txt").write_bytes(b"in/a.jpg\r\nin/gone.jpg\n\n")
    (tmp_path / "nul.txt").write_bytes(b"in/two\nlines.jpg\0in/a.jpg\0")
    by_line = find(tmp_path, "@lines.txt")
    assert names(by_line) == {b"in/a.jpg"}
    (gone,) = [entry for entry in by_line if entry.status]
    assert (gone.status, gone.reason) == ("failed", "missing")
    assert names(find(tmp_path, "@nul.txt")) == {b"in/a.jpg", b"in/two\nlines.jpg"}
    with pytest.raises(JobError, match="can't be read"):
        find(tmp_path, "@none.txt")


def test_links_are_followed_inside_the_tree_only_and_never_round_in_circles(tmp_path: Path) -> None:
    touch(tmp_path, b"in/real.jpg", b"outside.jpg")
    inside = tmp_path / "in"
    (inside / "again.jpg").symlink_to(inside / "real.jpg")
    (inside / "out.jpg").symlink_to(tmp_path / "outside.jpg")
    (inside / "loop").symlink_to(inside)
    (inside / "self.jpg").symlink_to(inside / "self.jpg")
    found = find(tmp_path, "in")
    assert names(found) == {b"real.jpg", b"again.jpg"}
    skipped = {entry.relative: entry.reason for entry in found if entry.status == "skipped"}
    assert skipped[b"out.jpg"] == "symlink"
    assert {entry.relative for entry in found if entry.status == "failed"} <= {b"self.jpg"}


def test_a_pipe_called_like_an_image_is_skipped_and_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    touch(tmp_path, b"a.jpg")
    (pipe,) = [entry for entry in find(tmp_path, ".") if entry.status]
    assert (pipe.relative, pipe.status, pipe.reason) == (b"pipe.jpg", "skipped", "not_regular")


def test_excluded_inputs_keep_a_row_with_the_reason(tmp_path: Path) -> None:
    touch(tmp_path, b"a.jpg", b"a_thumb.jpg", b"old/b.jpg")
    found = find(tmp_path, ".", exclude=("*_thumb.*", "old/**"))
    assert names(found) == {b"a.jpg"}
    assert {entry.relative: entry.reason for entry in found if entry.status} == {
        b"a_thumb.jpg": "excluded",
        b"old/b.jpg": "excluded",
    }


def test_the_output_is_never_an_input(tmp_path: Path) -> None:
    touch(tmp_path, b"a.jpg", b"out/images/a.jpg", b"other/.rayjobs/tmp/x.jpg")
    assert names(find(tmp_path, ".", output=tmp_path / "out")) == {b"a.jpg"}


def test_a_pattern_that_matches_nothing_says_so(tmp_path: Path) -> None:
    touch(tmp_path, b"notes.txt")
    with pytest.raises(JobError, match=r"matches no image below .*1 \.txt"):
        find(tmp_path, ".")
    with pytest.raises(JobError, match="matches no image"):
        find(tmp_path, "*.jpg")
    with pytest.raises(JobError, match="object stores are not supported"):
        find(tmp_path, "s3://bucket/prefix/")
