"""TIFF of 8 and 16 bits and float32 by tifffile: strips, one page, no dates and no program names of ours."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ORIENTATION, _SHORT = 274, 3
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
    )
    return target.getvalue()


def _described(exif: bytes | None) -> list[tuple[int, int, int, object, bool]]:
    if exif is None:
        return []
    from PIL import Image

    block = Image.Exif()
    block.load(b"Exif\0\0" + exif)
    texts = [(tag, block.get(tag)) for tag in _TEXTS]
    return [(tag, 2, len(text) + 1, text, True) for tag, text in texts if isinstance(text, str) and text.isascii()]
