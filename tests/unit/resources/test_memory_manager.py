"""Memory budgets: shares, buckets, what follows a kill."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.resources.cluster_view import Node
from actors.resources.memory_manager import WORKER_BYTES, MemoryManager, bucket, lighter
from pipelines.charts import ChartOptions
from pipelines.errors import FailedReason, ImageError
from pipelines.image_io import EncodeOptions, ImageHeader, ReadPolicy
from pipelines.memory_ladder import MemoryStep, ladder
from pipelines.models import AnalysisRequest
from pipelines.stages.memory_need import MoreMemoryNeededError, check_budget, needed_bytes
from pipelines.stages.recipe import Recipe

MIB = 2**20
GIB = 2**30
SIZES = st.integers(1, 2**45)


def node(cpus: float, memory: float, name: str = "n") -> Node:
    return Node(name=name, total={"cpu": cpus, "memory": memory})


def header(width: int, height: int) -> ImageHeader:
    return ImageHeader(format="png", width=width, height=height, channels=3, dtype="uint8", file_bytes=1000)


@given(SIZES)
def test_buckets_hold_what_they_are_for_and_are_few(needed: int) -> None:
    size = bucket(needed)
    assert size >= needed
    assert size == 256 * MIB or size < 2 * needed
    assert (size // (256 * MIB)).bit_count() == 1


def test_tasks_reserve_the_share_of_memory_of_their_cpu() -> None:
    manager = MemoryManager([node(2, 16 * GIB + 5)], slots=2)
    assert manager.task_bytes == 8 * GIB
    assert manager.image_bytes == 8 * GIB - WORKER_BYTES
    assert manager.share_bytes == 16 * GIB


@given(st.lists(st.tuples(st.integers(1, 128), st.integers(2 * MIB, 2**42)), min_size=1, max_size=5))
def test_reservations_never_exceed_any_node(nodes: list[tuple[int, int]]) -> None:
    manager = MemoryManager([node(cpus, cpus * memory) for cpus, memory in nodes], slots=3)
    assert manager.task_bytes is not None
    assert all(manager.task_bytes * cpus <= cpus * memory for cpus, memory in nodes)


def test_nodes_that_do_not_tell_their_memory_bound_nothing() -> None:
    manager = MemoryManager([Node(name="n", total={"cpu": 2})], slots=2)
    assert (manager.task_bytes, manager.image_bytes) == (None, None)
    assert manager.next_step(1) == MemoryStep(memory_bytes=0)


def test_large_image_reserves_its_bucket_up_to_the_shards_share() -> None:
    manager = MemoryManager([node(4, 8 * GIB)], slots=2)
    assert manager.reserve(1, 3 * GIB) == 4 * GIB
    assert manager.reserve(2, GIB) == 2 * GIB
    assert manager.reserve(3, 7 * GIB) == 4 * GIB
    with pytest.raises(ImageError, match=r"needs about .* bytes of memory, the largest node offers") as caught:
        manager.reserve(4, 9 * GIB)
    assert caught.value.reason is FailedReason.TOO_LARGE


def test_after_a_kill_more_memory_then_the_node_then_fewer_outputs() -> None:
    assert ladder(GIB, share_bytes=8 * GIB, node_bytes=32 * GIB) == [
        MemoryStep(memory_bytes=4 * GIB),
        MemoryStep(memory_bytes=32 * GIB),
        MemoryStep(memory_bytes=32 * GIB, fewer_outputs=True),
    ]


@given(reserved=SIZES, share=SIZES, most=SIZES)
def test_ladder_only_goes_up_and_ends(reserved: int, share: int, most: int) -> None:
    steps = ladder(reserved, share, most)
    sizes = [step.memory_bytes for step in steps]
    assert 2 <= len(steps) <= 3
    assert sizes == sorted(sizes)
    assert max(sizes) <= most
    assert [step.fewer_outputs for step in steps] == [False] * (len(steps) - 1) + [True]


def test_fewer_outputs_follow_only_when_memory_was_the_reason() -> None:
    manager = MemoryManager([node(2, 4 * GIB)], slots=2)
    whole = MemoryStep(memory_bytes=4 * GIB)
    assert [manager.next_step(7) for _ in range(4)] == [whole] * 4
    manager.killed(7)
    assert manager.next_step(7) == MemoryStep(memory_bytes=4 * GIB, fewer_outputs=True)
    assert manager.next_step(7) is None
    manager.forget(7)
    assert manager.next_step(7) == whole


@pytest.mark.parametrize(
    ("tries", "sizes"),
    [(1, [32]), (2, [32, 32]), (3, [4, 32, 32]), (9, [4, 32, 32])],
)
def test_the_ladder_ends_within_the_tries_that_are_left(tries: int, sizes: list[int]) -> None:
    manager = MemoryManager([node(32, 32 * GIB)], slots=8)
    steps = []
    for left in range(tries, 0, -1):
        manager.killed(7)
        steps.append(manager.next_step(7, left))
    whole = [MemoryStep(memory_bytes=size * GIB) for size in sizes[:-1]]
    assert steps[: len(sizes)] == [*whole, MemoryStep(memory_bytes=sizes[-1] * GIB, fewer_outputs=True)]
    assert steps[len(sizes) :] == [None] * (tries - len(sizes))


def test_what_has_no_lesser_result_is_tried_whole_to_the_last() -> None:
    manager = MemoryManager([node(32, 32 * GIB)], slots=8)
    manager.killed(7)
    assert manager.next_step(7, 1, has_lighter=False) == MemoryStep(memory_bytes=32 * GIB)
    assert manager.next_step(7, 1, has_lighter=False) is None


def test_requests_are_those_of_the_nodes_alive() -> None:
    large, small = node(4, 64 * GIB, "large"), node(4, 8 * GIB, "small")
    manager = MemoryManager([large, small], slots=8)
    assert manager.reserve(1, 20 * GIB) == 16 * GIB
    manager.set_nodes([small])
    assert manager.next_step(2) == MemoryStep(memory_bytes=8 * GIB)
    assert manager.within(16 * GIB, waited=False) == 8 * GIB
    with pytest.raises(ImageError, match="the largest node offers"):
        manager.reserve(1, 20 * GIB)
    manager.set_nodes([large, small])
    manager.killed(2)
    assert manager.next_step(2) == MemoryStep(memory_bytes=64 * GIB)


def recipe_of(*, image: bool, analyses: tuple[str, ...] = (), charted: tuple[str, ...] = ()) -> Recipe:
    return Recipe(
        id=1,
        read=ReadPolicy(),
        image=EncodeOptions(format="jpeg") if image else None,
        analyses=tuple(AnalysisRequest(name) for name in analyses),
        charts=ChartOptions(),
        charted=charted,
    )


def test_image_goes_without_analyses_and_analyses_without_charts() -> None:
    scopes = ("luma_waveform",)
    assert lighter(recipe_of(image=True, analyses=scopes, charted=scopes)) == (
        recipe_of(image=True),
        "out of memory: analyses and charts left out",
    )
    assert lighter(recipe_of(image=False, analyses=scopes, charted=scopes)) == (
        recipe_of(image=False, analyses=scopes),
        "out of memory: charts left out",
    )
    assert lighter(recipe_of(image=True)) is None
    assert lighter(recipe_of(image=False, analyses=scopes)) is None


def test_need_is_known_from_the_header_alone() -> None:
    small, large = header(100, 100), header(20_000, 20_000)
    assert needed_bytes(small) < MIB
    assert needed_bytes(large) > 20_000 * 20_000 * 3 * 5
    check_budget(small, MIB)
    check_budget(large, None)
    with pytest.raises(MoreMemoryNeededError) as caught:
        check_budget(large, GIB)
    assert caught.value.needed_bytes == needed_bytes(large)
