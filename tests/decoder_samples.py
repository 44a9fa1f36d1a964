"""Small files of every format and variant that decoders read: what mutants are made of, and what is compared.

Each is some hundred bytes, so that a changed byte often hits what describes the picture. Larger ones, and bad ones:
``corpus``.
"""

from __future__ import annotations

import json
import struct
from functools import partial
from io import BytesIO
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from tests.corpus import Maker, animation, pages, png, png_chunk, saved, tiff, tiff_of_12_bits, with_orientation
from tests.strategies import example_image

RGB = example_image("uint8", 3, (12, 17))
GRAY = example_image("uint8", 1, (12, 17))
RGBA = example_image("uint8", 4, (12, 17))
RGB16 = example_image("uint16", 3, (12, 17))
GRAY16 = example_image("uint16", 1, (12, 17))
RGBA16 = example_image("uint16", 4, (12, 17))
FLOATS = example_image("float32", 3, (12, 17))
BILEVEL = Image.fromarray(GRAY).convert("1")
FEW = Image.fromarray(RGB).quantize(6)
INDICES = np.asarray(FEW)


_FORMS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}
"""TIFF's field types of whole numbers, as struct writes them."""


def tiff_entries(entries: list[tuple[int, int, Any]], *strips: bytes, order: str = "<", after: bytes = b"") -> bytes:
    """A TIFF of one directory: (tag, type, number, numbers or bytes), and the strips, whose places are added.

    ``after`` follows the last strip.
    """
    has = {tag for tag, *_ in entries}
    own = [(tag, 4, (0,) * len(strips)) for tag in (273, 279) if tag not in has]
    entries = sorted([*entries, *own], key=lambda entry: entry[0])
    values = {tag: _packed(kind, value, order) for tag, kind, value in entries}
    start = 8 + 2 + 12 * len(entries) + 4
    place = start + sum(len(value) for value in values.values() if len(value) > 4)
    at = [place + sum(map(len, strips[:number])) for number in range(len(strips))]
    kinds = {tag: kind for tag, kind, _ in entries}
    for tag, numbers in ((273, at), (279, [len(strip) for strip in strips])):
        if tag in kinds:
            values[tag] = _packed(kinds[tag], tuple(numbers), order)
    listed, outside = b"", b""
    for tag, kind, value in entries:
        packed = values[tag]
        count = len(value) if isinstance(value, (bytes, tuple)) else 1
        inside = packed if len(packed) <= 4 else struct.pack(order + "I", start + len(outside))
        listed += struct.pack(order + "HHI", tag, kind, count) + inside.ljust(4, b"\0")
        outside += packed if len(packed) > 4 else b""
    mark = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    directory = struct.pack(order + "H", len(entries)) + listed + bytes(4)
    return mark + directory + outside + b"".join(strips) + after


def _packed(kind: int, value: Any, order: str) -> bytes:
    if isinstance(value, bytes):
        return value
    numbers = value if isinstance(value, tuple) else (value,)
    return struct.pack(f"{order}{len(numbers)}{_FORMS[kind]}", *numbers)


def described(bits: int, photometric: int | None = None, *, rows: int = 12) -> list[tuple[int, int, Any]]:
    """The entries of a plain gray picture or palette."""
    colours = [] if photometric is None else [(262, 3, photometric)]
    sizes = [(256, 3, 17), (257, 3, 12), (258, 3, bits), (259, 3, 1), (277, 3, 1), (278, 3, rows)]
    return [*sizes, *colours]


def palette_tiff(bits: int) -> bytes:
    """Six colours, packed."""
    colours = np.zeros((3, 1 << bits), np.uint16)
    given = np.array(FEW.getpalette(), np.uint16).reshape(-1, 3)[: 1 << bits].T * 257
    colours[:, : given.shape[1]] = given
    indices = INDICES & np.uint8((1 << bits) - 1)
    spread = np.unpackbits(indices[..., None], axis=-1)[..., 8 - bits :].reshape(indices.shape[0], -1)
    entries = [*described(bits, 3), (320, 3, tuple(colours.ravel().tolist()))]
    return tiff_entries(entries, np.packbits(spread, axis=1).tobytes())


def stack(text: bytes, count: int) -> bytes:
    """Pictures that follow one directory, as its description tells; each is brighter by 10."""
    entries = [*described(8, 1), (270, 2, text)]
    return tiff_entries(entries, GRAY.tobytes(), after=b"".join((GRAY + 10 * n).tobytes() for n in range(1, count)))


