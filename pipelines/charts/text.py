"""Text on charts: cleaning titles, measuring and shortening them, and the pixels of glyphs.

The font is the DejaVu Sans that comes with matplotlib, so that a chart looks the same on every machine, whatever fonts
and shaping libraries it has. What can't be drawn rightly with it, from left to right and without shaping, is written as
its code: Chinese, Japanese and Korean, which it lacks, and Arabic and Hebrew, whose letters would stand in the wrong
order. So every name is told from every other, and both engines draw the same. matplotlib itself isn't imported.
"""

from __future__ import annotations

import functools
import importlib.util
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import RayjobsError

ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
_FROM_THE_RIGHT = ("R", "AL", "AN")
_MOST_CHARACTERS = 1000  # far more than fits; keeps the search for the right length short


def clean_title(title: str) -> str:
    """Make any text one harmless line.

    Control characters, lone surrogates (undecodable bytes of a file name), private and unassigned characters become
    U+FFFD; invisible formatting such as bidirectional overrides is left out.
    """
    return "".join(map(_visible, title)).strip()


def shorten(text: str, size_px: int, width_px: float) -> str:
    """Cut the middle out of a text that is too long for ``width_px``, so that the number and suffix of a name stay."""
    if len(text) > _MOST_CHARACTERS:
        text = text[: _MOST_CHARACTERS // 2] + text[-_MOST_CHARACTERS // 2 :]
    elif text_width(text, size_px) <= width_px:
        return text
    low, high = 0, len(text)
    while low < high:  # the most characters that fit
        middle = (low + high + 1) // 2
        if text_width(_without_middle(text, middle), size_px) <= width_px:
            low = middle
        else:
            high = middle - 1
    return _without_middle(text, low)


def drawable(text: str) -> str:
    """The text, composed, with a code like ``\\u6f22`` in place of each character that can't be drawn."""
    if text.isascii():
        return text
    found: list[str] = []
    is_code = False
    for character in unicodedata.normalize("NFC", text):
        marks = is_code and unicodedata.combining(character)  # would stand on the code before it
        is_code = bool(marks) or not _is_drawable(character)
        found.append(_code(character) if is_code else character)
    return "".join(found)


def text_width(text: str, size_px: int) -> float:
    """Width of a text in px, as drawn by ``text_mask``."""
    return float(_font(size_px).getlength(drawable(text)))


def text_mask(text: str, size_px: int) -> tuple[NDArray[np.uint8], int]:
    """Coverage 0 to 255 of each px, shape (height, width), and how many of its rows lie above the baseline.

    The labels that all charts share are kept; the array is read-only.
    """
    return _mask(drawable(text), size_px)


@functools.lru_cache(maxsize=512)
def _mask(text: str, size_px: int) -> tuple[NDArray[np.uint8], int]:
    from PIL import Image, ImageDraw

    font = _font(size_px)
    left, top, right, bottom = (round(edge) for edge in font.getbbox(text, anchor="ls"))
    image = Image.new("L", (max(right - min(left, 0), 1), max(bottom - top, 1)))
    ImageDraw.Draw(image).text((-min(left, 0), -top), text, fill=255, font=font, anchor="ls")
    mask = np.array(image)
    mask.flags.writeable = False
    return mask, -top


@functools.cache
def _font(size_px: int) -> Any:
    from PIL import ImageFont

    return ImageFont.truetype(font_path(), size_px, layout_engine=ImageFont.Layout.BASIC)


@functools.cache
def font_path() -> str:
    """The file of DejaVu Sans inside the matplotlib package."""
    found = importlib.util.find_spec("matplotlib")
    for folder in (found.submodule_search_locations or []) if found else []:
        path = Path(folder) / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        if path.is_file():
            return str(path)
    raise RayjobsError("charts need the font DejaVu Sans of the package matplotlib, which isn't installed")


def _code(character: str) -> str:
    return f"\\u{ord(character):04x}" if ord(character) <= 0xFFFF else f"\\U{ord(character):08x}"


@functools.lru_cache(maxsize=4096)
def _is_drawable(character: str) -> bool:
    if character.isascii():
        return True
    return unicodedata.bidirectional(character) not in _FROM_THE_RIGHT and _has_glyph(character)


def _has_glyph(character: str) -> bool:
    font = _font(16)
    here, missing = font.getmask(character), font.getmask("\uffff")
    return (here.size, bytes(here)) != (missing.size, bytes(missing))


def _visible(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cf":
        return ""
    if category in {"Zs", "Zl", "Zp"}:
        return " "
    return "\N{REPLACEMENT CHARACTER}" if category.startswith("C") else character


def _without_middle(text: str, kept: int) -> str:
    tail = kept // 2
    return text[: kept - tail] + ELLIPSIS + text[len(text) - tail :]
