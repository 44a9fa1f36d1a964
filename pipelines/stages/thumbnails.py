"""Small pictures for the report: made by workers, who have the pixels in hand, or from files that they didn't make.

A picture says what it hides: what is transparent lies on a checkerboard, and of samples of 16 bits or floats, which are
often too dark or too bright to see, there is a second picture between percentiles of its own. What a browser can't show
in its place (TIFF, dark samples) is larger, and of an original there is one as well, so that before and after can be
compared. Files that would take much memory have none: a report is made beside other work, by several threads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import FailedReason, ImageError, is_out_of_memory
from pipelines.image_io import (
    DECODING_VERSION,
    DecodedImage,
    EncodeOptions,
    ReadPolicy,
    decode_image,
    encode_image,
    probe_header,
    read_bytes,
)
from pipelines.models import ImageOperation, Output, WorkItem
from pipelines.operations import Image, apply_operations
from pipelines.operations.geometry import auto_orient
from pipelines.stages.image_stages import Rendered
from pipelines.stages.publish import Publisher
from pipelines.stages.recipe import Recipe

FOLDER = "report/thumbnails"
"""Where they lie in an output."""
SUFFIX = ".jpg"
THUMBNAIL_PX = 400
LARGE_PX = 800
"""Of what browsers can't show as it is: the report has nothing larger to show of it."""
THUMBNAIL_BYTES = 1 << 30
"""Memory that a file may take for its thumbnail."""
STRETCH = (0.5, 99.5)
"""Percentiles of a picture's samples that its stretched thumbnail shows as black and white."""
_UNKNOWN_TO_BROWSERS = (".tif", ".tiff")
"""Of what the program reads and writes."""
_PERCENTILES_PX = 200
"""Of so many rows and columns they are as good as of all."""
_CUBIC_UP_TO = 1.5
"""Times of reduction: beyond, cubic shows steps where bilinear doesn't."""
_POLICY = ReadPolicy(truncated="salvage", max_file_bytes=THUMBNAIL_BYTES)
_OF_OURS = ReadPolicy(max_file_bytes=1 << 24, max_pixels=LARGE_PX**2)
"""Thumbnails are whole, and small."""
_BEGIN, _END = b"\xff\xd8", b"\xff\xd9"
"""Of a JPEG."""
_JPEG = EncodeOptions(format="jpeg", quality=82)
_SQUARE_PX = 8
_SQUARES = np.array([255, 204], np.float32)


class Source(Protocol):
    """An input as the job took it: an item of work, or a row of its ledger."""

    @property
    def path(self) -> bytes: ...
    @property
    def size(self) -> int: ...
    @property
    def mtime_ns(self) -> int: ...
    @property
    def values(self) -> str:
        """What its columns decide of its pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumbnails:
    """JPEGs of at most 400 px per side, or 800 of what browsers can't show."""

    plain: bytes
    stretched: bytes | None = None
    """Of samples that aren't of 8 bits: between the percentiles ``STRETCH``."""

    def named(self, key: str) -> Iterator[tuple[str, bytes]]:
        """File name and content of each."""
        yield thumbnail_name(key), self.plain
        if self.stretched is not None:
            yield thumbnail_name(key, stretched=True), self.stretched


def thumbnail_name(key: str, *, stretched: bool = False) -> str:
    """The file name of a thumbnail."""
    return f"{key}-stretched{SUFFIX}" if stretched else f"{key}{SUFFIX}"


def shown_image(outputs: Sequence[Output]) -> Output | None:
    """The rendered image that stands for an input: of a file with several images the first, whose name is shortest."""
    return min((each for each in outputs if each.product == "image"), key=lambda each: len(each.path), default=None)


def thumbnail_key(source: Source, pixels: str, image: Output | None) -> str:
    """What thumbnails are known by: all that decides what they show, so that one of that key is never of another image.

    Of a rendered image that is its content. Else the file, as the job knows files, with what is done to it: ``pixels``
    is the digest of that (see ``Recipe``), to which the values of the input's columns belong.
    """
    return _digest(source, pixels, source.values) if image is None else image.sha256[:32]


def original_key(source: Source) -> str:
    """What thumbnails of an original are known by."""
    return f"{_digest(source, DECODING_VERSION)}-before"


def _digest(source: Source, *parts: str) -> str:
    text = "\0".join([f"{source.size} {source.mtime_ns}", *parts]).encode(errors="backslashreplace")
    return hashlib.sha256(source.path + b"\0" + text).hexdigest()[:32]


