"""Colours that files state otherwise than by a profile, held to the standards' formulas in double precision."""

from __future__ import annotations

import itertools
import struct
import zlib
from io import BytesIO
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from pipelines.errors import FailedReason, ImageError
from pipelines.image_io import EncodeOptions, ReadPolicy, decode_image, encode_image
from pipelines.image_io.av1_sequence import stream_code_points
from pipelines.image_io.colour_profiles import has_tones_of_srgb
from pipelines.image_io.exif_block import ASCII, ExifBlock, Field, exif_bytes
from tests.corpus import png_chunk, retagged, saved, tiff
from tests.trust import hold

SRGB, KEEP = ReadPolicy(), ReadPolicy(color="keep")
XY_SRGB = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
XY_ADOBE = (0.3127, 0.3290, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
XY_P3 = (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)
XY_DCI = (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)
XY_2020 = (0.3127, 0.3290, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046)
XY_PAL = (0.3127, 0.3290, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06)
XY_NTSC = (0.310, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08)

WHITE, PRIMARIES = [0.3127, 0.329, 1.0], [0.64, 0.33, 1.0, 0.3, 0.6, 1.0, 0.15, 0.06, 1.0]
"""sRGB's, as imagecodecs takes them."""
COLOURS = np.stack(np.meshgrid(*[np.arange(0, 256, 15)] * 3, indexing="ij"), axis=-1).reshape(18 * 18, 18, 3)
GRAYS = np.arange(256, dtype=np.uint8).reshape(16, 16)


# ---- the formulas ----------------------------------------------------------------------------------------------------


def srgb_light(v: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def srgb_level(light: NDArray[np.float64]) -> NDArray[np.float64]:
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def bt709_light(v: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(v < 0.0812428583, v / 4.5, ((v + 0.0992968268) / 1.0992968268) ** (1 / 0.45))


def smpte240_light(v: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(v < 0.0912, v / 4, ((v + 0.1115) / 1.1115) ** (1 / 0.45))


def to_xyz_d50(xy: tuple[float, ...]) -> NDArray[np.float64]:
    """Lindbloom's matrix of a space, adapted to D50 by Bradford's method."""
    x, y = np.array(xy[2::2]), np.array(xy[3::2])
    primaries = np.stack([x / y, np.ones(3), (1 - x - y) / y])
    white = np.array([xy[0] / xy[1], 1, (1 - xy[0] - xy[1]) / xy[1]])
    own = primaries * np.linalg.inv(primaries).dot(white)
    cone = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    scale = cone.dot([0.96422, 1, 0.82521]) / cone.dot(white)
    return np.linalg.inv(cone).dot(np.diag(scale)).dot(cone).dot(own)


def expected(levels: NDArray[Any], light: Any, xy: tuple[float, ...]) -> NDArray[np.float64]:
    """sRGB, 0 to 1, of levels 0 to 1 of RGB (..., 3) or gray (...)."""
    linear = light(np.asarray(levels, np.float64))
    if linear.shape[-1] == 3:
        linear = linear @ (np.linalg.inv(to_xyz_d50(XY_SRGB)) @ to_xyz_d50(xy)).T
    return srgb_level(linear)


# ---- files that say it -----------------------------------------------------------------------------------------------


def png_saying(pixels: NDArray[Any], *chunks: tuple[bytes, bytes]) -> bytes:
    data = bytes(imagecodecs.png_encode(pixels))
    return data[:33] + b"".join(png_chunk(*one) for one in chunks) + data[33:]


def gama(gamma: float) -> tuple[bytes, bytes]:
    return b"gAMA", struct.pack(">I", round(100_000 / gamma))


def chrm(xy: tuple[float, ...]) -> tuple[bytes, bytes]:
    return b"cHRM", struct.pack(">8I", *(round(value * 100_000) for value in xy))


def cicp(primaries: int, transfer: int, matrix: int = 0, full: int = 1) -> tuple[bytes, bytes]:
    return b"cICP", bytes([primaries, transfer, matrix, full])


def adobe_exif(*, space: int = 0xFFFF, index: bytes | None = b"R03", order: str = ">") -> bytes:
    """EXIF as cameras write it: the main directory at 8, EXIF's at 26, that of interoperability at 56."""
    main = struct.pack(order + "HHHIII", 1, 0x8769, 4, 1, 26, 0)
    colour = struct.pack(order + "HHIHH", 0xA001, 3, 1, space, 0)
    pointer = struct.pack(order + "HHII", 0xA005, 4, 1, 56) if index else b""
    exif = (struct.pack(order + "H", 1 + bool(index)) + colour + pointer + bytes(4)).ljust(30, b"\0")
    interop = struct.pack(order + "HHHI4sI", 1, 1, 2, 4, (index or b"") + b"\0", 0)
    return {">": b"MM\0*", "<": b"II*\0"}[order] + struct.pack(order + "I", 8) + main + exif + interop


def says(light: Any, xy: tuple[float, ...]) -> Any:
    return lambda v: expected(v, light, xy)


def power(gamma: float) -> Any:
    return lambda v: np.clip(v, 0, None) ** gamma


STATEMENTS: dict[str, tuple[tuple[tuple[bytes, bytes], ...], Any, tuple[float, ...]]] = {
    "gAMA 1": ((gama(1.0),), power(1.0), XY_SRGB),
    "gAMA 1.8": ((gama(1.8),), power(100_000 / 55_556), XY_SRGB),
    "gAMA 2.2": ((gama(2.2),), power(100_000 / 45_455), XY_SRGB),
    "gAMA 2.8": ((gama(2.8),), power(100_000 / 35_714), XY_SRGB),
    "cHRM P3": ((chrm(XY_P3),), srgb_light, XY_P3),
    "cHRM Adobe RGB, gAMA 2.2": ((chrm(XY_ADOBE), gama(2.2)), power(100_000 / 45_455), XY_ADOBE),
    "cHRM BT.2020, gAMA 1": ((chrm(XY_2020), gama(1.0)), power(1.0), XY_2020),
    "cICP P3": ((cicp(12, 13),), srgb_light, XY_P3),
    "cICP DCI P3, linear": ((cicp(11, 8),), power(1.0), XY_DCI),
    "cICP BT.709": ((cicp(1, 1),), bt709_light, XY_SRGB),
    "cICP BT.2020": ((cicp(9, 14),), bt709_light, XY_2020),
    "cICP BT.2020, linear": ((cicp(9, 8),), power(1.0), XY_2020),
    "cICP sRGB, linear": ((cicp(1, 8),), power(1.0), XY_SRGB),
    "cICP NTSC": ((cicp(4, 4),), power(2.2), XY_NTSC),
    "cICP PAL": ((cicp(5, 5),), power(2.8), XY_PAL),
    "cICP 240M": ((cicp(1, 7),), smpte240_light, XY_SRGB),
}


@pytest.mark.parametrize("name", STATEMENTS)
@pytest.mark.parametrize("kind", ["rgb8", "rgb16", "gray8", "gray16", "palette", "rgba8"])
def test_png_is_converted_as_it_says(name: str, kind: str) -> None:
    chunks, light, xy = STATEMENTS[name]
    data, levels, white = _png_of(kind, chunks)
    decoded = decode_image(data, SRGB)
    assert decoded.icc is None
    colours = decoded.pixels[..., :3] if levels.shape[-1] == 3 else decoded.pixels
    off = np.abs(colours / white - expected(levels, light, xy)) * white
    assert off.max() <= (1.01 if white == 255 else 60)


@pytest.mark.parametrize("name", STATEMENTS)
def test_kept_colours_go_on_as_a_profile_that_says_the_same(name: str) -> None:
    chunks, light, xy = STATEMENTS[name]
    data, levels, _ = _png_of("rgb8", chunks)
    source = decode_image(data, KEEP)
    assert source.icc is not None
    np.testing.assert_array_equal(source.pixels, np.rint(levels * 255))
    for format in ("png", "tiff"):
        written = encode_image(source.pixels, EncodeOptions(format=format), source=source)  # type: ignore[arg-type]
        again = decode_image(written, SRGB).pixels
        assert np.abs(again - expected(levels, light, xy) * 255).max() <= 1.01
        second = decode_image(written, KEEP)
        assert second.icc == source.icc


def _png_of(kind: str, chunks: tuple[tuple[bytes, bytes], ...]) -> tuple[bytes, NDArray[np.float64], int]:
    """A file, its levels as 0 to 1, and its white."""
    colours = COLOURS.astype(np.uint8)
    match kind:
        case "gray8" | "gray16":
            pixels: NDArray[Any] = GRAYS if kind == "gray8" else GRAYS.astype(np.uint16) * 257
        case "palette":
            image = Image.new("P", (16, 16))
            image.putdata(GRAYS.ravel().tolist())
            table = colours.reshape(-1, 3)[:: len(colours.reshape(-1, 3)) // 256][:256]
            image.putpalette(table.ravel().tolist())
            data = saved(image, "PNG")
            data = data[:33] + b"".join(png_chunk(*one) for one in chunks) + data[33:]
            return data, table.reshape(16, 16, 3) / 255, 255
        case "rgba8":
            pixels = np.dstack([colours, np.full(colours.shape[:2], 99, np.uint8)])
        case _:
            pixels = colours if kind == "rgb8" else colours.astype(np.uint16) * 257
    white = np.iinfo(pixels.dtype).max
    levels = pixels[..., :3] if pixels.ndim == 3 else pixels
    return png_saying(np.ascontiguousarray(pixels), *chunks), levels / white, white


@settings(max_examples=40, deadline=None)
@given(
    gamma=st.floats(0.4, 3.5),
    xy=st.tuples(
        st.floats(0.28, 0.36), st.floats(0.30, 0.37),
        st.floats(0.58, 0.73), st.floats(0.27, 0.36),
        st.floats(0.17, 0.33), st.floats(0.55, 0.80),
        st.floats(0.13, 0.18), st.floats(0.03, 0.12),
    ),
)  # fmt: skip
def test_any_gamma_and_primaries(gamma: float, xy: tuple[float, ...]) -> None:
    stored = np.round(np.array(xy) * 100_000) / 100_000
    data = png_saying(COLOURS.astype(np.uint8), gama(gamma), chrm(xy))
    pixels = decode_image(data, SRGB).pixels
    light = power(100_000 / round(100_000 / gamma))
    off = np.abs(pixels - expected(COLOURS / 255, light, tuple(stored)) * 255)
    assert off.max() <= 1.05


def test_the_first_of_the_standards_order_counts() -> None:
    """That is cICP, iCCP, sRGB, gAMA and cHRM, EXIF, whichever of them are there."""
    profile = bytes(imagecodecs.cms_profile("rgb", whitepoint=WHITE, primaries=PRIMARIES, gamma=1.4))
    exif = adobe_exif()
    packed = b"x\0\0" + zlib.compress(profile)
    order: list[tuple[tuple[tuple[bytes, bytes], ...], Any, tuple[float, ...]]] = [
        ((cicp(12, 8),), power(1.0), XY_P3),
        (((b"iCCP", packed),), power(1.4), XY_SRGB),
        (((b"sRGB", b"\0"),), srgb_light, XY_SRGB),
        ((gama(1.8), chrm(XY_2020)), power(100_000 / 55_556), XY_2020),
        (((b"eXIf", exif),), power(563 / 256), XY_ADOBE),
    ]
    for count in range(1, len(order) + 1):
        for chosen in itertools.combinations(order, count):
            data = png_saying(COLOURS.astype(np.uint8), *(chunk for chunks, _, _ in chosen for chunk in chunks))
            _, light, xy = chosen[0]
            off = np.abs(decode_image(data, SRGB).pixels - expected(COLOURS / 255, light, xy) * 255)
            assert off.max() <= 1.05, [chunk[0] for chunks, _, _ in chosen for chunk in chunks]


def test_a_png_that_leaves_it_unspecified_says_it_elsewhere() -> None:
    """As an AVIF's box does: cICP of (2, 2) says nothing."""
    pixels = COLOURS.astype(np.uint8)
    for chunks in ((gama(1.8), chrm(XY_2020)), ((b"eXIf", adobe_exif()),), ((b"sRGB", b"\0"),), ()):
        alone, beside = (decode_image(png_saying(pixels, *extra, *chunks), SRGB) for extra in ((), (cicp(2, 2),)))
        np.testing.assert_array_equal(beside.pixels, alone.pixels)
        assert beside.degraded is None
    profile = bytes(imagecodecs.cms_profile("rgb", whitepoint=WHITE, primaries=PRIMARIES, gamma=1.4))
    packed = (b"iCCP", b"x\0\0" + zlib.compress(profile))
    assert decode_image(png_saying(pixels, cicp(2, 2), packed), KEEP).icc == profile


@pytest.mark.parametrize("kind", ["rgb", "rgba", "deep", "gray"])
def test_an_avif_without_a_box_is_what_its_stream_says(kind: str) -> None:
    shape = {"rgba": (64, 64, 4), "gray": (64, 64)}.get(kind, (64, 64, 3))
    pixels = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint16 if kind == "deep" else np.uint8)
    for primaries, transfer in ((9, 16), (12, 18), (12, 13), (1, 13), (2, 2)):
        boxed = bytes(
            imagecodecs.avif_encode(
                pixels, level=100, primaries=primaries, transfer=transfer, bitspersample=10 if kind == "deep" else 8,
                pixelformat="444",
            )
        )  # fmt: skip
        bare = boxed.replace(b"colrnclx", b"freenclx")
        assert bare != boxed
        if transfer in (16, 18):
            with pytest.raises(ImageError, match="HDR"):
                decode_image(bare, SRGB)
            continue
        for policy in (SRGB, KEEP):
            said, unsaid = decode_image(boxed, policy), decode_image(bare, policy)
            assert unsaid.icc == said.icc
            np.testing.assert_array_equal(unsaid.pixels, said.pixels)


def test_streams_of_several_pictures_and_of_nonsense() -> None:
    target = BytesIO()
    frames = [Image.fromarray(np.full((64, 64, 3), level, np.uint8)) for level in (0, 90, 180)]
    frames[0].save(target, "AVIF", save_all=True, append_images=frames[1:])
    data = target.getvalue()
    assert stream_code_points(data) == (1, 13, 6)
    generator = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(data[: generator.integers(8, len(data))])
        for at in generator.integers(0, len(damaged), 20):
            damaged[at] = generator.integers(256)
        stream_code_points(bytes(damaged))


@pytest.mark.parametrize(("primaries", "transfer"), [(9, 16), (9, 18), (1, 16), (12, 18)])
def test_hdr_is_refused_everywhere(primaries: int, transfer: int) -> None:
    pixels = COLOURS.astype(np.uint8)
    files = [
        png_saying(pixels, cicp(primaries, transfer)),
        png_saying(pixels.astype(np.uint16) * 257, cicp(primaries, transfer)),
        bytes(imagecodecs.avif_encode(pixels[:16, :16], primaries=primaries, transfer=transfer)),
        saved(pixels, "PNG", icc_profile=_with_cicp(primaries, transfer)),
        saved(pixels, "JPEG", icc_profile=_with_cicp(primaries, transfer)),
    ]
    for data in files:
        for policy in (SRGB, KEEP):
            with pytest.raises(ImageError) as caught:
                decode_image(data, policy)
            assert caught.value.reason == FailedReason.UNSUPPORTED_FORMAT
            assert "HDR" in str(caught.value)


def _with_cicp(primaries: int, transfer: int) -> bytes:
    """A profile with the tag that ICC 4.4 has for code points."""
    profile = bytearray(imagecodecs.cms_profile("srgb"))
    (count,) = struct.unpack_from(">I", profile, 128)
    content = b"cicp\0\0\0\0" + bytes([primaries, transfer, 0, 1])
    struct.pack_into(">4sII", profile, 132 + 12 * (count - 1), b"cicp", len(profile), len(content))
    profile += content
    struct.pack_into(">I", profile, 0, len(profile))
    return bytes(profile)


@pytest.mark.parametrize(
    "chunk",
    [cicp(77, 13), cicp(9, 99), cicp(9, 8, matrix=1), (b"gAMA", bytes(4)), (b"cHRM", bytes(32)), (b"gAMA", b"x")],
    ids=["primaries", "transfer", "matrix", "gamma of 0", "chromaticities of 0", "cut"],
)  # fmt: skip
def test_what_makes_no_sense_is_ignored_and_said(chunk: Any) -> None:
    decoded = decode_image(png_saying(COLOURS.astype(np.uint8), chunk), SRGB)
    np.testing.assert_array_equal(decoded.pixels, COLOURS)
    assert decoded.degraded is not None
    assert "colour statement ignored" in decoded.degraded


def test_narrow_range_is_refused() -> None:
    with pytest.raises(ImageError, match="narrow range"):
        decode_image(png_saying(COLOURS.astype(np.uint8), cicp(1, 13, full=0)), SRGB)


@pytest.mark.parametrize("chunks", [(cicp(1, 13),), ((b"sRGB", b"\0"), gama(2.2), chrm(XY_SRGB)), (chrm(XY_SRGB),)])
def test_srgb_said_in_any_way_changes_nothing(chunks: Any) -> None:
    for policy in (SRGB, KEEP):
        decoded = decode_image(png_saying(COLOURS.astype(np.uint8), *chunks), policy)
        np.testing.assert_array_equal(decoded.pixels, COLOURS)
        assert (decoded.icc, decoded.degraded) == (None, None)


@pytest.mark.parametrize("bits", [8, 10, 12])
@pytest.mark.parametrize(
    ("primaries", "transfer", "light", "xy"),
    [
        (12, 13, srgb_light, XY_P3),
        (1, 8, power(1.0), XY_SRGB),
        (9, 14, bt709_light, XY_2020),
        (9, 8, power(1.0), XY_2020),
    ],
    ids=["P3", "linear", "BT.2020", "BT.2020 linear"],
)  # fmt: skip
def test_avif_is_converted_as_its_box_says(bits: int, primaries: int, transfer: int, light: Any, xy: Any) -> None:
    top = (1 << bits) - 1
    levels = np.rint(COLOURS / 255 * top).astype(np.uint16 if bits > 8 else np.uint8)
    data = bytes(
        imagecodecs.avif_encode(
            levels, level=100, bitspersample=bits, pixelformat="444", matrix=0, primaries=primaries, transfer=transfer
        )
    )
    decoded = decode_image(data, SRGB)
    white = 255 if bits == 8 else 65535
    off = np.abs(decoded.pixels / white - expected(levels / top, light, xy)) * white
    assert off.max() <= (1.01 if bits == 8 else 60)
    kept = decode_image(data, KEEP)
    assert kept.icc is not None


def _with_first_property(avif: bytes, decoy: bytes) -> bytes:
    """An AVIF of libavif whose boxes list another property first, which belongs to no picture."""
    changed = bytearray(avif)
    for name in (b"meta", b"iprp", b"ipco"):
        at = avif.index(name) - 4
        struct.pack_into(">I", changed, at, struct.unpack_from(">I", avif, at)[0] + len(decoy))
    at = avif.index(b"iloc") + 12
    for _ in range(struct.unpack_from(">H", avif, at - 2)[0]):  # number, file and parts of an item; place and length
        struct.pack_into(">I", changed, at + 6, struct.unpack_from(">I", avif, at + 6)[0] + len(decoy))
        at += 14
    at = avif.index(b"ipma") + 12
    for _ in range(struct.unpack_from(">I", avif, at - 4)[0]):
        count = avif[at + 2]
        for place in range(at + 3, at + 3 + count):
            changed[place] += 1
        at += 3 + count
    start = avif.index(b"ipco") + 4
    changed[start:start] = decoy
    return bytes(changed)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("bits", [8, 10])
def test_properties_of_other_pictures_in_an_avif_say_nothing(bits: int, channels: int) -> None:
    levels = np.random.default_rng(3).integers(0, 1 << bits, (16, 16, channels))
    pixels = levels.astype(np.uint8 if bits == 8 else np.uint16)
    data = bytes(imagecodecs.avif_encode(pixels, level=100, bitspersample=bits, primaries=1, transfer=13))
    plain = decode_image(data, SRGB)
    for decoy in (
        b"\0\0\0\x13colrnclx" + struct.pack(">HHHB", 9, 16, 9, 128),  # PQ, which is refused
        b"\0\0\0\x13colrnclx" + struct.pack(">HHHB", 12, 13, 0, 128),
        b"\0\0\0\x0cav1C" + bytes([0x81, 0, 0x4C if bits == 8 else 0x0C, 0]),
    ):
        found = decode_image(_with_first_property(data, decoy), SRGB)
        np.testing.assert_array_equal(found.pixels, plain.pixels, strict=True)
        assert found.header.is_lossless == plain.header.is_lossless


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize(("space", "index", "adobe"), [(0xFFFF, b"R03", True), (2, None, True), (1, b"R98", False),
                                                       (1, b"R03", False), (0xFFFF, None, False)])  # fmt: skip
def test_adobe_rgb_as_exif_says_it(format: str, space: int, index: bytes | None, adobe: bool) -> None:
    lossless = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}.get(format, {})
    smooth = np.repeat(np.repeat(COLOURS[:16].astype(np.uint8), 16, 0), 16, 1)
    plain = decode_image(saved(smooth, format, **lossless), SRGB)
    exif = adobe_exif(space=space, index=index, order="<" if format == "TIFF" else ">")
    if format == "TIFF":
        data = _tiff_with(smooth, exif)
    else:
        data = saved(smooth, format, exif=exif if format == "WEBP" else b"Exif\0\0" + exif, **lossless)
    decoded = decode_image(data, SRGB)
    if format == "AVIF":  # it always says its colours in a box of its own, which comes first
        adobe = False
    wanted = expected(plain.pixels / 255, power(563 / 256), XY_ADOBE) * 255 if adobe else plain.pixels
    assert np.abs(decoded.pixels - wanted).max() <= 1.01


@pytest.mark.parametrize("alpha", [False, True])
def test_gray_beside_a_profile_for_rgb_gets_its_tones(alpha: bool) -> None:
    """Gray JPEGs often carry sRGB; the reference is the same picture stored as neutral colours."""
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = Image.fromarray(levels)
    if alpha:
        image = Image.merge("LA", [image, Image.fromarray(levels.T.copy())])
    for profile, changes in (({}, False), ({"gamma": 1.4}, True)):
        kind = "rgb" if changes else "srgb"
        more = {"whitepoint": WHITE, "primaries": PRIMARIES, **profile} if changes else {}
        icc = bytes(imagecodecs.cms_profile(kind, **more))
        neutral = decode_image(saved(np.stack([levels] * 3, axis=-1), "PNG", icc_profile=icc), SRGB).pixels[..., 0]
        for policy in (SRGB, KEEP):
            decoded = decode_image(saved(image, "PNG", icc_profile=icc), policy)
            assert (decoded.degraded, decoded.icc) == (None, None)
            gray = decoded.pixels[..., 0] if alpha else decoded.pixels
            assert np.abs(gray.astype(int) - neutral).max() <= 1
            assert np.array_equal(gray, levels) == (not changes)
        header = decode_image(saved(levels, "JPEG", icc_profile=icc), SRGB).header
        assert has_tones_of_srgb(header) == (not changes)
    assert decode_image(saved(levels, "JPEG", icc_profile=icc), SRGB).degraded is None


def test_a_block_of_nothing_but_the_interop_index_says_adobe_rgb() -> None:
    block = ExifBlock(interop={1: Field(ASCII, b"R03\0")})
    smooth = np.repeat(np.repeat(COLOURS[:16].astype(np.uint8), 16, 0), 16, 1)
    data = saved(smooth, "PNG", exif=b"Exif\0\0" + exif_bytes(block))
    wanted = expected(smooth / 255, power(563 / 256), XY_ADOBE) * 255
    assert np.abs(decode_image(data, SRGB).pixels - wanted).max() <= 1.01


def _tiff_with(pixels: NDArray[Any], exif: bytes) -> bytes:
    """A TIFF that ends with the directories of an EXIF block, which lie 26 bytes and more into it."""
    data = tiff(pixels, extratags=[(0x8768, 4, 1, 0, True)])  # tifffile writes no pointers
    data = retagged(data, 0x8768, len(data)).replace(b"\x68\x87\x04\0", b"\x69\x87\x04\0", 1)
    moved = bytearray(exif[26:])
    if len(moved) > 30:
        struct.pack_into("<I", moved, 2 + 12 + 8, len(data) + 30)
    return data + bytes(moved)


def test_gray_jpeg_of_adobe_rgb_gets_its_tones() -> None:
    data = saved(np.repeat(np.repeat(GRAYS, 8, 0), 8, 1), "JPEG", quality=100, exif=b"Exif\0\0" + adobe_exif(order="<"))
    plain = decode_image(saved(np.repeat(np.repeat(GRAYS, 8, 0), 8, 1), "JPEG", quality=100), SRGB).pixels
    assert np.abs(decode_image(data, SRGB).pixels - expected(plain / 255, power(563 / 256), XY_SRGB) * 255).max() <= 1


class TestTiff:
    WHITE = (318, 5, 2, (3127, 10_000, 3290, 10_000), True)
    PRIMARIES = (319, 5, 6, tuple(n for value in XY_P3[2:] for n in (round(value * 10_000), 10_000)), True)

    @pytest.mark.parametrize("dtype", ["uint8", "uint16"])
    def test_primaries(self, dtype: str) -> None:
        white = np.iinfo(dtype).max
        pixels = COLOURS.astype(dtype) * (white // 255)
        decoded = decode_image(tiff(pixels, extratags=[self.WHITE, self.PRIMARIES]), SRGB)
        off = np.abs(decoded.pixels / white - expected(COLOURS / 255, srgb_light, XY_P3)) * white
        assert off.max() <= (1.01 if white == 255 else 60)

    def test_transfer_function_of_gray_and_of_each_colour(self) -> None:
        tables = [np.rint((np.arange(256) / 255) ** gamma * 65535).astype(int) for gamma in (1.0, 1.5, 2.6)]
        gray = decode_image(tiff(GRAYS, extratags=[(301, 3, 256, tuple(tables[1]), True)]), SRGB).pixels
        assert np.abs(gray - expected(GRAYS / 255, power(1.5), XY_SRGB) * 255).max() <= 1.01
        every = tuple(np.concatenate(tables))
        rgb = decode_image(tiff(COLOURS.astype(np.uint8), extratags=[(301, 3, 768, every, True)]), SRGB).pixels
        light = np.stack([(COLOURS[..., at] / 255) ** gamma for at, gamma in enumerate((1.0, 1.5, 2.6))], axis=-1)
        assert np.abs(rgb - srgb_level(light) * 255).max() <= 1.01

    def test_nonsense_is_said(self) -> None:
        decoded = decode_image(tiff(COLOURS.astype(np.uint8), extratags=[(318, 5, 2, (0, 1, 0, 1), True)]), SRGB)
        np.testing.assert_array_equal(decoded.pixels, COLOURS)
        assert "colour statement ignored" in (decoded.degraded or "")


class TestBmp:
    @staticmethod
    def bmp(kind: bytes, *, points: tuple[float, ...] = (0,) * 9, gamma: float = 0, profile: bytes = b"") -> bytes:
        """A picture of 18 x 324 px of 24 bits with a header of version 5."""
        rows = np.zeros((324, 56), np.uint8)
        rows[:, :54] = COLOURS[::-1, :, ::-1].reshape(324, 54)
        head = struct.pack("<IiiHHIIiiII", 124, 18, 324, 1, 24, 0, rows.size, 11811, 5906, 0, 0)
        head += bytes(16) + kind[::-1] + struct.pack("<9i", *(round(value * (1 << 30)) for value in points))
        head += struct.pack("<3I", *[round(gamma * 65536)] * 3)
        head += struct.pack("<IIII", 4, 124 + rows.size, len(profile), 0)
        return b"BM" + struct.pack("<IHHI", 138 + rows.size, 0, 0, 138) + head + rows.tobytes() + profile

    def test_profile_in_the_file(self) -> None:
        icc = bytes(imagecodecs.cms_profile("rgb", whitepoint=WHITE, primaries=PRIMARIES, gamma=1.4))
        decoded = decode_image(self.bmp(b"MBED", profile=icc), SRGB)
        assert np.abs(decoded.pixels - expected(COLOURS / 255, power(1.4), XY_SRGB) * 255).max() <= 1.01
        assert decoded.header.resolution == pytest.approx((300, 150), abs=0.1)

    def test_chromaticities_and_gamma(self) -> None:
        x, y = np.array(XY_P3[2::2]), np.array(XY_P3[3::2])
        columns = np.stack([x, y, 1 - x - y])
        white = np.array([XY_P3[0] / XY_P3[1], 1, (1 - XY_P3[0] - XY_P3[1]) / XY_P3[1]])
        points = (columns * np.linalg.solve(columns, white)).T.ravel()
        decoded = decode_image(self.bmp(b"\0\0\0\0", points=tuple(points), gamma=1.8), SRGB)
        assert np.abs(decoded.pixels - expected(COLOURS / 255, power(1.8), XY_P3) * 255).max() <= 1.01

    def test_what_says_nothing_or_elsewhere(self) -> None:
        for kind, said in ((b"\0\0\0\0", False), (b"sRGB", False), (b"Win ", False), (b"LINK", True), (b"MBED", True)):
            decoded = decode_image(self.bmp(kind), SRGB)
            np.testing.assert_array_equal(decoded.pixels, COLOURS)
            assert bool(decoded.degraded) == said


def test_all_of_it_at_16_bits_within_what_is_documented() -> None:
    worst = cases = 0
    for chunks, light, xy in STATEMENTS.values():
        data, levels, white = _png_of("rgb16", chunks)
        off = np.abs(decode_image(data, SRGB).pixels / white - expected(levels, light, xy)) * white
        worst, cases = max(worst, float(off.max())), cases + 1
    hold("colours stated by PNG, 16 bits", cases=cases, worst=worst)


def test_all_of_it_at_8_bits_within_what_is_documented() -> None:
    worst = cases = 0
    for chunks, light, xy in STATEMENTS.values():
        for kind in ("rgb8", "gray8"):
            data, levels, white = _png_of(kind, chunks)
            off = np.abs(decode_image(data, SRGB).pixels / white - expected(levels, light, xy)) * white
            worst, cases = max(worst, float(off.max())), cases + 1
    hold("colours stated by PNG, 8 bits", cases=cases, worst=worst)
