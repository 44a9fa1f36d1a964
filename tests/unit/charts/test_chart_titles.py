"""Titles come from file names, so from anyone: they are escaped, cleaned and shortened, and never break a chart."""

from __future__ import annotations

import threading
import xml.etree.ElementTree as ET
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipelines.charts import ChartOptions, draw_chart
from pipelines.charts.text import clean_title, drawable, shorten, text_mask, text_width

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


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("\u6f22a\xe9\N{GREEK SMALL LETTER PI}", "\\u6f22a\xe9\N{GREEK SMALL LETTER PI}"),
        ("\u05e9\u05dc.jpg", "\\u05e9\\u05dc.jpg"),
        ("\u0633\u0644\u0627\u0645", "\\u0633\\u0644\\u0627\\u0645"),
        ("\u05e9\u05b0", "\\u05e9\\u05b0"),
        ("\U0001f3b4", "\\U0001f3b4"),
        ("Zu\u0308rich", "Z\xfcrich"),
        ("\u1112\u1161\u11ab", "\\ud55c"),
    ],
    ids=["Chinese", "Hebrew", "Arabic", "vowel sign", "beyond 16 bits", "decomposed", "decomposed Korean"],
)
def test_what_cannot_be_drawn_becomes_its_code(text: str, drawn: str) -> None:
    assert drawable(text) == drawn


SCRIPTS = {
    "Chinese": "\u6f22\u5b57",
    "Japanese": "\u6771\u4eac\u30bf\u30ef\u30fc",
    "Korean": "\ud55c\uad6d",
    "Hebrew": "\u05e9\u05dc\u05d5\u05dd",
    "Arabic": "\u0633\u0644\u0627\u0645",
    "Persian digits": "\u06f1\u06f2\u06f3",
    "Thai": "\u0e44\u0e17\u0e22",
    "Hindi": "\u0939\u093f\u0928",
    "emoji": "\U0001f3b4",
}


def title_pixels(title: str, engine: str) -> np.ndarray:
    """The part of a chart where its title stands."""
    options = ChartOptions(engine=engine, width=1200)
    with Image.open(BytesIO(draw_chart("saturation_histogram", RESULT, title=title, options=options))) as image:
        return np.asarray(image.convert("RGB"))[:26, :800].astype(int)


@pytest.mark.parametrize("engine", ["fast", "matplotlib"])
def test_names_in_every_script_are_drawn_and_never_as_boxes(engine: str) -> None:
    pictures = {}
    for script, name in SCRIPTS.items():
        title = f"{name}.jpg"
        drawn = title_pixels(title, engine)
        np.testing.assert_array_equal(drawn, title_pixels(drawable(title), engine), err_msg=script)
        assert drawable(title) != title or script == "Persian digits"
        pictures[script] = drawn.tobytes()
    assert len(set(pictures.values())) == len(SCRIPTS)


@pytest.mark.parametrize("name", [*SCRIPTS.values(), "caf\xe9", "\u0416\u03a9", "plain"])
def test_both_engines_write_the_same_title(name: str) -> None:
    """The same text at the same place, though their glyphs are smoothed differently."""
    edges = []
    for engine in ("fast", "matplotlib"):
        pixels = title_pixels(f"{name}.jpg", engine)
        ink = np.abs(pixels - pixels[0, 0]).sum(axis=2) > 60
        columns = np.flatnonzero(ink.any(axis=0))
        edges.append((columns[0], columns[-1], ink.sum()))
    (left, right, ink_fast), (other_left, other_right, ink_other) = edges
    assert abs(left - other_left) <= 2
    assert abs(right - other_right) <= 2 + 0.02 * (right - left)
    assert 0.6 < ink_fast / ink_other < 1.7


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
