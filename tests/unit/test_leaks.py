"""The check for what tests leave behind finds it, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable

import psutil
import pytest

from tests.leaks import nothing_left_behind, wait_until

SLEEP = "import time; time.sleep(600)"
ORPHAN = f"""
import subprocess, sys
print(subprocess.Popen([sys.executable, '-c', {SLEEP!r}], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).pid)
"""


def found_left(call: Callable[[], object]) -> str:
    """What the check says of a call."""

    def checked() -> None:
        with nothing_left_behind(timeout_s=0):
            call()

    with pytest.raises(AssertionError) as caught:
        checked()
    return str(caught.value)


def test_what_has_ended_is_fine() -> None:
    with nothing_left_behind():
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        thread = threading.Thread(target=lambda: None)
        thread.start()
        thread.join()


def test_a_process_is_found() -> None:
    started: list[subprocess.Popen[bytes]] = []
    text = found_left(lambda: started.append(subprocess.Popen([sys.executable, "-c", SLEEP])))
    (process,) = started
    assert text.startswith(f"left behind: process {process.pid}: ")
    process.kill()
    process.wait()


def test_a_process_whose_parent_is_gone_is_found() -> None:
    printed: list[str] = []
    text = found_left(lambda: printed.append(subprocess.check_output([sys.executable, "-c", ORPHAN], text=True)))
    orphan = psutil.Process(int(printed[0]))
    assert text.startswith(f"left behind: process {orphan.pid}: ")
    assert "time.sleep(600)" in text
    orphan.kill()
    wait_until(lambda: not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE)


def test_a_thread_that_keeps_the_process_alive_is_found() -> None:
    end = threading.Event()
    thread = threading.Thread(target=end.wait, name="stays")
    assert found_left(thread.start) == "left behind: thread stays"
    end.set()
    thread.join()


def test_what_was_there_before_may_stay() -> None:
    with subprocess.Popen([sys.executable, "-c", SLEEP]) as process:
        with nothing_left_behind(timeout_s=0):
            pass
        process.kill()
