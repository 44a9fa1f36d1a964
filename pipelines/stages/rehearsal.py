"""What a recipe needs of libraries and compiled kernels, loaded before the first image comes. No Ray here."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import numpy as np

from pipelines.cpu_threads import limit_threads
from pipelines.kernel_cache import keep_kernels
from pipelines.models import ImageOperation, WorkItem
from pipelines.operations.chain import RESIZE
from pipelines.stages.image_stages import analyze, produced_files, render_frame
from pipelines.stages.recipe import Recipe
from pipelines.stages.thumbnails import thumbnails_of

SIDE_PX = 64
LARGEST_PX = 2 * SIDE_PX
SIZES = frozenset({"width", "height", "max_side", "left", "top", "right", "bottom"})
"""Parameters that would make of the noise a picture as large as those that the job writes."""
_ITEM = WorkItem(id=0, path=b"noise.jpg", size=0, mtime_ns=0, name="noise", title="noise.jpg", recipe=0, seq=0)


def rehearse(recipe: Recipe) -> None:
    """Do with a small JPEG of noise what the recipe does with images, but publish nothing.

    What fails here will fail with an image, and be told of that. No plug-in is to see a picture that is nobody's: a job
    that has some isn't rehearsed.
    """
    recipe = replace(recipe, operations=tuple(map(_small, recipe.operations)))
    limit_threads()
    keep_kernels()
    with suppress(Exception):
        import cv2

        noise = np.random.default_rng(0).integers(0, 256, (SIDE_PX, SIDE_PX, 3), np.uint8)
        rendered = render_frame(cv2.imencode(".jpg", noise)[1].tobytes(), recipe, None)
        produced_files(_ITEM, rendered, analyze(rendered, recipe), recipe)
        thumbnails_of(noise, 1, SIDE_PX // 3)


def _small(operation: ImageOperation) -> ImageOperation:
    given = operation.params.items()
    largest = SIDE_PX // 2 if operation.name == RESIZE else LARGEST_PX  # what is asked to be no smaller stays as it is
    sizes = {key: min(value, largest) for key, value in given if key in SIZES and isinstance(value, int | float)}
    return replace(operation, params={**operation.params, **sizes})
