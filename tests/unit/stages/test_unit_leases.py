"""When the tasks of a stage ask for units of providers, and when they give them back: nothing is held in vain."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pipelines.stages.ray_blocks import SCARCE_BLOCK_ROWS
from pipelines.stages.ray_stream import SCARCE_BLOCKS_AHEAD
from pipelines.stages.unit_leases import IDLE_S, TURN_S, OpenLeases, Step, tasks_ready
from pipelines.tables import SAVED_ROWS

ASK, STAND_IN_LINE, GIVE_BACK = Step.ASK, Step.STAND_IN_LINE, Step.GIVE_BACK


def test_a_lease_is_asked_for_each_task_that_could_begin_up_to_the_most() -> None:
    leases = OpenLeases(2)
    assert leases.due(5, 0, 100.0) == [(ASK, 1), (ASK, 2)]
    assert not leases.may_begin(0, 100.0)
    assert leases.granted(2, 100.1)
    assert leases.may_begin(0, 100.1)
    assert not leases.may_begin(1, 100.1)
    assert leases.due(4, 1, 100.2) == []


def test_after_its_turn_a_lease_stands_in_line_again_once_its_task_is_over() -> None:
    leases = OpenLeases(1)
    leases.due(9, 0, 100.0)
    leases.granted(1, 100.0)
    assert leases.due(8, 1, 100.0 + TURN_S) == []
    assert not leases.may_begin(0, 100.0 + TURN_S), "no further task begins with it"
    assert leases.due(8, 0, 101.0 + TURN_S) == [(STAND_IN_LINE, 1)]
    assert leases.due(8, 0, 102.0 + TURN_S) == [], "it is asked for"
    leases.granted(1, 103.0 + TURN_S)
    assert leases.may_begin(0, 103.0 + TURN_S)


def test_what_is_wanted_back_goes_after_the_task_that_it_is_for() -> None:
    leases = OpenLeases(1)
    leases.due(9, 0, 100.0)
    leases.granted(1, 100.0)
    leases.revoked(1)
    assert not leases.may_begin(0, 100.1)
    assert leases.due(8, 1, 100.1) == []
    assert leases.due(8, 0, 100.2) == [(STAND_IN_LINE, 1)]


def test_a_fresh_lease_is_used_while_a_task_goes_on_with_one_whose_turn_is_over() -> None:
    """Tasks may take longer than a turn: they would wait for each other else, and units lie idle."""
    leases = OpenLeases(2)
    leases.due(9, 0, 100.0)
    leases.granted(1, 100.0)
    leases.granted(2, 100.0)
    assert leases.due(7, 1, 101.0 + TURN_S) == [(STAND_IN_LINE, 2)]
    assert not leases.may_begin(1, 101.0 + TURN_S)
    leases.granted(2, 102.0 + TURN_S)
    assert leases.may_begin(1, 102.0 + TURN_S)
    assert not leases.may_begin(2, 102.0 + TURN_S)
    assert leases.due(6, 1, 103.0 + TURN_S) == [(STAND_IN_LINE, 1)], (
        "when one of two has ended it is taken to be that one's"
    )


def test_a_lease_without_a_task_is_given_back_and_one_that_comes_too_late_as_well() -> None:
    leases = OpenLeases(2)
    leases.due(2, 0, 100.0)
    leases.granted(1, 100.0)
    assert leases.due(0, 0, 100.1) == [], "the next task may be on its way"
    assert sorted(leases.due(0, 0, 100.1 + IDLE_S), key=str) == [(GIVE_BACK, 1), (GIVE_BACK, 2)]
    assert not leases.granted(2, 102.0)
    assert leases.due(1, 0, 102.0) == [(ASK, 3)]


def test_one_that_was_lost_is_asked_for_anew() -> None:
    leases = OpenLeases(1)
    leases.due(1, 0, 100.0)
    leases.granted(1, 100.0)
    leases.lost(1)
    assert not leases.may_begin(0, 100.0)
    assert leases.due(1, 0, 100.0) == [(ASK, 2)]


def test_waiting_counts_only_while_there_is_nothing_else_to_do() -> None:
    leases = OpenLeases(1)
    leases.due(1, 0, 100.0, busy=True)
    assert leases.waits_s(140.0) == 0
    leases.due(1, 0, 110.0)
    assert leases.waits_s(140.0) == 30
    leases.due(0, 1, 140.0, busy=True)
    assert leases.waits_s(150.0) == 0


@pytest.mark.parametrize(
    ("waiting", "gathered", "ended", "tasks"),
    [
        (0, 0, False, 0),
        (7, 0, False, 0),
        (7, 0, True, 1),
        (17, 0, True, 3),
        (5, 3, False, 0),
        (13, 3, False, 1),
        (0, 3, True, 0),
        (6, 3, True, 1),
    ],
)
def test_tasks_begin_with_all_of_their_rows(waiting: int, gathered: int, ended: bool, tasks: int) -> None:
    assert tasks_ready(waiting, gathered, 8, ended=ended) == tasks


def test_no_task_that_holds_units_waits_for_whoever_takes_its_pixels() -> None:
    """Or two jobs could wait for each other; neighbours that are saved together make a block longer."""
    assert SCARCE_BLOCKS_AHEAD > SCARCE_BLOCK_ROWS + SAVED_ROWS - 1


class SharedUnits(RuleBasedStateMachine):
    """Some stages of some jobs and fewer units; the queue grants to whoever waits longest."""

    @initialize(units=st.integers(1, 3), stages=st.integers(1, 4))
    def begin(self, units: int, stages: int) -> None:
        self.now = 100.0
        self.units = units
        self.open = [OpenLeases(units) for _ in range(stages)]
        self.ready = [0] * stages
        self.running = [0] * stages
        self.out: set[tuple[int, int]] = set()
        self.line: list[tuple[int, int]] = []

    @rule(stage=st.integers(0, 3), ready=st.integers(0, 4))
    def work_comes(self, stage: int, ready: int) -> None:
        self.ready[stage % len(self.open)] = ready

    @rule(stage=st.integers(0, 3))
    def a_task_ends_or_its_worker_dies(self, stage: int) -> None:
        self.running[stage % len(self.open)] = max(self.running[stage % len(self.open)] - 1, 0)

    @rule(seconds=st.sampled_from([0.1, 1.0, TURN_S]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: bool(self.out))
    @rule(data=st.data())
    def it_is_wanted_back(self, data: st.DataObject) -> None:
        stage, number = data.draw(st.sampled_from(sorted(self.out)))
        self.open[stage].revoked(number)

    @rule(stage=st.integers(0, 3))
    def it_is_looked(self, stage: int) -> None:
        self.look(stage % len(self.open))

    def look(self, stage: int) -> None:
        leases = self.open[stage]
        for step, number in leases.due(self.ready[stage], self.running[stage], self.now, busy=True):
            lease = (stage, number)
            self.out.discard(lease)
            if step is GIVE_BACK:
                self.line = [each for each in self.line if each != lease]
            else:
                self.line.append(lease)
        while self.line and len(self.out) < self.units:
            lease = self.line.pop(0)
            if self.open[lease[0]].granted(lease[1], self.now):
                self.out.add(lease)
        while self.ready[stage] and leases.may_begin(self.running[stage], self.now):
            self.ready[stage] -= 1
            self.running[stage] += 1

    @invariant()
    def every_task_has_its_lease(self) -> None:
        for stage, running in enumerate(getattr(self, "running", [])):
            assert running <= sum(each == stage for each, _ in self.out)

    def teardown(self) -> None:
        """Whatever happened: each gets its turn, and in the end nobody holds or asks for anything."""
        if not hasattr(self, "open"):
            return
        self.ready = [min(ready, 2) for ready in self.ready]
        for stage in itertools.islice(itertools.cycle(range(len(self.open))), 200):
            self.look(stage)
            self.running[stage] = 0
            self.now += IDLE_S
        assert self.ready == [0] * len(self.open)
        assert (self.out, self.line) == (set(), [])


TestSharedUnits = SharedUnits.TestCase
