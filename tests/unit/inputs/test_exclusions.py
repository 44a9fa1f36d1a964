"""What is left out: names anywhere, paths below a root or relative to the job, and names that exist before patterns."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipelines.errors import JobError
from rayjobs.inputs.exclusions import Exclusions


def touch(root: Path, *relative: str) -> None:
    for name in relative:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def left_out(base: Path, root: Path, *patterns: str) -> tuple[set[str], set[str]]:
    """(files, directories) that are left out below a root; directories that are aren't entered."""
    files, directories = set(), set()
    start = Exclusions(patterns, bytes(base)).below(bytes(root))
    waiting = [] if start.whole else [(root, start)]
    while waiting:
        directory, here = waiting.pop()
        for path in directory.iterdir():
            name = os.fsencode(path.name)
            taken = here.takes(name, is_directory=path.is_dir())
            if taken:
                (directories if path.is_dir() else files).add(str(path.relative_to(root)))
            elif path.is_dir():
                waiting.append((path, here.enter(name)))
    return files, {"."} if start.whole else directories


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    touch(tmp_path, "in/a.jpg", "in/b.JPG", "in/a_thumb.jpg", "in/sub/a.jpg", "in/sub/c_thumb.png")
    touch(tmp_path, "in/drafts/d.jpg", "in/sub/drafts/e.jpg", "in/sub/deep/drafts/f/g.jpg", "in/drafts.jpg")
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "files", "directories"),
    [
        ("*_thumb.*", {"a_thumb.jpg", "sub/c_thumb.png"}, set()),
        ("a.jpg", {"a.jpg", "sub/a.jpg"}, set()),
        ("./a.jpg", {"a.jpg"}, set()),
        ("*.{jpg}", set(), set()),
        (
            "?.{jpg,png}",
            {"a.jpg", "b.JPG", "sub/a.jpg", "drafts/d.jpg", "sub/drafts/e.jpg", "sub/deep/drafts/f/g.jpg"},
            set(),
        ),
        ("drafts", set(), {"drafts", "sub/drafts", "sub/deep/drafts"}),
        ("drafts/", set(), {"drafts", "sub/drafts", "sub/deep/drafts"}),
        ("drafts*/", set(), {"drafts", "sub/drafts", "sub/deep/drafts"}),
        ("drafts*", {"drafts.jpg"}, {"drafts", "sub/drafts", "sub/deep/drafts"}),
        ("drafts/**", set(), {"drafts"}),
        ("**/drafts/**", set(), {"drafts", "sub/drafts", "sub/deep/drafts"}),
        ("**/drafts", set(), {"drafts", "sub/drafts", "sub/deep/drafts"}),
        ("sub/drafts", set(), {"sub/drafts"}),
        ("sub/*", {"sub/a.jpg", "sub/c_thumb.png"}, {"sub/drafts", "sub/deep"}),
        ("drafts/*", {"drafts/d.jpg"}, set()),
        ("sub/**/drafts", set(), {"sub/drafts", "sub/deep/drafts"}),
        ("{sub,drafts}/**", set(), {"sub", "drafts"}),
        ("in/sub", set(), {"sub"}),
        ("in/sub/*/", set(), {"sub/drafts", "sub/deep"}),
        ("in/*/a.jpg", {"sub/a.jpg"}, set()),
        ("../x/in/sub", set(), set()),
        ("nothing", set(), set()),
        ("", set(), set()),
    ],
)
def test_what_a_pattern_leaves_out(tree: Path, pattern: str, files: set[str], directories: set[str]) -> None:
    assert left_out(tree, tree / "in", pattern) == (files, directories)


@pytest.mark.parametrize("pattern", ["in", "./in", "in/**", "{base}/in", "{base}/**", "../{name}/in"])
def test_a_root_may_be_left_out_itself(tree: Path, pattern: str) -> None:
    filled = pattern.replace("{base}", str(tree)).replace("{name}", tree.name)
    expected = (set(), set()) if pattern == "in" else (set(), {"."})  # a bare name is a name below the root
    assert left_out(tree, tree / "in", filled) == expected


def test_absolute_patterns_and_homes_are_just_that(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tree / "in"))
    for pattern in (f"{tree}/in/sub/*.jpg", "~/sub/*.jpg", "~/sub/a.jpg"):
        assert left_out(tree, tree / "in", pattern) == ({"sub/a.jpg"}, set())
    assert left_out(tree, tree / "in", "~/drafts") == (set(), {"drafts"})
    assert left_out(tree, tree / "in", "~") == (set(), {"."})


