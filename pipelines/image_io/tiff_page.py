"""A TIFF picture as its tags say, checked; ``tiff_stored`` reads the samples that it tells of.

The meaning of tags that are missing or odd is libtiff's; what has a value that nobody knows is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import FailedReason, ImageError
from pipelines.image_io.tiff_directory import Picture

MAX_SAMPLES = 32
"""Per pixel, extra channels included."""
WHITE_ZERO, BLACK_ZERO, RGB, PALETTE, SEPARATED, YCBCR = 0, 1, 2, 3, 5, 6
NONE, JPEG = 1, 7
_FAX = (2, 3, 4)
_PREDICTED = (5, 8, 32946, 34925, 34926, 50000)
"""LZW, deflate, LZMA and zstd: with all others readers pass over the predictor."""
_READ = (
    *(NONE, *_FAX, JPEG, *_PREDICTED),
    *(32773, 34712, 33005, 34887, 34933, 34934, 22610, 50001, 50002, 52546),
)
"""Besides: PackBits, JPEG 2000, LERC, PNG, JPEG XR, WebP, JPEG XL."""
_FARTHEST_SIDE, _MOST_BYTES = 1 << 31, 1 << 60
"""So that no sum of offsets leaves 64 bits; long before, ``limits`` say no."""
UNSIGNED, FLOAT, _UNDEFINED = 1, 3, 4
_EXTRA = (0, 1, 2)
"""Kinds of samples beside the colours: anything, premultiplied alpha, straight alpha."""
_FLOATS = {16: "f2", 32: "f4", 64: "f8"}
_NO_DATA = 42113
"""GDAL's text: the value of pixels without data, which strips and tiles that are left out consist of."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """What the tags of one picture say."""

    order: Literal["<", ">"]
    width: int
    height: int
    samples: int
    """Per pixel."""
    bits: int
    """Per sample."""
    dtype: np.dtype[Any]
    """Of the samples as they are given: bits 1 to 8 as uint8, 9 to 16 as uint16."""
    photometric: int
    compression: int
    predictor: int
    fill_order: int
    planar: bool
    """Each sample in a plane of its own."""
    extra: tuple[int, ...]
    """Kinds of the samples after the colour."""
    tile: tuple[int, int] | None
    """Height and width of the tiles; None: strips."""
    strip_rows: int
    offsets: NDArray[np.int64] = field(repr=False)
    counts: NDArray[np.int64] = field(repr=False)
    jpeg_tables: bytes | None = field(repr=False)
    fax_options: int

    @property
    def planes(self) -> int:
        return self.samples if self.planar else 1

    @property
    def plane_samples(self) -> int:
        return 1 if self.planar else self.samples

    @property
    def segment(self) -> tuple[int, int]:
        """Height and width of a tile or strip."""
        return self.tile or (self.strip_rows, self.width)

    @property
    def across(self) -> int:
        return -(-self.width // self.segment[1])

    @property
    def down(self) -> int:
        return -(-self.height // self.segment[0])

    @property
    def row_bytes(self) -> int:
        """One row of all samples as they are given."""
        return self.width * self.samples * self.dtype.itemsize

    @property
    def stored_bytes(self) -> int:
        """All samples, as they are given."""
        return self.height * self.row_bytes

    @cached_property
    def is_sparse(self) -> bool:
        """Strips or tiles are left out, as GDAL does it where all is 0: they have neither offset nor bytes."""
        return not self.offsets.all()

    @cached_property
    def is_plain(self) -> bool:
        """The samples lie unpacked in one piece, whatever the counts say."""
        if self.compression != NONE or self.tile or self.bits not in (8, 16, 32, 64) or self.is_sparse:
            return False
        if len(self.offsets) == 1:
            return True
        tops = np.arange(self.down, dtype=np.int64) * self.strip_rows
        starts = (np.arange(self.planes)[:, None] * self.height + tops).ravel() * (self.row_bytes // self.planes)
        return bool((self.offsets - self.offsets[0] == starts).all())

    def present(self, size: int) -> float:
        """Share of the picture's bytes that a file of this size holds."""
        if self.is_plain:
            return min(1.0, max(0.0, (size - int(self.offsets[0])) / self.stored_bytes))
        whole = self.offsets + self.counts <= size
        return 1.0 if whole.all() else float(self.counts[whole].sum(dtype=float) / self.counts.sum(dtype=float))


def page_of(picture: Picture, size: int) -> Page:
    """The checked tags of a picture in a file of this size. Raises ImageError."""
    tags = picture.directory
    width, height = _size(picture)
    samples = tags.number(277, 1)
    if not 1 <= samples <= MAX_SAMPLES:
        raise ImageError(FailedReason.BAD_SHAPE, f"TIFF with {samples} samples per pixel; up to {MAX_SAMPLES} are read")
    compression = _compression(tags.number(259, NONE))
    extra = tuple(2 if kind == 999 else int(kind) for kind in _several(picture, 338))  # 999: Corel's straight alpha
    bits = _per_sample(picture, 258, samples, 1)
    planar = _one_of(picture, 284, (1, 2), "PlanarConfiguration") == 2 and samples > 1
    tile, strip_rows = _blocks(picture, height)
    page = Page(
        order=tags.order,
        width=width,
        height=height,
        samples=samples,
        bits=bits,
        dtype=_dtype(_per_sample(picture, 339, samples, UNSIGNED), bits),
        photometric=_photometric(picture, samples, extra, compression),
        compression=compression,
        predictor=_one_of(picture, 317, (1, 2, 3), "Predictor") if compression in _PREDICTED else 1,
        fill_order=_one_of(picture, 266, (1, 2), "FillOrder"),
        planar=planar,
        extra=extra,
        tile=tile,
        strip_rows=strip_rows,
        offsets=_first_of(picture, (324, 273) if tile else (273, 324)),
        counts=_first_of(picture, (325, 279) if tile else (279, 325)),
        jpeg_tables=tags.content(347),
        fax_options=tags.number(292, 0),
    )
    _check(page)
    page = _located(page, picture.follower, size)
    if page.is_sparse:
        _check_left_out((tags.content(_NO_DATA) or b"0").rstrip(b"\0 ").decode("ascii", "replace"))
    return page


def _size(picture: Picture) -> tuple[int, int]:
    """Width and height."""
    tags = picture.directory
    width, height = tags.number(256, 0), tags.number(257, 0)
    if width <= 0 or height <= 0:
        raise ImageError(FailedReason.CORRUPT, f"TIFF page of {width} x {height} px")
    if max(width, height) > _FARTHEST_SIDE:
        raise ImageError(FailedReason.TOO_LARGE, f"TIFF page of {width:,} x {height:,} px")
    depth = tags.number(32997, 1)
    if depth != 1:
        raise ImageError(FailedReason.BAD_SHAPE, f"TIFF page {depth} deep; only flat ones are read")
    return width, height


def _several(picture: Picture, tag: int) -> NDArray[np.int64]:
    found = picture.directory.numbers(tag) if picture.directory.count(tag) else None
    return np.zeros(0, np.int64) if found is None else found


def _per_sample(picture: Picture, tag: int, samples: int, default: int) -> int:
    """A number that is given once, or for each sample; then all are the same."""
    found = _several(picture, tag)
    if not len(found):
        return default
    if len(found) > 1 and (len(found) < samples or (found[:samples] != found[0]).any()):
        unsupported(f"TIFF whose {samples} samples differ: {found.tolist()} in tag {tag}")
    return int(found[0])


def _one_of(picture: Picture, tag: int, known: tuple[int, ...], name: str) -> int:
    """A tag's number, 1 without it."""
    found = picture.directory.number(tag, 1)
    if found not in known:
        unsupported(f"TIFF with {name} {found}; {', '.join(map(str, known))} are known")
    return found


def _first_of(picture: Picture, tags: tuple[int, int]) -> NDArray[np.int64]:
    return _several(picture, next((tag for tag in tags if picture.directory.count(tag)), tags[0]))


def _compression(compression: int) -> int:
    import tifffile

    if compression in _READ and compression in tifffile.TIFF.DECOMPRESSORS:
        return compression
    try:
        name = tifffile.COMPRESSION(compression).name
    except ValueError:
        raise ImageError(
            FailedReason.CODEC_MISSING, f"TIFF compressed with {compression}, for which there is no decoder"
        ) from None
    unsupported(f"TIFF compressed with {name}; convert it first")


def _photometric(picture: Picture, samples: int, extra: tuple[int, ...], compression: int) -> int:
    """What colours the samples are; without the tag as libtiff's own conversion to RGB takes them."""
    given = picture.directory.number(262, -1)
    if given >= 0:
        return given
    if compression in _FAX:
        return WHITE_ZERO
    colours = samples - len(extra)
    if colours not in (1, 3) or compression == JPEG:
        unsupported(f"TIFF with {samples} samples per pixel that doesn't say what they are")
    return BLACK_ZERO if colours == 1 else RGB


def _dtype(format: int, bits: int) -> np.dtype[Any]:
    if format == FLOAT and bits in _FLOATS:
        return np.dtype(_FLOATS[bits])
    if format not in (UNSIGNED, _UNDEFINED) or not 1 <= bits <= 16:
        kind = {1: "unsigned", 2: "signed", 3: "float", 5: "complex", 6: "complex"}.get(format, f"unknown ({format})")
        unsupported(f"TIFF with {kind} samples of {bits} bits; unsigned up to 16 bits and floats are read")
    return np.dtype(np.uint8 if bits <= 8 else np.uint16)


def _blocks(picture: Picture, height: int) -> tuple[tuple[int, int] | None, int]:
    """Height and width of the tiles, or None; rows of a strip."""
    tags = picture.directory
    if tags.count(322) or tags.count(323):
        tile = tags.number(323, 0), tags.number(322, 0)
        if min(tile) <= 0 or max(tile) > _FARTHEST_SIDE or tags.number(32998, 1) != 1:
            raise ImageError(FailedReason.CORRUPT, f"TIFF with tiles of {tile[1]} x {tile[0]} px")
        return tile, 0
    rows = tags.number(278, height)
    if rows == 0:
        raise ImageError(FailedReason.CORRUPT, "TIFF with strips of 0 rows")
    return None, min(rows, height)


def _check(page: Page) -> None:
    """Refuse what doesn't go together, and what no reader agrees on."""
    if page.stored_bytes > _MOST_BYTES:
        raise ImageError(FailedReason.TOO_LARGE, f"TIFF page of {page.stored_bytes:,} bytes")
    if page.compression in _FAX and (page.bits, page.samples) != (1, 1):
        raise ImageError(FailedReason.CORRUPT, f"TIFF fax of {page.samples} samples of {page.bits} bits")
    if page.compression == JPEG and page.bits != 8:
        unsupported(f"TIFF with JPEG of {page.bits} bits")
    if any(kind not in _EXTRA for kind in page.extra):
        unsupported(f"TIFF with ExtraSamples {page.extra}; {', '.join(map(str, _EXTRA))} are known")
    if page.predictor == 2 and page.bits not in (8, 16, 32, 64):
        unsupported(f"TIFF with a predictor for samples of {page.bits} bits")
    if page.predictor == 3 and page.dtype.kind != "f":
        unsupported("TIFF with a predictor for floats, whose samples are none")


def _located(page: Page, follower: int, size: int) -> Page:
    """The page with as many offsets and counts as it has strips or tiles, of the picture that is meant."""
    expected = page.across * page.down * page.planes
    offsets, counts = page.offsets, page.counts
    if page.compression == NONE and page.tile is None and len(offsets) == 1:
        packed_row = -(-page.width * page.plane_samples * page.bits // 8)
        counts = np.full(1, page.planes * page.height * packed_row, np.int64)  # as readers do, whatever is given
    elif not len(counts):
        ends = np.append(np.sort(offsets), size)
        counts = np.maximum(0, ends[np.searchsorted(ends, offsets, side="right").clip(max=len(offsets))] - offsets)
    elif len(counts) == len(offsets) == 1 and counts[0] == 0 and page.compression in _FAX:
        counts = np.maximum(0, size - offsets)
    if min(len(offsets), len(counts)) < expected and not (len(offsets) == 1 and page.compression == NONE):
        raise ImageError(
            FailedReason.CORRUPT, f"TIFF lists {min(len(offsets), len(counts))} of {expected} strips or tiles"
        )
    offsets, given = offsets[:expected], page.counts[:expected]
    left_out = (offsets == 0) & (given == 0) if len(offsets) == len(given) else np.zeros(len(offsets), bool)
    counts = np.where(left_out, 0, counts[:expected])
    if not len(offsets) or (((offsets <= 0) | (counts <= 0)) & ~left_out).any():
        raise ImageError(FailedReason.CORRUPT, "TIFF has strips or tiles without data")
    page = replace(page, offsets=offsets, counts=counts)
    if len(offsets) < expected and not page.is_plain:
        raise ImageError(FailedReason.CORRUPT, f"TIFF lists {len(offsets)} of {expected} strips or tiles")
    if follower:
        if not page.is_plain:
            unsupported("TIFF with several pictures after one directory, which are packed")
        page = replace(page, offsets=offsets + follower * page.stored_bytes)
    return page


def _check_left_out(no_data: str) -> None:
    """Refuse a sparse page unless what it leaves out is 0."""
    try:
        is_zero = float(no_data) == 0
    except ValueError:
        is_zero = False
    if not is_zero:
        unsupported(f"TIFF that leaves strips or tiles out, which stand for GDAL_NODATA {no_data}; store all of them")


def unsupported(text: str) -> NoReturn:
    raise ImageError(FailedReason.UNSUPPORTED_FORMAT, text)