def is_whole(thumbnail: Path) -> bool:
    """Whether a file is a JPEG from its beginning to its end: a power cut may leave one that is empty, or cut off."""
    data = thumbnail.read_bytes()
    return data.startswith(_BEGIN) and data.endswith(_END)


def browsers_show(path: str) -> bool:
    """Whether browsers know the format that a file's name promises."""
    return not path.lower().endswith(_UNKNOWN_TO_BROWSERS)


def leave_original(item: WorkItem, rendered: Rendered, recipe: Recipe, publisher: Publisher) -> None:
    """Leave the thumbnails of an original that browsers can't show as it is, for a job that makes something else of it.

    Where, when and which as ``leave_thumbnails``.
    """
    header, pixels = rendered.source.header, rendered.source.pixels
    is_shown = header.format != "tiff" and pixels.dtype == np.uint8
    if is_shown or not (recipe.operations or recipe.image):
        return
    _leave(original_key(item), rendered.source, pixels, rendered.source.orientation, LARGE_PX, publisher)


def leave_thumbnails(
    item: WorkItem, rendered: Rendered, outputs: Sequence[Output], recipe: Recipe, publisher: Publisher
) -> None:
    """Leave the thumbnails of what was rendered in the run's temporary directory, unless the report has them.

    Pixels that another profile than sRGB belongs to are left to whoever reads the file. No input fails for its picture.
    """
    image = shown_image(outputs)
    key = thumbnail_key(item, recipe.pixels, image)
    if image is not None:
        is_shown = browsers_show(image.path)
    else:  # the original is, where nothing else was made of it
        is_shown = rendered.source.header.format != "tiff" and not recipe.operations
    side = THUMBNAIL_PX if is_shown and rendered.pixels.dtype == np.uint8 else LARGE_PX
    _leave(key, rendered.source, rendered.pixels, rendered.orientation, side, publisher)


def _leave(key: str, source: DecodedImage, pixels: Image, orientation: int, side: int, publisher: Publisher) -> None:
    if not pixels.size or source.icc is not None:
        return
    try:
        kinds = (False,) if pixels.dtype == np.uint8 else (False, True)
        there = [publisher.root / FOLDER / thumbnail_name(key, stretched=kind) for kind in kinds]
        if all(path.exists() and is_whole(path) for path in there):
            return
        for name, data in thumbnails_of(pixels, orientation, side).named(key):
            publisher.leave(name, data)
    except Exception:  # noqa: BLE001 - the report makes it from the file, or shows none: no input fails for it
        return


def make_thumbnails(
    path: Path, *, size: int | None = None, mtime_ns: int | None = None, sha256: str | None = None
) -> Thumbnails:
    """Of an image file: one of this size, time and content, where they are given.

    Raises
    ------
    ImageError
        It can't be shown, or only with more than 1 GiB of memory, or isn't that file any more. No other error, whatever
        is in the file.
    """
    with _faults_told():
        limit = _POLICY.max_file_bytes
        data = read_bytes(bytes(path), max_bytes=limit, expected_size=size, expected_mtime_ns=mtime_ns)
        if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
            raise ImageError(FailedReason.CHANGED, "the file changed since the job wrote it")
        header = probe_header(data, _POLICY)
        side = THUMBNAIL_PX if header.format != "tiff" and header.dtype == "uint8" else LARGE_PX
        scale = _scale(max(header.width, header.height), side)
        shrunk = scale if header.format == "jpeg" else 1  # the others are decoded in full size
        needed = header.file_bytes + (header.predicted_bytes - header.file_bytes) // shrunk**2
        if needed > THUMBNAIL_BYTES:
            text = f"it would take {needed:,} bytes of memory, more than {THUMBNAIL_BYTES:,}"
            raise ImageError(FailedReason.TOO_LARGE, text)
        decoded = decode_image(data, _POLICY, scale_denom=scale, header=header)
        return thumbnails_of(decoded.pixels, decoded.orientation, side)


def smaller(jpeg: Path | bytes, side: int) -> bytes:
    """A thumbnail, or the file of one, made smaller.

    Raises
    ------
    ImageError
        It is gone, or damaged.
    """
    with _faults_told():
        if isinstance(jpeg, Path):
            jpeg = read_bytes(bytes(jpeg), max_bytes=_OF_OURS.max_file_bytes)
        header = probe_header(jpeg, _OF_OURS)
        scale = _scale(max(header.width, header.height), side)
        decoded = decode_image(jpeg, _OF_OURS, scale_denom=scale, header=header)
        return thumbnails_of(decoded.pixels, decoded.orientation, side).plain


