"""BMP, by Pillow: 1 to 32 bits, palettes, run lengths."""

from __future__ import annotations

import struct
from io import BytesIO

import numpy as np

from pipelines.errors import FailedReason, ImageError
from pipelines.image_io.image_header import ImageHeader, RawPixels
from pipelines.image_io.io_policies import ReadPolicy

_MODES = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB", "RGBA": "RGBA"}
"""Pillow's mode of the file -> mode of the pixels."""


def probe(data: bytes, frame: int) -> ImageHeader:
    """The header. Raises ImageError: ``truncated`` or ``corrupt``."""
    from PIL.BmpImagePlugin import BmpImageFile

    if len(data) < 26:
        raise ImageError(FailedReason.TRUNCATED, "BMP ends in its header")
    try:
        with BmpImageFile(BytesIO(data)) as image:
            width, height, mode = image.width, image.height, _MODES[image.mode]
    except (OSError, SyntaxError, KeyError, ValueError, struct.error, IndexError) as error:
        raise ImageError(FailedReason.CORRUPT, f"BMP has a damaged or unknown header: {error}") from error
    if width <= 0 or height <= 0:
        raise ImageError(FailedReason.CORRUPT, f"BMP of {width} x {height} px")
    channels = {"L": 1, "RGB": 3, "RGBA": 4}[mode]
    return ImageHeader(
        format="bmp",
        width=width,
        height=height,
        channels=channels,
        space="gray" if channels == 1 else "rgb",
        working_copies=2,
    )


def decode(data: bytes, header: ImageHeader, frame: int, policy: ReadPolicy, scale_denom: int) -> RawPixels:
    """The pixels. ``scale_denom`` is not for BMP."""
    from PIL.BmpImagePlugin import BmpImageFile

    start, stored = _stored(data, header)
    missing = start + stored - len(data)
    degraded = None
    if missing > 0:
        valid = max(0.0, 1 - missing / stored)
        if policy.truncated == "strict" or valid == 0:
            raise ImageError(FailedReason.TRUNCATED, f"BMP lacks {missing:,} bytes; read.truncated: salvage shows it")
        degraded = f"truncated: {valid:.0%} valid" if policy.truncated == "salvage" else "truncated"
        data += bytes(missing)
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[header.channels]
    try:
        with BmpImageFile(BytesIO(data)) as image:
            return RawPixels(np.asarray(image.convert(mode)), degraded)
    except OSError as error:
        # run lengths only: their size isn't in the header
        reason = FailedReason.TRUNCATED if "truncated" in str(error) else FailedReason.CORRUPT
        raise ImageError(reason, f"BMP: {error}") from error


def _stored(data: bytes, header: ImageHeader) -> tuple[int, int]:
    """Where the pixels start, and how many bytes they take; 0 for run lengths."""
    start, size = struct.unpack_from("<II", data, 10)
    if size == 12:
        (bits,) = struct.unpack_from("<H", data, 24)
        packed = 0
    else:
        bits, packed = struct.unpack_from("<HI", data, 28)
    if packed in (1, 2):
        return start, 0
    return start, (header.width * bits + 31) // 32 * 4 * header.height
