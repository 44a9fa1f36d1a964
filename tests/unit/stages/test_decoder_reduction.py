"""Shrink on load: when the decoder may make a picture smaller, how close the result is, and that all else stays.

The bounds are those that ``resize`` documents.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from PIL import Image
from skimage import data as photographs

from pipelines.errors import FailedReason, ImageError
from pipelines.image_io import EncodeOptions, ImageHeader, ReadPolicy, decode_image, probe_header
from pipelines.models import AnalysisRequest, ImageOperation, WorkItem
from pipelines.operations import apply_operations
from pipelines.stages import image_stages, image_task, staged_task
from pipelines.stages.block_task import Workspace, open_worker
from pipelines.stages.decoder_reduction import decode_and_apply, decoder_reduction
from pipelines.stages.memory_need import decoding_bytes, needed_bytes
from pipelines.stages.recipe import Recipe
from tests.workspaces import prepared

READ = ReadPolicy()
UPRIGHT = ImageOperation("auto_orient")
D65 = [0.3127, 0.3290, 1.0]
SRGB_PRIMARIES = [0.64, 0.33, 1, 0.30, 0.60, 1, 0.15, 0.06, 1]
P3_PRIMARIES = [0.68, 0.32, 1, 0.265, 0.69, 1, 0.15, 0.06, 1]
ADOBE_PRIMARIES = [0.64, 0.33, 1, 0.21, 0.71, 1, 0.15, 0.06, 1]
SIDE = 403
"""No multiple of any block."""


def resize(**params: Any) -> ImageOperation:
    return ImageOperation("resize", params)


def header(width: int = 1920, height: int = 1280, **values: Any) -> ImageHeader:
    return ImageHeader(**{"format": "jpeg", "width": width, "height": height, "channels": 3} | values)


def profile(primaries: list[float], gamma: float) -> bytes:
    return bytes(imagecodecs.cms_profile("rgb", whitepoint=D65, primaries=primaries, gamma=gamma))


def jpeg(pixels: NDArray[Any], **options: Any) -> bytes:
    target = BytesIO()
    Image.fromarray(pixels).save(target, "JPEG", **{"quality": 92, "subsampling": "4:2:0"} | options)
    return target.getvalue()


def exif(orientation: int) -> Image.Exif:
    found = Image.Exif()
    found[0x0112] = orientation
    return found


@dataclass(frozen=True, slots=True)
class Compared:
    """A picture after a chain, decoded no larger than needed and in full."""

    factor: int
    reduced: NDArray[Any]
    full: NDArray[Any]

    @property
    def levels(self) -> NDArray[np.int64]:
        return np.abs(self.reduced.astype(np.int64) - self.full)


def compare(data: bytes, *operations: ImageOperation, policy: ReadPolicy = READ) -> Compared:
    found = probe_header(data, policy)
    _, reduced = decode_and_apply(data, found, policy, operations)
    whole = decode_image(data, policy)
    full = apply_operations(whole.pixels, operations, orientation=whole.orientation)
    assert reduced.orientation == full.orientation
    assert reduced.pixels.shape == full.pixels.shape
    return Compared(decoder_reduction(found, policy, operations), reduced.pixels, full.pixels)


class TestDecision:
    @pytest.mark.parametrize(
        ("chain", "factor"),
        [
            pytest.param([resize(max_side=321)], 1, id="less than 6 times"),
            pytest.param([resize(max_side=320)], 2, id="6 times"),
            pytest.param([resize(max_side=159)], 4, id="12 times"),
            pytest.param([resize(max_side=80)], 8, id="24 times"),
            pytest.param([resize(max_side=1)], 8, id="one pixel"),
            pytest.param([UPRIGHT, resize(max_side=159)], 4, id="after auto_orient"),
            pytest.param([resize(max_side=159), ImageOperation("invert")], 4, id="before others"),
            pytest.param([resize(width=80, height=200, mode="exact")], 2, id="the side that shrinks less decides"),
            pytest.param([resize(width=80, height=80, mode="fill")], 4, id="fill: what is shown decides"),
            pytest.param([resize(height=100)], 4, id="one side given"),
            pytest.param([resize(max_side=80, kernel="area")], 1, id="area sees all pixels"),
            pytest.param([resize(max_side=80, kernel="nearest")], 1, id="nearest takes pixels as they are"),
            pytest.param([ImageOperation("invert"), resize(max_side=80)], 1, id="not first"),
            pytest.param([UPRIGHT, UPRIGHT, resize(max_side=80)], 1, id="turned twice"),
            pytest.param([UPRIGHT], 1, id="no resize"),
            pytest.param([], 1, id="no chain"),
            pytest.param([resize()], 1, id="wrong parameters"),
            pytest.param([ImageOperation("resise")], 1, id="unknown operation"),
        ],
    )
    def test_depends_on_how_the_chain_begins(self, chain: list[ImageOperation], factor: int) -> None:
        assert decoder_reduction(header(), READ, chain) == factor

    @pytest.mark.parametrize(
        ("values", "factor"),
        [
            pytest.param({}, 8, id="plain"),
            pytest.param({"channels": 1, "space": "gray"}, 8, id="gray"),
            pytest.param({"space": "cmyk"}, 1, id="CMYK"),
            pytest.param({"format": "png"}, 1, id="PNG"),
            pytest.param({"width": 15, "height": 900}, 1, id="narrow"),
            pytest.param({"icc": profile(SRGB_PRIMARIES, 2.2)}, 8, id="tones like those of sRGB"),
            pytest.param({"icc": profile(SRGB_PRIMARIES, 1.0)}, 1, id="linear light"),
            pytest.param({"icc": profile(SRGB_PRIMARIES, 1.8)}, 1, id="gamma 1.8"),
            pytest.param({"icc": b"damaged"}, 8, id="profile that isn't used"),
        ],
    )
    def test_depends_on_what_the_header_says(self, values: dict[str, Any], factor: int) -> None:
        assert decoder_reduction(header(**values), READ, [resize(width=1, height=1)]) == factor

    def test_a_profile_that_stays_beside_the_pixels_is_no_obstacle(self) -> None:
        linear = header(icc=profile(SRGB_PRIMARIES, 1.0))
        assert decoder_reduction(linear, ReadPolicy(color="keep"), [resize(max_side=80)]) == 8

    @pytest.mark.parametrize(("orientation", "factor"), [(1, 2), (3, 2), (6, 8), (8, 8)])
    def test_sides_are_those_of_the_upright_picture(self, orientation: int, factor: int) -> None:
        chain = [UPRIGHT, resize(width=40, height=160, mode="exact")]  # of 960 x 4,000
        assert decoder_reduction(header(4000, 960, orientation=orientation), READ, chain) == factor
        given = [ImageOperation("auto_orient", {"orientation": orientation}), *chain[1:]]
        assert decoder_reduction(header(4000, 960), READ, given) == factor

    def test_an_operation_on_the_smaller_picture_is_refused(self) -> None:
        from pipelines.operations.reduction import Reduction

        reduction = Reduction(factor=2, rows=20, columns=20)
        with pytest.raises(ImageError, match=r"operation 1 \(invert\): got an image that its decoder made 2 times"):
            apply_operations(np.zeros((10, 10), np.uint8), [ImageOperation("invert")], reduction=reduction)


@pytest.mark.parametrize("times", [6, 12, 24])
@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea", "rocket", "retina", "hubble_deep_field"])
def test_photographs_are_within_the_documented_levels(name: str, times: int) -> None:
    pixels = getattr(photographs, name)()
    side = min(pixels.shape[:2])
    pixels = np.ascontiguousarray(pixels[:side, :side])
    for options in ({}, {"icc_profile": profile(P3_PRIMARIES, 2.2)}, {"progressive": True, "subsampling": "4:4:4"}):
        compared = compare(jpeg(pixels, **options), resize(max_side=side // times))
        assert compared.factor == times // 3
        levels = compared.levels
        assert levels.mean() < 1
        assert np.percentile(levels, 99) <= 6
        assert levels.max() <= 13


def stripes(period: float, degrees: float) -> NDArray[np.uint8]:
    y, x = np.mgrid[:SIDE, :SIDE]
    along = (x * np.cos(np.deg2rad(degrees)) + y * np.sin(np.deg2rad(degrees))) / period
    return np.where(along % 1 < 0.5, 255, 0).astype(np.uint8)


def zone_plate() -> NDArray[np.uint8]:
    """Rings from coarse to one pixel at the edges."""
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    return (127.5 + 127.5 * np.cos(np.pi * (x * x + y * y) / SIDE)).astype(np.uint8)


def mosaic() -> NDArray[np.uint8]:
    """Pure colours side by side: all the worse for colour at half resolution."""
    y, x = np.mgrid[:SIDE, :SIDE]
    pure = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [0, 255, 255], [255, 0, 255]]
    return np.array(pure, np.uint8)[(x // 37 + 2 * (y // 29)) % 6]


def noise() -> NDArray[np.uint8]:
    return np.random.default_rng(1).choice(np.array([0, 255], np.uint8), (SIDE, SIDE, 3))


HARD = {
    "zone-plate": zone_plate(),
    "noise": noise(),
    "mosaic": mosaic(),
    "red-and-blue": np.array([[255, 0, 0], [0, 0, 255]], np.uint8)[stripes(3, 0) // 255],
    **{
        f"stripes-{period}-at-{degrees}": stripes(period, degrees) for period in (2, 5, 7, 9) for degrees in (0, 30, 90)
    },
}


@pytest.mark.parametrize("times", [6, 12, 24])
@pytest.mark.parametrize("name", HARD)
def test_hard_patterns_are_within_the_documented_levels(name: str, times: int) -> None:
    compared = compare(jpeg(HARD[name]), resize(max_side=SIDE // times))
    assert compared.factor == times // 3
    assert compared.levels.mean() <= 13
    assert compared.levels.max() <= 25


@pytest.mark.parametrize("times", [6, 12, 24])
@pytest.mark.parametrize("primaries", [P3_PRIMARIES, ADOBE_PRIMARIES], ids=["P3", "Adobe RGB"])
def test_colours_beyond_srgb_are_within_the_documented_levels(primaries: list[float], times: int) -> None:
    compared = compare(jpeg(mosaic(), icc_profile=profile(primaries, 2.2)), resize(max_side=SIDE // times))
    assert compared.factor == times // 3
    assert compared.levels.mean() <= 5
    assert compared.levels.max() <= 60


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(403, 291), (257, 398)], ids=str)
def test_turned_pictures_keep_size_and_place(orientation: int, size: tuple[int, int]) -> None:
    """A smooth picture shows any shift: half a pixel of the result would be 3 levels."""
    y, x = np.mgrid[: size[0], : size[1]]
    smooth = np.stack([x * 255 / size[1], y * 255 / size[0], 128 + 100 * np.sin((x + y) / 40)], axis=-1)
    data = jpeg(smooth.astype(np.uint8), exif=exif(orientation), quality=98)
    for params in (
        {"max_side": 16},
        {"width": 9, "height": 14, "mode": "fill"},
        {"width": 7, "height": 11, "mode": "exact"},
    ):
        compared = compare(data, UPRIGHT, resize(**params))
        assert compared.factor >= 4
        assert compared.levels.max() <= 2
    compared = compare(data, resize(max_side=16))  # not turned: handed on to the output
    assert compared.factor == 8
    assert compared.levels.max() <= 2


@pytest.mark.parametrize("orientation", [1, 3, 5, 7])
def test_what_an_encoder_filled_the_last_blocks_with_hardly_counts(orientation: int) -> None:
    """The picture is white, the rest of its last blocks black: 5 pixels of 16 along each side."""
    padded = np.zeros((208, 304, 3), np.uint8)
    padded[:197, :293] = 255
    data = bytearray(jpeg(padded, exif=exif(orientation), quality=95))
    struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, 197, 293)
    for max_side in (48, 24, 12):
        compared = compare(bytes(data), UPRIGHT, resize(max_side=max_side))
        assert compared.factor == 288 // max_side // 3
        assert compared.levels.max() <= 30


def outcome(data: bytes, policy: ReadPolicy, factor: int) -> tuple[str, str | None]:
    """Reason and text, or the remark on what was decoded."""
    try:
        return "done", decode_image(data, policy, scale_denom=factor).degraded
    except ImageError as error:
        return error.reason, str(error)


@pytest.mark.parametrize("truncated", ["strict", "salvage", "flag"])
@pytest.mark.parametrize("progressive", [False, True], ids=["baseline", "progressive"])
def test_damage_and_cuts_are_found_as_in_a_full_decode(truncated: Any, progressive: bool) -> None:
    data = jpeg(np.ascontiguousarray(photographs.chelsea()[:160, :208]), progressive=progressive)
    policy = ReadPolicy(truncated=truncated)
    random = np.random.default_rng(5)
    files = [data[:end] for end in np.linspace(200, len(data) - 1, 12).astype(int)]
    for place in random.integers(data.index(b"\xff\xda"), len(data) - 2, 40):
        files.append(data[:place] + bytes([int(random.integers(256))]) + data[place + 1 :])
        files.append(data[:place] + data[place + int(random.integers(1, 60)) :])
    outcomes = [outcome(file, policy, 1) for file in files]
    for factor in (2, 4, 8):
        assert [outcome(file, policy, factor) for file in files] == outcomes
    assert {FailedReason.CORRUPT, "done"} <= {reason for reason, _ in outcomes}


def recipe(policy: ReadPolicy = READ, **values: Any) -> Recipe:
    given = {"id": 1, "operations": (UPRIGHT, resize(max_side=48)), "read": policy} | values
    return Recipe(**given)


def item(path: Path) -> WorkItem:
    stat = path.stat()
    return WorkItem(id=1, path=bytes(path), size=stat.st_size, mtime_ns=stat.st_mtime_ns, name="a", title="a", recipe=1)


def test_one_stage_or_three_give_the_same_file_numbers_and_true_size(tmp_path: Path) -> None:
    source = tmp_path / "a.jpg"
    source.write_bytes(jpeg(photographs.coffee(), exif=exif(6), icc_profile=profile(P3_PRIMARIES, 2.2)))
    image = {"image": EncodeOptions(format="png", metadata="keep"), "image_suffixes": (".png",)}
    work = recipe(**image, analyses=(AnalysisRequest("color_histogram"), AnalysisRequest("statistics")))
    assert decoder_reduction(probe_header(source.read_bytes(), READ), READ, work.operations) == 4
    spaces = [prepared(Workspace(root=tmp_path / n, epoch=1, stop=tmp_path / "stop")) for n in ("one", "three")]
    status, _ = image_task.process(
        image_task.ImageWork(item=item(source), recipe=work, publisher=open_worker(spaces[0]).publisher)
    )
    table = pa.table({"id": [1]})
    (rendered,) = staged_task.render(table, [item(source)], {1: work}, spaces[1])
    (analyzed,) = staged_task.analyze(rendered, [item(source)], {1: work}, spaces[1])
    ((other,),) = staged_task.export(analyzed, [item(source)], {1: work}, spaces[1])
    assert (status.status, status.width, status.height) == ("done", 600, 400)
    assert replace(other, seconds=0, worker="", part=None, row=None) == replace(status, seconds=0, worker="")
    written = [(space.root / "images" / "a.png").read_bytes() for space in spaces]
    assert written[0] == written[1]
    assert Image.open(BytesIO(written[0])).size == (32, 48)


def test_pixels_are_the_same_whatever_is_wanted_of_an_input(tmp_path: Path) -> None:
    source = tmp_path / "a.jpg"
    source.write_bytes(jpeg(photographs.coffee()))
    alone = image_stages.render(item(source), recipe(image=EncodeOptions(format="png")))
    measured = image_stages.render(item(source), recipe(analyses=(AnalysisRequest("sharpness"),)))
    np.testing.assert_array_equal(alone.pixels, measured.pixels)


def test_a_reduced_picture_needs_less_memory_and_none_for_the_others() -> None:
    large = header(20_000, 20_000, working_copies=0, file_bytes=1000)
    assert decoding_bytes(large) == large.predicted_bytes
    assert decoding_bytes(large, 8) == 1000 + 2500 * 2500 * 3
    assert needed_bytes(large, 8) < needed_bytes(large) / 60
    progressive = replace(large, working_copies=2)
    assert decoding_bytes(progressive, 8) > 2 * large.pixel_bytes


@pytest.mark.parametrize(("truncated", "fits"), [("strict", True), ("flag", True), ("salvage", False)])
def test_limits_count_what_is_decoded(tmp_path: Path, truncated: Any, fits: bool) -> None:
    """Salvaging looks at the full size when the file turns out to be cut."""
    source = tmp_path / "a.jpg"
    source.write_bytes(jpeg(photographs.coffee()))
    work = recipe(ReadPolicy(truncated=truncated), memory_per_image=400_000)
    try:
        rendered = image_stages.render(item(source), work)
    except image_task.BeyondMemoryError:
        assert not fits
    else:
        assert fits
        assert rendered.source.header.width == 600
