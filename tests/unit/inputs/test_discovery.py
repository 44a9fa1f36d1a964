"""Finding inputs: no name is lost, no loop is followed, and what is left out says why."""

from __future__ import annotations

import os
import shutil
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import JobError
from rayjobs.inputs.directory_walk import MOST_KINDS, MOST_OPEN, MOST_PROBLEMS, OTHERS
from rayjobs.inputs.glob_patterns import Glob, is_pattern
from tests.leaks import open_below
from tests.outputs import record
from tests.searches import find, names, reasons, search, touch

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
    b"{braces,}.gif",
    b"$HOME.jpg",
    b"~.jpg",
    b"@list.jpg",
    b"UPPER.JPG",
    b"tab\there.bmp",
]


# ---- directories -------------------------------------------------------------------------------------------------


def test_no_name_is_lost(tmp_path: Path) -> None:
    touch(tmp_path, *HOSTILE)
    found = find(tmp_path, ".")
    assert names(found) == set(HOSTILE)
    assert all(entry.size == 1 and entry.mtime_ns > 0 for entry in found)
    for name in HOSTILE:
        assert names(find(tmp_path, os.fsdecode(name))) == {name}
        assert reasons(find(tmp_path, ".", exclude=(os.fsdecode(name),))) == {name: "excluded"}


@settings(max_examples=30, deadline=None)
@given(name=st.binary(min_size=1, max_size=40).filter(lambda b: not set(b) & set(b"\0/") and b not in (b".", b"..")))
def test_any_name_that_a_file_system_takes_is_found(tmp_path_factory: pytest.TempPathFactory, name: bytes) -> None:
    root = tmp_path_factory.mktemp("any")
    touch(root, name + b".png")
    assert names(find(root, ".")) == {name + b".png"}


def test_directories_are_searched_in_depth_and_other_files_counted(tmp_path: Path) -> None:
    touch(tmp_path, b"a/b/c/deep.jpg", b"a/notes.txt", b"a/Thumbs.db", b"plain")
    discovery = search(tmp_path, ".")
    assert names(list(discovery.inputs())) == {b"a/b/c/deep.jpg"}
    assert discovery.ignored == {".txt": 1, ".db": 1, "(no extension)": 1}


def test_kinds_of_ignored_files_without_end_are_counted_together(tmp_path: Path) -> None:
    touch(tmp_path, b"a.jpg", *(b"scan.%d" % number for number in range(MOST_KINDS + 50)))
    discovery = search(tmp_path, ".")
    assert names(list(discovery.inputs())) == {b"a.jpg"}
    assert len(discovery.ignored) == MOST_KINDS + 1
    assert discovery.ignored[OTHERS] == 50


def test_a_directory_called_like_an_image_is_searched(tmp_path: Path) -> None:
    touch(tmp_path, b"folder.jpg/inside.png")
    assert names(find(tmp_path, ".")) == {b"folder.jpg/inside.png"}
    assert names(find(tmp_path, "folder.jpg")) == {b"inside.png"}


def test_directories_deeper_than_may_be_open_at_a_time_are_searched(tmp_path: Path) -> None:
    deepest = tmp_path
    for number in range(3 * MOST_OPEN):
        deepest = deepest / "d"
        deepest.mkdir()
        touch(deepest, b"%d.jpg" % number)

    found, most = 0, 0
    for _ in search(tmp_path, ".").inputs():
        found, most = found + 1, max(most, len(open_below(tmp_path)))
    assert found == 3 * MOST_OPEN
    assert 0 < most <= MOST_OPEN + 1
    assert open_below(tmp_path) == []


def test_a_search_that_is_given_up_leaves_nothing_open(tmp_path: Path) -> None:
    touch(tmp_path, b"a/b/1.jpg", b"a/b/2.jpg")
    inputs = search(tmp_path, ".", own=record(tmp_path / "a", "x.jpg")).inputs()
    next(inputs)
    assert open_below(tmp_path) != []
    assert isinstance(inputs, Iterator)
    inputs.close()  # type: ignore[attr-defined]
    assert open_below(tmp_path) == []


