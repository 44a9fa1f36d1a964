"""PNG of 8 and 16 bits by libpng through imagecodecs, with profile and EXIF put in as chunks."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.image_io.png_chunks import chunk

_AFTER_HEADER = 8 + 25
"""Where libpng's file goes on after signature and header chunk."""


def write_png(pixels: NDArray[Any], *, level: int, icc: bytes | None, exif: bytes | None) -> bytes:
    """Encode (M, N), (M, N, 3) or (M, N, 4) of uint8 or uint16."""
    import imagecodecs

    data = bytes(imagecodecs.png_encode(np.ascontiguousarray(pixels), level=level))
    extra = b""
    if icc is not None:
        extra += chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(icc, 6))
    if exif is not None:
        extra += chunk(b"eXIf", exif)
    return data[:_AFTER_HEADER] + extra + data[_AFTER_HEADER:] if extra else data
