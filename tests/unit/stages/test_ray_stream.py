"""How a shard is cut into blocks, what keeps staged pixels from piling up, and how rows are waited for.

Nobody waits for what has come, or won't come any more. Streams themselves: tests/cluster.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.models import WorkItem
from pipelines.stages import ray_stream
from pipelines.stages.block_task import Workspace
from pipelines.stages.ray_blocks import BLOCK_ROWS, StreamExit, StreamOptions, blocks_of
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


class Operators:
    """As much of a dataset as its operators are told to."""

    def __init__(self) -> None:
        self.at_once: list[int | None] = []

    def map_batches(self, _: Any, *, compute: Any, **how: Any) -> Operators:
        self.at_once.append(compute.size)
        return self


def test_a_task_waits_behind_those_that_run_only_where_no_more_can_run(tmp_path: Path) -> None:
    some = StreamOptions(name="shard", slots=2)
    workspace = Workspace(root=tmp_path, epoch=1, stop=tmp_path / "stop")
    for options, tasks in ((some, 2), (replace(some, takes_all=True), 3)):
        operators: Any = Operators()
        ray_stream._operators(operators, {}, workspace, options, options.fused_tasks)
        assert operators.at_once == [tasks]


@pytest.mark.filterwarnings("ignore:.*is deprecated")  # copying any context of Ray Data warns of its old fields
def test_only_small_rows_may_pile_up() -> None:
    fused = StreamOptions(name="shard", slots=2)
    assert _context(fused)._max_num_blocks_in_streaming_gen_buffer is None
    assert _context(replace(fused, stages="staged"))._max_num_blocks_in_streaming_gen_buffer is not None


class Executor:
    """As much of Ray Data's as its callbacks are given."""

    def __init__(self, stream: str) -> None:
        self.rows: list[str] = []
        self.completed = False
        self._topology: list[Any] = []
        self._data_context = SimpleNamespace(get_config=lambda key, default: stream)

    @property
    def _output_node(self) -> tuple[Any, Any]:
        return SimpleNamespace(has_completed=lambda: self.completed), SimpleNamespace(output_queue=self.rows)


@pytest.fixture
def sides(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Executor]:
    """A stream that begins, and the executor whose steps it hears of."""
    stream = ray_stream._Stream(StreamExit(), {})
    monkeypatch.setitem(ray_stream._streams, stream.exit.id, stream)
    executor = Executor(stream.exit.id)
    ray_stream._Steps().before_execution_starts(executor)
    return stream, executor


def waits(stream: Any, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether it waits for the loop to say something."""
    waited: list[float] = []
    monkeypatch.setattr(stream.changed, "wait", waited.append)
    stream.wait()
    return bool(waited)


def test_rows_are_waited_for_until_there_are_some(sides: tuple[Any, Executor], monkeypatch: pytest.MonkeyPatch) -> None:
    stream, executor = sides
    ray_stream._Steps().on_execution_step(executor)
    assert not stream.changed.is_set()
    assert waits(stream, monkeypatch)
    executor.rows.append("block")
    ray_stream._Steps().on_execution_step(executor)
    assert stream.changed.is_set()
    assert not waits(stream, monkeypatch)


def test_a_stream_that_ended_while_its_last_rows_were_committed_is_not_waited_for(
    sides: tuple[Any, Executor], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, executor = sides
    executor.completed = True
    ray_stream._Steps().on_execution_step(executor)
    assert not waits(stream, monkeypatch)
    assert not waits(stream, monkeypatch), "the loop makes no further step"


def test_a_stream_that_was_left_is_not_waited_for(sides: tuple[Any, Executor], monkeypatch: pytest.MonkeyPatch) -> None:
    stream, executor = sides
    stream.exit.leave()
    with pytest.raises(ray_stream._StreamLeftError):
        ray_stream._Steps().on_execution_step(executor)
    assert not waits(stream, monkeypatch)


class Task:
    """One of Ray Data's that runs."""

    def get_waitable(self) -> str:
        return "task"


@pytest.fixture
def cancelled(sides: tuple[Any, Executor], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The executor has a task under way, and those that are ended by force."""
    _, executor = sides
    executor._topology.append(SimpleNamespace(name="MapBatches", get_active_tasks=lambda: [Task()]))
    ended: list[str] = []
    monkeypatch.setattr(ray_stream.ray, "cancel", lambda task, force: ended.append(task))
    return ended


def test_the_loop_of_a_fused_stream_rests_until_a_task_tells_something(
    sides: tuple[Any, Executor], cancelled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, executor = sides
    rested: list[tuple[list[str], bool]] = []
    monkeypatch.setattr(ray_stream, "wait_for_one", lambda tasks, _: rested.append((tasks, stream.changed.is_set())))
    ray_stream._Steps().on_execution_step(executor)
    assert rested == [], "stages that run apart wait for each other"
    stream.rests = True
    executor.rows.append("block")
    ray_stream._Steps().on_execution_step(executor)
    assert rested == [(["task"], True)], "who takes the rows doesn't wait meanwhile"
    executor._topology.clear()
    ray_stream._Steps().on_execution_step(executor)
    assert len(rested) == 1, "with nothing under way the next begins at once"
    assert cancelled == []


def test_a_stream_that_is_left_while_its_loop_rests_ends_what_runs_in_the_same_step(
    sides: tuple[Any, Executor], cancelled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray Data looks before the next step whether it was shut down, and then takes none."""
    stream, executor = sides
    stream.rests = True
    monkeypatch.setattr(ray_stream, "wait_for_one", lambda tasks, _: stream.exit.leave())
    with pytest.raises(ray_stream._StreamLeftError):
        ray_stream._Steps().on_execution_step(executor)
    assert cancelled == ["task"]
    assert not waits(stream, monkeypatch)
