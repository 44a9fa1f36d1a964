"""Objects: sizes and dtypes, scikit-image's labels and measures, and settings that change what is found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError
from skimage import data, draw, measure
from skimage.filters import threshold_otsu

from pipelines.analyses.object_measures import MEASURES
from pipelines.analyses.objects import objects
from pipelines.analyses.registry import ANALYSES, ROWS
from tests.strategies import example_image, images

DTYPES = ("uint8", "uint16", "float32")
ENTRY = ANALYSES["objects"]
EVERYTHING = tuple(MEASURES)
PLAIN: Any = {"smoothing": 0, "minimum_area": 1, "fill_holes": False}


def scale(dtype: Any) -> float:
    return 1.0 if np.dtype(dtype).kind == "f" else float(np.iinfo(dtype).max)


def discs(*places: tuple[int, int, int], shape: tuple[int, int] = (100, 140)) -> NDArray[np.uint8]:
    """White discs (row, column, radius) on black; read-only."""
    image = np.zeros(shape, np.uint8)
    for row, column, radius in places:
        image[draw.disk((row, column), radius + 0.5, shape=shape)] = 255
    image.flags.writeable = False
    return image


@pytest.mark.parametrize("method", ["otsu", "li", "local", "fixed"])
@pytest.mark.parametrize("split", [0, 0.7])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 1), (2, 3), (37, 53)], ids=str)
def test_every_image_gives_every_column(
    method: Any, split: int, dtype: str, channels: int, shape: tuple[int, int]
) -> None:
    image = example_image(dtype, channels, shape)
    before = image.copy()
    params: Any = {"method": method, "split": split, "properties": EVERYTHING, "minimum_area": 1, "border": "keep"}
    result = objects(image, **params)
    assert list(result) == [*(column.name for column in ENTRY.columns(**params)), ROWS]
    assert ENTRY.row_columns is not None
    declared = {column.name: column.type for column in ENTRY.row_columns(**params)}
    assert {name: str(values.dtype) for name, values in result[ROWS].items()} == declared
    assert {values.shape for values in result[ROWS].values()} == {(result["count"],)}
    np.testing.assert_array_equal(image, before)


@settings(deadline=None, max_examples=60)
@given(image=images(min_side=2), polarity=st.sampled_from(["bright", "dark"]), least=st.integers(1, 6))
def test_summary_and_rows_agree(image: NDArray[Any], polarity: Any, least: int) -> None:
    result = objects(image, polarity=polarity, minimum_area=least)
    areas = result[ROWS]["area"]
    assert result["count"] == areas.size
    assert result["area_share"] == pytest.approx(areas.sum() / (image.shape[0] * image.shape[1]))
    assert (areas >= least).all()
    assert result["mean_area"] == (pytest.approx(areas.mean()) if areas.size else None)
    np.testing.assert_array_equal(result[ROWS]["label"], np.arange(1, areas.size + 1))


@pytest.mark.parametrize("dtype", DTYPES)
def test_labels_and_measures_are_those_of_scikit_image(dtype: str) -> None:
    coins = data.coins()
    image = (coins / 255 * scale(dtype)).astype(dtype)
    labels = measure.label(coins > threshold_otsu(coins), connectivity=2)
    expected = measure.regionprops_table(
        labels,
        image.astype(np.float64),
        properties=("area", "centroid", "perimeter", "bbox", "eccentricity", "intensity_mean", "solidity"),
    )
    rows = objects(image, **PLAIN, properties=EVERYTHING)[ROWS]
    pairs = {
        "area": "area",
        "centroid_row": "centroid-0",
        "centroid_column": "centroid-1",
        "perimeter": "perimeter",
        "top": "bbox-0",
        "right": "bbox-3",
        "eccentricity": "eccentricity",
        "mean_intensity": "intensity_mean",
        "solidity": "solidity",
    }
    for ours, theirs in pairs.items():
        np.testing.assert_allclose(rows[ours], expected[theirs], rtol=1e-5, err_msg=ours)


@settings(deadline=None, max_examples=40)
@given(image=images(dtypes=("uint8", "uint16"), channels=(1,), min_side=2))
def test_otsu_finds_the_components_of_scikit_image(image: NDArray[Any]) -> None:
    labels = measure.label(image > threshold_otsu(image), connectivity=2)
    rows = objects(image, **PLAIN)[ROWS]
    np.testing.assert_array_equal(rows["area"], np.bincount(labels.ravel())[1:])


def test_discs_are_measured() -> None:
    result = objects(discs((30, 30, 12), (60, 100, 20)), smoothing=0, properties=EVERYTHING)
    rows = result[ROWS]
    assert result["count"] == 2
    np.testing.assert_allclose(rows["centroid_row"], [30, 60])
    np.testing.assert_allclose(rows["centroid_column"], [30, 100])
    np.testing.assert_allclose(rows["equivalent_diameter"], [25, 41], rtol=0.02)
    np.testing.assert_allclose(rows["circularity"], 1, rtol=0.12)
    np.testing.assert_allclose(rows["mean_intensity"], 255)
    np.testing.assert_array_equal(rows["euler_number"], 1)


def test_lengths_come_in_the_unit_of_the_pixel_size() -> None:
    image = discs((30, 30, 12), (60, 100, 20))
    pixels, microns = objects(image, properties=EVERYTHING), objects(image, properties=EVERYTHING, pixel_size=0.5)
    units = {column.name: column.unit for column in ENTRY.columns(pixel_size=0.5)}
    assert (units["mean_area"], units["mean_diameter"]) == ("um²", "um")
    assert ENTRY.row_columns is not None
    rows = {column.name: column.unit for column in ENTRY.row_columns(properties=EVERYTHING, pixel_size=0.5, unit="mm")}
    assert (rows["area"], rows["perimeter"], rows["centroid_row"], rows["solidity"]) == ("mm²", "mm", "px", "1")
    assert microns["mean_area"] == pytest.approx(pixels["mean_area"] / 4)
    np.testing.assert_allclose(microns[ROWS]["perimeter"], pixels[ROWS]["perimeter"] / 2)
    np.testing.assert_allclose(microns[ROWS]["circularity"], pixels[ROWS]["circularity"])
    np.testing.assert_array_equal(microns[ROWS]["top"], pixels[ROWS]["top"])


def test_touching_objects_are_cut() -> None:
    image = discs((40, 40, 15), (40, 66, 15), (80, 110, 10))
    assert objects(image)["count"] == 2
    assert objects(image, split=14)["count"] == 2
    result = objects(image, split=3)
    assert result["count"] == 3
    np.testing.assert_allclose(sorted(result[ROWS]["centroid_column"]), [40, 66, 110], atol=1)
    assert result["area_share"] == objects(image)["area_share"]


@pytest.mark.parametrize("split", [0, 1.5, 30])
def test_what_has_no_waist_is_not_cut(split: float) -> None:
    rod = np.zeros((120, 200), np.uint8)
    rod[draw.polygon([20, 95, 103, 28], [10, 185, 180, 5])] = 255
    for image in (rod, discs((30, 30, 12)), np.full((20, 30), 255, np.uint8), discs((50, 50, 2))):
        result = objects(image, method="fixed", smoothing=0, minimum_area=1, split=split)
        assert result["count"] == 1
        assert result[ROWS]["area"][0] == np.count_nonzero(image)


def test_dark_objects_are_bright_ones_of_the_negative() -> None:
    image = discs((30, 30, 12), (60, 100, 20))
    bright, dark = objects(image), objects(255 - image, polarity="dark")
    np.testing.assert_array_equal(bright[ROWS]["area"], dark[ROWS]["area"])
    assert dark["threshold"] == pytest.approx(255 - bright["threshold"])


def test_small_ones_holes_and_the_border() -> None:
    image = discs((30, 30, 12), (60, 100, 3), (0, 70, 15)).copy()
    image[28:33, 28:33] = 0
    assert objects(image, smoothing=0, minimum_area=100)["count"] == 2
    assert objects(image, smoothing=0, border="drop")["count"] == 2
    filled = objects(image, smoothing=0, border="drop", minimum_area=100)[ROWS]["area"]
    open_ = objects(image, smoothing=0, border="drop", minimum_area=100, fill_holes=False)[ROWS]["area"]
    np.testing.assert_array_equal(filled - open_, [25])


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_fixed_threshold_is_a_share_of_full_scale(dtype: str) -> None:
    image = (discs((30, 30, 12)) / 255 * 0.3 * scale(dtype)).astype(dtype)
    assert objects(image, method="fixed", level=0.25, smoothing=0)["count"] == 1
    result = objects(image, method="fixed", level=0.35, smoothing=0)
    assert (result["count"], result["mean_area"]) == (0, None)
    assert result["threshold"] == pytest.approx(0.35 * scale(dtype))


def test_uneven_light_needs_the_local_threshold() -> None:
    slope = np.linspace(0, 0.7, 140, dtype=np.float32)[None, :] + np.zeros((100, 1), np.float32)
    image = slope + 0.2 * (discs((30, 30, 8), (60, 100, 8)) > 0)
    result = objects(image.astype(np.float32), method="local", radius=20, offset=-0.05)
    assert result["count"] == 2
    assert result["threshold"] is None


def test_what_is_not_finite_belongs_to_no_object() -> None:
    image = (discs((30, 30, 12)) / 255).astype(np.float32)
    image[30, 30], image[80, 80] = np.nan, np.inf
    result = objects(image, smoothing=0, method="fixed")
    assert result["count"] == 1
    assert np.isfinite(result[ROWS]["mean_intensity"]).all()
    empty = objects(np.full((5, 5), np.nan, np.float32))
    assert (empty["count"], empty["threshold"]) == (0, None)


def test_mistakes_in_parameters_are_told() -> None:
    with pytest.raises(ValidationError, match="unknown: volume; known: centroid, "):
        ENTRY.parameters(properties=["area", "volume"])
    with pytest.raises(ValidationError, match="twice"):
        ENTRY.parameters(properties=["area", "area"])
    with pytest.raises(ValidationError, match="1 to 8 letters"):
        ENTRY.parameters(unit="=1+1")
    assert ENTRY.parameters(properties=["area"]).properties == ("area",)  # type: ignore[attr-defined]
