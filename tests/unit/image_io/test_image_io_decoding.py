"""What decoding makes of good files: Pillow's pixels, orientation, colours, bits; and how source files are read."""

from __future__ import annotations

import os
import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image, ImageCms

from pipelines.errors import FailedReason, ImageError
from pipelines.image_io import ReadPolicy, decode_image, probe_header, read_bytes
from tests.corpus import (
    FLOATS,
    GRAY,
    PHOTO,
    RGB,
    RGB16,
    RGBA,
    png,
    png_chunk,
    saved,
    tiff,
    with_orientation,
)
from tests.strategies import example_image

SRGB = ReadPolicy()
KEEP = ReadPolicy(color="keep")
WHITE, SRGB_PRIMARIES = [0.3127, 0.329, 1.0], [0.64, 0.33, 1.0, 0.3, 0.6, 1.0, 0.15, 0.06, 1.0]
ADOBE_RGB = bytes(imagecodecs.cms_profile("adobergb"))
GRAY_PROFILE = bytes(imagecodecs.cms_profile("gray", gamma=1.8))


def by_pillow(data: bytes, mode: str) -> Any:
    with Image.open(BytesIO(data)) as image:
        return np.asarray(image.convert(mode))


def reason_of(data: bytes, policy: ReadPolicy = SRGB) -> FailedReason:
    with pytest.raises(ImageError) as caught:
        decode_image(data, policy)
    return caught.value.reason


