"""Which numbers the report shows, and what they mean to people: labels, units, words, and the four on a card.

Covers choosing columns and words for values. Does not read tables or files.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.models import AnalysisRequest
from pipelines.tables import analyses_schema
from rayjobs.results.duplicates import GROUP_COLUMN
from rayjobs.results.report_numbers import OUTLIER_SCORE, Distributions, OfKinds, number_text

CARD_LINES = 4
CLIPPED_SHARE = 0.05
"""An image with a larger share of its luma at 0 or at white counts as clipped."""
GRAY_SHARE = 0.999
"""Of pixels without a hue: above it an image is gray."""
_NEUTRAL = 0.05
"""Mean a* and b* of a gray picture, in either direction; rounding is less, a cast that one sees is more."""

LUMA_MEAN = "statistics_luma_mean"
WHITE = "statistics_white"
CLIPPED = ("statistics_luma_clipped_low", "statistics_luma_clipped_high")
SHARPNESS = "sharpness_laplacian_variance"
CAST = ("lab_chromaticity_mean_a", "lab_chromaticity_mean_b")
ACHROMATIC = "statistics_achromatic"

_CARD = {
    "Objects": ("objects_count",),
    "Area covered": ("objects_area_share",),
    "Brightness": (LUMA_MEAN,),
    "Clipped": CLIPPED,
    "Cast a*": CAST[:1],
    "Cast b*": CAST[1:],
    "Sharpness": (SHARPNESS,),
    "Noise": ("noise_sigma",),
    "Contrast of texture": ("texture_contrast",),
}
"""What a card shows first, as far as the job measures it."""
_PLAIN = {names[0]: label for label, names in _CARD.items() if len(names) == 1} | {
    CLIPPED[0]: "Clipped, dark",
    CLIPPED[1]: "Clipped, bright",
}
_NO_MEASURE = ("_minimum", "_maximum", "_white", "_significant_bits", "hue_histogram_achromatic")
"""How columns end that say little of an image by themselves: extremes, counts of pixels, how it is stored."""
_SHARES = ("_clipped_low", "_clipped_high", "_share", "_achromatic")
_LOGARITHMIC = (SHARPNESS, "noise_sigma")
_LEAST = 1e-9
_A_WORDS = ((-8.0, "green"), (-2.0, "greenish"), (2.0, "neutral"), (8.0, "reddish"), (math.inf, "red"))
_B_WORDS = ((-8.0, "blue"), (-2.0, "bluish"), (2.0, "neutral"), (8.0, "yellowish"), (math.inf, "yellow"))
_CLIPPED_WORDS = ((0.0005, "none"), (0.01, "little"), (CLIPPED_SHARE, "some"), (math.inf, "much"))
_BRIGHTNESS = ((0.2, "dark"), (0.4, "rather dark"), (0.6, ""), (0.8, "rather bright"), (math.inf, "bright"))
"""Upper bounds and words; brightness as a share of white."""

Words = tuple[tuple[float, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A column of numbers that the report shows."""

    name: str
    label: str
    unit: str
    meaning: str
    is_share: bool
    """Shown in per cent."""
    is_log: bool
    """Compared by its decadic logarithm: it spreads over powers of ten."""

    @property
    def is_signed(self) -> bool:
        """Shown with its sign: it goes both ways from none."""
        return self.name in CAST

    @property
    def plain(self) -> str:
        """As cards call it, which everybody understands; else its label."""
        return _PLAIN.get(self.name, self.label)


@dataclass(frozen=True, slots=True, kw_only=True)
class CardLine:
    """One of the few numbers on a card, or two that belong together."""

    label: str
    columns: tuple[int, ...]
    """Places among the measures."""


def measures(requests: Sequence[AnalysisRequest]) -> list[Measure]:
    """The numbers of a job in the order of its table."""
    fields = [
        field
        for field in analyses_schema(requests)
        if (pa.types.is_floating(field.type) or pa.types.is_integer(field.type))
        and field.name != GROUP_COLUMN
        and not field.name.endswith(_NO_MEASURE)
    ]
    said = [_said(field) for field in fields]
    counts = Counter(each["label"] for each in said)
    return [
        Measure(
            name=field.name,
            label=each["label"] if counts[each["label"]] == 1 else field.name,
            unit="" if each["unit"] == "1" else each["unit"],
            meaning=each["meaning"],
            is_share=field.name.endswith(_SHARES),
            is_log=field.name in _LOGARITHMIC,
        )
        for field, each in zip(fields, said, strict=True)
    ]


def _said(field: pa.Field) -> dict[str, str]:
    return {key: (field.metadata or {}).get(key.encode(), b"").decode() for key in ("label", "unit", "meaning")}


def card_lines(shown: Sequence[Measure]) -> list[CardLine]:
    """The few numbers of a card: known ones first, then the first of each further analysis."""
    places = {measure.name: place for place, measure in enumerate(shown)}
    known = [
        CardLine(label=label, columns=tuple(places[name] for name in names))
        for label, names in _CARD.items()
        if all(name in places for name in names)
    ]
    if known:
        return known[:CARD_LINES]
    return [CardLine(label=shown[place].label, columns=(place,)) for place in range(min(len(shown), CARD_LINES))]


