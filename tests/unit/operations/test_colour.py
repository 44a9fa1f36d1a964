"""Colour operations: known values, scikit-image as the reference, and what must hold for every image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from scipy.interpolate import RegularGridInterpolator
from skimage import color
from skimage.color.colorconv import xyz_from_rgb

from pipelines.operations import OPERATIONS, tetrahedral
from pipelines.operations.cube_lut import CubeLutError
from pipelines.operations.srgb import from_linear, to_linear
from pipelines.operations.white_point import planckian_chromaticity
from tests.strategies import example_image, images

DTYPES = ("uint8", "uint16", "float32")
NEUTRAL: dict[str, dict[str, Any]] = {
    "hue_saturation": {},
    "white_balance": {"method": "temperature"},
    "color_balance": {},
    "channel_mixer": {},
}
TURNED = ((0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 0.0, 0.0))


def full_scale(image: NDArray[Any]) -> float:
    return 1.0 if image.dtype.kind == "f" else float(np.iinfo(image.dtype).max)


def unit(image: NDArray[Any]) -> NDArray[np.float64]:
    return image / full_scale(image)


def run(name: str, image: NDArray[Any], **params: Any) -> NDArray[Any]:
    before = image.copy()
    result = OPERATIONS[name].function(image, **params)
    assert_array_equal(image, before)
    assert result.dtype == image.dtype
    return result


def level(image: NDArray[Any]) -> float:
    """One level of the image's dtype, plus what float32 computing adds."""
    return (0 if image.dtype.kind == "f" else 1 / full_scale(image)) + 2e-6


@pytest.mark.parametrize("name", NEUTRAL)
@settings(deadline=None, max_examples=25)
@given(image=images(channels=(3,)))
def test_neutral_parameters_change_nothing(name: str, image: NDArray[Any]) -> None:
    """Integers exactly; float32 within 2e-6."""
    atol = 2e-6 if image.dtype.kind == "f" else 0
    assert_allclose(run(name, image, **NEUTRAL[name]), image, rtol=0, atol=atol)


@settings(deadline=None, max_examples=60)
@given(image=images(channels=(3,)), hue=st.floats(-180, 180), saturation=st.floats(0, 4), value=st.floats(0, 3))
def test_hue_saturation_matches_scikit_image(image: NDArray[Any], hue: float, saturation: float, value: float) -> None:
    """Within one level of rgb2hsv, the change, and hsv2rgb in float64."""
    hsv = color.rgb2hsv(unit(image))
    changed = np.stack(
        [(hsv[..., 0] + hue / 360) % 1, np.minimum(hsv[..., 1] * saturation, 1), hsv[..., 2] * value], axis=-1
    )
    if image.dtype.kind != "f":
        changed[..., 2] = np.minimum(changed[..., 2], 1)
    result = run("hue_saturation", image, hue=hue, saturation=saturation, value=value)
    assert_allclose(unit(result), color.hsv2rgb(changed), rtol=2e-5, atol=level(image))


@pytest.mark.parametrize("dtype", DTYPES)
def test_hue_saturation_known_values(dtype: str) -> None:
    image = example_image(dtype, 3)
    gray = run("hue_saturation", image, saturation=0.0)
    assert_array_equal(gray, np.repeat(image.max(axis=-1, keepdims=True), 3, axis=-1))
    third = run("hue_saturation", image, hue=120.0)
    assert_allclose(unit(third), np.roll(unit(image), 1, axis=-1), rtol=0, atol=level(image))


def test_float_pixels_outside_the_range_keep_their_chroma() -> None:
    image = np.array([[[-0.5, -0.2, -0.1], [3.0, 2.0, 1.0], [1.0, -1.0, 0.0]]], np.float32)
    assert_allclose(run("hue_saturation", image, value=2.0), image * 2, rtol=1e-6)


@pytest.mark.parametrize("name", sorted(set(NEUTRAL) | {"grayscale"}))
def test_nan_touches_nothing_outside_its_pixel(name: str) -> None:
    image = example_image("float32", 3).copy()
    image[4, 5, 1] = np.nan
    params = {"saturation": 1.5} if name == "hue_saturation" else {}
    missing = np.argwhere(np.isnan(run(name, image, **params)))
    assert {tuple(place[:2]) for place in missing.tolist()} == {(4, 5)}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("params", [{}, {"method": "white_patch"}, {"method": "temperature", "kelvin": 3000.0}])
