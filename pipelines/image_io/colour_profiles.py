"""Embedded colour profiles: the pixels converted to sRGB, or the profile kept beside them.

Little CMS does it, through imagecodecs. Its fast ways are taken where they are right within one level: 8-bit RGB of
profiles with a matrix. Gray goes through a table of all its levels, made in 16 bits; everything else (16 bits, floats,
CMYK, tables of colours) without its optimisation, which is off by up to 28 of 255 levels.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import FailedReason, ImageError
from pipelines.image_io.image_header import ColourSpace, ImageHeader, RawPixels

_SPACES: dict[bytes, ColourSpace] = {b"RGB ": "rgb", b"GRAY": "gray", b"CMYK": "cmyk"}
_NO_OPTIMIZE = 0x0100
_MAX_ICC_BYTES = 255 * 65519
"""What the segments of a JPEG can hold."""
_TONE_LEVELS = 10
"""How far from sRGB's a profile's grays may be for ``has_tones_of_srgb``: gamma 2.2 is off by 9, gamma 1.8 by 19."""
_ROWS_PIXELS = 1 << 20
"""Pixels converted at a time, so that temporaries stay small."""
_TABLES = (b"A2B0", b"D2B0")
_CURVES = (b"rTRC", b"gTRC", b"bTRC", b"kTRC")
_HDR = {16: "PQ", 18: "HLG"}


def in_wanted_colours(
    raw: RawPixels, header: ImageHeader, color: Literal["srgb", "keep"]
) -> tuple[NDArray[Any], bytes | None, str | None]:
    """Pixels as (M, N), (M, N, 3) or (M, N, 4); the profile that they are in, if not sRGB; a note on what is off.

    Raises
    ------
    ImageError
        ``unsupported_format``: a profile of HDR colours (PQ, HLG).
    """
    pixels, icc = raw.pixels, header.icc
    note = None
    if icc is not None:
        _refuse_hdr(icc)
        if profile_space(icc) == "gray" and header.space == "rgb" and _is_neutral(pixels):
            pixels, icc = in_carried_colours(pixels, icc, ())  # WebP and AVIF have no other way to be gray
        elif profile_space(icc) == "rgb" and header.space == "gray" and _is_usable(_Profile(icc), "rgb"):
            pixels, icc = _tones(pixels, icc), None  # as gray JPEGs often have it: its grays are meant
        elif profile_space(icc) != header.space:
            icc, note = None, "colour profile ignored: it is damaged, or made for other colours"
        elif not _is_usable(_Profile(icc), header.space):
            icc, note = None, "colour profile ignored: it is damaged"
    if header.space == "cmyk":
        return _from_cmyk(pixels, icc, note)
    colours, alpha = _split(pixels, header.space)
    if icc is not None and color == "srgb":
        colours, note = _converted(colours, icc, header.space)
        icc = None
    return _joined(colours, alpha), icc, note


def profile_space(icc: bytes) -> ColourSpace | None:
    """What kind of colours a profile describes; None if it is no profile of ours."""
    if len(icc) < 132 or len(icc) > _MAX_ICC_BYTES or icc[36:40] != b"acsp":
        return None
    return _SPACES.get(icc[16:20])


def in_carried_colours(
    pixels: NDArray[Any], icc: bytes | None, carried: Sequence[ColourSpace]
) -> tuple[NDArray[Any], bytes | None]:
    """Pixels in their profile, if it can go with them; else in sRGB, without one.

    A profile for gray says nothing of colours, and one for colours nothing of gray: when operations or a file format
    have changed the number of channels, each channel goes to sRGB through the profile's grays, which are the one thing
    that both have.

    Parameters
    ----------
    pixels : ndarray
        (M, N), (M, N, 3) or (M, N, 4), of any dtype.
    carried
        Kinds of profiles that the file to be written has a place for.
    """
    if icc is None:
        return pixels, None
    of_pixels: ColourSpace = "gray" if pixels.ndim == 2 else "rgb"
    of_profile = profile_space(icc)
    if of_profile == of_pixels and of_profile in carried:
        return pixels, icc
    alpha = pixels[..., 3:] if pixels.ndim == 3 else pixels[..., :0]
    colours = pixels[..., :3] if pixels.ndim == 3 else pixels
    if of_profile == of_pixels == "rgb":
        converted, _ = _converted(colours, icc, "rgb")
    else:
        converted = _through_grays(colours, icc)
    return np.concatenate([converted, alpha], axis=-1) if alpha.size else converted, None


def kept_profile(header: ImageHeader) -> bytes | None:
    """The profile that pixels are in which keep their colours; None: they are sRGB."""
    if header.icc is None or header.space == "cmyk" or profile_space(header.icc) != header.space:
        return None
    return header.icc if _is_usable(_Profile(header.icc), header.space) else None


def loses_profile(icc: bytes, carried: Sequence[ColourSpace], *, is_gray: bool, is_deep: bool) -> bool:
    """Whether pixels in a profile have to be made sRGB because of what is written, and that changes them.

    Gray made of colours, or colours made of gray, lose nothing that a profile of the other kind could keep.
    """
    space = profile_space(icc)
    if space is None or space in carried or (space == "gray") != is_gray:
        return False
    return not _is_srgb(_Profile(icc), space, not is_deep)


def has_tones_of_srgb(header: ImageHeader) -> bool:
    """Whether the pixels' grays hardly change on the way to sRGB, by the header's profile; true without a usable one.

    Means of such pixels are about the same whether they are taken before the conversion or after it.
    """
    if header.space == "cmyk":
        return False
    space = None if header.icc is None else profile_space(header.icc)
    if header.icc is None or space is None or header.space not in (space, "gray"):
        return True
    if space == "cmyk" or not _is_usable(_Profile(header.icc), space):
        return True
    grays = _grays(header.icc, 1)
    return bool(np.abs(grays.astype(np.int16) - np.arange(256)).max() <= _TONE_LEVELS)


def _tones(pixels: NDArray[Any], icc: bytes) -> NDArray[Any]:
    """Gray (M, N), or gray and alpha (M, N, 2), in sRGB through the grays of a profile for RGB."""
    if _is_srgb(_Profile(icc), "rgb", pixels.dtype == np.uint8):
        return pixels
    if pixels.ndim == 2:
        return _through_grays(pixels, icc)
    return np.stack([_through_grays(pixels[..., 0], icc), pixels[..., 1]], axis=-1)


def _through_grays(values: NDArray[Any], icc: bytes) -> NDArray[Any]:
    """Each value as a gray of the profile, of the dtype that it has."""
    if values.dtype.kind == "f":
        return _grays_of_floats(values, icc)
    table: NDArray[Any] = _grays(icc, values.dtype.itemsize)[values]
    return table


def _refuse_hdr(icc: bytes) -> None:
    code = _tags(icc).get(b"cicp", b"")
    if len(code) >= 12 and code[9] in _HDR:
        raise ImageError(
            FailedReason.UNSUPPORTED_FORMAT, f"colour profile of HDR colours ({_HDR[code[9]]}); convert it first"
        )


def _tags(icc: bytes) -> dict[bytes, bytes]:
    """The tags of a profile; those that lie beyond its end are cut."""
    if len(icc) < 132:
        return {}
    (count,) = struct.unpack_from(">I", icc, 128)
    found: dict[bytes, bytes] = {}
    for at in range(132, min(132 + 12 * count, len(icc) - 11), 12):
        name, start, size = struct.unpack_from(">4sII", icc, at)
        found.setdefault(name, icc[start : start + size])
    return found


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
        return _transformed(ink, icc, "cmyk"), None, note
    white = np.iinfo(ink.dtype).max
    rgb = np.empty((*ink.shape[:2], 3), ink.dtype)
    for rows in _row_blocks(ink):
        light = (white - ink[rows, :, :]).astype(np.uint32)
        rgb[rows] = (light[..., :3] * light[..., 3:] + white // 2) // white
    return rgb, None, note


def _converted(colours: NDArray[Any], icc: bytes, space: ColourSpace) -> tuple[NDArray[Any], str | None]:
    """sRGB of gray (M, N) or RGB (M, N, 3), and a note on what is off."""
    if _is_srgb(_Profile(icc), space, colours.dtype == np.uint8):
        return colours, None
    if colours.dtype.kind == "f":
        return _converted_floats(colours, icc, space)
    if space == "gray":
        return _grays(icc, colours.dtype.itemsize)[colours], None
    return _transformed(colours, icc, space), None


def _converted_floats(colours: NDArray[Any], icc: bytes, space: ColourSpace) -> tuple[NDArray[Any], str | None]:
    """Values beyond 0..1 go on along the curves' formulas, or are clipped by curves that are tables.

    What isn't finite stays as it is; the other colours of its pixel, which depend on it, become NaN.
    """
    finite = np.isfinite(colours)
    known = np.where(finite, colours, np.float32(0))
    converted = _transformed(known, icc, space)
    converted = _odd(converted[..., 1] if space == "gray" else converted)
    if not finite.all():
        spoiled = ~finite if space == "gray" else ~finite.all(axis=-1, keepdims=True)
        converted = np.where(spoiled, np.where(finite, np.float32(np.nan), colours), converted)
    if _is_formula(icc) or (known.min(initial=0) >= 0 and known.max(initial=0) <= 1):
        return converted, None
    return converted, "values beyond 0 to 1 clipped by the colour profile"


def _odd(values: NDArray[Any]) -> NDArray[Any]:
    """sRGB whose negative values are those of the same positive light: -f(-light), as scRGB and CSS define it.

    Little CMS goes on below 0 with the line of sRGB's curve that ends at 0.0031308: a colour that is a little beyond
    the gamut would be at -5.
    """
    if values.min(initial=0) >= 0:
        return values
    light = np.minimum(values, 0) / np.float32(-12.92)
    curved = np.float32(0.055) - np.float32(1.055) * np.power(light, np.float32(1 / 2.4))
    return np.where(light > np.float32(0.0031308), curved, values)


def _is_formula(icc: bytes) -> bool:
    tags = _tags(icc)
    curves = [tags[name] for name in _CURVES if name in tags]
    formulas = [curve[:4] == b"para" or curve[8:12] in (b"\0\0\0\0", b"\0\0\0\1") for curve in curves]
    return all(formulas) and not any(name in tags for name in _TABLES)


def _transformed(colours: NDArray[Any], icc: bytes, space: ColourSpace) -> NDArray[Any]:
    """(M, N, 3) of any dtype, exact within a level."""
    import imagecodecs

    is_fast = colours.dtype == np.uint8 and space == "rgb" and not any(name in _tags(icc) for name in _TABLES)
    rgb = np.empty((*colours.shape[:2], 3), colours.dtype)
    for rows in _row_blocks(colours):
        block = np.ascontiguousarray(colours[rows])
        rgb[rows] = imagecodecs.cms_transform(
            block,
            icc,
            _srgb_profile(),
            colorspace=space,
            outcolorspace="rgb",
            flags=None if is_fast else _NO_OPTIMIZE,
        ).reshape(*block.shape[:2], 3)
    return rgb


def _row_blocks(pixels: NDArray[Any]) -> list[slice]:
    step = max(1, _ROWS_PIXELS // max(1, pixels.shape[1]))
    return [slice(start, start + step) for start in range(0, pixels.shape[0], step)]


class _Profile:
    """A profile as a key: by its digest, so that a cache doesn't compare megabytes."""

    def __init__(self, icc: bytes) -> None:
        self.icc = icc
        self._digest = hashlib.sha256(icc).digest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Profile) and self._digest == other._digest

    def __hash__(self) -> int:
        return hash(self._digest)


