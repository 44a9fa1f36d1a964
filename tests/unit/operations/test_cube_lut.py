"""Reading .cube files: what they may say, and how the wrong ones are refused."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from pipelines.operations import cube_lut
from pipelines.operations.cube_lut import CubeLutError, load, parse

CORNERS = "\n".join(f"{r} {g} {b}" for b in (0, 1) for g in (0, 1) for r in (0, 1))


def test_red_runs_fastest_in_a_3d_table() -> None:
    lut = parse(f'# a comment\nTITLE "Late \u2028 autumn"\nLUT_3D_SIZE 2\n\n{CORNERS}\n', "x.cube")
    assert (lut.title, lut.dimensions, lut.table.shape) == ("Late \u2028 autumn", 3, (2, 2, 2, 3))
    assert lut.table[0, 0, 1].tolist() == [1, 0, 0]
    assert lut.table[1, 0, 0].tolist() == [0, 0, 1]
    assert lut.domain == ((0, 0, 0), (1, 1, 1))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_any_line_end_tabs_and_blanks_will_do(end: str) -> None:
    text = end.join(["LUT_1D_SIZE\t2", "DOMAIN_MIN\t-1 0 0", "  DOMAIN_MAX 1 2   3 ", "0\t0 0", " 1 .5 1e-1 "])
    lut = parse(text, "x.cube")
    assert lut.domain == ((-1, 0, 0), (1, 2, 3))
    assert_allclose(lut.table[1], [1, 0.5, 0.1])


def test_input_range_sets_the_domain_of_all_channels() -> None:
    assert parse("LUT_1D_SIZE 2\nLUT_1D_INPUT_RANGE 0.5 2\n0 0 0\n1 1 1", "x").domain == ((0.5,) * 3, (2,) * 3)


def test_a_1d_table_is_linear_between_its_entries_and_flat_outside() -> None:
    lut = parse("LUT_1D_SIZE 3\n0 0 0\n0.2 0.4 0.5\n1 1 1", "x")
    values = np.array([[-1.0], [0.25], [0.75], [2.0]])
    assert_allclose(lut.interpolate(values), [[0, 0, 0], [0.1, 0.2, 0.25], [0.6, 0.7, 0.75], [1, 1, 1]], atol=1e-7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "x.cube: neither LUT_1D_SIZE nor LUT_3D_SIZE"),
        ("0 0 0", "x.cube, line 1: a row before the size"),
        ("LUT_3D_SIZE 2\n0 0 0", "x.cube: 1 rows; a table of this size has 8"),
        ("LUT_1D_SIZE 2\n0 0 0\n1 1 1\n2 2 2", "x.cube, line 4: more rows"),
        ("LUT_1D_SIZE 2\n0 0 0\n1 1", "x.cube, line 3: expected 3 numbers, found '1 1'"),
        ("LUT_1D_SIZE 2\n0 0\n1 1", "x.cube, line 2: expected 3 numbers, found '0 0'"),
        ("LUT_1D_SIZE 2\n0 0 0\n# so\n1 1 one", "x.cube, line 4: expected 3 numbers, found '1 1 one'"),
        ("LUT_1D_SIZE 2\n0 0 0\n1 1 nan", "x.cube, line 3: expected 3 numbers"),
        ("LUT_1D_SIZE 2\n0 0 0\n1 1 1e300", "x.cube, line 3: expected 3 numbers"),
        ("LUT_1D_SIZE 2\n0 0 0\nTITLE late\n1 1 1", "x.cube, line 3: 'TITLE' stands among the rows"),
        ("LUT_3D_SIZE 1", "x.cube, line 1: the size of a 3D table"),
        ("LUT_3D_SIZE 100000", "x.cube, line 1: the size of a 3D table"),
        ("LUT_3D_SIZE \u00b2", "x.cube, line 1: the size of a 3D table"),
        ("LUT_1D_SIZE 2\nLUT_3D_SIZE 2", "x.cube, line 2: a second"),
        ("LUT_IN_VIDEO_RANGE", "x.cube, line 1: unknown keyword 'LUT_IN_VIDEO_RANGE'"),
        ("LUT_1D_SIZE 2\nDOMAIN_MIN 1 0 0\n0 0 0\n1 1 1", "x.cube: the domain's minimum"),
        ("DOMAIN_MAX 1 1", "x.cube, line 1: expected 3 numbers"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(CubeLutError, match=message):
        parse(text, "x.cube")


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "look.cube"
    path.write_text("LUT_1D_SIZE 2\n0 0 0\n1 1 1")
    first = load(str(path))
    assert load(str(path)) is first
    path.write_text("LUT_1D_SIZE 2\n0 0 0\n2 2 2")
    os.utime(path, ns=(1, 1))
    assert load(str(path)).table.max() == 2


def test_a_missing_or_oversized_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = str(tmp_path / "none.cube")
    with pytest.raises(CubeLutError, match=r"none\.cube: No such file"):
        load(missing)
    monkeypatch.setattr(cube_lut, "MAX_FILE_BYTES", 3)
    path = tmp_path / "big.cube"
    path.write_text("LUT_1D_SIZE 2")
    with pytest.raises(CubeLutError, match="13 bytes"):
        load(str(path))


def test_a_byte_order_mark_and_bytes_that_are_no_text_in_titles_and_comments_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "look.cube"
    path.write_bytes(b'\xef\xbb\xbfTITLE "sp\xe4t"\r\n# \xff\xfe\r\nLUT_1D_SIZE 2\r\n0 0 0\r\n1 1 1\r\n')
    lut = load(str(path))
    assert lut.title == "sp\N{REPLACEMENT CHARACTER}t"
    assert lut.table.tolist() == [[0, 0, 0], [1, 1, 1]]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_told_in_words(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "look.cube"
    path.write_text("TITLE a\nLUT_1D_SIZE 2\n0 0 0\n1 1 1\n", encoding=encoding)
    with pytest.raises(CubeLutError, match=r"look\.cube: is UTF-16 text; save it as UTF-8"):
        load(str(path))


def test_what_is_no_regular_file_is_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.cube")
    with pytest.raises(CubeLutError, match=r"pipe\.cube: is no file; give the path of a \.cube file"):
        load(str(tmp_path / "pipe.cube"))
    with pytest.raises(CubeLutError, match="is a directory; give"):
        load(str(tmp_path))
    with pytest.raises(CubeLutError, match=r"no path: embedded null byte"):
        load("a\0b")


@settings(max_examples=50)
@given(st.lists(st.tuples(*[st.floats(-999_999, 999_999)] * 3), min_size=2, max_size=20))
def test_every_number_is_read_as_the_nearest_float32(rows: list[tuple[float, float, float]]) -> None:
    text = "\n".join(" ".join(map(repr, row)) for row in rows)
    table = parse(f"LUT_1D_SIZE {len(rows)}\n{text}", "x.cube").table
    assert table.dtype == np.float32
    assert (table == np.array(rows, np.float32)).all()
