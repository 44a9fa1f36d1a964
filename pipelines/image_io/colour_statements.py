"""What a file says of its colours other than by an ICC profile, said by one: from there on there is one way to do it.

Covers code points of H.273 (PNG's cICP, AVIF's nclx), PNG's gAMA, cHRM and sRGB, Adobe RGB as EXIF says it, TIFF's
WhitePoint, PrimaryChromaticities and TransferFunction, and headers of BMP. What is sRGB needs no profile. HDR transfer
functions (PQ, HLG) are refused: their numbers shown as sRGB would be wrong, and what they should become is nobody's
standard.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import FailedReason, ImageError
from pipelines.image_io.exif import says_adobe_rgb

Curve = tuple[float, ...]
"""Of ICC's parametric functions: (g,): v^g; (g, a, b, c, d): (a v + b)^g from d on, c v below it."""
Chromaticities = tuple[float, ...]
"""x and y of white, red, green and blue."""
Statement = tuple[bytes | None, str | None]
"""A profile, or None for sRGB; a note on what couldn't be honoured."""

SRGB_CURVE: Curve = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_A709 = 1.09929682680944
_BT709: Curve = (1 / 0.45, 1 / _A709, (_A709 - 1) / _A709, 1 / 4.5, 4.5 * 0.018053968510807)
_240M: Curve = (1 / 0.45, 1 / 1.1115, 0.1115 / 1.1115, 1 / 4, 4 * 0.0228)
_CURVES: dict[int, Curve] = {
    **dict.fromkeys((1, 6, 11, 12, 14, 15), _BT709),
    2: SRGB_CURVE,  # unspecified: what everybody takes it for
    4: (2.2,),
    5: (2.8,),
    7: _240M,
    8: (1.0,),
    13: SRGB_CURVE,
}
_HDR = {16: "PQ", 18: "HLG"}
_D65, _C, _DCI = (0.3127, 0.3290), (0.310, 0.316), (0.314, 0.351)
_BT709_PRIMARIES = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
_P3 = (0.680, 0.320, 0.265, 0.690, 0.150, 0.060)
_SMPTE_C = (0.630, 0.340, 0.310, 0.595, 0.155, 0.070)
SRGB_PRIMARIES: Chromaticities = (*_D65, *_BT709_PRIMARIES)
ADOBE_RGB_PRIMARIES: Chromaticities = (*_D65, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
ADOBE_RGB_CURVE: Curve = (563 / 256,)
_PRIMARIES: dict[int, Chromaticities] = {
    1: SRGB_PRIMARIES,
    2: SRGB_PRIMARIES,
    4: (*_C, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (*_D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (*_D65, *_SMPTE_C),
    7: (*_D65, *_SMPTE_C),
    8: (*_C, 0.681, 0.319, 0.243, 0.692, 0.145, 0.049),
    9: (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    10: (1 / 3, 1 / 3, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0),
    11: (*_DCI, *_P3),
    12: (*_D65, *_P3),
    22: (*_D65, 0.630, 0.340, 0.295, 0.605, 0.155, 0.077),
}
_SAME_XY = 0.0015
"""How far chromaticities of sRGB may be rounded: files say white as 0.3127, 0.313 or 0.31273."""
_D50 = (0.9642, 1.0, 0.8249)
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_BMP_CALIBRATED, _BMP_EMBEDDED, _BMP_LINKED = bytes(4), b"DEBM", b"KNIL"
"""0, and MBED and LINK as little-endian numbers."""
UNSPECIFIED = (2, 2)
"""Primaries and transfer of a box that says nothing: what else the file says counts."""
IGNORED = "colour statement ignored: "


def of_code_points(primaries: int, transfer: int, *, gray: bool, what: str) -> Statement:
    """Colours by code points of ITU-T H.273. Raises ImageError: ``unsupported_format`` for PQ and HLG."""
    if transfer in _HDR:
        raise ImageError(
            FailedReason.UNSUPPORTED_FORMAT, f"{what} with HDR colours ({_HDR[transfer]}); convert it first"
        )
    if primaries not in _PRIMARIES or transfer not in _CURVES:
        return None, f"{IGNORED}{what} says primaries {primaries}, transfer {transfer}"
    return _stated(_CURVES[transfer], _PRIMARIES[primaries], gray), None


def of_png(chunks: Mapping[bytes, bytes], icc: bytes | None, exif: bytes | None, *, gray: bool) -> Statement:
    """Colours by the first of cICP, iCCP (``icc``), sRGB, gAMA with cHRM, and EXIF that a PNG has.

    Raises
    ------
    ImageError
        ``unsupported_format``: PQ, HLG, or narrow range (black at 16 of 255).
    """
    note = None
    code = chunks.get(b"cICP", b"")
    if len(code) == 4:
        if code[2] == 0 and code[3] == 0:
            raise ImageError(FailedReason.UNSUPPORTED_FORMAT, "PNG of narrow range (cICP); convert it first")
        profile, note = of_code_points(code[0], code[1], gray=gray, what="PNG")
        if code[2] != 0:
            note = f"{IGNORED}PNG with the matrix {code[2]}"
        if note is None and (code[0], code[1]) != UNSPECIFIED:
            return profile, None
    if icc is not None or b"sRGB" in chunks:
        return icc, note
    if b"gAMA" not in chunks and b"cHRM" not in chunks:
        return exif_profile(exif, gray=gray), note
    curve, primaries = _gamma(chunks.get(b"gAMA", b"")), _chromaticities(chunks.get(b"cHRM", b""))
    if curve is None or primaries is None:
        note = f"{IGNORED}PNG with an impossible {'gAMA' if curve is None else 'cHRM'}"
    return _stated(curve or SRGB_CURVE, primaries or SRGB_PRIMARIES, gray), note


def exif_profile(exif: bytes | None, *, gray: bool) -> bytes | None:
    """Adobe RGB, when EXIF says so and nothing else says anything."""
    return _stated(ADOBE_RGB_CURVE, ADOBE_RGB_PRIMARIES, gray) if exif and says_adobe_rgb(exif) else None


def of_tiff(white: Sequence[float], primaries: Sequence[float], transfer: Sequence[float], *, gray: bool) -> Statement:
    """Colours by WhitePoint (2 numbers), PrimaryChromaticities (6), TransferFunction (1 or 3 tables), if said."""
    if not (white or primaries or transfer):
        return None, None
    stated = (*(white or _D65), *(primaries or _BT709_PRIMARIES))
    count = 3 if not gray and len(transfer) % 3 == 0 else 1
    size = len(transfer) // count
    tables = [transfer[start : start + size] for start in range(0, len(transfer), size)] if transfer else []
    if not _possible(stated) or not all(map(_rises, tables)):
        return None, f"{IGNORED}TIFF with impossible chromaticities or an impossible transfer function"
    if not tables:
        return _stated(SRGB_CURVE, stated, gray), None
    curves = tuple(_table(table) for table in tables)
    return (_gray_profile(curves[0]) if gray else _rgb_profile(stated, curves * (3 // len(curves)))), None


def of_bmp(data: bytes) -> Statement:
    """Colours by a BMP's header of version 4 or 5: a profile in the file, or chromaticities with gammas.

    Many programs write a header that announces chromaticities and has none: that says nothing.
    """
    size = int.from_bytes(data[14:18], "little")
    kind = data[70:74] if 108 <= size <= len(data) - 14 else b""
    if kind == _BMP_EMBEDDED and size >= 124:
        start, length = struct.unpack_from("<II", data, 14 + 112)
        icc = data[14 + start : 14 + start + length]
        return (icc, None) if len(icc) == length and length else (None, "colour profile ignored: it is damaged")
    if kind == _BMP_LINKED:
        return None, f"{IGNORED}BMP whose profile is in another file"
    if kind != _BMP_CALIBRATED or not any(data[74:110]):
        return None, None
    return _calibrated(struct.unpack_from("<9i", data, 74), struct.unpack_from("<3I", data, 110))


def _calibrated(points: Sequence[int], gammas: Sequence[int]) -> Statement:
    """Colours by XYZ of red, green and blue in 2.30 bits, and gammas in 16.16."""
    primaries = np.array(points, np.float64).reshape(3, 3)
    colours = np.vstack([primaries.sum(axis=0), primaries])
    sums = colours.sum(axis=1)
    stated = tuple((colours[:, :2] / np.maximum(sums, 1)[:, None]).ravel().tolist())
    if sums.min() <= 0 or not _possible(stated) or not all(1 << 13 <= gamma <= 10 << 16 for gamma in gammas):
        return None, f"{IGNORED}BMP with impossible chromaticities or gammas"
    return _rgb_profile(stated, tuple(_parametric((gamma / (1 << 16),)) for gamma in gammas)), None


def _stated(curve: Curve, primaries: Chromaticities, gray: bool) -> bytes | None:
    near = gray or max(abs(a - b) for a, b in zip(primaries, SRGB_PRIMARIES, strict=True)) <= _SAME_XY
    if curve == SRGB_CURVE and near:
        return None
    return _gray_profile(_parametric(curve)) if gray else _rgb_profile(primaries, (_parametric(curve),) * 3)


def _gamma(content: bytes) -> Curve | None:
    """The curve of a gAMA chunk, which holds the exponent of encoding times 100,000; sRGB's without one."""
    if not content:
        return SRGB_CURVE
    value = struct.unpack(">I", content)[0] / 100_000 if len(content) == 4 else 0
    return (1 / value,) if 0.05 <= value <= 20 else None


def _chromaticities(content: bytes) -> Chromaticities | None:
    if not content:
        return SRGB_PRIMARIES
    found = tuple(value / 100_000 for value in struct.unpack(">8I", content)) if len(content) == 32 else (0.0,) * 8
    return found if _possible(found) else None


def _possible(chromaticities: Chromaticities) -> bool:
    """Whether white lies within the triangle of the primaries, so that every colour has one meaning."""
    if len(chromaticities) != 8 or not all(np.isfinite(chromaticities)) or chromaticities[1] <= 0:
        return False
    columns = _columns(chromaticities[2:])
    if abs(np.linalg.det(columns)) < 1e-3:
        return False
    return bool((np.linalg.solve(columns, _xyz(*chromaticities[:2])) > 0).all())


def _rises(table: Sequence[float]) -> bool:
    return len(table) > 1 and table[-1] > table[0] and all(a <= b for a, b in pairwise(table))


# ---- profiles --------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=32)
def _rgb_profile(chromaticities: Chromaticities, curves: tuple[bytes, ...]) -> bytes:
    """A matrix profile of ICC version 4: the same bytes on every call, unlike Little CMS', which hold the time."""
    white = _xyz(*chromaticities[:2])
    columns = _columns(chromaticities[2:])
    adaptation = _adaptation(white)
    matrix = adaptation @ (columns * np.linalg.solve(columns, white))
    tags = [(b"wtpt", _numbers(b"XYZ ", _D50)), (b"chad", _numbers(b"sf32", adaptation.ravel()))]
    tags += [(name, _numbers(b"XYZ ", matrix[:, at])) for at, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))]
    tags += list(zip((b"rTRC", b"gTRC", b"bTRC"), curves, strict=True))
    return _profile(b"RGB ", tags)


@lru_cache(maxsize=32)
def _gray_profile(curve: bytes) -> bytes:
    return _profile(b"GRAY", [(b"wtpt", _numbers(b"XYZ ", _D50)), (b"kTRC", curve)])


def _columns(primaries: Sequence[float]) -> NDArray[np.float64]:
    """XYZ of red, green and blue as columns, each of x + y + z = 1."""
    return np.array([(x, y, 1 - x - y) for x, y in zip(primaries[::2], primaries[1::2], strict=True)]).T


def _xyz(x: float, y: float) -> NDArray[np.float64]:
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _adaptation(white: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bradford's matrix from a white to the profiles' D50."""
    scale = (_BRADFORD @ np.array(_D50)) / (_BRADFORD @ white)
    adapted: NDArray[np.float64] = np.linalg.inv(_BRADFORD) @ (scale[:, None] * _BRADFORD)
    return adapted


def _parametric(curve: Curve) -> bytes:
    return b"para\0\0\0\0" + struct.pack(">HH", 0 if len(curve) == 1 else 3, 0) + _fixed(curve)


def _table(levels: Sequence[float]) -> bytes:
    """A table over 0..1; the standard's black and white are what the table begins and ends with."""
    wide = np.asarray(levels, np.float64)
    scaled = bytes(np.rint((wide - wide[0]) / (wide[-1] - wide[0]) * 65535).astype(">u2"))
    return b"curv\0\0\0\0" + struct.pack(">I", len(levels)) + scaled


def _fixed(values: Sequence[float] | NDArray[np.float64]) -> bytes:
    return b"".join(struct.pack(">i", round(float(value) * 65536)) for value in values)


def _numbers(kind: bytes, values: Sequence[float] | NDArray[np.float64]) -> bytes:
    return kind + bytes(4) + _fixed(values)


def _text(text: str) -> bytes:
    encoded = text.encode("utf-16-be")
    return b"mluc" + bytes(4) + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(encoded), 28) + encoded


def _profile(space: bytes, tags: Sequence[tuple[bytes, bytes]]) -> bytes:
    every: list[tuple[bytes, bytes]] = [
        (b"desc", _text("As the file says")),
        (b"cprt", _text("No copyright, use freely")),
        *tags,
    ]
    at = 128 + 4 + 12 * len(every)
    listed: bytes = struct.pack(">I", len(every))
    body = b""
    for name, content in every:
        listed += struct.pack(">4sII", name, at + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    size = 128 + len(listed) + len(body)
    head = struct.pack(">I4sI4s4s4s", size, bytes(4), 0x04300000, b"mntr", space, b"XYZ ")
    head += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp"
    return bytes((head.ljust(68, b"\0") + _fixed(_D50)).ljust(128, b"\0") + listed + body)
