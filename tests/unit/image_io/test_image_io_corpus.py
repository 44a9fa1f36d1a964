"""Every kind of file in the corpus ends as it should: the right pixels, or the right reason; never a wrong picture."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import FailedReason, ImageError
from pipelines.image_io import DecodedImage, ReadPolicy, decode_image, probe_header
from tests.corpus import BAD, GOOD, PHOTO, RGB, RGB16, animation, cut, pages, png, retagged, saved, tiff

STRICT = ReadPolicy()
SALVAGE = ReadPolicy(truncated="salvage")
FLAG = ReadPolicy(truncated="flag")
CUT_IN_ROWS = {
    "jpeg": lambda: saved(PHOTO, "JPEG", quality=90),
    "png": lambda: saved(PHOTO, "PNG"),
    "tiff": lambda: tiff(PHOTO, rowsperstrip=8),
    "packed tiff": lambda: tiff(PHOTO, compression="zlib", rowsperstrip=8),
}
"""Formats that store rows from the top, so that the first part of a file is the upper part of the picture."""


@pytest.mark.parametrize("name", GOOD)
def test_good_file_gives_its_exact_pixels(name: str) -> None:
    maker, expected = GOOD[name]
    decoded = decode_image(maker(), STRICT)
    np.testing.assert_array_equal(decoded.pixels, expected, strict=True)
    assert decoded.degraded == ("floats of 64 bits read as 32" if name == "tiff 64-bit floats" else None)


@pytest.mark.parametrize("name", GOOD)
def test_header_says_what_decoding_gives(name: str) -> None:
    data = GOOD[name][0]()
    header = probe_header(data, STRICT)
    pixels = decode_image(data, STRICT).pixels
    assert (header.height, header.width, header.dtype) == (*pixels.shape[:2], pixels.dtype)
    assert header.channels == (1 if pixels.ndim == 2 else pixels.shape[2])
    assert header.predicted_bytes >= pixels.nbytes + len(data)


@pytest.mark.parametrize("policy", [STRICT, SALVAGE, FLAG], ids=["strict", "salvage", "flag"])
@pytest.mark.parametrize("name", [name for name, (reason, _) in BAD.items() if reason != FailedReason.TRUNCATED])
def test_bad_file_fails_with_its_reason(name: str, policy: ReadPolicy) -> None:
    reason, maker = BAD[name]
    with pytest.raises(ImageError) as caught:
        decode_image(maker(), policy)
    assert caught.value.reason == reason
    assert str(caught.value)


@pytest.mark.parametrize("name", [name for name, (reason, _) in BAD.items() if reason == FailedReason.TRUNCATED])
def test_cut_file_fails_unless_asked_otherwise(name: str) -> None:
    data = BAD[name][1]()
    with pytest.raises(ImageError) as caught:
        decode_image(data, STRICT)
    assert caught.value.reason == FailedReason.TRUNCATED


@pytest.mark.parametrize("policy", [SALVAGE, FLAG], ids=["salvage", "flag"])
@pytest.mark.parametrize("name", [name for name, (reason, _) in BAD.items() if reason == FailedReason.TRUNCATED])
def test_salvaged_file_is_marked_or_has_failed(name: str, policy: ReadPolicy) -> None:
    decoded = _decoded_or_refused(BAD[name][1](), policy)
    if decoded is not None:
        assert decoded.degraded is not None
        assert decoded.degraded.startswith("truncated")
        assert decoded.pixels.shape[:2] == (decoded.header.height, decoded.header.width)


@pytest.mark.parametrize("share", [0.3, 0.63, 0.9])
@pytest.mark.parametrize("name", CUT_IN_ROWS)
def test_salvage_measures_the_part_that_is_valid(name: str, share: float) -> None:
    whole = CUT_IN_ROWS[name]()
    intact = decode_image(whole, STRICT).pixels
    decoded = decode_image(cut(whole, share), SALVAGE)
    assert decoded.degraded is not None
    valid = float(decoded.degraded.removeprefix("truncated: ").removesuffix("% valid")) / 100
    assert valid == pytest.approx(share, abs=0.16)  # JPEG counts in rows of 16 px
    rows = int((valid - 0.01) * intact.shape[0])
    rows -= rows % 16
    np.testing.assert_array_equal(decoded.pixels[:rows], intact[:rows])
    assert decode_image(cut(whole, share), FLAG).degraded == "truncated"


def test_rows_that_png_and_tiff_lack_are_black() -> None:
    for name in ("png", "tiff", "packed tiff"):
        assert not decode_image(cut(CUT_IN_ROWS[name](), 0.5), SALVAGE).pixels[-8:].any()


def test_bmp_is_salvaged_from_the_bottom() -> None:
    decoded = decode_image(cut(saved(PHOTO, "BMP"), 0.5), SALVAGE)
    np.testing.assert_array_equal(decoded.pixels[-70:], PHOTO[-70:])
    assert decoded.degraded == "truncated: 50% valid"


def test_first_frame_of_a_cut_animation_is_whole() -> None:
    whole = animation("GIF")
    data = whole[:-4]
    decoded = decode_image(data, SALVAGE)
    np.testing.assert_array_equal(decoded.pixels, decode_image(whole, STRICT).pixels)
    assert decoded.degraded == "truncated: 2 whole frames"


@pytest.mark.parametrize("name", [name for name, (reason, _) in BAD.items() if reason == FailedReason.TOO_LARGE])
def test_bombs_are_refused_by_their_header(name: str) -> None:
    with pytest.raises(ImageError) as caught:
        probe_header(BAD[name][1](), STRICT)
    assert caught.value.reason == FailedReason.TOO_LARGE


def test_a_tile_larger_than_its_picture_counts() -> None:
    data = tiff(RGB, tile=(16, 16), compression="zlib")
    for tag in (322, 323):
        data = retagged(data, tag, 60_000)
    assert probe_header(data, STRICT).predicted_bytes >= 60_000 * 60_000 * 3


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "AVIF"])
def test_frames_of_animations(format: str) -> None:
    options = {} if format == "GIF" else {"lossless": True} if format == "WEBP" else {}
    data = animation(format, **options)
    header = probe_header(data, STRICT)
    assert (header.frames, header.frame_count) == (3, 1)
    assert probe_header(data, ReadPolicy(frames="all")).frame_count == 3
    for frame, level in enumerate((40, 120, 200)):
        pixels = decode_image(data, STRICT, frame=frame).pixels
        assert np.abs(pixels[..., 0].astype(int) - level).max() <= 3
        assert probe_header(data, STRICT, frame=frame).channels == pixels.shape[2]


def test_pages_of_a_tiff_have_their_own_size_and_type() -> None:
    data = pages(RGB, RGB16[:20], PHOTO)
    policy = ReadPolicy(frames="all")
    assert probe_header(data, policy).frames == 3
    for frame, expected in enumerate((RGB, RGB16[:20], PHOTO)):
        np.testing.assert_array_equal(decode_image(data, policy, frame=frame).pixels, expected, strict=True)


def test_the_cap_on_pixels_counts_every_frame_that_is_taken() -> None:
    data = animation("GIF")
    cap = 20 * 12 * 2
    assert decode_image(data, ReadPolicy(max_pixels=cap)).pixels.shape[:2] == (12, 20)
    with pytest.raises(ImageError) as caught:
        probe_header(data, ReadPolicy(max_pixels=cap, frames="all"))
    assert caught.value.reason == FailedReason.TOO_LARGE
    assert "x 3 frames" in str(caught.value)


def test_a_small_first_page_hides_no_large_one() -> None:
    """The cap counts the pages as they are, and a page is checked again when it is decoded."""
    data, cap = pages(RGB, PHOTO), RGB[..., 0].size * 3
    with pytest.raises(ImageError) as caught:
        probe_header(data, ReadPolicy(frames="all", max_pixels=cap))
    assert caught.value.reason == FailedReason.TOO_LARGE
    with pytest.raises(ImageError) as caught:
        decode_image(data, ReadPolicy(max_pixels=cap), frame=1)
    assert caught.value.reason == FailedReason.TOO_LARGE


def test_there_is_no_frame_beyond_the_last() -> None:
    for data in (saved(RGB, "PNG"), tiff(RGB), animation("GIF")):
        with pytest.raises(ImageError) as caught:
            decode_image(data, STRICT, frame=9)
        assert caught.value.reason == FailedReason.BAD_SHAPE


def test_a_file_larger_than_allowed_is_not_looked_at() -> None:
    with pytest.raises(ImageError) as caught:
        probe_header(saved(RGB, "PNG"), ReadPolicy(max_file_bytes=100))
    assert caught.value.reason == FailedReason.TOO_LARGE


WHOLE: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: saved(RGB, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0", icc_profile=b"x" * 300),
    "png": lambda: saved(RGB, "PNG"),
    "interlaced": lambda: png(8, 1, 8, 0, b"\0\1\0\2\0\3\4\0\5\6\7\x08", interlaced=True),
    "tiff": lambda: tiff(RGB16, compression="lzw", tile=(16, 16)),
    "gif": lambda: animation("GIF"),
    "bmp": lambda: saved(RGB, "BMP"),
    "webp": lambda: saved(RGB, "WEBP"),
    "avif": lambda: saved(RGB[:8, :8], "AVIF"),
}


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(WHOLE)), st.data())
def test_no_damage_raises_anything_but_an_image_error(name: str, draw: st.DataObject) -> None:
    data = bytearray(WHOLE[name]())
    for _ in range(draw.draw(st.integers(1, 4))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    policy = ReadPolicy(truncated=draw.draw(st.sampled_from(["strict", "salvage", "flag"])), max_pixels=1_000_000)
    _decoded_or_refused(bytes(data[: draw.draw(st.integers(1, len(data)))]), policy)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(WHOLE)), st.data())
def test_no_cut_passes_as_a_whole_file(name: str, draw: st.DataObject) -> None:
    data = WHOLE[name]()
    intact = decode_image(data, STRICT).pixels
    result = _decoded_or_refused(data[: draw.draw(st.integers(1, len(data) - 1))], STRICT)
    assert result is None or np.array_equal(result.pixels, intact)


def _decoded_or_refused(data: bytes, policy: ReadPolicy) -> DecodedImage | None:
    try:
        return decode_image(data, policy)
    except ImageError:
        return None
