"""Smoothing and sharpening: sizes and dtypes, tiles, and agreement with scikit-image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage import filters as reference
from skimage.restoration import denoise_bilateral

from pipelines.operations.filters import bilateral, gaussian, median, unsharp_mask
from pipelines.operations.registry import OPERATIONS
from tests.strategies import example_image, images
from tests.tiles import assert_same_pixels, by_tiles

DTYPES = ("uint8", "uint16", "float32")
FILTERS = [
    pytest.param("gaussian", {"sigma": 1.3}, id="gaussian"),
    pytest.param("gaussian", {"sigma": 6.0}, id="gaussian-wide"),
    pytest.param("median", {"radius": 1}, id="median-3"),
    pytest.param("median", {"radius": 2}, id="median-5"),
    pytest.param("median", {"radius": 4}, id="median-9"),
    pytest.param("bilateral", {"sigma_space": 1.5, "sigma_color": 0.15}, id="bilateral"),
    pytest.param("unsharp_mask", {"radius": 2, "amount": 0.7}, id="unsharp-mask"),
    pytest.param("unsharp_mask", {"radius": 1, "amount": 1.5, "threshold": 0.02}, id="unsharp-mask-threshold"),
]
SHAPES = [(1, 1), (1, 9), (7, 1), (2, 3), (37, 53)]


def scale(dtype: str) -> float:
    return 1.0 if dtype == "float32" else float(np.iinfo(dtype).max)


def distance(result: NDArray[Any], expected: NDArray[Any]) -> float:
    return float(np.abs(result.astype(np.float64) - expected).max())


@pytest.mark.parametrize(("name", "params"), FILTERS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shape_and_dtype_stay(name: str, params: dict[str, Any], dtype: str, channels: int, shape: Any) -> None:
    image = example_image(dtype, channels, shape)
    before = image.copy()
    result = OPERATIONS[name].function(image, **params)
    assert result.shape == image.shape
    assert result.dtype == image.dtype
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(("name", "params"), FILTERS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 3])
def test_tiles_give_the_pixels_of_the_whole(name: str, params: dict[str, Any], dtype: str, channels: int) -> None:
    image = example_image(dtype, channels, (75, 91))
    assert_same_pixels(by_tiles(name, image, 32, **params), OPERATIONS[name].function(image, **params))


@settings(deadline=None, max_examples=40)
@given(image=images(channels=(1, 3)), choice=st.sampled_from(FILTERS), tile=st.integers(1, 12))
def test_tiles_of_any_image_give_the_pixels_of_the_whole(image: NDArray[Any], choice: Any, tile: int) -> None:
    name, params = choice.values
    assert_same_pixels(by_tiles(name, image, tile, **params), OPERATIONS[name].function(image, **params))


@pytest.mark.parametrize(("name", "params"), FILTERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_an_even_area_stays(name: str, params: dict[str, Any], dtype: str) -> None:
    image = np.full((9, 11, 3), 0.4 * scale(dtype)).astype(dtype)
    assert distance(OPERATIONS[name].function(image, **params), image) <= 1e-6


@pytest.mark.parametrize("sigma", [0.05, 0.5, 1, 2, 3, 4.5, 10])
@pytest.mark.parametrize(("dtype", "tolerance"), [("uint8", 1.5), ("uint16", 1.5), ("float32", 1e-5)])
def test_gaussian_agrees_with_scikit_image(dtype: str, tolerance: float, sigma: float) -> None:
    image = example_image(dtype, 3)
    expected = reference.gaussian(image.astype(np.float64), sigma, mode="mirror", truncate=4, channel_axis=-1)
    assert distance(gaussian(image, sigma=sigma), expected) <= tolerance


@pytest.mark.parametrize("radius", [1, 2, 3, 6])
@pytest.mark.parametrize("dtype", DTYPES)
def test_median_equals_scikit_image(dtype: str, radius: int) -> None:
    image = example_image(dtype, 1)
    expected = reference.median(image, np.ones((2 * radius + 1,) * 2), mode="nearest")
    np.testing.assert_array_equal(median(image, radius=radius), expected)


@settings(deadline=None, max_examples=30)
@given(image=images(dtypes=("uint16", "float32"), channels=(1,)), radius=st.integers(3, 9))
def test_median_of_any_image_is_the_middle_of_the_sorted_window(image: NDArray[Any], radius: int) -> None:
    padded = np.pad(image, radius, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * radius + 1, 2 * radius + 1))
    np.testing.assert_array_equal(median(image, radius=radius), np.median(windows, axis=(-2, -1)).astype(image.dtype))


def test_median_of_floats_joins_its_blocks() -> None:
    image = example_image("float32", 1, (300, 520))
    expected = reference.median(image, np.ones((9, 9)), mode="nearest")
    np.testing.assert_array_equal(median(image, radius=4), expected)


@pytest.mark.parametrize("radius", [1, 3])
def test_a_single_nan_vanishes_in_the_median(radius: int) -> None:
    image = np.full((9, 9), 0.5, np.float32)
    image[4, 4] = np.nan
    np.testing.assert_array_equal(median(image, radius=radius), np.full((9, 9), 0.5, np.float32))


def direct_bilateral(image: NDArray[Any], sigma_space: float, sigma_color: float) -> NDArray[np.float64]:
    radius = int(np.ceil(2 * sigma_space))
    image = image.reshape(*image.shape[:2], -1).astype(np.float64)
    padded = np.pad(image, ((radius, radius), (radius, radius), (0, 0)), mode="reflect")
    total, norm = np.zeros_like(image), np.zeros((*image.shape[:2], 1))
    for down in range(2 * radius + 1):
        for right in range(2 * radius + 1):
            other = padded[down : down + image.shape[0], right : right + image.shape[1]]
            place = (down - radius) ** 2 + (right - radius) ** 2
            difference = ((other - image) ** 2).sum(axis=-1, keepdims=True)
            weight = np.exp(-place / (2 * sigma_space**2) - difference / (2 * sigma_color**2))
            total += weight * other
            norm += weight
    return total / norm


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("dtype", "tolerance"), [("uint8", 1), ("uint16", 7), ("float32", 1e-4)])
def test_bilateral_follows_the_formula(dtype: str, tolerance: float, channels: int) -> None:
    image = example_image(dtype, channels)
    expected = direct_bilateral(image, 1.5, 0.1 * scale(dtype))
    result = bilateral(image, sigma_space=1.5, sigma_color=0.1)
    assert distance(result.reshape(expected.shape), expected) <= tolerance


@pytest.mark.parametrize("channels", [1, 3])
def test_bilateral_agrees_with_scikit_image_where_place_counts_for_nothing(channels: int) -> None:
    """scikit-image 0.26 reads its table of places one column off for odd windows, and divides distances by channels."""
    from pipelines.operations import smoothing_kernels

    image = np.atleast_3d(example_image("float32", channels))
    padded = np.stack([np.pad(image[..., channel], 3, mode="reflect") for channel in range(channels)])
    result = np.empty((channels, *image.shape[:2]), np.float32)
    smoothing_kernels._bilateral(padded, np.ones((7, 7), np.float32), np.float32(1 / (2 * 0.3**2)), None, result)
    options = {"win_size": 7, "sigma_color": 0.3 / channels, "sigma_spatial": 1e6, "mode": "reflect", "bins": 100_000}
    expected = denoise_bilateral(
        np.squeeze(image).astype(np.float64), channel_axis=-1 if channels > 1 else None, **options
    )
    assert distance(np.squeeze(np.moveaxis(result, 0, -1)), expected) <= 1e-4


def test_bilateral_keeps_an_edge_that_a_gaussian_blurs() -> None:
    image = np.zeros((20, 20), np.uint8)
    image[:, 10:] = 200
    assert distance(bilateral(image, sigma_space=2, sigma_color=0.05), image) == 0
    assert distance(gaussian(image, sigma=2), image) > 50


@pytest.mark.parametrize("amount", [-0.5, 0.5, 2])
@pytest.mark.parametrize("radius", [0.8, 2, 5])
@pytest.mark.parametrize(("dtype", "tolerance"), [("uint8", 1), ("uint16", 1), ("float32", 1e-5)])
def test_unsharp_mask_agrees_with_scikit_image(dtype: str, tolerance: float, radius: float, amount: float) -> None:
    image = example_image(dtype, 3)
    wide = np.pad(image, ((25, 25), (25, 25), (0, 0)), mode="reflect").astype(np.float64)
    expected = reference.unsharp_mask(wide, radius, amount, preserve_range=True, channel_axis=2)[25:-25, 25:-25]
    if dtype != "float32":
        expected = expected.clip(0, scale(dtype))
    assert distance(unsharp_mask(image, radius=radius, amount=amount), expected) <= tolerance * (1 + 1.5 * abs(amount))


def test_unsharp_mask_leaves_differences_below_the_threshold() -> None:
    image = np.zeros((9, 40), np.float32)
    image[:, 10:20], image[:, 30:] = 0.5, 0.02
    sharp = unsharp_mask(image, radius=1, amount=1, threshold=0.05)
    assert sharp[4, 10] > 0.55
    np.testing.assert_array_equal(sharp[:, 26:], image[:, 26:])


def test_floats_beyond_white_are_kept() -> None:
    image = np.full((5, 5), 3.0, np.float32)
    image[2, 2] = -1
    assert unsharp_mask(image).min() < -1
    assert gaussian(image).max() > 2.9
    assert median(image).max() == 3


@pytest.mark.parametrize("name", ["gaussian", "bilateral", "unsharp_mask"])
def test_nan_stays_within_the_halo(name: str) -> None:
    operation = OPERATIONS[name]
    image = np.full((41, 41), 0.5, np.float32)
    image[20, 20] = np.nan
    result = operation.function(image)
    halo = operation.halo(**dict(operation.parameters()))
    assert np.isnan(result[20, 20])
    row, column = np.nonzero(np.isnan(result))
    assert max(abs(row - 20).max(), abs(column - 20).max()) <= halo
