"""What the managers do with a job that runs: pause it, go on, try again what failed, change its priority."""

from __future__ import annotations

import json
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.errors import JobError
from rayjobs import BatchProcessingHandler, JobStatus
from rayjobs.enhanced_job_manager import EnhancedJobManager
from rayjobs.progress import Snapshot
from rayjobs.ray_session import ray_session
from tests.runs import check_outputs, manifest, write_photographs

# Ray Data warns of its own settings when it copies its context.
pytestmark = pytest.mark.filterwarnings("ignore:`:DeprecationWarning:ray.data", "ignore:`ray_remote_args`")
IMAGES = 240
WAIT_S = 120.0


@pytest.fixture(scope="module")
def handler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BatchProcessingHandler]:
    home = tmp_path_factory.mktemp("managers")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYJOBS_HOME", str(home))
        with (
            ray_session(name="managers", workers=2),
            EnhancedJobManager() as manager,
            BatchProcessingHandler(manager) as handler,
        ):
            yield handler


def test_a_paused_job_goes_on_with_another_priority(handler: BatchProcessingHandler, tmp_path: Path) -> None:
    write_photographs(tmp_path / "photos", IMAGES, size=(480, 320))
    job = handler.create_job(
        "paused", [tmp_path / "photos"], ["autocontrast"], output=tmp_path / "out", analyses=["statistics"]
    )
    begun = threading.Event()

    def watch(snapshot: Snapshot) -> None:
        if snapshot.done:
            begun.set()

    handler.manager.start_job(job.job_id, on_progress=watch)
    assert begun.wait(WAIT_S)
    handler.set_priority(job.job_id, "high")
    assert handler.pause(job.job_id)
    state = handler.wait(job.job_id, WAIT_S)
    assert state.status is JobStatus.PAUSED
    assert 0 < state.done < IMAGES
    assert handler.status(job.job_id).status is JobStatus.PAUSED
    assert not handler.pause(job.job_id), "it doesn't run"

    assert handler.set_priority(job.job_id, "low").options["priority"] == "low"
    with pytest.raises(JobError, match=r"priority: input should be 'urgent', 'high', 'normal' or 'low', not 'first'"):
        handler.set_priority(job.job_id, "first")
    handler.start(job.job_id)
    assert handler.wait(job.job_id, WAIT_S).status is JobStatus.COMPLETED
    rows = manifest(tmp_path / "out")
    assert len(rows) == IMAGES
    check_outputs(tmp_path / "out", rows)
    assert json.loads((tmp_path / "out/job.json").read_text())["job"]["priority"] == "low"
    outcomes = Counter(attempt.outcome for attempt in handler.manager.get_attempts(job.job_id))
    assert outcomes["done"] == IMAGES, "nothing was done twice"


def test_only_what_failed_is_tried_again(handler: BatchProcessingHandler, tmp_path: Path) -> None:
    photos = write_photographs(tmp_path / "photos", 6)
    shutil.copy(photos[0], tmp_path / "good.jpg")
    photos[0].write_bytes(b"\xff\xd8\xff\xe0 no image")
    photos[1].write_bytes(b"")
    job = handler.create_job("retried", [tmp_path / "photos"], output=tmp_path / "out", analyses=["statistics"])
    assert list(handler.manager.get_attempts(job.job_id)) == []
    handler.start(job.job_id)
    state = handler.wait(job.job_id, WAIT_S)
    assert (state.done, state.failed) == (4, 2)

    shutil.copy(tmp_path / "good.jpg", photos[0])
    handler.retry_failed(job.job_id, ["empty"])
    state = handler.wait(job.job_id, WAIT_S)
    assert (state.done, state.failed) == (5, 1)
    assert state.reasons == {"empty": 1}
    tried = Counter(Path(attempt.path.decode()).name for attempt in handler.manager.get_attempts(job.job_id))
    assert tried == {path.name: 2 if path in photos[:2] else 1 for path in photos}
    assert len(manifest(tmp_path / "out")) == 6
