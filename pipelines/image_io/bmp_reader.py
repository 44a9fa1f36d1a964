"""BMP: header, palette and run lengths read here, packed pixels unpacked by Pillow and numpy.

Covers 1 to 32 bits, palettes, run lengths of 4 and 8 bits, any masks, headers of Windows and OS/2. Other packings (JPEG
and PNG inside, Huffman, CMYK) are refused by name. Alpha is read where a mask says that there is one; if it is 0
everywhere, the writer left it out, and the picture is opaque, as viewers show it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import FailedReason, ImageError
from pipelines.image_io.colour_statements import of_bmp
from pipelines.image_io.image_header import ImageHeader, RawPixels
from pipelines.image_io.io_policies import ReadPolicy

_OS2_HEADERS = (16, 64)
_PLAIN, _RUNS_8, _RUNS_4, _MASKS, _ALPHA_MASKS = 0, 1, 2, 3, 6
_OTHERS = {4: "JPEG", 5: "PNG", 11: "CMYK", 12: "CMYK", 13: "CMYK"}
_OF_15_BITS, _OF_32_BITS = (0x7C00, 0x3E0, 0x1F, 0), (0xFF0000, 0xFF00, 0xFF, 0)
_DEPTHS = (1, 2, 4, 8, 16, 24, 32)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bitmap:
    """What the header says."""

    width: int
    height: int
    from_top: bool
    bits: int
    packing: int
    start: int
    """Where the pixels are."""
    masks: tuple[int, int, int, int]
    """Of red, green, blue and alpha; for 16 and 32 bits."""
    palette: NDArray[np.uint8] | None = field(repr=False)
    """(colours, 3)."""

    @property
    def row_bytes(self) -> int:
        return (self.width * self.bits + 31) // 32 * 4

    @property
    def stored_bytes(self) -> int:
        """0 for run lengths, whose size isn't known before they are read."""
        return 0 if self.packing in (_RUNS_8, _RUNS_4) else self.row_bytes * self.height

    @property
    def is_gray(self) -> bool:
        if self.palette is None or (self.bits == 1 and len(self.palette) < 2):
            return False
        grays = {1: np.array([0, 255]), 8: np.arange(len(self.palette))}.get(self.bits)
        return grays is not None and bool((self.palette == grays[:, None]).all())

    @property
    def channels(self) -> int:
        return 1 if self.is_gray else 4 if self.bits in (16, 32) and self.masks[3] else 3


def probe(data: bytes, frame: int) -> ImageHeader:
    """The header. Raises ImageError: ``truncated``, ``corrupt`` or ``unsupported_format``."""
    bitmap = _read(data)
    icc, note = of_bmp(data)
    return ImageHeader(
        format="bmp",
        width=bitmap.width,
        height=bitmap.height,
        channels=bitmap.channels,
        space="gray" if bitmap.is_gray else "rgb",
        working_copies=4 if bitmap.bits == 16 else 2,
        icc=icc,
        resolution=_resolution(data),
        notes=(note,) if note else (),
    )


def decode(data: bytes, header: ImageHeader, frame: int, policy: ReadPolicy, scale_denom: int) -> RawPixels:
    """The pixels. ``scale_denom`` is not for BMP."""
    bitmap = _read(data)
    stored, degraded = bitmap.stored_bytes, None
    missing = bitmap.start + stored - len(data)
    if missing > 0:
        valid = max(0.0, 1 - missing / stored) if stored else 0.0
        if policy.truncated == "strict" or valid == 0:
            raise ImageError(FailedReason.TRUNCATED, f"BMP lacks {missing:,} bytes; read.truncated: salvage shows it")
        degraded = f"truncated: {valid:.0%} valid" if policy.truncated == "salvage" else "truncated"
        data += bytes(missing)
    if bitmap.palette is not None:
        pixels = _looked_up(_runs(data, bitmap) if not stored else _indices(data, bitmap), bitmap)
    else:
        pixels = _colours(data, bitmap)
    return RawPixels(pixels, degraded)


def _resolution(data: bytes) -> tuple[float, float] | None:
    """Pixels per inch; the header counts per metre."""
    if int.from_bytes(data[14:18], "little") < 40:
        return None
    across, down = struct.unpack_from("<ii", data, 38)
    return (across * 0.0254, down * 0.0254) if across > 0 and down > 0 else None


