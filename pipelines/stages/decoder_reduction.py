"""Shrink on load: letting the decoder make a picture smaller where the chain does that first anyway.

libjpeg gives half, a quarter or an eighth of the size in less time and memory. Analyses and charts look at the rendered
image, so nobody misses the other pixels: the decision depends on the file's header, the chain and the colour policy
alone, and whatever is wanted of an input, its pixels are the same. How close they are to those of a full decode is said
by ``resize``, whose version is raised when anything here changes.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.image_io import DecodedImage, ImageHeader, ReadPolicy, decode_image
from pipelines.image_io.colour_profiles import has_tones_of_srgb
from pipelines.models import ImageOperation
from pipelines.operations import ChainError, ChainResult, apply_operations, compile_chain
from pipelines.operations.chain import AUTO_ORIENT, RESIZE, turn_of
from pipelines.operations.geometry import ORIENTATIONS, resize_target
from pipelines.operations.reduction import Reduction
from pipelines.operations.registry import Scale

FACTORS = (8, 4, 2)
"""What libjpeg makes out of its blocks of 8 x 8 without interpolating."""
MARGIN = 3
"""How many times smaller the resize must still make what the decoder gives. The decoder cuts each block by itself and
lets some of what is too fine through; at 2 that shows as up to twice the difference in photographs."""
_MIN_SIDE = 16
"""Of pictures below two blocks nothing is gained, and libjpeg's sizes aren't distinct."""


def decoder_reduction(header: ImageHeader, policy: ReadPolicy, operations: Sequence[ImageOperation]) -> int:
    """How many times smaller the decoder may make each side of an image for this chain: 8, 4, 2, or 1 for not at all.

    Only a JPEG, for a chain that begins with ``resize`` by lanczos, or with it after ``auto_orient``.
    """
    if header.format != "jpeg" or header.space == "cmyk" or min(header.width, header.height) < _MIN_SIDE:
        return 1
    factor = _factor(header, operations)
    converted = header.icc is not None and policy.color == "srgb"
    return 1 if factor > 1 and converted and not has_tones_of_srgb(header) else factor


def _factor(header: ImageHeader, operations: Sequence[ImageOperation]) -> int:
    try:
        steps = compile_chain(operations)
    except ChainError:  # the image is decoded first, and fails when the chain runs
        return 1
    rows, columns = header.height, header.width
    if steps and steps[0].operation.name == AUTO_ORIENT:
        transposed, _ = ORIENTATIONS[turn_of(steps[0], header.orientation)]
        rows, columns = (columns, rows) if transposed else (rows, columns)
        steps = steps[1:]
    if not steps or steps[0].operation.name != RESIZE or steps[0].arguments["kernel"] != "lanczos":
        return 1
    size, spans = resize_target(rows, columns, steps[0].arguments)
    times = min(length / count for count, (_, length) in zip(size, spans, strict=True))
    return next((factor for factor in FACTORS if times >= MARGIN * factor), 1)


def decode_and_apply(
    data: bytes,
    header: ImageHeader,
    policy: ReadPolicy,
    operations: Sequence[ImageOperation],
    *,
    frame: int = 0,
    factor: int | None = None,
    pixel_size: Scale | None = None,
) -> tuple[DecodedImage, ChainResult]:
    """One frame of a file after a chain, decoded no larger than the chain needs it.

    The decoded image's header has the size of the file's picture, whatever the size of its pixels. ``factor`` is that
    of ``decoder_reduction``, if it is known already; ``pixel_size`` is as for ``apply_operations``. Raises as
    ``decode_image`` and ``apply_operations``.
    """
    factor = decoder_reduction(header, policy, operations) if factor is None else factor
    decoded = decode_image(data, policy, frame=frame, scale_denom=factor, header=header)
    reduction = Reduction(factor=factor, rows=header.height, columns=header.width) if factor > 1 else None
    result = apply_operations(
        decoded.pixels, operations, orientation=decoded.orientation, reduction=reduction, pixel_size=pixel_size
    )
    return decoded, result