def test_a_path_that_is_there_means_nothing_else(tmp_path: Path) -> None:
    touch(tmp_path, "in/x/a[1].jpg", "in/x/a1.jpg", "in/y/b[1].jpg", "in/y/b1.jpg", "in/z/c1.jpg")
    assert left_out(tmp_path, tmp_path / "in", "x/a[1].jpg") == ({"x/a[1].jpg"}, set())
    assert left_out(tmp_path, tmp_path / "in", "in/y/b[1].jpg") == ({"y/b[1].jpg"}, set())
    assert left_out(tmp_path, tmp_path / "in", f"{tmp_path}/in/y/b[1].jpg") == ({"y/b[1].jpg"}, set())
    assert left_out(tmp_path, tmp_path / "in", "z/c[1].jpg") == ({"z/c1.jpg"}, set())


def test_a_name_that_a_directory_has_means_nothing_else_there(tmp_path: Path) -> None:
    touch(tmp_path, "a[1].jpg", "a1.jpg", "sub/a[1].jpg", "sub/a1.jpg", "other/a1.jpg", "other/b.jpg", "more/A1.JPG")
    assert left_out(tmp_path, tmp_path, "a[1].jpg") == ({"a[1].jpg", "sub/a[1].jpg", "other/a1.jpg"}, set())
    touch(tmp_path, "x.jpg", "x.JPG", "sub/x.JPG")
    assert left_out(tmp_path, tmp_path, "x.jpg") == ({"x.jpg", "sub/x.JPG"}, set())


def test_the_directory_of_the_job_is_never_a_pattern(tmp_path: Path) -> None:
    base = tmp_path / "a[1]{x,y}*"
    touch(base, "in/old/a.jpg", "in/new/a.jpg")
    touch(tmp_path, "a1/in/old/a.jpg")
    assert left_out(base, base / "in", "in/o*/a.jpg") == ({"old/a.jpg"}, set())


@pytest.mark.parametrize(
    ("pattern", "path", "relative", "taken"),
    [
        ("*_thumb.*", "in/a_thumb.jpg", "a_thumb.jpg", True),
        ("*_thumb.*", "in/a.jpg", "a.jpg", False),
        ("drafts", "in/drafts/d.jpg", "drafts/d.jpg", True),
        ("drafts", "in/drafts/d.jpg", "d.jpg", False),
        ("drafts/**", "in/drafts/d.jpg", "drafts/d.jpg", True),
        ("in/drafts", "in/drafts/d.jpg", "d.jpg", True),
        ("in/dr*/**", "in/drafts/d.jpg", "d.jpg", True),
        ("sub/*.jpg", "in/sub/a.jpg", "sub/a.jpg", True),
        ("drafts.jpg/", "in/drafts.jpg", "drafts.jpg", False),
        ("in/a.jpg", "in/a.jpg", "a.jpg", True),
        ("in/a.jpg", "in/sub/a.jpg", "a.jpg", False),
        ("sub/*.jpg", "in/sub/a.jpg", "x/sub/a.jpg", False),
    ],
)
def test_files_that_are_named_themselves_are_left_out_alike(
    tree: Path, pattern: str, path: str, relative: str, taken: bool
) -> None:
    exclusions = Exclusions([pattern], bytes(tree))
    for _ in range(2):
        assert exclusions.take_file(bytes(tree / path), relative.encode()) is taken


def test_a_file_at_the_top_of_the_system_may_be_left_out() -> None:
    assert Exclusions(["*.jpg"], b"/x").take_file(b"/a.jpg", b"a.jpg")
    assert Exclusions(["/*.jpg"], b"/x").take_file(b"/a.jpg", b"a.jpg")


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("$HOME/x", "exclude: .*not expanded"),
        ("s3://b/x", "exclude: .*object stores"),
        ("{a,b}" * 9, "exclude: .*alternatives"),
        ("x" * 1001, "exclude: .*1,001 bytes"),
        ("a\0b", "exclude: .*NUL"),
    ],
)
def test_what_can_not_be_meant_is_refused(tmp_path: Path, pattern: str, message: str) -> None:
    with pytest.raises(JobError, match=message):
        Exclusions([pattern], bytes(tmp_path))
