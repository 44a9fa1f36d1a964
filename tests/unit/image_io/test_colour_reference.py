"""Profiles held to Little CMS at full precision: through Pillow's ImageCms, whose build and version are not ours."""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from pipelines.image_io import ReadPolicy, decode_image
from tests.corpus import saved, tiff
from tests.trust import hold

SRGB = ReadPolicy()
NO_OPTIMIZE = 0x0100
D65 = [0.3127, 0.329, 1.0]
P3 = [0.68, 0.32, 1.0, 0.265, 0.69, 1.0, 0.15, 0.06, 1.0]
PROPHOTO = [0.7347, 0.2653, 1.0, 0.1596, 0.8404, 1.0, 0.0366, 0.0001, 1.0]
WIDE = [0.64, 0.33, 1.0, 0.21, 0.71, 1.0, 0.15, 0.06, 1.0]


def exact(pixels: NDArray[np.uint8], icc: bytes, mode: str) -> NDArray[np.int64]:
    """sRGB by Little CMS without its optimisation, of 8 bits."""
    profile = ImageCms.ImageCmsProfile(BytesIO(icc))
    transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB", flags=NO_OPTIMIZE)
    image = Image.frombytes(mode, pixels.shape[1::-1], pixels.tobytes())
    return np.asarray(ImageCms.applyTransform(image, transform)).astype(np.int64)


