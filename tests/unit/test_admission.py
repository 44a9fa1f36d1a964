"""Leave to work: when a burst asks, when it gives back, and that it takes no more than it was given."""

from __future__ import annotations

import pytest

from pipelines.admission import IDLE_S, TURN_S, Admission, Burst, Step, offered, offering


def granted(cpus: int = 2) -> Burst:
    burst = Burst()
    burst.carried_out(Step.ASK)
    burst.heard(cpus, 0.0)
    return burst


def test_nothing_is_asked_before_there_is_work_and_then_once() -> None:
    burst = Burst()
    assert burst.due(waiting=False, running=False, now=0.0) is None
    assert burst.due(waiting=True, running=False, now=0.0) is Step.ASK
    burst.carried_out(Step.ASK)
    assert burst.due(waiting=True, running=False, now=1.0) is None
    assert burst.room() == 0
    burst.heard(2, 1.0)
    assert burst.room() == 2


def test_leave_is_kept_a_moment_and_given_back_when_nothing_is_to_be_done() -> None:
    burst = granted()
    assert burst.due(waiting=False, running=True, now=1.0) is None
    assert burst.due(waiting=False, running=False, now=2.0) is None
    assert burst.due(waiting=False, running=True, now=2.0 + IDLE_S) is None  # an image came
    assert burst.due(waiting=False, running=False, now=3.0) is None
    assert burst.due(waiting=False, running=False, now=3.0 + 2 * IDLE_S) is Step.GIVE_BACK
    burst.carried_out(Step.GIVE_BACK)
    assert burst.room() == 0
    burst.heard(2, 4.0)  # too late
    assert burst.room() == 0


@pytest.mark.parametrize("waiting", [True, False])
def test_what_is_wanted_back_is_given_when_nothing_runs(waiting: bool) -> None:
    burst = granted()
    burst.heard(0, 1.0)
    assert burst.room() == 0
    assert burst.due(waiting=waiting, running=True, now=1.0) is None
    step = burst.due(waiting=waiting, running=False, now=1.0)
    assert step is (Step.STAND_IN_LINE if waiting else Step.GIVE_BACK)
    burst.carried_out(step)
    assert burst.due(waiting=True, running=False, now=1.0) is (None if waiting else Step.ASK)


def test_a_long_burst_stands_in_line_again() -> None:
    burst = granted()
    assert burst.due(waiting=True, running=True, now=TURN_S - 1) is None
    assert burst.due(waiting=True, running=True, now=TURN_S) is None
    assert burst.room() == 0
    assert burst.due(waiting=True, running=False, now=TURN_S) is Step.STAND_IN_LINE
    burst.carried_out(Step.STAND_IN_LINE)
    burst.heard(1, TURN_S)
    assert burst.room() == 1


def test_the_offer_ends_with_its_session() -> None:
    def make() -> Admission:
        raise AssertionError("nobody asked")

    before = offered()
    with offering(make):
        assert offered() is make
    assert offered() is before