@contextmanager
def _faults_told() -> Iterator[None]:
    """Whatever one file causes must never reach the pictures of others: it is an ImageError, which says what it was."""
    try:
        yield
    except ImageError:
        raise
    except Exception as error:
        reason = FailedReason.OUT_OF_MEMORY if is_out_of_memory(error) else FailedReason.CORRUPT
        raise ImageError(reason, f"can't be shown: {type(error).__name__}: {error}") from error


def thumbnails_of(pixels: Image, orientation: int, side: int = THUMBNAIL_PX) -> Thumbnails:
    """Of pixels in sRGB: uint8, uint16 or float32 in 0..1; (M, N), (M, N, 3) or (M, N, 4) with straight alpha.

    Raises
    ------
    ImageError
        They can't be resized.
    """
    small = auto_orient(_shrunk(pixels, side), orientation=orientation)
    if small.dtype == np.uint8:
        return Thumbnails(plain=_jpeg(small))
    if small.dtype == np.float32:
        small = np.nan_to_num(small, nan=0.0, posinf=1.0, neginf=0.0)
    plain = _levels(small, 0, 65535 if small.dtype == np.uint16 else 1)
    colour = small[..., :3] if small.ndim == 3 else small  # not the transparency
    step = -(-max(small.shape[:2]) // _PERCENTILES_PX)
    low, high = np.percentile(colour[::step, ::step], STRETCH)
    stretched = plain
    if high > low:
        stretched = _levels(small, low, high)
        if small.ndim == 3:
            stretched[..., 3:] = plain[..., 3:]
    return Thumbnails(plain=_jpeg(plain), stretched=_jpeg(stretched))


def _levels(samples: Image, black: float, white: float) -> NDArray[np.uint8]:
    """Of 8 bits, with these samples as black and white."""
    import cv2

    factor = 255 / (white - black)
    levels: NDArray[np.uint8] = cv2.addWeighted(samples, factor, samples, 0, -black * factor, dtype=cv2.CV_8U)
    return levels


def _shrunk(pixels: Image, side: int) -> Image:
    """By means of 2 x 2 pixels, as often as more than a thumbnail is left, then to its size: far faster than in one go.

    From there to less than half of the size: what cubic lets through of the finest, and what bilinear takes away, is
    less than what JPEG does to them. Colours with transparency are left to ``resize``, which weights them by it.
    """
    import cv2

    from pipelines.operations.block_means import MOST_HALVINGS, block_means

    if pixels.ndim == 3 and pixels.shape[2] == 4:
        return apply_operations(pixels, (ImageOperation("resize", {"max_side": side}),)).pixels
    while halvings := min(_halvings(pixels.shape, side), MOST_HALVINGS):
        pixels = block_means(pixels, halvings)
    times = max(pixels.shape[:2]) / side
    if times <= 1:
        return pixels
    rows, columns = (max(1, round(length / times)) for length in pixels.shape[:2])
    kernel = cv2.INTER_CUBIC if times < _CUBIC_UP_TO else cv2.INTER_LINEAR
    small: Image = cv2.resize(pixels, (columns, rows), interpolation=kernel)
    return small


def _halvings(shape: tuple[int, ...], side: int) -> int:
    """How often a picture can be halved that its longer side is still ``side``, and none of them gone."""
    longer, shorter = max(shape[:2]), min(shape[:2])
    return max(0, min((longer // side).bit_length(), shorter.bit_length()) - 1)


def _jpeg(pixels: NDArray[np.uint8]) -> bytes:
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        pixels = _on_squares(pixels)
    return encode_image(pixels, _JPEG)


def _on_squares(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(M, N, 4) over a checkerboard."""
    rows, columns = np.ogrid[: pixels.shape[0], : pixels.shape[1]]
    ground = _SQUARES[(rows // _SQUARE_PX + columns // _SQUARE_PX) % 2][..., None]
    alpha = pixels[..., 3:].astype(np.float32) / 255
    over: NDArray[np.uint8] = np.rint(pixels[..., :3] * alpha + ground * (1 - alpha)).astype(np.uint8)
    return over


def _scale(longest_px: int, side: int) -> int:
    """The strongest reduction in the decoder that leaves at least the thumbnail's size."""
    return next((scale for scale in (8, 4, 2) if longest_px // scale >= side), 1)
