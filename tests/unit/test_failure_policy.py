"""The policy table: complete, bounded, and what the promises say of the reasons that matter."""

from __future__ import annotations

import pytest

from pipelines import retry_rules
from pipelines.errors import FailedReason
from pipelines.failure_policy import (
    FAILURE_POLICIES,
    pause_before_retry,
    tried_in_next_run,
)


def test_every_reason_has_its_row() -> None:
    assert set(FAILURE_POLICIES) == set(FailedReason)


@pytest.mark.parametrize("reason", list(FailedReason))
def test_tries_are_bounded_and_pauses_grow(reason: FailedReason) -> None:
    pauses = [pause_before_retry(reason, attempts, 10) for attempts in range(1, 10)]
    assert pause_before_retry(reason, 10, 10) is None
    assert pause_before_retry(reason, 1, 1) is None
    if not FAILURE_POLICIES[reason].recoverable:
        assert pauses == [None] * 9
        return
    known = [pause for pause in pauses if pause is not None]
    assert known == sorted(known)
    assert len(known) == 9
    assert known[0] == retry_rules.INPUT.first_pause_s
    assert known[-1] == retry_rules.INPUT.longest_pause_s


def test_only_what_ends_processes_is_tried_again_within_a_run() -> None:
    recoverable = {reason for reason, policy in FAILURE_POLICIES.items() if policy.recoverable}
    assert recoverable == {FailedReason.CRASHED, FailedReason.TIMEOUT, FailedReason.OUT_OF_MEMORY}


def test_lesser_results_are_those_of_the_design() -> None:
    lesser = {reason for reason, policy in FAILURE_POLICIES.items() if policy.lesser}
    assert lesser == {FailedReason.TRUNCATED, FailedReason.TOO_LARGE, FailedReason.OUT_OF_MEMORY}


def test_a_full_disk_is_tried_again_by_the_next_run() -> None:
    assert tried_in_next_run() == [FailedReason.NO_SPACE]
