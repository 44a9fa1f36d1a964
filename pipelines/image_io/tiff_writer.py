"""TIFF of 8 and 16 bits and float32 by tifffile: one page, no dates and no program names of ours.

Whole pictures are written in strips, those that come in bands of rows in tiles.

The directories of EXIF and GPS are put in afterwards, since tifffile doesn't write any.
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

from pipelines.image_io.exif import directories

_ORIENTATION, _SHORT, _LONG = 274, 3, 4
_BIG_TIFF = 43
_STRIP_BYTES = 1 << 18
TILE = 256
"""Side of the tiles, px."""
_BIG_FROM = (1 << 32) - (1 << 25)
"""Bytes of samples from which on the file is a BigTIFF, as tifffile decides for whole pictures."""
_TEXTS = (271, 272, 305, 306, 315, 33432)
"""Make, model, software, date, artist, copyright: kept when EXIF is kept."""
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
    pixels: NDArray[Any], *, compression: str, icc: bytes | None, exif: bytes | None, orientation: int
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
        **_options(pixels.shape, compression, icc, exif, orientation),
    )
    if exif is not None:
        _add_directories(target, exif)
    return target.getvalue()


def write_tiff_bands(
    target: BinaryIO,
    bands: Iterable[NDArray[Any]],
    *,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    compression: str,
    icc: bytes | None,
    exif: bytes | None,
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
            **_options(shape, compression, icc, exif, orientation),
        )
    if exif is not None:
        _add_directories(target, exif)


def _tiles(bands: Iterable[NDArray[Any]]) -> Iterator[NDArray[Any]]:
    for band in bands:
        for top in range(0, band.shape[0], TILE):
            for left in range(0, band.shape[1], TILE):
                tile = band[top : top + TILE, left : left + TILE]
                lacking = [(0, TILE - tile.shape[0]), (0, TILE - tile.shape[1]), *[(0, 0)] * (tile.ndim - 2)]
                yield np.ascontiguousarray(tile) if tile.shape[:2] == (TILE, TILE) else np.pad(tile, lacking)


def _options(
    shape: tuple[int, ...], compression: str, icc: bytes | None, exif: bytes | None, orientation: int
) -> dict[str, Any]:
    tags: list[tuple[int, int, int, object, bool]] = [(_ORIENTATION, _SHORT, 1, orientation, True)]
    return {
        "photometric": "minisblack" if len(shape) == 2 else "rgb",
        "extrasamples": ["unassalpha"] if len(shape) == 3 and shape[2] == 4 else None,
        "compression": _COMPRESSIONS[compression],
        "predictor": compression in _PREDICTED,
        "iccprofile": icc,
        "extratags": tags + _described(exif),
        "metadata": None,
        "software": False,
        "maxworkers": 1,
    }


def _add_directories(file: BinaryIO, exif: bytes) -> None:
    """Put the directories behind the file, and after them the page's own, which now points to them."""
    file.seek(2)
    (version, first) = struct.unpack("<HI", file.read(6))
    if version == _BIG_TIFF:  # above 4 GB: offsets of another size; the picture does without
        return
    file.seek(first)
    (count,) = struct.unpack("<H", file.read(2))
    entries = [file.read(12) for _ in range(count)]
    end = file.seek(0, os.SEEK_END)
    end += file.write(bytes(end % 2))
    for tag, content in directories(exif, end):
        entries.append(struct.pack("<HHII", tag, _LONG, 1, end))
        end += file.write(content)
    entries.sort(key=lambda entry: struct.unpack_from("<H", entry)[0])
    file.write(struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4))
    file.seek(4)
    file.write(struct.pack("<I", end))


def _described(exif: bytes | None) -> list[tuple[int, int, int, object, bool]]:
    if exif is None:
        return []
    from PIL import Image

    block = Image.Exif()
    block.load(b"Exif\0\0" + exif)
    texts = [(tag, block.get(tag)) for tag in _TEXTS]
    return [(tag, 2, len(text) + 1, text, True) for tag, text in texts if isinstance(text, str) and text.isascii()]
