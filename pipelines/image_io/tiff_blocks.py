"""A TIFF picture from top to bottom, some rows at a time, for pictures that don't fit into memory.

Covers every layout that ``tiff_reader`` reads, of a file's first page, and gives the same pixels: each strip or row of
tiles is decoded once, and plain data is read row by row. A picture stored as one compressed strip can't be cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import FailedReason, ImageError
from pipelines.image_io import tiff_reader
from pipelines.image_io.colour_profiles import in_wanted_colours
from pipelines.image_io.image_header import DecodedImage, ImageHeader, RawPixels
from pipelines.image_io.image_probe import probe_tiff
from pipelines.image_io.io_policies import ReadPolicy
from pipelines.image_io.source_file import SourceFile
from pipelines.image_io.tiff_samples import Layout, as_picture, layout_of

_BLOCK_BYTES = 4 << 20
"""Strips are taken together up to about this size."""
_JPEG = 7
_WITH_JPEG_TABLES = {6, 7, 34892, 33007}


@dataclass(frozen=True, slots=True)
class TiffBlocks:
    """An open TIFF picture."""

    header: ImageHeader
    rows: int
    """Of each block; the last may have fewer."""
    _file: SourceFile
    _page: Any
    _layout: Layout
    _policy: ReadPolicy
    _degraded: str | None

    @property
    def stored_block_bytes(self) -> int:
        """What one block takes as stored, uncompressed."""
        return self.rows * _row_bytes(self._page)

    def description(self) -> DecodedImage:
        """All that decoding the whole picture would say of it, but for its pixels."""
        with _damage():
            _, icc, note = self._in_colours(np.zeros((1, 1, int(self._page.samplesperpixel)), self._page.dtype))
        remarks = [remark for remark in (self._degraded, note, *self.header.notes) if remark]
        return DecodedImage(
            pixels=np.empty((0, 0), self.header.dtype),
            header=self.header,
            orientation=self.header.orientation,
            degraded="; ".join(remarks) or None,
            icc=icc,
        )

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """The blocks: (rows, width), (rows, width, 3) or (rows, width, 4), as ``decode_image`` gives the whole."""
        for top in range(0, self.header.height, self.rows):
            yield self._block(top, min(self.rows, self.header.height - top))

    def _block(self, top: int, rows: int) -> NDArray[Any]:
        with _damage():
            read = _plain_rows if self._page.is_contiguous else _segments
            return self._in_colours(tiff_reader.interleaved(read(self._file, self._page, top, rows)))[0]

    def _in_colours(self, samples: NDArray[Any]) -> tuple[NDArray[Any], bytes | None, str | None]:
        raw = RawPixels(as_picture(samples, self._layout, self._page))
        return in_wanted_colours(raw, self.header, self._policy.color)


@contextmanager
def open_tiff_blocks(file: SourceFile, policy: ReadPolicy) -> Iterator[TiffBlocks]:
    """A TIFF file's first page.

    Raises
    ------
    ImageError
        As ``decode_image``; what is damaged inside is found while the blocks are read.
    """
    header = probe_tiff(file, policy)
    with ExitStack() as opened:
        page = opened.enter_context(tiff_reader.open_page(file, 0))
        with _damage():
            valid, _ = tiff_reader.present(page, len(file))
            degraded = tiff_reader.judged(valid, policy)
            blocks = TiffBlocks(header, _rows_per_block(page), file, page, layout_of(page), policy, degraded)
        try:
            yield blocks
        finally:
            opened.close()  # here, so that what the caller's work raises isn't taken for damage of the file


@contextmanager
def _damage() -> Iterator[None]:
    """What tifffile and its codecs raise for a damaged file, as an ImageError."""
    try:
        yield
    except (ImageError, MemoryError):
        raise
    except Exception as error:
        raise ImageError(FailedReason.CORRUPT, f"TIFF is damaged: {type(error).__name__}: {error}") from error


def _row_bytes(page: Any) -> int:
    return int(page.imagewidth) * int(page.samplesperpixel) * int(page.dtype.itemsize)


def _rows_per_block(page: Any) -> int:
    stored = 1 if page.is_contiguous else int(page.tilelength if page.is_tiled else page.rowsperstrip)
    stored = max(1, min(stored, page.imagelength))
    return int(stored * max(1, _BLOCK_BYTES // (stored * _row_bytes(page))))


def _planes(page: Any) -> int:
    """1 when the samples of a pixel lie together."""
    return int(page.samplesperpixel) if int(page.planarconfig) == 2 else 1


def _plain_rows(file: SourceFile, page: Any, top: int, rows: int) -> NDArray[Any]:
    """(planes, rows, width, samples) of uncompressed data that lies in one piece; what is cut off is 0."""
    planes = _planes(page)
    samples = int(page.samplesperpixel) // planes
    dtype = np.dtype(page.parent.byteorder + page.dtype.char)
    row_bytes = page.imagewidth * samples * dtype.itemsize
    found = np.empty((planes, rows, page.imagewidth, samples), page.dtype)
    for plane in range(planes):
        start = page.dataoffsets[0] + (plane * page.imagelength + top) * row_bytes
        data = file[start : start + rows * row_bytes].ljust(rows * row_bytes, b"\0")
        found[plane] = np.frombuffer(data, dtype).reshape(found.shape[1:])
    return found


def _segments(file: SourceFile, page: Any, top: int, rows: int) -> NDArray[Any]:
    """The same of the strips or tiles that hold these rows; those that are cut off are left as no data."""
    planes = _planes(page)
    found = np.full((planes, rows, page.imagewidth, int(page.samplesperpixel) // planes), page.nodata, page.dtype)
    high = int(page.tilelength if page.is_tiled else min(page.rowsperstrip, page.imagelength))
    across = -(-page.imagewidth // page.tilewidth) if page.is_tiled else 1
    down = -(-page.imagelength // high)
    for plane in range(planes):
        for band in range(top // high, -(-(top + rows) // high)):
            first = (plane * down + band) * across
            for index in range(first, first + across):
                segment, left = _decoded(file, page, index)
                if segment is not None:
                    place = found[plane, band * high - top :, left:]
                    part = segment[: place.shape[0], : place.shape[1]]
                    place[: part.shape[0], : part.shape[1]] = part
    return found


def _decoded(file: SourceFile, page: Any, index: int) -> tuple[NDArray[Any] | None, int]:
    """(height, width, samples) of a strip or tile, and its column; None when the file ends before its end."""
    offset, count = page.dataoffsets[index], page.databytecounts[index]
    data = file[offset : offset + count] if offset + count <= len(file) else None
    if data is not None and page.compression == _JPEG:
        tiff_reader.check_jpeg(page, data)
    tables = (
        {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader} if page.compression in _WITH_JPEG_TABLES else {}
    )
    segment, (_, _, _, left, _), _ = page.decode(data, index, **tables)
    return (None if segment is None else segment[0]), left