def _is_neutral(pixels: NDArray[Any]) -> bool:
    return bool((pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 1] == pixels[..., 2]).all())


@lru_cache(maxsize=64)
def _is_usable(profile: _Profile, space: ColourSpace) -> bool:
    """Whether Little CMS takes a profile of this kind."""
    samples = {"gray": (1, 1), "rgb": (1, 1, 3), "cmyk": (1, 1, 4)}[space]
    try:
        _transformed(np.zeros(samples, np.uint8), profile.icc, space)
    except Exception:  # noqa: BLE001 - imagecodecs has no base class for what a damaged profile raises
        return False
    return True


@lru_cache(maxsize=64)
def _is_srgb(profile: _Profile, space: ColourSpace, eight_bits: bool) -> bool:
    """Whether converting changes nothing: most profiles in photographs are sRGB, and skipping them saves their time.

    Nothing is one level of the pixels; of deeper ones, two of 65,535, which sRGB itself is off by.
    """
    dtype, white, allowed = (np.uint8, 255, 1) if eight_bits else (np.uint16, 65535, 2)
    if space == "gray":
        levels = np.linspace(0, white, 256).astype(dtype)
        return bool(np.abs(_grays(profile.icc, 1 if eight_bits else 2)[levels].astype(int) - levels).max() <= allowed)
    levels = np.linspace(0, white, 16).astype(dtype)
    colours = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(64, 64, 3)
    difference = _transformed(colours, profile.icc, space).astype(np.int32) - colours
    return bool(np.abs(difference).max() <= allowed)


