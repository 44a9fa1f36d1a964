"""Which images share a task, and the units of providers that a task holds."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest

from pipelines.contracts import ResourceProvider
from pipelines.errors import FailedReason, ImageError
from pipelines.models import ImageOperation
from pipelines.processor.merging import LARGEST_TASK_BYTES, LARGEST_TASK_IMAGES, next_task
from pipelines.processor.processing_pool import RenderRecipe, RenderRequest
from pipelines.processor.processing_strategies import STRATEGIES
from pipelines.processor.provider_leases import ProviderLeases
from pipelines.resources import ResourceAllocation, ResourceInfo


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


class Shelf(ResourceProvider):
    """Units of two resources."""

    def __init__(self, *, broken: bool = False, **total: int) -> None:
        self.total = total
        self.held = dict.fromkeys(total, 0)
        self.broken = broken

    def get_available_resources(self) -> ResourceInfo:
        return ResourceInfo(
            total=self.total, available={name: self.total[name] - self.held[name] for name in self.total}
        )

    def allocate(self, amount: int) -> ResourceAllocation:
        if self.broken:
            raise OSError("no driver")
        (name,) = self.total
        self.held[name] += amount
        return ResourceAllocation(allocation_id="1", resource_type=name, amounts={name: amount})

    def release(self, allocation: ResourceAllocation) -> None:
        self.held[allocation.resource_type] -= int(allocation.amounts[allocation.resource_type])


def test_units_are_held_all_or_none() -> None:
    gpus, licences = Shelf(gpu=2), Shelf(licence=1)
    leases = ProviderLeases((gpus, licences))
    needs = {"gpu": 1, "licence": 1}
    assert leases.offers(needs)
    lease = leases.take(needs)
    assert lease is not None
    assert (gpus.held, licences.held) == ({"gpu": 1}, {"licence": 1})
    assert not leases.may_take(needs)
    assert leases.take(needs) is None
    assert gpus.held == {"gpu": 1}
    leases.give_back(lease)
    assert (gpus.held, licences.held) == ({"gpu": 0}, {"licence": 0})


def test_nothing_is_required_or_nobody_has_it() -> None:
    leases = ProviderLeases((Shelf(gpu=1),))
    assert leases.take({}) == ()
    assert not leases.offers({"gpu": 2})
    assert not leases.offers({"scanner": 1})
    assert leases.may_take({"scanner": 1})
    with pytest.raises(ImageError, match="no resource provider has 1 scanner any more"):
        leases.take({"scanner": 1})


def test_a_provider_that_fails_fails_the_image_and_gives_the_rest_back() -> None:
    gpus = Shelf(gpu=1)
    leases = ProviderLeases((gpus, Shelf(licence=1, broken=True)))
    with pytest.raises(ImageError, match="resource 'licence': no driver") as caught:
        leases.take({"gpu": 1, "licence": 1})
    assert caught.value.reason is FailedReason.PLUGIN_ERROR
    assert gpus.held == {"gpu": 0}


def test_a_provider_that_can_not_count_or_take_back_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    class Moody(Shelf):
        def get_available_resources(self) -> ResourceInfo:
            if self.broken:
                raise OSError("gone")
            return super().get_available_resources()

        def release(self, allocation: ResourceAllocation) -> None:
            raise OSError("gone")

    provider = Moody(gpu=1)
    leases = ProviderLeases((provider,))
    lease = leases.take({"gpu": 1})
    assert lease is not None
    leases.give_back(lease)
    assert "can't take" in caplog.text
    provider.broken = True
    assert not leases.offers({"gpu": 1})
    assert "can't say" in caplog.text
