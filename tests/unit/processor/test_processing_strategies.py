"""Processing hints: what each one promises, and that each differs from the others in what it says."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import FailedReason, ImageError
from pipelines.models import ImageOperation
from pipelines.operations import Image, apply_operations, compile_chain
from pipelines.operations.filters import blur
from pipelines.operations.tiled_chain import segments
from pipelines.processor.processing_strategies import (
    STRATEGIES,
    render_default,
    render_fast,
    render_low_memory,
    render_quality,
)
from pipelines.processor.reduced_precision import apply_wide_blur, as_uint8, from_uint8, reduced_blur
from tests.strategies import example_image, images
from tests.tiles import assert_same_pixels

LOOK = [
    ImageOperation("curves", {"points": [[0, 0], [0.3, 0.25], [1, 1]]}),
    ImageOperation("unsharp_mask", {"radius": 2, "amount": 0.5}),
    ImageOperation("hue_saturation", {"saturation": 1.2}),
]
MIXED = [
    ImageOperation("median", {"radius": 2}),
    ImageOperation("autocontrast"),
    ImageOperation("gaussian", {"sigma": 3}),
    ImageOperation("rotate", {"angle": 90}),
    ImageOperation("grayscale"),
]


def levels_apart(first: Image, second: Image) -> int:
    return int(np.abs(first.astype(np.int64) - second.astype(np.int64)).max())


def test_gpu_is_not_among_our_own() -> None:
    assert list(STRATEGIES) == ["default", "fast", "quality", "low_memory"]


@pytest.mark.parametrize("hint", STRATEGIES)
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_every_hint_keeps_dtype_and_shape_and_leaves_its_input(hint: str, dtype: str, channels: int) -> None:
    image = example_image(dtype, channels)
    before = image.copy()
    result = STRATEGIES[hint].render(image, LOOK)
    assert (result.dtype, result.shape) == (image.dtype, image.shape)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("hint", STRATEGIES)
def test_every_hint_takes_an_empty_chain(hint: str) -> None:
    image = example_image("uint8", 3)
    np.testing.assert_array_equal(STRATEGIES[hint].render(image, []), image)


@pytest.mark.parametrize("hint", STRATEGIES)
@pytest.mark.parametrize("wrong", [np.zeros((3, 3, 2), np.uint8), np.zeros((3, 3)), np.zeros((0, 3), np.uint8)])
def test_every_hint_refuses_what_is_no_image(hint: str, wrong: Image) -> None:
    with pytest.raises(ImageError) as caught:
        STRATEGIES[hint].render(wrong, LOOK)
    assert caught.value.reason is FailedReason.BAD_SHAPE


@pytest.mark.parametrize("operations", [LOOK, MIXED], ids=["local", "mixed"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_tiles_give_the_pixels_of_the_whole(dtype: str, channels: int, operations: Sequence[ImageOperation]) -> None:
    image = example_image(dtype, channels, (530, 300))
    whole = render_default(image, operations)
    np.testing.assert_array_equal(whole, apply_operations(image, operations).pixels)
    assert_same_pixels(render_low_memory(image, operations), whole)


def test_a_chain_is_cut_at_operations_that_need_the_whole_image() -> None:
    found = [([operation.name for operation in part], halo) for part, halo in segments(MIXED)]
    assert found == [
        (["median"], 2),
        (["autocontrast"], None),
        (["gaussian"], 12),
        (["rotate"], None),
        (["grayscale"], 0),
    ]


def peak_bytes(render: Callable[[Image, Sequence[ImageOperation]], Image], image: Image) -> int:
    render(image[:64, :64], LOOK)  # imports and compiled kernels aren't the image's
    tracemalloc.start()
    render(image, LOOK)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_low_memory_needs_hardly_more_than_the_result() -> None:
    image = example_image("float32", 3, (1536, 1024))
    frugal, default = peak_bytes(render_low_memory, image), peak_bytes(render_default, image)
    # The result, and tiles of 256 + 2 * 8 pixels.
    assert frugal < 1.6 * image.nbytes
    assert default > 2.5 * image.nbytes


def test_low_memory_keeps_nothing_and_goes_alone() -> None:
    assert STRATEGIES["low_memory"].alone
    assert [hint for hint, strategy in STRATEGIES.items() if not strategy.cached] == ["low_memory"]


def test_quality_rounds_once() -> None:
    """Dark and back again: with 256 levels between, shadows are lost; with floats they return."""
    there_and_back = [ImageOperation("gamma", {"gamma": 3}), ImageOperation("gaussian", {"sigma": 0.3})]
    there_and_back.append(ImageOperation("gamma", {"gamma": 1 / 3}))
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None], 64, axis=0)
    assert levels_apart(render_quality(ramp, there_and_back), ramp) <= 1
    assert levels_apart(render_default(ramp, there_and_back), ramp) > 10


def test_quality_clips_once() -> None:
    too_bright = [ImageOperation("exposure", {"stops": 2}), ImageOperation("hue_saturation", {"value": 1})]
    too_bright.append(ImageOperation("gaussian", {"sigma": 0.3}))
    too_bright.append(ImageOperation("exposure", {"stops": -2}))
    image = example_image("uint8", 3)
    assert levels_apart(render_quality(image, too_bright), image) <= 2
    assert levels_apart(render_default(image, too_bright), image) > 50


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("operation", LOOK, ids=lambda operation: operation.name)
def test_quality_agrees_with_default_where_it_rounds_once_anyway(dtype: str, operation: ImageOperation) -> None:
    image = example_image(dtype, 3)
    assert levels_apart(render_quality(image, [operation]), render_default(image, [operation])) <= 2


def test_quality_keeps_every_integer() -> None:
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    np.testing.assert_array_equal(render_quality(every, [ImageOperation("levels")]), every)


def test_quality_of_floats_is_default() -> None:
    image = example_image("float32", 3)
    np.testing.assert_array_equal(render_quality(image, LOOK), render_default(image, LOOK))


@settings(max_examples=30)
@given(images(dtypes=("uint16", "float32"), channels=(3,)), st.floats(0.6, 1.5))
def test_fast_is_within_its_tolerance(image: Image, contrast: float) -> None:
    """One operation of slope ``contrast``: half of 1/255 on the way in, and half on the way out."""
    chain = [ImageOperation("brightness_contrast", {"contrast": contrast})]
    fast, exact = render_fast(image, chain), render_default(image, chain)
    full = 1.0 if image.dtype.kind == "f" else 65535.0
    apart = np.abs(fast.astype(np.float64) - np.clip(exact.astype(np.float64), 0, full)).max()
    assert apart <= full / 255 * (0.5 * contrast + 0.5) + full * 1e-5


def test_fast_has_256_levels_whatever_the_dtype() -> None:
    image = example_image("uint16", 1, (200, 200))
    assert len(np.unique(render_fast(image, LOOK[:2]))) <= 256
    assert len(np.unique(render_default(image, LOOK[:2]))) > 1000


def test_fast_makes_nan_black_and_clips() -> None:
    image = np.array([[np.nan, -1.0], [2.0, 0.5]], np.float32)
    result = render_fast(image, [])
    np.testing.assert_allclose(result, [[0, 0], [1, 0.5]], atol=1 / 255)


def test_fast_of_8_bit_without_wide_blurs_is_default() -> None:
    image = example_image("uint8", 4)
    np.testing.assert_array_equal(render_fast(image, LOOK), render_default(image, LOOK))


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(
    "operation",
    [ImageOperation("gaussian", {"sigma": 9}), ImageOperation("unsharp_mask", {"radius": 12.5, "amount": 1})],
    ids=["gaussian", "unsharp_mask"],
)
def test_fast_blurs_on_a_smaller_image(operation: ImageOperation, channels: int) -> None:
    image = example_image("uint8", channels, (211, 317))
    if channels == 4:  # what isn't opaque is blurred in full, weighed by its alpha
        np.testing.assert_array_equal(render_fast(image, [operation]), render_default(image, [operation]))
        image = np.dstack([image[..., :3], np.full(image.shape[:2], 255, np.uint8)])
    fast, exact = render_fast(image, [operation]), render_default(image, [operation])
    (step,) = compile_chain([operation])
    np.testing.assert_array_equal(fast, apply_wide_blur(image, step))
    assert 0 < levels_apart(fast, exact) <= 4
    if channels == 4:
        np.testing.assert_array_equal(fast[..., 3], image[..., 3])


@pytest.mark.parametrize("sigma", [8, 11, 15.9, 16, 40])
@pytest.mark.parametrize("shape", [(1, 1), (5, 300), (203, 77), (160, 160)])
def test_the_reduced_blur_is_within_3_levels(shape: tuple[int, int], sigma: float) -> None:
    noise = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    edges = np.where(np.add.outer(np.arange(shape[0]) // 40, np.arange(shape[1]) // 40) % 2, 255, 0).astype(np.uint8)
    for image in (noise, edges):
        reduced, exact = reduced_blur(image, sigma), blur(image, sigma)
        assert reduced.shape == image.shape
        assert levels_apart(reduced, exact) <= 3


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_256_levels_survive_the_way_there_and_back(dtype: str) -> None:
    ramp = np.arange(256, dtype=np.uint8)[None]
    np.testing.assert_array_equal(as_uint8(from_uint8(ramp, np.dtype(dtype))), ramp)


def test_an_operation_that_fails_says_the_same_under_every_hint() -> None:
    chain: list[Any] = [ImageOperation("gamma"), ImageOperation("crop", {"x": 500, "y": 0, "width": 2, "height": 2})]
    for strategy in STRATEGIES.values():
        with pytest.raises(ImageError, match=r"^operation 2 \(crop\)"):
            strategy.render(example_image("uint8", 3), chain)
