"""TIFF of 8 and 16 bits and float32 by tifffile: strips, one page, no dates and no program names of ours.

The directories of EXIF and GPS are put in afterwards, since tifffile doesn't write any.
"""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.image_io.exif import directories

_ORIENTATION, _SHORT, _LONG = 274, 3, 4
_BIG_TIFF = 43
_STRIP_BYTES = 1 << 18
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

    tags: list[tuple[int, int, int, object, bool]] = [(_ORIENTATION, _SHORT, 1, orientation, True)]
    tags += _described(exif)
    row_bytes = max(1, pixels[0].nbytes)
    target = BytesIO()
    tifffile.imwrite(
        target,
        np.ascontiguousarray(pixels),
        photometric="minisblack" if pixels.ndim == 2 else "rgb",
        extrasamples=["unassalpha"] if pixels.ndim == 3 and pixels.shape[2] == 4 else None,
        compression=_COMPRESSIONS[compression],
        predictor=compression in _PREDICTED,
        rowsperstrip=max(1, min(pixels.shape[0], _STRIP_BYTES // row_bytes)),
        iccprofile=icc,
        extratags=tags,
        metadata=None,
        software=False,
        maxworkers=1,
        byteorder="<",
    )
    data = target.getvalue()
    return data if exif is None else _with_directories(data, exif)


def _with_directories(data: bytes, exif: bytes) -> bytes:
    """The file with the directories behind it, and after them the page's own, which now points to them."""
    (version, first) = struct.unpack_from("<HI", data, 2)
    if version == _BIG_TIFF:  # above 4 GB: offsets of another size; the picture does without
        return data
    (count,) = struct.unpack_from("<H", data, first)
    entries = [data[at : at + 12] for at in range(first + 2, first + 2 + 12 * count, 12)]
    whole = data + bytes(len(data) % 2)
    for tag, content in directories(exif, len(whole)):
        entries.append(struct.pack("<HHII", tag, _LONG, 1, len(whole)))
        whole += content
    entries.sort(key=lambda entry: struct.unpack_from("<H", entry)[0])
    own = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return whole[:4] + struct.pack("<I", len(whole)) + whole[8:] + own


def _described(exif: bytes | None) -> list[tuple[int, int, int, object, bool]]:
    if exif is None:
        return []
    from PIL import Image

    block = Image.Exif()
    block.load(b"Exif\0\0" + exif)
    texts = [(tag, block.get(tag)) for tag in _TEXTS]
    return [(tag, 2, len(text) + 1, text, True) for tag, text in texts if isinstance(text, str) and text.isascii()]
