"""Tags of TIFF files that are missing or stored oddly mean what libtiff takes them to mean, or the file is refused."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from pipelines.errors import FailedReason as Reason
from pipelines.errors import ImageError
from pipelines.image_io import ReadPolicy, decode_image, probe_header
from tests.corpus import pages, tiff
from tests.decoder_samples import (
    FEW,
    FLOATS,
    GRAY,
    GRAY16,
    INDICES,
    RGB,
    RGB16,
    RGBA,
    described,
    imagej_stack,
    palette_tiff,
    saved,
    stack,
    tiff_entries,
    truncated_series,
    with_thumbnail,
)

STRICT, SALVAGE, ALL = ReadPolicy(), ReadPolicy(truncated="salvage"), ReadPolicy(frames="all")
Entries = list[tuple[int, int, Any]]


def reason_of(data: bytes, policy: ReadPolicy = STRICT, frame: int = 0) -> Reason:
    with pytest.raises(ImageError) as caught:
        decode_image(data, policy, frame=frame)
    return caught.value.reason


def pixels_of(data: bytes, frame: int = 0) -> Any:
    decoded = decode_image(data, ALL, frame=frame)
    assert decoded.degraded is None
    return decoded.pixels


def changed(entries: Entries, *given: tuple[int, int, Any]) -> Entries:
    """With other entries in place of those of the same tag, or beside them."""
    return [entry for entry in entries if entry[0] not in {tag for tag, *_ in given}] + list(given)


def without(entries: Entries, tag: int) -> Entries:
    return [entry for entry in entries if entry[0] != tag]


COLOURED: Entries = changed(
    described(8, 2),
    *((254, 4, 0), (258, 3, (8, 8, 8)), (266, 3, 1), (274, 3, 1), (277, 3, 3)),
    *((284, 3, 1), (317, 3, 1), (339, 3, (1, 1, 1))),
)
IN_STRIPS = changed(COLOURED, (259, 3, 8), (278, 3, 5), (317, 3, 2))
IN_PLANES = changed(COLOURED, (258, 3, (16, 16, 16)), (278, 3, 5), (284, 3, 2))


def _differences(rows: Any) -> bytes:
    """Of neighbours in a row, as a predictor leaves them, and packed."""
    left = np.concatenate([np.zeros_like(rows[:, :1]), rows[:, :-1]], axis=1)
    return zlib.compress((rows - left).tobytes())


STRIPS = [_differences(RGB[top : top + 5]) for top in (0, 5, 10)]


def planes(order: str) -> list[bytes]:
    wide = RGB16.astype(f"{order}u2")
    return [wide[top : top + 5, :, channel].tobytes() for channel in range(3) for top in (0, 5, 10)]


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", [1, 3, 4, 6, 8, 9], ids=["BYTE", "SHORT", "LONG", "SBYTE", "SSHORT", "SLONG"])
def test_a_tag_may_be_any_type_of_whole_number(kind: int, order: str) -> None:
    files = (
        (COLOURED, [RGB.tobytes()], RGB),
        (IN_STRIPS, STRIPS, RGB),
        (IN_PLANES, planes(order), RGB16),
    )
    tried = 0
    for entries, strips, expected in files:
        for tag, _, value in [*entries, (273, 4, (0,) * len(strips)), (279, 4, (0,) * len(strips))]:
            try:
                data = tiff_entries(changed(entries, (tag, kind, value)), *strips, order=order)
            except Exception:  # noqa: BLE001 - the number doesn't fit into the type
                continue
            np.testing.assert_array_equal(pixels_of(data), expected, str(tag), strict=True)
            tried += 1
    assert tried > 20


@pytest.mark.parametrize("kind", [2, 5, 7, 10, 11, 12, 99])
@pytest.mark.parametrize("tag", [256, 258, 259, 262, 277, 284, 339])
def test_a_tag_that_is_no_whole_number_is_refused(tag: int, kind: int) -> None:
    data = bytearray(tiff_entries(COLOURED, RGB.tobytes()))
    at = 10 + 12 * sorted([entry[0] for entry in COLOURED] + [273, 279]).index(tag)
    data[at + 2 : at + 4] = kind.to_bytes(2, "little")
    assert reason_of(bytes(data)) in (Reason.CORRUPT, Reason.TRUNCATED)


@pytest.mark.parametrize(
    ("tag", "values"),
    [
        (258, (0, 17, 33)),
        (259, (6, 9, 34661)),
        (262, (4, 7, 8, 77)),
        (266, (0, 3)),
        (284, (0, 3)),
        (339, (0, 2, 5, 9)),
    ],
)
def test_values_that_nobody_knows_are_refused(tag: int, values: tuple[int, ...]) -> None:
    for value in values:
        wide = (value,) * 3 if tag in (258, 339) else value
        found = reason_of(tiff_entries(changed(COLOURED, (tag, 3, wide)), RGB.tobytes()))
        assert found in (Reason.UNSUPPORTED_FORMAT, Reason.CODEC_MISSING), value


def test_unknown_predictors_and_extra_samples_are_refused() -> None:
    assert reason_of(tiff_entries(changed(IN_STRIPS, (317, 3, 7)), *STRIPS)) == Reason.UNSUPPORTED_FORMAT
    with_alpha = changed(COLOURED, (258, 3, (8,) * 4), (277, 3, 4), (339, 3, (1,) * 4), (338, 3, 7))
    assert reason_of(tiff_entries(with_alpha, RGBA.tobytes())) == Reason.UNSUPPORTED_FORMAT


def test_samples_of_different_kinds_are_refused() -> None:
    for other in ((258, 3, (8, 8, 4)), (258, 3, (8, 8)), (339, 3, (1, 3, 1))):
        assert reason_of(tiff_entries(changed(COLOURED, other), RGB.tobytes())) == Reason.UNSUPPORTED_FORMAT


def test_one_number_of_bits_holds_for_all_samples() -> None:
    data = tiff_entries(changed(COLOURED, (258, 3, 8), (339, 3, 1)), RGB.tobytes())
    np.testing.assert_array_equal(pixels_of(data), RGB)


@pytest.mark.parametrize("tag", [254, 259, 266, 274, 278, 279, 284, 317, 339])
def test_tags_with_a_default_may_be_missing(tag: int) -> None:
    data = tiff_entries(without(COLOURED, tag), RGB.tobytes())
    if tag == 279:
        data = tiff_entries(changed(COLOURED, (279, 3, 0)), RGB.tobytes())
    np.testing.assert_array_equal(pixels_of(data), RGB)


class TestMissingPhotometric:
    @pytest.mark.parametrize("stored", [GRAY, GRAY16, FLOATS[..., 0].copy()], ids=["8 bits", "16 bits", "floats"])
    def test_one_sample_is_black_at_0(self, stored: Any) -> None:
        format = [(339, 3, 3)] if stored.dtype.kind == "f" else []
        data = tiff_entries([*described(8 * stored.itemsize), *format], stored.tobytes())
        np.testing.assert_array_equal(pixels_of(data), stored, strict=True)

    def test_one_bit_is_black_at_0(self) -> None:
        data = tiff_entries(described(1), np.packbits(GRAY > 128, axis=1).tobytes())
        np.testing.assert_array_equal(pixels_of(data), np.where(GRAY > 128, 255, 0))

    def test_fax_is_white_at_0(self) -> None:
        packed = saved(Image.fromarray(GRAY).convert("1"), "TIFF", compression="group4")
        expected = 255 - pixels_of(packed)  # which says black
        at = packed.index(b"\x06\x01\x03\x00\x01\x00\x00\x00")
        np.testing.assert_array_equal(pixels_of(packed[:at] + b"\xfb\xff" + packed[at + 2 :]), expected)

    def test_three_samples_are_red_green_and_blue(self) -> None:
        np.testing.assert_array_equal(pixels_of(tiff_entries(without(COLOURED, 262), RGB.tobytes())), RGB)

    def test_four_samples_could_be_anything(self) -> None:
        entries = changed(without(COLOURED, 262), (258, 3, (8,) * 4), (277, 3, 4), (339, 3, (1,) * 4))
        assert reason_of(tiff_entries(entries, RGBA.tobytes())) == Reason.UNSUPPORTED_FORMAT


def test_min_is_white_holds_where_it_is_said() -> None:
    data = tiff_entries(described(16, 0), GRAY16.astype("<u2").tobytes())
    np.testing.assert_array_equal(pixels_of(data), 65535 - GRAY16)


def test_a_predictor_counts_only_with_compressions_that_have_one() -> None:
    """As libtiff reads it: LSM files carry the tag beside plain data."""
    np.testing.assert_array_equal(pixels_of(tiff_entries(changed(COLOURED, (317, 3, 2)), RGB.tobytes())), RGB)


@pytest.mark.parametrize("order", "<>")
def test_bits_from_the_other_end(order: str) -> None:
    turned = np.packbits(
        np.unpackbits(RGB16.astype(f"{order}u2").view(np.uint8)[..., None], axis=-1)[..., ::-1], axis=-1
    )
    entries = changed(COLOURED, (258, 3, (16,) * 3), (266, 3, 2))
    np.testing.assert_array_equal(pixels_of(tiff_entries(entries, turned.tobytes(), order=order)), RGB16)


@pytest.mark.parametrize("bits", range(1, 9))
def test_palettes_of_any_number_of_bits(bits: int) -> None:
    colours = np.zeros((256, 3), np.uint8)
    given = np.array(FEW.getpalette(), np.uint8).reshape(-1, 3)[: 1 << bits]
    colours[: len(given)] = given
    np.testing.assert_array_equal(pixels_of(palette_tiff(bits)), colours[INDICES & ((1 << bits) - 1)])


def test_a_palette_of_another_size_is_refused() -> None:
    entries = [*described(8, 3), (320, 3, tuple(range(3 * 16)))]
    assert reason_of(tiff_entries(entries, (GRAY // 16).tobytes())) == Reason.CORRUPT


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_palettes_of_8_bits_in_the_high_byte_are_exact(bits: int) -> None:
    given = np.array([[0, 0, 0], [255, 254, 1]] * (1 << (bits - 1)), np.uint16)
    entries = [*described(bits, 3), (320, 3, tuple((given.T << 8).ravel().tolist()))]
    ones = tiff_entries(entries, b"\xff" * 12 * 17)
    assert (pixels_of(ones) == (255, 254, 1)).all()
    if bits == 8:
        with_alpha = changed(entries, (258, 3, (8, 8)), (277, 3, 2), (338, 3, 2))
        assert (pixels_of(tiff_entries(with_alpha, b"\xff" * 12 * 17 * 2)) == (255, 254, 1, 255)).all()
        file = BytesIO()
        FEW.save(file, "TIFF")
        np.testing.assert_array_equal(pixels_of(file.getvalue()), np.asarray(FEW.convert("RGB")))


CMYK = changed(COLOURED, (258, 3, (8,) * 4), (262, 3, 5), (277, 3, 4), (339, 3, (1,) * 4))


def test_inks_are_cmyk_from_none_to_all_or_refused() -> None:
    plain = tiff_entries(CMYK, RGBA.tobytes())
    said = [(332, 3, 1), (336, 3, (0, 255)), (336, 1, (0, 255)), (336, 3, (0, 255) * 4)]
    for entry in said:
        found = pixels_of(tiff_entries(changed(CMYK, entry), RGBA.tobytes()))
        np.testing.assert_array_equal(found, pixels_of(plain))
    for entry in [(332, 3, 2), (336, 3, (255, 0)), (336, 3, (255, 0) * 4), (336, 3, (0, 255, 0, 255, 0, 255, 9, 255))]:
        assert reason_of(tiff_entries(changed(CMYK, entry), RGBA.tobytes())) == Reason.UNSUPPORTED_FORMAT, entry


def test_samples_of_undefined_format_are_unsigned() -> None:
    np.testing.assert_array_equal(pixels_of(tiff_entries(changed(COLOURED, (339, 3, (4,) * 3)), RGB.tobytes())), RGB)
    wide = changed(described(16, 1), (339, 3, 4))
    np.testing.assert_array_equal(pixels_of(tiff_entries(wide, GRAY16.astype("<u2").tobytes())), GRAY16)


def _sparse(data: bytes, left_out: set[int], tags: tuple[int, int]) -> bytes:
    """A file of tifffile's whose strips or tiles of these numbers are nowhere."""
    changed = bytearray(data)
    with tifffile.TiffFile(BytesIO(data)) as file:
        for tag in (file.pages[0].tags[tags[0]], file.pages[0].tags[tags[1]]):
            form = {3: "<u2", 4: "<u4"}[int(tag.dtype)]
            values = np.frombuffer(data, form, tag.count, tag.valueoffset).copy()
            values[list(left_out)] = 0
            changed[tag.valueoffset : tag.valueoffset + values.nbytes] = values.tobytes()
    return bytes(changed)


