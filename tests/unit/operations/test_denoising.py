"""Denoising: sizes and dtypes, tiles, the formulas, and that noise goes while the picture stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from skimage import data, restoration
from skimage.metrics import peak_signal_noise_ratio

from pipelines.operations.denoising import TV_ITERATIONS, denoise
from tests.strategies import example_image, images
from tests.tiles import assert_same_pixels, by_tiles

DTYPES = ("uint8", "uint16", "float32")
METHODS: Any = ("tv", "nl_means", "wavelet")


def distance(result: NDArray[Any], expected: NDArray[Any]) -> float:
    return float(np.abs(result.astype(np.float64) - expected).max())


@pytest.fixture(scope="module")
def clean() -> NDArray[np.float32]:
    return (data.astronaut()[60:220, 140:320] / 255).astype(np.float32)


@pytest.fixture(scope="module")
def noisy(clean: NDArray[np.float32]) -> NDArray[np.float32]:
    image = (clean + np.random.default_rng(1).normal(0, 0.06, clean.shape)).astype(np.float32)
    image.flags.writeable = False
    return image


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 1), (2, 3), (37, 53)], ids=str)
def test_shape_and_dtype_stay(method: Any, dtype: str, channels: int, shape: Any) -> None:
    image = example_image(dtype, channels, shape)
    before = image.copy()
    result = denoise(image, method=method, strength=0.1)
    assert (result.shape, result.dtype) == (image.shape, image.dtype)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 3])
def test_tiles_give_the_pixels_of_the_whole(method: Any, dtype: str, channels: int) -> None:
    image = example_image(dtype, channels, (101, 293))
    assert_same_pixels(
        by_tiles("denoise", image, 47, method=method, strength=0.05), denoise(image, method=method, strength=0.05)
    )


@settings(deadline=None, max_examples=30)
@given(image=images(channels=(1, 3)), method=st.sampled_from(METHODS), tile=st.integers(3, 12))
def test_tiles_of_any_image_give_the_pixels_of_the_whole(image: NDArray[Any], method: Any, tile: int) -> None:
    assert_same_pixels(
        by_tiles("denoise", image, tile, method=method, strength=0.2), denoise(image, method=method, strength=0.2)
    )


@pytest.mark.parametrize("method", METHODS)
def test_noise_goes_and_the_picture_stays(method: Any, clean: NDArray[Any], noisy: NDArray[Any]) -> None:
    before = peak_signal_noise_ratio(clean, noisy, data_range=1)
    after = peak_signal_noise_ratio(clean, denoise(noisy, method=method, strength=0.06), data_range=1)
    assert after > before + 4


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_integers_are_the_rounded_floats(method: Any, dtype: str) -> None:
    image = example_image(dtype, 3)
    top = np.iinfo(dtype).max
    floats = denoise((image / top).astype(np.float32), method=method, strength=0.047)
    expected = np.clip(floats * top, 0, top)
    assert distance(denoise(image, method=method, strength=0.047), expected) <= (0.51 if dtype == "uint8" else 2)


def test_an_even_area_stays() -> None:
    image = np.full((9, 11, 3), 77, np.uint8)
    for method in METHODS:
        np.testing.assert_array_equal(denoise(image, method=method), image)


def test_total_variation_agrees_with_scikit_image(noisy: NDArray[Any]) -> None:
    expected = restoration.denoise_tv_chambolle(
        noisy.astype(np.float64), weight=0.06, eps=0, max_num_iter=TV_ITERATIONS, channel_axis=-1
    )
    assert distance(denoise(noisy, method="tv", strength=0.06), expected) <= 1e-4


def direct_means(image: NDArray[Any], strength: float) -> NDArray[np.float64]:
    rows, columns = image.shape[:2]
    padded = np.pad(image.astype(np.float64), ((9, 9), (9, 9), (0, 0)), mode="reflect")
    total, norm = np.zeros(image.shape), np.zeros((rows, columns, 1))
    for down in range(-7, 8):
        for right in range(-7, 8):
            moved = np.roll(padded, (-down, -right), (0, 1))
            patches = ndimage.uniform_filter(((moved - padded) ** 2).mean(axis=-1), 5)[9:-9, 9:-9, None]
            exponent = np.maximum(patches - 2 * strength**2, 0) / (0.8 * strength) ** 2
            weight = np.where(exponent > 5, 0, np.exp(-exponent))
            total += weight * moved[9:-9, 9:-9]
            norm += weight
    return total / norm


def test_non_local_means_follow_the_formula(noisy: NDArray[Any]) -> None:
    assert distance(denoise(noisy, method="nl_means", strength=0.06), direct_means(noisy, 0.06)) <= 1e-3


def test_non_local_means_are_as_good_as_those_of_scikit_image(clean: NDArray[Any], noisy: NDArray[Any]) -> None:
    expected = restoration.denoise_nl_means(noisy, 5, 7, h=0.8 * 0.06, sigma=0.06, channel_axis=-1)
    ours = denoise(noisy, method="nl_means", strength=0.06)
    reached = [peak_signal_noise_ratio(clean, image, data_range=1) for image in (ours, expected)]
    assert reached[0] > reached[1] - 0.3


def plain_haar(image: NDArray[Any], limit: float, levels: int) -> NDArray[Any]:
    """The decimated transform with means of 2 x 2, its coefficients below the limit set to 0, and back."""
    if not levels:
        return image
    a, b, c, d = image[::2, ::2], image[::2, 1::2], image[1::2, ::2], image[1::2, 1::2]
    mean = plain_haar((a + b + c + d) / 4, limit / 2, levels - 1)
    across, down, both = ((v / 4) * (np.abs(v / 4) >= limit) for v in (a - b + c - d, a + b - c - d, a - b - c + d))
    result = np.empty_like(image)
    result[::2, ::2], result[::2, 1::2] = mean + across + down + both, mean - across + down - both
    result[1::2, ::2], result[1::2, 1::2] = mean + across - down - both, mean - across - down + both
    return result


def test_wavelets_are_the_mean_over_all_shifts_of_the_plain_transform() -> None:
    image = example_image("float32", 1, (32, 40))
    padded = np.pad(image.astype(np.float64), 16, mode="reflect")
    shifted = [
        np.roll(plain_haar(np.roll(padded, (-y, -x), (0, 1)), 3 * 0.05 / 2, 3), (y, x), (0, 1))
        for y in range(8)
        for x in range(8)
    ]
    expected = np.mean(shifted, axis=0)[16:-16, 16:-16]
    assert distance(denoise(image, method="wavelet", strength=0.05), expected) <= 1e-4


@pytest.mark.parametrize("method", METHODS)
def test_without_noise_to_remove_little_changes(method: Any) -> None:
    image = example_image("float32", 3)
    assert distance(denoise(image, method=method, strength=1e-6), image) <= 1e-5


@pytest.mark.parametrize("method", METHODS)
def test_nan_stays_near(method: Any) -> None:
    image = np.full((81, 81), 0.5, np.float32)
    image[40, 40] = np.nan
    result = denoise(image, method=method)
    row, column = np.nonzero(np.isnan(result))
    assert 0 < row.size < 62 * 62
    assert max(abs(row - 40).max(), abs(column - 40).max()) <= 30
