"""How paths may be spelled: homes are expanded, what is no path is refused, and a name that exists is that name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipelines.errors import JobError
from rayjobs.job.path_spelling import expanded, spelled, written_elsewhere


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home [x]"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    return home


@pytest.mark.parametrize(
    "text", ["a.jpg", "./a", "../a b", "/data/x", "a$5.jpg", "100%", "a:b/c", "16:9", "$", "%x", "x~"]
)
def test_plain_paths_stay_as_they_are(tmp_path: Path, text: str) -> None:
    assert expanded(text, what="output", base=tmp_path) == text


def test_a_home_directory_is_expanded(home: Path, tmp_path: Path) -> None:
    assert expanded("~/photos/a.jpg", what="inputs", base=tmp_path) == str(home / "photos/a.jpg")
    assert expanded("~", what="output", base=tmp_path) == str(home)
    assert expanded("~root/x", what="output", base=tmp_path) == os.path.expanduser("~root/x")


def test_the_home_directory_stays_apart_from_the_text_that_may_be_a_pattern(home: Path, tmp_path: Path) -> None:
    assert spelled("~/a[1]/*.jpg", what="inputs", base=bytes(tmp_path)) == (bytes(home), b"a[1]/*.jpg")


def test_a_user_who_does_not_exist_is_part_of_a_name(tmp_path: Path) -> None:
    assert expanded("~nobody-of-that-name.jpg", what="inputs", base=tmp_path) == "~nobody-of-that-name.jpg"


@pytest.mark.parametrize(
    "text", ["~", "~/x", "$HOME", "$HOME/x", "${X}/x", "%USERPROFILE%/x", "s3:/b/x", "C:/x", "a${B}"]
)
def test_a_name_that_exists_is_that_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / text
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    assert expanded(text, what="inputs", base=tmp_path) == text


def test_a_directory_that_is_called_like_a_variable_may_begin_a_pattern(tmp_path: Path) -> None:
    (tmp_path / "$RECYCLE/x").mkdir(parents=True)
    assert expanded("$RECYCLE/x/*.jpg", what="inputs", base=tmp_path) == "$RECYCLE/x/*.jpg"


@pytest.mark.parametrize(
    "text",
    ["$HOME/x", "$HOME", "/data/$USER/x", "${X}/x", "a${X}b.jpg", "%USERPROFILE%", "%USERPROFILE%\\x", "a/%X%/b"],
)
def test_variables_are_refused_with_a_hint(tmp_path: Path, text: str) -> None:
    with pytest.raises(JobError, match=r"output: .* not expanded; write the path, or ~"):
        expanded(text, what="output", base=tmp_path)


@pytest.mark.parametrize("text", ["$RECYCLE.BIN", "**/$RECYCLE.BIN/**", "a%20b%20c.jpg", "price$5", "$5/x"])
def test_names_with_such_signs_are_no_variables(tmp_path: Path, text: str) -> None:
    assert expanded(text, what="exclude", base=tmp_path) == text


@pytest.mark.parametrize("text", ["s3://b/x", "S3://b", "s3:/b", "gs://b", "http://h/x", "file:///x", "abfs+x.y-z://q"])
def test_addresses_are_refused(tmp_path: Path, text: str) -> None:
    for spelling in (text, str(Path(text))):
        with pytest.raises(JobError, match="object stores are not supported yet"):
            expanded(spelling, what="inputs", base=tmp_path)
        assert written_elsewhere(spelling)


@pytest.mark.parametrize("text", ["C:/photos", "d:\\photos\\*.jpg"])
def test_drives_are_refused_with_a_hint(tmp_path: Path, text: str) -> None:
    with pytest.raises(JobError, match="path of Windows"):
        expanded(text, what="inputs", base=tmp_path)


@pytest.mark.parametrize("text", ["a\0b", "a\ud800b"])
def test_what_no_file_can_be_called_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(JobError, match="can't be the name of a file"):
        expanded(text, what="inputs", base=tmp_path)


def test_names_that_are_no_text_are_kept(tmp_path: Path) -> None:
    assert spelled("caf\udce9.jpg", what="inputs", base=bytes(tmp_path)) == (bytes(tmp_path), b"caf\xe9.jpg")
