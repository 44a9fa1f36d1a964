"""Objects: find what stands out from the background, count it and measure each piece.

One row per object in the table ``objects``, and a summary per image. Covers the analysis and its segmentation; what can
be measured is in ``object_measures``. An image whose light is uneven needs the operation ``background`` before. SciPy,
scikit-image and OpenCV are imported when the analysis runs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field

from pipelines.analyses.object_measures import MEASURES, PIXEL, measure, measure_columns
from pipelines.analyses.registry import ROWS, Column, Result, analysis
from pipelines.operations import thresholds
from pipelines.operations.filters import blur
from pipelines.operations.samples import Plane, full_scale, luma

Mask = NDArray[np.bool_]
Labels = NDArray[np.int32]
Method = Literal["otsu", "li", "local", "fixed"]

PROPERTIES = ("centroid", "bounding_box", "area", "perimeter", "equivalent_diameter", "eccentricity", "mean_intensity")
_UNIT = re.compile(r"[A-Za-z\u00b5\u03bc]{1,8}")  # both micro signs


def _known_properties(names: tuple[str, ...]) -> tuple[str, ...]:
    unknown = [name for name in names if name not in MEASURES]
    if unknown:
        raise ValueError(f"unknown: {', '.join(unknown)}; known: {', '.join(MEASURES)}")
    if len(set(names)) < len(names):
        raise ValueError("names a property twice")
    return names


def _valid_unit(unit: str) -> str:
    if not _UNIT.fullmatch(unit):
        raise ValueError("a unit is 1 to 8 letters, such as um or mm")
    return unit


def _columns(*, pixel_size: float | None = None, unit: str = "um", **_: Any) -> Sequence[Column]:
    length = PIXEL if pixel_size is None else unit
    return (
        Column("count", "int64", "1", "Number of objects."),
        Column("area_share", "float64", "1", "Share of the image's pixels that belong to objects."),
        Column("mean_area", "float64", f"{length}²", "Mean area of the objects; nothing without any."),
        Column("median_area", "float64", f"{length}²", "Median area of the objects; nothing without any."),
        Column("mean_diameter", "float64", length, "Mean diameter of discs of the same areas; nothing without any."),
        Column("threshold", "float64", "level", "The threshold that was used; nothing for the local method."),
    )


def _row_columns(
    *, properties: Sequence[str] = PROPERTIES, pixel_size: float | None = None, unit: str = "um", **_: Any
) -> Sequence[Column]:
    label = Column("label", "uint32", "", "Number of the object in its image, from 1, by first pixel in reading order.")
    return (label, *measure_columns(properties, PIXEL if pixel_size is None else unit))


@analysis("measurements", columns=_columns, row_columns=_row_columns)
def objects(  # noqa: PLR0913 - one argument per setting of a job file
    image: NDArray[Any],
    *,
    polarity: Annotated[Literal["bright", "dark"], Field(description="Objects, against the background")] = "bright",
    smoothing: Annotated[float, Field(ge=0, le=50, description="Standard deviation of a Gaussian before, px")] = 1.0,
    method: Annotated[Method, Field(description="How the threshold is found, as for the operation threshold")] = "otsu",
    level: Annotated[float, Field(ge=0, le=1, description="fixed: the threshold as a share of full scale")] = 0.5,
    radius: Annotated[int, Field(ge=1, le=500, description="local: reach of the local mean, px")] = 25,
    offset: Annotated[
        float, Field(ge=-1, le=1, description="local: taken off the mean, as a share of full scale")
    ] = 0.0,
    minimum_area: Annotated[int, Field(ge=1, description="Smaller objects are left out; pixels")] = 16,
    fill_holes: Annotated[bool, Field(description="Holes belong to their object")] = True,
    border: Annotated[Literal["keep", "drop"], Field(description="Objects that touch the image's border")] = "keep",
    split: Annotated[
        float, Field(ge=0, le=1000, description="Cut at waists whose half is this much narrower, px; 0: don't")
    ] = 0.0,
    properties: Annotated[
        tuple[str, ...], AfterValidator(_known_properties), Field(description=f"Columns: of {', '.join(MEASURES)}")
    ] = PROPERTIES,
    pixel_size: Annotated[
        float | None, Field(gt=0, le=1e9, description="Side of a pixel in the unit; lengths are in px without it")
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
    luma before smoothing, in stored levels. Places are pixels, lengths and areas px or ``unit``. Alpha is ignored; what
    is not finite belongs to no object.
    """
    gray = luma(image[..., :3].astype(np.float32) if image.ndim == 3 else image.astype(np.float32))
    top = full_scale(image.dtype)
    smooth = blur(gray, smoothing) if smoothing else gray
    values = np.float32(top) - smooth if polarity == "dark" else smooth
    limit: float | None = None
    if method == "local":
        mask = values > blur(values, radius / 3) + np.float32((thresholds.SAME - offset) * top)
    else:
        share = 1 - level if polarity == "dark" else level
        limit = share * top if method == "fixed" else _suggested(values, method)
        mask = values > np.float32(limit)
    labels = _labelled(
        mask, np.isfinite(gray), minimum_area, fill_holes=fill_holes, drop_border=border == "drop", split=split
    )
    side = 1.0 if pixel_size is None else pixel_size
    if limit is not None:
        limit = None if np.isnan(limit) else top - limit if polarity == "dark" else limit
    return {**_summary(labels, side), "threshold": limit, ROWS: measure(labels, gray, properties, side)}


def _summary(labels: Labels, side: float) -> dict[str, float | int | None]:
    areas = np.bincount(labels.ravel())[1:] * side**2
    return {
        "count": int(areas.size),
        "area_share": float(np.count_nonzero(labels) / labels.size),
        "mean_area": float(areas.mean()) if areas.size else None,
        "median_area": float(np.median(areas)) if areas.size else None,
        "mean_diameter": float(np.sqrt(4 * areas / np.pi).mean()) if areas.size else None,
    }


def _suggested(values: Plane, method: Method) -> float:
    """The threshold of the values in 65,536 steps, which keeps 16 bits apart and can be counted; NaN without values."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return float("nan")
    least, most = float(finite.min()), float(finite.max())
    if least == most:
        return most
    step = (most - least) / 65535
    levels = np.rint((finite.astype(np.float64) - least) / step).astype(np.uint16)[None]
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