class TestJpeg:
    @pytest.mark.parametrize("quality", [30, 90, 100])
    @pytest.mark.parametrize("subsampling", [0, 1, 2], ids=["444", "422", "420"])
    @pytest.mark.parametrize("progressive", [False, True], ids=["baseline", "progressive"])
    @pytest.mark.parametrize("shape", [(1, 1), (17, 31), (160, 240)], ids=str)
    def test_pixels_equal_pillows(self, quality: int, subsampling: int, progressive: bool, shape: Any) -> None:
        picture = example_image("uint8", 3, shape)
        data = saved(picture, "JPEG", quality=quality, subsampling=subsampling, progressive=progressive)
        np.testing.assert_array_equal(decode_image(data, SRGB).pixels, by_pillow(data, "RGB"))

    def test_gray_stays_gray(self) -> None:
        data = saved(GRAY, "JPEG")
        np.testing.assert_array_equal(decode_image(data, SRGB).pixels, by_pillow(data, "L"), strict=True)

    def test_stored_rgb_is_not_taken_for_ycbcr(self) -> None:
        data = saved(RGB, "JPEG", keep_rgb=True, quality=100)
        assert np.abs(decode_image(data, SRGB).pixels.astype(int) - RGB).max() <= 4

    def test_restart_markers(self) -> None:
        data = saved(PHOTO, "JPEG", restart_marker_blocks=3)
        np.testing.assert_array_equal(decode_image(data, SRGB).pixels, by_pillow(data, "RGB"))

    @pytest.mark.parametrize("adobe", [True, False], ids=["adobe marker", "no marker"])
    def test_cmyk_is_inverted_as_pillow_does(self, adobe: bool) -> None:
        data = saved(Image.fromarray(PHOTO).convert("CMYK"), "JPEG", quality=95)
        if not adobe:
            start = data.index(b"\xff\xee")
            (length,) = struct.unpack_from(">H", data, start + 2)
            data = data[:start] + data[start + 2 + length :]
        decoded = decode_image(data, SRGB)
        assert np.abs(decoded.pixels.astype(int) - PHOTO).mean() < 4
        assert np.abs(decoded.pixels.astype(int) - by_pillow(data, "RGB")).max() <= 1

    def test_ycck(self) -> None:
        """The inks of a CMYK file said to be YCCK are turned: what libjpeg gives is what Pillow gives."""
        data = bytearray(saved(Image.fromarray(PHOTO).convert("CMYK"), "JPEG", quality=95))
        data[data.index(b"Adobe") + 11] = 2
        expected = by_pillow(bytes(data), "RGB")
        assert np.abs(decode_image(bytes(data), SRGB).pixels.astype(int) - expected).max() <= 1

    @pytest.mark.parametrize("denominator", [1, 2, 4, 8])
    def test_smaller_pictures_from_the_decoder(self, denominator: int) -> None:
        picture = example_image("uint8", 3, (161, 243))
        data = saved(picture, "JPEG", quality=95)
        decoded = decode_image(data, SRGB, scale_denom=denominator)
        assert decoded.pixels.shape == (-(-161 // denominator), -(-243 // denominator), 3)
        assert (decoded.header.height, decoded.header.width) == (161, 243)
        with Image.open(BytesIO(data)) as image:
            image.draft(None, (243 // denominator, 161 // denominator))
            np.testing.assert_array_equal(decoded.pixels, np.asarray(image))

    def test_zeros_before_the_end_are_padding(self) -> None:
        data = saved(PHOTO, "JPEG")
        padded = data[:-2] + bytes(40) + data[-2:]
        np.testing.assert_array_equal(decode_image(padded, SRGB).pixels, by_pillow(data, "RGB"))

    def test_what_follows_the_end_is_none_of_ours(self) -> None:
        data = saved(PHOTO, "JPEG")
        for tail in (b"more", data, data[:200]):
            np.testing.assert_array_equal(decode_image(data + tail, SRGB).pixels, by_pillow(data, "RGB"))

    def test_a_thumbnails_end_is_not_the_pictures(self) -> None:
        thumbnail = b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0" + saved(RGB, "JPEG")
        data = saved(PHOTO, "JPEG", exif=thumbnail)
        assert reason_of(data[: len(data) * 2 // 3]) == FailedReason.TRUNCATED

    def test_twelve_bits_are_refused(self) -> None:
        data = bytes(imagecodecs.jpeg8_encode(RGB16 >> 4, bitspersample=12))
        assert reason_of(data) == FailedReason.UNSUPPORTED_FORMAT


class TestOrientation:
    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
    def test_is_reported_once_and_not_applied(self, format: str, orientation: int) -> None:
        data = saved(RGB, format, exif=with_orientation(orientation))
        decoded = decode_image(data, SRGB)
        assert decoded.orientation == orientation
        assert decoded.pixels.shape == RGB.shape
        assert probe_header(data, SRGB).orientation == orientation

    def test_xmp_says_it_where_exif_does_not(self) -> None:
        xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="8"/></x:xmpmeta>'
        for data in (saved(RGB, "JPEG", xmp=xmp), saved(RGB, "WEBP", xmp=xmp), _png_with_xmp(xmp)):
            assert decode_image(data, SRGB).orientation == 8

    @pytest.mark.parametrize("order", "<>")
    @pytest.mark.parametrize("kind", [1, 3, 4, 6, 8, 9], ids=["BYTE", "SHORT", "LONG", "SBYTE", "SSHORT", "SLONG"])
    def test_may_be_any_type_in_any_place(self, kind: int, order: str) -> None:
        exif = _exif_of(6, kind, order)
        text = b"\nexif\n%8d\n%s\n" % (len(exif) + 6, (b"Exif\0\0" + exif).hex().encode())
        named = b"Raw profile type exif\0"
        files = {
            "jpeg": saved(RGB, "JPEG", exif=b"Exif\0\0" + exif),
            "webp": saved(RGB, "WEBP", exif=exif),
            "webp, prefixed": saved(RGB, "WEBP", exif=b"Exif\0\0" + exif),
            "eXIf": _png_with(b"eXIf", exif),
            "eXIf, prefixed": _png_with(b"eXIf", b"Exif\0\0" + exif),
            "tEXt": _png_with(b"tEXt", named + text),
            "zTXt": _png_with(b"zTXt", named + b"\0" + zlib.compress(text)),
            "iTXt": _png_with(b"iTXt", named + b"\1\0\0\0" + zlib.compress(text)),
            "APP1": _png_with(b"tEXt", named.replace(b"exif", b"APP1") + text),
        }
        assert {name: decode_image(data, SRGB).orientation for name, data in files.items()} == dict.fromkeys(files, 6)

    @pytest.mark.parametrize("kind", [3, 4])
    def test_its_own_chunk_goes_before_text(self, kind: int) -> None:
        text = b"Raw profile type exif\0\nexif\n 1\n" + _exif_of(3, kind, "<").hex().encode()
        data = _png_with(b"eXIf", _exif_of(8, kind, ">"))
        assert decode_image(data[:33] + png_chunk(b"tEXt", text) + data[33:], SRGB).orientation == 8

    @pytest.mark.parametrize("text", [b"\nexif\n 9\nxyz", b"", b"\nexif\n 4\n4949", bytes(40)])
    def test_a_broken_text_chunk_costs_no_picture(self, text: bytes) -> None:
        decoded = decode_image(_png_with(b"tEXt", b"Raw profile type exif\0" + text), SRGB)
        assert (decoded.orientation, decoded.degraded) == (1, None)

    def test_text_that_unpacks_to_a_lot_is_no_exif(self) -> None:
        text = zlib.compress(b"\nexif\n 9\n" + b"49" * (20 << 20))
        assert decode_image(_png_with(b"zTXt", b"Raw profile type exif\0\0" + text), SRGB).orientation == 1

    @pytest.mark.parametrize(
        "exif",
        [
            b"Exif\0\0",
            b"Exif\0\0II*\0",
            b"Exif\0\0II*\0\xff\xff\xff\xff",
            b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01",
            b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x63\0\0\0\0\0\0",
            b"Exif\0\0" + b"nonsense" * 2000,
        ],
        ids=["nothing", "start", "offset", "count", "orientation 99", "nonsense"],
    )
    def test_broken_exif_costs_no_picture(self, exif: bytes) -> None:
        decoded = decode_image(saved(RGB, "JPEG", exif=exif), SRGB)
        assert decoded.orientation == 1
        assert decoded.degraded is None


def _png_with_xmp(xmp: bytes) -> bytes:
    return _png_with(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)


def _png_with(name: bytes, content: bytes) -> bytes:
    data = saved(RGB, "PNG")
    return data[:33] + png_chunk(name, content) + data[33:]


def _exif_of(orientation: int, kind: int, order: str) -> bytes:
    """One tag, of a type of whole numbers."""
    value = struct.pack(order + {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}[kind], orientation).ljust(4, b"\0")
    head = struct.pack(order + "HIHHHI", 42, 8, 1, 0x112, kind, 1)
    return (b"II" if order == "<" else b"MM") + head + value + bytes(4)


class TestColours:
    @pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
    def test_profile_is_converted_as_pillow_does(self, format: str) -> None:
        data = saved(PHOTO, format, icc_profile=ADOBE_RGB)
        decoded = decode_image(data, SRGB)
        profile = ImageCms.ImageCmsProfile(BytesIO(ADOBE_RGB))
        expected = ImageCms.profileToProfile(
            Image.fromarray(by_pillow(data, "RGB")), profile, ImageCms.createProfile("sRGB")
        )
        assert np.abs(decoded.pixels.astype(int) - np.asarray(expected)).max() <= 1
        assert decoded.icc is None
        assert (decoded.pixels != by_pillow(data, "RGB")).any()

    def test_profile_is_kept_when_asked(self) -> None:
        data = saved(RGB, "PNG", icc_profile=ADOBE_RGB)
        decoded = decode_image(data, KEEP)
        np.testing.assert_array_equal(decoded.pixels, RGB)
        assert decoded.icc == ADOBE_RGB
        assert decoded.header.icc == ADOBE_RGB

    def test_sixteen_bits_are_converted_as_exactly_as_eight(self) -> None:
        wide = PHOTO.astype(np.uint16) * 257
        eight = decode_image(saved(PHOTO, "PNG", icc_profile=ADOBE_RGB), SRGB).pixels
        sixteen = decode_image(tiff(wide, iccprofile=ADOBE_RGB), SRGB)
        assert sixteen.pixels.dtype == np.uint16
        assert np.abs(sixteen.pixels / 257 - eight).max() <= 1

    def test_floats_are_converted_beyond_their_range_too(self) -> None:
        linear = bytes(imagecodecs.cms_profile("rgb", whitepoint=WHITE, primaries=SRGB_PRIMARIES, gamma=1.0))
        values = np.array([[[-0.5, 0.2, 3.0], [0.001, 0.5, 1.0], [0.2, 0.3, 0.4]]], np.float32)
        decoded = decode_image(tiff(values, iccprofile=linear), SRGB)
        light = np.abs(values)  # below 0 the curve is mirrored
        expected = np.sign(values) * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
        np.testing.assert_allclose(decoded.pixels, expected, atol=2e-4, rtol=2e-4)
        assert (decoded.icc, decoded.degraded) == (None, None)

    def test_floats_that_are_none_stay_where_they_are(self) -> None:
        values = np.full((2, 4, 3), 0.25, np.float32)
        values[0, 0, 1], values[1, 2, 0], values[1, 3] = np.nan, np.inf, -np.inf
        linear = bytes(imagecodecs.cms_profile("rgb", whitepoint=WHITE, primaries=SRGB_PRIMARIES, gamma=1.0))
        for profile in (ADOBE_RGB, linear):
            decoded = decode_image(tiff(values, iccprofile=profile), SRGB).pixels
            bad = ~np.isfinite(values)
            np.testing.assert_array_equal(decoded[bad], values[bad])
            assert np.isnan(decoded[~bad & bad.any(axis=-1, keepdims=True)]).all()
            assert np.isfinite(decoded[~bad.any(axis=-1)]).all()

    def test_floats_that_a_table_clips_are_said(self) -> None:
        curve = np.linspace(0, 1, 256, dtype=np.float32) ** 2
        profile = bytes(
            imagecodecs.cms_profile("rgb", whitepoint=WHITE, primaries=SRGB_PRIMARIES, transferfunction=curve)
        )
        inside = decode_image(tiff(np.full((2, 2, 3), 0.5, np.float32), iccprofile=profile), SRGB)
        beyond = decode_image(tiff(np.full((2, 2, 3), 1.5, np.float32), iccprofile=profile), SRGB)
        assert inside.degraded is None
        assert beyond.degraded == "values beyond 0 to 1 clipped by the colour profile"

    def test_alpha_is_no_colour(self) -> None:
        decoded = decode_image(saved(RGBA, "PNG", icc_profile=ADOBE_RGB), SRGB)
        np.testing.assert_array_equal(decoded.pixels[..., 3], RGBA[..., 3])
        assert (decoded.pixels[..., :3] != RGBA[..., :3]).any()

    def test_gray_profile_gives_gray(self) -> None:
        decoded = decode_image(saved(GRAY, "PNG", icc_profile=GRAY_PROFILE), SRGB)
        assert decoded.pixels.ndim == 2
        linear = (GRAY / 255) ** 1.8
        expected = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055) * 255
        assert np.abs(decoded.pixels - expected).max() <= 1.5

    def test_srgb_profile_changes_nothing(self) -> None:
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        decoded = decode_image(saved(RGB, "PNG", icc_profile=profile), SRGB)
        np.testing.assert_array_equal(decoded.pixels, RGB)

    @pytest.mark.parametrize(
        "profile",
        [b"no profile", ADOBE_RGB[:150], ADOBE_RGB[:300] + bytes(len(ADOBE_RGB) - 300), GRAY_PROFILE],
        ids=["text", "cut", "zeros", "for gray"],
    )
    @pytest.mark.parametrize("policy", [SRGB, KEEP], ids=["srgb", "keep"])
    def test_unusable_profile_is_noted_and_ignored(self, profile: bytes, policy: ReadPolicy) -> None:
        decoded = decode_image(saved(RGB, "PNG", icc_profile=profile), policy)
        np.testing.assert_array_equal(decoded.pixels, RGB)
        if policy is SRGB or decoded.icc is None:
            assert decoded.degraded is not None
            assert "profile ignored" in decoded.degraded

    def test_profile_that_unpacks_to_a_lot_is_ignored(self) -> None:
        bomb = png_chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(64 << 20), 9))
        data = saved(RGB, "PNG")
        decoded = decode_image(data[:33] + bomb + data[33:], SRGB)
        np.testing.assert_array_equal(decoded.pixels, RGB)
        assert decoded.degraded is not None

    @pytest.mark.parametrize("dtype", ["uint8", "uint16"])
    def test_cmyk_tiff(self, dtype: str) -> None:
        ink = np.zeros((2, 3, 4), dtype)
        white = np.iinfo(dtype).max
        ink[0, 0, 0] = ink[0, 1, 1] = ink[0, 2, 2] = ink[1, 0, 3] = white
        expected = np.full((2, 3, 3), white, dtype)
        expected[0, 0, 0] = expected[0, 1, 1] = expected[0, 2, 2] = 0
        expected[1, 0] = 0
        pixels = decode_image(tiff(ink, photometric="separated"), SRGB).pixels
        np.testing.assert_array_equal(pixels, expected, strict=True)


class TestSamples:
    def test_not_a_number_and_infinity_stay(self) -> None:
        odd = FLOATS.copy()
        odd[0, :4, 0] = (np.nan, np.inf, -np.inf, -2.5)
        np.testing.assert_array_equal(decode_image(tiff(odd), SRGB).pixels, odd)

    def test_premultiplied_alpha_is_divided_out(self) -> None:
        alpha = RGBA[..., 3:].astype(np.uint32)
        stored = np.dstack([(RGBA[..., :3] * alpha + 127) // 255, alpha]).astype(np.uint8)
        pixels = decode_image(tiff(stored, extrasamples=["assocalpha"]), SRGB).pixels
        solid = alpha[..., 0] > 200
        assert np.abs(pixels[..., :3].astype(int) - RGBA[..., :3])[solid].max() <= 1
        np.testing.assert_array_equal(pixels[..., 3], RGBA[..., 3])
        assert not pixels[alpha[..., 0] == 0].any()

    def test_extra_channels_beside_colours_are_noted(self) -> None:
        data = tiff(np.dstack([RGB, GRAY]), extrasamples=["unspecified"])
        decoded = decode_image(data, SRGB)
        np.testing.assert_array_equal(decoded.pixels, RGB)
        assert decoded.degraded == "1 extra channels left out"

    @pytest.mark.parametrize(
        ("mode", "before", "content"),
        [
            ("L", b"IDAT", b"\0"),
            ("L", b"IDAT", bytes(6)),
            ("L", b"IEND", b"\0\5"),
            ("RGB", b"IDAT", b"\0\0"),
            ("P", b"IDAT", bytes(300)),
            ("P", b"IDAT", b""),
            ("P", b"PLTE", b"\0"),
            ("RGBA", b"IDAT", bytes(6)),
        ],
    )
    def test_clear_colours_that_are_none_are_passed_over(self, mode: str, before: bytes, content: bytes) -> None:
        """Of the wrong size, or in the wrong place: as libpng does."""
        image = Image.fromarray(RGBA).convert("RGB").quantize(6) if mode == "P" else Image.fromarray(RGBA).convert(mode)
        data = saved(image, "PNG")
        at = data.index(before) - 4
        decoded = decode_image(data[:at] + png_chunk(b"tRNS", content) + data[at:], SRGB)
        np.testing.assert_array_equal(decoded.pixels, decode_image(data, SRGB).pixels, strict=True)
        assert decoded.header.channels == (1 if decoded.pixels.ndim == 2 else decoded.pixels.shape[2])

    @pytest.mark.parametrize("lossless", [False, True])
    def test_webp_has_alpha_where_libwebp_says_so(self, lossless: bool) -> None:
        """A lossless picture says it itself, a lossy one has it only by the file's header."""
        data = bytearray(saved(RGBA, "WEBP", lossless=lossless, exact=True, exif=with_orientation(1).tobytes()))
        data[data.index(b"VP8X") + 8] &= ~0x10
        expected = by_pillow(bytes(data), "RGBA")
        decoded = decode_image(bytes(data), SRGB)
        assert decoded.header.channels == (4 if lossless else 3)
        np.testing.assert_array_equal(decoded.pixels, expected[..., : decoded.header.channels])
        assert lossless or (expected[..., 3] == 255).all()

    def test_jpeg_in_tiff(self) -> None:
        for options in ({"rowsperstrip": 16}, {"tile": (32, 32)}):
            decoded = decode_image(tiff(PHOTO, compression="jpeg", compressionargs={"level": 98}, **options), SRGB)
            assert np.abs(decoded.pixels.astype(int) - PHOTO).mean() < 4

    @pytest.mark.parametrize("bits", [10, 12])
    def test_deep_avif_keeps_its_bits(self, bits: int) -> None:
        data = bytes(imagecodecs.avif_encode(RGB16 >> (16 - bits), level=100, bitspersample=bits))
        decoded = decode_image(data, SRGB)
        assert decoded.pixels.dtype == np.uint16
        assert np.abs(decoded.pixels.astype(int) - RGB16).mean() < 65535 / 100

    def test_hdr_avif_is_refused(self) -> None:
        data = saved(RGB, "AVIF")
        at = data.index(b"colrnclx") + 10
        assert reason_of(data[:at] + b"\0\x10" + data[at + 2 :]) == FailedReason.UNSUPPORTED_FORMAT

    def test_interlaced_16_bit_png(self) -> None:
        rows = b"\0" + struct.pack(">H", 0x1234)
        decoded = decode_image(png(1, 1, 16, 0, rows, interlaced=True), SRGB)
        np.testing.assert_array_equal(decoded.pixels, np.array([[0x1234]], np.uint16), strict=True)


class TestSourceFiles:
    def test_whole_file(self, tmp_path: Path) -> None:
        path = tmp_path / "näme\n.jpg"
        path.write_bytes(b"content")
        status = path.stat()
        data = read_bytes(
            os.fsencode(path), max_bytes=7, expected_size=status.st_size, expected_mtime_ns=status.st_mtime_ns
        )
        assert data == b"content"

    def test_name_that_is_no_text(self, tmp_path: Path) -> None:
        path = os.fsencode(tmp_path) + b"/\xff\xfe.jpg"
        with open(path, "wb") as file:
            file.write(b"x")
        assert read_bytes(path, max_bytes=10) == b"x"

    def test_reasons(self, tmp_path: Path) -> None:
        full, empty, pipe = tmp_path / "full", tmp_path / "empty", tmp_path / "pipe"
        full.write_bytes(b"12345")
        empty.touch()
        os.mkfifo(pipe)
        loop = tmp_path / "loop"
        loop.symlink_to(loop)
        cases: list[tuple[Any, dict[str, int], FailedReason]] = [
            (tmp_path / "gone", {}, FailedReason.MISSING),
            (full / "below", {}, FailedReason.MISSING),
            (loop, {}, FailedReason.MISSING),
            (empty, {}, FailedReason.EMPTY),
            (pipe, {}, FailedReason.NOT_AN_IMAGE),
            (tmp_path, {}, FailedReason.NOT_AN_IMAGE),
            ("/dev/zero", {}, FailedReason.NOT_AN_IMAGE),
            (tmp_path / ("x" * 300), {}, FailedReason.NAME_INVALID),
            (str(full) + "\0", {}, FailedReason.NAME_INVALID),
            (full, {"max_bytes": 4}, FailedReason.TOO_LARGE),
            (full, {"expected_size": 6}, FailedReason.CHANGED),
            (full, {"expected_mtime_ns": 1}, FailedReason.CHANGED),
        ]
        for path, options, reason in cases:
            with pytest.raises(ImageError) as caught:
                read_bytes(os.fsencode(path), **{"max_bytes": 100, **options})
            assert caught.value.reason == reason, path

    def test_sparse_file_is_refused_before_it_is_read(self, tmp_path: Path) -> None:
        path = tmp_path / "sparse.tif"
        with path.open("wb") as file:
            file.truncate(1 << 40)
        with pytest.raises(ImageError) as caught:
            read_bytes(os.fsencode(path), max_bytes=1 << 30)
        assert caught.value.reason == FailedReason.TOO_LARGE

    def test_no_permission(self, tmp_path: Path) -> None:
        path = tmp_path / "private.jpg"
        path.write_bytes(b"x")
        path.chmod(0)
        user = os.geteuid()
        if user == 0:  # root may read everything: be nobody for a moment
            os.seteuid(65534)
        try:
            with pytest.raises(ImageError) as caught:
                read_bytes(os.fsencode(path), max_bytes=100)
        finally:
            os.seteuid(user)
        assert caught.value.reason == FailedReason.PERMISSION
