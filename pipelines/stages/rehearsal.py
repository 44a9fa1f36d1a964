"""What a recipe needs of libraries and compiled kernels, loaded before the first image comes. No Ray here."""

from __future__ import annotations

from contextlib import suppress

import numpy as np

from pipelines.cpu_threads import limit_threads
from pipelines.kernel_cache import keep_kernels
from pipelines.models import WorkItem
from pipelines.stages.image_stages import analyze, produced_files, render_frame
from pipelines.stages.recipe import Recipe

SIDE_PX = 64
_ITEM = WorkItem(id=0, path=b"noise.jpg", size=0, mtime_ns=0, name="noise", title="noise.jpg", recipe=0, seq=0)


def rehearse(recipe: Recipe) -> None:
    """Do with a small JPEG of noise what the recipe does with images, but publish nothing.

    What fails here will fail with an image, and be told of that. Plug-ins aren't loaded, so that none of them ever sees
    a picture that is nobody's: a recipe of theirs ends at the first operation that isn't known.
    """
    limit_threads()
    keep_kernels()
    with suppress(Exception):
        import cv2

        noise = np.random.default_rng(0).integers(0, 256, (SIDE_PX, SIDE_PX, 3), np.uint8)
        rendered = render_frame(cv2.imencode(".jpg", noise)[1].tobytes(), recipe, None)
        produced_files(_ITEM, rendered, analyze(rendered, recipe), recipe)
