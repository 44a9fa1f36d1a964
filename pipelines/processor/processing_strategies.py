"""Processing hints: the ways to run a chain on one image, by name in ``STRATEGIES``.

``default``     the pixels of ``apply_operations``
``fast``        8-bit arithmetic for every dtype, and blurs of 8 pixels or more on a smaller image; within a tolerance
``quality``     float32 from the first operation to the last, clipped and rounded once, at the end
``low_memory``  tile by tile, one image at a time, nothing kept in the cache; pixels as ``default``

A strategy is a plain function, so a plug-in can add one. ``gpu`` is no strategy of ours: it is offered when someone
registers one under that name and a resource provider has the units that it requires. No pixels depend on the strategy
beyond what stands here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

from pipelines.models import ImageOperation
from pipelines.operations.chain import apply_operations, compile_chain
from pipelines.operations.registry import Image
from pipelines.operations.samples import full_scale, stored
from pipelines.operations.tiled_chain import apply_by_tiles, numbered_from, segments
from pipelines.processor.reduced_precision import apply_wide_blur, as_uint8, from_uint8, is_wide_blur
from pipelines.registry import Registry

TILE_PIXELS = 256
"""Side of a tile of ``low_memory``, or two halos if that is more."""

Render = Callable[[Image, Sequence[ImageOperation]], Image]
"""``render(image, operations)``: may return its input, never changes it; runs in a Ray worker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessingStrategy:
    """One way to run a chain on an image."""

    hint: str
    """The name that callers give as ``processing_hint``."""
    summary: str
    render: Render
    requires: Mapping[str, int] = field(default_factory=dict)
    """Units of providers' resources that are held while an image is rendered; offered only where they exist."""
    alone: bool = False
    """One image at a time, in a task of its own."""
    cached: bool = True
    """Whether results are kept for the next time."""
    version: int | str = 1
    """Raised whenever the resulting pixels change; part of every cache key."""


STRATEGIES: Registry[ProcessingStrategy] = Registry("processing hint")


def render_default(image: Image, operations: Sequence[ImageOperation]) -> Image:
    """The pixels of ``apply_operations``, at the speed of whole images."""
    return apply_operations(image, operations).pixels


def render_low_memory(image: Image, operations: Sequence[ImageOperation]) -> Image:
    """The same tile by tile: no copy of the whole image but the result, where the chain allows it."""
    image, number = _valid(image), 1
    for part, halo in segments(operations):
        with numbered_from(number):
            if halo is None:
                image = apply_operations(image, part).pixels
            else:
                image = apply_by_tiles(image, part, halo=halo, side=max(TILE_PIXELS, 2 * halo))
        number += len(part)
    return image


def render_fast(image: Image, operations: Sequence[ImageOperation]) -> Image:
    """8-bit samples throughout, and wide blurs computed on a smaller image.

    Of uint16 and float32, every operation may add half of 1/255, times the slope of what follows; float32 is clipped to
    0..1, and NaN becomes black. Wide blurs: within 3 levels. uint8 without wide blurs: the pixels of ``default``.
    """
    pixels, number = as_uint8(_valid(image)), 1
    steps = zip(operations, compile_chain(operations), strict=True)
    for wide, group in groupby(steps, key=lambda pair: is_wide_blur(pair[1])):
        part = list(group)
        if wide:
            for _, step in part:
                pixels = apply_wide_blur(pixels, step)
        else:
            with numbered_from(number):
                pixels = render_default(pixels, [operation for operation, _ in part])
        number += len(part)
    return from_uint8(pixels, image.dtype)


def render_quality(image: Image, operations: Sequence[ImageOperation]) -> Image:
    """float32 between the operations: values beyond black and white, and between levels, survive until the end."""
    if _valid(image).dtype.kind == "f":
        return apply_operations(image, operations).pixels
    top = np.float32(full_scale(image.dtype))
    values = apply_operations(image.astype(np.float32) / top, operations).pixels * top
    return stored(np.nan_to_num(values, copy=False, nan=0.0), image.dtype)


def _valid(image: Image) -> Image:
    """The image, if it is one; else the error that a chain raises."""
    return apply_operations(image, ()).pixels


for _strategy in (
    ProcessingStrategy(hint="default", summary="exact, at the usual precision", render=render_default),
    ProcessingStrategy(hint="fast", summary="8-bit arithmetic, wide blurs on a smaller image", render=render_fast),
    ProcessingStrategy(hint="quality", summary="float32 throughout, rounded once at the end", render=render_quality),
    ProcessingStrategy(
        hint="low_memory",
        summary="tile by tile, one image at a time, nothing kept",
        render=render_low_memory,
        alone=True,
        cached=False,
    ),
):
    STRATEGIES.register(_strategy.hint, _strategy)
