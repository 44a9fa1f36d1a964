"""A node of several dies while a job runs: what it had in hand is done by the others, and nobody waits for the dead."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from PIL import Image

from tests.leaks import wait_until
from tests.long import LONG
from tests.ray_clusters import HeadNode, end_daemon, head_node, join
from tests.runs import (
    ROOT,
    attempts,
    check_outputs,
    command,
    environment,
    final_rows,
    manifest,
    write_job,
    write_photographs,
)

GIB = 2**30
COUNT = 60
LARGE_PX = 7000
"""Square: more than the share of one CPU of the head, less than all that the head has."""
PLUGIN = """
import os, signal, time
from pathlib import Path
from rayjobs.plugins import ProcessorExtension

class Fate(ProcessorExtension):
    '''Takes its time; red pictures end the raylet whose number stands in a file, and their own process.'''

    def process(self, image, config):
        time.sleep(config["seconds"])
        raylet = Path(os.environ["FATE_RAYLET"])
        if tuple(int(v) for v in image[0, 0, :3]) == (255, 0, 0) and raylet.exists():
            number = int(raylet.read_text())
            raylet.unlink()
            os.kill(number, signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
        return image

    def get_name(self):
        return "fate"

    def get_supported_configs(self):
        return ["seconds"]
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("nodes")
    site = root / "site"
    (site / "fate-1.0.dist-info").mkdir(parents=True)
    (site / "fate_plugin.py").write_text(PLUGIN)
    (site / "fate-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: fate\nVersion: 1.0\n")
    (site / "fate-1.0.dist-info/entry_points.txt").write_text("[rayjobs.processors]\nfate = fate_plugin:Fate\n")
    return root


@pytest.fixture(scope="module")
def cluster(place: Path) -> Iterator[HeadNode]:
    path = f"{place / 'site'}{os.pathsep}{ROOT}"
    variables = {"PYTHONPATH": path, "FATE_RAYLET": str(place / "raylet")}
    with head_node(place, cpus=2, memory=2 * GIB, takes_jobs=False, **variables) as node:
        yield node


def job(place: Path, name: str, seconds: float, **limits: object) -> Path:
    directory = place / name
    directory.mkdir(exist_ok=True)
    return write_job(
        directory,
        name=name,
        plugins=["fate"],
        operations=[{"fate": {"seconds": seconds}}],
        analyses=["statistics"],
        export={"images": {"format": "png"}, "data": ["parquet"]},
        limits=limits,
    )


def start(variables: dict[str, str], path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command("run", path, "--allow-plugin", "fate"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=variables,
        cwd=path.parent,
    )


def on(cluster: HeadNode) -> dict[str, str]:
    return {**cluster.variables, "RAY_ADDRESS": cluster.address}


def outcomes(output: Path) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for number, _, outcome in attempts(output):
        found.setdefault(number, []).append(outcome)
    return found


def end(node: psutil.Process) -> None:
    node.kill()
    node.wait(10)


def test_what_a_dead_node_had_in_hand_is_done_elsewhere_and_charged_to_nobody(place: Path, cluster: HeadNode) -> None:
    """With one attempt allowed, one that were charged would fail. The job ends within 150 s of the node."""
    raylet = join(cluster, cpus=2, memory=2 * GIB)
    path = job(place, "midway", 0.5, attempts=1)
    write_photographs(path.parent / "photos", COUNT)
    process = start(on(cluster), path)
    output = path.parent / "out"
    wait_until(lambda: final_rows(output) >= 8 or process.poll() is not None, timeout_s=120)
    end(raylet)
    said, _ = process.communicate(timeout=150)
    assert process.returncode == 0, said
    assert {row["status"] for row in manifest(output)} == {"done"}
    assert all(outcome == ["done"] for outcome in outcomes(output).values())
    check_outputs(output, manifest(output))


def test_requests_of_a_suspect_and_of_a_large_image_follow_the_nodes(place: Path, cluster: HeadNode) -> None:
    """Both fit the node that died alone, at first. The job ends within 150 s."""
    raylet = join(cluster, cpus=2, memory=16 * GIB)
    (place / "raylet").write_text(str(raylet.pid))
    path = job(place, "large", 0.0, attempts=2, memory_per_image="1GiB")
    photos = path.parent / "photos"
    write_photographs(photos, 12)
    Image.new("RGB", (64, 48), (255, 0, 0)).save(photos / "photo-0006-red.png")
    Image.new("RGB", (LARGE_PX, LARGE_PX), (0, 90, 0)).save(photos / "photo-0003-large.png")
    begun = time.monotonic()
    process = start(on(cluster), path)
    said, _ = process.communicate(timeout=180)
    assert process.returncode == 0, said
    assert time.monotonic() - begun < 150
    output = path.parent / "out"
    assert not (place / "raylet").exists()
    assert {row["status"] for row in manifest(output)} == {"done"}
    check_outputs(output, manifest(output))


@LONG
def test_a_resource_whose_only_node_died_ends_the_job_with_its_name(place: Path, cluster: HeadNode) -> None:
    """It ends within 150 s of the node."""
    raylet = join(cluster, cpus=2, memory=2 * GIB, seat=2)
    path = job(place, "seated", 0.5, attempts=1)
    path.write_text(path.read_text() + "requires: {seat: 1}\n")
    write_photographs(path.parent / "photos", COUNT)
    process = start(on(cluster), path)
    output = path.parent / "out"
    wait_until(lambda: final_rows(output) >= 4 or process.poll() is not None, timeout_s=120)
    end(raylet)
    said, _ = process.communicate(timeout=150)
    assert process.returncode == 1, said
    (line,) = [line for line in said.splitlines() if line.startswith("rayjobs: ")]
    assert "no node is left for the job's images" in line
    assert "'seat'" in line
    assert {outcome for _, _, outcome in attempts(output)} <= {"done", "released"}


def test_a_job_whose_control_service_dies_ends_with_a_line_and_goes_on_when_run_again(place: Path) -> None:
    """It ends within 55 s: Ray itself would end the process after 60 s, without saying what to do."""
    path = job(place, "headless", 1.5, attempts=1, workers=2)
    write_photographs(path.parent / "photos", COUNT)
    variables = environment(place, PYTHONPATH=f"{place / 'site'}{os.pathsep}{ROOT}", FATE_RAYLET="none")
    process = start(variables, path)
    output = path.parent / "out"
    wait_until(lambda: final_rows(output) >= 4 or process.poll() is not None, timeout_s=120)
    end_daemon(process, "gcs_server")
    said, _ = process.communicate(timeout=55)
    assert process.returncode == 1, said
    (line,) = [line for line in said.splitlines() if line.startswith("rayjobs: ")]
    assert "control service (GCS) hasn't answered for 20 s; run it again, it goes on" in line
    job(place, "headless", 0.0, attempts=1, workers=2)
    again = start(variables, path)
    said, _ = again.communicate(timeout=120)
    assert again.returncode == 0, said
    assert len(manifest(output)) == COUNT
    assert {row["status"] for row in manifest(output)} == {"done"}
    check_outputs(output, manifest(output))
