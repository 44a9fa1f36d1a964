"""Between Ray Data's loop and who takes a stream's rows: nobody waits for what has come, or won't come any more."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pipelines.stages import ray_stream
from pipelines.stages.ray_blocks import StreamExit


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
