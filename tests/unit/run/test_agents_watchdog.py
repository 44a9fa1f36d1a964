"""Processes of a raylet don't outlive their driver for long, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil
import pytest

from tests.leaks import wait_until

DRIVER = """
import os, subprocess, sys, time
from rayjobs.run.agents_watchdog import end_children, watch_children
# a "raylet" with a child that outlives it
code = "import subprocess, time; print(subprocess.Popen(['sleep', '600']).pid, flush=True); time.sleep(600)"
raylet = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
child = raylet.stdout.readline().strip()
watchdog = watch_children(raylet.pid)
# a "worker" that it starts later, and that doesn't get to know its end; one of another raylet's; what a task started
def start(raylet, *words):
    wait = [sys.executable, "-c", "import time; time.sleep(600)", *words]
    marked = {**os.environ, "RAY_RAYLET_PID": str(raylet)}
    return subprocess.Popen(wait, env=marked, stdout=subprocess.DEVNULL).pid
program = "ray/_private/workers/default_worker.py"
others = start(os.getpid(), program), start(raylet.pid, "of-a-task")
print(child, watchdog.pid, raylet.pid, start(raylet.pid, program), *others, flush=True)
sys.stdin.readline()
raylet.kill()
end_children(watchdog)
print("ended", flush=True)
"""


@pytest.mark.parametrize("killed", [True, False])
def test_children_of_a_raylet_end_with_the_driver(killed: bool) -> None:
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    assert driver.stdout is not None
    processes = [psutil.Process(int(word)) for word in driver.stdout.readline().split()]
    child, watchdog, _, worker, *others = processes
    try:
        assert child.is_running()
        assert watchdog.is_running()
        if killed:
            driver.kill()
            driver.communicate()
        else:
            driver.communicate("\n", timeout=30)
        for ended in (child, watchdog, *([worker] if killed else [])):
            wait_until(lambda ended=ended: not _runs(ended), timeout_s=15)
        assert all(map(_runs, others))
    finally:
        for process in processes:
            if process.is_running():
                os.kill(process.pid, signal.SIGKILL)


def _runs(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