@pytest.mark.parametrize("compression", [None, "zlib", "jpeg"])
@pytest.mark.parametrize("tiles", [True, False], ids=["tiles", "strips"])
def test_what_a_sparse_file_leaves_out_is_0(tiles: bool, compression: str | None) -> None:
    picture = np.full((64, 32), 200, np.uint8)
    layout: dict[str, Any] = {"tile": (16, 16)} if tiles else {"rowsperstrip": 16}
    data = tiff(picture, compression=compression, **layout)
    tags, count = ((324, 325), 8) if tiles else ((273, 279), 4)
    assert (pixels_of(_sparse(data, set(range(count)), tags)) == 0).all()
    expected = picture.copy()
    if tiles:
        expected[:16, :16] = 0
    else:
        expected[:16] = 0
    np.testing.assert_array_equal(pixels_of(_sparse(data, {0}, tags)), expected)
    only_offset = _sparse(data, {0}, (tags[0], tags[0]))
    assert reason_of(only_offset) == Reason.CORRUPT


def test_more_counts_than_strips_cost_nothing() -> None:
    entries = changed(IN_STRIPS, (279, 4, (0,) * 3))
    data = bytearray(tiff_entries(entries, *STRIPS))
    at = data.index(struct.pack("<HHI", 279, 4, 3))
    struct.pack_into("<I", data, at + 4, 4)
    np.testing.assert_array_equal(pixels_of(bytes(data)), RGB)


