"""Killed at any point, a job continues where it stopped and ends with the bytes of an unbroken run.

What else stops a run: ``test_ways_to_end``.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from tests.gate import GATED, Gate
from tests.leaks import wait_until
from tests.ray_clusters import end_daemon
from tests.runs import (
    Done,
    attempts,
    check_outputs,
    command,
    environment,
    final_rows,
    golden_tree,
    manifest,
    rayjobs,
    write_job,
    write_photographs,
)

COUNT = 160
SOME = 24
"""Images that pass the gate at once in a run that is to be stopped: some of them are final soon."""


class Place:
    """A home with a job whose images go through a gate."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.gate = Gate(root / "gate")

    def rayjobs(self, *arguments: str | Path) -> Done:
        return rayjobs(*arguments, home=self.root, **self.gate.variables)

    def resume(self, output: Path) -> dict[str, str]:
        """Bring a job to its end; what it gave."""
        self.gate.open()
        done = self.rayjobs("resume", output, "--json")
        assert done.code == 0, done.err
        return golden_tree(output)

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """A run that gets no further than the middle for now."""
        self.gate.shut(after=SOME)
        return subprocess.Popen(
            command(*arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(self.root, **self.gate.variables),
            cwd=self.root,
        )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    root = tmp_path_factory.mktemp("crash")
    write_photographs(root / "photos", COUNT)
    write_job(root, **GATED)
    return Place(root)


@pytest.fixture(scope="module")
def golden(place: Place) -> dict[str, str]:
    done = place.rayjobs("run", "job.yaml", "--output", "golden", "--json")
    assert done.code == 0, done.err
    tree = golden_tree(place.root / "golden")
    assert len(tree) == 1 + 2 + 2 + 3 * COUNT  # manifest, tables in two formats, of two scopes, products
    return tree


def in_the_middle(process: subprocess.Popen[str], output: Path, rows: int) -> None:
    """Wait until so many inputs are final."""
    wait_until(lambda: final_rows(output) >= rows or process.poll() is not None, timeout_s=120)
    assert process.poll() is None, process.communicate()[1]


def test_a_driver_killed_three_times_loses_nothing_and_repeats_nothing(place: Place, golden: dict[str, str]) -> None:
    output = place.root / "killed"
    process = place.start("run", "job.yaml", "--output", output)
    for _ in range(3):
        before = final_rows(output)
        in_the_middle(process, output, before + 1)
        os.kill(process.pid, signal.SIGKILL)  # the driver alone
        process.communicate(timeout=60)
        state = place.rayjobs("status", output, "--json").json
        assert state["status"] == "interrupted"
        assert before < state["done"] < COUNT
        process = place.start("resume", output)
    place.gate.open()
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert golden_tree(output) == golden
    check_outputs(output, manifest(output))
    runs_done = defaultdict(list)
    for number, run, outcome in attempts(output):
        runs_done[number].append((run, outcome))
    assert len(runs_done) == COUNT
    for tries in runs_done.values():
        assert [outcome for _, outcome in tries].count("done") == 1
        assert tries[-1][1] == "done"  # nothing was tried again after its row was committed
    assert not list((output / ".rayjobs").glob("tmp/*"))


def test_staged_and_one_worker_give_the_same_bytes(place: Place, golden: dict[str, str]) -> None:
    place.gate.open()
    write_job(place.root, **GATED | {"limits": {"workers": 1}}, stages="staged")
    try:
        done = place.rayjobs("run", "job.yaml", "--output", "staged", "--json")
    finally:
        write_job(place.root, **GATED)
    assert done.code == 0, done.err
    assert golden_tree(place.root / "staged") == golden


def test_a_job_whose_raylet_dies_ends_with_a_line_and_resumes(place: Place, golden: dict[str, str]) -> None:
    """It ends within 60 s, however loaded the machine is."""
    output = place.root / "no raylet"
    process = place.start("run", "job.yaml", "--output", output)
    in_the_middle(process, output, 1)
    end_daemon(process, "raylet")
    _, err = process.communicate(timeout=60)
    assert process.returncode != 0, err
    lines = [line for line in err.splitlines() if line.startswith("rayjobs: ")]
    if lines or process.returncode == 1:  # else Ray ended the driver, which wanted an object just then
        assert len(lines) == 1, err
        assert "raylet on this machine has ended; run it again, it goes on" in lines[0]
    assert place.resume(output) == golden