@pytest.mark.parametrize("layout", ["{number:09d}.jpg", "{number:09d}/a.jpg"])
def test_memory_does_not_grow_with_the_number_of_inputs(tmp_path: Path, layout: str) -> None:
    for number in range(3000):
        touch(tmp_path, layout.format(number=number).encode())
    discovery = search(tmp_path, ".", "**/*.{jpg,png}", exclude=("*x.jpg", "x/*.jpg"), own=record(tmp_path / "o", "b"))
    inputs = discovery.inputs()
    next(inputs)
    tracemalloc.start()
    try:
        assert sum(1 for _ in inputs) == 2 * 3000 - 1
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 200_000  # the names alone would take more than the double


def test_a_time_beyond_what_64_bits_hold_is_no_problem(tmp_path: Path) -> None:
    touch(tmp_path, b"future.jpg", b"past.jpg")
    os.utime(tmp_path / "future.jpg", (2**34 - 1, 2**34 - 1))
    os.utime(tmp_path / "past.jpg", (-(2**31), -(2**31)))
    assert all(-(2**63) <= entry.mtime_ns < 2**63 for entry in find(tmp_path, "."))


# ---- patterns ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jpg", {b"top.jpg"}),
        ("**/*.jpg", {b"top.jpg", b"a/one.JPG", b"a/b/two.jpg"}),
        ("**/*.JPG", {b"top.jpg", b"a/one.JPG", b"a/b/two.jpg"}),
        ("a/**", {b"one.JPG", b"b/two.jpg", b"b/two.raw"}),
        ("a/b/two.*", {b"two.jpg", b"two.raw"}),
        ("a/b/*.{jpg,raw}", {b"two.jpg", b"two.raw"}),
        ("{a,x}/**/*.jpg", {b"a/one.JPG", b"a/b/two.jpg"}),
        ("a/[no]ne.jpg", {b"one.JPG"}),
        ("?op.jpg", {b"top.jpg"}),
        ("a/../*.jpg", {b"top.jpg"}),
        ("{here}/*.jpg", {b"top.jpg"}),
        ("*/", {b"a/one.JPG", b"a/b/two.jpg"}),
        ("a/*/", {b"b/two.jpg"}),
    ],
)
def test_globs(tmp_path: Path, pattern: str, expected: set[bytes]) -> None:
    touch(tmp_path, b"top.jpg", b"a/one.JPG", b"a/b/two.jpg", b"a/b/two.raw")
    assert names(find(tmp_path, pattern.replace("{here}", str(tmp_path)))) == expected


def test_the_directory_of_the_job_is_never_read_as_a_pattern(tmp_path: Path) -> None:
    base = tmp_path / "a[1]{x,y}*?"
    touch(base, b"in/one.jpg", b"in/two.png")
    touch(tmp_path, b"a1/in/other.jpg")
    assert names(find(base, "in/*.jpg")) == {b"one.jpg"}
    assert names(find(base, "in")) == {b"one.jpg", b"two.png"}
    assert reasons(find(base, "in/*", exclude=("in/*.png",))) == {b"two.png": "excluded"}
    assert names(find(tmp_path, f"{base}/in/*.png")) == {b"two.png"}  # as its name exists


def test_a_name_that_exists_is_that_name_before_it_is_a_pattern(tmp_path: Path) -> None:
    touch(tmp_path, b"a[1].jpg", b"a1.jpg", b"scans [2024]/x.tif", b"scans 2/y.tif", b"{a,b}/z.jpg", b"a/z.jpg")
    assert names(find(tmp_path, "a[1].jpg")) == {b"a[1].jpg"}
    assert names(find(tmp_path, "scans [2024]")) == {b"x.tif"}
    assert names(find(tmp_path, "scans [2024]/*.tif")) == {b"x.tif"}
    assert names(find(tmp_path, "{a,b}/*.jpg")) == {b"z.jpg"}
    assert {entry.path for entry in find(tmp_path, "{a,b}/z.jpg")} == {bytes(tmp_path / "{a,b}/z.jpg")}
    assert reasons(find(tmp_path, "scans [2024]/gone.tif")) == {b"gone.tif": "missing"}