def test_gray_images_have_no_colour_cast(dtype: str, params: dict[str, Any]) -> None:
    gray = example_image(dtype, 1)
    assert run("white_balance", gray, **params) is gray
    assert_array_equal(run("hue_saturation", gray, hue=90.0, saturation=2.0), gray)


def linear_means(image: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(to_linear(unit(image)).mean(axis=(0, 1)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_gray_world_makes_the_mean_light_gray(dtype: str) -> None:
    """Within 0.5 %: the example's cast is small enough to clip almost nothing."""
    image = np.asarray(example_image(dtype, 3)[10:25, 15:35] * np.array([0.5, 0.6, 0.4])).astype(dtype)
    means = linear_means(run("white_balance", image))
    assert_allclose(means, means.mean(), rtol=5e-3)
    weights = np.array([0.2126, 0.7152, 0.0722])
    assert means @ weights == pytest.approx(linear_means(image) @ weights, rel=5e-3)


@pytest.mark.parametrize("dtype", DTYPES)
def test_white_patch_makes_the_brightest_neutral(dtype: str) -> None:
    """Within one level at the brightest pixel."""
    image = np.asarray(example_image(dtype, 3) * np.array([0.5, 0.9, 0.7])).astype(dtype)
    brightest = run("white_balance", image, method="white_patch", percentile=100.0).max(axis=(0, 1))
    assert np.ptp(unit(brightest)) <= level(image)
    assert unit(brightest)[1] == pytest.approx(unit(image)[..., 1].max(), abs=level(image))


def test_a_black_channel_stays_black() -> None:
    image = example_image("uint8", 3).copy()
    image[..., 2] = 0
    for method in ("gray_world", "white_patch"):
        assert not run("white_balance", image, method=method)[..., 2].any()
    black = np.zeros((2, 3, 3), np.uint8)
    assert_array_equal(run("white_balance", black), black)
    unknown = np.full((2, 3, 3), np.nan, np.float32)
    assert np.isnan(run("white_balance", unknown)).all()


def test_higher_temperatures_warm_and_tint_turns_to_magenta() -> None:
    gray = np.full((1, 1, 3), 0.5, np.float32)
    red, green, blue = run("white_balance", gray, method="temperature", kelvin=9000.0)[0, 0]
    assert red > green > blue
    red, green, blue = run("white_balance", gray, method="temperature", kelvin=3000.0)[0, 0]
    assert red < green < blue
    red, green, blue = run("white_balance", gray, method="temperature", tint=0.5)[0, 0]
    assert green < red == pytest.approx(blue)
    assert to_linear(np.array([red, green, blue])) @ (0.2126, 0.7152, 0.0722) == pytest.approx(0.21404, abs=1e-4)


@pytest.mark.parametrize(
    ("kelvin", "x", "y"),
    [
        (2000, 0.5267, 0.4133),
        (2856, 0.4475, 0.4074),
        (4000, 0.3805, 0.3768),
        (6500, 0.3135, 0.3237),
        (10000, 0.2807, 0.2884),
    ],
)
def test_planckian_chromaticity(kelvin: float, x: float, y: float) -> None:
    """Wyszecki and Stiles, Color Science (1982), the Planckian locus; within 0.001."""
    assert planckian_chromaticity(kelvin) == pytest.approx((x, y), abs=1e-3)


def test_srgb_transfer_matches_scikit_image_and_itself() -> None:
    """Within 1e-6 and 1e-7."""
    values = np.linspace(0, 1, 999).reshape(3, 111, 3)
    assert_allclose(to_linear(values) @ xyz_from_rgb.T, color.rgb2xyz(values), atol=1e-6)
    spread = np.linspace(-2, 3, 501)
    assert_allclose(from_linear(to_linear(spread)), spread, atol=1e-7)


def test_lift_gamma_gain_act_on_their_range() -> None:
    image = np.array([[[0, 0, 0], [0.5, 0.5, 0.5], [1, 1, 1]]], np.float32)
    lift = run("color_balance", image, lift=(0.2, 0.0, 0.0))[0]
    assert_allclose(lift[:, 0], [0.2, 0.6, 1.0], atol=1e-6)
    gamma = run("color_balance", image, gamma=(1.0, 2.0, 1.0))[0]
    assert_allclose(gamma[:, 1], [0, 0.5**0.5, 1], atol=1e-6)
    gain = run("color_balance", image, gain=(1.0, 1.0, 0.5))[0]
    assert_allclose(gain[:, 2], [0, 0.25, 0.5], atol=1e-6)
    assert_allclose(gain[:, :2], image[0, :, :2], atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gray_becomes_rgb_only_where_channels_differ(dtype: str) -> None:
    gray = example_image(dtype, 1)
    tinted = run("color_balance", gray, gain=(1.0, 0.5, 1.0))
    assert tinted.shape == (*gray.shape, 3)
    assert_allclose(tinted[..., 0], gray, atol=1e-6)
    assert run("color_balance", gray, gain=(0.5, 0.5, 0.5)).shape == gray.shape
    assert run("channel_mixer", gray, matrix=TURNED).shape == (*gray.shape, 3)


@pytest.mark.parametrize("dtype", DTYPES)
def test_channel_mixer_is_a_matrix_product(dtype: str) -> None:
    """Within half a level, plus float32 computing."""
    image = example_image(dtype, 3)
    assert_array_equal(run("channel_mixer", image, matrix=TURNED), np.roll(image, -1, axis=-1))
    matrix, offset = ((0.5, 0.2, -0.1), (0.1, 0.8, 0.3), (-0.4, 0.0, 1.2)), (0.1, 0.0, -0.2)
    exact = unit(image) @ np.array(matrix).T + offset
    if dtype != "float32":
        exact = np.clip(exact, 0, 1)
    assert_allclose(
        unit(run("channel_mixer", image, matrix=matrix, offset=offset)), exact, atol=level(image) / 2 + 1e-6
    )


@pytest.mark.parametrize(
    ("method", "weights"),
    [("bt709", (2126, 7152, 722)), ("bt601", (2990, 5870, 1140)), ("average", (1, 1, 1)), ("green", (0, 1, 0))],
)
@settings(deadline=None, max_examples=20)
@given(image=images(dtypes=("uint8", "uint16"), channels=(3,)))
def test_grayscale_is_the_exact_weighted_sum(method: str, weights: tuple[int, int, int], image: NDArray[Any]) -> None:
    """Exactly, with halves rounded up."""
    exact = (2 * (image.astype(np.int64) @ weights) + sum(weights)) // (2 * sum(weights))
    assert_array_equal(run("grayscale", image, method=method), exact)
    assert_array_equal(run("grayscale", image, method=method, keep_channels=True), np.stack([exact] * 3, axis=-1))


def test_grayscale_of_floats_and_of_gray() -> None:
    image = example_image("float32", 3)
    assert_allclose(run("grayscale", image), image @ np.array([0.2126, 0.7152, 0.0722]), atol=1e-6)
    gray = example_image("uint8", 1)
    assert run("grayscale", gray) is gray
    assert run("grayscale", gray, keep_channels=True).shape == (*gray.shape, 3)


def cube(path: Path, size: int, look: Any, header: str = "") -> str:
    grid = np.linspace(0, 1, size)
    blue, green, red = np.meshgrid(grid, grid, grid, indexing="ij")
    rows = look(np.stack([red, green, blue], axis=-1)).reshape(-1, 3)
    lines = "\n".join(" ".join(f"{value:.9f}" for value in row) for row in rows)
    path.write_text(f"LUT_3D_SIZE {size}\n{header}{lines}\n")
    return str(path)


@pytest.mark.parametrize("dtype", DTYPES)
def test_lut3d_reproduces_affine_looks(dtype: str, tmp_path: Path) -> None:
    """Tetrahedral interpolation is exact for them: within one level."""
    image = example_image(dtype, 3)
    matrix = np.array([[0.5, 0.2, 0.1], [0.1, 0.8, 0.0], [0.3, 0.0, 0.6]])
    path = cube(tmp_path / "look.cube", 9, lambda rgb: rgb @ matrix.T + 0.05)
    assert_allclose(unit(run("lut3d", image, path=path)), unit(image) @ matrix.T + 0.05, atol=level(image))


def test_lut3d_interpolates_between_the_corners_of_a_tetrahedron(tmp_path: Path) -> None:
    """Against trilinear interpolation, which agrees at the corners, along the edges and on the gray diagonal."""
    rng = np.random.default_rng(0)
    table = rng.random((5, 5, 5, 3))
    path = cube(tmp_path / "wild.cube", 5, lambda rgb: table)
    trilinear = RegularGridInterpolator([np.linspace(0, 1, 5)] * 3, table)
    edges = rng.integers(0, 5, (300, 3)) / 4
    edges[np.arange(300), rng.integers(0, 3, 300)] = rng.random(300)
    result = run("lut3d", edges[None].astype(np.float32), path=path)[0]
    assert_allclose(result, trilinear(edges[:, ::-1]), atol=1e-5)
    inside = np.array([[0.05, 0.20, 0.10]])  # in the first cell: 0.2, 0.8, 0.4; green, then blue, then red
    expected = 0.2 * table[0, 0, 0] + 0.4 * table[0, 1, 0] + 0.2 * table[1, 1, 0] + 0.2 * table[1, 1, 1]
    assert_allclose(run("lut3d", inside[None].astype(np.float32), path=path)[0, 0], expected, atol=1e-5)


def test_values_outside_the_domain_count_as_its_end(tmp_path: Path) -> None:
    path = cube(tmp_path / "wide.cube", 3, lambda rgb: rgb, "DOMAIN_MIN -1 0 0\nDOMAIN_MAX 1 2 1\n")
    image = np.array([[[-5, 1, 0.25], [0, 9, -1], [np.nan, 0, 0]]], np.float32)
    assert_allclose(run("lut3d", image, path=path), [[[0, 0.5, 0.25], [0.5, 1, 0], [np.nan] * 3]], atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_1d_and_3d_tables_of_gray_images(dtype: str, tmp_path: Path) -> None:
    gray = example_image(dtype, 1)
    one, tint = tmp_path / "one.cube", tmp_path / "tint.cube"
    one.write_text("LUT_1D_SIZE 2\n1 1 1\n0 0 0\n")
    tint.write_text("LUT_1D_SIZE 2\n0 0 0\n1 0.5 1\n")
    assert_allclose(unit(run("lut3d", gray, path=str(one))), 1 - unit(gray), atol=1e-6)
    assert_allclose(unit(run("lut3d", gray, path=str(tint)))[..., 1], unit(gray) / 2, atol=level(gray))
    path = cube(tmp_path / "same.cube", 4, lambda rgb: rgb)
    assert_allclose(unit(run("lut3d", gray, path=path))[..., 2], unit(gray), atol=level(gray))


@settings(deadline=None, max_examples=40)
@given(image=images(channels=(3,)), look=st.integers(0, 2))
def test_lut3d_stays_between_the_corners_of_its_cell(image: NDArray[Any], look: int) -> None:
    """Any table, any size of band: within the range of the table's values, plus half a level."""
    table = np.random.default_rng(look).random((4 + look,) * 3 + (3,), np.float32) * 0.5 + 0.25
    result = unit(tetrahedral.interpolate(image, table, ((0, 0, 0), (1, 1, 1))))
    assert result.min() >= table.min() - level(image)
    assert result.max() <= table.max() + level(image)


def test_a_wrong_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.cube"
    path.write_text("LUT_1D_SIZE 2\n0 0\n1 1 1\n")
    with pytest.raises(CubeLutError, match=r"bad\.cube, line 2"):
        run("lut3d", example_image("uint8", 3), path=str(path))


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("hue_saturation", {"hue": 181}),
        ("white_balance", {"method": "magic"}),
        ("color_balance", {"gain": [1, 1]}),
        ("channel_mixer", {"matrix": [[1, 0], [0, 1]]}),
        ("grayscale", {"method": "lab"}),
        ("lut3d", {}),
    ],
)
def test_senseless_parameters_are_refused(name: str, params: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=name):
        OPERATIONS[name].parameters(**params)
