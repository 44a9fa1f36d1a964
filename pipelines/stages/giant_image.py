"""Images that don't fit into the memory for one image: rendered and measured in bands of whole rows.

Covers TIFF files, chains whose operations have a known reach, analyses that can be merged from tiles, and TIFF output;
pixels and numbers are those of the whole image. Everything else is refused, by name. Doesn't publish anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import BinaryIO

import numpy as np

from pipelines.analyses import AnalysisCalculator, Result
from pipelines.errors import FailedReason, ImageError
from pipelines.image_io.image_encoding import encode_bands
from pipelines.image_io.image_header import DecodedImage, ImageHeader
from pipelines.image_io.image_probe import HEAD_BYTES, format_of
from pipelines.image_io.io_policies import EncodeOptions, ReadPolicy
from pipelines.image_io.source_file import SourceFile
from pipelines.image_io.tiff_blocks import TiffBlocks, open_tiff_blocks
from pipelines.image_io.tiff_writer import TILE
from pipelines.image_io.written_form import written_format
from pipelines.models import ImageOperation
from pipelines.operations.chain import AUTO_ORIENT, UPRIGHT, ChainError, chain_halo, image_error_of
from pipelines.operations.registry import Image
from pipelines.operations.tiled_chain import band_by_tiles

GIANT_BYTES = 1 << 30
"""What the lane may hold at a time; an image that needs more even in bands is refused."""
MAX_COUNTED = 1 << 31
"""Pixels from which on the sums of analyses could overflow."""
_BAND_BYTES = 160 << 20
"""Rows held at a time are chosen for about this size."""
_SIDE = 1024
"""Width of the tiles that operations get, px."""
_TILE_COPIES = 10
"""Arrays of a tile's size that an operation may hold, floats included."""
_FIXED_BYTES = 128 << 20
"""What analyses count in, and codecs hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GiantWork:
    """What is wanted of a giant image."""

    operations: tuple[ImageOperation, ...]
    calculator: AnalysisCalculator
    image: EncodeOptions | None
    """None: no image is wanted."""
    memory_bytes: int
    """The memory for one image; rows held at a time are fewer when it is small."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GiantImage:
    """An open giant image whose work was found possible."""

    source: DecodedImage
    """What its file says; without pixels."""
    needed_bytes: int
    """Memory that the work takes at its peak, about."""
    _blocks: TiffBlocks
    _work: GiantWork
    _halo: int
    _band_rows: int

    @property
    def orientation(self) -> int:
        """What is left to do for a viewer (EXIF 1..8)."""
        upright = any(operation.name == AUTO_ORIENT for operation in self._work.operations)
        return UPRIGHT if upright else self.source.orientation

    def run(self, target: BinaryIO | None, alive: Callable[[], None]) -> dict[str, Result]:
        """Do the work: write the image into ``target``, a new file, if one is wanted, and return the analyses.

        ``alive`` is called after each band.

        Raises
        ------
        ImageError
            As the stages of an image in one piece.
        OSError
            The target can't be written.
        """
        header = self.source.header
        bands = self._bands()
        first = next(bands)
        shape = (header.height, header.width, *first.shape[2:])
        analyses = self._work.calculator.begin(
            height=header.height,
            width=header.width,
            dtype=first.dtype,
            channels=1 if first.ndim == 2 else first.shape[2],
        )

        def measured(bands: Iterator[Image]) -> Iterator[Image]:
            row = 0
            for band in bands:
                analyses.update(band, row=row, column=0)
                row += band.shape[0]
                yield band
                alive()

        every = measured(chain([first], bands))
        del first
        if target is not None and self._work.image is not None:
            options = self._work.image
            encode_bands(target, every, shape, options, source=self.source, orientation=self.orientation)
        for _ in every:  # without an image, and to the end of the generator
            pass
        return analyses.results()

    def _bands(self) -> Iterator[Image]:
        """The rendered image from top to bottom."""
        operations, halo, width = self._work.operations, self._halo, self.source.header.width
        for window, above, rows in self._windows():
            band: Image | None = None
            for left, tile in band_by_tiles(window, operations, above=above, rows=rows, halo=halo, side=_SIDE):
                if band is None:
                    band = np.empty((rows, width, *tile.shape[2:]), tile.dtype)
                band[:, left : left + tile.shape[1]] = tile
            assert band is not None
            yield band

    def _windows(self) -> Iterator[tuple[Image, int, int]]:
        """For each band: the stored rows that it depends on, how many lie above it, and its own height."""
        height, blocks = self.source.header.height, iter(self._blocks)
        held: Image | None = None
        start = end = 0  # rows of the image that are held
        for top in range(0, height, self._band_rows):
            rows = min(self._band_rows, height - top)
            first, last = max(0, top - self._halo), min(height, top + rows + self._halo)
            if held is not None:
                held[: end - first] = held[first - start : end - start]
            start = first
            while end < last:
                block = next(blocks)
                if held is None:
                    most = min(height, self._band_rows + 2 * self._halo + self._blocks.rows)
                    held = np.empty((most, *block.shape[1:]), block.dtype)
                held[end - start : end - start + block.shape[0]] = block
                end += block.shape[0]
            assert held is not None
            yield held[: last - start], top - first, rows


