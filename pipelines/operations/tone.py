"""Tone: what a pixel's value becomes.

Values are stored, gamma-encoded samples as a share of full scale: 0 is black, 1 is white (255, 65,535, 1.0). The
operations on single samples (all but autocontrast, equalize, clahe) clip integer images to 0..1 and round half to even;
float32 images are not clipped unless said, and NaN stays NaN. See ``lookup`` for how they run.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, Field, ValidationInfo

from pipelines.alpha_rules import AlphaRule
from pipelines.operations.lookup import Values, apply_curve, look_up, signed_power, tabulated
from pipelines.operations.monotone_curve import monotone_curve
from pipelines.operations.registry import Image, Shares, operation
from pipelines.operations.srgb import from_linear, to_linear

Share = Annotated[float, Field(ge=0, le=1)]
Point = tuple[Share, Share]


def _rising(points: tuple[Point, ...]) -> tuple[Point, ...]:
    if any(right[0] <= left[0] for left, right in pairwise(points)):
        raise ValueError("x must rise from point to point")
    return points


Points = Annotated[tuple[Point, ...], Field(min_length=2, max_length=256), AfterValidator(_rising)]


def _brightness_contrast(values: Values, *, brightness: float, contrast: float) -> Values:
    return (values - 0.5) * contrast + (0.5 + brightness)


@operation("tone", reach="point", table=tabulated(_brightness_contrast))
def brightness_contrast(
    image: Image,
    *,
    brightness: Annotated[float, Field(ge=-1, le=1, description="Added to every value")] = 0.0,
    contrast: Annotated[float, Field(ge=0, le=10, description="Slope around mid gray; 1 changes nothing")] = 1.0,
) -> Image:
    """Shift all values and stretch them around mid gray.

    v' = (v - 0.5) * contrast + 0.5 + brightness.
    """
    return apply_curve(image, _brightness_contrast, brightness=brightness, contrast=contrast)


def _exposure(values: Values, *, stops: float) -> Values:
    return from_linear(to_linear(values) * 2.0**stops)


@operation("tone", reach="point", table=tabulated(_exposure))
def exposure(
    image: Image,
    *,
    stops: Annotated[float, Field(ge=-20, le=20, description="Doublings of the light; 0 changes nothing")] = 0.0,
) -> Image:
    """Multiply the light by a power of two, as a camera's exposure does.

    v' = encode(decode(v) * 2 ** stops), where decode gives linear light by the transfer function of sRGB.
    """
    return apply_curve(image, _exposure, stops=stops)


def _gamma(values: Values, *, gamma: float) -> Values:
    return signed_power(values, gamma)


@operation("tone", reach="point", table=tabulated(_gamma))
def gamma(
    image: Image,
    *,
    gamma: Annotated[float, Field(gt=0, le=100, description="Exponent: above 1 darkens, below 1 brightens")] = 1.0,
) -> Image:
    """Raise all values to a power.

    v' = v ** gamma, as ``skimage.exposure.adjust_gamma`` (which truncates: one level of difference at most).
    """
    return apply_curve(image, _gamma, gamma=gamma)


def _above_in_black(in_white: float, info: ValidationInfo) -> float:
    if in_white <= info.data.get("in_black", 0):
        raise ValueError("must be above in_black")
    return in_white


def _levels(
    values: Values, *, in_black: float, in_white: float, gamma: float, out_black: float, out_white: float
) -> Values:
    share = np.clip((values - in_black) / (in_white - in_black), 0, 1)
    return out_black + share ** (1 / gamma) * (out_white - out_black)


@operation("tone", reach="point", table=tabulated(_levels))
def levels(
    image: Image,
    *,
    in_black: Annotated[float, Field(ge=0, lt=1, description="Input value that becomes out_black")] = 0.0,
    in_white: Annotated[
        float, Field(gt=0, le=1, description="Input value that becomes out_white"), AfterValidator(_above_in_black)
    ] = 1.0,
    gamma: Annotated[float, Field(ge=0.01, le=100, description="Mid tones: above 1 brightens")] = 1.0,
    out_black: Annotated[Share, Field(description="What in_black and all below it become")] = 0.0,
    out_white: Annotated[Share, Field(description="What in_white and all above it become")] = 1.0,
) -> Image:
    """Map an input range to an output range with a gamma between, as the levels dialogue of image editors.

    v' = out_black + s ** (1 / gamma) * (out_white - out_black), where s = (v - in_black) / (in_white - in_black) is
    clipped to 0..1, for float32 as well.
    """
    return apply_curve(
        image, _levels, in_black=in_black, in_white=in_white, gamma=gamma, out_black=out_black, out_white=out_white
    )


def _bend(values: Values, points: Sequence[Point] | None) -> Values:
    if points is None:
        return values
    x, y = np.array(points, np.float64).T
    inside = np.clip(values, 0, 1)
    bent = monotone_curve(x, y, np.clip(inside, x[0], x[-1]))
    with np.errstate(invalid="ignore"):
        return np.asarray(bent + (values - inside))


def _curves(
    values: Values,
    *,
    points: tuple[Point, ...] | None,
    red: tuple[Point, ...] | None,
    green: tuple[Point, ...] | None,
    blue: tuple[Point, ...] | None,
) -> Values:
    if red is green is blue is None:
        return _bend(values, points)
    planes = [values[..., 0], values[..., values.shape[-1] // 2], values[..., -1]]  # one channel counts as three
    channels = [_bend(plane, own) for plane, own in zip(planes, (red, green, blue), strict=True)]
    return _bend(np.stack(channels, axis=-1), points)


@operation("tone", reach="point", table=tabulated(_curves))
def curves(
    image: Image,
    *,
    points: Annotated[Points | None, Field(description="[x, y] pairs in 0..1, x rising; for all channels")] = None,
    red: Annotated[Points | None, Field(description="The same for red alone, before points")] = None,
    green: Annotated[Points | None, Field(description="The same for green alone")] = None,
    blue: Annotated[Points | None, Field(description="The same for blue alone")] = None,
) -> Image:
    """Bend all values, or each channel's, along a smooth curve through given points.

    Piecewise cubic Hermite interpolation that never overshoots (PCHIP, Fritsch and Carlson 1980, to the bit as
    ``scipy.interpolate.PchipInterpolator``): rising points give a rising curve. Left of the first and right of the last
    point the curve is flat. Float32 values outside 0..1 keep their distance from the nearer end. With a curve of its
    own for a channel, a gray image becomes RGB.
    """
    return apply_curve(image, _curves, points=points, red=red, green=green, blue=blue)


def _invert(values: Values) -> Values:
    return 1 - values


@operation("tone", reach="point", table=tabulated(_invert))
def invert(image: Image) -> Image:
    """Turn the picture into its negative.

    v' = 1 - v; exact for integers, so that inverting twice changes nothing.
    """
    return apply_curve(image, _invert)


def _sigmoid(values: Values, *, cutoff: float, gain: float) -> Values:
    return 1 / (1 + np.exp(gain * (cutoff - values)))


@operation("tone", reach="point", table=tabulated(_sigmoid))
def sigmoid(
    image: Image,
    *,
    cutoff: Annotated[Share, Field(description="Value that becomes mid gray")] = 0.5,
    gain: Annotated[float, Field(gt=0, le=100, description="Steepness at the cutoff")] = 10.0,
) -> Image:
    """Raise the contrast around a value and ease it off towards black and white.

    v' = 1 / (1 + exp(gain * (cutoff - v))), as ``skimage.exposure.adjust_sigmoid`` (which truncates: one level of
    difference at most). Always within 0..1; no parameters leave the image as it is.
    """
    return apply_curve(image, _sigmoid, cutoff=cutoff, gain=gain)


@operation("tone", reach="whole", alpha=AlphaRule.VISIBLE, version=2)
def autocontrast(
    image: Image,
    shares: Shares | None = None,
    *,
    low: Annotated[float, Field(ge=0, le=49, description="Percentile that becomes black")] = 0.5,
    high: Annotated[float, Field(ge=51, le=100, description="Percentile that becomes white")] = 99.5,
) -> Image:
    """Stretch the image's own range of values to black and white.

    v' = (v - a) / (b - a), where a and b are the percentiles ``low`` and ``high`` of all samples of all channels
    together (numpy's method ``inverted_cdf``: values that occur), so that colours keep their balance. Integers are
    clipped to 0..1. An image of which a = b stays as it is; what isn't finite isn't counted.
    """
    from pipelines.operations import alpha, tone_kernels

    black, white = tone_kernels.percentiles(alpha.counted(image, shares), (low, high))
    if not white > black:
        return image
    return apply_curve(image, _stretch, black=black, white=white)


def _stretch(values: Values, *, black: float, white: float) -> Values:
    return (values - black) / (white - black)


@operation("tone", reach="whole", alpha=AlphaRule.VISIBLE, version=2)
def equalize(image: Image, shares: Shares | None = None) -> Image:
    """Spread the values so that each brightness is equally frequent (histogram equalization).

    v' = the share of pixels whose value is v or less, as ``skimage.exposure.equalize_hist``: equal for integers (within
    the rounding to a level), with 256 bins over the image's range for float32. Of a colour image the HSV value is
    equalized; hue and saturation stay. An image of a single value stays as it is; what isn't finite isn't counted.
    """
    from pipelines.operations import alpha, tone_kernels

    value = tone_kernels.value_of(image)
    seen = alpha.counted(value, shares)
    if value.dtype.kind == "f":
        return tone_kernels.with_value(image, tone_kernels.equalized_floats(value, seen))
    table = tone_kernels.equalizing_table(seen)
    return tone_kernels.with_value(image, look_up(value, table))


@operation("tone", reach="whole", alpha=AlphaRule.VISIBLE, version=2)
def clahe(
    image: Image,
    shares: Shares | None = None,
    *,
    clip_limit: Annotated[float, Field(gt=0, le=1, description="Largest share of a tile's pixels in one bin")] = 0.01,
    tiles: Annotated[int, Field(ge=1, le=64, description="Tiles across and down the image")] = 8,
) -> Image:
    """Equalize the histogram of each tile with limited contrast, and blend between the tiles (CLAHE).

    Zuiderveld, Graphics Gems IV (1994): 256 bins per tile, clipped at ``clip_limit`` times the tile's pixels, the
    excess spread over all bins; values between bins and places between tile centres are interpolated linearly. Of a
    colour image the HSV value is equalized; hue and saturation stay. ``skimage.exposure.equalize_adapthist`` also
    stretches the image to 0..1 before and after, and counts reflected borders: in photographs that use the whole scale
    it differs by some 3 % of full scale on average, in dark or nearly even ones by a third and more. Float32 values are
    clipped to 0..1; NaN stays NaN and isn't counted. A tile of which nothing counts leaves values as they are.
    ``clip_limit: 1`` limits nothing.
    """
    from pipelines.operations import tone_kernels

    return tone_kernels.with_value(image, tone_kernels.clahe(tone_kernels.value_of(image), clip_limit, tiles, shares))
