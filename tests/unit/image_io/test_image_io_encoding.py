"""What is written: pixels and bits that come back, profiles, EXIF and orientation where they belong, the same bytes."""

from __future__ import annotations

import subprocess
import sys
from io import BytesIO
from typing import Any, Literal, get_args

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from pipelines.errors import FailedReason, ImageError, RayjobsError
from pipelines.image_io import DecodedImage, EncodeOptions, ReadPolicy, decode_image, encode_image, suffix_of
from pipelines.image_io.image_header import ImageFormat
from pipelines.image_io.image_probe import format_of
from pipelines.image_io.io_policies import TIFF_COMPRESSIONS
from tests.corpus import FLOATS, GRAY, PHOTO, RGB, RGB16, RGBA, animation, saved, tiff, with_orientation
from tests.strategies import example_image, images

SRGB = ReadPolicy()
KEEP = ReadPolicy(color="keep")
FORMATS = ("jpeg", "png", "tiff", "webp", "avif")
ADOBE_RGB = bytes(imagecodecs.cms_profile("adobergb"))
GRAY_PROFILE = bytes(imagecodecs.cms_profile("gray", gamma=1.8))


def options(format: Any, **more: Any) -> EncodeOptions:
    return EncodeOptions(format=format, **more)


def again(pixels: NDArray[Any], chosen: EncodeOptions, **more: Any) -> NDArray[Any]:
    return decode_image(encode_image(pixels, chosen, **more), KEEP).pixels


def described() -> Image.Exif:
    """EXIF as a camera writes it, with a thumbnail's directory, GPS and a text."""
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif[0x0112] = 6
    exif.get_ifd(0x8769).update({0x829A: IFDRational(1, 250), 0x9003: "2024:02:03 04:05:06", 0x927C: b"maker's note"})
    exif.get_ifd(0x8825).update({1: "N", 2: (IFDRational(48), IFDRational(8), IFDRational(14))})
    return exif


def exif_of(data: bytes) -> Image.Exif:
    with Image.open(BytesIO(data)) as image:
        return image.getexif()


class TestPixels:
    @settings(max_examples=60, deadline=None)
    @given(images(dtypes=["uint8", "uint16"]))
    def test_png_keeps_every_bit(self, image: NDArray[Any]) -> None:
        np.testing.assert_array_equal(again(image, options("png")), image, strict=True)

    @settings(max_examples=60, deadline=None)
    @given(images())
    def test_tiff_keeps_every_bit(self, image: NDArray[Any]) -> None:
        np.testing.assert_array_equal(again(image, options("tiff")), image, strict=True)

    @pytest.mark.parametrize("compression", TIFF_COMPRESSIONS)
    @pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
    @pytest.mark.parametrize("channels", [1, 3, 4])
    def test_tiff_compressions(self, compression: str, dtype: str, channels: int) -> None:
        image = example_image(dtype, channels, (300, 211))
        np.testing.assert_array_equal(again(image, options("tiff", compression=compression)), image, strict=True)

    def test_png_levels_differ_in_size_only(self) -> None:
        sizes = []
        for level in (0, 1, 9):
            data = encode_image(PHOTO, options("png", compression=level))
            np.testing.assert_array_equal(decode_image(data, SRGB).pixels, PHOTO)
            sizes.append(len(data))
        assert sizes == sorted(sizes, reverse=True)

    @pytest.mark.parametrize("format", ["jpeg", "webp", "avif"])
    def test_quality_is_a_trade(self, format: str) -> None:
        files = [encode_image(PHOTO, options(format, quality=quality)) for quality in (30, 90)]
        errors = [np.abs(decode_image(data, SRGB).pixels.astype(int) - PHOTO).mean() for data in files]
        assert len(files[0]) < len(files[1])
        assert errors[0] > errors[1]
        assert errors[1] < 6

    @pytest.mark.parametrize("quality", [1, 75, 90, 95, 100])
    @pytest.mark.parametrize("image", [GRAY, RGB], ids=["gray", "rgb"])
    def test_jpeg_is_what_pillow_writes(self, image: NDArray[Any], quality: int) -> None:
        sampling = {} if image.ndim == 2 else {"subsampling": 0 if quality >= 95 else 2}
        expected = decode_image(saved(image, "JPEG", quality=quality, **sampling), SRGB).pixels
        np.testing.assert_array_equal(again(image, options("jpeg", quality=quality)), expected)

    def test_alpha_is_laid_on_white_where_it_cannot_be_kept(self) -> None:
        expected = RGBA[..., :3] * (RGBA[..., 3:] / 255) + 255 - RGBA[..., 3:]
        assert np.abs(again(RGBA, options("jpeg", quality=100)) - expected).mean() < 2

    @pytest.mark.parametrize("format", ["webp", "avif"])
    def test_alpha_is_kept(self, format: str) -> None:
        pixels = again(RGBA, options(format, quality=100))
        assert np.abs(pixels[..., 3].astype(int) - RGBA[..., 3]).max() <= 3

    def test_read_only_and_strided_pixels(self) -> None:
        for format in FORMATS:
            whole = encode_image(np.ascontiguousarray(PHOTO[::2, ::-3]), options(format))
            assert encode_image(PHOTO[::2, ::-3], options(format)) == whole