def imagej_stack(count: int = 3) -> bytes:
    return stack(f"ImageJ=1.53t\nimages={count}\nslices={count}\n\0".encode(), count)


def truncated_series(count: int = 3) -> bytes:
    return stack(json.dumps({"shape": [count, 12, 17], "truncated": True}).encode() + b"\0", count)


def with_thumbnail(*, first: bool = True, below: bool = False) -> bytes:
    """A picture with a thumbnail beside it in the chain, or an overview below it."""
    target = BytesIO()
    with tifffile.TiffWriter(target) as writer:
        small: dict[str, Any] = {"subfiletype": 1, "metadata": None, "photometric": "rgb"}
        if first and not below:
            writer.write(RGB[::2, ::2], **small)
        writer.write(RGB, photometric="rgb", metadata=None, subifds=1 if below else None)
        if below or not first:
            writer.write(RGB[::2, ::2], **small)
    return target.getvalue()


def bmp(
    bits: int,
    rows: bytes,
    *,
    size: int = 40,
    packing: int = 0,
    palette: bytes = b"",
    masks: tuple[int, ...] = (),
    shape: tuple[int, int] = (12, 17),
) -> bytes:
    """A BMP of which every byte is chosen; rows from the bottom."""
    height, width = shape
    if size == 12:
        head = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        colours = len(palette) // 4
        head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, packing, len(rows), 0, 0, colours, 0)
        head = struct.pack("<I", size) + head[4:] + struct.pack(f"<{len(masks)}I", *masks)
        head = head.ljust(size, b"\0")
    start = 14 + len(head) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + head + palette + rows


def bmp_rows(pixels: NDArray[Any]) -> bytes:
    """Rows of bytes or words from the bottom, each filled up to four bytes."""
    rows = np.ascontiguousarray(pixels[::-1]).view(np.uint8).reshape(pixels.shape[0], -1)
    return np.pad(rows, ((0, 0), (0, -rows.shape[1] % 4))).tobytes()


def bmp_palette(colours: int = 6) -> bytes:
    palette = np.resize(np.array(FEW.getpalette(), np.uint8).reshape(-1, 3)[:6], (colours, 3))
    return np.pad(palette[:, ::-1], ((0, 0), (0, 1))).tobytes()


def packed_indices(bits: int) -> NDArray[np.uint8]:
    spread = np.unpackbits((INDICES & np.uint8((1 << bits) - 1))[..., None], axis=-1)[..., 8 - bits :].reshape(12, -1)
    return np.packbits(spread, axis=1)


def runs(bits: int) -> bytes:
    """Run lengths: one row of runs, one absolute, then each pixel a run, from the bottom."""
    found = b""
    for at, row in enumerate(INDICES[::-1]):
        values, end = [int(value) for value in row], b"\0\0" if at < len(INDICES) - 1 else b"\0\1"
        if at == 1 and bits == 8:
            found += bytes([0, len(values), *values]) + bytes(len(values) % 2) + end
        elif at == 1:
            packed = [a << 4 | b for a, b in zip(values[::2], [*values[1::2], 0], strict=True)]
            found += bytes([0, len(values), *packed]) + bytes(len(packed) % 2) + end
        else:
            found += b"".join(bytes([1, value if bits == 8 else value << 4]) for value in values) + end
    return found


def fax(compression: int) -> bytes:
    """Bilevel, packed as fax machines do; made by libtiff."""
    return saved(BILEVEL, "TIFF", compression={2: "tiff_ccitt", 3: "group3", 4: "group4"}[compression])


def raw_profile_png(keyword: bytes = b"Raw profile type exif", *, packed: bool = True) -> bytes:
    """EXIF as older writers put it into a text chunk."""
    import zlib

    exif = b"Exif\0\0" + with_orientation(6).tobytes().removeprefix(b"Exif\0\0")
    text = b"\nexif\n" + str(len(exif)).rjust(8).encode() + b"\n" + exif.hex().encode() + b"\n"
    content = keyword + (b"\0\0" + zlib.compress(text) if packed else b"\0" + text)
    data = saved(RGB, "PNG")
    return data[:33] + png_chunk(b"zTXt" if packed else b"tEXt", content) + data[33:]


