"""TIFF: the file's structure by tifffile, its codecs by imagecodecs, and every strip or tile checked to be there.

Covers classic and BigTIFF, strips and tiles, planar and interleaved, 1 to 16 bits unsigned, floats (as float32), gray,
RGB, palette, CMYK, JPEG's YCbCr, alpha, several pages. What has no one meaning as a picture (signed or 32-bit integers,
Lab, raw sensor data, unnamed extra channels) is refused. The meaning of samples: ``tiff_samples``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from pipelines.errors import FailedReason, ImageError
from pipelines.image_io.colour_statements import exif_profile, of_tiff
from pipelines.image_io.exif import orientation_of
from pipelines.image_io.exif_block import ExifBlock, parse_exif
from pipelines.image_io.image_header import ImageHeader, RawPixels
from pipelines.image_io.io_policies import ReadPolicy
from pipelines.image_io.jpeg_reader import iptc_of, turbo_decode
from pipelines.image_io.metadata import described_exif, resolution_of
from pipelines.image_io.source_file import SourceFile, stream_of
from pipelines.image_io.tiff_samples import Layout, as_picture, layout_of

MAX_PAGES = 10_000
_XMP, _ICC, _ORIENTATION, _SUBFILE = 700, 34675, 274, 254
_WIDTH, _HEIGHT = 256, 257
_WHITE, _PRIMARIES, _TRANSFER, _IPTC, _PHOTOSHOP = 318, 319, 301, 33723, 34377
_WHITE_IS_ZERO = 0
_INTEGERS = {3: "H", 4: "I", 16: "Q"}
"""Field type -> how its number is stored."""
_JPEG = 7


def probe(data: bytes | SourceFile, frame: int) -> ImageHeader:
    """The header of a page. Raises ImageError."""
    directories = _directories(data)
    frames = len(directories)
    with open_page(data, min(frame, frames - 1)) as page:
        layout = layout_of(page)
        tags = page.tags
        size = page.imagewidth * page.imagelength * layout.channels * np.dtype(layout.dtype).itemsize
        tile_samples = int(np.prod([int(side) for side in page.chunks], dtype=object))
        orientation = tags.valueof(_ORIENTATION, 1)
        xmp = tags.valueof(_XMP)
        described = parse_exif(data, directory=page.offset)
        iptc = _packed(tags, _IPTC) or iptc_of(_packed(tags, _PHOTOSHOP) or b"")
        exif = described_exif(described)
        icc, note = _bytes(tags.valueof(_ICC)), None
        if icc is None and layout.space != "cmyk" and described is not None:
            icc, note = _stated_colours(described, exif, layout, int(page.photometric or 0))
        return ImageHeader(
            format="tiff",
            width=int(page.imagewidth),
            height=int(page.imagelength),
            channels=layout.channels,
            dtype=layout.dtype,
            space=layout.space,
            frames=frames,
            frames_pixels=sum(directories.values()),
            # all samples as stored, and one tile, which may be larger than the picture
            working_copies=1 + -(-(page.nbytes + tile_samples * page.dtype.itemsize) // size),
            orientation=orientation
            if isinstance(orientation, int) and 2 <= orientation <= 8
            else orientation_of(None, xmp if isinstance(xmp, bytes) else None),
            icc=icc,
            exif=exif,
            xmp=_bytes(xmp),
            iptc=iptc,
            resolution=resolution_of(described),
            notes=layout.notes if note is None else (*layout.notes, note),
        )


def decode(data: bytes, header: ImageHeader, frame: int, policy: ReadPolicy, scale_denom: int) -> RawPixels:
    """The pixels of a page. ``scale_denom`` is not for TIFF."""
    with open_page(data, frame) as page:
        layout = layout_of(page)
        valid, padding = present(page, len(data))
        degraded = judged(valid, policy)
        if degraded is None:
            return RawPixels(_pixels(page, layout, data))
    with open_page(data + bytes(padding), frame) as page:
        if not page.is_contiguous:
            page.databytecounts = tuple(
                count if offset + count <= len(data) else 0
                for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)
            )
        pixels = _pixels(page, layout, data)
    return RawPixels(pixels, degraded)


def judged(valid: float, policy: ReadPolicy) -> str | None:
    """What is said of a picture of which this share is there; None when all is. Raises ImageError: ``truncated``."""
    if not valid:
        raise ImageError(FailedReason.TRUNCATED, "TIFF ends before its first strip or tile is whole")
    if valid == 1:
        return None
    if policy.truncated == "strict":
        raise ImageError(
            FailedReason.TRUNCATED, f"TIFF lacks {1 - valid:.0%} of its strips or tiles; read.truncated: salvage"
        )
    return f"truncated: {valid:.0%} valid" if policy.truncated == "salvage" else "truncated"


@contextmanager
def open_page(data: bytes | SourceFile, frame: int) -> Iterator[Any]:
    """The page, with everything that tifffile may raise as an ImageError."""
    import tifffile

    try:
        with ExitStack() as stack:
            try:
                page = stack.enter_context(tifffile.TiffFile(stream_of(data))).pages[frame]
            except MemoryError as error:  # no real tag is that large
                raise ImageError(FailedReason.CORRUPT, "TIFF has a tag of an impossible size") from error
            yield page
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # tifffile and its codecs raise what a damaged file makes them
        raise ImageError(FailedReason.CORRUPT, f"TIFF is damaged: {type(error).__name__}: {error}") from error


def _pixels(page: Any, layout: Layout, data: bytes) -> Any:
    if page.compression == _JPEG:
        _check_jpegs(page, data)
    stored = page.asarray(squeeze=False, maxworkers=1)
    if stored.size == 0:
        raise ImageError(FailedReason.CORRUPT, "TIFF page holds no pixels")
    return as_picture(interleaved(stored[:, 0]), layout, page)


def interleaved(planes: Any) -> Any:
    """(separate samples, height, width, samples) -> (height, width, samples)."""
    return planes[0] if planes.shape[0] == 1 else np.moveaxis(planes[..., 0], 0, -1)


def present(page: Any, size: int) -> tuple[float, int]:
    """Share of the strips' or tiles' bytes that the file holds, and how many bytes one plain block lacks at its end."""
    offsets, counts = page.dataoffsets, page.databytecounts
    expected = int(np.prod(page.chunked))
    if len(offsets) < len(counts) or (len(counts) < expected and not page.is_contiguous):
        raise ImageError(FailedReason.CORRUPT, f"TIFF lists {len(counts)} of {expected} strips or tiles")
    if any(offset <= 0 or count <= 0 for offset, count in zip(offsets, counts, strict=False)):
        raise ImageError(FailedReason.CORRUPT, "TIFF has strips or tiles without data")
    if page.is_contiguous:  # one block: its size follows from the picture, whatever the counts say
        missing = max(0, offsets[0] + page.nbytes - size)
        return (1 - missing / page.nbytes, missing) if missing < page.nbytes else (0.0, missing)
    ends = [offset + count for offset, count in zip(offsets, counts, strict=False)]
    present = sum(count for end, count in zip(ends, counts, strict=False) if end <= size)
    return present / sum(counts), 0


def _check_jpegs(page: Any, data: bytes) -> None:
    """JPEG strips and tiles once more in strict mode, since tifffile's decoder fills gaps without a word."""
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False):
        if count:
            check_jpeg(page, data[offset : offset + count])


