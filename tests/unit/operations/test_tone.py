"""Tone operations: known values, scikit-image as the reference, and what must hold for every image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from skimage import color, data, exposure

from pipelines.operations import OPERATIONS, tone
from tests.strategies import example_image, images

DTYPES = ("uint8", "uint16", "float32")
TONE = sorted(name for name, operation in OPERATIONS.items() if operation.group == "tone")
IDENTITIES: dict[str, dict[str, Any]] = {
    "brightness_contrast": {"brightness": 0.0, "contrast": 1.0},
    "exposure": {"stops": 0.0},
    "gamma": {"gamma": 1.0},
    "levels": {"in_black": 0.0, "in_white": 1.0},
    "curves": {"points": ((0.0, 0.0), (0.3, 0.3), (1.0, 1.0)), "red": ((0.0, 0.0), (1.0, 1.0))},
}
RISING: dict[str, dict[str, Any]] = {
    "brightness_contrast": {"brightness": -0.1, "contrast": 1.7},
    "exposure": {"stops": -1.3},
    "gamma": {"gamma": 2.2},
    "levels": {"in_black": 0.1, "in_white": 0.8, "gamma": 1.4, "out_black": 0.05},
    "curves": {"points": ((0.0, 0.0), (0.2, 0.5), (0.25, 0.5), (1.0, 0.9))},
    "sigmoid": {"cutoff": 0.4, "gain": 8.0},
}


def full_scale(image: NDArray[Any]) -> float:
    return 1.0 if image.dtype.kind == "f" else float(np.iinfo(image.dtype).max)


def unit(image: NDArray[Any]) -> NDArray[np.float64]:
    return image / full_scale(image)


def run(name: str, image: NDArray[Any], **params: Any) -> NDArray[Any]:
    before = image.copy()
    result = OPERATIONS[name].function(image, **params)
    assert_array_equal(image, before)
    return result


@pytest.mark.parametrize("name", TONE)
@settings(deadline=None, max_examples=25)
@given(image=images(channels=(1, 3)))
def test_shape_and_dtype_stay(name: str, image: NDArray[Any]) -> None:
    result = run(name, image)
    assert (result.shape, result.dtype) == (image.shape, image.dtype)


@pytest.mark.parametrize("name", TONE)
def test_nan_stays_nan_and_touches_nothing_outside_its_pixel(name: str) -> None:
    image = example_image("float32", 3).copy()
    image[4, 5] = np.nan
    image.flags.writeable = False
    missing = np.isnan(run(name, image)).any(axis=-1)
    assert np.argwhere(missing).tolist() == [[4, 5]]


@pytest.mark.parametrize("name", IDENTITIES)
@settings(deadline=None, max_examples=25)
@given(image=images(channels=(1, 3)))
def test_neutral_parameters_change_nothing(name: str, image: NDArray[Any]) -> None:
    """Integers exactly; float32 within 1e-6."""
    params = IDENTITIES[name] if image.ndim == 3 else {k: v for k, v in IDENTITIES[name].items() if k != "red"}
    assert_allclose(run(name, image, **params), image, rtol=0, atol=1e-6 if image.dtype.kind == "f" else 0)


@pytest.mark.parametrize("name", RISING)
@pytest.mark.parametrize("dtype", DTYPES)
def test_brighter_stays_brighter(name: str, dtype: str) -> None:
    ramp = np.linspace(0, 1, 1001)[None] * full_scale(np.empty(0, dtype))
    result = run(name, ramp.astype(dtype), **RISING[name])
    assert (np.diff(result.astype(np.float64)) >= 0).all()


@pytest.mark.parametrize("name", RISING)
def test_table_float_and_16_bit_agree(name: str) -> None:
    """All dtypes evaluate one curve: within half a level of uint8, plus 2e-6."""
    narrow = example_image("uint8", 3)
    wide = narrow.astype(np.uint16) * 257
    real = np.float32(narrow / 255)
    exact = np.clip(run(name, real, **RISING[name]), 0, 1)
    assert_allclose(unit(run(name, narrow, **RISING[name])), exact, rtol=0, atol=0.5 / 255 + 2e-6)
    assert_allclose(unit(run(name, wide, **RISING[name])), exact, rtol=0, atol=0.5 / 65535 + 2e-6)


@given(image=images(channels=(1, 3)))
@settings(deadline=None, max_examples=25)
def test_inverting_twice_gives_the_image_back(image: NDArray[Any]) -> None:
    assert_allclose(run("invert", run("invert", image)), image, rtol=0, atol=1e-7)


def test_known_values() -> None:
    samples = np.array([[0, 64, 128, 255]], np.uint8)
    assert tone.invert(samples).tolist() == [[255, 191, 127, 0]]
    assert tone.brightness_contrast(samples, brightness=0.1, contrast=2).tolist() == [[0, 26, 154, 255]]
    assert tone.gamma(samples, gamma=2).tolist() == [[0, 16, 64, 255]]
    assert tone.levels(samples, in_black=64 / 255, in_white=128 / 255).tolist() == [[0, 0, 255, 255]]
    assert tone.levels(samples, out_black=0.2, out_white=0.8).tolist() == [[51, 89, 128, 204]]
    assert tone.curves(samples, points=((0, 1), (1, 0))).tolist() == [[255, 191, 127, 0]]


def test_one_stop_doubles_linear_light() -> None:
    """sRGB 0.5 is 0.2140 in linear light; twice that is encoded as 0.6858."""
    assert tone.exposure(np.full((1, 1), 0.5, np.float32), stops=1.0)[0, 0] == pytest.approx(0.68583, abs=1e-4)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_gamma_and_sigmoid_match_scikit_image_within_a_level(dtype: str) -> None:
    image = example_image(dtype, 3)
    gamma, sigmoid = exposure.adjust_gamma(image, 1.8), exposure.adjust_sigmoid(image, 0.4, 7)
    assert np.abs(run("gamma", image, gamma=1.8).astype(int) - gamma).max() <= 1
    assert np.abs(run("sigmoid", image, cutoff=0.4, gain=7.0).astype(int) - sigmoid).max() <= 1


def test_float_values_outside_the_range_are_kept() -> None:
    image = np.array([[-0.5, 0.5, 2.0]], np.float32)
    assert_allclose(tone.curves(image, points=((0, 0.1), (1, 0.8))), [[-0.4, 0.45, 1.8]], atol=1e-6)
    assert_allclose(tone.gamma(image, gamma=2), [[-0.25, 0.25, 4.0]], atol=1e-6)
    assert_allclose(tone.levels(image), [[0, 0.5, 1]], atol=1e-6)


def test_a_curve_of_one_channel_leaves_the_others_and_makes_gray_coloured() -> None:
    flat = ((0.0, 0.0), (1.0, 0.0))
    for dtype in DTYPES:
        image = example_image(dtype, 3)
        result = run("curves", image, green=flat)
        assert_array_equal(result[..., 0], image[..., 0])
        assert not result[..., 1].any()
        gray = example_image(dtype, 1)
        assert_array_equal(run("curves", gray, green=flat)[..., 2], gray)


@given(
    st.lists(st.floats(0, 1), min_size=2, max_size=8, unique=True).map(sorted),
    st.lists(st.floats(0, 1), min_size=8, max_size=8).map(sorted),
)
@settings(deadline=None, max_examples=50)
def test_rising_points_give_a_rising_curve_through_them(x: list[float], y: list[float]) -> None:
    points = tuple((left, height) for left, height in zip(np.round(x, 3), y, strict=False))
    assume(len(dict(points)) == len(points))
    ramp = np.concatenate([np.linspace(0, 1, 500), [point[0] for point in points]]).astype(np.float32)
    result = tone.curves(ramp[None], points=points)[0]
    assert (np.diff(result[:500]) >= -1e-6).all()
    assert_allclose(result[500:], [point[1] for point in points], atol=1e-3)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("curves", {"points": [[0, 0]]}),
        ("curves", {"points": [[0.5, 0], [0.5, 1]]}),
        ("curves", {"red": [[0, 0], [1, 1.5]]}),
        ("levels", {"in_black": 0.6, "in_white": 0.4}),
        ("gamma", {"gamma": 0}),
        ("exposure", {"stops": float("nan")}),
        ("invert", {"much": True}),
    ],
)
def test_senseless_parameters_are_refused(name: str, params: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=name):
        OPERATIONS[name].parameters(**params)


@pytest.mark.parametrize("dtype", DTYPES)
def test_equalize_matches_scikit_image(dtype: str) -> None:
    """Within half a level; float32 within 1e-6."""
    image = example_image(dtype, 1)
    atol = 1e-6 if dtype == "float32" else 0.5 / full_scale(image) + 1e-9
    assert_allclose(unit(run("equalize", image)), exposure.equalize_hist(image), rtol=0, atol=atol)


@pytest.mark.parametrize("name", ["equalize", "clahe"])
def test_colours_keep_hue_and_saturation(name: str) -> None:
    """float32, within 1e-4 where hue and saturation are well defined."""
    image = example_image("float32", 3)
    before, after = color.rgb2hsv(image), color.rgb2hsv(run(name, image))
    clear = (before[..., 1] > 0.05) & (after[..., 2] > 0.05)
    turn = np.abs(after - before)[..., 0][clear]
    assert np.minimum(turn, 1 - turn).max() < 1e-4
    assert np.abs(after - before)[..., 1][clear].max() < 1e-4


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_of_one_value_survives_what_stretches(dtype: str, channels: int) -> None:
    shape = (5, 7) if channels == 1 else (5, 7, 3)
    image = np.full(shape, 0.25 * full_scale(np.empty(0, dtype)), dtype)
    assert_array_equal(run("equalize", image), image)
    assert_array_equal(run("autocontrast", image), image)


@pytest.mark.parametrize("picture", ["camera", "moon", "coins"])
@pytest.mark.parametrize("clip_limit", [0.01, 0.05])
def test_clahe_is_near_scikit_image(picture: str, clip_limit: float) -> None:
    """Mean difference below 3 % of full scale: the reference stretches its result and counts reflected borders."""
    image = getattr(data, picture)()
    reference = exposure.equalize_adapthist(image, clip_limit=clip_limit)
    assert np.abs(unit(run("clahe", image, clip_limit=clip_limit)) - reference).mean() < 0.03


def test_clahe_of_one_tile_without_limit_is_equalization() -> None:
    """Within a level, as 256 bins are exact for uint8."""
    image = example_image("uint8", 1)
    difference = run("clahe", image, tiles=1, clip_limit=1.0).astype(int) - run("equalize", image)
    assert np.abs(difference).max() <= 1


def test_clahe_means_the_same_for_each_dtype() -> None:
    """uint8 within half a level of the same picture in float32."""
    narrow = example_image("uint8", 1)
    real = run("clahe", np.float32(narrow / 255))
    assert_allclose(unit(run("clahe", narrow)), real, rtol=0, atol=0.5 / 255 + 1e-4)
    assert_allclose(unit(run("clahe", narrow.astype(np.uint16) * 257)), real, rtol=0, atol=1e-4)


@pytest.mark.parametrize("dtype", DTYPES)
def test_autocontrast_is_rescaling_by_percentiles(dtype: str) -> None:
    """Half a level around ``skimage.exposure.rescale_intensity``; float32 within 1e-6 where that doesn't clip."""
    image = example_image(dtype, 3)
    low, high = np.percentile(image, (2, 90), method="inverted_cdf")
    reference = exposure.rescale_intensity(image.astype(np.float64), in_range=(low, high), out_range=(0, 1))
    result = np.clip(unit(run("autocontrast", image, low=2.0, high=90.0)), 0, 1)
    assert_allclose(result, reference, rtol=0, atol=1e-6 if dtype == "float32" else 0.5 / full_scale(image) + 1e-9)


def test_an_image_of_nan_alone_stays() -> None:
    image = np.full((3, 4), np.nan, np.float32)
    for name in ("autocontrast", "equalize", "clahe"):
        assert np.isnan(run(name, image)).all()
