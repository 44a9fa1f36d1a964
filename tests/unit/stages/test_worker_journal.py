"""What a worker's journal says after the worker is gone: killed, hung, or ended in peace."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.stages.worker_journal import SUFFIX, Published, WorkerJournal, inputs_in_hand, published_files
from pipelines.worker_process import is_alive, this_process
from tests.runs import ROOT

CHILD = """
import os, sys, threading
from pathlib import Path
from pipelines.stages.worker_journal import WorkerJournal
journal = WorkerJournal(Path(sys.argv[1]))
journal.started(4)
journal.publishing("images/a.jpg", "00ff")
{rest}
"""
KILLED = "journal.started(5)\nprint('ready', flush=True)\nthreading.Event().wait()"
HUNG = "journal.started(6, timeout_s=0.3)\nthreading.Event().wait()"
PEACEFUL = "journal.idle()\njournal.close()"


def child(directory: Path, rest: str) -> subprocess.Popen[str]:
    code = CHILD.format(rest=rest)
    return subprocess.Popen(
        [sys.executable, "-c", code, str(directory)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def in_hand(directory: Path) -> dict[int, bool]:
    """Input -> whether its worker ended itself over the time limit."""
    return {found.input: found.hung for found in inputs_in_hand(directory)}


def test_a_killed_worker_had_its_last_input_in_hand(tmp_path: Path) -> None:
    with child(tmp_path, KILLED) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert in_hand(tmp_path) == {5: False}
    assert list(published_files(tmp_path)) == [Published("images/a.jpg", "00ff", 4)]


def test_the_watchdog_ends_a_worker_that_hangs_and_says_so(tmp_path: Path) -> None:
    with child(tmp_path, HUNG) as process:
        process.communicate(timeout=60)
    assert process.returncode == 1
    assert in_hand(tmp_path) == {6: True}
    (evidence,) = tmp_path.glob("*.hung")
    assert "Timeout" in evidence.read_text()


def test_a_worker_that_ended_in_peace_has_nothing_in_hand(tmp_path: Path) -> None:
    with child(tmp_path, PEACEFUL) as process:
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert in_hand(tmp_path) == {}


def test_a_torn_last_line_takes_nothing_of_what_stands_before(tmp_path: Path) -> None:
    journal = WorkerJournal(tmp_path)
    journal.started(1)
    journal.idle()
    journal.started(2)
    journal.close()
    (path,) = tmp_path.glob(f"*{SUFFIX}")
    for torn in (b'["sta', b'["idle"', b"\xff\n", b"17\n"):
        whole = path.read_bytes()
        path.write_bytes(whole + torn)
        assert in_hand(tmp_path) == {2: False}
        path.write_bytes(whole)


def test_workers_of_one_directory_keep_apart(tmp_path: Path) -> None:
    first, second = WorkerJournal(tmp_path), WorkerJournal(tmp_path)
    first.started(1)
    second.started(2)
    first.publishing("images/é.png", "aa")
    second.publishing("images/b.png", "bb")
    first.idle()
    first.close()
    second.close()
    assert in_hand(tmp_path) == {2: False}
    assert set(published_files(tmp_path)) == {
        Published("images/é.png", "aa", 1),
        Published("images/b.png", "bb", 2),
    }
    assert list(published_files(tmp_path, of={2})) == [Published("images/b.png", "bb", 2)]
    assert list(published_files(tmp_path, of=set())) == []


def test_a_journal_tells_which_process_writes_it(tmp_path: Path) -> None:
    journal = WorkerJournal(tmp_path, node="n1")
    journal.started(3)
    (found,) = inputs_in_hand(tmp_path)
    assert found.process == this_process("n1")
    assert is_alive(found.process)
    assert not is_alive(replace(found.process, started=(found.process.started or 0) - 1))
    journal.close()


def test_what_an_error_ended_is_named_though_the_process_lives_on(tmp_path: Path) -> None:
    journal = WorkerJournal(tmp_path)

    def work(number: int, error: BaseException) -> None:
        with journal.block():
            journal.started(number)
            raise error

    for number, error in ((1, MemoryError()), (2, SystemExit(0)), (3, KeyboardInterrupt())):
        with pytest.raises(type(error)):
            work(number, error)
    with journal.block():
        journal.started(4)
    journal.close()
    found = inputs_in_hand(tmp_path)
    assert [(one.input, one.lost, one.out_of_memory) for one in found] == [
        (1, True, True),
        (2, True, False),
        (3, True, False),
    ]


def test_whoever_leaves_a_block_early_charges_nobody(tmp_path: Path) -> None:
    journal = WorkerJournal(tmp_path)

    def work() -> Iterator[int]:
        with journal.block():
            journal.started(1)
            yield 1

    running = work()
    next(running)
    running.close()
    journal.close()
    assert inputs_in_hand(tmp_path) == []
