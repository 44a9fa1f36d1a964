"""Edges, thresholds and morphology: sizes and dtypes, tiles, and agreement with scikit-image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy import ndimage
from skimage import data, feature, filters
from skimage import morphology as reference

from pipelines.operations.colour import grayscale
from pipelines.operations.registry import OPERATIONS
from pipelines.operations.segmentation import edges, footprint, morphology, threshold
from pipelines.operations.thresholds import li, otsu
from tests.strategies import example_image, images
from tests.tiles import assert_same_pixels, by_tiles

DTYPES = ("uint8", "uint16", "float32")
METHODS: Any = ("erode", "dilate", "open", "close", "tophat")
FUNCTIONS = {
    "erode": reference.erosion,
    "dilate": reference.dilation,
    "open": reference.opening,
    "close": reference.closing,
    "tophat": reference.white_tophat,
}
MAKING_GRAY = [
    pytest.param("edges", {"method": "sobel"}, id="sobel"),
    pytest.param("edges", {"method": "canny"}, id="canny"),
    pytest.param("threshold", {"method": "otsu"}, id="otsu"),
    pytest.param("threshold", {"method": "li"}, id="li"),
    pytest.param("threshold", {"method": "local", "radius": 4}, id="local"),
]


def scale(dtype: Any) -> float:
    return 1.0 if np.dtype(dtype).kind == "f" else float(np.iinfo(dtype).max)


@pytest.fixture(scope="module")
def coins() -> NDArray[np.uint8]:
    image = np.ascontiguousarray(data.coins())
    image.flags.writeable = False
    return image


@pytest.mark.parametrize(("name", "params"), MAKING_GRAY)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 1), (2, 3), (37, 53)], ids=str)
def test_the_result_is_gray_of_the_same_dtype(name: str, params: Any, dtype: str, channels: int, shape: Any) -> None:
    image = example_image(dtype, channels, shape)
    before = image.copy()
    result = OPERATIONS[name].function(image, **params)
    assert (result.shape, result.dtype) == (shape, image.dtype)
    np.testing.assert_array_equal(image, before)
    if params["method"] != "sobel":
        assert set(np.unique(result)) <= {0, scale(dtype)}


@pytest.mark.parametrize(("name", "params"), MAKING_GRAY)
def test_a_colour_image_counts_as_its_luma(name: str, params: Any) -> None:
    image = example_image("uint8", 3)
    function = OPERATIONS[name].function
    np.testing.assert_array_equal(function(image, **params), function(grayscale(image), **params))


@pytest.mark.parametrize(("name", "params"), MAKING_GRAY)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("share", [0, 0.3, 1])
def test_an_even_area_has_neither_edges_nor_foreground(name: str, params: Any, dtype: str, share: float) -> None:
    image = np.full((40, 41), share * scale(dtype)).astype(dtype)
    assert OPERATIONS[name].function(image, **params).max() <= 1e-6


@pytest.mark.parametrize(("dtype", "tolerance"), [("uint8", 0.51), ("uint16", 0.51), ("float32", 1e-5)])
def test_sobel_agrees_with_scikit_image(dtype: str, tolerance: float) -> None:
    image = example_image(dtype, 1)
    expected = filters.sobel(image.astype(np.float64), mode="mirror")
    assert np.abs(edges(image) - expected).max() <= tolerance


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sigma", [1.5, 3])
def test_canny_draws_the_lines_of_scikit_image(coins: NDArray[Any], dtype: str, sigma: float) -> None:
    """At least 97 % of the lines of each lie within a pixel of the other's."""
    image = (coins / 255 * scale(dtype)).astype(dtype)
    ours = edges(image, method="canny", sigma=sigma) > 0
    expected = feature.canny(coins / 255, sigma, 0.1, 0.2, mode="mirror")
    near = np.ones((3, 3), bool)
    assert ours.sum() > 1000
    assert (ours & ndimage.binary_dilation(expected, near)).sum() >= 0.97 * ours.sum()
    assert (expected & ndimage.binary_dilation(ours, near)).sum() >= 0.97 * expected.sum()


def test_the_lower_limit_must_not_be_above_the_higher() -> None:
    with pytest.raises(ValidationError, match="must not be above"):
        OPERATIONS["edges"].parameters(low=0.3)
    with pytest.raises(ValueError, match="must not be above"):
        edges(example_image("uint8", 1), method="canny", low=0.5, high=0.2)


