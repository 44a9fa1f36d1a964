"""Which waiting images go into the next task: neighbours with one recipe are merged while there are many of them.

A task costs a few milliseconds beside its images. Pure decisions on counts and sizes; see ``ray_pool`` for the rest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from pipelines.processor.processing_pool import RenderRecipe, RenderRequest

LARGEST_TASK_BYTES = 48 << 20
"""Of inputs in one task: what is in a task is lost with its worker, and nobody else can take it over."""
LARGEST_TASK_IMAGES = 64
SHARES = 3
"""Tasks per worker that the waiting images are cut into, so that all workers end at about the same time."""


def next_task(
    waiting: deque[RenderRequest],
    *,
    workers: int,
    size_of: Callable[[RenderRequest], int],
    may_start: Callable[[RenderRecipe], bool],
) -> list[RenderRequest]:
    """Take the images of the next task out of ``waiting``; none when nothing may start now.

    The oldest image that may start leads; those that follow it directly and have the same recipe join it.
    """
    most = min(LARGEST_TASK_IMAGES, -(-len(waiting) // (SHARES * workers)))
    first = next((i for i, request in enumerate(waiting) if may_start(request.recipe)), None)
    if first is None:
        return []
    waiting.rotate(-first)
    task = [waiting.popleft()]
    size = size_of(task[0])
    while waiting and len(task) < most and may_join(task[0].recipe, waiting[0].recipe):
        size += size_of(waiting[0])
        if size > LARGEST_TASK_BYTES:
            break
        task.append(waiting.popleft())
    waiting.rotate(first)
    return task


def may_join(recipe: RenderRecipe, other: RenderRecipe) -> bool:
    """Whether an image may share a task with one of another request."""
    return (other is recipe or other == recipe) and not recipe.strategy.alone and not recipe.strategy.requires
