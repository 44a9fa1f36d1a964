"""How a shard is cut into blocks, and what keeps staged pixels from piling up. Streams themselves: tests/cluster."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.models import WorkItem
from pipelines.stages.ray_blocks import BLOCK_ROWS, StreamOptions, blocks_of
from pipelines.stages.ray_stream import _context
from pipelines.tables import SAVED_ROWS


def items(places: list[int]) -> list[WorkItem]:
    return [
        WorkItem(id=place, path=b"/x", size=0, mtime_ns=0, name="x", title="x", recipe=1, seq=place) for place in places
    ]


@given(st.sets(st.integers(0, 3000), max_size=1500), st.integers(1, 9))
def test_blocks_are_the_inputs_in_order_cut_between_groups(places: set[int], slots: int) -> None:
    work = items(sorted(places))
    blocks = blocks_of(work, slots)
    assert [item for block in blocks for item in block] == work
    assert all(0 < len(block) <= BLOCK_ROWS + SAVED_ROWS for block in blocks)
    for one, other in pairwise(blocks):
        assert one[-1].seq // SAVED_ROWS != other[0].seq // SAVED_ROWS


def test_blocks_shrink_so_that_all_slots_end_together() -> None:
    assert [len(block) for block in blocks_of(items(list(range(1000))), 2)] == [400, 400, 80, 80, 24, 16]
    assert [len(block) for block in blocks_of(items(list(range(20))), 2)] == [8, 8, 4]


@pytest.mark.filterwarnings("ignore:.*is deprecated")  # copying any context of Ray Data warns of its old fields
def test_only_small_rows_may_pile_up() -> None:
    fused = StreamOptions(name="shard", slots=2)
    assert _context(fused)._max_num_blocks_in_streaming_gen_buffer is None
    assert _context(replace(fused, stages="staged"))._max_num_blocks_in_streaming_gen_buffer is not None