def check_jpeg(page: Any, segment: bytes) -> None:
    """One strip or tile. Raises ImageError: ``corrupt``."""
    head = page.jpegtables[:-2] if page.jpegtables else b"\xff\xd8"
    try:
        turbo_decode(head + segment[2:], "cmyk" if page.samplesperpixel == 4 else "gray")
    except ValueError as error:
        raise ImageError(FailedReason.CORRUPT, f"TIFF holds a damaged JPEG: {error}") from error


def _bytes(value: object) -> bytes | None:
    return bytes(value) if isinstance(value, (bytes, bytearray)) else None


def _packed(tags: Any, code: int) -> bytes | None:
    """The bytes of a tag that some programs store as numbers."""
    found = tags.get(code)
    if found is None:
        return None
    value = found.value
    if isinstance(value, tuple) and all(isinstance(number, int) for number in value):
        return struct.pack(f"{found.parent.byteorder}{len(value)}I", *(number & 0xFFFFFFFF for number in value))
    return _bytes(value)


def _stated_colours(
    described: ExifBlock, exif: bytes | None, layout: Layout, photometric: int
) -> tuple[bytes | None, str | None]:
    """What a page without a profile says of its colours, in tags of its own or in EXIF."""
    gray = layout.space == "gray"
    white, primaries, transfer = (described.numbers(described.main, tag) for tag in (_WHITE, _PRIMARIES, _TRANSFER))
    if layout.dtype == "float32" or photometric == _WHITE_IS_ZERO:  # made for stored integers, black first
        transfer = ()
    icc, note = of_tiff(white, primaries, transfer, gray=gray)
    if icc is None and note is None and not (white or primaries):
        icc = exif_profile(exif, gray=gray)
    return icc, note


def _directories(data: bytes | SourceFile) -> dict[int, int]:
    """Offset of each page's directory -> pixels of the page; a chain that bites its tail ends there."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2], "<")
    try:
        version = _number(data, 2, order + "H")
        big = version == 43
        pointer, count_format, entry = ("Q", "Q", 20) if big else ("I", "H", 12)
        offset = _number(data, 8 if big else 4, order + pointer)
    except struct.error as error:
        raise ImageError(FailedReason.TRUNCATED, "TIFF ends in its header") from error
    found: dict[int, int] = {}
    while offset and offset not in found:
        try:
            count = _number(data, offset, order + count_format)
            after = offset + struct.calcsize("=" + count_format) + count * entry
            following = _number(data, after, order + pointer)
            found[offset] = _page_pixels(data[after - count * entry : after], entry, order)
            offset = following
        except (struct.error, OverflowError) as error:
            if len(found) > 1:
                break  # a later page is cut off: the pages before it are counted
            raise ImageError(FailedReason.TRUNCATED, "TIFF ends before its directory") from error
        if len(found) > MAX_PAGES:
            raise ImageError(FailedReason.TOO_LARGE, f"TIFF has more than {MAX_PAGES:,} pages")
    if not found:
        raise ImageError(FailedReason.CORRUPT, "TIFF without a page")
    return found


def _number(data: bytes | SourceFile, at: int, format: str) -> int:
    (found,) = struct.unpack(format, data[at : at + struct.calcsize(format)])
    return int(found)


def _page_pixels(entries: bytes, entry: int, order: str) -> int:
    """Width x height as a directory's entries say."""
    sides = {_WIDTH: 0, _HEIGHT: 0}
    for at in range(0, len(entries), entry):
        tag, kind = struct.unpack_from(order + "HH", entries, at)
        if tag in sides:
            value_format = _INTEGERS.get(kind, "I")
            (sides[tag],) = struct.unpack_from(order + value_format, entries, at + (8 if entry == 12 else 12))
    return sides[_WIDTH] * sides[_HEIGHT]
