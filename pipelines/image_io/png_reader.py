"""PNG and APNG: chunks walked and their checksums checked here, pixels by libpng through imagecodecs.

Covers 1 to 16 bits, gray, RGB, palette, alpha and transparent colours, interlacing. Frames of an animation after the
first are drawn by Pillow, 8 bits only. Text chunks are never unpacked, but those of EXIF, XMP and IPTC, within bounds.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import FailedReason, ImageError
from pipelines.image_io.colour_statements import of_png
from pipelines.image_io.exif import orientation_of, unprefixed
from pipelines.image_io.image_header import ImageHeader, RawPixels
from pipelines.image_io.io_policies import ReadPolicy
from pipelines.image_io.jpeg_reader import iptc_of
from pipelines.image_io.png_chunks import SIGNATURE, chunk

_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Samples per pixel of each colour type."""
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_PALETTE, _RGB = 3, 2
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""x and y of the first pixel, and the steps, of each pass."""
_MAX_ICC_BYTES = 16 << 20
_MAX_TEXT_BYTES = 3 << 20
"""Unpacked; EXIF of the size that is read is twice as long in hexadecimal digits."""
XMP_NAME, IPTC_NAME = b"XML:com.adobe.xmp", b"Raw profile type iptc"
_EXIF_NAME, _RAW_NAMES = b"Raw profile type exif", (b"Raw profile type APP1", b"Raw profile type xmp")
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")


@dataclass(slots=True)
class _Chunks:
    """The chunks that matter, as far as the file goes."""

    header: tuple[int, int, int, int, int, int, int] = (0, 0, 0, 0, 0, 0, 0)
    """Width, height, depth, colour type, compression, filter, interlacing."""
    kept: dict[bytes, bytes] = field(default_factory=dict)
    """First chunk of each name, without image data."""
    texts: dict[bytes, tuple[bytes, bytes]] = field(default_factory=dict)
    """EXIF, XMP and IPTC in text chunks: keyword -> name of the chunk and what follows the keyword."""
    image: list[bytes] = field(default_factory=list)
    complete: bool = False
    animated_default: bool = False
    """A frame control stands before the image: it is a frame of the animation itself."""


def probe(data: bytes, frame: int) -> ImageHeader:
    """The header. Raises ImageError: ``truncated`` or ``corrupt``."""
    chunks = _walk(data)
    width, height, depth, colour, *_ = chunks.header
    if depth not in _DEPTHS.get(colour, ()) or width == 0 or height == 0:
        raise ImageError(FailedReason.CORRUPT, f"PNG of {width} x {height} px, {depth} bits, colour type {colour}")
    gray = colour in (0, 4)
    alpha = colour in (4, 6) or _has_clear_colours(chunks)
    frames = _frames(chunks)
    exif, xmp = _described(chunks)
    embedded, damage = _profile(chunks.kept.get(b"iCCP"))
    is_gray = gray and not (frames > 1 and frame)
    icc, note = of_png(chunks.kept, embedded, exif, gray=is_gray)
    return ImageHeader(
        format="png",
        width=width,
        height=height,
        channels=4 if alpha or (frames > 1 and frame) else 1 if gray else 3,
        dtype="uint16" if depth == 16 else "uint8",
        space="gray" if is_gray else "rgb",
        frames=frames,
        working_copies=1,
        orientation=orientation_of(exif, xmp),
        icc=icc,
        exif=exif,
        xmp=xmp,
        iptc=_iptc(chunks),
        resolution=_resolution(chunks.kept.get(b"pHYs", b"")),
        notes=tuple(text for text in (damage, note) if text),
    )


def decode(data: bytes, header: ImageHeader, frame: int, policy: ReadPolicy, scale_denom: int) -> RawPixels:
    """The pixels. ``scale_denom`` is not for PNG."""
    import imagecodecs

    chunks = _walk(data, check=True)
    degraded = None
    if not chunks.complete:
        if policy.truncated == "strict" or not chunks.image or frame:
            raise ImageError(FailedReason.TRUNCATED, "PNG ends before its last chunk; read.truncated: salvage shows it")
        data, valid = _completed(chunks)
        if valid == 0:
            raise ImageError(FailedReason.TRUNCATED, "PNG ends before its first row is whole")
        degraded = f"truncated: {valid:.0%} valid" if policy.truncated == "salvage" else "truncated"
    if frame:
        return RawPixels(_later_frame(data, header, frame))
    return RawPixels(np.asarray(imagecodecs.png_decode(data)), degraded)


def _walk(data: bytes, *, check: bool = False) -> _Chunks:
    found = _Chunks()
    for name, start, length, crc in _chunks(data):
        if check and zlib.crc32(memoryview(data)[start - 4 : start + length]) != crc:
            raise ImageError(FailedReason.CORRUPT, f"PNG chunk {name.decode('latin-1')!r} has a wrong checksum")
        if name == b"IDAT":
            if check:
                found.image.append(data[start : start + length])
            found.animated_default |= b"fcTL" in found.kept
            found.kept.setdefault(name, b"")
        elif name == b"IHDR" and not found.kept:
            found.header = struct.unpack_from(">IIBBBBB", data, start) if length >= 13 else found.header
            found.kept[name] = data[start : start + 13]
        elif name == b"IEND":
            found.complete = True
            break
        elif name in _TEXTS:
            keyword = data[start : start + min(length, 80)].partition(b"\0")[0]
            if keyword in (XMP_NAME, IPTC_NAME, _EXIF_NAME, *_RAW_NAMES):
                found.texts.setdefault(keyword, (name, data[start + len(keyword) + 1 : start + length]))
        else:
            found.kept.setdefault(name, data[start : start + length])
    if b"IHDR" not in found.kept:
        raise ImageError(FailedReason.TRUNCATED if len(data) < 33 else FailedReason.CORRUPT, "PNG without a header")
    if found.complete and b"IDAT" not in found.kept:
        raise ImageError(FailedReason.CORRUPT, "PNG without image data")
    if check and not found.complete:
        found.image.append(_last_piece(data))
    return found


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int, int]]:
    """Name, start, length and checksum of every whole chunk."""
    position = len(SIGNATURE)
    while position + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        if position + 12 + length > len(data):
            return
        (crc,) = struct.unpack_from(">I", data, position + 8 + length)
        yield name, position + 8, length, crc
        position += 12 + length


def _last_piece(data: bytes) -> bytes:
    """Image data of the chunk that the file ends in; it is cut, so its checksum can't be checked."""
    position = len(SIGNATURE)
    for _, start, length, _ in _chunks(data):
        position = start + length + 4
    return data[position + 8 :] if data[position + 4 : position + 8] == b"IDAT" else b""


