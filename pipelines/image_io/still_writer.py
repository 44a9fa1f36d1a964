"""Formats of 8 bits: JPEG by libjpeg-turbo through imagecodecs, WebP, AVIF and BMP by Pillow.

JPEG has half colour resolution (4:2:0) below quality 95 and the full one from there on.
"""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

_FULL_COLOUR_QUALITY = 95
_SEGMENT_BYTES = 65533
_EXIF, _ICC = b"Exif\0\0", b"ICC_PROFILE\0"
_AVIF_SPEED = 8


def write_jpeg(pixels: NDArray[Any], *, quality: int, icc: bytes | None, exif: bytes | None) -> bytes:
    """Encode (M, N), (M, N, 3) or (M, N, 4) of uint8."""
    import imagecodecs

    flat = np.ascontiguousarray(on_white(pixels))
    sampling = None if flat.ndim == 2 else "444" if quality >= _FULL_COLOUR_QUALITY else "420"
    data = bytes(imagecodecs.jpeg8_encode(flat, level=quality, subsampling=sampling))
    (length,) = struct.unpack_from(">H", data, 4)  # of the JFIF segment, which comes first
    after = 4 + length
    return data[:after] + _exif_segment(exif) + _icc_segments(icc) + data[after:]


def write_lossy(
    pixels: NDArray[Any], format: Literal["webp", "avif"], *, quality: int, icc: bytes | None, exif: bytes | None
) -> bytes:
    """Encode (M, N), (M, N, 3) or (M, N, 4) of uint8."""
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(pixels))
    image = image if pixels.ndim == 3 else image.convert("RGB")
    # one thread: the same bytes on every machine
    own: dict[str, Any] = {"speed": _AVIF_SPEED, "max_threads": 1} if format == "avif" else {"method": 4}
    described = {} if exif is None else {"exif": _EXIF + exif if format == "avif" else exif}
    target = BytesIO()
    image.save(target, format.upper(), quality=quality, icc_profile=icc or b"", **described, **own)
    return target.getvalue()


def write_bmp(pixels: NDArray[Any], *, orientation: int) -> bytes:
    """Encode (M, N), (M, N, 3) or (M, N, 4) of uint8, turned: BMP has no tag for it."""
    from PIL import Image

    from pipelines.operations.geometry import auto_orient

    target = BytesIO()
    Image.fromarray(np.ascontiguousarray(auto_orient(on_white(pixels), orientation=orientation))).save(target, "BMP")
    return target.getvalue()


def on_white(pixels: NDArray[Any]) -> NDArray[Any]:
    """Colours laid on white where they have alpha."""
    if pixels.ndim == 2 or pixels.shape[2] == 3:
        return pixels
    alpha = pixels[..., 3:].astype(np.uint32)
    laid: NDArray[Any] = (pixels[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255
    return laid.astype(np.uint8)


def _exif_segment(exif: bytes | None) -> bytes:
    if exif is None or len(_EXIF) + len(exif) > _SEGMENT_BYTES:
        return b""
    return _segment(0xE1, _EXIF + exif)


def _icc_segments(icc: bytes | None) -> bytes:
    if icc is None:
        return b""
    size = _SEGMENT_BYTES - len(_ICC) - 2
    pieces = [icc[at : at + size] for at in range(0, len(icc), size)]
    if len(pieces) > 255:
        return b""
    return b"".join(
        _segment(0xE2, _ICC + bytes([number, len(pieces)]) + piece) for number, piece in enumerate(pieces, start=1)
    )


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content
