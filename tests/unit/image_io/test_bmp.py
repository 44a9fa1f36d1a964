"""BMP of every kind: the pixels that were put in, or refused by name."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest

from pipelines.errors import FailedReason as Reason
from pipelines.errors import ImageError
from pipelines.image_io import ReadPolicy, decode_image
from tests.decoder_samples import (
    FEW,
    GRAY,
    INDICES,
    RGB,
    RGBA,
    SAMPLES,
    bmp,
    bmp_palette,
    bmp_rows,
    packed_indices,
    runs,
)

STRICT, SALVAGE = ReadPolicy(), ReadPolicy(truncated="salvage")
COLOURS = np.array(FEW.getpalette(), np.uint8).reshape(-1, 3)
OF_PALETTE = COLOURS[INDICES]
BGRA = RGBA[..., [2, 1, 0, 3]]
ALPHA_MASKS = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)


def _levels(bits: int) -> Any:
    """Levels of a channel of so many bits, scaled to 255."""
    return np.rint((RGB >> (8 - bits)) * (255 / ((1 << bits) - 1)))


EXPECTED: dict[str, Any] = {
    "bmp 24": RGB,
    "bmp 32": RGBA[..., :3],
    "bmp 32 alpha": RGBA,
    "bmp 32 masks": RGBA,
    "bmp 8": OF_PALETTE,
    "bmp 8 black and white": np.repeat((INDICES % 2 * 255)[..., None], 3, axis=-1),
    "bmp gray": GRAY,
    "bmp 4": OF_PALETTE,
    "bmp 4 nearly black": np.repeat(INDICES[..., None], 3, axis=-1),
    "bmp 1": COLOURS[INDICES % 2],
    "bmp os/2": OF_PALETTE,
    "bmp runs of 8": OF_PALETTE,
    "bmp runs of 4": OF_PALETTE,
    "bmp 16": np.dstack([_levels(5)[..., 0], _levels(6)[..., 1], _levels(5)[..., 2]]),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_pixels_are_those_that_were_put_in(name: str) -> None:
    decoded = decode_image(SAMPLES[name](), STRICT)
    np.testing.assert_array_equal(decoded.pixels, EXPECTED[name])
    assert decoded.degraded is None


def test_rows_from_the_top() -> None:
    data = bytearray(bmp(24, bmp_rows(RGB[::-1, :, ::-1])))
    struct.pack_into("<i", data, 22, -12)
    np.testing.assert_array_equal(decode_image(bytes(data), STRICT).pixels, RGB)


@pytest.mark.parametrize("size", [56, 108, 124])
def test_alpha_of_0_everywhere_is_none(size: int) -> None:
    clear = BGRA.copy()
    clear[..., 3] = 0
    pixels = decode_image(bmp(32, bmp_rows(clear), size=size, packing=3, masks=ALPHA_MASKS), STRICT).pixels
    np.testing.assert_array_equal(pixels, np.dstack([RGBA[..., :3], np.full_like(GRAY, 255)]))


def test_alpha_of_0_somewhere_is_meant() -> None:
    partly = BGRA.copy()
    partly[..., 3] = 0
    partly[5, 7, 3] = 200
    pixels = decode_image(bmp(32, bmp_rows(partly), size=108, packing=3, masks=ALPHA_MASKS), STRICT).pixels
    np.testing.assert_array_equal(pixels[..., 3], partly[..., 3])


@pytest.mark.parametrize("masks", [(0xF800, 0x7E0, 0x1F), (0xF00, 0xF0, 0xF, 0xF000), (0xE0, 0x1C, 0x3)], ids=str)
def test_masks_of_any_width(masks: tuple[int, ...]) -> None:
    words = np.zeros(GRAY.shape, np.uint16)
    expected = []
    for channel, mask in enumerate(masks):
        bits, shift = mask.bit_count(), (mask & -mask).bit_length() - 1
        stored = RGBA[..., channel].astype(np.uint16) >> (8 - bits)
        words |= stored << shift
        expected.append(np.rint(stored * (255 / ((1 << bits) - 1))))
    pixels = decode_image(bmp(16, bmp_rows(words), size=108, packing=3, masks=masks), STRICT).pixels
    np.testing.assert_array_equal(pixels, np.stack(expected, axis=-1))


def test_what_run_lengths_skip_is_the_first_colour() -> None:
    rows = b"\3\1\0\2\2\1\2\2\0\1"  # three of colour 1, two right and one up, two of colour 2, end
    pixels = decode_image(bmp(8, rows, packing=1, palette=bmp_palette(), shape=(3, 8)), STRICT).pixels
    expected = np.zeros((3, 8), int)
    expected[2, :3], expected[1, 5:7] = 1, 2
    np.testing.assert_array_equal(pixels, COLOURS[expected])


def test_offset_that_forgets_the_palette() -> None:
    """Some writers give the end of the header; the pixels follow the palette all the same."""
    data = bytearray(SAMPLES["bmp 8"]())
    struct.pack_into("<I", data, 10, 54)
    np.testing.assert_array_equal(decode_image(bytes(data), STRICT).pixels, OF_PALETTE)


def reason_of(data: bytes, policy: ReadPolicy = STRICT) -> Reason:
    with pytest.raises(ImageError) as caught:
        decode_image(data, policy)
    return caught.value.reason


@pytest.mark.parametrize(
    "data",
    [
        bmp(24, b"\xff\xd8\xff", packing=4),
        bmp(24, b"\x89PNG", packing=5),
        bmp(32, bmp_rows(BGRA), packing=11),
        bmp(1, bytes(40), size=64, packing=3),
        bmp(24, bytes(40), size=64, packing=4),
        bmp(64, bytes(17 * 12 * 8)),
    ],
    ids=["jpeg", "png", "cmyk", "huffman", "os/2 runs of 24", "64 bits"],
)
def test_kinds_that_are_not_read_are_unsupported(data: bytes) -> None:
    assert reason_of(data) == Reason.UNSUPPORTED_FORMAT


@pytest.mark.parametrize(
    "data",
    [
        bmp(7, bmp_rows(INDICES), palette=bmp_palette()),
        bmp(24, bmp_rows(RGB), packing=77),
        bmp(16, bmp_rows(GRAY.astype(np.uint16)), packing=3, masks=(0xF00, 0x0F00, 0xF)),
        bmp(16, bmp_rows(GRAY.astype(np.uint16)), packing=3, masks=(0xA000, 0x0F00, 0xF)),
        bmp(8, bmp_rows(INDICES + 1), palette=bmp_palette(2)),
        bmp(8, b"\xff\1\0\1", packing=1, palette=bmp_palette()),
        bmp(4, bmp_rows(packed_indices(4)), packing=1, palette=bmp_palette()),
    ],
    ids=["7 bits", "packing", "overlap", "holes", "beyond the palette", "beyond the row", "runs of 8 in 4"],
)
def test_what_makes_no_sense_is_corrupt(data: bytes) -> None:
    assert reason_of(data) == Reason.CORRUPT


def test_cut_run_lengths_are_truncated() -> None:
    for policy in (STRICT, SALVAGE):
        assert reason_of(bmp(8, runs(8)[:-30], packing=1, palette=bmp_palette()), policy) == Reason.TRUNCATED
