"""Titles come from file names, so from anyone: they are escaped, cleaned and shortened, and never break a chart."""

from __future__ import annotations

import threading
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.charts import ChartOptions, draw_chart
from pipelines.charts.text import MISSING_GLYPH, clean_title, drawable, shorten, text_mask, text_width

RESULT = {"counts": np.ones(256, np.uint32)}
SVG = "{http://www.w3.org/2000/svg}"


def svg_texts(title: str, engine: str) -> list[str]:
    content = draw_chart("saturation_histogram", RESULT, title=title, options=ChartOptions(format="svg", engine=engine))
    return [element.text or "" for element in ET.fromstring(content).iter(f"{SVG}text")]


@pytest.mark.parametrize("engine", ["fast", "matplotlib"])
@pytest.mark.parametrize(
    "title",
    [
        '<b>&"x',
        "]]><script>alert(1)</script>",
        "$\\frac{1}{2}$",
        "\N{GREEK CAPITAL LETTER OMEGA} caf\xe9",
        "a  b",
        "--><!--",
    ],
)
def test_a_title_stands_in_the_svg_as_it_is(engine: str, title: str) -> None:
    assert title in svg_texts(title, engine)


def test_the_fast_svg_keeps_characters_that_the_font_lacks() -> None:
    assert "\u6f22\u5b57.jpg" in svg_texts("\u6f22\u5b57.jpg", "fast")


@given(st.text(max_size=60))
@settings(max_examples=60, deadline=None)
def test_any_title_gives_well_formed_svg_and_a_png(title: str) -> None:
    assert svg_texts(title, "fast")
    assert draw_chart("saturation_histogram", RESULT, title=title, options=ChartOptions()).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "title", ["", " ", "\udcff\udcfe.jpg", "a\nb\tc\x00", "\u202egpj.exe", "\u6f22\u5b57 \U0001f389", "x" * 100_000],
    ids=["empty", "blank", "undecodable", "control", "bidi", "no glyph", "long"],
)  # fmt: skip
@pytest.mark.parametrize("engine", ["fast", "matplotlib"])
def test_odd_titles_draw_without_warning(engine: str, title: str) -> None:
    for format in ("png", "svg"):
        assert draw_chart(
            "saturation_histogram", RESULT, title=title, options=ChartOptions(engine=engine, format=format)
        )


@pytest.mark.parametrize(
    ("title", "clean"),
    [
        ("a\nb\x00.jpg", "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}.jpg"),
        ("\udcff.jpg", "\N{REPLACEMENT CHARACTER}.jpg"),
        ("\u202egpj.exe", "gpj.exe"),
        ("a\u2028b", "a b"),
        ("  a  b ", "a  b"),
        ("\uffff", "\N{REPLACEMENT CHARACTER}"),
    ],
    ids=["control", "surrogate", "bidi", "line separator", "spaces", "noncharacter"],
)
def test_titles_are_one_harmless_line(title: str, clean: str) -> None:
    assert clean_title(title) == clean


@given(st.text(alphabet="iW.\u6f22_", max_size=200), st.integers(20, 400))
@settings(max_examples=60, deadline=None)
def test_shortened_text_fits_and_keeps_both_ends(text: str, width: int) -> None:
    short = shorten(text, 14, width)
    assert text_width(short, 14) <= width
    if short != text:
        head, tail = short.split("\N{HORIZONTAL ELLIPSIS}")
        assert text.startswith(head)
        assert text.endswith(tail)


def test_a_text_that_fits_is_left_alone() -> None:
    assert shorten("IMG_0042.jpg", 14, 200) == "IMG_0042.jpg"


def test_characters_that_the_font_lacks_become_squares() -> None:
    assert drawable("\u6f22a\xe9\N{GREEK SMALL LETTER PI}") == f"{MISSING_GLYPH}a\xe9\N{GREEK SMALL LETTER PI}"


def test_glyphs_are_read_only_and_as_wide_as_measured() -> None:
    mask, ascent = text_mask("Waveform", 14)
    assert not mask.flags.writeable
    assert abs(mask.shape[1] - text_width("Waveform", 14)) <= 2
    assert 0 < ascent <= mask.shape[0]


def test_settings_of_matplotlib_neither_matter_nor_change() -> None:
    import matplotlib as mpl

    options = ChartOptions(engine="matplotlib", format="svg")
    expected = draw_chart("saturation_histogram", RESULT, title="a", options=options)
    with mpl.rc_context({"font.size": 31.0, "axes.grid": True, "lines.antialiased": False, "svg.hashsalt": "other"}):
        before = dict(mpl.rcParams)
        assert draw_chart("saturation_histogram", RESULT, title="a", options=options) == expected
        assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("engine", ["fast", "matplotlib"])
def test_threads_draw_the_same_bytes(engine: str) -> None:
    options = ChartOptions(engine=engine)
    drawn: list[bytes] = []

    def work() -> None:
        drawn.extend(draw_chart("saturation_histogram", RESULT, title="a", options=options) for _ in range(3))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(drawn) == 12
    assert len(set(drawn)) == 1
