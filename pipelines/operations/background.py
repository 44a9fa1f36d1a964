"""Background: uneven light, and the haze below bright objects, taken away before anything is counted.

Both methods estimate the background from the image itself, channel by channel; pictures of an empty field are not
read. Kernels and OpenCV are imported when the operation runs.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from pipelines.alpha_rules import AlphaRule
from pipelines.operations.filters import weighted_blur
from pipelines.operations.registry import Image, Shares, operation
from pipelines.operations.samples import Plane, float_planes, full_scale, interleaved

LEAST_LIGHT = 1e-3
"""Flat field: where the light is less than this share of its mean, it counts as this much."""


@operation("filters", reach="whole", alpha=AlphaRule.VISIBLE, version=2)
def background(
    image: Image,
    shares: Shares | None = None,
    *,
    method: Annotated[
        Literal["rolling_ball", "flat_field"],
        Field(description="rolling_ball: takes off what lies below objects; flat_field: evens out the light"),
    ] = "rolling_ball",
    radius: Annotated[
        int, Field(ge=1, le=200, description="Pixels: of the ball, larger than any object; of the blur (2 deviations)")
    ] = 50,
    polarity: Annotated[
        Literal["bright", "dark"], Field(description="rolling_ball: objects, against the background")
    ] = "bright",
) -> Image:
    """Take an uneven background away.

    ``rolling_ball`` (Sternberg 1983): a ball rolls below the surface of values; what it can't reach stays. The result
    is the image minus ``skimage.restoration.rolling_ball(image, radius=radius)`` of the values as floats, within the
    rounding; for other dtypes than uint8 the ball is as high as there, radius / 255 of full scale (within 1e-5 for
    float32). For ``dark`` objects the same happens to the negative. Time grows with the square of the radius: 2.4
    megapixels take about a second for 50. What isn't finite limits no ball.
    ``flat_field``: v' = v * mean(b) / b, where b is the image blurred by a Gaussian of radius / 2, as
    ``skimage.filters.gaussian(image, radius / 2, mode="mirror")``, and at least 0.1 % of its mean; within 1e-4 of full
    scale where the light is at least half its mean. What isn't finite isn't counted. Integers are rounded half to even
    and clipped; a sample that isn't finite stays as it is.
    """
    top = np.float32(full_scale(image.dtype))
    unit = top / np.float32(255)

    def without(plane: Plane) -> Plane:
        if method == "flat_field":
            return _evened(plane, radius / 2, shares)
        if polarity == "bright":
            return plane - _below(plane, radius, unit, shares)
        negative = top - plane
        return np.asarray(top - (negative - _below(negative, radius, unit, shares)))

    return interleaved(tuple(without(plane) for plane in float_planes(image)), image.dtype)


def _below(plane: Plane, radius: int, unit: np.float32, shares: Shares | None) -> Plane:
    """The height of the ball's top at every place where it touches the surface from below."""
    import cv2

    from pipelines.operations import alpha, background_kernels

    present = alpha.present(plane, shares)
    reached = plane if present is None else np.where(present > 0, plane, np.float32(np.inf))

    steps = np.arange(-radius, radius + 1)
    depths = radius**2 - (steps[:, None] ** 2 + steps[None, :] ** 2)
    rises = np.where(depths >= 0, (radius - np.sqrt(np.maximum(depths, 0))) * unit, np.inf).astype(np.float32)
    padded = cv2.copyMakeBorder(reached, *(radius,) * 4, cv2.BORDER_CONSTANT, value=np.inf)
    result = np.empty(plane.shape, np.float32)
    background_kernels.under_ball(np.asarray(padded), rises, result)
    return np.asarray(np.where(np.isfinite(result), result, np.float32(0)))  # nothing within reach: nothing lies below


def _evened(plane: Plane, sigma: float, shares: Shares | None) -> Plane:
    from pipelines.operations import alpha

    present = alpha.present(plane, shares)
    light = weighted_blur(plane, sigma, present)
    counted = alpha.counted(light, present)
    mean = np.float32(counted.mean(dtype=np.float64)) if counted.size else np.float32(0)
    if mean <= 0:
        return plane
    evened = plane * (mean / np.maximum(light, mean * np.float32(LEAST_LIGHT)))
    kept = evened if present is None else np.where(np.isfinite(plane), evened, plane)
    return np.asarray(kept, np.float32)