def _has_clear_colours(chunks: _Chunks) -> bool:
    """Whether there is a tRNS chunk that libpng takes: of the right size, after the palette and before the image."""
    before = list(chunks.kept)
    if b"tRNS" not in before:
        return False
    before = before[: before.index(b"tRNS")]
    size, colour = len(chunks.kept[b"tRNS"]), chunks.header[3]
    if b"IDAT" in before:
        return False
    if colour == _PALETTE:
        return b"PLTE" in before and 0 < size <= len(chunks.kept[b"PLTE"]) // 3
    return size == 2 * _SAMPLES[colour] and colour in (0, _RGB)


def _frames(chunks: _Chunks) -> int:
    control = chunks.kept.get(b"acTL", b"")
    if len(control) < 8:
        return 1
    (count,) = struct.unpack_from(">I", control)
    return max(1, int(count) + (not chunks.animated_default))


def _profile(chunk: bytes | None) -> tuple[bytes | None, str | None]:
    """The unpacked profile, or a note that it can't be unpacked within bounds."""
    if chunk is None:
        return None, None
    _, _, packed = chunk.partition(b"\0")
    unpacker = zlib.decompressobj()
    try:
        icc = unpacker.decompress(packed[1:], _MAX_ICC_BYTES)
    except zlib.error:
        return None, "colour profile ignored: it is damaged"
    return (icc, None) if unpacker.eof else (None, "colour profile ignored: it is damaged or too large")