class TestDepth:
    def test_every_16_bit_level_is_scaled_not_clipped(self) -> None:
        levels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
        pixels = again(levels, options("png", bit_depth=8))
        np.testing.assert_array_equal(pixels, np.rint(levels / 257).astype(np.uint8), strict=True)

    def test_8_bits_widen_exactly(self) -> None:
        levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
        wide = again(levels, options("tiff", bit_depth=16))
        np.testing.assert_array_equal(wide, levels.astype(np.uint16) * 257, strict=True)
        np.testing.assert_array_equal(again(wide, options("tiff", bit_depth=8)), levels, strict=True)

    def test_floats_are_clipped_to_their_declared_range(self) -> None:
        values = np.array([[0.0, 0.5, 1.0, 1.5, -0.5, np.nan, np.inf, -np.inf]], np.float32)
        eight = [0, 128, 255, 255, 0, 0, 255, 0]
        np.testing.assert_array_equal(again(values, options("png", bit_depth=8))[0], eight)
        sixteen = [0, 32768, 65535, 65535, 0, 0, 65535, 0]
        np.testing.assert_array_equal(again(values, options("png"))[0], sixteen)
        np.testing.assert_array_equal(again(values, options("tiff")), values)

    def test_jpeg_of_16_bits_is_that_of_8(self) -> None:
        narrow = np.rint(RGB16 / 257).astype(np.uint8)
        assert encode_image(RGB16, options("jpeg")) == encode_image(narrow, options("jpeg"))

    def test_pixels_are_not_changed(self) -> None:
        for pixels in (FLOATS, RGB16, RGBA):
            before = pixels.copy()
            for format in FORMATS:
                encode_image(pixels, options(format, bit_depth=8))
            np.testing.assert_array_equal(pixels, before)


class TestMetadata:
    @pytest.mark.parametrize("format", FORMATS)
    def test_orientation_that_remains_is_written(self, format: str) -> None:
        for orientation in range(1, 9):
            data = encode_image(RGB, options(format), orientation=orientation)
            assert decode_image(data, SRGB).orientation == orientation
            assert exif_of(data).get(0x0112, 1) == orientation

    def test_bmp_is_turned_instead(self) -> None:
        source = decode_image(saved(RGB, "BMP"), SRGB)
        pixels = again(RGB, options("original"), source=source, orientation=6)
        np.testing.assert_array_equal(pixels, np.rot90(RGB, -1))

    @pytest.mark.parametrize("format", FORMATS)
    def test_exif_is_stripped_unless_kept(self, format: str) -> None:
        source = decode_image(saved(RGB, "JPEG", exif=described()), SRGB)
        stripped = encode_image(RGB, options(format), source=source, orientation=1)
        assert b"Maker" not in stripped
        assert b"2024:02:03" not in stripped
        kept = exif_of(encode_image(RGB, options(format, metadata="keep"), source=source, orientation=1))
        assert kept[0x010F] == "Maker"
        assert kept.get(0x0112, 1) == 1  # the picture has been turned by now
        assert kept.get_ifd(0x8769)[0x9003] == "2024:02:03 04:05:06"
        assert kept.get_ifd(0x8769)[0x829A] == pytest.approx(1 / 250)
        assert kept.get_ifd(0x8769)[0x927C] == b"maker's note"
        assert [float(part) for part in kept.get_ifd(0x8825)[2]] == [48, 8, 14]

    @pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
    def test_exif_of_every_format_is_kept(self, format: str) -> None:
        exif = with_orientation(3)
        exif[0x010F] = "Maker"
        source = decode_image(saved(RGB, format, exif=exif), SRGB)
        kept = exif_of(encode_image(RGB, options("jpeg", metadata="keep"), source=source, orientation=3))
        assert (kept[0x010F], kept[0x0112]) == ("Maker", 3)

    def test_broken_exif_is_not_carried_on(self) -> None:
        source = decode_image(saved(RGB, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"secret" * 9), SRGB)
        for format in FORMATS:
            assert b"secret" not in encode_image(RGB, options(format, metadata="keep"), source=source)

    @pytest.mark.parametrize("format", FORMATS)
    @pytest.mark.parametrize("metadata", ["strip", "keep"])
    def test_profile_that_the_pixels_are_in_is_written(self, format: str, metadata: Any) -> None:
        source = decode_image(saved(RGB, "PNG", icc_profile=ADOBE_RGB), KEEP)
        data = encode_image(source.pixels, options(format, metadata=metadata), source=source)
        assert decode_image(data, KEEP).icc == ADOBE_RGB

    def test_profile_is_gone_after_conversion(self) -> None:
        source = decode_image(saved(RGB, "PNG", icc_profile=ADOBE_RGB), SRGB)
        for format in FORMATS:
            data = encode_image(source.pixels, options(format, metadata="keep"), source=source)
            assert decode_image(data, KEEP).icc is None

    def test_profile_of_other_colours_is_not_written(self) -> None:
        colour = decode_image(saved(RGB, "PNG", icc_profile=ADOBE_RGB), KEEP)
        gray = decode_image(saved(GRAY, "PNG", icc_profile=GRAY_PROFILE), KEEP)
        assert decode_image(encode_image(GRAY, options("png"), source=colour), KEEP).icc is None
        assert decode_image(encode_image(RGB, options("png"), source=gray), KEEP).icc is None
        assert decode_image(encode_image(GRAY, options("png"), source=gray), KEEP).icc == GRAY_PROFILE

    def test_large_profile_takes_several_segments(self) -> None:
        profile = ADOBE_RGB + np.random.default_rng(1).bytes(150_000)
        source = decode_image(saved(RGB, "PNG", icc_profile=profile), KEEP)
        data = encode_image(RGB, options("jpeg"), source=source)
        assert decode_image(data, KEEP).icc == profile
        with Image.open(BytesIO(data)) as image:
            assert image.info["icc_profile"] == profile


