"""AVIF: header and pixels by Pillow; stills of 10 and 12 bits, which Pillow would make 8, by imagecodecs.

HDR transfer functions (PQ, HLG) are refused: their numbers aren't sRGB, and shown as such they would be wrong.
"""

from __future__ import annotations

import struct
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import FailedReason, ImageError
from pipelines.image_io.av1_sequence import stream_code_points
from pipelines.image_io.avif_boxes import is_cut, picture_properties
from pipelines.image_io.colour_statements import UNSPECIFIED, exif_profile, of_code_points
from pipelines.image_io.exif import orientation_of, unprefixed
from pipelines.image_io.image_header import ImageHeader, RawPixels
from pipelines.image_io.io_policies import ReadPolicy

_IDENTITY = 0
"""Matrix of RGB as it is, which encoders choose for pictures without loss."""


def probe(data: bytes, frame: int) -> ImageHeader:
    """The header. Raises ImageError: ``truncated``, ``corrupt`` or ``unsupported_format``."""
    from PIL.AvifImagePlugin import AvifImageFile

    if is_cut(data):
        raise ImageError(FailedReason.TRUNCATED, "AVIF is shorter than its boxes say; it can't be salvaged")
    codes = _code_points(data)
    if codes is None and b"colrprof" not in data and b"colrrICC" not in data:
        codes = stream_code_points(data)
    try:
        with AvifImageFile(BytesIO(data)) as image:
            width, height, mode = image.width, image.height, image.mode
            frames = int(getattr(image, "n_frames", 1))
            info = dict(image.info)
    except (OSError, SyntaxError, ValueError, RuntimeError) as error:
        raise ImageError(FailedReason.CORRUPT, f"AVIF can't be opened: {error}") from error
    exif = unprefixed(info.get("exif"))
    primaries, transfer, matrix = codes or (2, 2, 2)
    icc, note = of_code_points(primaries, transfer, gray=False, what="AVIF")  # HDR is refused whatever else is there
    if info.get("icc_profile"):
        icc, note = info["icc_profile"], None
    elif codes is None or (primaries, transfer) == UNSPECIFIED:
        icc = exif_profile(exif, gray=False)
    depth = _depth(data)
    return ImageHeader(
        format="avif",
        width=width,
        height=height,
        channels=4 if mode == "RGBA" else 3,
        dtype="uint16" if depth > 8 else "uint8",
        frames=frames,
        working_copies=2,
        orientation=orientation_of(exif),
        icc=icc,
        exif=exif,
        xmp=info.get("xmp"),
        stored_bits=depth if depth > 8 else 0,
        is_lossless=codes is not None and matrix == _IDENTITY,
        notes=(note,) if note else (),
    )


def decode(data: bytes, header: ImageHeader, frame: int, policy: ReadPolicy, scale_denom: int) -> RawPixels:
    """The pixels, 10 and 12 bits scaled to 16. ``scale_denom`` is not for AVIF."""
    if header.dtype == "uint16":
        return RawPixels(_deep(data, header))
    from PIL.AvifImagePlugin import AvifImageFile

    with AvifImageFile(BytesIO(data)) as image:
        image.seek(frame)
        return RawPixels(np.asarray(image.convert("RGBA" if header.channels == 4 else "RGB")))


def _deep(data: bytes, header: ImageHeader) -> NDArray[np.uint16]:
    import imagecodecs

    if header.frames > 1:  # imagecodecs writes beyond its memory when asked for a frame of several
        raise ImageError(FailedReason.UNSUPPORTED_FORMAT, "animated AVIF of more than 8 bits isn't read")
    pixels = np.asarray(imagecodecs.avif_decode(data, numthreads=1))
    if pixels.ndim == 2 or pixels.shape[2] == 2:  # carried as colours, as Pillow says in the header
        gray = pixels if pixels.ndim == 2 else pixels[..., 0]
        pixels = np.stack([gray] * 3 + ([pixels[..., 1]] if pixels.ndim == 3 else []), axis=-1)
    top = (1 << _depth(data)) - 1
    scaled: NDArray[np.uint16] = ((pixels.astype(np.uint32) * 65535 + top // 2) // top).astype(np.uint16)
    return scaled


def _depth(data: bytes) -> int:
    """Bits per sample, of the picture's AV1 configuration; of a grid's, that of its first tile."""
    content = _property(data, b"av1C")
    if content is None:
        at = data.find(b"av1C")
        content = data[at + 4 : at + 8] if at >= 0 else b""
    if len(content) < 3:
        return 8
    return 12 if content[2] & 0x20 else 10 if content[2] & 0x40 else 8


def _code_points(data: bytes) -> tuple[int, int, int] | None:
    """Primaries, transfer and matrix by ITU-T H.273, as the picture's colour box says."""
    content = _property(data, b"colr", b"nclx")
    if content is None and picture_properties(data) is None:  # frames may have no primary item
        at = data.find(b"colrnclx")
        content = data[at + 4 : at + 14] if at >= 0 else None
    if content is None or len(content) < 10:
        return None
    primaries, transfer, matrix = struct.unpack_from(">HHH", content, 4)
    return primaries, transfer, matrix


def _property(data: bytes, kind: bytes, start: bytes = b"") -> bytes | None:
    """The picture's first property of this kind whose content begins like this."""
    found = (content for each, content in picture_properties(data) or () if each == kind and content.startswith(start))
    return next(found, None)