def _png_rows(samples: NDArray[Any]) -> bytes:
    return b"".join(b"\0" + row.tobytes() for row in samples)


def _planar(pixels: NDArray[Any], **options: Any) -> bytes:
    planes = np.ascontiguousarray(np.moveaxis(pixels, -1, 0))
    return tiff(planes, photometric="rgb", planarconfig="separate", **options)


def _animation(format: str, **options: Any) -> bytes:
    return animation(format, **options)


_CMYK = Image.fromarray(RGB).convert("CMYK")
_TWELVE = GRAY16 >> 4
_PLAIN_MASKS = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
_WORDS_565 = (RGB[..., 0] >> 3).astype(np.uint16) << 11 | (RGB[..., 1] >> 2).astype(np.uint16) << 5 | RGB[..., 2] >> 3

SAMPLES: dict[str, Maker] = {
    "jpeg": partial(saved, RGB, "JPEG", quality=80),
    "jpeg gray": partial(saved, GRAY, "JPEG"),
    "jpeg 444": partial(saved, RGB, "JPEG", subsampling=0),
    "jpeg progressive": partial(saved, RGB, "JPEG", progressive=True),
    "jpeg restarts": partial(saved, RGB, "JPEG", restart_marker_blocks=1),
    "jpeg cmyk": partial(saved, _CMYK, "JPEG"),
    "jpeg exif": partial(saved, RGB, "JPEG", exif=with_orientation(6)),
    "png rgb": partial(saved, RGB, "PNG"),
    "png rgba": partial(saved, RGBA, "PNG"),
    "png gray": partial(saved, GRAY, "PNG"),
    "png gray alpha": lambda: png(17, 12, 8, 4, _png_rows(RGBA[..., ::3].copy())),
    "png 16 bits": lambda: png(17, 12, 16, 2, _png_rows(RGB16.astype(">u2"))),
    "png palette": partial(saved, FEW, "PNG"),
    "png palette alpha": partial(saved, FEW, "PNG", transparency=b"\x00\x80"),
    "png bilevel": partial(saved, BILEVEL, "PNG"),
    "png clear colour": partial(saved, GRAY, "PNG", transparency=int(GRAY[0, 0])),
    "png interlaced": lambda: png(8, 1, 8, 0, b"\0\1\0\2\0\3\4\0\5\6\7\x08", interlaced=True),
    "png old exif": raw_profile_png,
    "apng": partial(_animation, "PNG"),
    "gif": partial(saved, FEW, "GIF"),
    "gif clear": partial(saved, FEW, "GIF", transparency=2),
    "gif interlaced": partial(saved, FEW, "GIF", interlace=1),
    "gif animated": partial(_animation, "GIF"),
    "webp": partial(saved, RGB, "WEBP"),
    "webp alpha": partial(saved, RGBA, "WEBP"),
    "webp lossless": partial(saved, RGB, "WEBP", lossless=True),
    "webp lossless alpha": partial(saved, RGBA, "WEBP", lossless=True, exact=True),
    "webp animated": partial(_animation, "WEBP", lossless=True),
    "avif": partial(saved, RGB, "AVIF", speed=10),
    "avif alpha": partial(saved, RGBA, "AVIF", speed=10),
    "avif 10 bits": lambda: bytes(imagecodecs.avif_encode(RGB16 >> 6, level=90, bitspersample=10, speed=10)),
    "avif animated": partial(_animation, "AVIF", speed=10),
    "bmp 24": partial(saved, RGB, "BMP"),
    "bmp 32": lambda: bmp(32, bmp_rows(RGBA[..., [2, 1, 0, 3]])),
    "bmp 32 alpha": lambda: bmp(32, bmp_rows(RGBA[..., [2, 1, 0, 3]]), size=108, packing=3, masks=_PLAIN_MASKS),
    "bmp 32 masks": lambda: bmp(
        32, bmp_rows(RGBA[..., [3, 0, 2, 1]]), size=108, packing=3, masks=(0xFF00, 0xFF000000, 0xFF0000, 0xFF)
    ),
    "bmp 16": lambda: bmp(16, bmp_rows(_WORDS_565), packing=3, masks=(0xF800, 0x7E0, 0x1F)),
    "bmp 15": lambda: bmp(16, bmp_rows(_WORDS_565)),
    "bmp 8": lambda: bmp(8, bmp_rows(INDICES), palette=bmp_palette()),
    "bmp 8 black and white": lambda: bmp(8, bmp_rows(INDICES % 2), palette=b"\0\0\0\0\xff\xff\xff\0"),
    "bmp gray": partial(saved, GRAY, "BMP"),
    "bmp 4": lambda: bmp(4, bmp_rows(packed_indices(4)), palette=bmp_palette()),
    "bmp 4 nearly black": lambda: bmp(
        4, bmp_rows(packed_indices(4)), palette=np.repeat(np.arange(16, dtype=np.uint8), 4).tobytes()
    ),
    "bmp 1": lambda: bmp(1, bmp_rows(packed_indices(1)), palette=bmp_palette(2)),
    "bmp os/2": lambda: bmp(
        8, bmp_rows(INDICES), size=12, palette=np.frombuffer(bmp_palette(256), np.uint8).reshape(-1, 4)[:, :3].tobytes()
    ),
    "bmp runs of 8": lambda: bmp(8, runs(8), packing=1, palette=bmp_palette()),
    "bmp runs of 4": lambda: bmp(4, runs(4), packing=2, palette=bmp_palette()),
    "tiff gray": partial(tiff, GRAY),
    "tiff rgb": partial(tiff, RGB),
    "tiff rgba": partial(tiff, RGBA, extrasamples=["unassalpha"]),
    "tiff premultiplied": partial(tiff, RGBA, extrasamples=["assocalpha"]),
    "tiff 16 bits": partial(tiff, RGB16, byteorder=">"),
    "tiff 12 bits": lambda: tiff_of_12_bits(_TWELVE),
    "tiff floats": partial(tiff, FLOATS),
    "tiff predicted floats": partial(tiff, FLOATS, compression="deflate", predictor=True),
    "tiff half floats": partial(tiff, FLOATS.astype(np.float16)),
    "tiff strips": partial(tiff, RGB, rowsperstrip=5),
    "tiff tiles": partial(tiff, RGB, tile=(16, 16)),
    "tiff planes": partial(_planar, RGB),
    "tiff packed planes": partial(_planar, RGB16, tile=(16, 16), compression="lzw"),
    "bigtiff": partial(tiff, RGB, bigtiff=True),
    "tiff min is white": partial(tiff, GRAY, photometric="miniswhite"),
    "tiff bilevel": partial(tiff, GRAY > 128),
    "tiff no colours": lambda: tiff_entries(described(16), GRAY16.astype("<u2").tobytes()),
    "tiff palette": lambda: palette_tiff(8),
    "tiff palette of 4 bits": lambda: palette_tiff(4),
    "tiff palette of 1 bit": lambda: palette_tiff(1),
    "tiff cmyk": lambda: tiff(np.asarray(_CMYK), photometric="separated"),
    "tiff fax rle": partial(fax, 2),
    "tiff fax 3": partial(fax, 3),
    "tiff fax 4": partial(fax, 4),
    "tiff jpeg": partial(tiff, RGB, compression="jpeg", rowsperstrip=8),
    "tiff jpeg by libtiff": lambda: saved(RGB, "TIFF", compression="jpeg"),
    "tiff lsb first": lambda: tiff_entries(
        [*described(8, 1), (266, 3, 2)],
        np.packbits(np.unpackbits(GRAY[..., None], axis=-1)[..., ::-1], axis=-1).tobytes(),
    ),
    "tiff pages": lambda: pages(RGB, GRAY16),
    "tiff imagej": imagej_stack,
    "tiff truncated series": truncated_series,
    "tiff thumbnail": with_thumbnail,
    "tiff overview": partial(with_thumbnail, below=True),
}
_CODECS: tuple[tuple[str, NDArray[Any], dict[str, Any]], ...] = (
    ("zlib", RGB, {"predictor": True}),
    ("lzw", RGB16, {"predictor": True}),
    ("zstd", RGB16, {}),
    ("lzma", RGB, {"predictor": True}),
    ("packbits", RGB, {}),
    ("lerc", RGB16, {}),
    ("jpeg2000", RGB16, {}),
    ("png", RGB, {}),
    ("webp", RGBA, {"extrasamples": ["unassalpha"]}),
    ("jpegxl", RGB, {}),
    ("jpegxr", RGB, {}),
)
SAMPLES |= {f"tiff {name}": partial(tiff, pixels, compression=name, **more) for name, pixels, more in _CODECS}
