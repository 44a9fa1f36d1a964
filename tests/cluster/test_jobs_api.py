"""The same job on a cluster with token authentication: submitted through Ray's Jobs API, seen in its state API."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rayjobs.job.output_directory import OutputDirectory
from tests.gate import GATED, Gate
from tests.leaks import output_left, wait_until
from tests.ray_clusters import HeadNode, head_node, head_of_cluster_yaml, in_checkout
from tests.runs import (
    ROOT,
    check_outputs,
    final_rows,
    golden_tree,
    manifest,
    rayjobs,
    write_job,
    write_photographs,
)

COUNT, SOME = 120, 32
"""Images of a job that is to be stopped, and those of them that pass the gate at once."""


def ray_job(cluster: HeadNode, command: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """What `ray job COMMAND` says of the cluster."""
    ray = Path(sys.executable).with_name("ray")
    return in_checkout(ray, "job", command, "--address", cluster.dashboard, *arguments, variables=cluster.variables)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cluster")


@pytest.fixture(scope="module")
def gate(home: Path) -> Gate:
    return Gate(home / "gate")


@pytest.fixture(scope="module")
def cluster(home: Path, gate: Gate) -> Iterator[HeadNode]:
    with head_node(home, **gate.variables) as node:
        yield node


@pytest.fixture(scope="module")
def local(home: Path) -> Path:
    """The output of the example job on an embedded Ray."""
    done = rayjobs("run", ROOT / "examples/job.yaml", "--output", home / "local", "--json", home=home)
    assert done.code == 0, done.err
    return home / "local"


def test_the_job_file_submitted_with_ray_job_submit_gives_the_same_outputs_and_names_that_read_well(
    cluster: HeadNode, home: Path, local: Path
) -> None:
    output = home / "submitted"
    run = ("python", "-m", "rayjobs", "run", "examples/job.yaml", "--output", output, "--json")
    done = ray_job(cluster, "submit", "--working-dir", ".", "--", *run)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "succeeded" in done.stdout
    rows = manifest(output)
    check_outputs(output, rows)
    assert [row["status"] for row in rows] == ["done"] * 6
    names = {path: digest for path, digest in golden_tree(output).items() if path.startswith(("images", "charts"))}
    assert names == {p: d for p, d in golden_tree(local).items() if p.startswith(("images", "charts"))}
    state = cluster.state()
    assert any(actor["name"] == "coordinator" for actor in state["actors"])
    tasks = {task["name"] for task in state["tasks"]}
    assert any("render_analyze_export" in name for name in tasks)
    assert "first-job: seal results" in tasks


def test_a_relative_output_inside_of_a_ray_job_is_refused(cluster: HeadNode) -> None:
    run = ("python", "-m", "rayjobs", "run", "examples/job.yaml")
    done = ray_job(cluster, "submit", "--working-dir", ".", "--", *run)
    assert done.returncode != 0
    assert "a relative output would land in a disposable copy" in done.stdout + done.stderr


def test_rayjobs_submit_makes_paths_absolute_names_the_job_and_shows_the_three_staged_operators(
    cluster: HeadNode, home: Path, local: Path
) -> None:
    text = (ROOT / "examples/job.yaml").read_text(encoding="utf-8")
    (home / "photographs").symlink_to(ROOT / "examples/photographs")
    job = home / "staged.yaml"
    job.write_text(text.replace("photographs/", "photographs/*.jpg") + "stages: staged\n", encoding="utf-8")
    done = in_checkout(
        *(sys.executable, "-m", "rayjobs", "submit", job, "--output", home / "staged", "--wait"),
        *("--address", cluster.dashboard),
        variables=cluster.variables,
    )
    assert done.returncode == 0, done.stderr
    job_id = done.stdout.strip().splitlines()[-1]
    assert rayjobs("status", job_id, "--json", home=home).json["status"] == "completed"
    assert {"name": "first-job", "job_id": job_id} in cluster.job_metadata()
    logs = (sys.executable, "-m", "rayjobs", "logs", job_id)
    known = cluster.variables | {"RAY_API_SERVER_ADDRESS": cluster.dashboard}
    told = ("--address", cluster.dashboard.removeprefix("http://"))
    for words, variables in ((logs, known), ((*logs, *told), cluster.variables)):
        printed = in_checkout(*words, variables=variables)
        assert (printed.returncode, "first-job: completed: 6 of 6 done" in printed.stdout) == (0, True), printed.stderr
    tasks = {task["name"] for task in cluster.state()["tasks"]}
    for stage in ("render", "analyze", "export"):
        assert any(f"({stage})" in name for name in tasks), sorted(tasks)
    images = {p: d for p, d in golden_tree(home / "staged").items() if p.startswith(("images", "charts"))}
    assert images == {p: d for p, d in golden_tree(local).items() if p.startswith(("images", "charts"))}


def submit_and_wait_until_under_way(cluster: HeadNode, gate: Gate, output: Path, submission_id: str) -> None:
    """A job beside `output`, given to `ray job submit`, with 10 final rows or more, that is held up from then on."""
    base = output.parent
    write_photographs(base / "photos", COUNT)
    job = write_job(base, export={"images": {"format": "jpeg"}, "data": ["parquet"], "charts": False}, **GATED)
    gate.shut(after=SOME)
    run = ("python", "-m", "rayjobs", "run", job, "--output", output)
    submitted = ray_job(cluster, "submit", "--no-wait", "--submission-id", submission_id, "--", *run)
    assert submitted.returncode == 0, submitted.stdout + submitted.stderr
    wait_until(lambda: final_rows(output) >= 10, timeout_s=120)


def test_a_job_that_ray_job_stop_ends_leaves_nothing_and_resumes(cluster: HeadNode, home: Path, gate: Gate) -> None:
    output = home / "stopped/out"
    submit_and_wait_until_under_way(cluster, gate, output, "stopped")
    stop = ray_job(cluster, "stop", "stopped")
    assert stop.returncode == 0, stop.stdout + stop.stderr
    wait_until(lambda: not OutputDirectory(output).running, timeout_s=60)
    state = rayjobs("status", output, "--json", home=home).json
    assert state["status"] == "interrupted"
    assert 10 <= state["done"] < COUNT
    wait_until(lambda: output_left(output) == [], timeout_s=15)
    gate.open()
    resumed = rayjobs("resume", output, "--json", home=home, **gate.variables)
    assert resumed.code == 0, resumed.err
    assert resumed.json["done"] == COUNT
    assert output_left(output) == []


def test_a_submitted_job_that_is_cancelled_is_stopped_in_ray_as_well(cluster: HeadNode, home: Path, gate: Gate) -> None:
    output = home / "cancelled/out"
    submit_and_wait_until_under_way(cluster, gate, output, "cancelled")
    cancelled = rayjobs("cancel", output, "--json", home=home)
    assert (cancelled.code, cancelled.json["status"]) == (0, "cancelled"), cancelled.err
    assert 10 <= cancelled.json["done"] < COUNT

    def in_ray() -> str:
        return ray_job(cluster, "status", "cancelled").stdout

    wait_until(lambda: "RUNNING" not in in_ray(), timeout_s=60)
    assert "Job 'cancelled' was stopped" in in_ray()
    assert rayjobs("status", output, "--json", home=home).json == cancelled.json
    assert output_left(output) == []


def test_a_cluster_as_cluster_yaml_starts_it_takes_and_runs_a_job(home: Path, local: Path) -> None:
    with head_of_cluster_yaml() as node:
        done = in_checkout(
            *(sys.executable, "-m", "rayjobs", "submit", ROOT / "examples/job.yaml", "--output", home / "as-yaml"),
            *("--address", node.dashboard, "--wait"),
            variables=node.variables,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "warning" not in done.stderr
    rows = manifest(home / "as-yaml")
    check_outputs(home / "as-yaml", rows)
    assert golden_tree(home / "as-yaml") == golden_tree(local)


def test_without_the_token_nothing_is_taken(cluster: HeadNode, home: Path) -> None:
    variables = {**cluster.variables, "RAY_AUTH_TOKEN": "0" * 64}
    done = in_checkout(
        *(sys.executable, "-m", "rayjobs", "submit", ROOT / "examples/job.yaml", "--output", home / "refused"),
        *("--address", cluster.dashboard),
        variables=variables,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert not (home / "refused").exists()


def test_cluster_yaml_is_valid_against_rays_own_schema() -> None:
    import jsonschema
    import ray.autoscaler
    import yaml

    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(yaml.safe_load((ROOT / "cluster.yaml").read_text(encoding="utf-8")), schema)
    code = "import yaml; from ray.autoscaler._private.util import prepare_config, validate_config; "
    code += "validate_config(prepare_config(yaml.safe_load(open('cluster.yaml'))))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