class TestOriginal:
    @pytest.mark.parametrize(
        ("data", "written"),
        [
            (saved(RGB, "JPEG"), "jpeg"),
            (saved(RGB, "PNG"), "png"),
            (tiff(RGB16), "tiff"),
            (saved(RGB, "WEBP"), "webp"),
            (saved(RGB, "AVIF"), "avif"),
            (saved(RGB, "BMP"), "bmp"),
            (animation("GIF"), "png"),
        ],
        ids=["jpeg", "png", "tiff", "webp", "avif", "bmp", "gif"],
    )
    def test_format_of_the_source(self, data: bytes, written: ImageFormat) -> None:
        source: DecodedImage = decode_image(data, SRGB)
        result = encode_image(source.pixels, options("original"), source=source)
        assert format_of(result) == written
        assert suffix_of("original", source.header.format) == suffix_of(written)
        again_decoded = decode_image(result, SRGB)
        assert again_decoded.pixels.dtype == source.pixels.dtype

    def test_every_format_has_a_suffix(self) -> None:
        for format in get_args(ImageFormat):
            assert suffix_of(format).startswith(".")


class TestRefusals:
    @pytest.mark.parametrize(
        "wrong",
        [
            {"format": "jpeg", "bit_depth": 16},
            {"format": "avif", "bit_depth": 16},
            {"format": "jpeg", "quality": 0},
            {"format": "webp", "quality": 101},
            {"format": "png", "compression": "lzw"},
            {"format": "png", "compression": 10},
            {"format": "tiff", "compression": "jpeg"},
            {"format": "webp", "compression": 3},
        ],
        ids=str,
    )
    def test_options_that_contradict_each_other(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(RayjobsError):
            EncodeOptions(**wrong)

    @pytest.mark.parametrize(("format", "side"), [("jpeg", 65_536), ("webp", 16_384)])
    def test_picture_that_is_too_large_for_the_format(self, format: Literal["jpeg", "webp"], side: int) -> None:
        with pytest.raises(ImageError) as caught:
            encode_image(np.zeros((1, side), np.uint8), options(format))
        assert caught.value.reason == FailedReason.WRITE_ERROR
        assert format in str(caught.value)


CODE = """
import hashlib
from pipelines.image_io import EncodeOptions, decode_image, encode_image, ReadPolicy
from tests.corpus import PHOTO, saved
source = decode_image(saved(PHOTO, "JPEG", exif=b"Exif\\0\\0II*\\0\\x08\\0\\0\\0\\0\\0"), ReadPolicy())
for format in ("jpeg", "png", "tiff", "webp", "avif"):
    options = EncodeOptions(format=format, metadata="keep")
    print(hashlib.sha256(encode_image(source.pixels, options, source=source, orientation=6)).hexdigest())
"""


def test_another_process_writes_the_same_bytes() -> None:
    command = [sys.executable, "-c", CODE]
    runs = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2)]
    assert runs[0] == runs[1]
    assert len(set(runs[0].split())) == 5


def test_importing_the_package_is_light() -> None:
    heavy = "('cv2', 'numba', 'PIL', 'tifffile', 'imagecodecs', 'simplejpeg', 'scipy', 'ray')"
    code = f"import sys, pipelines.image_io; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
