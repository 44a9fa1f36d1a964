"""Geometry: where a pixel goes. Orientation, size, cutting, padding and turning.

All operations take gray, RGB and RGBA; resampling premultiplies alpha, so that the colour of transparent pixels never
bleeds in. Sizes are in pixels, places count from the upper left corner of the image as the operation gets it. Samples
are moved, not changed, except by ``resize`` and ``rotate``, which compute in float32, round half to even and clip
integers; float32 is not clipped, and a NaN spreads to the samples computed from it. The result may be the input array
itself when nothing changes. Kernels and OpenCV are imported when an operation runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, ValidationInfo

from pipelines.alpha_rules import AlphaRule
from pipelines.errors import FailedReason, ImageError
from pipelines.operations.reduction import Reduction, Span
from pipelines.operations.registry import Image, Scale, operation
from pipelines.operations.samples import LUMA, full_scale

Length = Annotated[int, Field(ge=1, le=65_535)]
Margin = Annotated[int, Field(ge=0, le=65_535)]
Share = Annotated[float, Field(ge=0, le=1)]
Fill = Annotated[tuple[Share, ...], Field(min_length=1, max_length=4)]
"""Gray, or gray and alpha, or R, G, B, or R, G, B, alpha; 1 is full scale."""
ORIENTATIONS = {
    1: (False, None),
    2: (False, 1),
    3: (False, -1),
    4: (False, 0),
    5: (True, None),
    6: (True, 1),
    7: (True, -1),
    8: (True, 0),
}
"""EXIF orientation -> transpose first?, then the axis to mirror: 1 columns, 0 rows, -1 both."""

SQUARE = 0.02
"""Pixels whose sides differ by no more than this share count as square: sizes are rounded to whole pixels."""


def _same_scale(scale: Scale, size: tuple[int, int], **_: Any) -> Scale:
    return scale


def _oriented_scale(scale: Scale, size: tuple[int, int], *, orientation: int | None) -> Scale:
    return scale[::-1] if ORIENTATIONS[orientation or 1][0] else scale


@operation("geometry", reach="geometry", handles_alpha=True, alpha=AlphaRule.MOVED, scale=_oriented_scale)
def auto_orient(
    image: Image,
    *,
    orientation: Annotated[
        int | None, Field(ge=1, le=8, description="EXIF orientation; by default that of the input file")
    ] = None,
) -> Image:
    """Turn the image upright, as its EXIF orientation says.

    Exact. The eight orientations as in EXIF 2.32, tag 274, and ``PIL.ImageOps.exif_transpose``: 1 upright, 2 mirrored
    left to right, 3 upside down, 4 mirrored top to bottom, 5 transposed, 6 to be turned a quarter clockwise, 7
    transposed about the other diagonal, 8 to be turned a quarter counter-clockwise.
    """
    transposed, flipped = ORIENTATIONS[orientation or 1]
    if transposed or flipped is not None:
        import cv2

        image = np.asarray(cv2.transpose(image)) if transposed else image
        image = image if flipped is None else np.asarray(cv2.flip(image, flipped))
    return image


@operation("geometry", reach="geometry", handles_alpha=True, alpha=AlphaRule.MOVED, scale=_same_scale)
def flip(
    image: Image,
    *,
    direction: Annotated[
        Literal["horizontal", "vertical"], Field(description="horizontal: left and right change places")
    ] = "horizontal",
) -> Image:
    """Mirror the image; exact."""
    import cv2

    return np.asarray(cv2.flip(image, 1 if direction == "horizontal" else 0))


def _check_size(max_side: int | None, width: int | None, height: int | None, mode: str) -> None:
    if (max_side is None) == (width is None and height is None):
        raise ValueError("give either max_side, or width, height or both")
    if mode != "fit" and (width is None or height is None):
        raise ValueError(f"mode {mode} needs both width and height")


def _valid_mode(mode: str, info: ValidationInfo) -> str:
    if {"max_side", "width", "height"} <= info.data.keys():
        _check_size(info.data["max_side"], info.data["width"], info.data["height"], mode)
    return mode


def _resized_scale(scale: Scale, size: tuple[int, int], **arguments: Any) -> Scale:
    made, spans = resize_target(*size, arguments)
    down, across = (length / count for count, (_, length) in zip(made, spans, strict=True))
    return scale[0] * down, scale[1] * across


@operation("geometry", reach="geometry", handles_alpha=True, alpha=AlphaRule.MOVED, scale=_resized_scale, version=3)
def resize(
    image: Image,
    *,
    max_side: Annotated[Length | None, Field(description="Length of the longer side; the aspect stays")] = None,
    width: Annotated[Length | None, Field(description="Width of the result, or of the box it must fit or fill")] = None,
    height: Annotated[
        Length | None, Field(description="Height likewise; width or height alone keeps the aspect")
    ] = None,
    mode: Annotated[
        Literal["fit", "fill", "exact"],
        Field(
            validate_default=True,
            description="fit: the whole image within width x height; fill: all of width x height, what is over cut off "
            "evenly; exact: stretched to width x height",
        ),
        AfterValidator(_valid_mode),
    ] = "fit",
    enlarge: Annotated[bool, Field(description="Let max_side and fit make an image larger than it is")] = False,
    kernel: Annotated[
        Literal["lanczos", "area", "nearest"],
        Field(description="area: means of the pixels covered, no overshoot; nearest: for masks and labels"),
    ] = "lanczos",
) -> Image:
    """Change the size, without aliasing.

    Lanczos with three lobes, stretched by the factor of reduction: equals Pillow's ``Image.resize(size, LANCZOS)``
    within 1e-5 for float32, and within 1 level for uint8 where nothing overshoots (Pillow clips between its two
    passes). On smooth images ``skimage.transform.resize(anti_aliasing=True)`` differs by less than 1 % of full scale.
    ``area`` weights each old pixel by the share of it that the new one covers (axes that grow take lanczos).
    ``nearest`` takes the pixel at the new one's centre. The sides are rounded, at least 1 pixel. The colour of fully
    transparent pixels isn't kept.

    Of a JPEG that lanczos makes 6 times smaller or more, at the start of a chain or right after ``auto_orient``, the
    decoder gives half of the size, a quarter from 12 times on, an eighth from 24 times on; the rest is done here. Size
    and place are those of the full decode. The 8-bit levels differ from it by less than 1 on average in photographs,
    by at most 6 in 99 of 100 samples and 13 in all; in stripes, noise and zone plates of full contrast by up to 13 on
    average and 25 in all; in mosaics of pure colours that sRGB doesn't have by up to 60: the worst that searches found,
    and no bound. CMYK, and profiles whose grays are more than 10 levels from those of sRGB, are decoded in full, and so
    is what ``area`` and ``nearest`` get.
    """
    _check_size(max_side, width, height, mode)
    size, spans = _target(image.shape[0], image.shape[1], (max_side, width, height), mode, enlarge)
    if size == image.shape[:2] and spans == ((0.0, size[0]), (0.0, size[1])):
        return image
    from pipelines.operations import resampling_kernels

    return resampling_kernels.resample(image, size, spans, kernel)


def resize_reduced(image: Image, reduction: Reduction, arguments: Mapping[str, Any]) -> Image:
    """What ``resize`` with these arguments would make of the whole picture, of which its decoder gave less."""
    from pipelines.operations import resampling_kernels

    size, spans = resize_target(reduction.rows, reduction.columns, arguments)
    return resampling_kernels.resample(
        image, size, reduction.places(spans), arguments["kernel"], extents=reduction.extents
    )


def resize_target(rows: int, columns: int, arguments: Mapping[str, Any]) -> tuple[tuple[int, int], tuple[Span, Span]]:
    """What ``resize`` with these arguments makes of a size: (rows, columns), and the part of both that it shows."""
    asked = (arguments["max_side"], arguments["width"], arguments["height"])
    return _target(rows, columns, asked, arguments["mode"], arguments["enlarge"])


def _target(
    rows: int, columns: int, asked: tuple[int | None, int | None, int | None], mode: str, enlarge: bool
) -> tuple[tuple[int, int], tuple[Span, Span]]:
    """(rows, columns) of the result, and the part of the image that it shows."""
    max_side, width, height = asked
    whole = ((0.0, float(rows)), (0.0, float(columns)))
    if mode != "fit" and width is not None and height is not None:
        if mode == "exact":
            return (height, width), whole
        scale = max(height / rows, width / columns)
        shown = (min(height / scale, rows), min(width / scale, columns))
        return (height, width), (((rows - shown[0]) / 2, shown[0]), ((columns - shown[1]) / 2, shown[1]))
    limits = [(max_side, max(rows, columns)), (width, columns), (height, rows)]
    scale = min(wanted / length for wanted, length in limits if wanted is not None)
    if scale > 1 and not enlarge:
        scale = 1.0
    return (max(1, round(rows * scale)), max(1, round(columns * scale))), whole


def _check_box(given: bool, ratio: tuple[float, float] | None) -> None:
    if given == (ratio is not None):
        raise ValueError("give either ratio, or some of x, y, width and height")


def _valid_ratio(ratio: tuple[float, float] | None, info: ValidationInfo) -> tuple[float, float] | None:
    _check_box(any(value is not None for value in info.data.values()), ratio)
    return ratio


@operation("geometry", reach="geometry", handles_alpha=True, alpha=AlphaRule.MOVED, scale=_same_scale)
def crop(
    image: Image,
    *,
    x: Annotated[Margin | None, Field(description="Left edge; by default the box is centred")] = None,
    y: Annotated[Margin | None, Field(description="Upper edge; by default the box is centred")] = None,
    width: Annotated[Length | None, Field(description="By default all from x to the right edge")] = None,
    height: Annotated[Length | None, Field(description="By default all from y to the lower edge")] = None,
    ratio: Annotated[
        tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] | None,
        Field(validate_default=True, description="[16, 9]: the largest centred box of this width to height"),
        AfterValidator(_valid_ratio),
    ] = None,
) -> Image:
    """Cut out a box.

    Exact. An image in which the box doesn't lie whole fails with ``bad_shape``, rather than giving another size.
    """
    _check_box(any(value is not None for value in (x, y, width, height)), ratio)
    rows, columns = image.shape[:2]
    if ratio is not None:
        width = max(1, min(columns, round(rows * ratio[0] / ratio[1])))
        height = max(1, min(rows, round(columns * ratio[1] / ratio[0])))
    left, right = _interval(x, width, columns)
    top, bottom = _interval(y, height, rows)
    if not (0 <= left < right <= columns and 0 <= top < bottom <= rows):
        raise ImageError(
            FailedReason.BAD_SHAPE,
            f"the box x {left} to {right}, y {top} to {bottom} doesn't lie within {columns} x {rows} pixels",
        )
    return np.ascontiguousarray(image[top:bottom, left:right])


def _interval(start: int | None, length: int | None, available: int) -> tuple[int, int]:
    if start is None:
        start = 0 if length is None else (available - length) // 2
    return start, available if length is None else start + length


@operation("geometry", reach="geometry", handles_alpha=True, alpha=AlphaRule.MOVED, scale=_same_scale)
def pad(  # noqa: PLR0913
    image: Image,
    *,
    left: Annotated[Margin, Field(description="Pixels added")] = 0,
    top: Annotated[Margin, Field(description="Pixels added")] = 0,
    right: Annotated[Margin, Field(description="Pixels added")] = 0,
    bottom: Annotated[Margin, Field(description="Pixels added")] = 0,
    width: Annotated[Length | None, Field(description="Then widen to this, evenly on both sides")] = None,
    height: Annotated[Length | None, Field(description="Then heighten to this, evenly on both sides")] = None,
    mode: Annotated[
        Literal["fill", "edge", "mirror"],
        Field(description="fill: one colour; edge: the border pixel repeated; mirror: about the border pixel"),
    ] = "fill",
    fill: Annotated[
        Fill | None, Field(description="[gray], [R, G, B] or [R, G, B, alpha]; by default black, transparent")
    ] = None,
) -> Image:
    """Add pixels around the image; exact. An image that is wider or higher than asked keeps its size."""
    import cv2

    rows, columns = image.shape[:2]
    more_rows = max(0, (height or 0) - rows - top - bottom)
    more_columns = max(0, (width or 0) - columns - left - right)
    above, below = top + more_rows // 2, bottom + (more_rows + 1) // 2
    before, after = left + more_columns // 2, right + (more_columns + 1) // 2
    if not (above or below or before or after):
        return image
    border = {"fill": cv2.BORDER_CONSTANT, "edge": cv2.BORDER_REPLICATE, "mirror": cv2.BORDER_REFLECT_101}[mode]
    colour = fill_samples(fill, image).tolist()
    return np.asarray(cv2.copyMakeBorder(image, above, below, before, after, border, value=colour))


def _rotated_scale(scale: Scale, size: tuple[int, int], *, angle: float, expand: bool, **_: Any) -> Scale | None:
    if is_square(scale):
        return scale
    if _quarters(angle, size, expand) is None:
        return None
    return scale[::-1] if angle / 90 % 2 else scale


def is_square(scale: Scale) -> bool:
    """Whether pixels of this scale count as square."""
    return abs(scale[0] / scale[1] - 1) <= SQUARE


def _quarters(angle: float, size: tuple[int, int], expand: bool) -> int | None:
    """Whole quarter turns that move pixels without mixing them; None for other turns."""
    quarters = angle / 90 % 4
    exact = quarters in (0, 2) or (quarters in (1, 3) and (expand or size[0] == size[1]))
    return int(quarters) if exact else None


@operation("geometry", reach="geometry", handles_alpha=True, alpha=AlphaRule.MOVED, scale=_rotated_scale, version=2)
def rotate(
    image: Image,
    *,
    angle: Annotated[float, Field(ge=-360, le=360, description="Degrees, counter-clockwise")],
    expand: Annotated[
        bool, Field(description="Grow so that all of the image stays visible; else keep the size")
    ] = True,
    fill: Annotated[
        Fill | None, Field(description="[gray], [R, G, B] or [R, G, B, alpha]; by default black, transparent")
    ] = None,
) -> Image:
    """Turn the image about its centre.

    Whole quarter turns that keep or may change the size are exact. All others are interpolated bicubically (Keys 1981,
    a = -1/2): float32 as ``skimage.transform.rotate(order=3, clip=False)`` within 1e-5 of the largest value near,
    integers rounded from that. An expanded image is the smallest that holds the corners.
    """
    import cv2

    rows, columns = image.shape[:2]
    quarters = _quarters(angle, (rows, columns), expand)
    if quarters is not None:
        turns = (None, cv2.ROTATE_90_COUNTERCLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_CLOCKWISE)[quarters]
        return image if turns is None else np.asarray(cv2.rotate(image, turns))
    size = (rows, columns)
    if expand:
        cosine, sine = abs(math.cos(math.radians(angle))), abs(math.sin(math.radians(angle)))
        size = (_whole(rows * cosine + columns * sine), _whole(rows * sine + columns * cosine))
    from pipelines.operations import resampling_kernels

    return resampling_kernels.rotate(image, angle, size, fill_samples(fill, image))


def _whole(length: float) -> int:
    return max(1, math.ceil(length - 1e-6))


def fill_samples(fill: tuple[float, ...] | None, image: Image) -> NDArray[Any]:
    """The sample of each channel for a colour in shares of full scale, float32 in stored units.

    None is black, and transparent where the image has alpha; a colour without alpha is opaque; of a colour in a gray
    image the luma counts.
    """
    channels = 1 if image.ndim == 2 else image.shape[2]
    if fill is None:
        return np.zeros(channels, np.float32)
    colour, alpha = (fill[:3], fill[3:] or (1.0,)) if len(fill) >= 3 else (fill[:1] * 3, fill[1:] or (1.0,))
    luma = math.fsum(weight * value for weight, value in zip(LUMA, colour, strict=True))
    samples = (luma,) if channels == 1 else (*colour, *alpha)[:channels]
    scaled = np.array(samples, np.float32) * np.float32(full_scale(image.dtype))
    return scaled if image.dtype.kind == "f" else np.rint(scaled)
