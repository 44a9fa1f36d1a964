"""Embedded colour profiles: the pixels converted to sRGB, or the profile kept beside them.

Little CMS, through imagecodecs, converts 8 bits with its fast tables (within one level of exact) and 16 bits without
any, since its tables for 16 bits are off by up to 19 of 255 levels. Floats are never converted (values beyond 0..1 and
NaN have no place in a profile): they keep their profile.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.image_io.image_header import ColourSpace, ImageHeader, RawPixels

_SPACES: dict[bytes, ColourSpace] = {b"RGB ": "rgb", b"GRAY": "gray", b"CMYK": "cmyk"}
_NO_OPTIMIZE = 0x0100
_MAX_ICC_BYTES = 16 << 20
_TONE_LEVELS = 10
"""How far from sRGB's a profile's grays may be for ``has_tones_of_srgb``: gamma 2.2 is off by 9, gamma 1.8 by 19."""
_ROWS_PIXELS = 1 << 20
"""Pixels converted at a time, so that temporaries stay small."""


def in_wanted_colours(
    raw: RawPixels, header: ImageHeader, color: Literal["srgb", "keep"]
) -> tuple[NDArray[Any], bytes | None, str | None]:
    """Pixels as (M, N), (M, N, 3) or (M, N, 4); the profile that they are in, if not sRGB; a note on what is off."""
    pixels, icc = raw.pixels, header.icc
    note = None
    if icc is not None and profile_space(icc) != header.space:
        icc, note = None, "colour profile ignored: it is damaged, or made for other colours"
    if header.space == "cmyk":
        return _from_cmyk(pixels, icc, note)
    colours, alpha = _split(pixels, header.space)
    if icc is not None and color == "srgb" and pixels.dtype.kind != "f":
        try:
            colours, icc = _converted(colours, icc, header.space), None
        except Exception:  # noqa: BLE001 - imagecodecs has no base class for what a damaged profile raises
            icc, note = None, "colour profile ignored: it is damaged"
    return _joined(colours, alpha), icc, note


def profile_space(icc: bytes) -> ColourSpace | None:
    """What kind of colours a profile describes; None if it is no profile of ours."""
    if len(icc) < 132 or len(icc) > _MAX_ICC_BYTES or icc[36:40] != b"acsp":
        return None
    return _SPACES.get(icc[16:20])


def has_tones_of_srgb(header: ImageHeader) -> bool:
    """Whether the pixels' grays hardly change on the way to sRGB, by the header's profile; true without a usable one.

    Means of such pixels are about the same whether they are taken before the conversion or after it.
    """
    if header.icc is None or profile_space(header.icc) != header.space:
        return header.space != "cmyk"
    return _has_tones_of_srgb(hashlib.sha256(header.icc).digest(), _Profile(header.icc), header.space)


def _split(pixels: NDArray[Any], space: ColourSpace) -> tuple[NDArray[Any], NDArray[Any] | None]:
    if pixels.ndim == 2:
        return pixels, None
    if space == "gray":
        return pixels[..., 0], pixels[..., 1]
    return (pixels[..., :3], pixels[..., 3]) if pixels.shape[2] == 4 else (pixels, None)


def _joined(colours: NDArray[Any], alpha: NDArray[Any] | None) -> NDArray[Any]:
    if alpha is None:
        return np.ascontiguousarray(colours)
    joined = np.empty((*alpha.shape, 4), colours.dtype)
    joined[..., :3] = colours[..., None] if colours.ndim == 2 else colours
    joined[..., 3] = alpha
    return joined


def _from_cmyk(ink: NDArray[Any], icc: bytes | None, note: str | None) -> tuple[NDArray[Any], bytes | None, str | None]:
    """RGB of CMYK: through its profile, else every ink taken off white in proportion (as browsers do)."""
    if icc is not None:
        try:
            return _transformed(ink, icc, "cmyk"), None, note
        except Exception:  # noqa: BLE001 - as above
            note = "colour profile ignored: it is damaged"
    white = np.iinfo(ink.dtype).max
    rgb = np.empty((*ink.shape[:2], 3), ink.dtype)
    for rows in _row_blocks(ink):
        light = (white - ink[rows, :, :]).astype(np.uint32)
        rgb[rows] = (light[..., :3] * light[..., 3:] + white // 2) // white
    return rgb, None, note


def _converted(colours: NDArray[Any], icc: bytes, space: ColourSpace) -> NDArray[Any]:
    digest = hashlib.sha256(icc).digest()
    if _is_srgb(digest, _Profile(icc), space):
        return colours
    rgb = _transformed(colours, icc, space)
    return rgb[..., 1] if space == "gray" else rgb


def _transformed(colours: NDArray[Any], icc: bytes, space: ColourSpace) -> NDArray[Any]:
    import imagecodecs

    flags = None if colours.dtype == np.uint8 else _NO_OPTIMIZE
    rgb = np.empty((*colours.shape[:2], 3), colours.dtype)
    for rows in _row_blocks(colours):
        block = np.ascontiguousarray(colours[rows])
        rgb[rows] = imagecodecs.cms_transform(
            block, icc, _srgb_profile(), colorspace=space, outcolorspace="rgb", flags=flags
        ).reshape(*block.shape[:2], 3)
    return rgb


def _row_blocks(pixels: NDArray[Any]) -> list[slice]:
    step = max(1, _ROWS_PIXELS // max(1, pixels.shape[1]))
    return [slice(start, start + step) for start in range(0, pixels.shape[0], step)]


class _Profile:
    """A profile's bytes, carried past the cache whose key is their digest."""

    def __init__(self, icc: bytes) -> None:
        self.icc = icc

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Profile)

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=64)
def _is_srgb(digest: bytes, profile: _Profile, space: ColourSpace) -> bool:
    """Whether converting changes nothing: most profiles in photographs are sRGB, and skipping them saves their time."""
    levels = np.arange(0, 256, 17, dtype=np.uint8)
    if space == "gray":
        colours: NDArray[Any] = np.arange(256, dtype=np.uint8).reshape(16, 16)
        expected = np.repeat(colours[..., None], 3, axis=-1)
    else:
        colours = expected = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(64, 64, 3)
    difference = _transformed(colours, profile.icc, space).astype(np.int16) - expected
    return bool(np.abs(difference).max() <= 1)


@lru_cache(maxsize=64)
def _has_tones_of_srgb(digest: bytes, profile: _Profile, space: ColourSpace) -> bool:
    grays = np.arange(256, dtype=np.uint8)[None, :]
    if space == "cmyk":
        return False
    colours = grays if space == "gray" else np.repeat(grays[..., None], 3, axis=-1)
    try:
        converted = _transformed(colours, profile.icc, space)
    except Exception:  # noqa: BLE001 - as above: a damaged profile isn't used
        return True
    return bool(np.abs(converted.astype(np.int16) - grays[..., None]).max() <= _TONE_LEVELS)


@lru_cache(maxsize=1)
def _srgb_profile() -> bytes:
    import imagecodecs

    return bytes(imagecodecs.cms_profile("srgb"))