def table_profile(space: bytes, inks: int, seed: int) -> bytes:
    """A profile of a device by a table from its colours to Lab, as printers and scanners have, not smooth."""
    rng = np.random.default_rng(seed)
    grid = 9
    axes = np.meshgrid(*[np.linspace(0, 1, grid)] * inks, indexing="ij")
    sign = -1 if space == b"CMYK" else 1
    light = sum(weight * axis for weight, axis in zip((0.35, 0.45, 0.15, 0.5), axes, strict=False))
    lightness = np.clip((1 - light if sign < 0 else light) + rng.normal(0, 0.02, light.shape), 0, 1)
    chroma = [0.5 + 0.2 * (axes[0] - axes[at]) + rng.normal(0, 0.01, light.shape) for at in (1, 2)]
    table = np.stack([lightness, *chroma], axis=-1)
    levels = (np.clip(table, 0, 1) * 0xFF00).astype(">u2").tobytes()
    curve = np.linspace(0, 1, 256) ** 1.8
    curves = (curve * 65535).astype(">u2").tobytes() * inks
    straight = np.array([0, 65535], ">u2").tobytes() * 3
    one = 65536
    lut = b"mft2\0\0\0\0" + bytes([inks, 3, grid, 0]) + struct.pack(">9i", one, 0, 0, 0, one, 0, 0, 0, one)
    lut += struct.pack(">HH", 256, 2) + curves + levels + straight
    text = b"text\0\0\0\0made for tests\0"
    name = (b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0").ljust(96, b"\0")
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)
    tags = [(b"desc", name), (b"cprt", text), (b"wtpt", white), (b"A2B0", lut)]
    at, listed, body = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for tag, content in tags:
        listed += struct.pack(">4sII", tag, at + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    kind = b"prtr" if inks == 4 else b"scnr"
    head = struct.pack(">I4sI4s4s4s", at + len(body), bytes(4), 0x02400000, kind, space, b"Lab ")
    head = (head.ljust(36, b"\0") + b"acsp").ljust(68, b"\0") + white[8:]
    return head.ljust(128, b"\0") + listed + body


def colours(samples: int) -> NDArray[np.uint8]:
    """Every 17th level of each sample, and dark and random ones."""
    axis = np.arange(0, 256, 15 if samples == 3 else 51, dtype=np.uint8)
    grid = np.stack(np.meshgrid(*[axis] * samples), axis=-1).reshape(-1, samples)
    rng = np.random.default_rng(3)
    found = np.concatenate([grid, rng.integers(0, 30, (3000, samples)), rng.integers(0, 256, (9000, samples))])
    return found[: len(found) // 40 * 40].reshape(-1, 40, samples).astype(np.uint8)


GAMMAS: list[dict[str, Any]] = [{"gamma": gamma} for gamma in (1.0, 1.4, 1.8, 2.2, 2.4, 3.0)]


def test_gray_profiles() -> None:
    """Every level, with and without alpha, in PNG and TIFF."""
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    worst = cases = 0
    for gamma in GAMMAS:
        icc = bytes(imagecodecs.cms_profile("gray", **gamma))
        expected = exact(levels, icc, "L")[..., 1]
        with_alpha = Image.merge("LA", [Image.fromarray(levels)] * 2)
        files = [saved(levels, "PNG", icc_profile=icc), tiff(levels, iccprofile=icc)]
        for data in (*files, saved(with_alpha, "PNG", icc_profile=icc)):
            pixels = decode_image(data, SRGB).pixels
            got = pixels if pixels.ndim == 2 else pixels[..., 1]
            worst, cases = max(worst, int(np.abs(got - expected).max())), cases + 1
    hold("gray profiles, 8 bits", cases=cases, worst=worst)


def test_profiles_with_a_matrix() -> None:
    worst = cases = 0
    pixels = colours(3)
    for primaries in (P3, PROPHOTO, WIDE):
        for gamma in GAMMAS:
            icc = bytes(imagecodecs.cms_profile("rgb", whitepoint=D65, primaries=primaries, **gamma))
            got = decode_image(saved(pixels, "PNG", icc_profile=icc), SRGB).pixels
            worst, cases = max(worst, int(np.abs(got - exact(pixels, icc, "RGB")).max())), cases + 1
    hold("RGB profiles with a matrix, 8 bits", cases=cases, worst=worst)


@pytest.mark.parametrize(("space", "samples"), [(b"RGB ", 3), (b"CMYK", 4)], ids=["RGB", "CMYK"])
def test_profiles_that_are_tables(space: bytes, samples: int) -> None:
    worst = cases = shortcut = 0
    pixels = colours(samples)
    mode = space.decode().strip()
    for seed in range(3):
        icc = table_profile(space, samples, seed)
        data = tiff(pixels, iccprofile=icc, photometric="rgb" if samples == 3 else "separated", planarconfig="contig")
        expected = exact(pixels, icc, mode)
        worst, cases = max(worst, int(np.abs(decode_image(data, SRGB).pixels - expected).max())), cases + 1
        fast = imagecodecs.cms_transform(
            pixels, icc, imagecodecs.cms_profile("srgb"), colorspace=mode.lower(), outcolorspace="rgb"
        )
        shortcut = max(shortcut, int(np.abs(fast - expected).max()))
    assert shortcut > 2  # else these profiles would show nothing
    hold(f"{mode} profiles that are tables, 8 bits", cases=cases, worst=worst)


@pytest.mark.parametrize("kind", ["gray", "rgb"])
def test_sixteen_bits_and_floats_agree_with_the_formulas(kind: str) -> None:
    """sRGB's primaries with another gamma: no matrix between, so that the formula is one line."""
    levels = np.linspace(0, 1, 4096).reshape(64, 64)
    if kind == "rgb":
        levels = np.stack([levels, levels[::-1], levels.T], axis=-1)
    worst = {"uint16": 0.0, "float32": 0.0}
    cases = 0
    for gamma in GAMMAS:
        primaries = [0.64, 0.33, 1.0, 0.3, 0.6, 1.0, 0.15, 0.06, 1.0]
        chosen = gamma if kind == "gray" else {"whitepoint": D65, "primaries": primaries, **gamma}
        icc = bytes(imagecodecs.cms_profile(kind, **chosen))
        light = levels ** gamma["gamma"]
        expected = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
        for dtype, white in (("uint16", 65535), ("float32", 1)):
            stored = np.rint(levels * white).astype(dtype) if white > 1 else levels.astype(dtype)
            exactly = np.float64(stored) / white
            light = exactly ** gamma["gamma"]
            expected = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
            got = decode_image(tiff(stored, iccprofile=icc), SRGB).pixels
            worst[dtype] = max(worst[dtype], float(np.abs(got / white - expected).max()) * 65535)
            cases += 1
    hold(f"{kind} profiles, 16 bits and floats", cases=cases, worst=max(worst.values()))


def test_sixteen_bits_of_nearly_srgb_are_converted() -> None:
    """sRGB as a table of 1024 levels: within one level of 255, and up to some of 65,535."""
    levels = np.linspace(0, 1, 1024)
    curve = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4).astype(np.float32)
    primaries = [0.64, 0.33, 1.0, 0.3, 0.6, 1.0, 0.15, 0.06, 1.0]
    icc = bytes(imagecodecs.cms_profile("rgb", whitepoint=D65, primaries=primaries, transferfunction=curve))
    eight = colours(3)
    np.testing.assert_array_equal(decode_image(saved(eight, "PNG", icc_profile=icc), SRGB).pixels, eight)
    sixteen = decode_image(tiff(eight.astype(np.uint16) * 257, iccprofile=icc), SRGB)
    assert sixteen.icc is None
    assert 0 < np.abs(sixteen.pixels.astype(int) - eight.astype(int) * 257).max() < 257


def test_floats_beyond_the_gamut_are_those_of_the_same_light_below_zero() -> None:
    """sRGB as scRGB and CSS go on below 0: -f(-light). Adobe RGB's own green is the worst of a common space."""
    icc = bytes(imagecodecs.cms_profile("adobergb"))
    axis = np.linspace(0, 1, 9)
    stored = np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(27, 27, 3).astype(np.float32)
    to_xyz = np.array(
        [[0.5767309, 0.1855540, 0.1881852], [0.2973769, 0.6273491, 0.0752741], [0.0270343, 0.0706872, 0.9911085]]
    )
    from_xyz = np.array(
        [[3.2404542, -1.5371385, -0.4985314], [-0.9692660, 1.8760108, 0.0415560], [0.0556434, -0.2040259, 1.0572252]]
    )
    light = (stored.astype(np.float64) ** (563 / 256)) @ to_xyz.T @ from_xyz.T
    size = np.abs(light)
    expected = np.sign(light) * np.where(size <= 0.0031308, 12.92 * size, 1.055 * size ** (1 / 2.4) - 0.055)
    got = decode_image(tiff(stored, iccprofile=icc), SRGB).pixels
    assert got.min() < -0.6  # else nothing lies beyond
    assert np.abs(got - expected).max() < 0.004
