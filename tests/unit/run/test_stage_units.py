"""Leases of units for the tasks of a stage: none is ever kept by somebody who doesn't need it, whenever it comes."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest

from actors.queue.queue_events import Decision, Finished, Grant, Revoke, Stop
from pipelines.errors import RayjobsError
from pipelines.tasks import TaskStatus
from rayjobs.run import stage_units
from rayjobs.run.shard_grants import ShardGrants
from rayjobs.run.stage_units import StageUnits
from tests.leaks import wait_until


class Queue(ShardGrants):
    """Grants when the test says so, as the coordinator's thread would."""

    def __init__(self) -> None:
        super().__init__(job_id="job")
        self.listeners: dict[str, object] = {}
        self.out: set[str] = set()
        self.line: list[str] = []
        self.refuses = False

    def ask_units(self, needs: Mapping[str, float], listener: object) -> str:
        if self.refuses:
            raise RayjobsError("asks for 1 of 'pen', the limit is 0 of 'pen'")
        task_id = f"lease-{len(self.listeners)}"
        self.listeners[task_id] = listener
        self.line.append(task_id)
        return task_id

    def end_units(self, task_id: str, *, again: bool) -> None:
        self.out.discard(task_id)
        self.line = [each for each in self.line if each != task_id] + [task_id] * again

    def grant(self, task_id: str) -> None:
        self.line.remove(task_id)
        self.out.add(task_id)
        self.tell(Grant(owner="o", number=1, task_ids=(task_id,), cpus=0.0), task_id)

    def tell(self, decision: Decision, task_id: str) -> None:
        listener = self.listeners[task_id]
        assert callable(listener)
        thread = threading.Thread(target=listener, args=(decision,))
        thread.start()
        thread.join()


@pytest.fixture
def stop(tmp_path: Path) -> Path:
    return tmp_path / "stop"


@pytest.fixture
def line() -> Queue:
    return Queue()


@pytest.fixture
def units(line: Queue, stop: Path) -> StageUnits:
    units = StageUnits("render", {"pen": 1}, 1, line, stop)
    assert not units.may_begin(3, 0, busy=False)
    wait_until(lambda: line.line == ["lease-0"])
    return units


def test_a_task_begins_with_its_lease_and_all_is_given_back_in_the_end(line: Queue, units: StageUnits) -> None:
    line.grant("lease-0")
    assert units.may_begin(3, 0, busy=False)
    assert not units.may_begin(2, 1, busy=True)
    units.close()
    assert (line.out, line.line) == (set(), [])


def test_a_lease_that_comes_after_the_end_goes_back_at_once(line: Queue, units: StageUnits) -> None:
    """It was on its way when it was withdrawn."""
    units.close()
    assert line.line == []
    line.line.append("lease-0")
    line.grant("lease-0")
    assert line.out == set()


def test_what_is_wanted_back_or_taken_away_is_asked_for_again(line: Queue, units: StageUnits) -> None:
    line.grant("lease-0")
    line.tell(Revoke(owner="o", number=1, task_id="lease-0"), "lease-0")
    assert not units.may_begin(3, 0, busy=False)
    wait_until(lambda: line.line == ["lease-0"])
    line.grant("lease-0")
    line.tell(Stop(owner="o", number=1, task_id="lease-0"), "lease-0")
    assert line.out == set()
    assert not units.may_begin(3, 0, busy=False)
    wait_until(lambda: line.line == ["lease-1"])
    line.line.clear()
    line.tell(Finished(owner="o", task_id="lease-1", status=TaskStatus.CANCELLED), "lease-1")
    assert not units.may_begin(3, 0, busy=False)
    wait_until(lambda: line.line == ["lease-2"])
    units.close()


def test_whoever_begins_tasks_hears_that_there_are_no_units(line: Queue, stop: Path) -> None:
    line.refuses = True
    units = StageUnits("render", {"pen": 1}, 1, line, stop)
    units.may_begin(1, 0, busy=False)
    units._steps.put(None)
    units._thread.join()
    with pytest.raises(RayjobsError, match="the limit is 0"):
        units.may_begin(1, 0, busy=False)
    units.close()


def test_a_shard_that_can_only_wait_releases_its_cpus_after_a_while(
    line: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for patience_s, gives_up in ((stage_units.WAIT_S, False), (-1.0, True)):
        monkeypatch.setattr(stage_units, "WAIT_S", patience_s)
        stop = tmp_path / f"stop-{gives_up}"
        with closing(StageUnits("render", {"pen": 1}, 1, line, stop)) as units:
            units.may_begin(3, 0, busy=False)
            assert stop.exists() == gives_up
