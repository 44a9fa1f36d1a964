"""Sharpness against SciPy's convolutions and known values; blur must lower it, and they are in stored levels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from scipy import ndimage
from skimage import data

from pipelines.analyses.sharpness import SharpnessAccumulator, sharpness
from pipelines.operations.filters import gaussian
from tests.strategies import example_image, images

NAMES = ["laplacian_variance", "tenengrad", "brenner"]
DTYPES = ["uint8", "uint16", "float32"]
SOBEL = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])


def measure(image: NDArray[Any]) -> dict[str, Any]:
    before = image.copy()
    result = dict(sharpness(image))
    assert_array_equal(image, before)
    assert list(result) == [*NAMES, "white"]
    assert result.pop("white") == (1 if image.dtype.kind == "f" else np.iinfo(image.dtype).max)
    return result


def reference(image: NDArray[Any]) -> dict[str, float]:
    """The definitions in float64; ``mirror`` of SciPy doesn't repeat the border pixel."""
    values = image.astype(np.float64)
    luma = values if values.ndim == 2 else values[..., :3] @ [0.2126, 0.7152, 0.0722]
    detail = ndimage.convolve(luma, np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]]), mode="mirror")
    across, down = (ndimage.correlate(luma, kernel, mode="mirror") for kernel in (SOBEL, SOBEL.T))
    steps = (luma[:, 2:] - luma[:, :-2]) ** 2
    return {
        "laplacian_variance": detail.var(),
        "tenengrad": np.mean(across**2 + down**2),
        "brenner": steps.mean() if steps.size else 0.0,
    }


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 2), (37, 53), (400, 333)])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_numbers_equal_their_definitions(dtype: str, channels: int, shape: tuple[int, int]) -> None:
    """400 x 333 is more than one band of rows."""
    image = example_image(dtype, channels, shape)
    expected = reference(image)
    for name, value in measure(image).items():
        assert value == pytest.approx(expected[name], rel=1e-4, abs=1e-10), name


def test_known_values() -> None:
    """One bright pixel of 10 on black: Laplacian -40 once, 10 four times; Sobel 2 * (2**2 + 2**2 + 4 * 1) * 10**2."""
    image = np.zeros((9, 9), np.uint8)
    image[4, 4] = 10
    result = measure(image)
    assert result["laplacian_variance"] == pytest.approx((1600 + 4 * 100) / 81)
    assert result["tenengrad"] == pytest.approx(2 * 12 * 100 / 81)
    assert result["brenner"] == pytest.approx(2 * 100 / 63)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_flat_image_is_not_sharp(dtype: str) -> None:
    white = 1 if dtype == "float32" else np.iinfo(dtype).max
    result = measure(np.full((20, 30, 3), white, dtype))
    assert all(value == pytest.approx(0, abs=1e-6) for value in result.values())


@pytest.mark.parametrize("picture", ["camera", "coffee"])
def test_blur_lowers_every_number(picture: str) -> None:
    image = getattr(data, picture)()
    series = [measure(image)] + [measure(gaussian(image, sigma=sigma)) for sigma in (0.7, 1.5, 3.0)]
    for name in NAMES:
        values = [numbers[name] for numbers in series]
        assert values == sorted(values, reverse=True)
        assert values[-1] < values[0] / 2


def test_numbers_are_in_stored_levels() -> None:
    image = data.coffee()
    deep, floats = image.astype(np.uint16) * 257, np.float32(image / 255)
    for name, value in measure(image).items():
        assert measure(deep)[name] == pytest.approx(value * 257**2, rel=1e-4)
        assert measure(floats)[name] == pytest.approx(value / 255**2, rel=1e-4)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_hole_costs_its_surroundings(bad: float) -> None:
    image = example_image("float32", 3, (400, 333)).copy()
    whole = measure(image)
    image[5, 5, 1] = bad
    for name, value in measure(image).items():
        assert value == pytest.approx(whole[name], rel=0.01)
    assert measure(np.full((9, 9), bad, np.float32)) == dict.fromkeys(NAMES)


@settings(deadline=None, max_examples=40)
@given(image=images())
def test_mirrored_pictures_are_as_sharp(image: NDArray[Any]) -> None:
    for other in (image[::-1], image[:, ::-1]):
        for name, value in measure(other).items():
            assert value == pytest.approx(measure(image)[name], rel=1e-4, abs=1e-3)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), image=images(max_side=40))
def test_bands_of_any_height_give_the_numbers_of_the_whole_image(data: st.DataObject, image: NDArray[Any]) -> None:
    """To the last digit: sums of floats are cut at the same rows."""
    height, width = image.shape[:2]
    channels = 1 if image.ndim == 2 else image.shape[2]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.analyses.sharpness.BAND_PIXELS", data.draw(st.sampled_from((1, 3 * width, 1 << 16))))
        expected = sharpness(image)
        accumulator = SharpnessAccumulator(height=height, width=width, dtype=image.dtype, channels=channels)
        row = 0
        while row < height:
            band = image[row : row + data.draw(st.integers(1, height))]
            accumulator.update(band, row=row, column=0)
            row += band.shape[0]
        assert accumulator.result() == expected


def test_bands_out_of_order_are_refused() -> None:
    accumulator = SharpnessAccumulator(height=4, width=4, dtype=np.uint8, channels=1)
    with pytest.raises(ValueError, match="a band at row 2 where row 0 comes next"):
        accumulator.update(np.zeros((2, 4), np.uint8), row=2, column=0)