def compared(shown: Sequence[Measure]) -> list[int]:
    """The places of the numbers by which an image may be unlike the others: at most eight, those of cards first."""
    known = {name for names in _CARD.values() for name in names} - set(CLIPPED)  # of many images they are 0
    found = [place for place, measure in enumerate(shown) if measure.name in known]
    return (found or list(range(len(shown))))[:8]


def words(measure: Measure, white: float | None) -> Words:
    """Upper bounds and words of a measure's values, where 1 or ``white`` is white; None: it isn't known."""
    if measure.name == CAST[0]:
        return _A_WORDS
    if measure.name == CAST[1]:
        return _B_WORDS
    if measure.name in CLIPPED:
        return _CLIPPED_WORDS
    if measure.name == LUMA_MEAN and white is not None:
        return tuple((bound * white, word) for bound, word in _BRIGHTNESS)
    return ()


class Kinds:
    """Tells gray images from those in colour, and soft and clipped ones, by their measures, a row per image."""

    def __init__(self, shown: Sequence[Measure]) -> None:
        self._places = {measure.name: place for place, measure in enumerate(shown)}
        self._casts = [place for place, measure in enumerate(shown) if measure.is_signed]
        self._logs = [place for place, measure in enumerate(shown) if measure.is_log]

    def compared(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The values by which images are compared; casts in tenths, so that rounding in gray ones isn't any."""
        scaled = values.copy()
        scaled[:, self._casts] = np.round(values[:, self._casts], 1)
        scaled[:, self._logs] = np.log10(np.maximum(values[:, self._logs], _LEAST))
        return scaled

    def of(self, values: NDArray[np.float64], whites: NDArray[np.float64]) -> OfKinds:
        """The kinds of images, and which are of each.

        They are ``gray`` or ``colour`` (where nothing tells, too), with its bits, or its level of white, unless it has
        8.
        """
        found: dict[str, list[int]] = {}
        for place, (is_gray, white) in enumerate(zip(self._are_gray(values).tolist(), whites.tolist(), strict=True)):
            found.setdefault(_kind(is_gray, white), []).append(place)
        return {kind: np.array(places) for kind, places in found.items()}

    def _are_gray(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        achromatic = self._finite(values, ACHROMATIC)
        casts = np.abs([self._finite(values, name) for name in CAST])
        return np.where(np.isnan(achromatic), (casts < _NEUTRAL).all(axis=0), achromatic > GRAY_SHARE)

    def are_clipped(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Of which images much is clipped."""
        clipped: NDArray[np.bool_] = np.any([self._finite(values, name) > CLIPPED_SHARE for name in CLIPPED], axis=0)
        return clipped

    def are_soft(self, compared: NDArray[np.float64], of_kinds: OfKinds, known: Distributions) -> NDArray[np.bool_]:
        """Which are so much less sharp than those of their kind that they are outliers among them."""
        soft = np.zeros(len(compared), bool)
        place = self._places.get(SHARPNESS)
        for kind, rows in of_kinds.items():
            if place is not None and place in known.get(kind, {}):
                soft[rows] = known[kind][place].scores(compared[rows, place]) <= -OUTLIER_SCORE
        return soft

    def _finite(self, values: NDArray[np.float64], name: str) -> NDArray[np.float64]:
        """A column; NaN for what isn't finite, or not measured."""
        place = self._places.get(name)
        if place is None:
            return np.full(len(values), np.nan)
        return np.where(np.isfinite(values[:, place]), values[:, place], np.nan)


def _kind(is_gray: bool, white: float) -> str:
    kind = "gray" if is_gray else "colour"
    if white == 255 or math.isnan(white):
        return kind
    bits = math.log2(white + 1) if white > 255 else 0.0
    return f"{bits:.0f}-bit {kind}" if bits and bits.is_integer() else f"{kind} (white {number_text(white)})"


def described(shown: Sequence[Measure], white: float | None, *, is_mixed: bool = False) -> Iterator[dict[str, Any]]:
    """The measures as the page's script knows them; ``white``: of all images, unless they are of mixed depths."""
    for measure in shown:
        is_deep = measure.name == LUMA_MEAN and white is not None and white > 1 and white != 255
        of_white = measure.name == LUMA_MEAN and is_mixed
        found = words(measure, 1.0 if of_white else white)
        bounds = [[None if math.isinf(bound) else bound, word] for bound, word in found]
        yield {
            "name": measure.name,
            "label": measure.label,
            "plain": measure.plain,
            "unit": f"of {white:,.0f}" if is_deep else measure.unit,
            "meaning": measure.meaning,
            "share": measure.is_share,
            "signed": measure.is_signed,
            "ofWhite": of_white,
            "words": bounds,
        }
