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

from pipelines.alpha_rules import AlphaRule
from pipelines.operations.colour import GRAY_WEIGHTS
from pipelines.operations.filters import weighted_blur
from pipelines.operations.registry import Image, Shares, operation
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


@operation("filters", reach="whole", alpha=AlphaRule.VISIBLE, version=2)
def edges(
    image: Image,
    shares: Shares | None = None,
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
    costs its own pixel for ``canny``, and spreads by a pixel for ``sobel``. Invisible pixels count as the mean of the
    visible ones beside them: there is no edge where visibility ends.
    """
    from pipelines.operations import alpha

    _check_limits(low, high)
    top = full_scale(image.dtype)
    gray = _luma(image).astype(np.float32)
    if method == "canny":
        return _black_and_white(_canny(gray / np.float32(top), shares, sigma, (low, high)), image.dtype)
    right, down = _gradients(gray if shares is None else alpha.extended(gray, shares, 1))
    squares = right * right + down * down  # not cv2.magnitude: its last bits depend on where the array lies in memory
    return stored(np.sqrt(squares) * np.float32(1 / (4 * math.sqrt(2))), image.dtype)


def _gradients(gray: Plane) -> tuple[Plane, Plane]:
    """Sobel sums to the right and down, weights 1 2 1."""
    import cv2

    options: dict[str, Any] = {"ddepth": cv2.CV_32F, "ksize": 3, "borderType": cv2.BORDER_REFLECT_101}
    return np.asarray(cv2.Sobel(gray, dx=1, dy=0, **options)), np.asarray(cv2.Sobel(gray, dx=0, dy=1, **options))


def _canny(gray: Plane, shares: Shares | None, sigma: float, limits: tuple[float, float]) -> NDArray[np.bool_]:
    import cv2

    from pipelines.operations import alpha

    shares = alpha.present(gray, shares)
    smooth = alpha.extended(weighted_blur(gray, sigma, shares), shares, 1)
    right, down = (
        np.rint(np.clip(np.nan_to_num(plane * np.float32(CANNY_UNIT), nan=0), -32_000, 32_000)).astype(np.int16)
        for plane in _gradients(smooth)
    )
    if shares is not None:
        right[shares == 0] = down[shares == 0] = 0
    lines = cv2.Canny(right, down, limits[0] * CANNY_UNIT, limits[1] * CANNY_UNIT, L2gradient=True)
    return np.asarray(lines) > 0


@operation("filters", reach="whole", alpha=AlphaRule.VISIBLE, version=2)
def threshold(
    image: Image,
    shares: Shares | None = None,
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
    mode="mirror")``; what equals the mean within 1e-5 of full scale is black. White is full scale. NaN becomes black,
    an infinity what its sign says; both count in no threshold and no mean.
    """
    from pipelines.operations import alpha, thresholds

    gray = _luma(image)
    top = full_scale(image.dtype)
    if method == "local":
        floats = gray.astype(np.float32)
        mean = weighted_blur(floats, radius / 3, alpha.present(floats, shares))
        white = floats > np.nan_to_num(mean, nan=0) + np.float32((thresholds.SAME - offset) * top)
    else:
        seen = alpha.counted(gray, shares)
        white = gray > (thresholds.otsu(seen) if method == "otsu" else thresholds.li(seen))
    return _black_and_white(white, image.dtype)


def _morphology_halo(*, method: str, radius: int, shape: str) -> int:
    return radius if method in {"erode", "dilate"} else 2 * radius


@operation("filters", reach="local", halo=_morphology_halo, alpha=AlphaRule.VISIBLE, version=2)
def morphology(
    image: Image,
    shares: Shares | None = None,
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
    square or diamond of that radius, and ``mode="ignore"``: what lies outside the image doesn't count. Exact. A NaN
    doesn't count either, and stays.
    """
    import cv2

    around = footprint(radius, shape)
    absent = _absent(image, shares)
    if absent is not None:
        return _morphology_of_present(image, absent, method, around)
    kinds = {
        "erode": cv2.MORPH_ERODE,
        "dilate": cv2.MORPH_DILATE,
        "open": cv2.MORPH_OPEN,
        "close": cv2.MORPH_CLOSE,
        "tophat": cv2.MORPH_TOPHAT,
    }
    return np.asarray(cv2.morphologyEx(image, kinds[method], around))


def _absent(image: Image, shares: Shares | None) -> NDArray[np.bool_] | None:
    """The samples that are invisible or NaN; None when there are none."""
    unknown = np.isnan(image) if image.dtype.kind == "f" else np.zeros((), bool)
    if shares is not None:
        unknown = unknown | (shares <= 0 if image.ndim == 2 else (shares <= 0)[..., None])
    return np.broadcast_to(unknown, image.shape) if unknown.any() else None


def _morphology_of_present(
    image: Image, absent: NDArray[np.bool_], method: str, around: NDArray[np.uint8]
) -> NDArray[Any]:
    """``morphology`` of the samples that aren't absent; the others stay as they are."""
    import cv2

    low, high = (-np.inf, np.inf) if image.dtype.kind == "f" else (0, np.iinfo(image.dtype).max)

    def erode(values: Image) -> Image:
        return np.asarray(cv2.erode(np.where(absent, image.dtype.type(high), values), around))

    def dilate(values: Image) -> Image:
        return np.asarray(cv2.dilate(np.where(absent, image.dtype.type(low), values), around))

    steps = {"erode": (erode,), "dilate": (dilate,), "close": (dilate, erode)}
    result = image
    for step in steps.get(method, (erode, dilate)):
        result = step(result)
    if method == "tophat":
        result = np.where(absent, image, image - np.where(absent, image, result))
    return np.where(absent, image, result)


def footprint(radius: int, shape: Shape) -> NDArray[np.uint8]:
    """The pixels of a shape: distance up to the radius, Euclidean, along the axes, or along the larger axis."""
    steps = np.abs(np.arange(-radius, radius + 1))
    down, right = steps[:, None], steps[None, :]
    if shape == "square":
        return np.ones((steps.size, steps.size), np.uint8)
    inside = down**2 + right**2 <= radius**2 if shape == "disk" else down + right <= radius
    return inside.astype(np.uint8)
