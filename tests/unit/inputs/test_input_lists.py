"""Inputs by their names: in lists, one by one, with homes, and what can't be a name."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.errors import JobError
from rayjobs.inputs.discovery import Discovery
from rayjobs.inputs.input_lists import MAX_ENTRY_BYTES
from tests.outputs import record
from tests.searches import find, names, reasons, search, touch


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


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfa.jpg\nsub/b.jpg\n",
        b"\xef\xbb\xbfa.jpg\r\nsub/b.jpg",
        b"a.jpg\0sub/b.jpg",
        b"\n\na.jpg\n\nsub/b.jpg\n",
    ],
)
def test_a_byte_order_mark_and_any_end_of_line_say_nothing(tmp_path: Path, content: bytes) -> None:
    touch(tmp_path, b"lists/a.jpg", b"lists/sub/b.jpg")
    (tmp_path / "lists/x.txt").write_bytes(content)
    assert names(find(tmp_path, "@lists/x.txt")) == {b"a.jpg", b"sub/b.jpg"}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_list_in_utf_16_is_told(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "x.txt").write_bytes("fotos/grün.jpg\r\nfotos/a.jpg\r\n".encode(encoding))
    with pytest.raises(JobError, match=r"x\.txt is UTF-16; save it as UTF-8"):
        find(tmp_path, "@x.txt")


def test_a_list_whose_lines_end_with_cr_alone_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes(b"a.jpg\rb.jpg\r")
    with pytest.raises(JobError, match=r"x\.txt has lines that end with CR alone"):
        find(tmp_path, "@x.txt")


@pytest.mark.parametrize("text", ["", "  "])
def test_nothing_is_no_input(tmp_path: Path, text: str) -> None:
    with pytest.raises(JobError, match="names nothing"):
        find(tmp_path, text)


def test_lists_are_read_piece_by_piece(tmp_path: Path) -> None:
    many = [b"dir/%s-%d.jpg" % (b"n" * 90, number) for number in range(3000)]
    for separator in (b"\n", b"\0"):
        (tmp_path / "x.txt").write_bytes(separator.join(many))
        assert [entry.relative for entry in find(tmp_path, "@x.txt")] == many
    for start in (b"", b"a.jpg\n", b"a\0"):
        (tmp_path / "x.txt").write_bytes(start + b"x" * (MAX_ENTRY_BYTES + 1))
        with pytest.raises(JobError, match="no paths in it"):
            find(tmp_path, "@x.txt")


def test_what_lists_name_is_mirrored_without_leaving_upwards(tmp_path: Path) -> None:
    touch(tmp_path, b"a/1.jpg", b"2.jpg", b"home/3.jpg", b"lists/~/4.jpg")
    (tmp_path / "lists/x.txt").write_bytes(b"../a/1.jpg\n%s/2.jpg\n~/4.jpg\n" % bytes(tmp_path))
    assert names(find(tmp_path, "@lists/x.txt")) == {b"a/1.jpg", b"2.jpg", b"~/4.jpg"}


def test_homes_are_expanded_in_inputs_lists_and_exclude(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home[1]"
    monkeypatch.setenv("HOME", str(home))
    touch(home, b"a.jpg", b"b.jpg", b"sub/c.jpg")
    (home / "x.txt").write_bytes(b"~/a.jpg\nsub/c.jpg\n")
    base = tmp_path / "base"
    touch(base, b"~x.jpg")
    assert names(find(base, "~/a.jpg")) == {b"a.jpg"}
    assert names(find(base, "~/*.jpg")) == {b"a.jpg", b"b.jpg"}
    assert names(find(base, "~")) == {b"a.jpg", b"b.jpg", b"sub/c.jpg"}
    assert names(find(base, "@~/x.txt")) == {b"a.jpg", b"sub/c.jpg"}
    assert reasons(find(base, "~", exclude=("~/sub/*.jpg",))) == {b"sub/c.jpg": "excluded"}
    assert names(find(base, "~x.jpg")) == {b"~x.jpg"}


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("s3://bucket/prefix/", "object stores are not supported"),
        ("S3:/bucket/*.jpg", "object stores are not supported"),
        ("@gs://bucket/list.txt", "object stores are not supported"),
        ("$HOME/photos", "not expanded"),
        ("photos/${X}/*.jpg", "not expanded"),
        ("%USERPROFILE%/photos", "not expanded"),
        ("{a,b}" * 9, "alternatives"),
        ("*" * 1001, "1,001 bytes"),
        ("a\0.jpg", "NUL"),
    ],
)
def test_what_can_not_be_meant_is_refused_before_anything_is_searched(
    tmp_path: Path, pattern: str, message: str
) -> None:
    touch(tmp_path, b"a.jpg")
    inputs = search(tmp_path, ".", pattern).inputs()
    with pytest.raises(JobError, match=f"inputs: .*{message}"):
        next(inputs)


def test_addresses_in_a_list_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes(b"s3://bucket/a.jpg\n")
    with pytest.raises(JobError, match="object stores are not supported"):
        find(tmp_path, "@x.txt")


def test_an_at_sign_may_begin_the_name_of_a_file(tmp_path: Path) -> None:
    touch(tmp_path, b"@home/a.jpg", b"@b.jpg", b"b.jpg")
    assert names(find(tmp_path, "@home")) == {b"a.jpg"}
    (tmp_path / "b.jpg").write_bytes(b"@home/a.jpg")
    assert names(find(tmp_path, "@b.jpg")) == {b"@home/a.jpg"}  # a list that is there is a list


def test_one_name_that_is_not_there_is_a_missing_file_only_if_it_looks_like_one(tmp_path: Path) -> None:
    assert reasons(find(tmp_path, "gone/a.JPG", "b[1.tif")) == {b"a.JPG": "missing", b"b[1.tif": "missing"}
    for pattern in ("nas", "nas/", "nas.d/", "folder.jpg/", "notes.txt"):
        with pytest.raises(JobError, match=f"inputs: '{pattern}': there is no {tmp_path}/.*: mount it"):
            find(tmp_path, pattern)


def test_one_name_that_is_not_there_is_a_missing_file_if_it_was_an_input_before(tmp_path: Path) -> None:
    touch(tmp_path, b"a1.raw", b"sub/x.jpg")
    before = {bytes(tmp_path / name) for name in ("scan.raw", "a[1].raw", "$X", "sub")}
    discovery = Discovery(["scan.raw", "a[1].raw", "$X", "sub"], tmp_path, known=before.__contains__)
    found = list(discovery.inputs())
    assert reasons(found) == {b"scan.raw": "missing", b"a[1].raw": "missing", b"$X": "missing"}
    assert names(found) == {b"x.jpg"}


def test_names_that_the_system_does_not_take_are_inputs_that_fail(tmp_path: Path) -> None:
    touch(tmp_path, b"file")
    far = b"gone.jpg\n" * 10_000  # a NUL that comes late separates nothing
    (tmp_path / "x.txt").write_bytes(b"%s.jpg\nfile/a.jpg\n.\n%snul\0.jpg\n" % (b"n" * 300, far))
    assert reasons(find(tmp_path, "@x.txt", own=record(tmp_path / "out", "../a.jpg"), exclude=("y*.jpg",))) == {
        b"n" * 300 + b".jpg": "name_invalid",
        b"file/a.jpg": "missing",
        b".": "not_regular",
        b"gone.jpg": "missing",
        b"nul\0.jpg": "name_invalid",
    }
    assert reasons(find(tmp_path, "n" * 300 + ".jpg")) == {b"n" * 300 + b".jpg": "name_invalid"}
