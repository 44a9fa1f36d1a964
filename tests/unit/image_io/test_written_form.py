"""What outputs keep of their originals, and that whatever they can't hold is said."""

from __future__ import annotations

import struct
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipelines.errors import RayjobsError
from pipelines.image_io import EncodeOptions, ImageHeader, ReadPolicy, decode_image, encode_image, encoding_losses
from pipelines.image_io.written_form import expected_losses
from pipelines.models import ImageOperation
from rayjobs.job.job_file import JobFileError, parse_job
from tests.corpus import FLOATS, GRAY, GRAY16, RGB, RGB16, RGBA, RGBA16, saved, tiff

SRGB, KEEP = ReadPolicy(), ReadPolicy(color="keep")
ADOBE_RGB = bytes(imagecodecs.cms_profile("adobergb"))
GRAY_18 = bytes(imagecodecs.cms_profile("gray", gamma=1.8))


SRGB_ICC = bytes(imagecodecs.cms_profile("srgb"))


def options(format: Any = "original", **more: Any) -> EncodeOptions:
    return EncodeOptions(format=format, **more)


def again(data: bytes, chosen: EncodeOptions, policy: ReadPolicy = SRGB) -> tuple[bytes, NDArray[Any], tuple[str, ...]]:
    """A file written from another: its bytes, its pixels, and what it was said to lose."""
    source = decode_image(data, policy)
    written = encode_image(source.pixels, chosen, source=source)
    return written, decode_image(written, policy).pixels, encoding_losses(source.pixels, chosen, source=source)


def lossless_avif(pixels: NDArray[Any], bits: int = 8) -> bytes:
    return bytes(
        imagecodecs.avif_encode(
            pixels, level=100, bitspersample=bits, pixelformat="444", primaries=1, transfer=13, matrix=0
        )
    )


def p3_avif(bits: int) -> bytes:
    pixels = RGB.astype(np.uint16) << (bits - 8) if bits > 8 else RGB
    return bytes(imagecodecs.avif_encode(pixels, level=90, bitspersample=bits, primaries=12, transfer=13, matrix=6))


