"""`rayjobs up`: jobs one after the other on one Ray, which outlives Ctrl-C in them, and leaves nothing when it ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.gate import GATED, Gate
from tests.leaks import files_left, processes_left, wait_until
from tests.runs import (
    Done,
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

COUNT, MANY = 24, 80
KEEPER_S = 15.0
"""How long Ray's processes may outlive a killed keeper."""


class Place:
    """A home with a job, and a short directory for Ray."""

    def __init__(self, base: Path, ray: str) -> None:
        self.base, self.ray = base, Path(ray)
        self.gate = Gate(base / "gate")

    def run(self, *words: str | Path, **more: str) -> Done:
        variables = self.gate.variables | {"RAY_TMPDIR": str(self.ray)} | more
        return rayjobs(*words, home=self.base, cwd=self.base, **variables)

    def begin(self, *words: str | Path) -> subprocess.Popen[str]:
        variables = environment(self.base, RAY_TMPDIR=str(self.ray), **self.gate.variables)
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command(*words), text=True, env=variables, cwd=self.base, **streams)

    def sessions(self) -> list[str]:
        return sorted(path.name for path in self.ray.glob("ray/session_2*"))

    def ended(self, *, failed: int = 0) -> None:
        """Nothing of Ray is left."""
        wait_until(lambda: processes_left(self.ray) == [], timeout_s=KEEPER_S, interval_s=0.5)
        assert files_left(self.base / "out", self.base, self.ray, failed=failed) == []


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    write_photographs(tmp_path / "photos", COUNT)
    write_job(tmp_path)
    directory = tempfile.mkdtemp(prefix="rj", dir="/tmp")  # a short path: sockets lie below it
    found = Place(tmp_path, directory)
    yield found
    found.run("down")
    shutil.rmtree(directory)


def test_jobs_use_one_ray_until_it_is_ended(place: Place) -> None:
    both = [place.begin("up", "--json") for _ in range(2)]
    told = [json.loads(each.communicate(timeout=120)[0]) for each in both]
    assert sorted(each["started"] for each in told) == [False, True]
    assert told[0]["address"] == told[1]["address"]
    (session,) = place.sessions()
    assert not_on_the_loopback(place.ray) == []

    ready: set[int] = set()
    for output in ("out", "again"):
        ready = new_ones_ready(place, ready)
        done = place.run("run", "job.yaml", "--output", output, "--json")
        assert (done.code, done.json["done"], done.err) == (0, COUNT, "")
        check_outputs(place.base / output, manifest(place.base / output))
    assert golden_tree(place.base / "out") == golden_tree(place.base / "again")
    assert place.sessions() == [session]

    ready = new_ones_ready(place, ready)
    write_job(place.base, name="slow", output="slow", **GATED)
    write_photographs(place.base / "photos", MANY)
    place.gate.shut(after=COUNT)
    process = place.begin("run", "job.yaml")
    wait_until(lambda: final_rows(place.base / "slow") > 0 or process.poll() is not None, timeout_s=120)
    at_work = {number for number, line in processes(place.ray).items() if "render_analyze_export" in line}
    assert at_work
    assert at_work <= ready
    refused = place.run("down")
    assert (refused.code, refused.out) == (1, "")
    assert f"in use by slow (process {process.pid})" in refused.err
    assert f"used by slow (process {process.pid})" in place.run("list").out
    os.kill(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130

    place.gate.open()
    other = place.run("run", "job.yaml", "--output", "other", PYTHONDONTWRITEBYTECODE="1", LD_LIBRARY_PATH="/none")
    assert "isn't used: its LD_LIBRARY_PATH is not set, here it is" in other.err
    looked = place.run("doctor")
    assert "kept Ray: 2 CPUs" in looked.out
    assert "Ray: the kept one answers" in looked.out
    assert place.sessions() == [session]

    down = place.run("down", "--json")
    assert (down.code, down.json) == (0, {"ended": True})
    place.ended()
    assert place.run("down").out == "no Ray is up\n"


def test_a_killed_keeper_leaves_nothing_that_stands_in_the_way(place: Place) -> None:
    assert place.run("up").code == 0
    (keeper,) = [each for each in psutil.process_iter() if is_keeper(each, place.base)]
    keeper.kill()
    place.ended(failed=1)
    done = place.run("run", "job.yaml", "--json")
    assert (done.code, done.err) == (0, "")
    assert place.run("up", "--json").json["started"]
    assert place.run("down").out == "Ray has ended\n"
    place.ended(failed=1)


def new_ones_ready(place: Place, before: set[int]) -> set[int]:
    """Wait for the next job's workers, one per CPU and the coordinator's; others than were there before the last."""
    wait_until(lambda: len(ready_workers(place.ray)) >= 3 and len(ready_workers(place.ray) - before) >= 2, timeout_s=60)
    return ready_workers(place.ray)


def ready_workers(directory: Path) -> set[int]:
    """Workers that do nothing, and have loaded what images need."""
    idle = {number for number, line in processes(directory).items() if "ray::IDLE" in line}
    return {number for number in idle if {"cv2", "llvmlite", "pandas"} <= loaded_libraries(number)}


def processes(directory: Path) -> dict[int, str]:
    return {int(line.split(":")[0].split()[1]): line for line in processes_left(directory)}


def loaded_libraries(number: int) -> set[str]:
    try:
        paths = {Path(mapped.path) for mapped in psutil.Process(number).memory_maps()}
    except psutil.Error:
        return set()
    return {part for path in paths for part in path.parts}


def is_keeper(process: psutil.Process, home: Path) -> bool:
    try:
        is_ours = process.environ().get("RAYJOBS_HOME") == str(home)
        return is_ours and any("keeper.main()" in word for word in process.cmdline())
    except psutil.Error:
        return False


def not_on_the_loopback(directory: Path) -> list[str]:
    """Where Ray's processes listen for other machines."""
    numbers = processes(directory)
    found = []
    for connection in psutil.net_connections("inet"):
        listens = connection.pid in numbers and connection.status == psutil.CONN_LISTEN
        if listens and not connection.laddr.ip.startswith(("127.", "::1", "::ffff:127.")):
            found.append(f"process {connection.pid}: {connection.laddr}")
    return found
