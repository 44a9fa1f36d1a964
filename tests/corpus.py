"""Image files of every kind that jobs meet, made on the spot: good, odd, cut, damaged, lying and hostile ones.

``GOOD`` decodes to known pixels; ``BAD`` fails with a known reason. Every value is a function that makes the bytes, so
that importing this costs nothing. Names of files and file systems are not covered here: see the tests of discovery.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from functools import partial
from io import BytesIO
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from pipelines.errors import FailedReason as Reason
from tests.strategies import example_image

Maker = Callable[[], bytes]

RGB = example_image("uint8", 3)
GRAY = example_image("uint8", 1)
RGBA = example_image("uint8", 4)
RGB16 = example_image("uint16", 3)
GRAY16 = example_image("uint16", 1)
RGBA16 = example_image("uint16", 4)
FLOATS = example_image("float32", 3)
PHOTO = example_image("uint8", 3, (160, 240))
"""Large enough that half of its file holds some rows."""


def saved(pixels: NDArray[Any] | Image.Image, format: str, **options: Any) -> bytes:
    """A file by Pillow."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    target = BytesIO()
    image.save(target, format, **options)
    return target.getvalue()


def tiff(pixels: NDArray[Any], **options: Any) -> bytes:
    """A file by tifffile."""
    target = BytesIO()
    options.setdefault("photometric", "rgb" if pixels.ndim == 3 else "minisblack")
    tifffile.imwrite(target, pixels, metadata=None, **options)
    return target.getvalue()


def png(
    width: int, height: int, depth: int, colour: int, rows: bytes, extra: bytes = b"", *, interlaced: bool = False
) -> bytes:
    """A PNG of which every byte is chosen."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + extra
        + png_chunk(b"IDAT", zlib.compress(rows))
        + png_chunk(b"IEND", b"")
    )


def png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def cut(data: bytes, share: float = 0.6) -> bytes:
    """The first part of a file."""
    return data[: int(len(data) * share)]


def damaged(data: bytes, at: float = 0.5, count: int = 24) -> bytes:
    """A file with some bytes turned over."""
    start = int(len(data) * at)
    return data[:start] + bytes(byte ^ 0x5A for byte in data[start : start + count]) + data[start + count :]


def with_orientation(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def animation(format: str, colours: tuple[int, ...] = (40, 120, 200), **options: Any) -> bytes:
    """One frame per gray level."""
    frames = [Image.new("RGB", (20, 12), (level, level // 2, 0)) for level in colours]
    target = BytesIO()
    frames[0].save(target, format, save_all=True, append_images=frames[1:], duration=50, **options)
    return target.getvalue()


def pages(*pictures: NDArray[Any]) -> bytes:
    """A TIFF of several pages."""
    target = BytesIO()
    with tifffile.TiffWriter(target) as writer:
        for picture in pictures:
            writer.write(picture, photometric="rgb" if picture.ndim == 3 else "minisblack", metadata=None)
    return target.getvalue()


def looping_tiff() -> bytes:
    """Its last directory says that the first one follows."""
    data = bytearray(pages(RGB, RGB))
    (first,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, first)
    (second,) = struct.unpack_from("<I", data, first + 2 + 12 * count)
    (count,) = struct.unpack_from("<H", data, second)
    struct.pack_into("<I", data, second + 2 + 12 * count, first)
    return bytes(data)


def retagged(data: bytes, tag: int, value: int) -> bytes:
    """A little-endian TIFF with one short or long value of its first page replaced."""
    changed = bytearray(data)
    (start,) = struct.unpack_from("<I", changed, 4)
    (count,) = struct.unpack_from("<H", changed, start)
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        found, kind = struct.unpack_from("<HH", changed, entry)
        if found == tag:
            struct.pack_into("<H" if kind == 3 else "<I", changed, entry + 8, value)
    return bytes(changed)


def tiff_of_12_bits(pixels: NDArray[Any]) -> bytes:
    """Two samples in three bytes, one strip."""
    import imagecodecs

    packed = bytes(imagecodecs.packints_encode(pixels, 12, runlen=pixels.shape[1]))
    tags = [
        (256, pixels.shape[1]),
        (257, pixels.shape[0]),
        (258, 12),
        (259, 1),
        (262, 1),
        (277, 1),
        (278, pixels.shape[0]),
    ]
    tags += [(273, 8), (279, len(packed))]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags))
    return b"II*\0" + struct.pack("<I", 8 + len(packed)) + packed + struct.pack("<H", len(tags)) + entries + bytes(4)


def _noise_jpeg(share: float, **options: Any) -> Maker:
    return lambda: cut(saved(PHOTO, "JPEG", quality=90, **options), share)


def _bomb_gif() -> bytes:
    data = saved(GRAY, "GIF")
    return data[:6] + struct.pack("<HH", 65535, 65535) + data[10:]


def _bad_crc() -> bytes:
    data = bytearray(saved(RGB, "PNG"))
    data[data.index(b"IDAT") + 40] ^= 1
    return bytes(data)


def _bad_zlib() -> bytes:
    """Checksums are right, the packed data isn't."""
    packed = damaged(zlib.compress(bytes(range(256)) * 40), 0.5, 8)
    head = struct.pack(">IIBBBBB", 64, 64, 8, 0, 0, 0, 0)
    body = png_chunk(b"IHDR", head) + png_chunk(b"IDAT", packed) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _of_two_components() -> bytes:
    """What a JPEG of luma and alpha says; nothing that comes after its header is looked at."""
    data = saved(GRAY, "JPEG")
    frame = data.index(b"\xff\xc0")
    head = b"\xff\xc0\0\x0e" + data[frame + 4 : frame + 9] + b"\2\1\x11\0\2\x11\0"
    return data[:frame] + head + data[frame + 13 :]


