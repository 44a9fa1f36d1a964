"""Who makes no progress, and what the end of a worker says of its input."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import FailedReason
from pipelines.stages.worker_journal import InHand
from pipelines.worker_process import WorkerProcess
from rayjobs.run.worker_watch import GRACE_S, STOPPED_S, Evidence, Stalled, crash_of, patience_s

PROCESS = WorkerProcess("n", 7, 100)


def in_hand(*, oom_kills: int | None = None, hung: bool = False, lost: bool = False, memory: bool = False) -> InHand:
    return InHand(
        input=1,
        journal="j",
        process=PROCESS,
        noted_ns=0,
        oom_kills=oom_kills,
        hung=hung,
        lost=lost,
        out_of_memory=memory,
    )


def test_patience_is_the_limit_and_a_grace_or_what_a_stopped_process_may_take() -> None:
    assert patience_s(5.0) == 5.0 + GRACE_S
    assert patience_s(None) == STOPPED_S


@given(st.lists(st.tuples(st.floats(0.1, 9.0), st.booleans()), max_size=60))
def test_only_a_journal_that_stays_as_it_is_for_too_long_is_told_and_once(steps: list[tuple[float, bool]]) -> None:
    watch = Stalled(10.0)
    now = last = 0.0
    size, told = 1, 0
    watch.look({"a": size}, now)
    for seconds, grows in steps:
        now += seconds
        if grows:
            size, last, told = size + 1, now, 0
        late = watch.look({"a": size}, now)
        assert late == (["a"] if now - last > 10.0 and not told else [])
        told += len(late)


def test_one_that_is_let_be_is_told_again_and_one_that_is_gone_is_forgotten() -> None:
    watch = Stalled(10.0)
    watch.look({"a": 1, "b": 1}, 0.0)
    assert sorted(watch.look({"a": 1, "b": 1}, 11.0)) == ["a", "b"]
    watch.again("a", 11.0)
    assert watch.look({"a": 1, "b": 1}, 20.0) == []
    assert watch.look({"a": 1}, 22.0) == ["a"]
    assert watch.look({"a": 1, "b": 1}, 30.0) == []


@pytest.mark.parametrize(
    ("found", "evidence", "reason", "final"),
    [
        (in_hand(), Evidence(), FailedReason.CRASHED, False),
        (in_hand(hung=True), Evidence(), FailedReason.TIMEOUT, False),
        (in_hand(), Evidence(ended_by_driver=True), FailedReason.TIMEOUT, False),
        (in_hand(), Evidence(abandoned=True), FailedReason.TIMEOUT, True),
        (in_hand(oom_kills=4), Evidence(oom_kills=5), FailedReason.OUT_OF_MEMORY, False),
        (in_hand(oom_kills=4), Evidence(oom_kills=5, oom_kills_known=5), FailedReason.CRASHED, False),
        (in_hand(oom_kills=5), Evidence(oom_kills=5, oom_kills_known=4), FailedReason.CRASHED, False),
        (in_hand(), Evidence(oom_kills=5), FailedReason.CRASHED, False),
        (in_hand(oom_kills=4), Evidence(), FailedReason.CRASHED, False),
        (in_hand(hung=True, oom_kills=4), Evidence(oom_kills=5), FailedReason.TIMEOUT, False),
        (in_hand(lost=True), Evidence(), FailedReason.CRASHED, False),
        (in_hand(lost=True, memory=True), Evidence(), FailedReason.OUT_OF_MEMORY, False),
    ],
)
def test_what_an_input_is_charged_with(found: InHand, evidence: Evidence, reason: FailedReason, final: bool) -> None:
    crash = crash_of(found, evidence, 5.0)
    assert crash is not None
    assert (crash.reason, crash.final) == (reason, final)
    assert crash.message


def test_a_machine_that_failed_and_a_neighbours_end_are_no_fault_of_the_input() -> None:
    assert crash_of(in_hand(), Evidence(node_answers=False), 5.0) is None
    assert crash_of(in_hand(), Evidence(bystander=True), 5.0) is None
