"""Lengths in units: they follow the geometry of the chain, or are refused; and what a file states of its pixels."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError

from pipelines.analyses import ANALYSES, ROWS, AnalysisCalculator
from pipelines.contracts import ProcessorExtension
from pipelines.errors import ImageError
from pipelines.extensions.extension_adapters import Origin, operation_of
from pipelines.image_io import ReadPolicy
from pipelines.image_io.pixel_size import pixel_size_um
from pipelines.models import AnalysisRequest, ImageOperation
from pipelines.operations import OPERATIONS, apply_operations
from pipelines.operations.image_geometry import ImageGeometry, geometry_of
from pipelines.operations.reduction import Reduction
from pipelines.stages.image_stages import render_frame
from pipelines.stages.recipe import Recipe

PROPERTIES = ["area", "perimeter", "feret_diameter", "major_axis"]


def disc(height: int = 600, width: int = 800) -> NDArray[Any]:
    y, x = np.mgrid[:height, :width]
    return (((x - width // 2) ** 2 + (y - height // 2) ** 2 < 90**2) * 200 + 20).astype(np.uint8)


def measured(image: NDArray[Any], geometry: ImageGeometry, **params: Any) -> dict[str, Any]:
    request = AnalysisRequest("objects", {"properties": PROPERTIES, **params})
    found = AnalysisCalculator([request]).calculate_analyses(image, geometry=geometry)["objects"]
    return {name: found[ROWS][name][0] for name in PROPERTIES} | {"mean_area": found["mean_area"]}


CHAINS: list[list[tuple[str, dict[str, Any]]]] = [
    [("resize", {"max_side": 400})],
    [("resize", {"max_side": 1600, "enlarge": True})],
    [("crop", {"x": 150, "y": 100, "width": 500, "height": 450}), ("resize", {"width": 301})],
    [("resize", {"width": 300, "height": 300, "mode": "fill"}), ("rotate", {"angle": 30})],
    [("auto_orient", {"orientation": 6}), ("pad", {"left": 30}), ("resize", {"height": 350})],
    [("rotate", {"angle": 90}), ("flip", {}), ("gaussian", {"sigma": 1}), ("gamma", {"gamma": 0.9})],
    [
        ("resize", {"width": 400, "height": 600, "mode": "exact"}),
        ("resize", {"width": 400, "height": 300, "mode": "exact"}),
    ],
]


@pytest.mark.parametrize("chain", CHAINS, ids=str)
def test_lengths_follow_the_chain(chain: list[tuple[str, dict[str, Any]]]) -> None:
    image = disc()
    expected = measured(image, ImageGeometry(), pixel_size=0.5)
    result = apply_operations(image, [ImageOperation(*step) for step in chain])
    found = measured(result.pixels, geometry_of(result), pixel_size=0.5)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=0.03), name


def test_a_picture_that_the_decoder_made_smaller_has_the_scale_of_the_whole() -> None:
    reduction = Reduction(factor=4, rows=1001, columns=1203)
    small = np.zeros((251, 301, 3), np.uint8)
    operations = [ImageOperation("auto_orient", {"orientation": 6}), ImageOperation("resize", {"max_side": 100})]
    scale = apply_operations(small, operations, reduction=reduction).scale
    assert scale == (1203 / 100, 1001 / 83)


@pytest.mark.parametrize(
    "chain",
    [
        [("resize", {"width": 400, "height": 600, "mode": "exact"})],
        [("resize", {"width": 400, "height": 600, "mode": "exact"}), ("rotate", {"angle": 30})],
    ],
)
def test_lengths_of_pixels_that_are_not_square_are_refused(chain: list[tuple[str, dict[str, Any]]]) -> None:
    result = apply_operations(disc(), [ImageOperation(*step) for step in chain])
    with pytest.raises(ImageError, match="objects: pixel_size"):
        measured(result.pixels, geometry_of(result), pixel_size=0.5)
    assert measured(result.pixels, geometry_of(result))["area"] > 0


class Halving(ProcessorExtension):
    """Makes the picture half as large; says so when told to."""

    def get_name(self) -> str:
        return "halving"

    def get_supported_configs(self) -> list[str]:
        return ["says"]

    def process(self, image: NDArray[Any], config: dict[str, Any]) -> NDArray[Any]:
        return image[::2, ::2]

    def get_pixel_scale(self, config: dict[str, Any]) -> float | None:
        return config.get("says")


def test_plug_ins_declare_their_scale_or_lengths_are_refused() -> None:
    origin = Origin(name="halving", distribution="halving", version="1")
    undo = OPERATIONS.register("halving", operation_of(Halving(), origin))
    try:
        image = disc()
        told = apply_operations(image, [ImageOperation("halving", {"says": 2}), ImageOperation("flip")])
        area = measured(told.pixels, geometry_of(told), pixel_size=0.5)["area"]
        assert area == pytest.approx(measured(image, ImageGeometry(), pixel_size=0.5)["area"], rel=0.03)
        silent = apply_operations(image, [ImageOperation("flip"), ImageOperation("halving")])
        with pytest.raises(ImageError, match=r"pixel_size can't be followed through operation 2 \(halving\)"):
            measured(silent.pixels, geometry_of(silent), pixel_size=0.5)
        with pytest.raises(ImageError, match="get_pixel_scale"):
            apply_operations(image, [ImageOperation("halving", {"says": -1})])
    finally:
        undo()


def written(*, size: tuple[int, int] = (60, 80), **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, disc(*size), photometric="minisblack", **options)
    return file.getvalue()


INCH, CENTIMETRE = 2, 3
FILES = {
    "tags-inch": (written(resolution=(25400 / 2, 25400 / 2), resolutionunit=INCH), 2.0),
    "tags-cm": (written(resolution=(5000, 5000), resolutionunit=CENTIMETRE), 2.0),
    "tags-without-unit": (written(resolution=(5000, 5000), resolutionunit=1), None),
    "nothing": (written(), None),
    "imagej-micron": (written(imagej=True, resolution=(4, 4), metadata={"unit": "micron"}), 0.25),
    "imagej-escaped": (written(imagej=True, resolution=(4, 4), metadata={"unit": "\\u00B5m"}), 0.25),
    "imagej-greek": (written(imagej=True, resolution=(4, 4), metadata={"unit": "\\u03BCm"}), 0.25),
    "imagej-angstrom": (written(imagej=True, resolution=(0.01, 0.01), metadata={"unit": "\\u00C5"}), 0.01),
    "imagej-nm": (written(imagej=True, resolution=(0.02, 0.02), metadata={"unit": "nm"}), 0.05),
    "imagej-pixel": (written(imagej=True, resolution=(4, 4), metadata={"unit": "pixel"}), None),
    "ome": (written(ome=True, metadata={"PhysicalSizeX": 0.65, "PhysicalSizeY": 0.65}), 0.65),
    "ome-nm": (
        written(
            ome=True,
            metadata={"PhysicalSizeX": 650, "PhysicalSizeY": 650, "PhysicalSizeXUnit": "nm", "PhysicalSizeYUnit": "nm"},
        ),
        0.65,
    ),
    "ome-angstrom": (
        written(
            ome=True,
            metadata={
                **{"PhysicalSizeX": 25, "PhysicalSizeXUnit": "\u00c5"},
                **{"PhysicalSizeY": 25, "PhysicalSizeYUnit": "\u00c5"},
            },
        ),
        0.0025,
    ),
    "ome-before-tags": (
        written(
            ome=True,
            resolution=(100, 100),
            resolutionunit=CENTIMETRE,
            metadata={"PhysicalSizeX": 2, "PhysicalSizeY": 2},
        ),
        2.0,
    ),
    "ome-without": (written(ome=True, resolution=(100, 100), resolutionunit=CENTIMETRE), None),
}


@pytest.mark.parametrize("name", FILES)
def test_what_a_file_states_of_its_pixels(name: str) -> None:
    data, size = FILES[name]
    assert pixel_size_um(data) == (None if size is None else pytest.approx((size, size), rel=1e-5))


def test_a_unit_that_nobody_knows_is_told() -> None:
    ome = {"PhysicalSizeX": 1, "PhysicalSizeXUnit": "reference frame", "PhysicalSizeY": 1}
    for data, unit in (
        (written(imagej=True, resolution=(4, 4), metadata={"unit": "furlong"}), "furlong"),
        (written(ome=True, metadata=ome), "reference frame"),
    ):
        with pytest.raises(ImageError, match=f"'{unit}'"):
            pixel_size_um(data)


def test_imagej_may_give_another_unit_down() -> None:
    metadata = {"unit": "um", "yunit": "nm"}
    assert pixel_size_um(written(imagej=True, resolution=(4, 0.002), metadata=metadata)) == pytest.approx((0.5, 0.25))


def test_pixels_that_are_higher_than_wide_and_other_formats() -> None:
    assert pixel_size_um(written(resolution=(5000, 2500), resolutionunit=CENTIMETRE)) == pytest.approx((4, 2))
    file = io.BytesIO()
    Image.fromarray(disc(60, 80)).save(file, "PNG", dpi=(300, 300))
    assert pixel_size_um(file.getvalue()) is None


def test_the_size_of_the_file_is_used_when_asked() -> None:
    image = disc()
    stated = ImageGeometry(scale=(2.0, 2.0), pixel_size_um=(0.5, 0.5))
    expected = measured(image, ImageGeometry(), pixel_size=0.5)
    assert measured(image, stated, pixel_size="file") == pytest.approx(expected)
    in_mm = measured(image, stated, pixel_size="file", unit="mm")
    assert in_mm["area"] == pytest.approx(expected["area"] * 1e-6)
    assert measured(image, stated, pixel_size=0.25) == pytest.approx(expected)
    with pytest.raises(ImageError, match="the file doesn't state the size of its pixels"):
        measured(image, ImageGeometry(), pixel_size="file")
    with pytest.raises(ImageError, match="square"):
        measured(image, ImageGeometry(pixel_size_um=(0.5, 0.25)), pixel_size="file")
    with pytest.raises(ValidationError, match="with pixel_size: file, one of nm, um"):
        ANALYSES["objects"].parameters(pixel_size="file", unit="furlong")


HALVED_DOWN = ("resize", {"width": 400, "height": 600, "mode": "exact"})
HALVED_ACROSS = ("resize", {"width": 800, "height": 300, "mode": "exact"})


@pytest.mark.parametrize(
    ("size", "chain", "side"),
    [
        ((1.0, 2.0), [HALVED_ACROSS], 2.0),
        ((2.0, 1.0), [HALVED_DOWN], 2.0),
        ((2.0, 1.0), [HALVED_DOWN, ("rotate", {"angle": 30}), ("resize", {"max_side": 300})], None),
        ((2.0, 1.0), [("rotate", {"angle": 90}), ("resize", {"width": 600, "height": 400, "mode": "exact"})], 2.0),
        ((2.0, 1.0), [("auto_orient", {"orientation": 6}), HALVED_DOWN], "not square"),
        ((2.0, 1.0), [HALVED_ACROSS], "not square"),
        ((2.0, 1.0), [("rotate", {"angle": 30}), HALVED_DOWN], "followed"),
        ((2.0, 2.0), [HALVED_DOWN], "not square"),
    ],
    ids=str,
)
def test_stated_sizes_follow_the_chain(size: Any, chain: list[tuple[str, dict[str, Any]]], side: Any) -> None:
    result = apply_operations(disc(), [ImageOperation(*step) for step in chain], pixel_size=size)
    geometry = geometry_of(result)
    if isinstance(side, str):
        with pytest.raises(ImageError, match="square|followed" if side == "followed" else "square pixels"):
            measured(result.pixels, geometry, pixel_size="file")
        return
    assert side is None or geometry.pixel_size_um == pytest.approx((side, side))
    expected = np.pi * 90**2 * 2  # um2, whatever the chain did
    assert measured(result.pixels, geometry, pixel_size="file")["area"] == pytest.approx(expected, rel=0.03)


def test_a_file_is_measured_whose_pixels_become_square() -> None:
    data = written(size=(120, 160), resolution=(10_000, 5000), resolutionunit=CENTIMETRE)
    recipe = Recipe(
        id=1,
        read=ReadPolicy(),
        operations=(ImageOperation("resize", {"width": 80, "height": 120, "mode": "exact"}),),
        analyses=(AnalysisRequest("objects", {"pixel_size": "file"}),),
    )
    rendered = render_frame(data, recipe, None)
    assert rendered.pixels.shape == (120, 80)
    assert rendered.geometry.pixel_size_um == pytest.approx((2, 2))