def _volume() -> bytes:
    return tiff(np.stack([GRAY] * 16), photometric="minisblack", volumetric=True, tile=(16, 16, 16))


def _palette_tiff() -> bytes:
    colours = np.arange(3 * 256, dtype=np.uint16).reshape(3, 256) % 256 * 257
    return tiff(GRAY, photometric="palette", colormap=colours)


BAD: dict[str, tuple[Reason, Maker]] = {
    "zero bytes": (Reason.EMPTY, lambda: b""),
    "one byte": (Reason.NOT_AN_IMAGE, lambda: b"\xff"),
    "text": (Reason.NOT_AN_IMAGE, lambda: b"This is no picture at all, but a letter.\n" * 9),
    "html": (Reason.NOT_AN_IMAGE, lambda: b"<!DOCTYPE html><html><body>404 Not Found</body></html>"),
    "svg": (Reason.NOT_AN_IMAGE, lambda: b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>'),
    "pdf": (Reason.NOT_AN_IMAGE, lambda: b"%PDF-1.7\n1 0 obj\n"),
    "zip": (Reason.NOT_AN_IMAGE, lambda: b"PK\x03\x04" + bytes(60)),
    "zeros": (Reason.NOT_AN_IMAGE, lambda: bytes(500)),
    "letters BM": (Reason.NOT_AN_IMAGE, lambda: b"BMW cars of the year, and their engines"),
    "postscript": (Reason.UNSUPPORTED_FORMAT, lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n"),
    "photoshop": (Reason.UNSUPPORTED_FORMAT, lambda: b"8BPS\0\1" + bytes(40)),
    "heic": (Reason.UNSUPPORTED_FORMAT, lambda: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40)),
    "jpeg xl": (Reason.UNSUPPORTED_FORMAT, lambda: b"\xff\x0a" + bytes(40)),
    "jpeg 2000": (Reason.UNSUPPORTED_FORMAT, lambda: saved(RGB, "JPEG2000")),
    "dicom": (Reason.UNSUPPORTED_FORMAT, lambda: bytes(128) + b"DICM" + bytes(40)),
    "netpbm": (Reason.UNSUPPORTED_FORMAT, lambda: saved(RGB, "PPM")),
    "icon": (Reason.UNSUPPORTED_FORMAT, lambda: saved(RGB, "ICO")),
    "cursor": (Reason.UNSUPPORTED_FORMAT, lambda: b"\0\0\2\0" + saved(RGB, "ICO")[4:]),
    "pcx": (Reason.UNSUPPORTED_FORMAT, lambda: saved(RGB, "PCX")),
    "pcx with a palette": (Reason.UNSUPPORTED_FORMAT, lambda: saved(_FEW, "PCX")),
    "tga": (Reason.UNSUPPORTED_FORMAT, lambda: saved(RGB, "TGA")),
    "tga with runs": (Reason.UNSUPPORTED_FORMAT, lambda: saved(RGBA, "TGA", compression="tga_rle")),
    "tga with a palette": (Reason.UNSUPPORTED_FORMAT, lambda: saved(_FEW, "TGA")[:2000]),
    "tga without its letters": (Reason.UNSUPPORTED_FORMAT, lambda: saved(GRAY, "TGA")[:1800]),
    "dds": (Reason.UNSUPPORTED_FORMAT, lambda: saved(RGBA, "DDS")),
    "sgi": (Reason.UNSUPPORTED_FORMAT, lambda: saved(RGB, "SGI")),
    "jpeg xr": (Reason.UNSUPPORTED_FORMAT, lambda: b"II\xbc\1" + bytes(60)),
    "jpeg of two components": (Reason.UNSUPPORTED_FORMAT, _of_two_components),
    "canon raw": (Reason.UNSUPPORTED_FORMAT, lambda: b"II*\0\x10\0\0\0CR\2\0" + bytes(40)),
    "jpeg header only": (Reason.TRUNCATED, lambda: saved(RGB, "JPEG")[:20]),
    "jpeg cut in its tables": (Reason.TRUNCATED, lambda: saved(RGB, "JPEG")[:200]),
    "jpeg cut": (Reason.TRUNCATED, _noise_jpeg(0.6)),
    "jpeg without its last two bytes": (Reason.TRUNCATED, lambda: saved(PHOTO, "JPEG")[:-2]),
    "progressive jpeg cut": (Reason.TRUNCATED, _noise_jpeg(0.6, progressive=True)),
    "jpeg cut and closed": (Reason.CORRUPT, lambda: cut(saved(PHOTO, "JPEG", quality=90)) + b"\xff\xd9"),
    "jpeg damaged": (Reason.CORRUPT, lambda: damaged(saved(PHOTO, "JPEG", quality=90))),
    "jpeg damaged at its end": (Reason.CORRUPT, lambda: damaged(saved(PHOTO, "JPEG", quality=90), 0.95)),
    "jpeg with a broken marker": (Reason.CORRUPT, lambda: damaged(saved(RGB, "JPEG"), 0.02)),
    "jpeg of 0 px": (Reason.CORRUPT, lambda: _resized_jpeg(0, 0)),
    "png cut": (Reason.TRUNCATED, lambda: cut(saved(PHOTO, "PNG"))),
    "png without its end": (Reason.TRUNCATED, lambda: saved(RGB, "PNG")[:-12]),
    "png header only": (Reason.TRUNCATED, lambda: saved(RGB, "PNG")[:20]),
    "interlaced png cut": (Reason.TRUNCATED, lambda: png(64, 64, 8, 0, _adam7(64), interlaced=True)[:-40]),
    "png with a wrong checksum": (Reason.CORRUPT, _bad_crc),
    "png damaged": (Reason.CORRUPT, lambda: damaged(saved(PHOTO, "PNG"))),
    "png with damaged packing": (Reason.CORRUPT, _bad_zlib),
    "png with too few rows": (Reason.CORRUPT, lambda: png(64, 64, 8, 0, bytes(65 * 20))),
    "png of 3 bits": (Reason.CORRUPT, lambda: png(64, 64, 3, 0, bytes(65 * 64))),
    "png of 0 px": (Reason.CORRUPT, lambda: png(0, 0, 8, 0, b"")),
    "png without data": (
        Reason.CORRUPT,
        lambda: png(9, 9, 8, 0, b"")[:33] + png_chunk(b"IEND", b""),
    ),
    "tiff header only": (Reason.TRUNCATED, lambda: tiff(RGB)[:6]),
    "tiff cut": (Reason.TRUNCATED, lambda: cut(tiff(RGB))),
    "tiff cut before its directory": (Reason.TRUNCATED, lambda: cut(saved(RGB, "TIFF", compression="tiff_lzw"))),
    "deflated tiff cut": (Reason.TRUNCATED, lambda: cut(tiff(PHOTO, compression="zlib", rowsperstrip=16))),
    "tiled tiff cut": (Reason.TRUNCATED, lambda: cut(tiff(PHOTO, compression="zlib", tile=(32, 32)))),
    "deflated tiff damaged": (Reason.CORRUPT, lambda: damaged(tiff(PHOTO, compression="zlib", rowsperstrip=16))),
    "lzma tiff damaged": (Reason.CORRUPT, lambda: damaged(tiff(PHOTO, compression="lzma", rowsperstrip=16))),
    "jpeg tiff damaged": (Reason.CORRUPT, lambda: damaged(tiff(PHOTO, compression="jpeg", rowsperstrip=16))),
    "tiff without a page": (Reason.CORRUPT, lambda: b"II*\0\0\0\0\0" + bytes(20)),
    "tiff of an unknown codec": (Reason.CODEC_MISSING, lambda: retagged(tiff(RGB), 259, 61234)),
    "tiff of signed numbers": (Reason.UNSUPPORTED_FORMAT, lambda: tiff(GRAY.astype(np.int16))),
    "tiff of 32-bit numbers": (Reason.UNSUPPORTED_FORMAT, lambda: tiff(GRAY.astype(np.uint32))),
    "tiff of complex numbers": (Reason.UNSUPPORTED_FORMAT, lambda: tiff(GRAY.astype(np.complex64))),
    "tiff of Lab": (Reason.UNSUPPORTED_FORMAT, lambda: tiff(RGB, photometric="cielab")),
    "tiff of five channels": (
        Reason.UNSUPPORTED_FORMAT,
        lambda: tiff(np.dstack([RGB, RGB[..., :2]]), photometric="minisblack", planarconfig="contig"),
    ),
    "tiff of very many channels": (Reason.BAD_SHAPE, lambda: retagged(tiff(RGB), 277, 60_000)),
    "tiff volume": (
        Reason.BAD_SHAPE,
        _volume,
    ),
    "webp cut": (Reason.TRUNCATED, lambda: cut(saved(RGB, "WEBP"))),
    "webp header only": (Reason.TRUNCATED, lambda: saved(RGB, "WEBP")[:14]),
    "avif cut": (Reason.TRUNCATED, lambda: cut(saved(RGB, "AVIF"))),
    "avif damaged in its boxes": (Reason.CORRUPT, lambda: damaged(saved(RGB, "AVIF"), 0.1, 60)),
    "gif cut": (Reason.TRUNCATED, lambda: cut(saved(RGB, "GIF"))),
    "gif without its last byte": (Reason.TRUNCATED, lambda: saved(RGB, "GIF")[:-1]),
    "animated gif cut": (Reason.TRUNCATED, lambda: cut(animation("GIF"))),
    "bmp cut": (Reason.TRUNCATED, lambda: cut(saved(RGB, "BMP"))),
    "bmp header only": (Reason.TRUNCATED, lambda: saved(RGB, "BMP")[:20]),
    "bmp of 0 px": (Reason.CORRUPT, lambda: saved(RGB, "BMP")[:18] + bytes(8) + saved(RGB, "BMP")[26:]),
    "png bomb": (Reason.TOO_LARGE, lambda: png(50_000, 50_000, 8, 2, bytes(1000))),
    "gif bomb": (Reason.TOO_LARGE, _bomb_gif),
    "jpeg bomb": (Reason.TOO_LARGE, lambda: _resized_jpeg(65_500, 65_500)),
    "bmp bomb": (
        Reason.TOO_LARGE,
        lambda: saved(RGB, "BMP")[:18] + struct.pack("<ii", 60_000, 60_000) + saved(RGB, "BMP")[26:],
    ),
    "tiff bomb": (Reason.TOO_LARGE, lambda: retagged(retagged(tiff(RGB), 256, 60_000), 257, 60_000)),
}


def _resized_jpeg(width: int, height: int) -> bytes:
    """A JPEG that says it has another size."""
    data = bytearray(saved(RGB, "JPEG"))
    frame = data.index(b"\xff\xc0")
    struct.pack_into(">HH", data, frame + 5, height, width)
    return bytes(data)


def _adam7(side: int) -> bytes:
    """Rows of an interlaced gray PNG, all of noise, so that they can't be packed."""
    noise = np.random.default_rng(5)
    parts = []
    steps = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    for left, top, right, down in steps:
        columns, rows = len(range(left, side, right)), len(range(top, side, down))
        parts += [b"\0" + noise.bytes(columns) for _ in range(rows)]
    return b"".join(parts)


def _as(mode: str, image: Image.Image) -> NDArray[Any]:
    """Pixels by Pillow, which is the reference for everything of 8 bits."""
    return np.asarray(image.convert(mode))


def _clear_palette() -> Image.Image:
    image = Image.fromarray(RGB).quantize(13)
    image.info["transparency"] = 2
    return image


def _clear_rgb() -> NDArray[Any]:
    """One colour of a true-colour picture is transparent: that of its first pixel."""
    alpha = np.where((RGB[0, 0] == RGB).all(axis=-1), 0, 255).astype(np.uint8)
    return np.dstack([RGB, alpha])


def _planar(pixels: NDArray[Any], **options: Any) -> bytes:
    planes = np.ascontiguousarray(np.moveaxis(pixels, -1, 0))
    return tiff(planes, photometric="rgb", planarconfig="separate", **options)


_BILEVEL = Image.fromarray(GRAY).convert("1")
_FEW = Image.fromarray(RGB).quantize(13)
_GRAY_ALPHA = Image.fromarray(RGBA).convert("LA")
_COLOURED_GRAY = np.repeat(GRAY[..., None], 3, axis=-1)
_TWELVE = GRAY16 >> 4
_PACKED = (
    ("zlib", RGB, True),
    ("deflate", FLOATS, True),
    ("lzw", RGB16, True),
    ("zstd", RGB16, True),
    ("lzma", RGB, True),
    ("packbits", RGB, False),
    ("lerc", RGB16, False),
    ("jpeg2000", RGB16, False),
)

GOOD: dict[str, tuple[Maker, NDArray[Any]]] = {
    "png gray": (lambda: saved(GRAY, "PNG"), GRAY),
    "png rgb": (lambda: saved(RGB, "PNG"), RGB),
    "png rgba": (lambda: saved(RGBA, "PNG"), RGBA),
    "png 16-bit gray": (lambda: saved(GRAY16, "PNG"), GRAY16),
    "png 16-bit rgb": (
        lambda: png(53, 37, 16, 2, b"".join(b"\0" + row.astype(">u2").tobytes() for row in RGB16)),
        RGB16,
    ),
    "png gray and alpha": (lambda: saved(_GRAY_ALPHA, "PNG"), _as("RGBA", _GRAY_ALPHA)),
    "png bilevel": (lambda: saved(_BILEVEL, "PNG"), _as("L", _BILEVEL)),
    "png 2 bits": (lambda: png(4, 1, 2, 0, b"\0\x1b"), np.array([[0, 85, 170, 255]], np.uint8)),
    "png palette": (lambda: saved(_FEW, "PNG"), _as("RGB", _FEW)),
    "png palette with a clear colour": (lambda: saved(_clear_palette(), "PNG"), _as("RGBA", _clear_palette())),
    "png with a clear colour": (
        lambda: saved(RGB, "PNG", transparency=tuple(int(level) for level in RGB[0, 0])),
        _clear_rgb(),
    ),
    "png named jpg": (lambda: saved(RGB, "PNG"), RGB),
    "png with text that unpacks to a lot": (
        lambda: (
            saved(RGB, "PNG")[:33]
            + png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(50_000_000)))
            + saved(RGB, "PNG")[33:]
        ),
        RGB,
    ),
    "tiff gray": (lambda: tiff(GRAY), GRAY),
    "tiff rgb": (lambda: tiff(RGB), RGB),
    "tiff rgba": (lambda: tiff(RGBA, extrasamples=["unassalpha"]), RGBA),
    "tiff 16-bit gray": (lambda: tiff(GRAY16), GRAY16),
    "tiff 16-bit rgb": (lambda: tiff(RGB16), RGB16),
    "tiff 16-bit rgba": (lambda: tiff(RGBA16, extrasamples=["unassalpha"]), RGBA16),
    "tiff big-endian": (lambda: tiff(RGB16, byteorder=">"), RGB16),
    "tiff floats": (lambda: tiff(FLOATS), FLOATS),
    "tiff 16-bit floats": (lambda: tiff(FLOATS.astype(np.float16)), FLOATS.astype(np.float16).astype(np.float32)),
    "tiff 64-bit floats": (lambda: tiff(FLOATS.astype(np.float64)), FLOATS),
    "tiff tiled": (lambda: tiff(RGB16, tile=(16, 32)), RGB16),
    "tiff planar": (lambda: _planar(RGB16), RGB16),
    "tiff planar, tiled, packed": (lambda: _planar(RGB, tile=(16, 16), compression="zlib"), RGB),
    "bigtiff": (lambda: tiff(RGB, bigtiff=True), RGB),
    "tiff min is white": (lambda: tiff(GRAY, photometric="miniswhite"), 255 - GRAY),
    "tiff bilevel": (lambda: tiff(GRAY > 128), np.where(GRAY > 128, 255, 0).astype(np.uint8)),
    "tiff fax": (lambda: saved(_BILEVEL, "TIFF", compression="group4"), _as("L", _BILEVEL)),
    "tiff 12 bits": (
        lambda: tiff_of_12_bits(_TWELVE),
        ((_TWELVE.astype(np.uint32) * 65535 + 2047) // 4095).astype(np.uint16),
    ),
    "tiff palette": (_palette_tiff, _COLOURED_GRAY),
    "tiff whose directories go round": (looping_tiff, RGB),
    "bmp rgb": (lambda: saved(RGB, "BMP"), RGB),
    "bmp gray": (lambda: saved(GRAY, "BMP"), GRAY),
    "bmp bilevel": (lambda: saved(_BILEVEL, "BMP"), _as("L", _BILEVEL)),
    "webp lossless": (lambda: saved(RGB, "WEBP", lossless=True), RGB),
    "webp lossless rgba": (lambda: saved(RGBA, "WEBP", lossless=True, exact=True), RGBA),
    "gif": (lambda: saved(GRAY, "GIF"), _COLOURED_GRAY),
    "gif with a clear colour": (lambda: saved(_clear_palette(), "GIF", transparency=2), _as("RGBA", _clear_palette())),
    "1 px": (lambda: saved(RGB[:1, :1], "PNG"), RGB[:1, :1]),
    "60,000 x 1 px": (lambda: saved(np.resize(GRAY, (1, 60_000)), "PNG"), np.resize(GRAY, (1, 60_000))),
}
GOOD |= {
    f"tiff {name}": (partial(tiff, pixels, compression=name, predictor=predicted), pixels)
    for name, pixels, predicted in _PACKED
}
