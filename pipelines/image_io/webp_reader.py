"""WebP: chunks walked here, still pictures by libwebp through imagecodecs, animations drawn by Pillow."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from io import BytesIO

import numpy as np

from pipelines.errors import FailedReason, ImageError
from pipelines.image_io.colour_statements import exif_profile
from pipelines.image_io.exif import orientation_of, unprefixed
from pipelines.image_io.image_header import ImageHeader, RawPixels
from pipelines.image_io.io_policies import ReadPolicy

_ALPHA, _ANIMATION = 0x10, 0x02
_FRAME_LOSSLESS = b"VP8L"
"""In the first bytes of a frame of an animation."""


def probe(data: bytes, frame: int) -> ImageHeader:
    """The header. Raises ImageError: ``truncated`` or ``corrupt``."""
    chunks: dict[bytes, bytes] = {}
    frames = 0
    for name, content in _chunks(data):
        frames += name == b"ANMF"
        chunks.setdefault(name, content)
    width, height, alpha = _size(chunks, _is_cut(data))
    exif = unprefixed(chunks.get(b"EXIF"))
    return ImageHeader(
        format="webp",
        width=width,
        height=height,
        channels=4 if alpha else 3,
        frames=max(1, frames),
        working_copies=2 if frames else 0,
        orientation=orientation_of(exif, chunks.get(b"XMP ")),
        icc=chunks.get(b"ICCP") or exif_profile(exif, gray=False),
        exif=exif,
        xmp=chunks.get(b"XMP "),
        is_lossless=b"VP8L" in chunks or _FRAME_LOSSLESS in chunks.get(b"ANMF", b""),
    )


def decode(data: bytes, header: ImageHeader, frame: int, policy: ReadPolicy, scale_denom: int) -> RawPixels:
    """The pixels. ``scale_denom`` is not for WebP; a cut file has no usable part in any policy."""
    if _is_cut(data):
        raise ImageError(FailedReason.TRUNCATED, "WebP is shorter than its header says; it can't be salvaged")
    if header.frames == 1 and not _is_animated(data):
        import imagecodecs

        return RawPixels(np.asarray(imagecodecs.webp_decode(data, hasalpha=header.channels == 4)))
    from PIL.WebPImagePlugin import WebPImageFile

    with WebPImageFile(BytesIO(data)) as image:
        image.seek(frame)
        return RawPixels(np.asarray(image.convert("RGBA" if header.channels == 4 else "RGB")))


def _is_cut(data: bytes) -> bool:
    return len(data) < 12 or int(struct.unpack_from("<I", data, 4)[0]) + 8 > len(data)


def _is_animated(data: bytes) -> bool:
    return data[12:16] == b"VP8X" and bool(data[20] & _ANIMATION)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 12
    while position + 8 <= len(data):
        name, length = struct.unpack_from("<4sI", data, position)
        # the picture itself needs only its start here
        yield name, data[position + 8 : position + 8 + (32 if name in (b"VP8 ", b"VP8L", b"ANMF") else length)]
        position += 8 + length + length % 2


def _size(chunks: dict[bytes, bytes], cut: bool) -> tuple[int, int, bool]:
    """Width, height, and whether there is alpha."""
    try:
        if b"VP8X" in chunks:
            head = chunks[b"VP8X"]
            width, height = (int.from_bytes(head[at : at + 3], "little") + 1 for at in (4, 7))
            if len(head) < 10:
                raise IndexError
            return width, height, bool(head[0] & _ALPHA) or _is_clear(chunks.get(b"VP8L", b""))
        if b"VP8L" in chunks:
            (bits,) = struct.unpack_from("<I", chunks[b"VP8L"], 1)
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, _is_clear(chunks[b"VP8L"])
        width, height = struct.unpack_from("<HH", chunks[b"VP8 "], 6)
        if (width & 0x3FFF) and (height & 0x3FFF):
            return width & 0x3FFF, height & 0x3FFF, False
    except (KeyError, IndexError, struct.error):
        pass  # reported below
    raise ImageError(FailedReason.TRUNCATED if cut else FailedReason.CORRUPT, "WebP without a readable header")


def _is_clear(lossless: bytes) -> bool:
    """Whether a lossless picture says that it has alpha, by which libwebp goes whatever the file's header says."""
    return len(lossless) >= 5 and bool(lossless[4] & 0x10)