def _read(data: bytes) -> _Bitmap:
    size = int.from_bytes(data[14:18], "little")
    if len(data) < 26 or len(data) < 14 + size:
        raise ImageError(FailedReason.TRUNCATED, "BMP ends in its header")
    packing = colours = 0
    if size == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
    else:
        width, height, _, bits = struct.unpack_from("<iiHH", data, 18)
        if size >= 40:
            packing, _, _, _, colours = struct.unpack_from("<IIiiI", data, 30)
    if packing not in (_PLAIN, _RUNS_8, _RUNS_4, _MASKS, _ALPHA_MASKS) or (packing >= _MASKS and size in _OS2_HEADERS):
        if packing > 13:
            _refuse(f"BMP with unknown packing {packing}")
        name = "Huffman codes or 24-bit runs" if size in _OS2_HEADERS else _OTHERS.get(packing, f"kind {packing}")
        raise ImageError(FailedReason.UNSUPPORTED_FORMAT, f"BMP packed as {name}; convert it first")
    if bits == 64:
        raise ImageError(FailedReason.UNSUPPORTED_FORMAT, "BMP of 64 bits; convert it first")
    runs = {_RUNS_8: 8, _RUNS_4: 4}.get(packing)
    if bits not in _DEPTHS or (runs and runs != bits) or (packing >= _MASKS and bits not in (16, 32)):
        _refuse(f"BMP of {bits} bits, packing {packing}")
    if width <= 0 or height == 0 or (runs and height < 0):
        _refuse(f"BMP of {width} x {height} px")
    masks, after = _masks(data, size, bits, packing)
    start = int(struct.unpack_from("<I", data, 10)[0])
    palette = None
    if bits <= 8:
        palette, after = _palette(data, size, bits, colours, start)
    start = after if start <= 14 + size else start  # some writers forget what stands between
    return _Bitmap(
        width=width,
        height=abs(height),
        from_top=height < 0,
        bits=bits,
        packing=packing,
        start=start,
        masks=masks,
        palette=palette,
    )


