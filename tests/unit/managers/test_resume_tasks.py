"""Tasks that a dead manager left are queued again, each by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.errors import RayjobsError
from pipelines.tasks import ExtensibleTask
from rayjobs.managers.enhanced_job_manager import EnhancedJobManager


def test_one_that_cannot_be_queued_keeps_no_other_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []

    def start(task: ExtensibleTask) -> None:
        if task.task_type == "unknown":
            raise RayjobsError(f"no handler runs {task.task_id}")
        started.append(task.task_id)

    types = {"a": "unknown", "b": "known", "c": "unknown", "d": "known"}
    orphans = [ExtensibleTask(task_id=name, job_id="j", task_type=kind, config={}) for name, kind in types.items()]
    with EnhancedJobManager(tmp_path) as manager:
        monkeypatch.setattr(manager._store, "orphans", lambda _job: orphans)
        monkeypatch.setattr(manager._tasks, "start", start)
        with pytest.raises(RayjobsError, match="no handler runs a"):
            manager.resume_tasks("j")
    assert started == ["b", "d"]
