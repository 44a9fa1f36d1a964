"""Pixels to the bytes of a file: the wanted depth, the wanted metadata, and the same bytes on every call.

Covers what is common to all formats: depth, alpha that a format can't carry, orientation, profile, metadata. The
writers (``still_writer``, ``png_writer``, ``tiff_writer``) put that into their formats; which form a picture gets is
decided by ``written_form``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import FailedReason, ImageError, is_out_of_memory
from pipelines.image_io.colour_profiles import in_carried_colours
from pipelines.image_io.image_header import DecodedImage
from pipelines.image_io.io_policies import EncodeOptions
from pipelines.image_io.metadata import Metadata, Scale, metadata_for
from pipelines.image_io.sample_depth import to_depth
from pipelines.image_io.written_form import WrittenForm, form_of, losses, lost_colours


def encode_image(
    pixels: NDArray[Any],
    options: EncodeOptions,
    *,
    source: DecodedImage | None = None,
    orientation: int = 1,
    scale: Scale | None = (1.0, 1.0),
) -> bytes:
    """Encode an image.

    Parameters
    ----------
    pixels : ndarray
        uint8, uint16 or float32 in 0..1; (M, N), (M, N, 3) or (M, N, 4). JPEG can't carry alpha: such pictures are
        laid on white.
    options : EncodeOptions
        Without ``bit_depth``, 16 bits and floats are kept as far as the format carries them: floats only TIFF, 16 bits
        TIFF and PNG. ``original`` formats of 8 bits stay so whatever ``bit_depth`` says; lossless WebP and AVIF stay
        lossless, AVIF of 10 and 12 bits so deep.
    source : DecodedImage, optional
        Where the pixels come from: its format (for ``original``), profile and metadata.
    orientation : int
        EXIF 1 to 8, which a viewer still has to apply: written as a tag, or applied to the pixels where the format has
        no place for one (BMP; AVIF that is lossless or deep).
    scale : (float, float) or None
        Rows and columns of the source's pixels that one pixel stands for; None: nobody knows. By it a resolution that
        measures what is shown goes on.

    Raises
    ------
    ImageError
        ``write_error`` when the format can't hold the picture, for instance because of its size.
    """
    form = form_of(options, None if source is None else source.header, pixels.dtype)
    try:
        return _write(pixels, form, options, source, orientation, scale)
    except ImageError:
        raise
    except Exception as error:  # every codec has errors of its own
        if is_out_of_memory(error):
            raise ImageError(FailedReason.OUT_OF_MEMORY, f"no memory to write {form.format}") from error
        size = " x ".join(map(str, pixels.shape[1::-1]))
        raise ImageError(
            FailedReason.WRITE_ERROR, f"{size} px can't be written as {form.format}: {type(error).__name__}: {error}"
        ) from error


def encoding_losses(
    pixels: NDArray[Any],
    options: EncodeOptions,
    *,
    source: DecodedImage,
    orientation: int = 1,
    scale: Scale | None = (1.0, 1.0),
) -> tuple[str, ...]:
    """What ``encode_image`` loses of the picture, or of what its source says, one sentence each."""
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    form = form_of(options, source.header, pixels.dtype)
    lost = losses(
        form,
        options,
        source.header,
        dtype=pixels.dtype,
        channels=channels,
        pixels=pixels,
        orientation=orientation,
        scale=scale,
    )
    return (*lost, *lost_colours(form, source.icc, dtype=pixels.dtype, channels=channels))


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

    form = form_of(options, source.header, source.pixels.dtype)
    empty = np.empty((0, 0, *shape[2:]), source.pixels.dtype)
    _, icc = in_carried_colours(empty, source.icc, form.profiles)
    try:
        write_tiff_bands(
            target,
            (_ready(band, form, source)[0] for band in bands),
            shape=shape,
            dtype=to_depth(empty, _sample_bits(form)).dtype,
            compression=options.compression if isinstance(options.compression, str) else "deflate",
            icc=icc,
            described=_described(shape, form, options, source, orientation, icc),
            orientation=orientation,
        )
    except (ImageError, OSError, MemoryError):
        raise
    except Exception as error:  # every codec has errors of its own
        size = " x ".join(map(str, shape[1::-1]))
        raise ImageError(
            FailedReason.WRITE_ERROR, f"{size} px can't be written as tiff: {type(error).__name__}: {error}"
        ) from error


def _write(
    pixels: NDArray[Any],
    form: WrittenForm,
    options: EncodeOptions,
    source: DecodedImage | None,
    orientation: int,
    scale: Scale | None,
) -> bytes:
    ready, icc = _ready(pixels, form, source)
    described = _described(ready.shape, form, options, source, orientation, icc, scale)
    if form.format == "tiff":
        from pipelines.image_io.tiff_writer import write_tiff

        name = options.compression if isinstance(options.compression, str) else "deflate"
        return write_tiff(ready, compression=name, icc=icc, described=described, orientation=orientation)
    if form.format == "png":
        from pipelines.image_io.png_writer import write_png

        level = options.compression if isinstance(options.compression, int) else 6
        return write_png(ready, level=level, icc=icc, described=described)
    return _write_still(ready, form, icc, described, orientation)


def _write_still(
    pixels: NDArray[Any], form: WrittenForm, icc: bytes | None, described: Metadata, orientation: int
) -> bytes:
    from pipelines.image_io import still_writer

    if form.format == "bmp":
        return still_writer.write_bmp(pixels, orientation=orientation, resolution=described.resolution)
    if form.format == "webp":
        return still_writer.write_webp(pixels, quality=form.quality, icc=icc, described=described)
    if form.is_bare:
        from pipelines.operations.geometry import auto_orient

        upright = auto_orient(pixels, orientation=orientation)
        return still_writer.write_bare_avif(upright, bits=form.bits or 8, quality=form.quality, chroma=form.chroma)
    assert isinstance(form.quality, int)  # lossless is one of the forms above
    write = still_writer.write_jpeg if form.format == "jpeg" else still_writer.write_avif
    return write(pixels, quality=form.quality, chroma=form.chroma, icc=icc, described=described)


def _ready(pixels: NDArray[Any], form: WrittenForm, source: DecodedImage | None) -> tuple[NDArray[Any], bytes | None]:
    """Pixels of the form's depth, and the profile that goes with them."""
    carried, icc = in_carried_colours(pixels, None if source is None else source.icc, form.profiles)
    return to_depth(carried, _sample_bits(form)), icc


def _sample_bits(form: WrittenForm) -> Any:
    """8 or 16 as arrays hold them."""
    return form.bits if form.bits in (None, 8) else 16


def _described(
    shape: tuple[int, ...],
    form: WrittenForm,
    options: EncodeOptions,
    source: DecodedImage | None,
    orientation: int,
    icc: bytes | None,
    scale: Scale | None = (1.0, 1.0),
) -> Metadata:
    header = None if source is None else source.header
    size = (shape[1], shape[0])
    return metadata_for(
        header, options, form.format, size=size, orientation=orientation, is_srgb=icc is None, scale=scale
    )
