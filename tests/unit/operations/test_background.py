"""Background: sizes and dtypes, agreement with scikit-image, and that objects stay while the unevenness goes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage import data, filters, restoration

from pipelines.models import ImageOperation
from pipelines.operations import apply_operations
from pipelines.operations.background import background
from tests.strategies import example_image, images

DTYPES = ("uint8", "uint16", "float32")
CASES: Any = [
    pytest.param({"method": "rolling_ball", "radius": 4}, id="ball"),
    pytest.param({"method": "rolling_ball", "radius": 4, "polarity": "dark"}, id="ball-dark-objects"),
    pytest.param({"method": "flat_field", "radius": 6}, id="flat-field"),
]


def scale(dtype: Any) -> float:
    return 1.0 if np.dtype(dtype).kind == "f" else float(np.iinfo(dtype).max)


def distance(result: NDArray[Any], expected: NDArray[Any]) -> float:
    return float(np.abs(result.astype(np.float64) - expected).max())


@pytest.mark.parametrize("params", CASES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 1), (2, 3), (37, 53)], ids=str)
def test_shape_and_dtype_stay(params: Any, dtype: str, channels: int, shape: Any) -> None:
    image = example_image(dtype, channels, shape)
    before = image.copy()
    result = background(image, **params)
    assert (result.shape, result.dtype) == (image.shape, image.dtype)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("params", CASES)
def test_alpha_is_kept(params: Any) -> None:
    image = np.maximum(example_image("uint8", 4), 1)
    result = apply_operations(image, [ImageOperation("background", params)]).pixels
    np.testing.assert_array_equal(result[..., 3], image[..., 3])
    np.testing.assert_array_equal(result[..., :3], background(image[..., :3], **params))


def ball_of(image: NDArray[Any], radius: int) -> NDArray[np.float64]:
    """The values of scikit-image; its ball is ``radius`` levels high, so values go there in levels of 255."""
    unit = scale(image.dtype) / 255
    below: NDArray[np.float64] = restoration.rolling_ball(image.astype(np.float64) / unit, radius=radius) * unit
    return below


@pytest.mark.parametrize("radius", [1, 5, 12])
@pytest.mark.parametrize(("dtype", "tolerance"), [("uint8", 0.501), ("uint16", 0.51), ("float32", 1e-5)])
def test_the_rolling_ball_is_that_of_scikit_image(dtype: str, tolerance: float, radius: int) -> None:
    image = example_image(dtype, 1)
    expected = image - ball_of(image, radius)
    assert distance(background(image, radius=radius), expected) <= tolerance


@settings(deadline=None, max_examples=40)
@given(image=images(dtypes=("uint8", "float32"), channels=(1,)), radius=st.integers(1, 9))
def test_the_ball_of_any_image_is_that_of_scikit_image(image: NDArray[Any], radius: int) -> None:
    expected = image - ball_of(image, radius)
    assert distance(background(image, radius=radius), expected) <= (1e-5 if image.dtype.kind == "f" else 0.501)


@settings(deadline=None, max_examples=30)
@given(image=images(dtypes=("uint8", "uint16"), channels=(1, 3)), radius=st.integers(1, 5))
def test_a_light_background_is_a_dark_one_in_the_negative(image: NDArray[Any], radius: int) -> None:
    top = image.dtype.type(scale(image.dtype))
    expected = top - background(top - image, radius=radius)
    assert distance(background(image, radius=radius, polarity="dark"), expected) <= 1


@pytest.mark.parametrize(("dtype", "tolerance"), [("uint8", 0.51), ("uint16", 3), ("float32", 1e-4)])
def test_the_flat_field_is_that_of_a_gaussian_of_scikit_image(dtype: str, tolerance: float) -> None:
    coins = data.coins()[:101, :103]
    image = (coins / 255 * scale(dtype)).astype(dtype)
    light = filters.gaussian(image.astype(np.float64), 10, mode="mirror", truncate=4)
    expected = image * light.mean() / light
    if dtype != "float32":
        expected = expected.clip(0, scale(dtype))
    assert distance(background(image, method="flat_field", radius=20), expected) <= tolerance


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_ball_takes_a_slope_off_and_leaves_objects(dtype: str) -> None:
    slope = np.linspace(20, 120, 200)[None, :] + np.zeros((100, 1))
    picture = slope.copy()
    picture[40:50, 30:40] += 60
    picture[60:70, 150:160] += 60
    result = background((picture / 255 * scale(dtype)).astype(dtype), radius=25).astype(np.float64) * 255 / scale(dtype)
    objects = picture > slope
    assert result[~objects].max() <= 6
    assert result[objects].min() >= 55


def test_the_flat_field_evens_out_the_light() -> None:
    light = np.linspace(0.3, 0.9, 300, dtype=np.float32)[None, :] + np.zeros((100, 1), np.float32)
    result = background(light, method="flat_field", radius=20)
    inner = result[:, 50:-50]
    assert np.ptp(inner) < 0.01
    assert abs(float(inner.mean()) - 0.6) < 0.01


def test_black_and_nan_stay_what_they_are() -> None:
    for method in ("rolling_ball", "flat_field"):
        assert background(np.zeros((9, 9), np.uint8), method=method).max() == 0  # type: ignore[arg-type]
    image = np.full((21, 21), 0.5, np.float32)
    image[10, 10] = np.nan
    result = background(image, radius=3)
    assert np.isnan(result).sum() == 1
    assert np.nanmax(result) <= 1e-6
