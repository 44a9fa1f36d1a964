"""Bytes to pixels: header, limits, the format's reader, colours; every library's error as one of our reasons."""

from __future__ import annotations

from typing import Any, Literal

from numpy.typing import NDArray

from pipelines.errors import FailedReason, ImageError, is_out_of_memory
from pipelines.image_io.colour_profiles import in_wanted_colours
from pipelines.image_io.image_header import DecodedImage, ImageHeader
from pipelines.image_io.image_probe import probe_header, reader_of
from pipelines.image_io.io_policies import ReadPolicy


def decode_image(
    data: bytes,
    policy: ReadPolicy,
    *,
    frame: int = 0,
    scale_denom: Literal[1, 2, 4, 8] | int = 1,
    header: ImageHeader | None = None,
) -> DecodedImage:
    """Decode one frame.

    Parameters
    ----------
    data : bytes
        A whole file.
    policy : ReadPolicy
        Limits are checked before any pixel is decoded.
    frame : int
        Which picture of the file, from 0.
    scale_denom : int
        1, 2, 4 or 8: let the decoder make the picture that much smaller, for previews. Only JPEG does it, in a fraction
        of the time; every other format gives the full size.
    header : ImageHeader or None
        What ``probe_header`` gave for these arguments, if it is known already.

    Raises
    ------
    ImageError
        As ``probe_header``; ``corrupt`` and ``truncated`` for what only decoding shows; ``out_of_memory``.
    """
    if scale_denom not in (1, 2, 4, 8):
        raise ValueError(f"scale_denom is {scale_denom}; give 1, 2, 4 or 8")
    header = header or probe_header(data, policy, frame=frame)
    try:
        raw = reader_of(header.format).decode(data, header, frame, policy, scale_denom)
        _check(raw.pixels, header, scale_denom)
        pixels, icc, note = in_wanted_colours(raw, header, policy.color)
    except ImageError:
        raise
    except Exception as error:  # every codec has errors of its own
        if is_out_of_memory(error):
            raise ImageError(FailedReason.OUT_OF_MEMORY, f"no memory for {header.predicted_bytes:,} bytes") from error
        raise ImageError(
            FailedReason.CORRUPT, f"{header.format.upper()} is damaged: {type(error).__name__}: {error}"
        ) from error
    remarks = [remark for remark in (raw.degraded, note, *header.notes) if remark]
    return DecodedImage(
        pixels=pixels, header=header, orientation=header.orientation, degraded="; ".join(remarks) or None, icc=icc
    )


def _check(pixels: NDArray[Any], header: ImageHeader, scale_denom: int) -> None:
    """The pixels are what the header said, by which limits and memory were judged."""
    scale = scale_denom if header.format == "jpeg" else 1
    expected = (-(-header.height // scale), -(-header.width // scale), header.channels, header.dtype)
    stored = 1 if pixels.ndim == 2 else pixels.shape[2]
    channels = {2: 4, 4: 3 if header.space == "cmyk" else 4}.get(stored, stored)  # gray with alpha; inks
    if (*pixels.shape[:2], channels, pixels.dtype.name) != expected:
        raise ImageError(
            FailedReason.CORRUPT,
            f"{header.format.upper()} holds {pixels.shape} {pixels.dtype}, its header says {expected}",
        )