@pytest.fixture(scope="module")
def small_names(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("small")
    touch(root, *(b"/".join(path) for path in product([b"a", b"b", b"ab"], [b"a", b"ba"], [b"a", b"b", b"aa"])))
    touch(root, b"f", b"a/f", b"b/f", b"ba")
    return root


@settings(max_examples=200, deadline=None)
@given(pattern=st.text("abf*?/{},", min_size=1, max_size=9).filter(lambda text: is_pattern(text.encode())))
def test_a_search_finds_what_the_pattern_matches_and_nothing_else(small_names: Path, pattern: str) -> None:
    everything = [bytes(path.relative_to(small_names)) for path in small_names.rglob("*") if path.is_file()]
    typed = pattern.strip("/")
    matching = {path for path in everything if Glob.parse(typed.encode()).matches(path)}
    found = set()
    with suppress(JobError):  # when nothing matches
        found = {entry.path for entry in find(small_names, typed)}
    assert found == {bytes(small_names) + b"/" + path for path in matching}


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Names of the directories that are listed, in the course of a test."""
    seen: list[bytes] = []
    scandir = os.scandir

    def noting(path: bytes) -> object:
        seen.append(os.path.basename(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", noting)
    return seen


@pytest.mark.parametrize(
    ("pattern", "exclude", "entered"),
    [
        ("in/*.jpg", (), {b"in"}),
        ("in/a/*.jpg", (), {b"a"}),
        ("in/*/*.jpg", (), {b"in", b"a", b"c"}),
        ("in/{a,x}/**/*.jpg", (), {b"in", b"a", b"b"}),
        ("in", ("b",), {b"in", b"a", b"c"}),
        ("in/**/*.jpg", ("**/b/**", "c/"), {b"in", b"a"}),
    ],
)
def test_only_directories_that_may_hold_inputs_are_entered(
    tmp_path: Path, listed: list[bytes], pattern: str, exclude: tuple[str, ...], entered: set[bytes]
) -> None:
    touch(tmp_path, b"in/0.jpg", b"in/a/1.jpg", b"in/a/b/2.jpg", b"in/c/3.jpg")
    find(tmp_path, pattern, exclude=exclude)
    assert set(listed) == entered


# ---- links and things that are no files --------------------------------------------------------------------------


def test_links_are_followed_inside_the_tree_only_and_never_round_in_circles(tmp_path: Path) -> None:
    touch(tmp_path, b"in/real.jpg", b"outside.jpg")
    inside = tmp_path / "in"
    (inside / "again.jpg").symlink_to(inside / "real.jpg")
    (inside / "out.jpg").symlink_to(tmp_path / "outside.jpg")
    (inside / "loop").symlink_to(inside)
    (inside / "self.jpg").symlink_to(inside / "self.jpg")
    (inside / "broken.jpg").symlink_to(inside / "none.jpg")
    found = find(tmp_path, "in")
    assert names(found) == {b"real.jpg", b"again.jpg"}
    assert reasons(found) == {
        b"out.jpg": "symlink",
        b"loop": "symlink",
        b"self.jpg": "missing",
        b"broken.jpg": "missing",
    }


@pytest.mark.parametrize(
    ("pattern", "rows"),
    [
        (".", {b"link", b"sub/link"}),
        ("**/*.jpg", {b"link", b"sub/link"}),
        ("*/*.jpg", {b"link"}),
        ("*.jpg", set()),
        ("sub/l*/**", {b"link"}),
        ("s*/*.jpg", set()),
        ("*/", {b"link", b"sub/link"}),
        ("*", {b"link"}),
    ],
)
def test_a_linked_directory_that_would_have_been_searched_has_a_row(
    tmp_path: Path, pattern: str, rows: set[bytes]
) -> None:
    touch(tmp_path, b"elsewhere/a.jpg", b"in/b.jpg", b"in/sub/c.jpg", b"in/sub/deep/d.jpg")
    for place in ("in/link", "in/sub/link"):
        (tmp_path / place).symlink_to(tmp_path / "elsewhere")
    found = find(tmp_path / "in", pattern)
    assert {name for name, reason in reasons(found).items() if reason == "symlink"} == rows


def test_a_linked_directory_that_is_excluded_has_no_row(tmp_path: Path) -> None:
    touch(tmp_path, b"elsewhere/a.jpg", b"in/b.jpg")
    (tmp_path / "in/link").symlink_to(tmp_path / "elsewhere")
    discovery = search(tmp_path, "in", exclude=("link",))
    assert reasons(list(discovery.inputs())) == {}
    assert discovery.excluded_directories == [str(tmp_path / "in/link")]


def test_a_linked_directory_that_is_named_is_searched(tmp_path: Path) -> None:
    touch(tmp_path, b"elsewhere/a.jpg", b"elsewhere/b.jpg")
    (tmp_path / "elsewhere/c.jpg").symlink_to("a.jpg")
    (tmp_path / "link").symlink_to("elsewhere")
    for pattern in ("link", "link/", "link/*.jpg", "link/**"):
        assert names(find(tmp_path, pattern)) == {b"a.jpg", b"b.jpg", b"c.jpg"}


def test_a_pipe_called_like_an_image_is_skipped_and_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    touch(tmp_path, b"a.jpg")
    (pipe,) = [entry for entry in find(tmp_path, ".") if entry.status]
    assert (pipe.relative, pipe.status, pipe.reason) == (b"pipe.jpg", "skipped", "not_regular")


# ---- exclude -----------------------------------------------------------------------------------------------------


def test_excluded_files_keep_a_row_and_excluded_directories_are_told(tmp_path: Path) -> None:
    touch(tmp_path, b"a.jpg", b"a_thumb.JPG", b"old/b.jpg", b"new/old/c.jpg", b"new/d.jpg")
    discovery = search(tmp_path, ".", exclude=("*_thumb.jpg", "old/**", "new/old"))
    found = list(discovery.inputs())
    assert names(found) == {b"a.jpg", b"new/d.jpg"}
    assert reasons(found) == {b"a_thumb.JPG": "excluded"}
    assert sorted(discovery.excluded_directories) == [str(tmp_path / "new/old"), str(tmp_path / "old")]


def test_a_name_that_exists_is_that_name_in_exclude(tmp_path: Path) -> None:
    touch(tmp_path, b"a[1].jpg", b"a1.jpg", b"deep/er/a[1].jpg", b"deep/er/a1.jpg", b"deep/a1.jpg")
    excluded = {b"a[1].jpg": "excluded", b"deep/er/a[1].jpg": "excluded", b"deep/a1.jpg": "excluded"}
    assert reasons(find(tmp_path, ".", exclude=("a[1].jpg",))) == excluded
    assert reasons(find(tmp_path, ".", exclude=("./a[1].jpg",))) == {b"a[1].jpg": "excluded"}


def test_named_files_are_excluded_alike(tmp_path: Path) -> None:
    touch(tmp_path, b"a.jpg", b"sub/b.jpg", b"sub/c.jpg")
    (tmp_path / "x.txt").write_bytes(b"a.jpg\nsub/b.jpg\nsub/c.jpg\n")
    assert reasons(find(tmp_path, "@x.txt", exclude=("sub",))) == {b"sub/b.jpg": "excluded", b"sub/c.jpg": "excluded"}
    assert reasons(find(tmp_path, "sub/b.jpg", exclude=("sub/*.jpg",))) == {b"b.jpg": "excluded"}


# ---- what is missing ---------------------------------------------------------------------------------------------


def test_a_pattern_that_matches_nothing_says_so(tmp_path: Path) -> None:
    touch(tmp_path, b"notes.txt", b"sub/more.txt", b"out/x.jpg")
    with pytest.raises(JobError, match=r"matches no image below .*2 \.txt"):
        find(tmp_path, ".", exclude=("out",))
    with pytest.raises(JobError, match="matches no image"):
        find(tmp_path, "*.jpg")
    with pytest.raises(JobError, match="directories that match: 2; with a / at the end"):
        find(tmp_path, "*u*")
    with pytest.raises(JobError, match="directories that `exclude` leaves out: 1"):
        find(tmp_path, ".", exclude=("out",))
    with pytest.raises(JobError, match="results of jobs, which are no inputs: 1"):
        find(tmp_path, "r", own=record(tmp_path / "r", "images/a.jpg"))
    with pytest.raises(JobError, match="is left out by `exclude`"):
        find(tmp_path, "out", exclude=("out/**",))
    (tmp_path / "empty.txt").write_bytes(b"\n")
    with pytest.raises(JobError, match="names no file"):
        find(tmp_path, "@empty.txt")


def test_all_that_is_missing_is_told_at_once_after_the_search(tmp_path: Path) -> None:
    touch(tmp_path, b"in/a.jpg", b"file")
    inputs = search(tmp_path, "fotos/**/*.png", "in", "*.gif", "nas/", "file/*.jpg").inputs()
    assert next(inputs).relative == b"a.jpg"
    with pytest.raises(JobError) as error:
        next(inputs)
    text = str(error.value)
    assert text.startswith(f"inputs: 'fotos/**/*.png': the directory {tmp_path}/fotos doesn't exist")
    assert f"'*.gif': matches no image below {tmp_path}" in text
    assert f"'nas/': there is no {tmp_path}/nas: mount it" in text
    assert f"'file/*.jpg': the directory {tmp_path}/file doesn't exist" in text


def test_a_directory_that_can_not_be_listed_ends_the_job_unless_it_is_excluded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, b"a.jpg", b"private/b.jpg", b"sub/private/c.jpg")
    scandir = os.scandir

    def refusing(path: bytes) -> object:
        if os.path.basename(path) == b"private":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(JobError) as error:
        find(tmp_path, ".")
    for name in ("private", "sub/private"):
        told = (
            f"'.': the directory {tmp_path}/{name} can't be listed (Permission denied): make it readable, or exclude it"
        )
        assert told in str(error.value)
    assert names(find(tmp_path, ".", exclude=("private",))) == {b"a.jpg"}


def test_a_directory_that_vanishes_while_it_is_searched_ends_the_job(tmp_path: Path) -> None:
    touch(tmp_path, b"a/1.jpg", b"b/2.jpg")
    inputs = search(tmp_path, ".").inputs()
    first = next(inputs)
    other = "b" if first.relative.startswith(b"a") else "a"
    shutil.rmtree(tmp_path / other)
    with pytest.raises(JobError, match=f"the directory {tmp_path}/{other} vanished while it was searched"):
        list(inputs)


def test_a_directory_too_deep_for_the_system_ends_the_job(tmp_path: Path) -> None:
    touch(tmp_path, b"a.jpg")
    before, deepest = os.getcwd(), tmp_path
    try:
        os.chdir(deepest)
        for _ in range(20):
            os.mkdir("d" * 250)
            os.chdir("d" * 250)
    finally:
        os.chdir(before)
    with pytest.raises(JobError, match=r"can't be listed .*File name too long"):
        find(tmp_path, ".")
    shutil.rmtree(tmp_path / ("d" * 250))


def test_problems_without_end_are_counted(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"; and 7 more$"):
        find(tmp_path, *(f"gone-{number}/" for number in range(MOST_PROBLEMS + 7)))
