"""The samples that a TIFF picture stores: all of them, or some rows; what they mean is ``tiff_samples``'s.

Plain data is read as it lies there. Codecs are imagecodecs', called as tifffile calls them for a directory that says
the same as the file's in the plainest way: nothing of the file but checked numbers and its packed samples goes there.
Every sample of the result is one that the file stores, or 0: where it is cut off, and in strips or tiles that a sparse
file leaves out.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import FailedReason, ImageError
from pipelines.image_io.jpeg_reader import shape_of, turbo_decode
from pipelines.image_io.source_file import SourceFile
from pipelines.image_io.tiff_page import FLOAT, JPEG, UNSIGNED, Page

_WEBP = 50001
_OWN_TYPE = (34712, 33005, 34933, 34934, 22610, _WEBP, 50002, 52546)
"""Codecs of whole pictures, which know what their samples are."""


def stored_samples(data: bytes | SourceFile, page: Page, top: int, rows: int) -> NDArray[Any]:
    """(rows, width, samples) of a page; what is cut off is 0. Raises ImageError: ``corrupt``."""
    with damage():
        found = _plain_rows(data, page, top, rows) if page.is_plain else _segments(data, page, top, rows)
        return found[0] if page.planes == 1 else np.moveaxis(found[..., 0], 0, -1)


@contextmanager
def damage() -> Iterator[None]:
    """What codecs raise for a damaged file, as an ImageError."""
    try:
        yield
    except (ImageError, MemoryError):
        raise
    except Exception as error:
        raise ImageError(FailedReason.CORRUPT, f"TIFF is damaged: {type(error).__name__}: {error}") from error


def _plain_rows(data: bytes | SourceFile, page: Page, top: int, rows: int) -> NDArray[Any]:
    """(planes, rows, width, samples) of unpacked data that lies in one piece."""
    dtype = page.dtype.newbyteorder(page.order)
    row_bytes = page.row_bytes // page.planes
    shape = (rows, page.width, page.plane_samples)
    found = []
    for plane in range(page.planes):
        start = int(page.offsets[0]) + (plane * page.height + top) * row_bytes
        end = start + rows * row_bytes
        if isinstance(data, bytes) and end <= len(data) and page.fill_order == 1:
            stored = np.frombuffer(data, dtype, rows * page.width * page.plane_samples, start)
        else:
            piece = data[start:end].ljust(rows * row_bytes, b"\0")
            stored = np.frombuffer(piece if page.fill_order == 1 else _turned(piece), dtype)
        found.append(stored.reshape(shape))
    # a copy, so that the file isn't held as long as its pixels
    return np.array(found, page.dtype)


def _turned(data: bytes) -> bytes:
    import imagecodecs

    return bytes(imagecodecs.bitorder_decode(data))


def _segments(data: bytes | SourceFile, page: Page, top: int, rows: int) -> NDArray[Any]:
    """The same of the strips or tiles that hold these rows."""
    found = np.zeros((page.planes, rows, page.width, page.plane_samples), page.dtype)
    high, wide = page.segment
    codec = None if page.compression in _OWN_TYPE else _codec(data, page)
    for plane in range(page.planes):
        for band in range(top // high, -(-(top + rows) // high)):
            for column in range(page.across):
                index = (plane * page.down + band) * page.across + column
                start, count = int(page.offsets[index]), int(page.counts[index])
                if not count or start + count > len(data):
                    continue
                skipped = max(0, top - band * high)
                place = found[plane, band * high + skipped - top :, column * wide :]
                part = _decoded(codec, page, data[start : start + count], index)[skipped:]
                part = part[: place.shape[0], : place.shape[1]]
                place[: part.shape[0], : part.shape[1]] = part
    return found


def _decoded(codec: Any, page: Page, packed: bytes, index: int) -> NDArray[Any]:
    """(height, width, samples) of a strip or tile: all of it, or as much as lies in the picture."""
    high, wide = page.segment
    left, top = index % page.across * wide, index // page.across % page.down * high
    inside = min(high, page.height - top), min(wide, page.width - left)
    if page.compression == JPEG:
        shape = _check_jpeg(page, packed)
        found = codec.decode(packed, index, jpegtables=page.jpeg_tables)[0][0]
    elif page.compression in _OWN_TYPE:
        found = _whole_picture(page, packed)
        shape = found.shape
    else:
        found = codec.decode(packed, index)[0][0]
        shape = found.shape
    if shape[0] < inside[0] or shape[1] not in (wide, inside[1]) or shape[2] != page.plane_samples:
        raise ImageError(FailedReason.CORRUPT, f"TIFF holds a strip or tile of {shape}, and says {(high, wide)}")
    segment: NDArray[Any] = found
    return segment


def _whole_picture(page: Page, packed: bytes) -> NDArray[Any]:
    """By codecs that know the shape and type of what they hold."""
    import tifffile

    decode = tifffile.TIFF.DECOMPRESSORS[page.compression]
    # writers leave an opaque alpha out
    found = decode(packed, hasalpha=True) if page.compression == _WEBP and page.samples == 4 else decode(packed)
    if found.dtype != page.dtype:
        raise ImageError(FailedReason.CORRUPT, f"TIFF holds {found.dtype} and says {page.bits} bits")
    segment: NDArray[Any] = found.reshape(*found.shape[:2], -1)
    return segment


def _check_jpeg(page: Page, segment: bytes) -> tuple[int, int, int]:
    """Height, width and components of a strip or tile; strictly decoded, since the codec fills gaps without a word."""
    head = page.jpeg_tables[:-2] if page.jpeg_tables else b"\xff\xd8"
    whole = head + segment[2:]
    shape = shape_of(whole)
    try:
        turbo_decode(whole, "cmyk" if shape[2] == 4 else "gray")
    except ValueError as error:
        raise ImageError(FailedReason.CORRUPT, f"TIFF holds a damaged JPEG: {error}") from error
    return shape


def _codec(data: bytes | SourceFile, page: Page) -> Any:
    """tifffile's page of a directory made of the checked numbers alone."""
    import tifffile

    start = int(next(iter(page.offsets[page.offsets > 0]), 0))
    head = data[start : start + 16].ljust(16, b"\0")  # it looks there whether a JPEG says JFIF
    numbers: dict[int, Any] = {
        256: page.width,
        257: page.height,
        258: page.bits,
        259: page.compression,
        262: page.photometric,
        266: page.fill_order,
        277: page.samples,
        284: 2 if page.planar else 1,
        292: page.fax_options,
        317: page.predictor,
        339: FLOAT if page.dtype.kind == "f" else UNSIGNED,
    }
    if page.extra:
        numbers[338] = page.extra
    if page.tile:
        numbers |= {322: page.tile[1], 323: page.tile[0], 324: 16, 325: len(head)}
    else:
        expected = page.down * page.planes
        numbers |= {278: page.strip_rows, 273: (16,) * expected, 279: (len(head),) * expected}
    with tifffile.TiffFile(BytesIO(_plainest(page.order, head, numbers))) as file:
        codec = file.pages[0]
        codec.init_decode()  # may look into the file
        return codec


def _plainest(order: str, head: bytes, numbers: dict[int, Any]) -> bytes:
    """A BigTIFF of one directory, with its numbers as 64 bits."""
    start = 16 + len(head)
    after = start + 8 + 20 * len(numbers) + 8
    listed, outside = b"", b""
    for tag, value in sorted(numbers.items()):
        values = value if isinstance(value, tuple) else (value,)
        packed = struct.pack(f"{order}{len(values)}Q", *values)
        if len(values) > 1:
            packed, outside = struct.pack(order + "Q", after + len(outside)), outside + packed
        listed += struct.pack(order + "HHQ", tag, 16, len(values)) + packed
    mark = (b"II" if order == "<" else b"MM") + struct.pack(order + "HHHQ", 43, 8, 0, start)
    return mark + head + struct.pack(order + "Q", len(numbers)) + listed + bytes(8) + outside
