"""TIFF: directories and tags walked and checked here, codecs by imagecodecs, every strip or tile checked to be there.

Covers classic and BigTIFF, strips and tiles, planar and interleaved, 1 to 16 bits unsigned, floats (as float32), gray,
RGB, palette, CMYK, JPEG's YCbCr, alpha, several pages, stacks behind one directory. What has no one meaning as a
picture (signed or 32-bit integers, Lab, raw sensor data, unnamed extra channels) is refused. ``tiff_directory``: which
pictures there are; ``tiff_page``: their tags and stored samples; ``tiff_samples``: the meaning of samples.
"""

from __future__ import annotations

from pipelines.errors import FailedReason, ImageError
from pipelines.image_io.colour_statements import exif_profile, of_tiff
from pipelines.image_io.exif import orientation_of
from pipelines.image_io.exif_block import ExifBlock, parse_exif
from pipelines.image_io.image_header import ImageHeader, RawPixels
from pipelines.image_io.io_policies import ReadPolicy
from pipelines.image_io.jpeg_reader import iptc_of
from pipelines.image_io.metadata import described_exif, resolution_of
from pipelines.image_io.source_file import SourceFile
from pipelines.image_io.tiff_directory import Directory, pictures_of
from pipelines.image_io.tiff_page import WHITE_ZERO, Page, page_of
from pipelines.image_io.tiff_samples import Layout, as_picture, layout_of
from pipelines.image_io.tiff_stored import stored_samples

_XMP, _ICC, _ORIENTATION, _IPTC, _PHOTOSHOP = 700, 34675, 274, 33723, 34377
_WHITE, _PRIMARIES, _TRANSFER = 318, 319, 301


def probe(data: bytes | SourceFile, frame: int) -> ImageHeader:
    """The header of a page. Raises ImageError."""
    pictures, _ = pictures_of(data)
    picture = pictures[min(frame, len(pictures) - 1)]
    page = page_of(picture, len(data))
    layout = layout_of(page, picture)
    tags = picture.directory
    high, wide = page.segment
    tile_bytes = high * wide * page.plane_samples * page.dtype.itemsize
    described = parse_exif(data, directory=tags.at)
    exif = described_exif(described)
    icc, note = tags.content(_ICC), None
    if icc is None and layout.space != "cmyk" and described is not None:
        icc, note = _stated_colours(described, exif, layout, page.photometric)
    size = page.width * page.height * layout.channels * (4 if layout.dtype == "float32" else page.dtype.itemsize)
    return ImageHeader(
        format="tiff",
        width=page.width,
        height=page.height,
        channels=layout.channels,
        dtype=layout.dtype,
        space=layout.space,
        frames=len(pictures),
        frames_pixels=sum(picture.pixels for picture in pictures),
        # all samples as stored, and one tile, which may be larger than the picture
        working_copies=1 + -(-(page.stored_bytes + tile_bytes) // size),
        orientation=_orientation(tags),
        icc=icc,
        exif=exif,
        xmp=tags.content(_XMP),
        iptc=tags.content(_IPTC) or iptc_of(tags.content(_PHOTOSHOP) or b""),
        resolution=resolution_of(described),
        notes=layout.notes if note is None else (*layout.notes, note),
    )


def decode(data: bytes, header: ImageHeader, frame: int, policy: ReadPolicy, scale_denom: int) -> RawPixels:
    """The pixels of a page. ``scale_denom`` is not for TIFF."""
    page, layout, degraded = opened(data, frame, policy)
    return RawPixels(as_picture(stored_samples(data, page, 0, page.height), layout, page), degraded)


def opened(data: bytes | SourceFile, frame: int, policy: ReadPolicy) -> tuple[Page, Layout, str | None]:
    """A page that may be decoded, and what is to be said of it when a part is cut off. Raises ImageError."""
    pictures, cut = pictures_of(data)
    picture = pictures[frame]
    page = page_of(picture, len(data))
    degraded = _judged(page.present(len(data)), policy)
    if cut and degraded is None:
        if policy.truncated == "strict":
            raise ImageError(
                FailedReason.TRUNCATED, f"TIFF ends after {len(pictures)} pages, in the directory of the next"
            )
        degraded = f"truncated: {len(pictures)} whole frames"
    return page, layout_of(page, picture), degraded


def _judged(valid: float, policy: ReadPolicy) -> str | None:
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


def _orientation(tags: Directory) -> int:
    try:
        found = tags.number(_ORIENTATION, 1)
    except ImageError:  # costs no picture
        found = 1
    return found if 2 <= found <= 8 else orientation_of(None, tags.content(_XMP))


def _stated_colours(
    described: ExifBlock, exif: bytes | None, layout: Layout, photometric: int
) -> tuple[bytes | None, str | None]:
    """What a page without a profile says of its colours, in tags of its own or in EXIF."""
    gray = layout.space == "gray"
    white, primaries, transfer = (described.numbers(described.main, tag) for tag in (_WHITE, _PRIMARIES, _TRANSFER))
    if layout.dtype == "float32" or photometric == WHITE_ZERO:  # made for stored integers, black first
        transfer = ()
    icc, note = of_tiff(white, primaries, transfer, gray=gray)
    if icc is None and note is None and not (white or primaries):
        icc = exif_profile(exif, gray=gray)
    return icc, note