@pytest.mark.parametrize(("no_data", "is_read"), [("0", True), ("0.0", True), ("-9999", False), ("nan", False)])
def test_a_sparse_file_of_another_value_than_0_is_refused(no_data: str, is_read: bool) -> None:
    options: dict[str, Any] = {"tile": (16, 16), "extratags": [(42113, 2, 0, no_data, True)]}
    data = tiff(np.full((32, 32), 7, np.float32), **options)
    assert (pixels_of(data) == 7).all()
    sparse = _sparse(data, {3}, (324, 325))
    if is_read:
        assert (pixels_of(sparse)[16:, 16:] == 0).all()
    else:
        with pytest.raises(ImageError, match=f"GDAL_NODATA {no_data}") as caught:
            pixels_of(sparse)
        assert caught.value.reason == Reason.UNSUPPORTED_FORMAT


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "uint32", "int64", "uint64", "complex64"])
def test_label_images_and_raw_counts_are_named_as_unsupported(dtype: str) -> None:
    assert reason_of(tiff(GRAY.astype(dtype))) == Reason.UNSUPPORTED_FORMAT


@pytest.mark.parametrize("channels", [2, 5])
def test_channels_without_names_are_unsupported(channels: int) -> None:
    data = tiff(np.dstack([GRAY] * channels), photometric="minisblack", planarconfig="contig")
    assert reason_of(data) == Reason.UNSUPPORTED_FORMAT


