"""The six scopes against plain numpy, scikit-image and known values; NaN, ranges, layouts, and sums that must hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from skimage import color, data

from pipelines.analyses import ANALYSES
from pipelines.analyses.scope_counts import SCOPES
from pipelines.analyses.scope_kernels import count_bins
from tests.strategies import example_image, images

WEIGHTS = {"bt709": (0.2126, 0.7152, 0.0722), "bt601": (0.299, 0.587, 0.114)}
KINDS = [(dtype, channels) for dtype in ("uint8", "uint16", "float32") for channels in (1, 3, 4)]
SHAPES = [(1, 1), (37, 53), (3, 257), (5, 1000), (300, 2)]


def measure(name: str, image: NDArray[Any], **params: Any) -> dict[str, Any]:
    before = image.copy()
    result = ANALYSES[name].function(image, **params)
    assert_array_equal(image, before)
    assert list(result) == [column.name for column in ANALYSES[name].columns(**params)]
    return dict(result)


def rgb(image: NDArray[Any]) -> NDArray[np.float64]:
    """The colours in float64, gray as R = G = B."""
    planes = image[..., :3] if image.ndim == 3 else np.stack([image] * 3, axis=-1)
    return planes.astype(np.float64)


def unit(image: NDArray[Any]) -> NDArray[np.float64]:
    return rgb(image) / (1.0 if image.dtype.kind == "f" else np.iinfo(image.dtype).max)


def levels(values: NDArray[np.float64], dtype: np.dtype[Any]) -> NDArray[np.int64]:
    if dtype.kind == "f":
        return np.minimum(np.floor(np.clip(values, 0, 1) * 256), 255).astype(np.int64)
    return values.astype(np.int64) >> (8 if dtype == np.uint16 else 0)


def reference_levels(image: NDArray[Any], weights: str = "bt709") -> dict[str, NDArray[np.int64]]:
    values = rgb(image)
    red, green, blue = WEIGHTS[weights]
    weighted = red * values[..., 0] + green * values[..., 1] + blue * values[..., 2]
    luma = weighted if image.dtype.kind == "f" else np.rint(weighted)
    planes = {name: values[..., i] for i, name in enumerate(("red", "green", "blue"))} | {"luma": luma}
    return {name: levels(np.asarray(plane, np.float64), image.dtype) for name, plane in planes.items()}


def reference_waveform(plane: NDArray[np.int64]) -> NDArray[np.int64]:
    height, width = plane.shape
    counts = np.zeros((256, 256), np.int64)
    column = np.broadcast_to(np.arange(width) * 256 // width, (height, width))
    np.add.at(counts, (plane, column), 1)
    return counts


def single(colour: tuple[int, ...], dtype: str = "uint8") -> NDArray[Any]:
    return np.full((3, 5, 3), colour, dtype)


# --- against plain numpy


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("dtype", "channels"), KINDS)
def test_level_scopes_equal_plain_numpy(dtype: str, channels: int, shape: tuple[int, int]) -> None:
    image = example_image(dtype, channels, shape)
    expected = reference_levels(image)
    histograms = measure("color_histogram", image)
    parade = measure("rgb_parade", image)
    for name, plane in expected.items():
        assert_array_equal(histograms[name], np.bincount(plane.ravel(), minlength=256))
    for name in ("red", "green", "blue"):
        assert_array_equal(parade[name], reference_waveform(expected[name]))
    assert_array_equal(measure("luma_waveform", image)["counts"], reference_waveform(expected["luma"]))


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_luma_is_rounded_in_the_units_of_the_samples(dtype: str, weights: str) -> None:
    random = np.random.default_rng(3)
    image = random.integers(0, np.iinfo(dtype).max + 1, (400, 500, 3)).astype(dtype)
    image.flags.writeable = False
    plane = reference_levels(image, weights)["luma"]
    assert_array_equal(
        measure("color_histogram", image, luma=weights)["luma"], np.bincount(plane.ravel(), minlength=256)
    )
    assert_array_equal(measure("luma_waveform", image, luma=weights)["counts"], reference_waveform(plane))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("dtype", "channels"), KINDS)
def test_hue_and_saturation_equal_their_formulas(dtype: str, channels: int, shape: tuple[int, int]) -> None:
    """HSV by its definition in float64: integers exactly, and floats here too."""
    image = example_image(dtype, channels, shape)
    values = np.clip(rgb(image), 0, None)
    top, chroma = values.max(axis=-1), np.ptp(values, axis=-1)
    red, green, blue = np.moveaxis(values, -1, 0)
    chromatic = chroma > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        from_red = np.where(green < blue, 60 * (green - blue) + 360 * chroma, 60 * (green - blue)) / chroma
        from_green = (60 * (blue - red) + 120 * chroma) / chroma
        from_blue = (60 * (red - green) + 240 * chroma) / chroma
        hue = np.select([red == top, green == top], [from_red, from_green], from_blue)
        saturation = np.where(top > 0, 256 * chroma / top, 0)
    result = measure("hue_histogram", image)
    assert_array_equal(result["counts"], np.bincount(np.floor(hue[chromatic]).astype(int), minlength=360))
    assert result["achromatic"] == np.count_nonzero(~chromatic)
    bins = np.minimum(np.floor(saturation), 255).astype(int)
    assert_array_equal(measure("saturation_histogram", image)["counts"], np.bincount(bins.ravel(), minlength=256))


# --- against scikit-image


def moved(counts: NDArray[Any], expected: NDArray[Any]) -> float:
    """The share of pixels that lie in another bin."""
    return float(np.abs(counts.astype(np.int64) - expected).sum() / 2 / expected.sum())


@pytest.mark.parametrize("picture", ["astronaut", "coffee", "camera"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_photographs_agree_with_scikit_image(picture: str, dtype: str) -> None:
    """At most 0.1 % of the pixels lie in another bin.

    Whole degrees are common among integers, and scikit-image, dividing by 255 first, finds some of them a rounding
    error too low; hence the 1e-9. Floats get noise, so that none lies on an edge.
    """
    stored = getattr(data, picture)()
    noise = np.random.default_rng(1).uniform(0, 0.002, stored.shape)
    image = {"uint8": stored, "uint16": stored.astype(np.uint16) * 257, "float32": np.float32(stored / 257 + noise)}[
        dtype
    ]
    image.flags.writeable = False
    exact = unit(image)
    hue, saturation, _ = np.moveaxis(color.rgb2hsv(exact), -1, 0)
    bins = np.floor(hue[saturation > 0] * 360 + 1e-9).astype(int) % 360
    result = measure("hue_histogram", image)
    if bins.size:
        assert moved(result["counts"], np.bincount(bins, minlength=360)) <= 0.001
    assert result["achromatic"] == np.count_nonzero(saturation == 0)

    lab = color.rgb2lab(exact)
    a, b = (np.floor(lab[..., i]).astype(int) + 128 for i in (1, 2))
    result = measure("lab_chromaticity", image)
    assert moved(result["counts"].ravel(), np.bincount((a * 256 + b).ravel(), minlength=65536)) <= 0.001
    assert result["mean_a"] == pytest.approx(lab[..., 1].mean(), abs=0.003)
    assert result["mean_b"] == pytest.approx(lab[..., 2].mean(), abs=0.005)


def test_lab_is_at_most_one_bin_off_for_any_colour() -> None:
    from pipelines.analyses.scope_bands import bands
    from pipelines.analyses.scope_counts import _MATRIX
    from pipelines.analyses.scope_kernels import lab_of_linear

    random = np.random.default_rng(5)
    colours = random.integers(0, 256, (1 << 10, 30, 3)).astype(np.uint8)
    colours[: 1 << 8] //= 16  # dark ones, where the cube root gives way to a line
    grays = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(-1, 1, 3)
    for image, share in ((colours, 0.001), (np.broadcast_to(grays, (256, 40, 3)), 0.0)):
        (band,) = bands(image, (0.0, 1.0))
        a, b = np.empty((2, image.size // 3), np.int32)
        lab_of_linear(*band.linear(), _MATRIX, a, b)
        expected = np.floor(color.rgb2lab(image)[..., 1:]).astype(int).reshape(-1, 2) + 128
        off = np.abs(np.stack([a >> 16, b >> 16], axis=-1) - expected)
        assert off.max() <= (1 if share else 0)
        assert off.any(axis=-1).mean() <= share


# --- known values


@pytest.mark.parametrize(
    ("colour", "degree"),
    [
        ((255, 0, 0), 0),
        ((255, 255, 0), 60),
        ((0, 255, 0), 120),
        ((0, 255, 255), 180),
        ((0, 0, 255), 240),
        ((255, 0, 255), 300),
        ((255, 0, 1), 359),
        ((60, 1, 0), 1),
        ((255, 4, 0), 0),
    ],
)
def test_hues_of_the_wheel(colour: tuple[int, int, int], degree: int) -> None:
    assert measure("hue_histogram", single(colour))["counts"][degree] == 15
    assert measure("hue_histogram", single(colour, "uint16"))["counts"][degree] == 15


def test_known_saturations() -> None:
    for colour, place in (
        ((0, 0, 0), 0),
        ((9, 9, 9), 0),
        ((255, 0, 0), 255),
        ((200, 100, 150), 128),
        ((255, 254, 254), 1),
    ):
        assert measure("saturation_histogram", single(colour))["counts"][place] == 15


@pytest.mark.parametrize(
    ("colour", "a", "b"),
    [
        ((255, 0, 0), 80.09, 67.20),
        ((0, 255, 0), -86.18, 83.18),
        ((0, 0, 255), 79.19, -107.86),
        ((0, 255, 255), -48.09, -14.13),
    ],
)
def test_lab_of_the_primaries(colour: tuple[int, int, int], a: float, b: float) -> None:
    """sRGB under D65; values as Lindbloom's CIE colour calculator gives them."""
    result = measure("lab_chromaticity", single(colour))
    assert result["mean_a"] == pytest.approx(a, abs=0.02)
    assert result["mean_b"] == pytest.approx(b, abs=0.02)
    assert result["counts"][int(np.floor(a)) + 128, int(np.floor(b)) + 128] == 15


