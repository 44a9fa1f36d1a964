"""Two drivers on one cluster: the urgent job overtakes, nobody loses anything, and a kill leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.gate import GATED, Gate
from tests.leaks import wait_until
from tests.ray_clusters import HeadNode, head_node, in_checkout
from tests.runs import attempts, check_outputs, command, final_rows, manifest, write_job, write_photographs

BULK, MEDIUM, URGENT = 240, 160, 20
SOME = 32
"""Images of the first two that pass the gate before somebody comes."""
RESOURCES = """
import json, ray
ray.init(logging_level="ERROR", log_to_driver=False)
free, all = ray.available_resources(), ray.cluster_resources()
print(json.dumps({name: [free.get(name, 0), all[name]] for name in ("CPU", "render", "analyze", "export_io")}))
"""
KILL_COORDINATOR = """
import ray
ray.init(logging_level="ERROR", log_to_driver=False, namespace="rayjobs")
ray.kill(ray.get_actor("coordinator"), no_restart=False)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shared")
    for name, count in (("bulk", BULK), ("medium", MEDIUM), ("urgent", URGENT)):
        (root / name).mkdir()
        write_photographs(root / name / "photos", count)
        if name == "urgent":
            write_job(root / name, name=name, priority="urgent")
        else:
            write_job(root / name, name=name, priority="low", **GATED)
    return root


@pytest.fixture(scope="module")
def gate(place: Path) -> Gate:
    return Gate(place / "gate")


@pytest.fixture(scope="module")
def cluster(place: Path, gate: Gate) -> Iterator[HeadNode]:
    with head_node(place, **gate.variables) as node:
        yield node


def submitted(cluster: HeadNode, job: Path, output: Path) -> str:
    """Submit a job through the Jobs API; its id."""
    done = in_checkout(
        *(sys.executable, "-m", "rayjobs", "submit", job, "--output", output, "--address", cluster.dashboard),
        variables=cluster.variables,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def driver(cluster: HeadNode, job: Path, output: Path, *more: str) -> subprocess.Popen[str]:
    variables = {**cluster.variables, "RAY_ADDRESS": cluster.address}
    arguments = command("run", job, "--output", output, "--json", *more)
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=variables)


def status(cluster: HeadNode, job: str | Path) -> dict[str, Any]:
    done = in_checkout(*command("status", job, "--json"), variables=cluster.variables)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def all_resources_are_back(cluster: HeadNode) -> bool:
    variables = {**cluster.variables, "RAY_ADDRESS": cluster.address}
    done = in_checkout(sys.executable, "-c", RESOURCES, variables=variables)
    return done.returncode == 0 and all(a == b for a, b in json.loads(done.stdout.splitlines()[-1]).values())


def test_an_urgent_job_overtakes_a_bulk_job_which_loses_nothing(cluster: HeadNode, place: Path, gate: Gate) -> None:
    bulk_output, urgent_output = place / "out-bulk", place / "out-urgent"
    gate.shut(after=SOME)
    bulk = submitted(cluster, place / "bulk/job.yaml", bulk_output)
    wait_until(lambda: final_rows(bulk_output) >= 16, timeout_s=120)
    urgent = submitted(cluster, place / "urgent/job.yaml", urgent_output)
    wait_until(lambda: final_rows(urgent_output) == URGENT, timeout_s=120)
    assert final_rows(bulk_output) < BULK
    gate.open()
    wait_until((urgent_output / "manifest.parquet").is_file, timeout_s=60)
    wait_until(lambda: (bulk_output / "job.json").is_file() and final_rows(bulk_output) == BULK, timeout_s=180)
    for job, output, count in ((bulk, bulk_output, BULK), (urgent, urgent_output, URGENT)):
        wait_until(lambda job=job: status(cluster, job)["status"] == "completed", timeout_s=30)  # type: ignore[misc]
        rows = manifest(output)
        assert len(rows) == count
        check_outputs(output, rows)
    outcomes = [outcome for _, _, outcome in attempts(bulk_output)]
    assert outcomes.count("done") == BULK
    assert outcomes.count("released") > 0
    assert set(outcomes) == {"done", "released"}
    wait_until(lambda: all_resources_are_back(cluster), timeout_s=60)


def test_a_waiting_job_that_is_made_urgent_overtakes(cluster: HeadNode, place: Path, gate: Gate) -> None:
    """Both are low at first, so that nobody would yield."""
    first, second = place / "out-first", place / "out-second"
    gate.shut(after=SOME)
    running = driver(cluster, place / "medium/job.yaml", first)
    wait_until(lambda: final_rows(first) >= 16 or running.poll() is not None, timeout_s=120)
    waiting = driver(cluster, place / "urgent/job.yaml", second, "--priority", "low")
    ledger = second / ".rayjobs/ledger.sqlite"
    wait_until(lambda: ledger.is_file() and status(cluster, second)["status"] == "running", timeout_s=60)
    done = in_checkout(*command("priority", second, "urgent"), variables=cluster.variables)
    assert done.returncode == 0, done.stderr
    wait_until(lambda: final_rows(second) == URGENT, timeout_s=60)
    assert final_rows(first) < MEDIUM
    gate.open()
    for process in (waiting, running):
        _, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
    assert json.loads((second / "job.json").read_text())["job"]["priority"] == "urgent"
    for output in (first, second):
        check_outputs(output, manifest(output))


def test_a_killed_coordinator_and_a_killed_driver_leave_nothing_behind(
    cluster: HeadNode, place: Path, gate: Gate
) -> None:
    output = place / "out-killed"
    gate.shut(after=SOME)
    process = driver(cluster, place / "medium/job.yaml", output)
    wait_until(lambda: final_rows(output) >= 16 or process.poll() is not None, timeout_s=120)
    assert {"name": "medium"} in cluster.job_metadata()
    variables = {**cluster.variables, "RAY_ADDRESS": cluster.address}
    killed = in_checkout(sys.executable, "-c", KILL_COORDINATOR, variables=variables)
    assert killed.returncode == 0, killed.stderr
    gate.shut(after=2 * SOME)
    wait_until(lambda: final_rows(output) >= 2 * SOME or process.poll() is not None, timeout_s=120)
    assert process.poll() is None, process.communicate()[1]
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    gate.open()
    wait_until(lambda: all_resources_are_back(cluster), timeout_s=60)
    again = driver(cluster, place / "medium/job.yaml", output)
    _, error = again.communicate(timeout=240)
    assert again.returncode == 0, error
    check_outputs(output, manifest(output))
    assert [outcome for _, _, outcome in attempts(output)].count("done") == MEDIUM
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(output) in " ".join(p.info["cmdline"] or ())]
