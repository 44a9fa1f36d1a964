"""What can be measured of labelled objects: names, columns, units, and the step to scikit-image's region properties.

Does not find objects: see ``objects``. scikit-image is imported when something is measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.analyses.registry import Column

PIXEL = "px"
CIRCULARITY = "circularity"


@dataclass(frozen=True, slots=True)
class MeasureColumn:
    """One column of the table of objects."""

    name: str
    source: str
    """The column of ``skimage.measure.regionprops_table`` that it comes from."""
    unit: str
    """Empty for lengths and areas, whose unit the job chooses."""
    meaning: str
    power: int = 0
    """1 for a length, 2 for an area: it is scaled by the size of a pixel."""
    type: str = "float64"
    label: str = ""

    def column(self, length: str) -> Column:
        """With the unit of lengths that the job chose."""
        unit = {0: self.unit, 1: length, 2: f"{length}²"}[self.power]
        return Column(self.name, self.type, unit, self.meaning, self.label)


@dataclass(frozen=True, slots=True)
class Measure:
    """One property that a job can ask for."""

    properties: tuple[str, ...]
    """Of ``skimage.measure.regionprops_table``."""
    columns: tuple[MeasureColumn, ...]


def _single(name: str, source: str, unit: str, meaning: str, power: int = 0, type: str = "float64") -> Measure:
    return Measure((source,), (MeasureColumn(name, source, unit, meaning, power, type),))


MEASURES: Mapping[str, Measure] = {
    "centroid": Measure(
        ("centroid",),
        (
            MeasureColumn("centroid_row", "centroid-0", PIXEL, "Row of the centre of mass, from the top."),
            MeasureColumn("centroid_column", "centroid-1", PIXEL, "Column of the centre of mass, from the left."),
        ),
    ),
    "bounding_box": Measure(
        ("bbox",),
        (
            MeasureColumn("top", "bbox-0", PIXEL, "First row.", type="int64"),
            MeasureColumn("left", "bbox-1", PIXEL, "First column.", type="int64"),
            MeasureColumn("bottom", "bbox-2", PIXEL, "Row after the last one.", type="int64"),
            MeasureColumn("right", "bbox-3", PIXEL, "Column after the last one.", type="int64"),
        ),
    ),
    "area": _single("area", "area", "", "Area.", 2),
    "convex_area": _single("convex_area", "area_convex", "", "Area of the convex hull.", 2),
    "perimeter": _single("perimeter", "perimeter", "", "Length of the outline through the border pixels.", 1),
    "equivalent_diameter": _single(
        "equivalent_diameter", "equivalent_diameter_area", "", "Diameter of the disc of the same area.", 1
    ),
    "feret_diameter": _single("feret_diameter", "feret_diameter_max", "", "Largest distance of two outline points.", 1),
    "major_axis": _single("major_axis", "axis_major_length", "", "Long axis of the ellipse of equal moments.", 1),
    "minor_axis": _single("minor_axis", "axis_minor_length", "", "Short axis of the ellipse of equal moments.", 1),
    "orientation": _single(
        "orientation", "orientation", "radian", "Angle between the rows' direction and the long axis, -pi/2 to pi/2."
    ),
    "eccentricity": _single("eccentricity", "eccentricity", "1", "Of that ellipse: 0 for a disc, near 1 for a line."),
    "solidity": _single("solidity", "solidity", "1", "Area as a share of the convex hull's."),
    "extent": _single("extent", "extent", "1", "Area as a share of the bounding box's."),
    CIRCULARITY: Measure(
        ("area", "perimeter"),
        (
            MeasureColumn(
                CIRCULARITY, CIRCULARITY, "1", "4 pi area / perimeter ** 2: 1 for a disc; NaN without a perimeter."
            ),
        ),
    ),
    "euler_number": _single("euler_number", "euler_number", "1", "One minus the number of holes.", type="int64"),
    "mean_intensity": _single("mean_intensity", "intensity_mean", "level", "Mean luma."),
    "min_intensity": _single("min_intensity", "intensity_min", "level", "Least luma."),
    "max_intensity": _single("max_intensity", "intensity_max", "level", "Largest luma."),
    "std_intensity": Measure(
        ("intensity_std",),
        (
            MeasureColumn(
                "std_intensity",
                "intensity_std",
                "level",
                "Standard deviation of luma.",
                label="Standard deviation of intensity",
            ),
        ),
    ),
}


def measure_columns(names: Sequence[str], length: str) -> list[Column]:
    """The columns of the properties, in the order given."""
    return [column.column(length) for name in names for column in MEASURES[name].columns]


def measure(
    labels: NDArray[np.int32], gray: NDArray[np.float32], names: Sequence[str], pixel_size: float
) -> dict[str, NDArray[Any]]:
    """The rows of all objects: label first, then the columns of the properties.

    Parameters
    ----------
    labels
        0 for background, else 1, 2, ... without a gap.
    gray
        Luma in stored levels.
    names
        Keys of ``MEASURES``.
    pixel_size
        Length of a pixel's side, 1 for results in px.
    """
    from skimage.measure import regionprops_table

    columns = [column for name in names for column in MEASURES[name].columns]
    count = int(labels.max(initial=0))
    label = np.arange(1, count + 1, dtype=np.uint32)
    if not count:
        return {"label": label, **{column.name: np.zeros(0, column.type) for column in columns}}
    wanted = sorted({source for name in names for source in MEASURES[name].properties})
    found = regionprops_table(labels, intensity_image=gray, properties=("label", *wanted))
    if CIRCULARITY in names:
        outline = found["perimeter"]
        with np.errstate(divide="ignore"):
            round_ = 4 * np.pi * found["area"] / outline**2
        found[CIRCULARITY] = np.where(outline > 0, round_, np.nan)
    scaled = {c.name: found[c.source] * pixel_size**c.power if c.power else found[c.source] for c in columns}
    return {"label": label, **{c.name: scaled[c.name].astype(c.type) for c in columns}}
