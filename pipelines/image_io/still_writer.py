"""JPEG by libjpeg-turbo, deep and lossless AVIF by libavif through imagecodecs; WebP and other AVIF by Pillow; BMP.

JPEG has half colour resolution (4:2:0) below quality 95 and the full one from there on, unless told.
"""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.image_io.metadata import Metadata, Resolution

Quality = int | Literal["lossless"]
Chroma = Literal[444, 420] | None

_FULL_COLOUR_QUALITY = 95
_SEGMENT_BYTES = 65533
_EXIF, _ICC, _XMP = b"Exif\0\0", b"ICC_PROFILE\0", b"http://ns.adobe.com/xap/1.0/\0"
_IPTC_RESOURCE = b"Photoshop 3.0\08BIM\x04\x04\0\0"
_AVIF_SPEED = 8
_BT709, _SRGB, _RGB, _BT601 = 1, 13, 0, 6
"""Code points of ITU-T H.273: primaries, transfer, matrices."""
_INCHES_PER_METRE = 1 / 0.0254
_BMP_MASKS = 3
"""Compression: none, with masks that say where the colours are."""


def write_jpeg(
    pixels: NDArray[Any], *, quality: int, chroma: Chroma = None, icc: bytes | None, described: Metadata
) -> bytes:
    """Encode (M, N), (M, N, 3) or (M, N, 4) of uint8."""
    import imagecodecs

    flat = np.ascontiguousarray(on_white(pixels))
    full = chroma == 444 if chroma is not None else quality >= _FULL_COLOUR_QUALITY
    sampling = None if flat.ndim == 2 else "444" if full else "420"
    data = bytes(imagecodecs.jpeg8_encode(flat, level=quality, subsampling=sampling))
    (length,) = struct.unpack_from(">H", data, 4)  # of the JFIF segment, which comes first
    after = 4 + length
    start = bytearray(data[:after])
    if described.resolution is not None:
        across, down = (min(max(round(value), 1), 65535) for value in described.resolution)
        struct.pack_into(">BHH", start, 13, 1, across, down)
    segments = b"" if described.exif is None else _segment(0xE1, _EXIF + described.exif)
    segments += b"" if described.xmp is None else _segment(0xE1, _XMP + described.xmp)
    segments += b"" if described.iptc is None else _segment(0xED, _photoshop(described.iptc))
    return bytes(start) + segments + _icc_segments(icc) + data[after:]


def write_webp(pixels: NDArray[Any], *, quality: Quality, icc: bytes | None, described: Metadata) -> bytes:
    """Encode (M, N), (M, N, 3) or (M, N, 4) of uint8; lossless, the colours of what is clear stay as well."""
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(pixels))
    image = image if pixels.ndim == 3 else image.convert("RGB")
    how: dict[str, Any] = {"lossless": True, "exact": True} if quality == "lossless" else {"quality": quality}
    beside = {"exif": described.exif or b"", "xmp": described.xmp or b"", "icc_profile": icc or b""}
    target = BytesIO()
    image.save(target, "WEBP", method=4, **how, **beside)
    return target.getvalue()


def write_avif(
    pixels: NDArray[Any], *, quality: int, chroma: Chroma = None, icc: bytes | None, described: Metadata
) -> bytes:
    """Encode (M, N), (M, N, 3) or (M, N, 4) of uint8."""
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(pixels))
    image = image if pixels.ndim == 3 else image.convert("RGB")
    how: dict[str, Any] = {} if chroma is None else {"subsampling": "4:4:4" if chroma == 444 else "4:2:0"}
    how |= {} if described.exif is None else {"exif": _EXIF + described.exif}
    how |= {} if described.xmp is None else {"xmp": described.xmp}
    target = BytesIO()
    # one thread: the same bytes on every machine
    image.save(target, "AVIF", quality=quality, speed=_AVIF_SPEED, max_threads=1, icc_profile=icc or b"", **how)
    return target.getvalue()


def write_bare_avif(pixels: NDArray[Any], *, bits: int, quality: Quality, chroma: Chroma = None) -> bytes:
    """Encode (M, N), (M, N, 3) or (M, N, 4) of uint8 (8 ``bits``) or uint16 (10 or 12), sRGB, nothing beside them.

    Without loss, of uint16 that hold ``bits`` bits over their full range, too.
    """
    import imagecodecs

    colours = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=-1)
    if bits > 8:
        top = (1 << bits) - 1
        colours = ((colours.astype(np.uint32) * top + 32767) // 65535).astype(np.uint16)
    lossless = quality == "lossless"
    return bytes(
        imagecodecs.avif_encode(
            np.ascontiguousarray(colours),
            level=100 if quality == "lossless" else quality,
            speed=_AVIF_SPEED,
            bitspersample=bits,
            pixelformat="420" if chroma == 420 or (chroma is None and not lossless) else "444",
            primaries=_BT709,
            transfer=_SRGB,
            matrix=_RGB if lossless else _BT601,
            numthreads=1,
        )
    )


def write_bmp(pixels: NDArray[Any], *, orientation: int, resolution: Resolution | None = None) -> bytes:
    """Encode (M, N), (M, N, 3) or (M, N, 4) of uint8, turned: BMP has no tag for it."""
    from pipelines.operations.geometry import auto_orient

    upright = auto_orient(pixels, orientation=orientation)
    height, width = upright.shape[:2]
    channels = 1 if upright.ndim == 2 else upright.shape[2]
    palette = b"".join(bytes([level, level, level, 0]) for level in range(256)) if channels == 1 else b""
    across, down = resolution or (0.0, 0.0)
    if orientation >= 5:
        across, down = down, across
    metres = (round(across * _INCHES_PER_METRE), round(down * _INCHES_PER_METRE))
    stride = (width * channels + 3) // 4 * 4
    head_bytes = 108 if channels == 4 else 40
    start = 14 + head_bytes + len(palette)
    size = stride * height
    counts = (len(palette) // 4, 0)
    head = struct.pack("<IiiHHIIiiII", head_bytes, width, height, 1, 8 * channels, 0, size, *metres, *counts)
    if channels == 4:  # version 4: masks of red, green, blue and alpha, sRGB
        head = head[:16] + struct.pack("<I", _BMP_MASKS) + head[20:]
        head += struct.pack("<4I4s", 0xFF0000, 0xFF00, 0xFF, 0xFF000000, b"BGRs") + bytes(48)
    rows = np.zeros((height, stride), np.uint8)
    samples = upright if channels == 1 else upright[..., [2, 1, 0, 3][:channels]]
    rows[:, : width * channels] = samples.reshape(height, -1)
    return b"BM" + struct.pack("<IHHI", start + size, 0, 0, start) + head + palette + rows[::-1].tobytes()


def on_white(pixels: NDArray[Any]) -> NDArray[Any]:
    """Colours laid on white where they have alpha."""
    if pixels.ndim == 2 or pixels.shape[2] == 3:
        return pixels
    alpha = pixels[..., 3:].astype(np.uint32)
    laid: NDArray[Any] = (pixels[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255
    return laid.astype(np.uint8)


def _photoshop(iptc: bytes) -> bytes:
    return _IPTC_RESOURCE + struct.pack(">I", len(iptc)) + iptc + bytes(len(iptc) % 2)


def _icc_segments(icc: bytes | None) -> bytes:
    if icc is None:
        return b""
    size = _SEGMENT_BYTES - len(_ICC) - 2
    pieces = [icc[at : at + size] for at in range(0, len(icc), size)]
    return b"".join(
        _segment(0xE2, _ICC + bytes([number, len(pieces)]) + piece) for number, piece in enumerate(pieces, start=1)
    )


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content
