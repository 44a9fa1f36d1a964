"""What the samples of a TIFF page mean, and how they become gray, RGB or CMYK pixels of one of our types.

The table: unsigned 1-8 bits -> uint8, 9-16 -> uint16, scaled to the full range; 16, 32 and 64-bit floats -> float32 as
they are; min-is-white inverted; palettes looked up; associated alpha divided out. See also ``tiff_reader``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import FailedReason, ImageError
from pipelines.image_io.image_header import ColourSpace

MAX_SAMPLES = 32
"""Per pixel, extra channels included."""
_WHITE_ZERO, _BLACK_ZERO, _RGB, _PALETTE, _SEPARATED, _YCBCR = 0, 1, 2, 3, 5, 6
_ASSOCIATED, _STRAIGHT = 1, 2
_JPEG = 7
_COLOUR_MAP = 320
_BASE = {_WHITE_ZERO: 1, _BLACK_ZERO: 1, _RGB: 3, _PALETTE: 1, _SEPARATED: 4, _YCBCR: 3}
"""Samples of the colour itself."""
_SPACE: dict[int, ColourSpace] = {_WHITE_ZERO: "gray", _BLACK_ZERO: "gray", _SEPARATED: "cmyk"}


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


def layout_of(page: Any) -> Layout:
    """Check that a page is a picture that can be read. Raises ImageError: what is in the way, by name."""
    import tifffile

    if page.compression not in tifffile.TIFF.DECOMPRESSORS:
        name = getattr(page.compression, "name", str(page.compression))
        raise ImageError(FailedReason.CODEC_MISSING, f"TIFF compressed with {name}, for which there is no decoder")
    photometric = int(page.photometric) if page.photometric is not None else _BLACK_ZERO
    if photometric not in _BASE or (photometric == _YCBCR and page.compression != _JPEG):
        name = getattr(page.photometric, "name", str(page.photometric))
        _unsupported(f"TIFF with colours stored as {name}; convert it to RGB first")
    if page.imagewidth <= 0 or page.imagelength <= 0:
        raise ImageError(FailedReason.CORRUPT, f"TIFF page of {page.imagewidth} x {page.imagelength} px")
    if page.imagedepth != 1:
        raise ImageError(FailedReason.BAD_SHAPE, f"TIFF page {page.imagedepth} deep; only flat ones are read")
    base = _BASE[photometric]
    alpha, notes = _extra(page, base)
    space = _SPACE.get(photometric, "rgb")
    colours = 1 if space == "gray" else 3
    dtype = "uint8" if photometric == _PALETTE else _dtype(page)
    if space == "cmyk" and dtype == "float32":
        _unsupported("TIFF with CMYK in floats")
    has_alpha = alpha and space != "cmyk"
    return Layout(4 if has_alpha else colours, dtype, space, base, alpha if has_alpha else 0, notes)


def as_picture(samples: NDArray[Any], layout: Layout, page: Any) -> NDArray[Any]:
    """(M, N, samples) as stored -> (M, N), (M, N, 2), (M, N, 3) or (M, N, 4) as ``RawPixels`` wants them."""
    photometric = int(page.photometric) if page.photometric is not None else _BLACK_ZERO
    if photometric == _PALETTE:
        coloured = _looked_up(samples[..., 0], page)
        return coloured if not layout.alpha else np.dstack([coloured, _scaled(samples[..., 1], page)])
    kept = samples[..., : layout.base + (1 if layout.alpha else 0)]
    pixels = _scaled(kept, page)
    if photometric == _WHITE_ZERO:
        colours = pixels[..., :1]
        white = 1.0 if pixels.dtype.kind == "f" else np.iinfo(pixels.dtype).max
        pixels = np.concatenate([(white - colours).astype(pixels.dtype), pixels[..., 1:]], axis=-1)
    if layout.alpha == _ASSOCIATED:
        pixels = _straight(pixels)
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels


def _extra(page: Any, base: int) -> tuple[int, tuple[str, ...]]:
    """Kind of alpha, and a note on samples that are left out."""
    count = int(page.samplesperpixel)
    if count < base:
        raise ImageError(FailedReason.BAD_SHAPE, f"TIFF with {count} samples per pixel; its colours need {base}")
    if count == base:
        return 0, ()
    if count > MAX_SAMPLES:
        raise ImageError(FailedReason.BAD_SHAPE, f"TIFF with {count} samples per pixel; up to {MAX_SAMPLES} are read")
    kinds = [int(kind) for kind in page.extrasamples] + [0] * (count - base - len(page.extrasamples))
    if kinds[0] in (_ASSOCIATED, _STRAIGHT):
        return kinds[0], () if count == base + 1 else (f"{count - base - 1} extra channels left out",)
    if base == 1:
        raise ImageError(FailedReason.BAD_SHAPE, f"TIFF with {count} channels without names; no picture")
    return 0, (f"{count - base} extra channels left out",)


def _dtype(page: Any) -> str:
    dtype = page.dtype
    bits = page.bitspersample
    if dtype is not None and dtype.kind == "f" and bits in (16, 32, 64):
        return "float32"
    if dtype is None or dtype.kind not in "ub" or not isinstance(bits, int) or bits > 16:
        _unsupported(f"TIFF with samples of {bits} bits, type {dtype}; unsigned up to 16 bits and floats are read")
    return "uint8" if bits <= 8 else "uint16"


def _scaled(samples: NDArray[Any], page: Any) -> NDArray[Any]:
    """Samples over the full range of their type."""
    bits = page.bitspersample
    if samples.dtype.kind == "f":
        with np.errstate(over="ignore"):  # a 64-bit number beyond float32 becomes infinite
            return samples.astype(np.float32, copy=False)
    if bits in (8, 16):
        return samples
    top, white = (1 << bits) - 1, 255 if bits <= 8 else 65535
    scaled: NDArray[Any] = (samples.astype(np.uint32) * white + top // 2) // top
    return scaled.astype(np.uint8 if bits <= 8 else np.uint16)


def _looked_up(indices: NDArray[Any], page: Any) -> NDArray[np.uint8]:
    colours = page.tags.valueof(_COLOUR_MAP)
    if colours is None:
        raise ImageError(FailedReason.CORRUPT, "TIFF has a palette picture without a palette")
    table = np.asarray(colours, np.uint16).reshape(3, -1).T
    if int(indices.max(initial=0)) >= len(table):
        raise ImageError(FailedReason.CORRUPT, "TIFF has pixels beyond its palette")
    # 16 bits by the standard, but some old writers stored 8
    wide = table.astype(np.uint32)
    eight = (wide if wide.max() < 256 else (wide * 255 + 32767) // 65535).astype(np.uint8)
    return np.asarray(eight[indices])


def _straight(pixels: NDArray[Any]) -> NDArray[Any]:
    """Colours divided by their alpha; where alpha is 0 there is no colour left to find: black."""
    colours, alpha = pixels[..., :-1].astype(np.float64), pixels[..., -1:].astype(np.float64)
    white = 1.0 if pixels.dtype.kind == "f" else float(np.iinfo(pixels.dtype).max)
    divided = np.divide(colours * white, alpha, out=np.zeros_like(colours), where=alpha > 0)
    if pixels.dtype.kind != "f":
        divided = np.minimum(np.rint(divided), white)
    return np.concatenate([divided.astype(pixels.dtype), pixels[..., -1:]], axis=-1)


def _unsupported(text: str) -> NoReturn:
    raise ImageError(FailedReason.UNSUPPORTED_FORMAT, text)