def _described(chunks: _Chunks) -> tuple[bytes | None, bytes | None]:
    """EXIF and XMP: of their own chunks, else as older writers put them into text chunks."""
    exif, xmp = unprefixed(chunks.kept.get(b"eXIf")), _text(chunks, XMP_NAME)
    exif = exif or unprefixed(_raw_profile(chunks, _EXIF_NAME))
    for name in _RAW_NAMES:
        content = _raw_profile(chunks, name)
        if content is not None and content.startswith(b"Exif\0"):
            exif = exif or unprefixed(content)
        else:
            xmp = xmp or content
    return exif, xmp


def _iptc(chunks: _Chunks) -> bytes | None:
    """IPTC as ImageMagick and exiftool put it: alone or among Photoshop's resources."""
    content = _raw_profile(chunks, IPTC_NAME)
    return iptc_of(content) if content and content.startswith(b"8BIM") else content


def _raw_profile(chunks: _Chunks, keyword: bytes) -> bytes | None:
    """What is written as a line with its name, one with its length, and lines of hexadecimal digits."""
    text = _text(chunks, keyword)
    try:
        return bytes.fromhex(b"".join((text or b"").strip().split(b"\n")[2:]).decode("ascii")) or None
    except ValueError:
        return None


def _text(chunks: _Chunks, keyword: bytes) -> bytes | None:
    """A text chunk's text; None without it, or if it is damaged or unpacks to a lot."""
    name, content = chunks.texts.get(keyword, (b"", b""))
    packed = name == b"zTXt"
    if name == b"iTXt":  # flag, method, language, translated keyword, text
        packed, content = content[:1] == b"\1", content[2:].partition(b"\0")[2].partition(b"\0")[2]
    elif packed:
        content = content[1:]
    return (_unpacked(content) if packed else content) or None


def _unpacked(packed: bytes) -> bytes | None:
    unpacker = zlib.decompressobj()
    try:
        content = unpacker.decompress(packed, _MAX_TEXT_BYTES)
    except zlib.error:
        return None
    return content if unpacker.eof and content else None


def _resolution(chunk: bytes) -> tuple[float, float] | None:
    """Pixels per inch of a pHYs chunk, which counts per metre; its other unit is unknown."""
    if len(chunk) != 9 or chunk[8] != 1:
        return None
    across, down = struct.unpack_from(">II", chunk)
    return (across * 0.0254, down * 0.0254) if across and down else None


def _completed(chunks: _Chunks) -> tuple[bytes, float]:
    """The file with the missing rows as zeros (black, or clear), and the share of the picture that is there."""
    width, height, depth, colour, _, _, interlaced = chunks.header
    expected = _row_bytes(width, height, depth * _SAMPLES[colour], bool(interlaced))
    unpacker = zlib.decompressobj()
    try:
        rows = unpacker.decompress(b"".join(chunks.image), expected)
    except zlib.error as error:
        raise ImageError(FailedReason.CORRUPT, f"PNG image data is damaged: {error}") from error
    stride = expected if interlaced else expected // height
    whole = len(rows) if interlaced else len(rows) // stride * stride
    packed = zlib.compress(rows[:whole] + bytes(expected - whole), 1)
    named = [(b"IHDR", chunks.kept[b"IHDR"])]
    named += [(name, chunks.kept[name]) for name in (b"PLTE", b"tRNS") if name in chunks.kept]
    named += [(b"IDAT", packed), (b"IEND", b"")]
    return SIGNATURE + b"".join(chunk(name, content) for name, content in named), whole / expected


def _row_bytes(width: int, height: int, bits: int, interlaced: bool) -> int:
    """Size of the unpacked rows, each with its filter byte."""
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    total = 0
    for left, top, right_step, down_step in passes:
        columns, rows = -(-(width - left) // right_step), -(-(height - top) // down_step)
        if columns > 0 and rows > 0:
            total += rows * (1 + -(-columns * bits // 8))
    return total


def _later_frame(data: bytes, header: ImageHeader, frame: int) -> NDArray[Any]:
    from io import BytesIO

    from PIL.PngImagePlugin import PngImageFile

    if header.dtype == "uint16":
        raise ImageError(FailedReason.UNSUPPORTED_FORMAT, "only the first frame of a 16-bit animated PNG is read")
    with PngImageFile(BytesIO(data)) as image:
        image.seek(frame)
        return np.asarray(image.convert("RGBA"))