def test_waveform_has_levels_down_and_columns_across() -> None:
    image = np.zeros((4, 512), np.uint8)
    image[:, 256:] = 200
    counts = measure("luma_waveform", image)["counts"]
    assert (counts[0, :128] == 8).all()
    assert (counts[200, 128:] == 8).all()
    assert counts.sum() == 2048


# --- floats


def test_float_range_says_what_is_black_and_white() -> None:
    image = np.array([[-1.0, 0.0, 1.0, 2.0, 4.0, np.inf, -np.inf]], np.float32)
    counts = measure("color_histogram", image, float_range=(0.0, 4.0))["red"]
    assert {int(i): int(counts[i]) for i in np.flatnonzero(counts)} == {0: 2, 64: 1, 128: 1, 255: 1}


@pytest.mark.parametrize("name", sorted(SCOPES))
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_not_finite_are_left_out(name: str, bad: float) -> None:
    image = example_image("float32", 3).copy()
    image[2, 3, 0] = image[20, 50, 2] = bad
    image[2, 4] = bad
    image.flags.writeable = False
    filled = np.where(np.isfinite(image).all(axis=-1, keepdims=True), image, np.float32(0))
    black = np.zeros((37, 53, 3), np.float32)
    with_black, without, only_black = measure(name, filled), measure(name, image), measure(name, black)
    for key in with_black.keys() - {"mean_a", "mean_b"}:
        difference = np.asarray(with_black[key], np.int64) - without[key]
        assert difference.sum() == (0 if key == "counts" and name == "hue_histogram" else 3)
        assert not np.any((difference != 0) & (np.asarray(only_black[key]) == 0))
    if name == "lab_chromaticity":
        known = np.isfinite(image).all(axis=-1)
        assert without["mean_a"] == pytest.approx(color.rgb2lab(image[known])[:, 1].mean(), abs=0.003)
    for shape in ((2, 2, 3), (2, 2)):
        nothing = measure(name, np.full(shape, bad, np.float32))
        assert all(value is None or not np.any(value) for value in nothing.values())


