"""Killed at any point, a job continues where it stopped and ends with the bytes of an unbroken run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from rayjobs.job.output_directory import OutputDirectory
from tests.leaks import wait_until
from tests.ray_clusters import end_daemon
from tests.runs import (
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

COUNT = 200


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("crash")
    write_photographs(root / "photos", COUNT, size=(900, 600))  # long enough to be stopped in the middle
    write_job(root)
    return root


@pytest.fixture(scope="module")
def golden(place: Path) -> dict[str, str]:
    done = rayjobs("run", place / "job.yaml", "--output", place / "golden", "--json", home=place)
    assert done.code == 0, done.err
    tree = golden_tree(place / "golden")
    assert len(tree) == 1 + 2 + 2 + 3 * COUNT  # manifest, tables in two formats, of two scopes, products
    return tree


def start(place: Path, *arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(place),
        cwd=place,
    )


def stop_at(process: subprocess.Popen[str], output: Path, rows: int, number: signal.Signals) -> tuple[str, str]:
    """Send a signal to the driver alone once so many inputs are final; return what it said."""
    wait_until(lambda: final_rows(output) >= rows or process.poll() is not None, timeout_s=120)
    assert process.poll() is None, process.communicate()[1]
    os.kill(process.pid, number)
    return process.communicate(timeout=90)


def test_a_driver_killed_three_times_loses_nothing_and_repeats_nothing(place: Path, golden: dict[str, str]) -> None:
    output = place / "killed"
    process = start(place, "run", "job.yaml", "--output", output)
    for rows in (20, 90, 160):
        stop_at(process, output, rows, signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        state = rayjobs("status", output, "--json", home=place).json
        assert state["status"] == "interrupted"
        assert state["done"] >= rows
        process = start(place, "resume", output)
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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_stops_cleanly_keeps_what_is_done_and_says_how_to_go_on(
    place: Path, golden: dict[str, str], number: signal.Signals
) -> None:
    output = place / f"stopped {number.name}"
    process = start(place, "run", "job.yaml", "--output", output)
    out, _ = stop_at(process, output, 30, number)
    assert process.returncode == 130
    assert f"rayjobs resume '{output}'" in out
    state = rayjobs("status", output, "--json", home=place).json
    assert state["status"] == "interrupted"
    assert 30 <= state["done"] < COUNT
    resumed = rayjobs("resume", output, "--json", home=place)
    assert resumed.code == 0, resumed.err
    assert golden_tree(output) == golden


def test_pause_and_cancel_by_another_process_stop_a_job_that_then_resumes(place: Path, golden: dict[str, str]) -> None:
    output = place / "paused"
    process = start(place, "run", "job.yaml", "--output", output, "--json")
    wait_until(lambda: final_rows(output) >= 20, timeout_s=120)
    assert rayjobs("pause", output, "--json", home=place).json["status"] == "paused"
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert json.loads(said.strip().splitlines()[-1])["status"] == "paused"
    process = start(place, "resume", output, "--json")
    wait_until(lambda: OutputDirectory(output).running, timeout_s=120)
    second = rayjobs("run", place / "job.yaml", "--output", output, home=place)
    assert (second.code, "another run is writing here" in second.err) == (1, True)
    assert rayjobs("cancel", output, "--json", home=place).json["status"] == "cancelled"
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert rayjobs("cancel", output, "--json", home=place).json["status"] == "cancelled"
    resumed = rayjobs("resume", output, "--json", home=place)
    assert resumed.code == 0, resumed.err
    assert golden_tree(output) == golden


def test_staged_and_one_worker_give_the_same_bytes(place: Path, golden: dict[str, str]) -> None:
    write_job(place, stages="staged", limits={"workers": 1})
    try:
        done = rayjobs("run", place / "job.yaml", "--output", place / "staged", "--json", home=place)
    finally:
        write_job(place)
    assert done.code == 0, done.err
    assert golden_tree(place / "staged") == golden


def test_a_job_whose_raylet_dies_ends_with_a_line_and_resumes(place: Path, golden: dict[str, str]) -> None:
    """It ends within 45 s."""
    output = place / "no raylet"
    process = start(place, "run", "job.yaml", "--output", output)
    wait_until(lambda: final_rows(output) >= 20 or process.poll() is not None, timeout_s=120)
    end_daemon(process, "raylet")
    _, err = process.communicate(timeout=45)
    assert process.returncode == 1, err
    (line,) = [line for line in err.splitlines() if line.startswith("rayjobs: ")]
    assert "raylet on this machine has ended; run it again, it goes on" in line
    resumed = rayjobs("resume", output, "--json", home=place)
    assert resumed.code == 0, resumed.err
    assert golden_tree(output) == golden
