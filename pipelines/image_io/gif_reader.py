"""GIF: blocks walked here, so that size, frames and a cut are known before anything is unpacked; pixels by Pillow."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from pipelines.errors import FailedReason, ImageError
from pipelines.image_io.image_header import ImageHeader, RawPixels
from pipelines.image_io.io_policies import ReadPolicy

_IMAGE, _EXTENSION, _TRAILER, _CONTROL = 0x2C, 0x21, 0x3B, 0xF9


@dataclass(slots=True)
class _Blocks:
    width: int
    height: int
    frames: int = 0
    """Whole frames."""
    clear: bool = False
    """Some pixel of some frame may be transparent."""
    complete: bool = False


def probe(data: bytes, frame: int) -> ImageHeader:
    """The header. Raises ImageError: ``truncated`` or ``corrupt``."""
    blocks = _walk(data, frame)
    return ImageHeader(
        format="gif",
        width=blocks.width,
        height=blocks.height,
        channels=4 if blocks.clear else 3,
        frames=max(1, blocks.frames),
        working_copies=3,
    )


def decode(data: bytes, header: ImageHeader, frame: int, policy: ReadPolicy, scale_denom: int) -> RawPixels:
    """The pixels of a frame as shown, drawn over the frames before it. ``scale_denom`` is not for GIF."""
    from io import BytesIO

    from PIL.GifImagePlugin import GifImageFile

    blocks = _walk(data, frame)
    if not blocks.complete and (policy.truncated == "strict" or frame >= blocks.frames):
        raise ImageError(FailedReason.TRUNCATED, f"GIF ends after {blocks.frames} whole frames, without its last byte")
    with GifImageFile(BytesIO(data)) as image:
        image.seek(frame)
        pixels = np.asarray(image.convert("RGBA" if header.channels == 4 else "RGB"))
    # the frame itself is whole; what is lost are frames after it
    return RawPixels(pixels, None if blocks.complete else f"truncated: {blocks.frames} whole frames")


def _walk(data: bytes, frame: int) -> _Blocks:
    """All blocks; the size is that of the canvas when this frame is shown."""
    if len(data) < 13:
        raise ImageError(FailedReason.TRUNCATED, "GIF ends in its header")
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    blocks = _Blocks(width, height)
    position = 13 + _table_bytes(flags)
    try:
        while not blocks.complete:
            kind = data[position]
            if kind == _TRAILER:
                blocks.complete = True
            elif kind == _EXTENSION:
                if data[position + 1] == _CONTROL and data[position + 3] & 1:
                    blocks.clear = True
                position = _after_pieces(data, position + 2)
            elif kind == _IMAGE:
                position = _image(data, position, blocks, frame)
            else:
                _refuse(f"GIF has an unknown block {kind:#04x} at byte {position}")
    except (IndexError, struct.error):
        pass  # the data ends inside a block: complete stays false
    if blocks.width == 0 or blocks.height == 0 or (blocks.complete and not blocks.frames):
        _refuse(f"GIF of {blocks.width} x {blocks.height} px with {blocks.frames} images")
    return blocks


def _image(data: bytes, position: int, blocks: _Blocks, frame: int) -> int:
    left, top, width, height, flags = struct.unpack_from("<HHHHB", data, position + 1)
    if blocks.frames <= frame:  # Pillow grows the canvas to what lies beyond it
        blocks.width, blocks.height = max(blocks.width, left + width), max(blocks.height, top + height)
        blocks.clear |= (left, top, width, height) != (0, 0, blocks.width, blocks.height)
    after = _after_pieces(data, position + 10 + _table_bytes(flags) + 1)
    blocks.frames += 1
    return after


def _table_bytes(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _after_pieces(data: bytes, position: int) -> int:
    while data[position]:
        position += 1 + data[position]
    return position + 1


def _refuse(text: str) -> NoReturn:
    raise ImageError(FailedReason.CORRUPT, text)
