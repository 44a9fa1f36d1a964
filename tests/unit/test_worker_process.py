"""Ending a process by its number and the time of its start; the kernel's counters of those that it ended."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from pipelines.worker_process import Ending, WorkerProcess, end_process, is_alive, oom_kills
from tests.leaks import wait_until

CODE = """
import ctypes, sys, threading
from pipelines.worker_process import this_process
print(this_process().started, flush=True)
if sys.argv[1] == "locked":
    ctypes.PyDLL(None).sleep(600)  # in C, with the interpreter's lock
threading.Event().wait()
"""


@pytest.fixture(params=["waiting", "locked"])
def child(request: pytest.FixtureRequest) -> Iterator[WorkerProcess]:
    with subprocess.Popen([sys.executable, "-c", CODE, request.param], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield WorkerProcess("", process.pid, int(process.stdout.readline()))
        process.kill()


@pytest.mark.parametrize("child", ["waiting"], indirect=True)
def test_one_that_runs_is_left_alone_where_only_stopped_ones_are_meant(child: WorkerProcess) -> None:
    assert end_process(child, if_stopped=True) is Ending.WORKING
    assert is_alive(child)


@pytest.mark.parametrize("stopped", [False, True])
def test_the_very_process_is_ended_stopped_or_not(child: WorkerProcess, stopped: bool) -> None:
    if stopped:
        psutil_process(child).suspend()
        wait_until(lambda: psutil_process(child).status() == "stopped")
    assert end_process(child, if_stopped=stopped) is Ending.ENDED
    assert not is_alive(child)
    assert end_process(child, if_stopped=stopped) is Ending.GONE


@pytest.mark.parametrize("child", ["waiting"], indirect=True)
def test_another_process_of_that_number_is_left_alone(child: WorkerProcess) -> None:
    assert child.started is not None
    assert end_process(replace(child, started=child.started - 1), if_stopped=False) is Ending.GONE
    assert end_process(replace(child, started=None), if_stopped=False) is Ending.REFUSED
    assert is_alive(child)


def psutil_process(child: WorkerProcess) -> psutil.Process:
    return psutil.Process(child.pid)


@pytest.mark.parametrize(
    ("of_process", "file", "text"),
    [
        ("0::/ray/workers", "cgroup/ray/workers/memory.events", "low 0\noom 3\noom_kill 2\noom_group_kill 0\n"),
        ("0::/not/to/be/seen/from/here", "cgroup/memory.events", "oom_kill 2\n"),
        ("3:cpu:/\n4:memory:/box\n0::/", "cgroup/memory/box/memory.oom_control", "under_oom 0\noom_kill 2\n"),
        ("0::/", "proc/vmstat", "nr_free_pages 7\noom_kill 2\n"),
    ],
)
def test_the_kernels_count_is_found_where_the_system_keeps_it(
    tmp_path: Path, of_process: str, file: str, text: str
) -> None:
    for name, content in (("proc/self/cgroup", of_process), (file, text)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    assert oom_kills(tmp_path / "cgroup", tmp_path / "proc") == 2


def test_without_a_count_there_is_none(tmp_path: Path) -> None:
    assert oom_kills(tmp_path, tmp_path) is None
