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
# a "worker" that it starts later, and that doesn't get to know its end
worker = subprocess.Popen(["sleep", "600"], env={**os.environ, "RAY_RAYLET_PID": str(raylet.pid)})
print(child, watchdog.pid, raylet.pid, worker.pid, flush=True)
sys.stdin.readline()
raylet.kill()
worker.kill()  # as a raylet does that was told to end
end_children(watchdog)
print("ended", flush=True)
"""


@pytest.mark.parametrize("killed", [True, False])
def test_children_of_a_raylet_end_with_the_driver(killed: bool) -> None:
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    assert driver.stdout is not None
    child, watchdog, raylet, worker = (psutil.Process(int(word)) for word in driver.stdout.readline().split())
    try:
        assert child.is_running()
        assert watchdog.is_running()
        if killed:
            driver.kill()
            driver.communicate()
        else:
            driver.communicate("\n", timeout=30)
        wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, timeout_s=15)
        wait_until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE, timeout_s=15)
        wait_until(lambda: not watchdog.is_running() or watchdog.status() == psutil.STATUS_ZOMBIE, timeout_s=15)
    finally:
        for process in (child, raylet, worker):
            if process.is_running():
                os.kill(process.pid, signal.SIGKILL)
