"""What follows a failure of one input, by its reason: one table, read by whoever runs inputs. Pure: no Ray, no clock.

    failure -> reason -> recoverable? -- yes: try again, alone, after a pause --> attempts used up?
                              |                                                        |
                              no ------------> a lesser result that is honest? --------+--> record, go on

Only what ended a process is tried again within a run: its neighbours may have been the cause. What lies in the file or
in the job gives the same failure every time. Lesser results are made where they are known to be possible (``lesser``);
an input that lost something by it is ``degraded`` in the manifest. How often, and how long the pauses are:
``retry_rules``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pipelines import retry_rules
from pipelines.errors import FailedReason


@dataclass(frozen=True, slots=True, kw_only=True)
class FailurePolicy:
    """How failures of one reason are treated."""

    recoverable: bool = False
    """Another try in the same run may go better."""
    lesser: str | None = None
    """The result that is made instead, and who makes it."""
    next_run: bool = False
    """The cause lies outside of job and input, so the next run tries again without being asked."""


_FINAL = FailurePolicy()

FAILURE_POLICIES: Mapping[FailedReason, FailurePolicy] = MappingProxyType(
    {
        FailedReason.MISSING: _FINAL,
        FailedReason.CHANGED: _FINAL,
        FailedReason.PERMISSION: _FINAL,
        FailedReason.EMPTY: _FINAL,
        FailedReason.NOT_AN_IMAGE: _FINAL,
        FailedReason.UNSUPPORTED_FORMAT: _FINAL,
        FailedReason.CODEC_MISSING: _FINAL,
        FailedReason.CORRUPT: _FINAL,
        FailedReason.TRUNCATED: FailurePolicy(lesser="what is valid, if the job says `truncated: salvage` (readers)"),
        FailedReason.TOO_LARGE: FailurePolicy(
            lesser="the same, in tiles or bands where the chain allows (giant_image)"
        ),
        FailedReason.BAD_SHAPE: _FINAL,
        FailedReason.OPERATION_ERROR: _FINAL,
        FailedReason.ANALYSIS_ERROR: _FINAL,
        FailedReason.CHART_ERROR: _FINAL,
        FailedReason.WRITE_ERROR: _FINAL,
        FailedReason.NO_SPACE: FailurePolicy(next_run=True),
        FailedReason.NAME_INVALID: _FINAL,
        FailedReason.TIMEOUT: FailurePolicy(recoverable=True),
        FailedReason.OUT_OF_MEMORY: FailurePolicy(
            recoverable=True, lesser="fewer outputs, alone with all memory that there is (memory_ladder)"
        ),
        FailedReason.CRASHED: FailurePolicy(recoverable=True),
        FailedReason.PLUGIN_ERROR: _FINAL,
    }
)


def pause_before_retry(reason: FailedReason, attempts: int, most: int) -> float | None:
    """Seconds to wait before an input is tried again, alone; None when its failure is final.

    Parameters
    ----------
    reason
        Of the last attempt.
    attempts
        How many failed in this run, that one included.
    most
        How many the job allows (``limits.attempts``).
    """
    if not FAILURE_POLICIES[reason].recoverable or attempts >= most:
        return None
    return retry_rules.INPUT.pause_s(attempts)


def tried_in_next_run() -> list[FailedReason]:
    """Reasons whose inputs every new run opens again."""
    return [reason for reason, policy in FAILURE_POLICIES.items() if policy.next_run]
