"""Statistics against numpy, scikit-image and SciPy, and what they do at the limits of float32."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from scipy.stats import circmean, circstd
from skimage import color, data
from skimage.measure import shannon_entropy

from pipelines.analyses import ANALYSES
from pipelines.analyses.statistics import columns, statistics
from tests.strategies import example_image, images

CHANNELS = ("red", "green", "blue", "luma")
KINDS = [(dtype, channels) for dtype in ("uint8", "uint16", "float32") for channels in (1, 3, 4)]


def measure(image: NDArray[Any], **params: Any) -> dict[str, Any]:
    before = image.copy()
    result = statistics(image, **params)
    assert_array_equal(image, before)
    assert list(result) == [column.name for column in columns(**params)]
    return dict(result)


def planes(image: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    """The samples of each channel in float64."""
    colours = image[..., :3] if image.ndim == 3 else np.stack([image] * 3, axis=-1)
    wide = colours.astype(np.float64)
    luma = wide @ [2126.0, 7152.0, 722.0] / 10000
    luma = luma.astype(np.float32).astype(np.float64) if image.dtype.kind == "f" else np.floor(luma + 0.5)
    return {"red": wide[..., 0], "green": wide[..., 1], "blue": wide[..., 2], "luma": luma}


@pytest.mark.parametrize("shape", [(1, 1), (37, 53), (3, 257)])
@pytest.mark.parametrize(("dtype", "channels"), KINDS)
def test_numbers_equal_numpy(dtype: str, channels: int, shape: tuple[int, int]) -> None:
    image = example_image(dtype, channels, shape)
    result = measure(image, percentiles=(0.0, 12.5, 50.0, 99.9, 100.0))
    white = 1.0 if dtype == "float32" else np.iinfo(dtype).max
    assert result["white"] == white
    for name, plane in planes(image).items():
        found = {key.removeprefix(f"{name}_"): value for key, value in result.items() if key.startswith(f"{name}_")}
        assert found["mean"] == pytest.approx(plane.mean(), rel=1e-12)
        assert found["std"] == pytest.approx(plane.std(), rel=1e-9, abs=1e-9)
        assert (found["minimum"], found["maximum"]) == (plane.min(), plane.max())
        expected = np.percentile(plane, [0, 12.5, 50, 99.9, 100])
        cut = 2.0**-15 if dtype == "float32" else 1e-12  # floats are cut to 16 significant bits
        assert_allclose([found[key] for key in ("p0", "p12_5", "p50", "p99_9", "p100")], expected, rtol=cut)
        assert found["clipped_low"] == np.mean(plane <= 0)
        assert found["clipped_high"] == np.mean(plane >= white)
        if dtype != "float32":
            assert found["entropy"] == pytest.approx(shannon_entropy(plane), abs=1e-9)


def test_mean_and_deviation_of_16_bits_are_exact() -> None:
    """A deviation of half a level around 65,000 keeps all its digits."""
    image = np.full((1000, 1000), 65000, np.uint16)
    image[::2] += 1
    result = measure(image)
    assert (result["red_mean"], result["red_std"]) == (65000.5, 0.5)


def test_mean_and_deviation_of_floats_are_exact() -> None:
    """16,777,216 and its neighbour: their squares don't fit float64, naive formulas give 0 or nonsense."""
    image = np.full((100, 100), 2.0**24, np.float32)
    image[::2] -= 1
    result = measure(image)
    assert (result["luma_mean"], result["luma_std"]) == (2.0**24 - 0.5, 0.5)


@pytest.mark.parametrize("value", [0.0, 1e-45, -1.5, 0.1, 3.4e38, -3.4e38])
def test_a_flat_image_has_its_value_everywhere(value: float) -> None:
    image = np.full((3, 4, 3), value, np.float32)
    result = measure(image)
    exact = float(np.float32(value))
    for key in ("mean", "minimum", "maximum", "p1", "p50", "p99"):
        assert result[f"green_{key}"] == exact
    assert (result["green_std"], result["green_entropy"], result["achromatic"]) == (0.0, 0.0, 1.0)


@settings(deadline=None, max_examples=40)
@given(hnp.arrays(np.float32, (5, 7), elements=st.floats(width=32)))
def test_any_float_image_equals_numpy_on_its_finite_samples(image: NDArray[Any]) -> None:
    result = measure(image)
    assert result["nan_samples"] == np.count_nonzero(np.isnan(image))
    assert result["infinite_samples"] == np.count_nonzero(np.isinf(image))
    finite = image[np.isfinite(image)].astype(np.float64)
    if not finite.size:
        assert result["red_mean"] is None
        assert result["dynamic_range"] is None
        return
    assert result["red_mean"] == pytest.approx(math.fsum(finite) / finite.size, rel=1e-12)
    assert (result["red_minimum"], result["red_maximum"]) == (finite.min(), finite.max())
    scale = float(np.abs(finite).max())  # 2 ** -141: subnormal numbers have fewer bits to cut
    assert result["red_std"] == pytest.approx(finite.std(), abs=1e-9 * scale)
    assert result["red_p50"] == pytest.approx(float(np.percentile(finite, 50)), abs=2.0**-14 * scale + 2.0**-141)


