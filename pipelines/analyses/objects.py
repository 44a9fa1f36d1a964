"""Objects: find what stands out from the background, count it and measure each piece.

One row per object in the table ``objects``, and a summary per image. Covers the analysis and its segmentation; what can
be measured is in ``object_measures``. An image whose light is uneven needs the operation ``background`` before. SciPy,
scikit-image and OpenCV are imported when the analysis runs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, ValidationInfo

from pipelines.alpha_rules import AlphaRule
from pipelines.analyses.object_measures import MEASURES, PIXEL, measure, measure_columns
from pipelines.analyses.registry import ROWS, Column, Result, analysis
from pipelines.analyses.visible_samples import visible_channels, visible_luma
from pipelines.errors import RayjobsError
from pipelines.operations import thresholds
from pipelines.operations.filters import weighted_blur
from pipelines.operations.geometry import is_square
from pipelines.operations.image_geometry import AS_STORED, ImageGeometry
from pipelines.operations.samples import Plane, full_scale

Mask = NDArray[np.bool_]
Labels = NDArray[np.int32]
Method = Literal["otsu", "li", "local", "fixed"]
PixelSize = Annotated[float, Field(gt=0, le=1e9)] | Literal["file"] | None

PROPERTIES = ("centroid", "bounding_box", "area", "perimeter", "equivalent_diameter", "eccentricity", "mean_intensity")
_UNIT = re.compile(r"[A-Za-z\u00b5\u03bc]{1,8}")  # both micro signs
MICROMETRES = {"nm": 1e-3, "um": 1.0, "\u00b5m": 1.0, "\u03bcm": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6, "inch": 25_400.0}
"""Units in which a size that a file states can be given."""
FILE = "file"


def _known_properties(names: tuple[str, ...]) -> tuple[str, ...]:
    unknown = [name for name in names if name not in MEASURES]
    if unknown:
        raise ValueError(f"unknown: {', '.join(unknown)}; known: {', '.join(MEASURES)}")
    if len(set(names)) < len(names):
        raise ValueError("names a property twice")
    return names


def _valid_unit(unit: str, info: ValidationInfo) -> str:
    if not _UNIT.fullmatch(unit):
        raise ValueError("a unit is 1 to 8 letters, such as um or mm")
    if info.data.get("pixel_size") == FILE and unit not in MICROMETRES:
        raise ValueError(f"with pixel_size: file, one of {', '.join(MICROMETRES)}")
    return unit


def _columns(*, pixel_size: PixelSize = None, unit: str = "um", **_: Any) -> Sequence[Column]:
    length = PIXEL if pixel_size is None else unit
    return (
        Column("count", "int64", "1", "Number of objects."),
        Column("area_share", "float64", "1", "Share of the image's visible, finite pixels that belong to objects."),
        Column("mean_area", "float64", f"{length}²", "Mean area of the objects; nothing without any."),
        Column("median_area", "float64", f"{length}²", "Median area of the objects; nothing without any."),
        Column("mean_diameter", "float64", length, "Mean diameter of discs of the same areas; nothing without any."),
        Column("threshold", "float64", "level", "The threshold that was used; nothing for the local method."),
    )


def _row_columns(
    *, properties: Sequence[str] = PROPERTIES, pixel_size: PixelSize = None, unit: str = "um", **_: Any
) -> Sequence[Column]:
    label = Column("label", "uint32", "", "Number of the object in its image, from 1, by first pixel in reading order.")
    return (label, *measure_columns(properties, PIXEL if pixel_size is None else unit))


@analysis(
    "measurements",
    columns=_columns,
    row_columns=_row_columns,
    alpha=AlphaRule.VISIBLE,
    sees_geometry=True,
    version=3,
)
def objects(  # noqa: PLR0913 - one argument per setting of a job file
    image: NDArray[Any],
    geometry: ImageGeometry = AS_STORED,
    *,
    polarity: Annotated[Literal["bright", "dark"], Field(description="Objects, against the background")] = "bright",
    smoothing: Annotated[
        float, Field(ge=0, le=50, description="Standard deviation of a Gaussian before, px as rendered")
    ] = 1.0,
    method: Annotated[Method, Field(description="How the threshold is found, as for the operation threshold")] = "otsu",
    level: Annotated[float, Field(ge=0, le=1, description="fixed: the threshold as a share of full scale")] = 0.5,
    radius: Annotated[int, Field(ge=1, le=500, description="local: reach of the local mean, px as rendered")] = 25,
    offset: Annotated[
        float, Field(ge=-1, le=1, description="local: taken off the mean, as a share of full scale")
    ] = 0.0,
    minimum_area: Annotated[int, Field(ge=1, description="Smaller objects are left out; pixels as rendered")] = 16,
    fill_holes: Annotated[bool, Field(description="Holes belong to their object")] = True,
    border: Annotated[Literal["keep", "drop"], Field(description="Objects that touch the image's border")] = "keep",
    split: Annotated[
        float,
        Field(
            ge=0,
            le=1000,
            description="Cut at waists whose half is this much narrower, px as rendered; 0: don't",
        ),
    ] = 0.0,
    properties: Annotated[
        tuple[str, ...], AfterValidator(_known_properties), Field(description=f"Columns: of {', '.join(MEASURES)}")
    ] = PROPERTIES,
    pixel_size: Annotated[
        PixelSize,
        Field(
            description="Side of a pixel of the input in the unit, or `file`: as the file states it. Without it, "
            "lengths are in px as rendered"
        ),
    ] = None,
    unit: Annotated[str, AfterValidator(_valid_unit), Field(description="Unit of pixel_size")] = "um",
) -> Result:
    """Find, count and measure objects.

    Luma (BT.709, not rounded) is smoothed as by ``gaussian``; objects are the pixels above the threshold, or for
    ``dark`` above that of the negative. ``otsu`` and ``li`` as for the operation ``threshold``, in 65,536 steps between
    the least and the largest value; ``local`` as there. Then holes are filled, touching objects are cut, and small ones
    and, if ``border`` is ``drop``, those at the border are left out. ``split`` cuts by the watershed of the distance to
    the background, from its h-maxima: two discs of radius 15 whose waist is 10 px wide have a depth of 15 in the middle
    and 5 at the waist, and part up to a ``split`` of 10; a rod stays whole. Objects are 8-connected. Labels are those
    of ``skimage.measure.label(connectivity=2)``, measures those of ``skimage.measure.regionprops``; intensities are of
    luma before smoothing, in stored levels. What is invisible or not finite belongs to no object, and counts in no
    threshold and no mean.

    Places, and parameters in px, are pixels of the image as the operations leave it. So are lengths and areas without
    ``pixel_size``; with it they are in ``unit``, of the picture as the input shows it: what ``resize`` makes of a pixel
    is reckoned with. An image whose pixels aren't square after the operations (by more than 2 %), or of which an
    operation of a plug-in doesn't say how large its pixels are, fails. ``file`` reads the size from OME-XML, ImageJ's
    description or the resolution tags of a TIFF: height and width may differ where ``resize`` makes them equal, while a
    number says that the input's are square. A file that states none, or in an unknown unit, fails.
    """
    gray = visible_luma(visible_channels(image, np.float32))
    side = 1.0 if pixel_size is None else _side(pixel_size, unit, geometry)
    top = full_scale(image.dtype)
    present = np.isfinite(gray)
    shares = None if present.all() else present.astype(np.float32)
    smooth = weighted_blur(gray, smoothing, shares) if smoothing else gray
    values = np.float32(top) - smooth if polarity == "dark" else smooth
    limit: float | None = None
    if method == "local":
        mask = values > weighted_blur(values, radius / 3, shares) + np.float32((thresholds.SAME - offset) * top)
    else:
        share = 1 - level if polarity == "dark" else level
        limit = share * top if method == "fixed" else _suggested(values[present], method)
        mask = values > np.float32(limit)
    labels = _labelled(
        mask & present, present, minimum_area, fill_holes=fill_holes, drop_border=border == "drop", split=split
    )
    if limit is not None:
        limit = None if np.isnan(limit) else top - limit if polarity == "dark" else limit
    counted = int(np.count_nonzero(present))
    return {**_summary(labels, counted, side), "threshold": limit, ROWS: measure(labels, gray, properties, side)}


def _side(pixel_size: float | Literal["file"], unit: str, geometry: ImageGeometry) -> float:
    """The side of a pixel of the rendered image in the unit."""
    size = geometry.pixel_size_um if pixel_size == FILE else geometry.scale
    if size is None and geometry.unscaled:
        raise RayjobsError(
            f"pixel_size can't be followed through {geometry.unscaled}, which doesn't say how large the pixels of its "
            "result are (plug-ins do by get_pixel_scale); leave out one of the two"
        )
    if size is None:
        raise RayjobsError("pixel_size: file, but the file doesn't state the size of its pixels; give a number")
    if not is_square(size):
        of = "um high and {:.4g} um wide" if pixel_size == FILE else "rows high and {:.4g} columns of the file wide"
        raise RayjobsError(
            f"pixel_size is for square pixels; those of the image are {size[0]:.4g} {of.format(size[1])}. Leave "
            "pixel_size out, or resize so that they become square"
        )
    side = math.sqrt(size[0] * size[1])
    return side / MICROMETRES[unit] if pixel_size == FILE else side * float(pixel_size)


def _summary(labels: Labels, counted: int, side: float) -> dict[str, float | int | None]:
    areas = np.bincount(labels.ravel())[1:] * side**2
    return {
        "count": int(areas.size),
        "area_share": float(np.count_nonzero(labels) / max(counted, 1)),
        "mean_area": float(areas.mean()) if areas.size else None,
        "median_area": float(np.median(areas)) if areas.size else None,
        "mean_diameter": float(np.sqrt(4 * areas / np.pi).mean()) if areas.size else None,
    }


def _suggested(values: Plane, method: Method) -> float:
    """The threshold of finite values in 65,536 steps, which keep 16 bits apart and can be counted; NaN without any."""
    if not values.size:
        return float("nan")
    least, most = float(values.min()), float(values.max())
    if least == most:
        return most
    step = (most - least) / 65535
    levels = np.rint((values.astype(np.float64) - least) / step).astype(np.uint16)[None]
    found = thresholds.otsu(levels) if method == "otsu" else thresholds.li(levels)
    return least + (found + 0.5) * step


def _labelled(
    mask: Mask, countable: Mask, minimum_area: int, *, fill_holes: bool, drop_border: bool, split: float
) -> Labels:
    """0 for background, else the number of the object."""
    from scipy import ndimage
    from skimage.measure import label

    mask = (ndimage.binary_fill_holes(mask) if fill_holes else mask) & countable
    labels = _split(mask, split) if split else _components(mask)
    keep = np.bincount(labels.ravel()) >= minimum_area
    keep[0] = False
    if drop_border:
        for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
            keep[edge] = False
    # Numbered anew in reading order; pieces that touch have different numbers and stay apart.
    return np.asarray(label(np.where(keep[labels], labels, 0), connectivity=2), np.int32)


def _components(mask: Mask) -> Labels:
    import cv2

    return np.asarray(cv2.connectedComponents(mask.astype(np.uint8), connectivity=8, ltype=cv2.CV_32S)[1])


def _split(mask: Mask, waist: float) -> Labels:
    """Cut objects into the parts around each maximum of depth that rises by ``waist`` above the way to the next."""
    import cv2
    from skimage.morphology import local_maxima, reconstruction
    from skimage.segmentation import watershed

    parts = _components(mask)
    framed = np.pad(mask.astype(np.uint8), 1)  # outside the image is background: else an all-white one has no depth
    depth = np.asarray(cv2.distanceTransform(framed, cv2.DIST_L2, cv2.DIST_MASK_PRECISE))[1:-1, 1:-1]
    lowered = reconstruction(np.maximum(depth - waist, 0), depth)
    centres = _components(local_maxima(lowered, connectivity=2) & (lowered > 0))
    # Parts with less than two centres are whole: only the others need the watershed.
    first_pixels = np.unique(centres, return_index=True)[1][1:]
    several = np.bincount(parts.ravel()[first_pixels], minlength=parts.max() + 1) > 1
    cuttable = several[parts]
    if not cuttable.any():
        return parts
    pieces = watershed(-depth, np.where(cuttable, centres, 0), mask=cuttable, connectivity=2)
    return np.asarray(np.where(cuttable, pieces + parts.max(), parts), np.int32)
