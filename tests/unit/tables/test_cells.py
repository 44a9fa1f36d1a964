"""Names and texts as cells."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.tables.cells import printable, readable_path, safe_cell

paths = st.lists(
    st.one_of(st.binary(min_size=1, max_size=3), st.sampled_from([b"\\", b"xff", b"\\xff", "\x85é".encode(), b"u0085"]))
).map(b"".join)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        pytest.param(b"photos/a b.jpg", "photos/a b.jpg", id="ordinary"),
        pytest.param("ç/日本.png".encode(), "ç/日本.png", id="utf-8"),
        pytest.param(b"caf\xe9.jpg", r"caf\xe9.jpg", id="latin-1"),
        pytest.param(b"a\nb\t\x1b[0m", r"a\x0ab\x09\x1b[0m", id="control"),
        pytest.param("evil\u202egpj.exe".encode(), r"evil\u202egpj.exe", id="reversed direction"),
        pytest.param("\x85".encode(), r"\u0085", id="C1 control, not a stray byte"),
        pytest.param(b"a\\b", r"a\\b", id="backslash"),
    ],
)
def test_paths_become_one_readable_line(path: bytes, text: str) -> None:
    assert readable_path(path) == text


@given(paths, paths)
def test_two_paths_never_read_the_same(first: bytes, second: bytes) -> None:
    assert (readable_path(first) == readable_path(second)) == (first == second)


@given(st.binary())
def test_readable_paths_are_valid_text_of_one_line(path: bytes) -> None:
    text = readable_path(path)
    assert len(text.splitlines()) <= 1
    assert text.encode("utf-8").decode("utf-8") == text


@pytest.mark.parametrize("start", list("=+-@\t\r\n\0＝＋－＠﹢⁼"), ids=ascii)  # noqa: RUF001
def test_formula_starts_are_neutralised(start: str) -> None:
    assert safe_cell(f"{start}cmd|' /C calc'!A0") == f"'{start}cmd|' /C calc'!A0"


@pytest.mark.parametrize("text", ["", "a=b", "'quoted", "1-2", "日本", " =1"])
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert safe_cell(text) == text


@given(st.text())
def test_neutralised_cells_never_start_a_formula(text: str) -> None:
    assert safe_cell(text)[:1] not in set("=+-@\t\r\n\0")
    assert safe_cell(text).removeprefix("'") == text.removeprefix("'")


def test_control_characters_are_stripped_but_not_white_space() -> None:
    assert printable("a\0b\x1b[31mc\td\r\ne\x07") == "ab[31mc\td\r\ne"
