"""A job's own Ray consists of what the job needs, and the workers that get ready first are those that do its work."""

from __future__ import annotations

import subprocess
import time
from collections import defaultdict
from pathlib import Path

import psutil
import pytest

from tests.runs import command, environment, manifest, write_job, write_photographs

CPUS = 2
OF_NO_USE = (
    "/monitor.py",
    "/log_monitor.py",
    "dashboard/dashboard.py",
    "dashboard/agent.py",
    "_StatsActor",
    "AutoscalingCoordinator",
)


@pytest.mark.parametrize(("images", "size", "task"), [(40, (640, 427), ".run-"), (520, (64, 43), "MapBatches")])
def test_only_what_a_job_needs_is_started_and_ready_workers_are_used(
    tmp_path: Path, images: int, size: tuple[int, int], task: str
) -> None:
    """Of few inputs by Ray's own tasks, of more by Ray Data's."""
    write_photographs(tmp_path / "photos", images, size=size)
    job = write_job(tmp_path, limits={"workers": CPUS})
    names = _names_while_running(command("run", job, "--json"), tmp_path)
    everything = " ".join(name for names_of in names.values() for name in names_of)
    assert [row["status"] for row in manifest(tmp_path / "out")] == ["done"] * images
    assert "raylet" in everything
    assert "gcs_server" in everything
    assert [name for name in OF_NO_USE if name in everything] == []
    ready = {pid for pid, of_process in names.items() if any("get ready" in name for name in of_process)}
    assert ready
    worked = {pid for pid, of_process in names.items() if any(task in name for name in of_process)}
    assert worked
    assert worked <= ready


def _names_while_running(words: list[str], home: Path) -> dict[int, set[str]]:
    """Process -> the names that it had, of all that a command starts."""
    names: dict[int, set[str]] = defaultdict(set)
    with subprocess.Popen(words, env=environment(home), cwd=home, stdout=subprocess.PIPE) as run:
        while run.poll() is None:
            for process in _below(run.pid):
                try:
                    names[process.pid].add(" ".join(process.cmdline()))
                except psutil.Error:  # it has just ended
                    continue
            time.sleep(0.02)
    assert run.returncode == 0
    return names


def _below(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