def test_nan_and_infinities_are_counted_and_left_out() -> None:
    image = np.full((2, 3, 3), 0.5, np.float32)
    image[0, 0] = (np.nan, 0.25, np.inf)
    image[1, 1] = (np.inf, -np.inf, 0.5)
    result = measure(image)
    assert (result["nan_samples"], result["infinite_samples"]) == (1, 3)
    assert (result["red_mean"], result["red_std"], result["luma_mean"]) == (0.5, 0.0, 0.5)
    assert result["green_minimum"] == 0.25
    assert result["achromatic"] == 1.0


# --- hue


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_hue_equals_circular_statistics_of_scipy(dtype: str) -> None:
    stored = data.coffee()
    image = {"uint8": stored, "uint16": stored.astype(np.uint16) * 257, "float32": np.float32(stored / 255)}[dtype]
    hue, saturation, _ = np.moveaxis(color.rgb2hsv(stored), -1, 0)
    degrees = hue[saturation > 0] * 360
    result = measure(image)
    assert result["hue_mean"] == pytest.approx(circmean(degrees, high=360), abs=0.05)
    assert result["hue_std"] == pytest.approx(circstd(degrees, high=360), abs=0.05)
    assert result["achromatic"] == pytest.approx(np.mean(saturation == 0))


def test_hues_on_both_sides_of_red_average_to_red() -> None:
    image = np.array([[[255, 0, 40], [255, 40, 0]]], np.uint8)
    result = measure(image)
    assert result["hue_mean"] in (pytest.approx(0, abs=1e-9), pytest.approx(360, abs=1e-9))
    assert result["hue_std"] == pytest.approx(9.42, abs=0.1)


@pytest.mark.parametrize(("colour", "hue"), [((255, 0, 0), 0.0), ((0, 200, 200), 180.0), ((9, 0, 18), 270.0)])
def test_pure_hues_are_exact(colour: tuple[int, int, int], hue: float) -> None:
    result = measure(np.full((2, 2, 3), colour, np.uint8))
    assert result["hue_mean"] == pytest.approx(hue, abs=1e-9)
    assert result["hue_std"] == pytest.approx(0, abs=1e-5)
    assert result["hue_concentration"] == pytest.approx(1)


def test_opposite_hues_have_no_mean() -> None:
    result = measure(np.array([[[255, 0, 0], [0, 255, 255]]], np.uint8))
    assert (result["hue_mean"], result["hue_std"]) == (None, None)
    assert result["hue_concentration"] == pytest.approx(0, abs=1e-12)


# --- dynamic range


def test_dynamic_range_counts_doublings_of_light() -> None:
    """0.04045 / 12.92 is the linear light of level 0.04045; white has 12.92 / 0.04045 times as much."""
    image = np.full((10, 10), 0.04045, np.float32)
    image[5:] = 1
    assert measure(image)["dynamic_range"] == pytest.approx(math.log2(12.92 / 0.04045), abs=1e-3)


def test_dynamic_range_is_limited_by_one_level() -> None:
    image = np.zeros((10, 10), np.uint8)
    assert measure(image)["dynamic_range"] == 0.0
    image[5:] = 255
    assert measure(image)["dynamic_range"] == pytest.approx(math.log2(255 * 12.92))


# --- parameters and what holds for every image


@pytest.mark.parametrize("percentiles", [(50.0, 50.0), (-1.0,), (99.0, 1.0), (100.5,)])
def test_wrong_percentiles_are_refused(percentiles: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="percentiles"):
        ANALYSES["statistics"].parameters(percentiles=percentiles)


@settings(deadline=None, max_examples=40)
@given(image=images())
def test_numbers_keep_their_order(image: NDArray[Any]) -> None:
    result = measure(image)
    for name in CHANNELS:
        places = [result[f"{name}_{key}"] for key in ("minimum", "p1", "p25", "p50", "p75", "p99", "maximum")]
        assert places == sorted(places)
        assert places[0] <= result[f"{name}_mean"] <= places[-1]
        assert 0 <= result[f"{name}_clipped_low"] + result[f"{name}_clipped_high"] <= 1


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_layout_in_memory_and_alpha_do_not_matter(dtype: str) -> None:
    image = example_image(dtype, 4, (31, 45))
    plain = measure(np.ascontiguousarray(image[..., :3]))
    for same in (image, np.asfortranarray(image), np.flipud(image), np.fliplr(image)):
        assert measure(same) == plain


@pytest.mark.parametrize(("bits", "white"), [(12, 4095), (14, 16383), (None, 65535)])
def test_significant_bits_decide_white(bits: int | None, white: int) -> None:
    image = np.minimum(np.arange(6400, dtype=np.uint16).reshape(80, 80), 4095)
    found = statistics(image, significant_bits=bits)
    assert (found["white"], found["significant_bits"]) == (white, bits or 16)
    assert found["red_clipped_high"] == ((image == 4095).mean() if bits == 12 else 0)
    assert found["red_mean"] == image.mean()
    assert statistics((image >> 4).astype(np.uint8), significant_bits=12)["significant_bits"] == 8
    assert statistics(image.astype(np.float32), significant_bits=12)["significant_bits"] is None
