"""The six scopes of the colourist, as counts.

Samples are the stored, gamma-encoded R'G'B'; a gray image counts as R = G = B, invisible pixels (alpha 0)
are left out. There are 256 levels:
the sample itself (uint8), its high byte (uint16), or the share of ``float_range`` in 256 equal parts (float32), with
values outside counted at the ends and pixels with a NaN or an infinity left out. Luma is the weighted sum of R'G'B';
for integer samples ``numpy.rint(0.2126 * red + 0.7152 * green + 0.0722 * blue)`` in their units. All scopes that a job
asks for are counted in one walk over the image: see ``scope_counts``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from numpy.typing import NDArray
from pydantic import AfterValidator, Field

from pipelines.alpha_rules import AlphaRule
from pipelines.analyses.registry import Accumulator, Column, Result, analysis
from pipelines.analyses.scope_counts import ScopeAccumulator, ScopeOptions, count_scopes


def _rising(ends: tuple[float, float]) -> tuple[float, float]:
    if not ends[0] < ends[1]:
        raise ValueError("the first value must be below the second")
    return ends


Luma = Annotated[
    Literal["bt709", "bt601"],
    Field(description="Weights of luma: 0.2126, 0.7152, 0.0722 (bt709) or 0.299, 0.587, 0.114 (bt601)"),
]
FloatRange = Annotated[
    tuple[float, float],
    AfterValidator(_rising),
    Field(description="Black and white of float32 images; integer images don't need it"),
]
WHOLE = (0.0, 1.0)


def _accumulator(scope: str) -> Callable[..., Accumulator]:
    def accumulator(*, height: int, width: int, dtype: Any, channels: int, **params: Any) -> Accumulator:
        return ScopeAccumulator(scope, ScopeOptions(**params), width=width)

    return accumulator


def _histogram(name: str) -> Column:
    return Column(name, "uint32[256]", "pixels", f"Pixels per level of {name}.")


def _waveform(name: str, of: str) -> Column:
    return Column(name, "uint32[256,256]", "pixels", f"Pixels per level of {of} (row) and column of the picture.")


def _scope(columns: tuple[Column, ...], *, version: int) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    """Register a scope, which ``scope_counts`` knows by the function's name."""

    def register(function: Callable[..., Result]) -> Callable[..., Result]:
        accumulator = _accumulator(function.__name__)
        as_scope = analysis(
            "scopes", columns=columns, alpha=AlphaRule.VISIBLE, accumulator=accumulator, version=version
        )
        return as_scope(function)

    return register


@_scope(tuple(_histogram(name) for name in ("red", "green", "blue", "luma")), version=3)
def color_histogram(image: NDArray[Any], *, luma: Luma = "bt709", float_range: FloatRange = WHOLE) -> Result:
    """Count the pixels per level of red, green, blue and luma: 256 bins each."""
    return _one(image, "color_histogram", luma=luma, float_range=float_range)


@_scope((_waveform("counts", "luma"),), version=3)
def luma_waveform(image: NDArray[Any], *, luma: Luma = "bt709", float_range: FloatRange = WHOLE) -> Result:
    """Count the pixels per level of luma and place across the picture.

    counts[level, column], both 0 to 255; column = floor(x * 256 / width), so a picture narrower than 256 px leaves
    columns empty.
    """
    return _one(image, "luma_waveform", luma=luma, float_range=float_range)


@_scope(tuple(_waveform(name, name) for name in ("red", "green", "blue")), version=3)
def rgb_parade(image: NDArray[Any], *, float_range: FloatRange = WHOLE) -> Result:
    """Count the pixels per level and place across the picture, for red, green and blue: as luma_waveform."""
    return _one(image, "rgb_parade", float_range=float_range)


@_scope(
    (
        Column("counts", "uint32[360]", "pixels", "Pixels per degree of HSV hue; bin k holds k <= hue < k + 1."),
        Column("achromatic", "uint32", "pixels", "Pixels without a hue: R = G = B."),
    ),
    version=3,
)
def hue_histogram(image: NDArray[Any], *, float_range: FloatRange = WHOLE) -> Result:
    """Count the pixels per degree of HSV hue, and those without a hue.

    Hue: 0 is red, 120 green, 240 blue (Smith 1978, "Color gamut transform pairs"). Only pixels with saturation > 0
    have one. Hues of integer samples are exact: several per cent of an 8-bit photograph lie on whole degrees, which
    formulas on samples divided by 255 miss by a rounding error, and count in the bin below.
    """
    return _one(image, "hue_histogram", float_range=float_range)


@_scope(
    (Column("counts", "uint32[256]", "pixels", "Pixels per 1/256 of HSV saturation; the last bin holds 1."),), version=3
)
def saturation_histogram(image: NDArray[Any], *, float_range: FloatRange = WHOLE) -> Result:
    """Count the pixels per 1/256 of HSV saturation: (max - min) / max of R, G and B, 0 for black."""
    return _one(image, "saturation_histogram", float_range=float_range)


@_scope(
    (
        Column("counts", "uint32[256,256]", "pixels", "Pixels per unit of a* (row) and b* (column), from -128 up."),
        Column("mean_a", "float64", "1", "Mean of a*: green below 0, magenta above.", "Mean a*"),
        Column("mean_b", "float64", "1", "Mean of b*: blue below 0, yellow above.", "Mean b*"),
    ),
    version=4,
)
def lab_chromaticity(image: NDArray[Any], *, float_range: FloatRange = WHOLE) -> Result:
    """Count the pixels per a* and b* of CIELAB, on a grid of 256 x 256 over [-128, 128).

    CIE 1976, white D65 for 2 degrees, transfer function and primaries of sRGB (IEC 61966-2-1), with the constants of
    scikit-image. counts[i, j] holds i - 128 <= a* < i - 127 and j - 128 <= b* < j - 127.
    """
    return _one(image, "lab_chromaticity", float_range=float_range)


def _one(image: NDArray[Any], scope: str, **params: Any) -> Result:
    return count_scopes(image, [(scope, params)])[scope]
