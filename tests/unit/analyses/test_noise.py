"""Noise: sizes and dtypes, the formulas, known strengths, and scikit-image's estimate."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from skimage import data

from pipelines.analyses.noise import COLUMNS, noise
from pipelines.analyses.registry import ANALYSES
from tests.strategies import example_image, images

DTYPES = ("uint8", "uint16", "float32")
HIGH_PASS = np.array([-0.48296291314453416, 0.8365163037378079, -0.2241438680420134, -0.12940952255126037])
"""db2's decomposition filter as PyWavelets prints it."""


def scale(dtype: Any) -> float:
    return 1.0 if np.dtype(dtype).kind == "f" else float(np.iinfo(dtype).max)


def by_mask(plane: NDArray[Any]) -> float:
    mask = [[1, -2, 1], [-2, 4, -2], [1, -2, 1]]
    response = ndimage.convolve(plane.astype(np.float64), np.array(mask, float))[1:-1, 1:-1]
    return float(math.sqrt(math.pi / 2) * np.abs(response).sum() / (6 * response.size))


def by_wavelet(plane: NDArray[Any]) -> float:
    """As ``skimage.restoration.estimate_sigma``, which needs PyWavelets: one level of db2, mode symmetric."""
    details = plane.astype(np.float64)
    for axis in (0, 1):
        details = np.apply_along_axis(
            lambda line: np.convolve(np.pad(line, 3, mode="symmetric"), HIGH_PASS, mode="valid")[1::2], axis, details
        )
    found = np.abs(details[np.abs(details) > 1e-12 * np.abs(plane).max()])
    return float(np.median(found) / 0.6744897501960817)


def noisy(sigma: float, shape: tuple[int, int] = (256, 255), mean: float = 100) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(mean, sigma, shape).astype(np.float32)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 1), (2, 3), (3, 3), (37, 53)], ids=str)
def test_every_image_gives_every_column(dtype: str, channels: int, shape: tuple[int, int]) -> None:
    image = example_image(dtype, channels, shape)
    before = image.copy()
    result = noise(image)
    assert list(result) == [column.name for column in COLUMNS] == [c.name for c in ANALYSES["noise"].columns()]
    assert (result["sigma"] is None) == (min(shape) < 3)
    assert (result["sigma_red"] is None) == (channels == 1 or min(shape) < 3)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 3), (4, 5), (36, 53)], ids=str)
def test_the_formulas(dtype: str, shape: tuple[int, int]) -> None:
    image = example_image(dtype, 1, shape, seed=3)
    assert noise(image)["sigma"] == pytest.approx(by_mask(image), rel=1e-4, abs=1e-6 * scale(dtype))
    assert noise(image)["sigma_wavelet"] == pytest.approx(by_wavelet(image), rel=1e-4, abs=1e-6 * scale(dtype))


def test_channels_and_luma() -> None:
    image = example_image("uint8", 4)
    result = noise(image)
    for channel, name in enumerate(("sigma_red", "sigma_green", "sigma_blue")):
        assert result[name] == pytest.approx(by_mask(image[..., channel]), rel=1e-5)
    assert result["sigma"] == pytest.approx(by_mask(image[..., :3] @ [0.2126, 0.7152, 0.0722]), rel=1e-4)


def test_the_wavelet_estimate_is_that_of_scikit_image() -> None:
    """Computed with scikit-image 0.26 and PyWavelets 1.9."""
    assert noise(noisy(10))["sigma_wavelet"] == pytest.approx(9.927445, rel=1e-5)
    even_areas_count_there = 0.02
    assert noise(data.coins())["sigma_wavelet"] == pytest.approx(1.950786, rel=even_areas_count_there)


@pytest.mark.parametrize("sigma", [2, 10])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_known_noise_is_found(sigma: float, dtype: str) -> None:
    image = (noisy(sigma) / 255 * scale(dtype)).astype(dtype)
    result = noise(image)
    for name in ("sigma", "sigma_wavelet"):
        assert result[name] / scale(dtype) * 255 == pytest.approx(sigma, rel=0.03)


@settings(deadline=None, max_examples=25)
@given(
    dtype=st.sampled_from(["uint16", "float32"]),
    level=st.floats(0.05, 0.9),
    grains=st.floats(0.6, 40),
    slope=st.floats(0, 1),
    channels=st.sampled_from([1, 3]),
)
def test_small_noise_is_that_of_scikit_image(
    dtype: str, level: float, grains: float, slope: float, channels: int
) -> None:
    """Down to what the samples can hold: noise of ``grains`` levels of 16 bits, of floats 1/1000 of that."""
    unit = 1 / 65535 if dtype == "uint16" else 1e-3 / 65535
    shape = (64, 70) if channels == 1 else (64, 70, 3)
    values = np.random.default_rng(0).normal(level, grains * unit, shape)
    values += (slope * 0.05 * np.linspace(0, 1, 70))[:, None] if channels == 3 else slope * 0.05 * np.linspace(0, 1, 70)
    image = np.rint(values * 65535).astype(np.uint16) if dtype == "uint16" else values.astype(np.float32)
    gray = image.astype(np.float64) if channels == 1 else image.astype(np.float64) @ [0.2126, 0.7152, 0.0722]
    assert noise(image)["sigma_wavelet"] == pytest.approx(by_wavelet(gray), rel=1e-3)
    assert noise(image)["sigma"] == pytest.approx(by_mask(gray), rel=1e-6)


def test_edges_move_the_wavelet_estimate_less() -> None:
    random = np.random.default_rng(1)
    picture = 80.0 * (random.random((60, 60)) > 0.5).repeat(10, 0).repeat(10, 1) + random.normal(50, 3, (600, 600))
    result = noise(picture.astype(np.float32))
    assert result["sigma"] - 3 > 3 * abs(result["sigma_wavelet"] - 3)


def test_planes_and_even_areas_have_none() -> None:
    slope = np.add.outer(np.arange(50, dtype=np.float32), 2 * np.arange(60, dtype=np.float32))
    assert noise(slope)["sigma"] == 0
    even = noise(np.full((9, 9), 255, np.uint8))
    assert (even["sigma"], even["sigma_wavelet"]) == (0, None)


def test_what_is_not_finite_is_not_counted() -> None:
    image = noisy(10)
    image[100, 100], image[30, 40] = np.nan, np.inf
    result = noise(image)
    assert result["sigma"] == pytest.approx(10, rel=0.03)
    assert result["sigma_wavelet"] == pytest.approx(10, rel=0.03)
    nothing = noise(np.full((9, 9), np.nan, np.float32))
    assert (nothing["sigma"], nothing["sigma_wavelet"]) == (None, None)


@settings(deadline=None, max_examples=50)
@given(image=images(min_side=3))
def test_a_turned_image_is_as_noisy(image: NDArray[Any]) -> None:
    result, turned = noise(image), noise(np.rot90(image, 2))
    assert turned["sigma"] == pytest.approx(result["sigma"], rel=1e-4, abs=1e-5 * scale(image.dtype))
    assert result["sigma"] >= 0