class TestPictures:
    """Which directories are pictures, and how many follow one."""

    @pytest.mark.parametrize("below", [False, True], ids=["before", "below"])
    def test_thumbnails_are_no_pictures(self, below: bool) -> None:
        data = with_thumbnail(below=below)
        assert probe_header(data, ALL).frames == 1
        np.testing.assert_array_equal(pixels_of(data), RGB)

    def test_overviews_are_no_frames(self) -> None:
        data = with_thumbnail(first=False)
        assert probe_header(data, ALL).frames == 1
        np.testing.assert_array_equal(pixels_of(data), RGB)

    @pytest.mark.parametrize(
        "said", [(254, 4, 1), (254, 3, 1), (254, 4, 4), (254, 4, 5), (254, 4, 65537), (255, 3, 2), (262, 3, 4)], ids=str
    )
    def test_whatever_says_that_it_is_none(self, said: tuple[int, int, int]) -> None:
        first = tiff_entries(changed(described(8, 1), said), GRAY.tobytes())
        assert _chained(first, tiff(RGB)) == ("frames 1", "RGB")

    @pytest.mark.parametrize("said", [(254, 4, 2), (254, 1, 0), (255, 3, 1), (255, 3, 3)], ids=str)
    def test_pages_are_pictures(self, said: tuple[int, int, int]) -> None:
        first = tiff_entries(changed(described(8, 1), said), GRAY.tobytes())
        assert _chained(first, tiff(RGB)) == ("frames 2", "gray")

    def test_a_thumbnail_alone_is_what_the_file_shows(self) -> None:
        data = tiff_entries(changed(described(8, 1), (254, 4, 1)), GRAY.tobytes())
        np.testing.assert_array_equal(pixels_of(data), GRAY)

    def test_the_picture_may_lie_below_its_thumbnail(self) -> None:
        below = tiff(RGB)
        first = tiff_entries(changed(described(8, 1), (254, 4, 1), (330, 4, 0)), GRAY.tobytes())
        data = _joined(first, below, at_tag=330)
        assert probe_header(data, ALL).frames == 1
        np.testing.assert_array_equal(pixels_of(data), RGB)

    @pytest.mark.parametrize("made", [imagej_stack, truncated_series], ids=["imagej", "tifffile"])
    def test_pictures_behind_one_directory_are_frames(self, made: Any) -> None:
        data = made(4)
        header = probe_header(data, ALL)
        assert (header.frames, header.frames_pixels) == (4, 4 * GRAY.size)
        for frame in range(4):
            np.testing.assert_array_equal(pixels_of(data, frame), GRAY + 10 * frame)

    @pytest.mark.parametrize("made", [imagej_stack, truncated_series], ids=["imagej", "tifffile"])
    def test_frames_that_a_cut_stack_lacks_are_told(self, made: Any) -> None:
        data = made(4)[: -GRAY.size - 10]
        assert probe_header(data, ALL).frames == 4
        np.testing.assert_array_equal(pixels_of(data, 1), GRAY + 10)
        assert reason_of(data, ALL, 2) == reason_of(data, ALL, 3) == Reason.TRUNCATED
        assert decode_image(data, ReadPolicy(frames="all", truncated="salvage"), frame=2).degraded

    def test_packed_pictures_behind_one_directory_are_refused(self) -> None:
        text = b"ImageJ=1.53t\nimages=3\n\0"
        data = tiff_entries([*changed(described(8, 1), (259, 3, 8)), (270, 2, text)], zlib.compress(GRAY.tobytes()))
        np.testing.assert_array_equal(decode_image(data, STRICT).pixels, GRAY)
        assert reason_of(data, ALL, 1) == Reason.UNSUPPORTED_FORMAT

    def test_no_description_makes_more_frames_than_a_file_may_have(self) -> None:
        with pytest.raises(ImageError) as caught:
            probe_header(stack(b"ImageJ=1.53t\nimages=99999999999\n\0", 2), STRICT)
        assert caught.value.reason == Reason.TOO_LARGE

    def test_a_description_of_pages_that_are_there_adds_none(self) -> None:
        target = BytesIO()
        tifffile.imwrite(target, np.stack([GRAY, GRAY + 10]), imagej=True)
        assert probe_header(target.getvalue(), ALL).frames == 2

    def test_pages_behind_a_cut_are_not_left_out_in_silence(self) -> None:
        data = pages(RGB, GRAY, RGB)
        offsets = []
        at = int.from_bytes(data[4:8], "little")
        while at:
            offsets.append(at)
            at = int.from_bytes(data[at + 2 + 12 * data[at] :][:4], "little")
        short = data[: max(offsets) + 20]
        assert reason_of(short) == Reason.TRUNCATED
        assert decode_image(short, SALVAGE).degraded == "truncated: 2 whole frames"


