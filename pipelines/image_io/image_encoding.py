"""Pixels to the bytes of a file: the wanted depth, the wanted metadata, and the same bytes on every call.

Covers what is common to all formats: depth, alpha that a format can't carry, orientation, profile, EXIF. The writers
(``still_writer``, ``png_writer``, ``tiff_writer``) put that into their formats.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import FailedReason, ImageError
from pipelines.image_io.colour_profiles import profile_space
from pipelines.image_io.exif import copied_exif, orientation_exif
from pipelines.image_io.image_header import DecodedImage
from pipelines.image_io.io_policies import EncodeOptions
from pipelines.image_io.sample_depth import to_depth

_WRITTEN_AS = {"gif": "png"}
_FLOATS = {"tiff"}
_SIXTEEN_BITS = {"png", "tiff"}


def encode_image(
    pixels: NDArray[Any], options: EncodeOptions, *, source: DecodedImage | None = None, orientation: int = 1
) -> bytes:
    """Encode an image.

    Parameters
    ----------
    pixels : ndarray
        uint8, uint16 or float32 in 0..1; (M, N), (M, N, 3) or (M, N, 4). JPEG and BMP can't carry alpha: such pictures
        are laid on white.
    options : EncodeOptions
        Without ``bit_depth``, 16 bits and floats are kept as far as the format carries them: floats only TIFF, 16 bits
        TIFF and PNG. ``original`` formats of 8 bits stay so whatever ``bit_depth`` says.
    source : DecodedImage, optional
        Where the pixels come from: its format (for ``original``), profile and EXIF.
    orientation : int
        EXIF 1 to 8, which a viewer still has to apply: written as a tag, or applied to the pixels of a BMP.

    Raises
    ------
    ImageError
        ``write_error`` when the format can't hold the picture, for instance because of its size.
    """
    format = _format(options, source)
    ready = to_depth(pixels, _depth(pixels, format, options.bit_depth))
    icc = _profile(ready, source)
    exif = copied_exif(source.exif, orientation) if source is not None and options.metadata == "keep" else None
    try:
        return _write(ready, format, options, icc, exif, orientation)
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageError(FailedReason.OUT_OF_MEMORY, f"no memory to write {format}") from error
    except Exception as error:  # every codec has errors of its own
        size = " x ".join(map(str, pixels.shape[1::-1]))
        raise ImageError(
            FailedReason.WRITE_ERROR, f"{size} px can't be written as {format}: {type(error).__name__}: {error}"
        ) from error


def encode_bands(
    target: BinaryIO,
    bands: Iterable[NDArray[Any]],
    shape: tuple[int, ...],
    options: EncodeOptions,
    *,
    source: DecodedImage,
    orientation: int = 1,
) -> None:
    """Encode a picture that comes in bands of whole rows, as a TIFF of tiles with the pixels of ``encode_image``'s.

    Parameters
    ----------
    target
        A new file, open for reading and writing.
    bands
        From top to bottom, together of ``shape``; all but the last as many rows high as a tile, or a multiple of it.
    source : DecodedImage
        Where the pixels come from; its own pixels may be none, of the bands' dtype.

    Raises
    ------
    ImageError
        ``write_error`` when the picture can't be written; whatever the bands raise.
    OSError
        The file can't be written.
    """
    from pipelines.image_io.tiff_writer import write_tiff_bands

    empty = np.empty((0, 0, *shape[2:]), source.pixels.dtype)
    depth = _depth(empty, "tiff", options.bit_depth)
    try:
        write_tiff_bands(
            target,
            (to_depth(band, depth) for band in bands),
            shape=shape,
            dtype=to_depth(empty, depth).dtype,
            compression=options.compression if isinstance(options.compression, str) else "deflate",
            icc=_profile(empty, source),
            exif=copied_exif(source.exif, orientation) if options.metadata == "keep" else None,
            orientation=orientation,
        )
    except (ImageError, OSError, MemoryError):
        raise
    except Exception as error:  # every codec has errors of its own
        size = " x ".join(map(str, shape[1::-1]))
        raise ImageError(
            FailedReason.WRITE_ERROR, f"{size} px can't be written as tiff: {type(error).__name__}: {error}"
        ) from error


def written_format(options: EncodeOptions, source_format: str) -> str:
    """The format that a picture of this format is written as."""
    return _WRITTEN_AS.get(source_format, source_format) if options.format == "original" else options.format


def _write(
    pixels: NDArray[Any], format: str, options: EncodeOptions, icc: bytes | None, exif: bytes | None, orientation: int
) -> bytes:
    tagged = exif or orientation_exif(orientation)
    if format == "tiff":
        from pipelines.image_io.tiff_writer import write_tiff

        name = options.compression if isinstance(options.compression, str) else "deflate"
        return write_tiff(pixels, compression=name, icc=icc, exif=exif, orientation=orientation)
    if format == "png":
        from pipelines.image_io.png_writer import write_png

        level = options.compression if isinstance(options.compression, int) else 6
        return write_png(pixels, level=level, icc=icc, exif=tagged)
    from pipelines.image_io import still_writer

    if format == "jpeg":
        return still_writer.write_jpeg(pixels, quality=options.quality, icc=icc, exif=tagged)
    if format == "bmp":
        return still_writer.write_bmp(pixels, orientation=orientation)
    kind: Literal["webp", "avif"] = "webp" if format == "webp" else "avif"
    return still_writer.write_lossy(pixels, kind, quality=options.quality, icc=icc, exif=tagged)


def _format(options: EncodeOptions, source: DecodedImage | None) -> str:
    return written_format(options, "png" if source is None else source.header.format)


def _depth(pixels: NDArray[Any], format: str, wanted: Literal[8, 16] | None) -> Literal[8, 16] | None:
    """Bits per sample to write; None keeps floats."""
    if format not in _SIXTEEN_BITS:
        return 8
    if wanted is not None:
        return wanted
    if pixels.dtype.kind == "f":
        return None if format in _FLOATS else 16
    return 8 if pixels.dtype == np.uint8 else 16


def _profile(pixels: NDArray[Any], source: DecodedImage | None) -> bytes | None:
    """The source's profile while the pixels still are what it describes: gray stays gray, colours stay colours."""
    if source is None or source.icc is None:
        return None
    return source.icc if profile_space(source.icc) == ("gray" if pixels.ndim == 2 else "rgb") else None
