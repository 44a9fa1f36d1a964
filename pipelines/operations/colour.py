"""Colour: what a pixel's colour becomes.

Values are stored, gamma-encoded R'G'B' as a share of full scale. A gray image counts as R = G = B: where an operation
tells the three apart the result is RGB; where gray has nothing to change (hue, saturation, white balance) it stays
gray. Integer images are clipped, float32 images are not unless said; a pixel with a NaN in one channel may become NaN
in all. See ``cube_lut`` for the files of lut3d and ``white_point`` for the light behind white_balance.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from pipelines.alpha_rules import AlphaRule
from pipelines.operations import cube_lut
from pipelines.operations.lookup import Values, apply_curve, signed_power, tabulated
from pipelines.operations.registry import Image, Shares, operation
from pipelines.operations.srgb import from_linear, to_linear
from pipelines.operations.white_point import gray_world_gains, temperature_gains, white_patch_gains
from pipelines.registry import NamesFile

Triple = tuple[float, float, float]
Coefficient = Annotated[float, Field(ge=-100, le=100)]
Row = tuple[Coefficient, Coefficient, Coefficient]
Positive = Annotated[float, Field(ge=0.01, le=100)]

Lift = Annotated[float, Field(ge=-1, le=1)]

GRAY_WEIGHTS = {
    "bt709": (0.2126, 0.7152, 0.0722),
    "bt601": (0.299, 0.587, 0.114),
    "average": (1 / 3, 1 / 3, 1 / 3),
    "red": (1.0, 0.0, 0.0),
    "green": (0.0, 1.0, 0.0),
    "blue": (0.0, 0.0, 1.0),
}
GrayMethod = Literal["bt709", "bt601", "average", "red", "green", "blue"]


@operation("colour", reach="point", version=2)
def hue_saturation(
    image: Image,
    *,
    hue: Annotated[float, Field(ge=-180, le=180, description="Turn of the hue in degrees")] = 0.0,
    saturation: Annotated[float, Field(ge=0, le=100, description="Factor; 0 gives gray, 1 changes nothing")] = 1.0,
    value: Annotated[float, Field(ge=0, le=100, description="Factor of the brightness; 1 changes nothing")] = 1.0,
) -> Image:
    """Turn the hue and scale the saturation and the value of HSV.

    H' = H + hue, S' = min(1, S * saturation), V' = V * value, clipped to 1 for integers (Smith, SIGGRAPH 1978).
    Computed in float32: within one level of ``skimage.color.rgb2hsv`` and back for uint8 and uint16. Without a turn no
    hue is computed.
    """
    from pipelines.operations import colour_kernels

    if (hue, saturation, value) == (0, 1, 1):
        return image
    if image.ndim == 2:
        return apply_curve(image, _scale, factor=value)
    return colour_kernels.hue_saturation(image, hue, saturation, value)


def _scale(values: Values, *, factor: float | Values) -> Values:
    return values * factor


@operation("colour", reach="whole", alpha=AlphaRule.VISIBLE, version=2)
def white_balance(
    image: Image,
    shares: Shares | None = None,
    *,
    method: Annotated[
        Literal["gray_world", "white_patch", "temperature"],
        Field(description="From the image's mean, from its brightest parts, or from the light's temperature"),
    ] = "gray_world",
    percentile: Annotated[float, Field(gt=0, le=100, description="white_patch: what counts as bright")] = 99.0,
    kelvin: Annotated[float, Field(ge=2500, le=25000, description="temperature: of the light; higher warms")] = 6504.0,
    tint: Annotated[float, Field(ge=-1, le=1, description="temperature: to green (-) or magenta (+)")] = 0.0,
) -> Image:
    """Scale red, green and blue so that gray things look gray.

    The gains act on linear light (transfer function of sRGB; von Kries in the image's own primaries):
    ``gray_world`` makes the mean of the linear image gray and keeps its luminance (Buchsbaum 1980); ``white_patch``
    raises the given percentile of each channel to the largest of the three (Land and McCann 1971); ``temperature``
    makes light of ``kelvin`` on the Planckian locus look like 6504 K, keeping the luminance of white, after dividing
    green by 2 ** tint. A channel that is black throughout stays black; a gray image stays as it is.
    """
    if image.ndim == 2:
        return image
    if method == "temperature":
        gains = temperature_gains(kelvin, tint)
    else:
        from pipelines.operations import alpha

        seen = alpha.counted(image, shares)
        gains = white_patch_gains(seen, percentile) if method == "white_patch" else gray_world_gains(seen)
    return apply_curve(image, _scale_light, gains=gains)


def _scale_light(values: Values, *, gains: Triple) -> Values:
    return from_linear(to_linear(values) * np.array(gains, values.dtype))


def _color_balance(values: Values, *, lift: Triple, gamma: Triple, gain: Triple) -> Values:
    parameters = np.array([lift, gamma, gain], values.dtype)
    if (parameters == parameters[:, :1]).all():  # nothing tells the channels apart: gray stays gray
        parameters = parameters[:, :1]
    low, power, high = parameters
    return signed_power(high * (values + low * (1 - values)), 1 / power)


@operation("colour", reach="point", table=tabulated(_color_balance))
def color_balance(
    image: Image,
    *,
    lift: Annotated[
        tuple[Lift, Lift, Lift],
        Field(description="Red, green, blue of the shadows; 0 changes nothing"),
    ] = (0.0, 0.0, 0.0),
    gamma: Annotated[tuple[Positive, Positive, Positive], Field(description="Of the mid tones; above 1 brightens")] = (
        1.0,
        1.0,
        1.0,
    ),
    gain: Annotated[tuple[Positive, Positive, Positive], Field(description="Of the highlights; 1 changes nothing")] = (
        1.0,
        1.0,
        1.0,
    ),
) -> Image:
    """Tint shadows, mid tones and highlights: lift, gamma and gain per channel.

    v' = (gain * (v + lift * (1 - v))) ** (1 / gamma), on the stored values; powers of negative values keep the sign.
    """
    return apply_curve(image, _color_balance, lift=lift, gamma=gamma, gain=gain)


@operation("colour", reach="point")
def channel_mixer(
    image: Image,
    *,
    matrix: Annotated[
        tuple[Row, Row, Row], Field(description="Rows: new red, green, blue; columns: old red, green, blue")
    ] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    offset: Annotated[Row, Field(description="Added to new red, green, blue, as a share of full scale")] = (0.0,) * 3,
) -> Image:
    """Mix the channels by a 3 x 3 matrix.

    (R', G', B') = matrix (R, G, B) + offset, computed in float32: within half a level of the exact sum, plus 1e-6.
    """
    from pipelines.operations import colour_kernels

    return colour_kernels.mix_channels(image, np.array(matrix), np.array(offset))


@operation("colour", reach="point")
def grayscale(
    image: Image,
    *,
    method: Annotated[GrayMethod, Field(description="Luma weights, plain mean, or one channel")] = "bt709",
    keep_channels: Annotated[bool, Field(description="Give R = G = B instead of a single channel")] = False,
) -> Image:
    """Make a gray image from the stored values.

    Weights of (R', G', B'): bt709 (0.2126, 0.7152, 0.0722), bt601 (0.299, 0.587, 0.114), average (1/3 each), or one
    channel alone. Integers: the exact weighted sum, halves rounded up. The result has shape (M, N); an image with alpha
    stays RGBA. A gray image stays as it is.
    """
    from pipelines.operations import colour_kernels, planes

    gray = image if image.ndim == 2 else colour_kernels.weighted_sum(image, GRAY_WEIGHTS[method])
    return planes.as_rgb(gray) if keep_channels else gray


@operation("colour", reach="point")
def lut3d(
    image: Image,
    *,
    path: Annotated[
        str,
        Field(min_length=1, description="A .cube file (Adobe Cube LUT 1.0), 1D or 3D"),
        NamesFile(".cube file", cube_lut.load),
    ],
) -> Image:
    """Apply the look of a .cube file.

    3D tables are interpolated tetrahedrally, 1D tables linearly. Values outside the table's domain count as its nearest
    end, for float32 as well. Within one level of the interpolation in float64. The file is read again when its size or
    time changes.
    """
    from pipelines.operations import tetrahedral

    lut = cube_lut.load(path)
    if lut.dimensions == 1:
        return apply_curve(image, lut.interpolate)
    return tetrahedral.interpolate(image, lut.table, lut.domain)
