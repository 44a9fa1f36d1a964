"""TIFF of 8 and 16 bits and float32 by tifffile: one page, no dates and no program names of ours.

Whole pictures are written in strips, those that come in bands of rows in tiles.

What describes the picture is put in afterwards, as the source had it: tifffile writes no directories of EXIF and GPS,
and knows texts of ASCII only.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pipelines.image_io.exif_block import (
    EXIF,
    GPS,
    LONG,
    LONG8,
    RATIONAL,
    SHORT,
    UNDEFINED,
    Directory,
    ExifBlock,
    Field,
    directory_bytes,
    parse_exif,
    turned,
)
from pipelines.image_io.metadata import Metadata, resolution_tags

_ORIENTATION, _X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT, _XMP, _IPTC = 274, 282, 283, 296, 700, 33723
_OF_PIXELS = (256, 257, _ORIENTATION)
_BIG_TIFF = 43
_STRIP_BYTES = 1 << 18
TILE = 256
"""Side of the tiles, px."""
_BIG_FROM = (1 << 32) - (1 << 25)
"""Bytes of samples from which on the file is a BigTIFF, as tifffile decides for whole pictures."""
_COMPRESSIONS = {
    "none": None,
    "deflate": "adobe_deflate",
    "lzw": "lzw",
    "zstd": "zstd",
    "lzma": "lzma",
    "packbits": "packbits",
}
_PREDICTED = ("deflate", "lzw", "zstd", "lzma")


def write_tiff(
    pixels: NDArray[Any], *, compression: str, icc: bytes | None, described: Metadata, orientation: int
) -> bytes:
    """Encode (M, N), (M, N, 3) or (M, N, 4) of uint8, uint16 or float32."""
    import tifffile

    row_bytes = max(1, pixels[0].nbytes)
    target = BytesIO()
    tifffile.imwrite(
        target,
        np.ascontiguousarray(pixels),
        rowsperstrip=max(1, min(pixels.shape[0], _STRIP_BYTES // row_bytes)),
        byteorder="<",
        **_options(pixels.shape, compression, icc, orientation),
    )
    _describe(target, described)
    return target.getvalue()


def write_tiff_bands(
    target: BinaryIO,
    bands: Iterable[NDArray[Any]],
    *,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    compression: str,
    icc: bytes | None,
    described: Metadata,
    orientation: int,
) -> None:
    """Encode a picture that comes from top to bottom into tiles, as BigTIFF when it may need to be one.

    Parameters
    ----------
    target
        A new file, open for reading and writing.
    bands
        Together of ``shape``; all but the last ``TILE`` rows high or a multiple of it.
    """
    import tifffile

    with tifffile.TiffWriter(target, bigtiff=math.prod(shape) * dtype.itemsize > _BIG_FROM, byteorder="<") as writer:
        writer.write(
            _tiles(bands),
            shape=shape,
            dtype=dtype,
            tile=(TILE, TILE),
            **_options(shape, compression, icc, orientation),
        )
    _describe(target, described)


def _tiles(bands: Iterable[NDArray[Any]]) -> Iterator[NDArray[Any]]:
    for band in bands:
        for top in range(0, band.shape[0], TILE):
            for left in range(0, band.shape[1], TILE):
                tile = band[top : top + TILE, left : left + TILE]
                lacking = [(0, TILE - tile.shape[0]), (0, TILE - tile.shape[1]), *[(0, 0)] * (tile.ndim - 2)]
                yield np.ascontiguousarray(tile) if tile.shape[:2] == (TILE, TILE) else np.pad(tile, lacking)


def _options(shape: tuple[int, ...], compression: str, icc: bytes | None, orientation: int) -> dict[str, Any]:
    return {
        "photometric": "minisblack" if len(shape) == 2 else "rgb",
        "extrasamples": ["unassalpha"] if len(shape) == 3 and shape[2] == 4 else None,
        "compression": _COMPRESSIONS[compression],
        "predictor": compression in _PREDICTED,
        "iccprofile": icc,
        "extratags": [(_ORIENTATION, SHORT, 1, orientation, True)],
        "metadata": None,
        "software": False,
        "maxworkers": 1,
    }


def _describe(file: BinaryIO, described: Metadata) -> None:
    """Put what describes the picture behind the file, and after it the page's directory, which now points to it."""
    block = (described.exif and parse_exif(described.exif)) or ExifBlock()
    added = turned({tag: found for tag, found in block.main.items() if tag not in _OF_PIXELS}, block.order, "<")
    added |= _fields_beside(described)
    file.seek(0)
    (version,) = struct.unpack("<2xH", file.read(4))
    big = version == _BIG_TIFF
    pointer, entry_format, entry_bytes = ("<Q", "<Q", 20) if big else ("<I", "<H", 12)
    header_at = 8 if big else 4
    file.seek(header_at)
    (first,) = struct.unpack(pointer, file.read(struct.calcsize(pointer)))
    file.seek(first)
    (count,) = struct.unpack(entry_format, file.read(struct.calcsize(entry_format)))
    entries = [file.read(entry_bytes) for _ in range(count)]
    end = file.seek(0, os.SEEK_END)
    end += file.write(bytes(end % 2))
    for tag, directory in ((EXIF, block.exif), (GPS, block.gps)):
        if directory:
            added[tag] = Field(LONG8 if big else LONG, struct.pack(pointer, end))
            end += file.write(directory_bytes(turned(directory, block.order, "<"), end, "<", big=big))
    if not added:
        return
    file.write(_joined(entries, added, end, big))
    file.seek(header_at)
    file.write(struct.pack(pointer, end))


def _joined(entries: list[bytes], added: Directory, at: int, big: bool) -> bytes:
    """A directory of entries as they are, whose values stay where they lie, and of fields with theirs."""
    entry_bytes, inline = (20, 8) if big else (12, 4)
    ours = {struct.unpack_from("<H", entry)[0]: entry for entry in entries}
    # as values that stand in the directory itself: what tifffile wrote points to where its values lie already
    kept = {tag: entry for tag, entry in ours.items() if tag not in added}
    places = {tag: Field(UNDEFINED, entry[entry_bytes - inline :]) for tag, entry in kept.items()}
    written = bytearray(directory_bytes({**places, **added}, at, "<", big=big))
    start = 8 if big else 2
    for number, tag in enumerate(sorted({**places, **added})):
        if tag in kept:
            place = start + number * entry_bytes
            written[place : place + entry_bytes] = kept[tag]
    return bytes(written)


def _fields_beside(described: Metadata) -> Directory:
    """XMP, IPTC and resolution as fields of a page."""
    found: Directory = {}
    if described.xmp is not None:
        found[_XMP] = Field(1, described.xmp)
    if described.iptc is not None:
        found[_IPTC] = Field(UNDEFINED, described.iptc)
    if described.resolution is not None:
        across, down, unit = resolution_tags(described.resolution, described.per_centimetre)
        for tag, fraction in ((_X_RESOLUTION, across), (_Y_RESOLUTION, down)):
            found[tag] = Field(RATIONAL, struct.pack("<II", *fraction))
        found[_RESOLUTION_UNIT] = Field(SHORT, struct.pack("<H", unit))
    return found
