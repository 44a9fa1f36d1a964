"""What the samples of a TIFF page mean, and how they become gray, RGB or CMYK pixels of one of our types.

The table: unsigned 1-8 bits -> uint8, 9-16 -> uint16, scaled to the full range; 16, 32 and 64-bit floats -> float32 as
they are; min-is-white inverted; palettes looked up; associated alpha divided out. See also ``tiff_reader``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import FailedReason, ImageError
from pipelines.image_io.image_header import ColourSpace
from pipelines.image_io.sample_depth import to_depth
from pipelines.image_io.tiff_directory import Picture
from pipelines.image_io.tiff_page import BLACK_ZERO, JPEG, PALETTE, RGB, SEPARATED, WHITE_ZERO, YCBCR, Page, unsupported

_ASSOCIATED, _STRAIGHT = 1, 2
_COLOUR_MAP, _INK_SET, _DOT_RANGE = 320, 332, 336
_CMYK = 1
_BASE = {WHITE_ZERO: 1, BLACK_ZERO: 1, RGB: 3, PALETTE: 1, SEPARATED: 4, YCBCR: 3}
"""Samples of the colour itself."""
_SPACE: dict[int, ColourSpace] = {WHITE_ZERO: "gray", BLACK_ZERO: "gray", SEPARATED: "cmyk"}


@dataclass(frozen=True, slots=True)
class Layout:
    """A page's samples as the reader will give them."""

    channels: int
    """Of the finished picture: 1, 3 or 4."""
    dtype: str
    space: ColourSpace
    base: int
    """Samples of the colour."""
    alpha: int
    """Kind of the sample after the colour: 0 none, 1 associated, 2 straight."""
    notes: tuple[str, ...] = ()
    palette: NDArray[np.uint8] | None = None
    """(colours, 3)."""


def layout_of(page: Page, picture: Picture) -> Layout:
    """Check that a page is a picture that can be read. Raises ImageError: what is in the way, by name."""
    if page.photometric not in _BASE or (page.photometric == YCBCR and (page.compression != JPEG or page.planar)):
        unsupported(f"TIFF with colours stored as {_named(page.photometric)}; convert it to RGB first")
    if page.photometric == SEPARATED:
        _check_inks(page, picture)
    base = _BASE[page.photometric]
    alpha, notes = _extra(page, base)
    space = _SPACE.get(page.photometric, "rgb")
    colours = 1 if space == "gray" else 3
    dtype = "float32" if page.dtype.kind == "f" else page.dtype.name
    if page.photometric in (PALETTE, SEPARATED) and dtype == "float32":
        unsupported("TIFF with a palette or CMYK in floats")
    palette = _palette(picture, page.bits) if page.photometric == PALETTE else None
    has_alpha = alpha and space != "cmyk"
    if alpha and not has_alpha:
        notes = (*notes, "alpha left out: CMYK becomes RGB without")
    if page.dtype == np.float64:
        notes = (*notes, "floats of 64 bits read as 32")
    return Layout(
        4 if has_alpha else colours,
        "uint8" if page.photometric == PALETTE else dtype,
        space,
        base,
        alpha if has_alpha else 0,
        notes,
        palette,
    )


def as_picture(samples: NDArray[Any], layout: Layout, page: Page) -> NDArray[Any]:
    """(M, N, samples) as stored -> (M, N), (M, N, 2), (M, N, 3) or (M, N, 4) as ``RawPixels`` wants them."""
    if layout.palette is not None:
        coloured = layout.palette[samples[..., 0]]
        return coloured if not layout.alpha else np.dstack([coloured, _of_8_bits(samples[..., 1], page)])
    kept = samples[..., : layout.base + (1 if layout.alpha else 0)]
    pixels = _scaled(kept, page)
    if page.photometric == WHITE_ZERO:
        colours = pixels[..., :1]
        white = 1.0 if pixels.dtype.kind == "f" else np.iinfo(pixels.dtype).max
        pixels = np.concatenate([(white - colours).astype(pixels.dtype), pixels[..., 1:]], axis=-1)
    if layout.alpha == _ASSOCIATED:
        pixels = _straight(pixels)
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels


def _extra(page: Page, base: int) -> tuple[int, tuple[str, ...]]:
    """Kind of alpha, and a note on samples that are left out."""
    count = page.samples
    if count < base:
        raise ImageError(FailedReason.BAD_SHAPE, f"TIFF with {count} samples per pixel; its colours need {base}")
    if count == base:
        return 0, ()
    kinds = page.extra + (0,) * (count - base - len(page.extra))
    if kinds[0] in (_ASSOCIATED, _STRAIGHT):
        return kinds[0], () if count == base + 1 else (f"{count - base - 1} extra channels left out",)
    if base == 1:
        unsupported(f"TIFF with {count} channels without names, no picture; store them as pages")
    return 0, (f"{count - base} extra channels left out",)


def _check_inks(page: Page, picture: Picture) -> None:
    """Refuse inks other than cyan, magenta, yellow and black, and those of which 0 isn't none or the top isn't all."""
    if picture.directory.number(_INK_SET, _CMYK) != _CMYK:
        unsupported("TIFF with inks other than CMYK (InkSet); convert it to RGB first")
    found = picture.directory.numbers(_DOT_RANGE)
    top = (1 << page.bits) - 1
    if found is not None and ((found[0::2] != 0).any() or (found[1::2] != top).any()):
        unsupported(f"TIFF with inks from {found.tolist()} (DotRange); only those from 0 to {top} are read")


def _scaled(samples: NDArray[Any], page: Page) -> NDArray[Any]:
    """Samples over the full range of their type."""
    bits = page.bits
    if samples.dtype.kind == "f":
        with np.errstate(over="ignore"):  # a 64-bit number beyond float32 becomes infinite
            return samples.astype(np.float32, copy=False)
    if bits in (8, 16):
        return samples
    top, white = (1 << bits) - 1, 255 if bits <= 8 else 65535
    scaled: NDArray[Any] = (samples.astype(np.uint32) * white + top // 2) // top
    return scaled.astype(np.uint8 if bits <= 8 else np.uint16)


def _of_8_bits(samples: NDArray[Any], page: Page) -> NDArray[Any]:
    scaled = _scaled(samples, page)
    return scaled if scaled.dtype == np.uint8 else to_depth(scaled, 8)


def _palette(picture: Picture, bits: int) -> NDArray[np.uint8]:
    colours = picture.directory.numbers(_COLOUR_MAP)
    if colours is None or len(colours) != 3 << bits:
        count = 0 if colours is None else len(colours) // 3
        raise ImageError(FailedReason.CORRUPT, f"TIFF has pixels of {bits} bits and a palette of {count} colours")
    if colours.max() < 256:  # 16 bits by the standard, but some old writers stored 8
        eight = colours
    elif not (colours & 255).any():  # others, Pillow too, put 8 bits into the high byte
        eight = colours >> 8
    else:
        eight = (colours * 255 + 32767) // 65535
    return eight.clip(max=255).astype(np.uint8).reshape(3, -1).T


def _straight(pixels: NDArray[Any]) -> NDArray[Any]:
    """Colours divided by their alpha; where alpha is 0 there is no colour left to find: black."""
    colours, alpha = pixels[..., :-1].astype(np.float64), pixels[..., -1:].astype(np.float64)
    white = 1.0 if pixels.dtype.kind == "f" else float(np.iinfo(pixels.dtype).max)
    divided = np.divide(colours * white, alpha, out=np.zeros_like(colours), where=alpha > 0)
    if pixels.dtype.kind != "f":
        divided = np.minimum(np.rint(divided), white)
    return np.concatenate([divided.astype(pixels.dtype), pixels[..., -1:]], axis=-1)


def _named(photometric: int) -> str:
    import tifffile

    try:
        return str(tifffile.PHOTOMETRIC(photometric).name)
    except ValueError:
        return f"kind {photometric}"