@pytest.mark.parametrize(("ours", "expected"), [(otsu, filters.threshold_otsu), (li, filters.threshold_li)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_thresholds_are_those_of_scikit_image(coins: NDArray[Any], ours: Any, expected: Any, dtype: str) -> None:
    image = (coins / 255 * scale(dtype)).astype(dtype)
    assert ours(image) == pytest.approx(expected(image), rel=1e-5, abs=0.51 if dtype != "float32" else 0.002)
    example = example_image(dtype, 1)
    assert ours(example) == pytest.approx(expected(example), rel=1e-5, abs=0.51 if dtype != "float32" else 0.002)


@settings(deadline=None, max_examples=60)
@given(image=images(channels=(1,)), method=st.sampled_from([otsu, li]))
def test_a_threshold_lies_within_the_range(image: NDArray[Any], method: Any) -> None:
    assert image.min() <= method(image) <= image.max()


@settings(deadline=None, max_examples=60)
@given(image=images(dtypes=("uint8", "uint16"), channels=(1,), min_side=2))
def test_otsu_equals_scikit_image_for_integers(image: NDArray[Any]) -> None:
    ours, expected = otsu(image), filters.threshold_otsu(image)
    np.testing.assert_array_equal(image > ours, image > expected)


def test_nan_is_not_counted_and_becomes_black() -> None:
    image = np.full((9, 9), 0.2, np.float32)
    image[:4], image[8, 8] = 0.8, np.nan
    for method in ("otsu", "li"):
        result = threshold(image, method=method)  # type: ignore[arg-type]
        np.testing.assert_array_equal(result, np.where(image > 0.5, 1, 0))
    assert threshold(np.full((3, 3), np.nan, np.float32)).max() == 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_local_threshold_is_that_of_scikit_image(coins: NDArray[Any], dtype: str) -> None:
    """In all but 0.1 % of the pixels."""
    image = (coins / 255 * scale(dtype)).astype(dtype)
    level = filters.threshold_local(image.astype(np.float64), 31, mode="mirror", offset=0.02 * scale(dtype))
    result = threshold(image, method="local", radius=15, offset=0.02)
    assert ((result > 0) != (image > level)).mean() < 0.001


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 1), (2, 3), (37, 53)], ids=str)
def test_morphology_equals_scikit_image(method: Any, dtype: str, channels: int, shape: Any) -> None:
    image = example_image(dtype, channels, shape)
    result = morphology(image, method=method, radius=2)
    planes = [image] if channels == 1 else [image[..., channel] for channel in range(3)]
    expected = [FUNCTIONS[method](plane, reference.disk(2), mode="ignore") for plane in planes]
    np.testing.assert_array_equal(result, expected[0] if channels == 1 else np.stack(expected, axis=-1))


@pytest.mark.parametrize("radius", [1, 2, 5])
def test_shapes_are_those_of_scikit_image(radius: int) -> None:
    np.testing.assert_array_equal(footprint(radius, "disk"), reference.disk(radius))
    np.testing.assert_array_equal(footprint(radius, "diamond"), reference.diamond(radius))
    np.testing.assert_array_equal(footprint(radius, "square"), reference.footprint_rectangle((2 * radius + 1,) * 2))


@settings(deadline=None, max_examples=60)
@given(
    image=images(channels=(1, 3)),
    method=st.sampled_from(METHODS),
    radius=st.integers(1, 4),
    shape=st.sampled_from(["disk", "square", "diamond"]),
    tile=st.integers(2, 12),
)
def test_tiles_give_the_pixels_of_the_whole(
    image: NDArray[Any], method: Any, radius: int, shape: Any, tile: int
) -> None:
    tiled = by_tiles("morphology", image, tile, method=method, radius=radius, shape=shape)
    assert_same_pixels(tiled, morphology(image, method=method, radius=radius, shape=shape))


@settings(deadline=None, max_examples=40)
@given(image=images(channels=(1, 3)), radius=st.integers(1, 4))
def test_opening_and_closing_twice_is_as_once(image: NDArray[Any], radius: int) -> None:
    for method in ("open", "close"):
        once = morphology(image, method=method, radius=radius)  # type: ignore[arg-type]
        np.testing.assert_array_equal(morphology(once, method=method, radius=radius), once)  # type: ignore[arg-type]