@pytest.mark.parametrize(
    "params", [{"float_range": (1.0, 1.0)}, {"float_range": (0.0,)}, {"luma": "rec2020"}, {"float_range": ("a", 1)}]
)
def test_wrong_parameters_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="color_histogram"):
        ANALYSES["color_histogram"].parameters(**params)


# --- what holds for every image


@settings(deadline=None, max_examples=60)
@given(image=images())
def test_every_pixel_is_counted_once(image: NDArray[Any]) -> None:
    pixels = image.shape[0] * image.shape[1]
    hues = measure("hue_histogram", image)
    assert hues["counts"].sum() + hues["achromatic"] == pixels
    for name in ("color_histogram", "luma_waveform", "rgb_parade", "saturation_histogram"):
        assert all(counts.sum() == pixels for counts in measure(name, image).values())
    assert measure("lab_chromaticity", image)["counts"].sum() == pixels


@settings(deadline=None, max_examples=30)
@given(image=images())
def test_levels_equal_plain_numpy_for_every_image(image: NDArray[Any]) -> None:
    for name, plane in reference_levels(image).items():
        assert_array_equal(measure("color_histogram", image)[name], np.bincount(plane.ravel(), minlength=256))


@pytest.mark.parametrize("name", sorted(SCOPES))
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_layout_in_memory_and_alpha_do_not_matter(name: str, dtype: str) -> None:
    image = example_image(dtype, 4, (31, 45))
    plain = measure(name, np.ascontiguousarray(image[..., :3]))
    doubled = np.repeat(np.repeat(image, 2, axis=0), 2, axis=1)
    for same in (image, np.asfortranarray(image), doubled[::2, ::2], np.flipud(image)[::-1]):
        for key, value in measure(name, same).items():
            assert_array_equal(value, plain[key])


@pytest.mark.parametrize("name", sorted(SCOPES))
def test_gray_counts_as_equal_channels(name: str) -> None:
    for dtype in ("uint8", "uint16", "float32"):
        gray = example_image(dtype, 1)
        same = measure(name, np.stack([gray] * 3, axis=-1))
        for key, value in measure(name, gray).items():
            assert_array_equal(value, same[key])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32"])
@pytest.mark.parametrize("size", [*range(10), 4099])
def test_every_bin_is_counted_once(size: int, dtype: str) -> None:
    bins = np.random.default_rng(size).integers(0, 7, size).astype(dtype)  # few: neighbours are often alike
    counts = np.ones(9, np.uint32)
    count_bins(bins, counts)
    assert_array_equal(counts, 1 + np.bincount(bins, minlength=9))
