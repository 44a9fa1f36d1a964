"""PNG of 8 and 16 bits by libpng through imagecodecs, with profile and metadata put in as chunks."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.image_io.metadata import Metadata
from pipelines.image_io.png_chunks import chunk
from pipelines.image_io.png_reader import IPTC_NAME, XMP_NAME

_AFTER_HEADER = 8 + 25
"""Where libpng's file goes on after signature and header chunk."""


def write_png(pixels: NDArray[Any], *, level: int, icc: bytes | None, described: Metadata) -> bytes:
    """Encode (M, N), (M, N, 3) or (M, N, 4) of uint8 or uint16."""
    import imagecodecs

    data = bytes(imagecodecs.png_encode(np.ascontiguousarray(pixels), level=level))
    extra = b""
    if icc is not None:
        extra += chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(icc, 6))
    if described.resolution is not None:
        across, down = (min(round(value / 0.0254), 2**31 - 1) for value in described.resolution)
        extra += chunk(b"pHYs", struct.pack(">IIB", across, down, 1))
    if described.exif is not None:
        extra += chunk(b"eXIf", described.exif)
    if described.xmp is not None:
        extra += chunk(b"iTXt", XMP_NAME + b"\0\0\0\0\0" + described.xmp)
    if described.iptc is not None:  # as ImageMagick and exiftool do; PNG has no place of its own for it
        written = b"\niptc\n%8d\n%s\n" % (len(described.iptc), described.iptc.hex().encode())
        extra += chunk(b"zTXt", IPTC_NAME + b"\0\0" + zlib.compress(written, 6))
    return data[:_AFTER_HEADER] + extra + data[_AFTER_HEADER:] if extra else data