def bmp_with_profile() -> bytes:
    """A BMP of version 5 that embeds Adobe RGB."""
    rows = np.ascontiguousarray(RGB[::-1, : RGB.shape[1] // 4 * 4, ::-1])
    height, width = rows.shape[:2]
    head = struct.pack("<IiiHHIIiiII", 124, width, height, 1, 24, 0, rows.nbytes, 0, 0, 0, 0).ljust(124, b"\0")
    head = head[:56] + b"DEBM" + head[60:112] + struct.pack("<II", 124 + rows.nbytes, len(ADOBE_RGB)) + bytes(4)
    body = head + rows.tobytes() + ADOBE_RGB
    return b"BM" + struct.pack("<IHHI", 14 + len(body), 0, 0, 14 + 124) + body


class TestOriginal:
    @pytest.mark.parametrize("image", [RGB, RGBA], ids=["rgb", "rgba"])
    def test_lossless_webp_stays_so_even_where_nothing_shows(self, image: NDArray[Any]) -> None:
        hidden = image.copy()
        hidden[:5, ..., 3:] = 0
        data = saved(hidden, "WEBP", lossless=True, exact=True)
        written, pixels, lost = again(data, options())
        np.testing.assert_array_equal(pixels, hidden)
        assert b"VP8L" in written
        assert lost == ()

    @pytest.mark.parametrize("image", [RGB, RGBA, GRAY], ids=["rgb", "rgba", "gray"])
    def test_lossless_avif_stays_so(self, image: NDArray[Any]) -> None:
        colours = image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=-1)
        written, pixels, lost = again(lossless_avif(colours), options())
        np.testing.assert_array_equal(pixels, colours)
        assert decode_image(written, SRGB).header.is_lossless
        assert lost == ()

    @pytest.mark.parametrize("bits", [10, 12])
    @pytest.mark.parametrize("image", [RGB16, RGBA16], ids=["rgb", "rgba"])
    def test_deep_avif_stays_as_deep(self, bits: int, image: NDArray[Any]) -> None:
        data = lossless_avif((image >> (16 - bits)).astype(np.uint16), bits)
        written, pixels, lost = again(data, options())
        np.testing.assert_array_equal(pixels, decode_image(data, SRGB).pixels)
        assert decode_image(written, SRGB).header.stored_bits == bits
        assert lost == ()
        smooth = np.repeat(np.arange(0, 1 << bits, 1 << (bits - 8), dtype=np.uint16)[:, None, None], 256, axis=1)
        lossy = bytes(imagecodecs.avif_encode(np.repeat(smooth, 3, axis=2), level=90, bitspersample=bits))
        again_lossy, _, lost = again(lossy, options())
        assert decode_image(again_lossy, SRGB).header.stored_bits == bits
        assert lost == ()

    def test_deep_avif_is_turned_since_it_has_no_tag(self) -> None:
        source = decode_image(lossless_avif(RGB), SRGB)
        written = encode_image(source.pixels, options(), source=source, orientation=6)
        np.testing.assert_array_equal(decode_image(written, SRGB).pixels, np.rot90(RGB, -1))

    @pytest.mark.parametrize("image", [GRAY, RGB, RGBA], ids=["gray", "rgb", "rgba"])
    @pytest.mark.parametrize("width", [53, 52, 51, 50])
    def test_bmp_keeps_alpha_and_resolution(self, image: NDArray[Any], width: int) -> None:
        picture = np.ascontiguousarray(image[:, :width])
        source = decode_image(saved(picture if picture.shape[-1] != 4 else picture[..., :3], "BMP"), SRGB)
        written = encode_image(picture, options(), source=source)
        np.testing.assert_array_equal(decode_image(written, SRGB).pixels, picture)
        with Image.open(BytesIO(written)) as by_pillow:
            np.testing.assert_array_equal(np.asarray(by_pillow), picture)
        assert encoding_losses(picture, options(), source=source) == ()

    def test_two_round_trips_change_nothing_more_than_one(self) -> None:
        files = {
            "gray": saved(GRAY, "PNG", icc_profile=GRAY_18),
            "rgb": saved(RGB, "PNG", icc_profile=ADOBE_RGB),
            "tiff": tiff(RGB16, iccprofile=ADOBE_RGB),
            "webp": saved(RGBA, "WEBP", lossless=True, icc_profile=ADOBE_RGB),
            "floats": tiff(FLOATS, iccprofile=ADOBE_RGB),
        }
        for policy in (SRGB, KEEP):
            for name, data in files.items():
                once, _, _ = again(data, options(metadata="keep"), policy)
                twice, _, _ = again(once, options(metadata="keep"), policy)
                assert twice == once, name


class TestCarriedColours:
    """With ``color: keep``; the reference is the conversion of the same pixels before anything else."""

    def test_gray_with_alpha(self) -> None:
        image = Image.merge("LA", [Image.fromarray(GRAY), Image.fromarray(RGBA[..., 3])])
        data = saved(image, "PNG", icc_profile=GRAY_18)
        _, pixels, _ = again(data, options("png"), KEEP)
        expected = decode_image(data, SRGB).pixels
        assert np.abs(pixels.astype(int) - expected).max() <= 1

    @pytest.mark.parametrize("image", [RGB, RGB16, FLOATS.clip(0, 1)], ids=["8", "16", "float"])
    def test_gray_made_of_colours(self, image: NDArray[Any]) -> None:
        source = decode_image(tiff(image, iccprofile=ADOBE_RGB), KEEP)
        gray = np.ascontiguousarray(source.pixels[..., 1])
        written = decode_image(encode_image(gray, options("tiff"), source=source), KEEP)
        assert written.icc is None
        neutral = decode_image(tiff(np.repeat(gray[..., None], 3, axis=-1), iccprofile=ADOBE_RGB), SRGB).pixels[..., 1]
        tolerance = {"u": 1, "f": 1e-5}[image.dtype.kind]
        assert np.abs(written.pixels.astype(float) - neutral).max() <= tolerance

    @pytest.mark.parametrize("format", ["png", "webp", "avif"])
    def test_colours_made_of_gray(self, format: str) -> None:
        source = decode_image(saved(GRAY, "PNG", icc_profile=GRAY_18), KEEP)
        pixels = source.pixels if format != "png" else np.repeat(source.pixels[..., None], 3, axis=-1)
        chosen = options(format, **({} if format == "png" else {"quality": "lossless"}))
        written = decode_image(encode_image(pixels, chosen, source=source), KEEP)
        expected = decode_image(saved(GRAY, "PNG", icc_profile=GRAY_18), SRGB).pixels
        assert written.icc is None
        assert np.abs(written.pixels.astype(int) - expected[..., None]).max() <= 1

    def test_formats_without_a_place_for_a_profile(self) -> None:
        source = decode_image(saved(RGB, "PNG", icc_profile=ADOBE_RGB), KEEP)
        expected = decode_image(saved(RGB, "PNG", icc_profile=ADOBE_RGB), SRGB).pixels
        written = encode_image(source.pixels, options("avif", quality="lossless"), source=source)
        np.testing.assert_array_equal(decode_image(written, KEEP).pixels, expected)

    def test_gray_profile_in_a_format_that_knows_no_gray(self) -> None:
        shown = np.repeat(GRAY[..., None], 3, axis=-1)
        data = saved(shown, "WEBP", lossless=True, icc_profile=GRAY_18)
        decoded = decode_image(data, SRGB)
        expected = decode_image(saved(GRAY, "PNG", icc_profile=GRAY_18), SRGB).pixels
        assert decoded.degraded is None
        np.testing.assert_array_equal(decoded.pixels, np.repeat(expected[..., None], 3, axis=-1))


class TestLosses:
    @pytest.mark.parametrize(
        ("image", "chosen", "said"),
        [
            (RGB16, options("jpeg"), "16 bits written as 8"),
            (RGB16, options("webp", quality="lossless"), "16 bits written as 8"),
            (GRAY16, options("avif"), "16 bits written as 8"),
            (FLOATS, options("png"), "floats written as 16 bits"),
            (FLOATS * 3 - 1, options("tiff", bit_depth=16), "values beyond 0 to 1 clipped"),
            (np.full((4, 4), np.nan, np.float32), options("tiff", bit_depth=16), "values beyond 0 to 1 clipped"),
            (RGBA, options("jpeg"), "alpha laid on white"),
        ],
        ids=["jpeg", "webp", "avif", "floats", "range", "nan", "alpha"],
    )
    def test_what_a_format_cannot_hold_is_said(self, image: NDArray[Any], chosen: EncodeOptions, said: str) -> None:
        data = tiff(image, **({"extrasamples": ["unassalpha"]} if image.shape[2:] == (4,) else {}))
        _, _, lost = again(data, chosen)
        assert any(said in text for text in lost)
        assert any(said in text for text in expected_losses(decode_image(data, SRGB).header, chosen))

    @pytest.mark.parametrize(
        ("image", "chosen"),
        [
            (RGB16, options("jpeg")),
            (RGB16, options("png", bit_depth=8)),
            (FLOATS.clip(0, 1), options("tiff", bit_depth=16)),
            (FLOATS, options("tiff")),
            (np.dstack([RGB, np.full(RGB.shape[:2], 255, np.uint8)]), options("jpeg")),
            (RGBA, options("webp")),
            (RGB, options("jpeg")),
        ],
    )  # fmt: skip
    def test_what_is_asked_for_or_does_not_show_is_no_loss(self, image: NDArray[Any], chosen: EncodeOptions) -> None:
        if chosen.format == "jpeg" and image.dtype == np.uint16:
            image = (image >> 8).astype(np.uint8)
        data = tiff(image, **({"extrasamples": ["unassalpha"]} if image.shape[2:] == (4,) else {}))
        assert again(data, chosen)[2] == ()

    @pytest.mark.parametrize(
        ("data", "chosen", "said"),
        [
            (p3_avif(10), options(), "AVIF that is lossless"),
            (p3_avif(8), options("avif", quality="lossless"), "AVIF that is lossless"),
            (p3_avif(8), options("avif", quality=90), None),
            (saved(RGB, "BMP"), options(), None),
            (saved(RGB, "PNG", icc_profile=ADOBE_RGB), options("avif", quality="lossless"), "AVIF that is lossless"),
            (saved(RGB, "PNG", icc_profile=ADOBE_RGB), options("webp"), None),
            (saved(RGB, "PNG", icc_profile=SRGB_ICC), options("avif", quality="lossless"), None),
            (saved(GRAY, "PNG", icc_profile=GRAY_18), options("webp"), "webp has no place for one of grays"),
            (saved(GRAY, "PNG", icc_profile=GRAY_18), options("avif"), "avif has no place for one of grays"),
            (saved(GRAY, "PNG", icc_profile=GRAY_18), options("jpeg"), None),
            (bmp_with_profile(), options(), "bmp has no place for it"),
        ],
    )  # fmt: skip
    def test_profiles_without_a_place_are_said(self, data: bytes, chosen: EncodeOptions, said: str | None) -> None:
        """Where colours are kept; with ``color: srgb`` nobody asked for the profile."""
        header = decode_image(data, SRGB).header
        for policy, expected in ((KEEP, said), (SRGB, None)):
            for lost in (again(data, chosen, policy)[2], expected_losses(header, chosen, policy.color)):
                told = [text for text in lost if "colour profile left out" in text]
                assert len(told) == (expected is not None)
                assert expected is None or expected in told[0]

    def test_a_bmp_that_is_clear_everywhere_is_said(self) -> None:
        source = decode_image(saved(RGB, "BMP"), SRGB)
        for alpha, said in ((0, True), (1, False)):
            pixels = np.dstack([RGB, np.full(RGB.shape[:2], alpha, np.uint8)])
            lost = encoding_losses(pixels, options(), source=source)
            assert any("alpha of 0 everywhere" in text for text in lost) == said
            read = decode_image(encode_image(pixels, options(), source=source), SRGB).pixels
            assert np.array_equal(read, pixels) == (not said)

    def test_lossless_for_originals_that_cannot_be_is_said(self) -> None:
        _, pixels, lost = again(saved(RGB, "JPEG", quality=95), options(quality="lossless"))
        assert any("not lossless" in text for text in lost)
        assert pixels.shape == RGB.shape

    def test_alpha_of_cmyk_and_deep_floats_are_said(self) -> None:
        inks = np.full((9, 8, 5), 100, np.uint8)
        data = tiff(inks, photometric="separated", planarconfig="contig", extrasamples=["unassalpha"])
        cmyk = decode_image(data, SRGB)
        assert "alpha left out" in (cmyk.degraded or "")
        deep = decode_image(tiff(np.zeros((4, 4)), photometric="minisblack"), SRGB)
        assert deep.degraded == "floats of 64 bits read as 32"

    def test_a_header_without_pixels_is_enough_for_a_plan(self) -> None:
        header = ImageHeader(format="png", width=9, height=9, channels=4, dtype="uint16")
        assert len(expected_losses(header, options("jpeg"))) == 2
        assert expected_losses(header, None) == ()


class TestChoices:
    @pytest.mark.parametrize("image", [RGB, RGBA, GRAY], ids=["rgb", "rgba", "gray"])
    @pytest.mark.parametrize("format", ["webp", "avif", "png", "tiff"])
    def test_lossless(self, format: str, image: NDArray[Any]) -> None:
        pixels = decode_image(encode_image(image, options(format, quality="lossless")), SRGB).pixels
        expected = image if pixels.ndim == image.ndim else np.repeat(image[..., None], 3, axis=-1)
        np.testing.assert_array_equal(pixels, expected)

    @pytest.mark.parametrize("format", ["jpeg", "avif"])
    def test_chroma(self, format: str) -> None:
        stripes = np.zeros((64, 64, 3), np.uint8)
        stripes[:, ::2] = (250, 20, 20)
        stripes[:, 1::2] = (20, 20, 250)
        errors = {}
        for chroma in (444, 420):
            data = encode_image(stripes, options(format, quality=90, chroma=chroma))
            errors[chroma] = np.abs(decode_image(data, SRGB).pixels.astype(int) - stripes).mean()
        assert errors[444] * 4 < errors[420]

    @pytest.mark.parametrize(
        "wrong",
        [
            {"format": "jpeg", "quality": "lossless"},
            {"format": "webp", "chroma": 444},
            {"format": "png", "chroma": 420},
            {"format": "avif", "chroma": 420, "quality": "lossless"},
        ],
        ids=str,
    )
    def test_what_cannot_be_is_refused(self, wrong: dict[str, Any], tmp_path: Path) -> None:
        with pytest.raises(RayjobsError):
            EncodeOptions(**wrong)
        images = ", ".join(f"{key}: {value}" for key, value in wrong.items())
        job = f"name: x\ninputs: [a]\noutput: out\nanalyses: [statistics]\nexport: {{images: {{{images}}}}}\n"
        with pytest.raises(JobFileError) as caught:
            parse_job(job, base=tmp_path)
        assert len(str(caught.value).splitlines()) == 1

    def test_job_files_take_them(self, tmp_path: Path) -> None:
        text = "name: x\ninputs: [a]\noutput: out\noperations: [invert]\nexport: {images: {format: avif, "
        spec = parse_job(text + "quality: lossless, chroma: 444, set: {artist: me}}}\n", base=tmp_path)
        images = spec.export.images
        assert images is not None
        assert (images.quality, images.chroma, images.set.artist) == ("lossless", 444, "me")
        assert spec.operations == (ImageOperation("invert"),)
