"""How an export stands after its run."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.tasks import TaskStatus
from rayjobs.job.job_state import JobState, JobStatus
from rayjobs.managers.analysis_export_service import _outcome
from rayjobs.managers.job_pool import RunHandle
from tests.places import Place
from tests.quick_runs import request, run_here


@pytest.mark.parametrize(
    ("broken", "status", "words"),
    [
        (0, TaskStatus.COMPLETED, None),
        (2, TaskStatus.COMPLETED, "2 of 4 images failed"),
        (4, TaskStatus.FAILED, "all 4 images failed (not_an_image)"),
    ],
)
def test_an_export_without_a_single_image_has_failed(
    place: Place, broken: int, status: TaskStatus, words: str | None
) -> None:
    for path in sorted((place.base / "in").iterdir())[:broken]:
        path.write_bytes(b"no image at all")
    wanted = request(place.base, {"inputs": ["in/"], "analyses": ["statistics"]})
    run = RunHandle("export", wanted, state=run_here(wanted))
    assert _outcome(run) == (status, words)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"status": JobStatus.INTERRUPTED}, TaskStatus.PENDING),
        ({"status": JobStatus.CANCELLED}, TaskStatus.CANCELLED),
        ({"status": JobStatus.FAILED, "error": "no space"}, TaskStatus.FAILED),
    ],
)
def test_a_run_that_did_not_end_by_itself_leaves_it_open_or_says_why(
    place: Place, changes: dict[str, Any], status: TaskStatus
) -> None:
    counts = {"total": 4, "done": 0, "failed": 1, "skipped": 0, "reasons": {}, "max_failures": 0}
    state = JobState(job_id="x", name="x", output=place.out, **counts, **changes)
    assert _outcome(RunHandle("export", request(place.base, {"inputs": ["in/"]}), state=state))[0] is status