def _masks(data: bytes, size: int, bits: int, packing: int) -> tuple[tuple[int, int, int, int], int]:
    """The masks, and where the header ends with those that stand after it."""
    end = 14 + size
    given = _OF_15_BITS if bits == 16 else _OF_32_BITS
    if packing in (_MASKS, _ALPHA_MASKS):
        count = 4 if packing == _ALPHA_MASKS or size >= 56 else 3
        if len(data) < 54 + 4 * count:
            raise ImageError(FailedReason.TRUNCATED, "BMP ends in its masks")
        given = (*struct.unpack_from(f"<{count}I", data, 54), 0)[:4]
        end = max(end, 54 + 4 * count)
        for mask in given:
            if mask >> bits or (mask and (mask // (mask & -mask)) & (mask // (mask & -mask) + 1)):
                _refuse(f"BMP with a mask of {mask:#x} in {bits} bits")
        if not any(given):
            given = (*_OF_32_BITS[:3], 0xFF000000) if bits == 32 else _OF_15_BITS
        if any(a & b for at, a in enumerate(given) for b in given[:at]):
            _refuse("BMP with masks that overlap")
    return given, end


def _palette(data: bytes, size: int, bits: int, colours: int, start: int) -> tuple[NDArray[np.uint8], int]:
    """The colours, and where they end: at the latest where the pixels begin."""
    entry = 3 if size == 12 else 4
    count = min(colours or 1 << bits, 1 << bits)
    if start > 14 + size:
        count = min(count, (start - 14 - size) // entry)
    end = 14 + size + count * entry
    if len(data) < end:
        raise ImageError(FailedReason.TRUNCATED, "BMP ends in its palette")
    if count == 0:
        _refuse("BMP without the palette that its pixels need")
    bgr = np.frombuffer(data, np.uint8, count * entry, 14 + size).reshape(count, entry)[:, :3]
    return np.ascontiguousarray(bgr[:, ::-1]), end


def _rows(data: bytes, bitmap: _Bitmap) -> NDArray[np.uint8]:
    """(height, bytes of a row), from the top."""
    rows = np.frombuffer(data, np.uint8, bitmap.stored_bytes, bitmap.start).reshape(bitmap.height, bitmap.row_bytes)
    return rows if bitmap.from_top else rows[::-1]


def _indices(data: bytes, bitmap: _Bitmap) -> NDArray[np.uint8]:
    rows, bits = _rows(data, bitmap), bitmap.bits
    if bits == 8:
        return rows[:, : bitmap.width]
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    spread = (rows[..., None] >> shifts) & np.uint8((1 << bits) - 1)
    return spread.reshape(bitmap.height, -1)[:, : bitmap.width]


def _looked_up(indices: NDArray[np.uint8], bitmap: _Bitmap) -> NDArray[np.uint8]:
    palette = bitmap.palette
    if palette is None or int(indices.max(initial=0)) >= len(palette):
        _refuse("BMP has pixels beyond its palette")
    if bitmap.is_gray and bitmap.bits == 8:
        return np.ascontiguousarray(indices)
    return np.ascontiguousarray(palette[:, 0])[indices] if bitmap.is_gray else palette[indices]


def _colours(data: bytes, bitmap: _Bitmap) -> NDArray[Any]:
    """(height, width, 3 or 4)."""
    bgr = bitmap.masks[:3] == _OF_32_BITS[:3]
    if bitmap.bits == 24 or (bitmap.bits == 32 and bgr and bitmap.masks[3] in (0, 0xFF000000)):
        pixels = _unpacked(data, bitmap)
    else:
        rows = np.ascontiguousarray(_rows(data, bitmap))
        words = rows.view("<u2" if bitmap.bits == 16 else "<u4")[:, : bitmap.width]
        pixels = np.stack([_masked(words, mask) for mask in bitmap.masks[: bitmap.channels]], axis=-1)
    if bitmap.channels == 4 and not pixels[..., 3].any():
        pixels = pixels.copy()
        pixels[..., 3] = 255
    return pixels


def _unpacked(data: bytes, bitmap: _Bitmap) -> NDArray[np.uint8]:
    """The usual orders of bytes, fast."""
    from PIL import Image

    mode = "RGBA" if bitmap.channels == 4 else "RGB"
    raw = {24: "BGR", 32: "BGRA" if bitmap.channels == 4 else "BGRX"}[bitmap.bits]
    stored = np.frombuffer(data, np.uint8, bitmap.stored_bytes, bitmap.start)
    size, direction = (bitmap.width, bitmap.height), 1 if bitmap.from_top else -1
    return np.asarray(Image.frombuffer(mode, size, stored, "raw", raw, bitmap.row_bytes, direction))


def _masked(words: NDArray[Any], mask: int) -> NDArray[np.uint8]:
    """The bits below a mask, scaled to the full range; 0 without a mask."""
    if not mask:
        return np.zeros(words.shape, np.uint8)
    shift = (mask & -mask).bit_length() - 1
    top = mask >> shift
    found = (words.astype(np.uint64) & np.uint64(mask)) >> np.uint64(shift)
    return ((found * np.uint64(255) + np.uint64(top // 2)) // np.uint64(top)).astype(np.uint8)


def _runs(data: bytes, bitmap: _Bitmap) -> NDArray[np.uint8]:
    """Indices of run lengths; what is skipped is colour 0."""
    width, height = bitmap.width, bitmap.height
    found = np.zeros((height, width), np.uint8)
    x = y = 0
    at = bitmap.start
    while True:
        if at + 2 > len(data):
            raise ImageError(FailedReason.TRUNCATED, "BMP ends before its run lengths do; it can't be salvaged")
        count, code = data[at], data[at + 1]
        at += 2
        if count == 0 and code == 1:
            break
        if count == 0 and code == 0:
            x, y = 0, y + 1
            continue
        if count == 0 and code == 2:
            if at + 2 > len(data):
                continue  # told above
            x, y, at = x + data[at], y + data[at + 1], at + 2
            continue
        if count:
            run = [code] * count if bitmap.bits == 8 else [code >> 4, code & 15] * ((count + 1) // 2)
        else:
            count, size = code, code if bitmap.bits == 8 else (code + 1) // 2
            piece = data[at : at + size]
            if len(piece) < size:
                continue
            run = list(piece) if bitmap.bits == 8 else [nibble for byte in piece for nibble in (byte >> 4, byte & 15)]
            at += size + size % 2
        if y >= height or x + count > width + 1:  # one too many is what some writers pad with
            _refuse(f"BMP has a run beyond its {width} x {height} px")
        taken = min(count, width - x)
        found[y, x : x + taken] = run[:taken]
        x += count
    return found[::-1]


def _refuse(text: str) -> NoReturn:
    raise ImageError(FailedReason.CORRUPT, text)
