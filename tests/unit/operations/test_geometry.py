"""Orientation, size, cutting, padding and turning: exact moves, and agreement of resampling with Pillow and skimage."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageOps
from pydantic import ValidationError
from skimage import transform as reference

from pipelines.errors import FailedReason, ImageError
from pipelines.operations.geometry import auto_orient, crop, flip, pad, resize, rotate
from pipelines.operations.registry import OPERATIONS
from pipelines.operations.resampling_kernels import Kernel, _weights, resample
from pipelines.operations.samples import stored
from tests.strategies import example_image, images

DTYPES = ("uint8", "uint16", "float32")
SHAPES = [(1, 1), (1, 9), (7, 1), (2, 3), (37, 53)]
OPERATION_PARAMS = [
    pytest.param("auto_orient", {"orientation": 6}, id="auto-orient"),
    pytest.param("flip", {"direction": "vertical"}, id="flip"),
    pytest.param("resize", {"max_side": 5}, id="resize-max-side"),
    pytest.param("resize", {"width": 11, "height": 4, "mode": "exact"}, id="resize-exact"),
    pytest.param("resize", {"width": 11, "height": 4, "mode": "fill", "kernel": "area"}, id="resize-fill"),
    pytest.param("crop", {"x": 0, "y": 0, "width": 1}, id="crop"),
    pytest.param("crop", {"ratio": (3, 2)}, id="crop-ratio"),
    pytest.param("pad", {"left": 2, "height": 9, "mode": "mirror"}, id="pad"),
    pytest.param("rotate", {"angle": 31.0}, id="rotate"),
    pytest.param("rotate", {"angle": 90, "expand": False}, id="rotate-quarter-same-size"),
]


def scale(dtype: Any) -> float:
    return 1.0 if np.dtype(dtype).kind == "f" else float(np.iinfo(dtype).max)


def distance(result: NDArray[Any], expected: NDArray[Any]) -> float:
    return float(np.abs(result.astype(np.float64) - expected).max())


def smooth_image(rows: int, columns: int) -> NDArray[np.float32]:
    y, x = np.mgrid[:rows, :columns]
    return (0.5 + 0.25 * np.sin(x / 9) + 0.2 * np.cos(y / 7)).astype(np.float32)


@pytest.mark.parametrize(("name", "params"), OPERATION_PARAMS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_dtype_and_channels_stay(name: str, params: dict[str, Any], dtype: str, channels: int, shape: Any) -> None:
    image = example_image(dtype, channels, shape)
    before = image.copy()
    result = OPERATIONS[name].function(image, **params)
    assert result.dtype == image.dtype
    assert result.shape[2:] == image.shape[2:]
    assert result.size > 0
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(("name", "params"), OPERATION_PARAMS)
def test_views_are_taken_as_well(name: str, params: dict[str, Any]) -> None:
    view = example_image("uint8", 4, (37, 53))[::-2, 3:40:3]
    function = OPERATIONS[name].function
    np.testing.assert_array_equal(function(view, **params), function(np.ascontiguousarray(view), **params))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_orientations_are_those_of_pillow(orientation: int, channels: int) -> None:
    image = example_image("uint8", channels, (5, 7))
    picture = Pillow.fromarray(image)
    picture.getexif()[274] = orientation
    expected = np.asarray(ImageOps.exif_transpose(picture))
    np.testing.assert_array_equal(auto_orient(image, orientation=orientation), expected)


@settings(deadline=None, max_examples=60)
@given(image=images(), orientation=st.integers(1, 8))
def test_an_orientation_is_undone_by_its_opposite(image: NDArray[Any], orientation: int) -> None:
    opposite = {6: 8, 8: 6}.get(orientation, orientation)
    turned = auto_orient(image, orientation=orientation)
    assert sorted(turned.ravel()) == sorted(image.ravel())
    np.testing.assert_array_equal(auto_orient(turned, orientation=opposite), image)


def test_without_orientation_the_image_stays() -> None:
    image = example_image("uint8", 3)
    assert auto_orient(image) is image


@settings(deadline=None, max_examples=60)
@given(image=images(), direction=st.sampled_from(["horizontal", "vertical"]))
def test_flipping_twice_changes_nothing(image: NDArray[Any], direction: Any) -> None:
    once = flip(image, direction=direction)
    np.testing.assert_array_equal(once, image[:, ::-1] if direction == "horizontal" else image[::-1])
    np.testing.assert_array_equal(flip(once, direction=direction), image)


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        pytest.param({"max_side": 30}, (20, 30), id="max-side"),
        pytest.param({"max_side": 100}, (40, 60), id="never-larger"),
        pytest.param({"max_side": 90, "enlarge": True}, (60, 90), id="larger-when-asked"),
        pytest.param({"max_side": 1}, (1, 1), id="one-pixel"),
        pytest.param({"width": 15}, (10, 15), id="width"),
        pytest.param({"height": 20}, (20, 30), id="height"),
        pytest.param({"width": 30, "height": 10}, (10, 15), id="fit"),
        pytest.param({"width": 120, "height": 120}, (40, 60), id="fit-never-larger"),
        pytest.param({"width": 120, "height": 120, "enlarge": True}, (80, 120), id="fit-larger"),
        pytest.param({"width": 30, "height": 10, "mode": "fill"}, (10, 30), id="fill"),
        pytest.param({"width": 90, "height": 90, "mode": "fill"}, (90, 90), id="fill-larger"),
        pytest.param({"width": 7, "height": 99, "mode": "exact"}, (99, 7), id="exact"),
    ],
)
def test_resized_shape(params: dict[str, Any], expected: tuple[int, int]) -> None:
    assert resize(example_image("uint8", 3, (40, 60)), **params).shape == (*expected, 3)


@settings(deadline=None, max_examples=60)
@given(image=images(), max_side=st.integers(1, 30), kernel=st.sampled_from(["lanczos", "area", "nearest"]))
def test_the_longer_side_is_never_above_max_side(image: NDArray[Any], max_side: int, kernel: Any) -> None:
    result = resize(image, max_side=max_side, kernel=kernel)
    assert max(result.shape[:2]) == min(max_side, max(image.shape[:2]))


@pytest.mark.parametrize("size", [(20, 30), (37, 20), (90, 11), (111, 160), (1, 1)], ids=str)
def test_lanczos_equals_pillow(size: tuple[int, int]) -> None:
    rows, columns = size
    floats = example_image("float32", 1)
    expected = np.asarray(Pillow.fromarray(floats).resize((columns, rows), Pillow.Resampling.LANCZOS))
    assert distance(resize(floats, width=columns, height=rows, mode="exact"), expected) <= 1e-5
    colours = example_image("uint8", 3) // 2 + 64  # Pillow clips overshoot between its two passes
    expected = np.asarray(Pillow.fromarray(colours).resize((columns, rows), Pillow.Resampling.LANCZOS))
    assert distance(resize(colours, width=columns, height=rows, mode="exact"), expected) <= 1


@settings(deadline=None)
@given(images(), st.integers(1, 40), st.integers(1, 40), st.sampled_from(["lanczos", "area"]))
def test_sums_are_made_term_by_term_whatever_goes_side_by_side(
    image: NDArray[Any], rows: int, columns: int, kernel: Kernel
) -> None:
    pixels = image if image.ndim == 2 else image[..., :3]
    values = pixels
    for length, count in zip(pixels.shape, (rows, columns), strict=False):
        if length == count:  # every sample as it is
            values = values.swapaxes(0, 1)
            continue
        first, weights = _weights(length, count, (0.0, float(length)), kernel, (0.0, float(length)))
        sums = np.zeros((count, *values.shape[1:]), np.float32)
        for row, tap in np.ndindex(weights.shape):
            if weights[row, tap]:
                sums[row] += weights[row, tap] * values[first[row] + tap].astype(np.float32)
        values = sums.swapaxes(0, 1)
    spans = ((0.0, float(pixels.shape[0])), (0.0, float(pixels.shape[1])))
    np.testing.assert_array_equal(resample(pixels, (rows, columns), spans, kernel), stored(values, pixels.dtype))


def test_fill_shows_the_middle_as_pillow_does() -> None:
    image = example_image("float32", 1, (40, 60))
    box = ((60 - 40 * 3 / 4) / 2, 0, (60 + 40 * 3 / 4) / 2, 40)
    expected = np.asarray(Pillow.fromarray(image).resize((12, 16), Pillow.Resampling.LANCZOS, box=box))
    assert distance(resize(image, width=12, height=16, mode="fill"), expected) <= 1e-5


@pytest.mark.parametrize("factor", [2, 3, 5])
@pytest.mark.parametrize("dtype", DTYPES)
def test_area_by_a_whole_factor_is_the_mean_of_the_blocks(dtype: str, factor: int) -> None:
    image = example_image(dtype, 3, (30, 60))
    expected = reference.downscale_local_mean(image.astype(np.float64), (factor, factor, 1))
    result = resize(image, width=60 // factor, kernel="area")
    assert distance(result, expected) <= (0.5 if dtype != "float32" else 1e-6)


@pytest.mark.parametrize("kernel", ["lanczos", "area"])
@pytest.mark.parametrize("size", [(60, 80), (41, 97)], ids=str)
def test_a_smooth_image_is_resized_as_by_scikit_image(size: tuple[int, int], kernel: Any) -> None:
    image = smooth_image(120, 160)
    expected = reference.resize(image, size, anti_aliasing=True)
    result = resize(image, height=size[0], width=size[1], mode="exact", kernel=kernel)
    assert distance(result[3:-3, 3:-3], expected[3:-3, 3:-3]) < 0.01


def test_fine_stripes_become_gray_instead_of_moire() -> None:
    stripes = np.tile(np.array([0, 255], np.uint8), (100, 50))
    assert resize(stripes, max_side=37)[3:-3, 3:-3].std() < 3


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", ["lanczos", "area", "nearest"])
def test_the_colour_of_transparent_pixels_never_bleeds_in(dtype: str, kernel: Any) -> None:
    image = np.zeros((20, 20, 4), dtype)
    image[:, :10] = np.array([0, 1, 0, 1]) * scale(dtype)
    image[:, 10:] = np.array([1, 0, 0, 0]) * scale(dtype)
    for result in (resize(image, max_side=7, kernel=kernel), rotate(image, angle=20)):
        visible = result[result[..., 3] > 0.02 * scale(dtype)]
        assert visible[:, 0].max() <= 0.02 * scale(dtype)
        assert visible[:, 1].min() >= 0.9 * scale(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_opaque_image_is_resized_as_without_alpha(dtype: str) -> None:
    image = example_image(dtype, 3)
    opaque = np.concatenate([image, np.full((*image.shape[:2], 1), scale(dtype), dtype)], axis=-1)
    result = resize(opaque, max_side=19)
    assert distance(result[..., :3], resize(image, max_side=19)) <= (1 if dtype != "float32" else 1e-5)
    assert (result[..., 3] >= 0.9999 * scale(dtype)).all()


def test_nearest_brings_no_new_values() -> None:
    image = example_image("uint16", 1)
    expected = image[np.floor((np.arange(17) + 0.5) * 37 / 17).astype(int)]
    np.testing.assert_array_equal(resize(image, width=53, height=17, mode="exact", kernel="nearest"), expected)


@settings(deadline=None, max_examples=40)
@given(level=st.integers(0, 65_535), size=st.tuples(st.integers(1, 40), st.integers(1, 40)))
def test_an_even_area_stays_even(level: int, size: tuple[int, int]) -> None:
    image = np.full((13, 17, 3), level, np.uint16)
    result = resize(image, height=size[0], width=size[1], mode="exact")
    assert (result == level).all()
    assert (rotate(image, angle=33, fill=(level / 65_535,)) == level).all()


@pytest.mark.parametrize("box", [(0, 0, 53, 37), (5, 6, 10, 11), (52, 36, 1, 1)], ids=str)
def test_crop_cuts_the_box(box: tuple[int, int, int, int]) -> None:
    image = example_image("uint8", 4)
    x, y, width, height = box
    result = crop(image, x=x, y=y, width=width, height=height)
    np.testing.assert_array_equal(result, image[y : y + height, x : x + width])


def test_crop_without_a_place_is_centred() -> None:
    image = example_image("uint8", 1, (10, 20))
    np.testing.assert_array_equal(crop(image, width=4, height=6), image[2:8, 8:12])
    np.testing.assert_array_equal(crop(image, x=15), image[:, 15:])
    np.testing.assert_array_equal(crop(image, ratio=(1, 1)), image[:, 5:15])
    np.testing.assert_array_equal(crop(image, ratio=(4, 1)), image[2:7])


@pytest.mark.parametrize(
    "params",
    [
        pytest.param({"width": 54}, id="wider"),
        pytest.param({"x": 53}, id="beside"),
        pytest.param({"y": 30, "height": 8}, id="partly-below"),
    ],
)
def test_a_box_that_leaves_the_image_fails_as_bad_shape(params: dict[str, int]) -> None:
    with pytest.raises(ImageError, match="53 x 37 pixels") as caught:
        crop(example_image("uint8", 3), **params)
    assert caught.value.reason is FailedReason.BAD_SHAPE


@pytest.mark.parametrize(
    ("name", "params"),
    [
        pytest.param("resize", {}, id="resize-nothing"),
        pytest.param("resize", {"max_side": 5, "width": 5}, id="resize-both"),
        pytest.param("resize", {"width": 5, "mode": "fill"}, id="resize-fill-without-height"),
        pytest.param("resize", {"max_side": 5, "mode": "exact"}, id="resize-exact-max-side"),
        pytest.param("crop", {}, id="crop-nothing"),
        pytest.param("crop", {"ratio": (1, 1), "width": 5}, id="crop-both"),
    ],
)
def test_contradictions_are_refused_before_any_image_is_read(name: str, params: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"give either|needs both"):
        OPERATIONS[name].parameters(**params)
    with pytest.raises(ValueError, match=r"give either|needs both"):
        OPERATIONS[name].function(example_image("uint8", 1), **params)


def test_pad_by_sides_and_to_a_size() -> None:
    image = example_image("uint8", 3, (4, 5))
    result = pad(image, left=1, top=2, right=3, bottom=4, fill=(1, 0.5, 0))
    assert result.shape == (10, 9, 3)
    np.testing.assert_array_equal(result[2:6, 1:6], image)
    np.testing.assert_array_equal(result[0, 0], [255, 128, 0])
    square = pad(image, width=8, height=8)
    assert square.shape == (8, 8, 3)
    np.testing.assert_array_equal(square[2:6, 1:6], image)
    assert pad(image, width=3) is image


def test_mirror_and_edge_are_those_of_numpy() -> None:
    image = example_image("uint16", 3, (4, 5))
    width = ((2, 2), (3, 3), (0, 0))
    sides = {"left": 3, "right": 3, "top": 2, "bottom": 2}
    np.testing.assert_array_equal(pad(image, mode="mirror", **sides), np.pad(image, width, mode="reflect"))
    np.testing.assert_array_equal(pad(image, mode="edge", **sides), np.pad(image, width, mode="edge"))


@pytest.mark.parametrize(
    ("fill", "channels", "expected"),
    [
        pytest.param(None, 4, [0, 0, 0, 0], id="transparent"),
        pytest.param((1.0,), 4, [255, 255, 255, 255], id="white"),
        pytest.param((1, 0, 0, 0.2), 4, [255, 0, 0, 51], id="rgba"),
        pytest.param((1, 0, 0, 0.2), 3, [255, 0, 0], id="rgba-on-rgb"),
        pytest.param((0, 1, 0), 1, [182], id="luma-on-gray"),
        pytest.param((0.2,), 1, [51], id="gray"),
    ],
)
def test_fill_colours(fill: Any, channels: int, expected: list[int]) -> None:
    corner = pad(example_image("uint8", channels), left=1, fill=fill)[0, 0]
    assert np.atleast_1d(corner).tolist() == expected
    turned = rotate(example_image("uint8", channels), angle=45, fill=fill)[0, 0]
    assert np.atleast_1d(turned).tolist() == (expected if channels < 4 or expected[3] else [0, 0, 0, 0])


@pytest.mark.parametrize("angle", [-360, -270, -90, 0, 90, 180, 270, 360])
def test_quarter_turns_are_exact(angle: int) -> None:
    image = example_image("uint16", 4)
    np.testing.assert_array_equal(rotate(image, angle=angle), np.rot90(image, angle // 90))


@pytest.mark.parametrize("angle", [-100, 3.7, 45, 90])
def test_rotation_agrees_with_scikit_image(angle: float) -> None:
    image = example_image("float32", 3)
    expected = reference.rotate(image.astype(np.float64), angle, order=3, clip=False, cval=0)
    assert distance(rotate(image, angle=angle, expand=False), expected) <= 1e-5


@settings(deadline=None, max_examples=60)
@given(image=images(channels=(1,), min_side=2), angle=st.floats(-360, 360))
def test_an_expanded_image_holds_its_corners(image: NDArray[Any], angle: float) -> None:
    rows, columns = rotate(image, angle=angle).shape
    cosine, sine = abs(np.cos(np.radians(angle))), abs(np.sin(np.radians(angle)))
    assert 0 <= columns - (image.shape[1] * cosine + image.shape[0] * sine) + 1e-5 < 1.001
    assert 0 <= rows - (image.shape[1] * sine + image.shape[0] * cosine) + 1e-5 < 1.001


def test_floats_beyond_white_and_nan_are_kept() -> None:
    image = np.full((20, 20), 4.0, np.float32)
    image[3, 3] = np.nan
    result = resize(image, max_side=10)
    assert result[-1, -1] == pytest.approx(4)
    assert np.isnan(result[1, 1])
    assert not np.isnan(result[8:, 8:]).any()


def test_long_strips_are_resized_and_turned() -> None:
    strip = np.arange(40_000, dtype=np.uint16)[None, :]
    assert resize(strip, max_side=400).shape == (1, 400)
    assert rotate(strip, angle=0.001, expand=False).shape == strip.shape
