"""A TIFF picture from top to bottom, some rows at a time, for pictures that don't fit into memory.

Covers every layout that ``tiff_reader`` reads, of a file's first page, and gives the same pixels: each strip or row of
tiles is decoded once, and plain data is read row by row. A picture stored as one compressed strip can't be cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.image_io import tiff_reader
from pipelines.image_io.colour_profiles import in_wanted_colours
from pipelines.image_io.image_header import DecodedImage, ImageHeader, RawPixels
from pipelines.image_io.image_probe import probe_tiff
from pipelines.image_io.io_policies import ReadPolicy
from pipelines.image_io.source_file import SourceFile
from pipelines.image_io.tiff_page import Page
from pipelines.image_io.tiff_samples import Layout, as_picture
from pipelines.image_io.tiff_stored import damage, stored_samples

_BLOCK_BYTES = 4 << 20
"""Strips are taken together up to about this size."""


@dataclass(frozen=True, slots=True)
class TiffBlocks:
    """An open TIFF picture."""

    header: ImageHeader
    rows: int
    """Of each block; the last may have fewer."""
    _file: SourceFile
    _page: Page
    _layout: Layout
    _policy: ReadPolicy
    _degraded: str | None

    @property
    def stored_block_bytes(self) -> int:
        """What one block takes as stored, uncompressed."""
        return self.rows * self._page.row_bytes

    def description(self) -> DecodedImage:
        """All that decoding the whole picture would say of it, but for its pixels."""
        with damage():
            _, icc, note = self._in_colours(np.zeros((1, 1, self._page.samples), self._page.dtype))
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
        with damage():
            return self._in_colours(stored_samples(self._file, self._page, top, rows))[0]

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
    page, layout, degraded = tiff_reader.opened(file, 0, policy)
    yield TiffBlocks(header, _rows_per_block(page), file, page, layout, policy, degraded)


def _rows_per_block(page: Page) -> int:
    stored = 1 if page.is_plain else page.segment[0]
    stored = max(1, min(stored, page.height))
    return stored * max(1, _BLOCK_BYTES // (stored * page.row_bytes))
