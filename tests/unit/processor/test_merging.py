"""Which images share a task."""

from __future__ import annotations

from collections import deque

import numpy as np

from pipelines.models import ImageOperation
from pipelines.processor.merging import LARGEST_TASK_BYTES, LARGEST_TASK_IMAGES, next_task
from pipelines.processor.processing_pool import RenderRecipe, RenderRequest
from pipelines.processor.processing_strategies import STRATEGIES


def recipe(name: str = "invert", hint: str = "default") -> RenderRecipe:
    return RenderRecipe(operations=(ImageOperation(name),), chain=name, strategy=STRATEGIES[hint])


def requests(count: int, own: RenderRecipe) -> list[RenderRequest]:
    return [RenderRequest(np.zeros((2, 2), np.uint8), own) for _ in range(count)]


def take(waiting: deque[RenderRequest], *, workers: int = 2, size: int = 1, refused: str = "") -> list[RenderRequest]:
    return next_task(
        waiting,
        workers=workers,
        size_of=lambda _: size,
        may_start=lambda own: own.operations[0].name != refused,
    )


def test_every_image_leaves_once_and_in_order() -> None:
    given = requests(100, recipe())
    waiting, left = deque(given), []
    while waiting:
        left += take(waiting)
    assert left == given


def test_tasks_become_smaller_towards_the_end() -> None:
    waiting, sizes = deque(requests(60, recipe())), []
    while waiting:
        sizes.append(len(take(waiting)))
    assert sizes[0] == 10
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 1


def test_a_single_image_does_not_wait_for_others() -> None:
    assert len(take(deque(requests(1, recipe())))) == 1


def test_bytes_and_images_of_a_task_are_bounded() -> None:
    assert len(take(deque(requests(100, recipe())), size=LARGEST_TASK_BYTES // 4)) == 4
    assert len(take(deque(requests(2, recipe())), size=2 * LARGEST_TASK_BYTES)) == 1
    assert len(take(deque(requests(1000, recipe())), workers=1)) == LARGEST_TASK_IMAGES


def test_equal_recipes_join_and_others_do_not() -> None:
    waiting = deque([*requests(3, recipe()), *requests(3, recipe()), *requests(20, recipe("gaussian"))])
    first = take(waiting)
    assert [request.recipe for request in first] == [recipe()] * 5  # 26 waiting: a sixth of them
    assert len(take(waiting)) == 1


def test_images_that_go_alone_do_not_join() -> None:
    assert len(take(deque(requests(60, recipe(hint="low_memory"))))) == 1


def test_what_may_not_start_is_passed_by_and_keeps_its_place() -> None:
    held, free = requests(2, recipe("gaussian")), requests(3, recipe())
    waiting = deque([held[0], free[0], held[1], *free[1:]])
    assert take(waiting, refused="gaussian") == [free[0]]
    assert list(waiting) == [*held, *free[1:]]
    assert take(deque(held), refused="gaussian") == []