@contextmanager
def open_giant(file: SourceFile, policy: ReadPolicy, work: GiantWork) -> Iterator[GiantImage]:
    """Look into a file, and find out whether the work can be done in bands.

    Raises
    ------
    ImageError
        ``too_large``: says what stands in the way; or what ``probe_header`` raises.
    """
    format = format_of(file[:HEAD_BYTES])
    if format != "tiff":
        raise _refusal(f"{format.upper()} of {len(file):,} bytes", work, [f"{format.upper()} isn't read in bands"])
    with open_tiff_blocks(file, policy) as blocks:
        header = blocks.header
        what = f"{header.width} x {header.height} {header.dtype} of {header.predicted_bytes:,} bytes decoded"
        if found := _obstacles(header, work):
            raise _refusal(what, work, found)
        halo = _halo(header, work.operations) or 0
        rows = _band_rows(blocks, halo, min(work.memory_bytes, _BAND_BYTES))
        needed = _needed(blocks, halo, rows)
        if needed > GIANT_BYTES:
            raise _refusal(what, work, [_too_high(blocks, halo, needed)])
        yield GiantImage(
            source=blocks.description(), needed_bytes=needed, _blocks=blocks, _work=work, _halo=halo, _band_rows=rows
        )


def _refusal(what: str, work: GiantWork, obstacles: Sequence[str]) -> ImageError:
    return ImageError(
        FailedReason.TOO_LARGE,
        f"{what} is above limits.memory_per_image ({work.memory_bytes:,}) and can't be done in bands: "
        f"{'; '.join(obstacles)}. Raise the limit, or leave that out",
    )


def _obstacles(header: ImageHeader, work: GiantWork) -> list[str]:
    found = [
        f"operation {number} ({operation.name}) needs the whole image"
        for number, operation in enumerate(work.operations, start=1)
        if _halo(header, [operation]) is None
    ]
    found += [f"analysis {name} needs the whole image" for name in work.calculator.whole_image_analyses()]
    format = None if work.image is None else written_format(work.image, header.format)
    if format not in (None, "tiff"):
        found.append(f"{format} isn't written in bands, only tiff is")
    if header.frame_count > 1:
        found.append(f"of {header.frame_count} images in a file (read.frames: all) none is done in bands")
    if header.width * header.height >= MAX_COUNTED:
        found.append(f"more than {MAX_COUNTED:,} pixels can't be counted")
    return found


def _halo(header: ImageHeader, operations: Sequence[ImageOperation]) -> int | None:
    """As ``chain_halo``; turning an image that stands upright changes nothing."""
    moving = [
        operation
        for operation in operations
        if operation.name != AUTO_ORIENT or (operation.params.get("orientation") or header.orientation) != UPRIGHT
    ]
    try:
        return chain_halo(moving)
    except ChainError as error:
        raise image_error_of(error, operations) from error


def _row_bytes(header: ImageHeader) -> int:
    return header.pixel_bytes // header.height


def _band_rows(blocks: TiffBlocks, halo: int, memory_bytes: int) -> int:
    """Rows of a band, a multiple of a tile's: they are held once as stored and once rendered."""
    rows = memory_bytes // _row_bytes(blocks.header) - 2 * halo - blocks.rows
    return max(rows // 2 // TILE, 1) * TILE


def _needed(blocks: TiffBlocks, halo: int, band_rows: int) -> int:
    header = blocks.header
    high = min(header.height, band_rows + 2 * halo)
    tile = high * min(header.width, _SIDE + 2 * halo) * header.channels * 4
    decoding = 2 * blocks.stored_block_bytes + 3 * blocks.rows * _row_bytes(header)
    # the rows held, those that move up, and the rendered band while the next one is made
    rows = high + 2 * halo + blocks.rows + 2 * min(header.height, band_rows)
    return rows * _row_bytes(header) + decoding + _TILE_COPIES * tile + _FIXED_BYTES


def _too_high(blocks: TiffBlocks, halo: int, needed: int) -> str:
    parts = "strips or tiles" if blocks.rows > 1 else "rows"
    return (
        f"it takes {needed:,} bytes even so, with {parts} {blocks.rows:,} rows high and operations that reach {halo} "
        f"rows (store it in lower tiles)"
    )
