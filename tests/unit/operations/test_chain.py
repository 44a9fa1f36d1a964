"""Chains: what comes out is what the operations give one by one, whatever is composed, detached or cached."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from pipelines.analyses import AnalysisCalculator
from pipelines.errors import FailedReason, ImageError, RayjobsError
from pipelines.models import ImageOperation
from pipelines.operations import OPERATIONS, ChainError, Operation, apply_operations, chain_halo, compile_chain
from pipelines.operations.chain import AUTO_ORIENT, LookUp, _resolved, _stages, as_operations
from pipelines.operations.lookup import COMPILED_SAMPLES, look_up
from pipelines.operations.registry import Image
from pipelines.registry import parameters_of
from tests.strategies import example_image, images

DTYPES = ("uint8", "uint16", "float32")
STEPS = [
    ImageOperation("gamma", {"gamma": 1.7}),
    ImageOperation("invert"),
    ImageOperation("brightness_contrast", {"brightness": 0.1, "contrast": 1.4}),
    ImageOperation("curves", {"points": [[0, 0.1], [0.4, 0.6], [1, 1]], "red": [[0, 0.2], [1, 0.9]]}),
    ImageOperation("color_balance", {"gain": [1.1, 0.9, 1.0]}),
    ImageOperation("levels", {"in_black": 0.1, "gamma": 1.2}),
    ImageOperation("hue_saturation", {"saturation": 1.3}),
    ImageOperation("equalize"),
    ImageOperation("grayscale"),
]
COLOUR_ONLY = sorted(
    name for name, entry in OPERATIONS.items() if entry.group in ("tone", "colour") and name != "lut3d"
)


def one_by_one(image: Image, steps: list[ImageOperation]) -> Image:
    for step in steps:
        operation = OPERATIONS[step.name]
        arguments = dict(operation.parameters(**step.params))
        if image.ndim == 3 and image.shape[2] == 4:
            colours = operation.function(np.ascontiguousarray(image[..., :3]), **arguments)
            if colours.ndim == 2:
                colours = np.stack([colours] * 3, axis=-1)
            image = np.concatenate([colours, image[..., 3:]], axis=-1)
        else:
            image = operation.function(image, **arguments)
    return image


@settings(deadline=None, max_examples=60)
@given(image=images(max_side=12), steps=st.lists(st.sampled_from(STEPS), max_size=6))
def test_a_chain_equals_its_operations_one_by_one(image: Image, steps: list[ImageOperation]) -> None:
    before = image.copy()
    result = apply_operations(image, steps)
    assert_array_equal(result.pixels, one_by_one(image, steps))
    assert result.pixels.dtype == image.dtype
    assert_array_equal(image, before)


def test_an_empty_chain_hands_on_the_same_array() -> None:
    image = example_image("uint8", 3)
    result = apply_operations(image, [], orientation=6)
    assert result.pixels is image
    assert result.orientation == 6


def test_neighbouring_tables_become_one_look_up() -> None:
    stages = _stages(_resolved([*STEPS[:6], STEPS[6], STEPS[0]]), "uint16")
    assert [type(stage) is LookUp for stage in stages] == [True, False, True]
    assert stages[0].label == "operation 1 (gamma) to operation 6 (levels)"
    assert not any(type(stage) is LookUp for stage in _stages(_resolved(STEPS[:6]), "float32"))


@pytest.mark.parametrize("shape", [(1024, 1024), (1025, 1025), (512, 1024, 3)])
def test_large_images_are_looked_up_as_small_ones_are(shape: tuple[int, ...]) -> None:
    random = np.random.default_rng(3)
    image = random.integers(0, 256, shape).astype(np.uint8)
    image.flags.writeable = False
    assert image.size >= COMPILED_SAMPLES
    for _ in range(2):
        table = random.permutation(256).astype(np.uint8)
        assert_array_equal(look_up(image, table), table[image])
        assert_array_equal(look_up(image[:, ::2], table), table[image[:, ::2]])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", COLOUR_ONLY)
def test_alpha_is_carried_through(name: str, dtype: str) -> None:
    image = example_image(dtype, 4)
    result = apply_operations(image, [ImageOperation(name)]).pixels
    assert result.shape == image.shape
    assert_array_equal(result[..., 3], image[..., 3])


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([ImageOperation("gama")], r"operation 1 \(gama\): unknown operation; did you mean 'gamma'"),
        ([STEPS[0], ImageOperation("gamma", {"gamma": -1})], r"operation 2 \(gamma\): gamma: Input should be greater"),
        ([ImageOperation("gamma", {"gama": 1})], r"operation 1 \(gamma\): gama: Extra inputs"),
        ([ImageOperation("curves", {"points": [[0, 0], [1]]})], r"operation 1 \(curves\): points.1.1: Field required"),
        (
            [ImageOperation("gamma", {"gamma": np.float32(1)})],
            r"operation 1 \(gamma\): parameters must be plain values",
        ),
    ],
    ids=["unknown name", "out of range", "unknown parameter", "wrong shape", "no plain value"],
)
def test_a_wrong_chain_is_refused_before_and_while_running(steps: list[ImageOperation], message: str) -> None:
    with pytest.raises(ChainError, match=message):
        compile_chain(steps)
    with pytest.raises(ImageError, match=message) as caught:
        apply_operations(example_image("uint8", 3), steps)
    assert caught.value.reason is FailedReason.OPERATION_ERROR


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((3, 4), np.float64),
        np.zeros((3, 4), ">u8"),
        np.zeros((3, 4), bool),
        np.zeros((3, 4, 2), np.uint8),
        np.zeros(3, np.uint8),
        np.zeros((0, 4), np.uint8),
    ],
    ids=str,
)
def test_an_array_that_is_no_image_is_refused(array: NDArray[Any]) -> None:
    with pytest.raises(ImageError, match="images are") as caught:
        apply_operations(array, [])
    assert caught.value.reason is FailedReason.BAD_SHAPE


@pytest.mark.parametrize("dtype", [">u2", ">f4"])
def test_the_byte_order_of_an_image_does_not_matter(dtype: str) -> None:
    image = example_image("float32" if "f" in dtype else "uint16", 3)
    swapped = image.astype(dtype)
    swapped.flags.writeable = False
    for steps in ([], STEPS):
        result = apply_operations(swapped, steps).pixels
        assert result.dtype == image.dtype
        np.testing.assert_array_equal(result, apply_operations(image, steps).pixels)
    expected = AnalysisCalculator(["statistics"]).calculate_analyses(image)
    assert AnalysisCalculator(["statistics"]).calculate_analyses(swapped) == expected


Register = Callable[..., None]


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Register:
    """Registers a function as an operation for the length of a test, in place of any of that name."""
    entries = dict(OPERATIONS)
    monkeypatch.setattr(OPERATIONS, "_entries", entries)

    def add(function: Callable[..., Any], **more: Any) -> None:
        name = function.__name__
        fields: dict[str, Any] = {"reach": "point", **more}
        entries[name] = Operation(name, "test", function, parameters_of(function), **fields)

    return add


def raising(error: Exception) -> Callable[[Image], Image]:
    def broken(image: Image) -> Image:
        raise error

    return broken


@pytest.mark.parametrize(
    ("error", "reason", "message"),
    [
        (ValueError("no"), FailedReason.OPERATION_ERROR, r"operation 2 \(broken\): ValueError: no"),
        (MemoryError(), FailedReason.OUT_OF_MEMORY, r"operation 2 \(broken\): MemoryError"),
        (ImageError(FailedReason.TOO_LARGE, "no"), FailedReason.TOO_LARGE, r"operation 2 \(broken\): no"),
    ],
    ids=["any", "memory", "own reason"],
)
def test_a_failing_operation_is_named(register: Register, error: Exception, reason: FailedReason, message: str) -> None:
    register(raising(error))
    with pytest.raises(ImageError, match=message) as caught:
        apply_operations(example_image("uint8", 4), [STEPS[0], ImageOperation("broken")])
    assert caught.value.reason is reason


def test_opencv_out_of_memory_is_told_from_its_other_errors(register: Register) -> None:
    def allocate(image: Image) -> Image:
        return np.asarray(cv2.copyMakeBorder(image, 1 << 30, 1 << 30, 1 << 10, 1 << 10, cv2.BORDER_CONSTANT))

    def misuse(image: Image) -> Image:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2RGB))

    register(allocate)
    register(misuse)
    for name, reason in (("allocate", FailedReason.OUT_OF_MEMORY), ("misuse", FailedReason.OPERATION_ERROR)):
        with pytest.raises(ImageError, match=name) as caught:
            apply_operations(example_image("uint8", 3), [ImageOperation(name)])
        assert caught.value.reason is reason


@pytest.mark.parametrize(
    "result",
    [None, np.zeros((2, 2)), np.zeros((2, 2, 5), np.uint8), np.zeros((2, 2, 3), np.uint8)],
    ids=["nothing", "dtype", "shape", "size without alpha"],
)
def test_a_result_that_fits_nothing_is_refused(register: Register, result: object) -> None:
    def odd(image: Image) -> Any:
        return result

    register(odd)
    with pytest.raises(ImageError, match=r"operation 1 \(odd\)"):
        apply_operations(example_image("uint8", 4), [ImageOperation("odd")])


def test_a_broken_table_is_an_operation_error(register: Register) -> None:
    def tabled(image: Image) -> Image:
        return image

    def table(dtype: np.dtype[Any]) -> NDArray[Any]:
        raise ArithmeticError("no")

    register(tabled, table=table)
    with pytest.raises(ImageError, match=r"operation 1 \(tabled\): ArithmeticError: no"):
        apply_operations(example_image("uint8", 1), [ImageOperation("tabled")])


def test_caches_follow_the_registry(register: Register) -> None:
    """The same name may stand for another operation later."""
    steps = [ImageOperation("invert")]
    image = example_image("uint8", 1)
    assert_array_equal(apply_operations(image, steps).pixels, 255 - image)

    def invert(image: Image) -> Image:
        return image

    register(invert)
    assert_array_equal(apply_operations(image, steps).pixels, image)


@pytest.mark.parametrize("params", [{}, {"orientation": None}], ids=["left out", "null"])
def test_auto_orient_gets_the_orientation_of_the_image_once(params: dict[str, Any]) -> None:
    """EXIF 6: the first column is the top, so that the picture is shown turned by a quarter clockwise."""
    image = example_image("uint8", 4)
    steps = [ImageOperation("gamma"), ImageOperation(AUTO_ORIENT, params)]
    result = apply_operations(image, steps * 2, orientation=6)
    assert_array_equal(result.pixels, np.rot90(image, -1))
    assert result.orientation == 1


def test_an_orientation_given_by_the_job_wins() -> None:
    image = example_image("uint8", 4)
    own = apply_operations(image, [ImageOperation(AUTO_ORIENT, {"orientation": 3})], orientation=6)
    assert_array_equal(own.pixels, image[::-1, ::-1])
    assert own.orientation == 1


def test_without_auto_orient_the_orientation_is_handed_on() -> None:
    assert apply_operations(example_image("uint8", 3), [ImageOperation("gamma")], orientation=6).orientation == 6


def test_halo_is_the_sum_of_the_local_operations(register: Register) -> None:
    def blur(image: Image, *, radius: int = 2) -> Image:
        return image

    register(blur, reach="local", halo=lambda radius: 3 * radius)
    blurs = [ImageOperation("blur"), ImageOperation("gamma"), ImageOperation("blur", {"radius": 5})]
    assert chain_halo([]) == 0
    assert chain_halo([ImageOperation("gamma")]) == 0
    assert chain_halo(blurs) == 21
    assert chain_halo([*blurs, ImageOperation("equalize")]) is None


def test_importing_and_checking_stay_light() -> None:
    code = (
        "import sys; from pipelines.operations import compile_chain; from pipelines.models import ImageOperation as O;"
        "compile_chain([O('curves', {'points': [[0, 0], [1, 1]]}), O('clahe'), O('hue_saturation')]);"
        "print(*sorted({'cv2', 'numba', 'scipy', 'skimage', 'ray'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


# ---- as people write them --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ([], ()),
        ("invert", (ImageOperation("invert"),)),
        ({"gamma": {"gamma": 1.7}}, (STEPS[0],)),
        (["invert", {"invert": None}, STEPS[0]], (STEPS[1], STEPS[1], STEPS[0])),
    ],
)
def test_operations_are_taken_as_people_write_them(written: Any, meant: tuple[ImageOperation, ...]) -> None:
    assert as_operations(written) == meant


@pytest.mark.parametrize(
    "written",
    [
        None,
        3,
        [3],
        [{3: {}}],
        [{"gamma": 1.2}],
        [{"gamma": [["gamma", 1.2]]}],
        [{"gamma": 0}],
        [{"gamma": {}, "invert": {}}],
    ],
)
def test_what_is_no_operation_is_told(written: Any) -> None:
    with pytest.raises(ChainError, match=r"give a (list|name|mapping of its parameters)"):
        as_operations(written)


def test_parameters_of_an_operation_are_a_mapping_from_the_beginning() -> None:
    params: Any
    for params in ("wide", [["gamma", 1.2]], None, {1: 2}):
        with pytest.raises(RayjobsError, match="gamma: give a mapping of its parameters, such as "):
            ImageOperation("gamma", params)