def _joined(first: bytes, second: bytes, *, at_tag: int | None = None) -> bytes:
    """The second file's directory chained to the first's, or below it at a tag; both have one."""
    moved = bytearray(second)
    start = int.from_bytes(second[4:8], "little")
    for entry in range(start + 2, start + 2 + 12 * second[start], 12):
        tag, kind = (int.from_bytes(second[at : at + 2], "little") for at in (entry, entry + 2))
        count, value = (int.from_bytes(second[at : at + 4], "little") for at in (entry + 4, entry + 8))
        if tag == 273 or count * {1: 1, 2: 1, 3: 2, 4: 4, 5: 8}[kind] > 4:
            moved[entry + 8 : entry + 12] = (value + len(first)).to_bytes(4, "little")
    made = bytearray(first)
    end = 8 + 2 + 12 * first[8]
    place = (
        end
        if at_tag is None
        else next(at + 8 for at in range(10, end, 12) if first[at] + 256 * first[at + 1] == at_tag)
    )
    made[place : place + 4] = (start + len(first)).to_bytes(4, "little")
    return bytes(made + moved)


def _chained(first: bytes, second: bytes) -> tuple[str, str]:
    data = _joined(first, second)
    shown = "RGB" if np.array_equal(pixels_of(data), RGB) else "gray"
    return f"frames {probe_header(data, ALL).frames}", shown