def _grays(icc: bytes, sample_bytes: int) -> NDArray[Any]:
    """What each gray of a profile for gray or RGB is in sRGB: 256 levels of uint8, or 65,536 of uint16."""
    return _gray_table(_Profile(icc), sample_bytes)


@lru_cache(maxsize=64)
def _gray_table(profile: _Profile, sample_bytes: int) -> NDArray[Any]:
    levels = (
        np.arange(256, dtype=np.uint16)[None] * 257 if sample_bytes == 1 else np.arange(65536, dtype=np.uint16)[None]
    )
    space = profile_space(profile.icc) or "rgb"
    colours = levels if space == "gray" else np.repeat(levels[..., None], 3, axis=-1)
    table = _transformed(colours, profile.icc, space)[0, :, 1]
    if sample_bytes == 1:
        table = ((table.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    table.flags.writeable = False
    return table


def _grays_of_floats(values: NDArray[Any], icc: bytes) -> NDArray[Any]:
    """Each value as a gray of the profile."""
    flat = values.reshape(values.shape[0], -1)
    space = profile_space(icc) or "rgb"
    if space == "gray":
        converted, _ = _converted_floats(flat, icc, space)
    else:
        converted = _converted_floats(np.repeat(flat[..., None], 3, axis=-1), icc, space)[0][..., 1]
    return converted.reshape(values.shape)


@lru_cache(maxsize=1)
def _srgb_profile() -> bytes:
    import imagecodecs

    return bytes(imagecodecs.cms_profile("srgb"))
