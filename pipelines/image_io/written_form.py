"""In which form a picture is written, and what of it that form can't hold: for rows and plans that say so.

Decisions only, made of options, header and type; what the pixels hold is looked at where it matters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.image_io.colour_profiles import kept_profile, loses_profile
from pipelines.image_io.image_header import ColourSpace, ImageHeader
from pipelines.image_io.io_policies import EncodeOptions
from pipelines.image_io.metadata import Scale, metadata_for
from pipelines.image_io.sample_depth import to_depth

_WRITTEN_AS = {"gif": "png"}
_SIXTEEN_BITS = {"png", "tiff"}
_ALPHA = {"png", "tiff", "webp", "avif"}
_GRAY_PROFILES = {"jpeg", "png", "tiff"}
_BEST_QUALITY = 100
_BARE = "AVIF that is lossless or of more than 8 bits is written without"


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenForm:
    """How a picture is written."""

    format: str
    bits: Literal[8, 10, 12, 16] | None
    """Per sample; None: floats."""
    quality: int | Literal["lossless"]
    chroma: Literal[444, 420] | None

    @property
    def is_bare(self) -> bool:
        """Whether nothing goes beside the pixels: the encoder of deep and lossless AVIF has no place for it."""
        return self.format == "avif" and (self.bits != 8 or self.quality == "lossless")

    @property
    def profiles(self) -> tuple[ColourSpace, ...]:
        """Kinds of colour profiles that it has a place for."""
        if self.is_bare or self.format == "bmp":
            return ()
        return ("gray", "rgb") if self.format in _GRAY_PROFILES else ("rgb",)

    @property
    def keeps_alpha(self) -> bool:
        return self.format in _ALPHA or self.format == "bmp"


def written_format(options: EncodeOptions, source_format: str) -> str:
    """The format that a picture of this format is written as."""
    return _WRITTEN_AS.get(source_format, source_format) if options.format == "original" else options.format


def form_of(options: EncodeOptions, header: ImageHeader | None, dtype: np.dtype[Any]) -> WrittenForm:
    """How pixels of this type are written; ``original`` keeps what the source is, as far as there is a way to."""
    format = written_format(options, "png" if header is None else header.format)
    original = header if header is not None and options.format == "original" and header.format == format else None
    quality = options.quality
    if original is not None and original.is_lossless:
        quality = "lossless"
    if quality == "lossless" and format == "jpeg":
        quality = _BEST_QUALITY
    return WrittenForm(
        format=format, bits=_bits(format, options, original, dtype), quality=quality, chroma=options.chroma
    )


def losses(
    form: WrittenForm,
    options: EncodeOptions,
    header: ImageHeader | None,
    *,
    dtype: np.dtype[Any],
    channels: int,
    pixels: NDArray[Any] | None = None,
    orientation: int = 1,
    scale: Scale | None = (1.0, 1.0),
) -> tuple[str, ...]:
    """What is lost on the way out, one sentence each.

    What the job asks for in so many words (``bit_depth: 8``, ``metadata: strip``, a format with loss) isn't a loss.
    Without ``pixels`` it is what pixels of that type and number of channels may lose. Colour: ``lost_colours``.
    """
    found = []
    deep = dtype.kind == "f" or dtype.itemsize > 1
    if dtype.kind == "f" and form.bits is not None and options.bit_depth is None:
        found.append(f"floats written as {form.bits} bits: {form.format} holds no floats")
    elif deep and form.bits == 8 and options.bit_depth is None:
        found.append(f"16 bits written as 8: {form.format} is written with no more")
    if dtype.kind == "f" and form.bits is not None and (pixels is None or _beyond_range(pixels)):
        found.append("values beyond 0 to 1 clipped")
    if channels == 4 and not form.keeps_alpha and (pixels is None or _is_clear_somewhere(pixels)):
        found.append(f"alpha laid on white: {form.format} has none")
    if channels == 4 and form.format == "bmp" and pixels is not None and _is_clear_everywhere(pixels):
        found.append("alpha of 0 everywhere: whoever reads a BMP takes it for none")
    if options.quality == "lossless" and form.quality != "lossless" and form.format == "jpeg":
        found.append("not lossless: JPEG can't be, its quality is 100")
    if options.chroma == 444 and form.format == "webp" and form.quality != "lossless":
        found.append("half colour resolution: WebP with loss has no other")
    found += _lost_metadata(form, options, header, pixels, orientation, scale)
    return tuple(found)


def lost_colours(form: WrittenForm, icc: bytes | None, *, dtype: np.dtype[Any], channels: int) -> tuple[str, ...]:
    """What pixels in a profile lose where the form has no place for it: they are made sRGB."""
    if icc is None or not loses_profile(icc, form.profiles, is_gray=channels == 1, is_deep=dtype != np.uint8):
        return ()
    place = f"{form.format} has no place for {'one of grays' if form.profiles else 'it'}"
    return (f"colour profile left out, colours converted to sRGB: {_BARE if form.is_bare else place}",)


def expected_losses(
    header: ImageHeader, options: EncodeOptions | None, color: Literal["srgb", "keep"] = "srgb"
) -> tuple[str, ...]:
    """What writing an image may lose, as far as its header says, if operations leave its type and channels.

    ``color``: what is done with its profile on the way in.
    """
    if options is None:
        return ()
    dtype = np.dtype(header.dtype)
    form = form_of(options, header, dtype)
    icc = kept_profile(header) if color == "keep" else None
    return (
        *losses(form, options, header, dtype=dtype, channels=header.channels, orientation=header.orientation),
        *lost_colours(form, icc, dtype=dtype, channels=header.channels),
    )


def _lost_metadata(
    form: WrittenForm,
    options: EncodeOptions,
    header: ImageHeader | None,
    pixels: NDArray[Any] | None,
    orientation: int,
    scale: Scale | None,
) -> tuple[str, ...]:
    if header is None or (options.metadata == "strip" and options.copyright is None and options.artist is None):
        return ()
    size = (header.width, header.height) if pixels is None else (pixels.shape[1], pixels.shape[0])
    described = metadata_for(
        header, options, form.format, size=size, orientation=orientation, is_srgb=True, scale=scale
    )
    if not form.is_bare:
        return described.lost
    parts = {"EXIF": described.exif, "XMP": described.xmp, "IPTC": described.iptc}
    kept = [name for name, content in parts.items() if content is not None]
    lost = f"{', '.join(kept)} left out: {_BARE}"
    return (*described.lost, *([lost] if kept else []))


def _bits(
    format: str, options: EncodeOptions, original: ImageHeader | None, dtype: np.dtype[Any]
) -> Literal[8, 10, 12, 16] | None:
    if original is not None and original.stored_bits in (10, 12) and dtype == np.uint16 and options.bit_depth is None:
        return 10 if original.stored_bits == 10 else 12
    if format not in _SIXTEEN_BITS:
        return 8
    if options.bit_depth is not None:
        return options.bit_depth
    if dtype.kind == "f":
        return None if format == "tiff" else 16
    return 8 if dtype == np.uint8 else 16


def _beyond_range(pixels: NDArray[Any]) -> bool:
    return not bool(((pixels >= 0) & (pixels <= 1)).all())


def _is_clear_everywhere(pixels: NDArray[Any]) -> bool:
    return pixels.size > 0 and not to_depth(pixels[..., 3], 8).any()


def _is_clear_somewhere(pixels: NDArray[Any]) -> bool:
    white = 1 if pixels.dtype.kind == "f" else np.iinfo(pixels.dtype).max
    return bool((pixels[..., 3] < white).any())