class TestCodecsOfWholePictures:
    """What a strip or tile holds must be what the tags say."""

    def test_a_jpeg_of_another_shape_is_refused(self) -> None:
        turned = bytes(imagecodecs.jpeg8_encode(np.ascontiguousarray(GRAY.T)))
        entries = changed(described(8, 1), (259, 3, 7))
        assert reason_of(tiff_entries(entries, turned)) == Reason.CORRUPT

    def test_samples_of_another_type_are_refused(self) -> None:
        deep = bytes(imagecodecs.png_encode(GRAY16))
        assert reason_of(tiff_entries(changed(described(8, 1), (259, 3, 34933)), deep)) == Reason.CORRUPT

    def test_fewer_samples_are_refused(self) -> None:
        few = bytes(imagecodecs.webp_encode(RGB, lossless=True))
        entries = changed(COLOURED, (258, 3, (8,) * 4), (259, 3, 50001), (277, 3, 4), (338, 3, 2), (339, 3, (1,) * 4))
        decoded = decode_image(tiff_entries(entries, few), STRICT).pixels
        np.testing.assert_array_equal(decoded, np.dstack([RGB, np.full_like(GRAY, 255)]))  # opaque, as writers mean it
        assert reason_of(tiff_entries(changed(described(8, 1), (259, 3, 50001)), few)) == Reason.CORRUPT
