"""Segmentation: edges, thresholds and morphology, what comes before counting things.

``edges`` and ``threshold`` work on BT.709 luma and make a gray image (an image with alpha stays RGBA); ``morphology``
works on each channel. Kernels and OpenCV are imported when an operation runs.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, ValidationInfo

from pipelines.operations.colour import GRAY_WEIGHTS
from pipelines.operations.filters import blur
from pipelines.operations.registry import Image, operation
from pipelines.operations.samples import full_scale, stored

Plane = NDArray[np.float32]
Shape = Literal["disk", "square", "diamond"]

CANNY_UNIT = 8000
"""Gradient of Canny's integers for a step of 1 in the Sobel sums; 4 times it fits in int16."""


def _luma(image: Image) -> Image:
    """Gray (M, N) in the image's dtype."""
    if image.ndim == 2:
        return image
    from pipelines.operations import colour_kernels

    return colour_kernels.weighted_sum(image, GRAY_WEIGHTS["bt709"])


def _black_and_white(white: NDArray[np.bool_], dtype: np.dtype[Any]) -> Image:
    return np.asarray(np.where(white, dtype.type(full_scale(dtype)), dtype.type(0)))


def _check_limits(low: float, high: float) -> None:
    if low > high:
        raise ValueError(f"low ({low}) must not be above high ({high})")


def _valid_high(high: float, info: ValidationInfo) -> float:
    if "low" in info.data:
        _check_limits(info.data["low"], high)
    return high


@operation("filters", reach="whole")
def edges(
    image: Image,
    *,
    method: Annotated[
        Literal["sobel", "canny"], Field(description="sobel: strength of the edge; canny: thin lines, black and white")
    ] = "sobel",
    sigma: Annotated[float, Field(gt=0, le=50, description="Canny: standard deviation of the blur, pixels")] = 1.0,
    low: Annotated[float, Field(ge=0, le=4, description="Canny: gradient from which a line goes on")] = 0.1,
    high: Annotated[
        float,
        Field(ge=0, le=4, validate_default=True, description="Canny: gradient that a line must reach somewhere"),
        AfterValidator(_valid_high),
    ] = 0.2,
) -> Image:
    """Find edges.

    ``sobel``: magnitude of the gradient, as ``skimage.filters.sobel(mode="mirror")`` of the luma, within 1e-5 and the
    rounding; a step from black to white along an axis gives 0.71. ``canny`` (Canny 1986): full scale on edges, 0
    elsewhere; gradients are the Sobel sums (weights 1 2 1) of the blurred luma in 0..1, as in
    ``skimage.feature.canny``, whose lines lie within a pixel of these. Outside the border lies a mirror image. A NaN
    is no edge for ``canny``, and spreads by a pixel for ``sobel``.
    """
    _check_limits(low, high)
    top = full_scale(image.dtype)
    gray = _luma(image).astype(np.float32)
    if method == "canny":
        return _black_and_white(_canny(gray / np.float32(top), sigma, (low, high)), image.dtype)
    right, down = _gradients(gray)
    squares = right * right + down * down  # not cv2.magnitude: its last bits depend on where the array lies in memory
    return stored(np.sqrt(squares) * np.float32(1 / (4 * math.sqrt(2))), image.dtype)


def _gradients(gray: Plane) -> tuple[Plane, Plane]:
    """Sobel sums to the right and down, weights 1 2 1."""
    import cv2

    options: dict[str, Any] = {"ddepth": cv2.CV_32F, "ksize": 3, "borderType": cv2.BORDER_REFLECT_101}
    return np.asarray(cv2.Sobel(gray, dx=1, dy=0, **options)), np.asarray(cv2.Sobel(gray, dx=0, dy=1, **options))


def _canny(gray: Plane, sigma: float, limits: tuple[float, float]) -> NDArray[np.bool_]:
    import cv2

    right, down = (
        np.rint(np.clip(np.nan_to_num(plane * np.float32(CANNY_UNIT), nan=0), -32_000, 32_000)).astype(np.int16)
        for plane in _gradients(blur(gray, sigma))
    )
    lines = cv2.Canny(right, down, limits[0] * CANNY_UNIT, limits[1] * CANNY_UNIT, L2gradient=True)
    return np.asarray(lines) > 0


@operation("filters", reach="whole")
def threshold(
    image: Image,
    *,
    method: Annotated[
        Literal["otsu", "li", "local"],
        Field(description="otsu: two classes; li: small objects too; local: uneven light"),
    ] = "otsu",
    radius: Annotated[int, Field(ge=1, le=500, description="local: reach of the local mean, pixels")] = 25,
    offset: Annotated[
        float, Field(ge=-1, le=1, description="local: taken off the mean, as a share of full scale")
    ] = 0.0,
) -> Image:
    """Make what is brighter than a threshold white and all else black.

    ``otsu`` and ``li``: one threshold for the image's luma, see ``thresholds``. ``local``: the mean around each pixel,
    weighted by a Gaussian of radius / 3, minus the offset, as ``skimage.filters.threshold_local(2 * radius + 1,
    mode="mirror")``; what equals the mean within 1e-5 of full scale is black. White is full scale. NaN becomes black.
    """
    from pipelines.operations import thresholds

    gray = _luma(image)
    top = full_scale(image.dtype)
    if method == "local":
        floats = gray.astype(np.float32)
        white = floats > blur(floats, radius / 3) + np.float32((thresholds.SAME - offset) * top)
    else:
        white = gray > (thresholds.otsu(gray) if method == "otsu" else thresholds.li(gray))
    return _black_and_white(white, image.dtype)


def _morphology_halo(*, method: str, radius: int, shape: str) -> int:
    return radius if method in {"erode", "dilate"} else 2 * radius


@operation("filters", reach="local", halo=_morphology_halo)
def morphology(
    image: Image,
    *,
    method: Annotated[
        Literal["erode", "dilate", "open", "close", "tophat"],
        Field(description="open: without bright spots; close: without dark ones; tophat: the bright spots alone"),
    ] = "open",
    radius: Annotated[int, Field(ge=1, le=100, description="Pixels; the shape is 2 radius + 1 pixels wide")] = 1,
    shape: Annotated[Shape, Field(description="Shape of the surroundings")] = "disk",
) -> Image:
    """Shrink or grow bright areas: the least or largest value under a shape, per channel.

    Equals ``skimage.morphology`` (erosion, dilation, opening, closing, white_tophat) with ``disk(radius)``, or the
    square or diamond of that radius, and ``mode="ignore"``: what lies outside the image doesn't count. Exact. NaN:
    unspecified within the halo.
    """
    import cv2

    kinds = {
        "erode": cv2.MORPH_ERODE,
        "dilate": cv2.MORPH_DILATE,
        "open": cv2.MORPH_OPEN,
        "close": cv2.MORPH_CLOSE,
        "tophat": cv2.MORPH_TOPHAT,
    }
    return np.asarray(cv2.morphologyEx(image, kinds[method], footprint(radius, shape)))


def footprint(radius: int, shape: Shape) -> NDArray[np.uint8]:
    """The pixels of a shape: distance up to the radius, Euclidean, along the axes, or along the larger axis."""
    steps = np.abs(np.arange(-radius, radius + 1))
    down, right = steps[:, None], steps[None, :]
    if shape == "square":
        return np.ones((steps.size, steps.size), np.uint8)
    inside = down**2 + right**2 <= radius**2 if shape == "disk" else down + right <= radius
    return inside.astype(np.uint8)
