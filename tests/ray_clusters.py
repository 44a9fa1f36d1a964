"""Clusters as an operator starts them, for tests: ``ray start --head``, ended by the test that started it."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psutil
import yaml

from tests.leaks import wait_until
from tests.runs import ROOT, environment

STATE = """
import json, sys
from ray.util.state import list_actors, list_tasks
options = {"address": sys.argv[1], "limit": 10_000, "detail": True, "raise_on_missing_output": False}
found = {
    "actors": [vars(actor) for actor in list_actors(**options)],
    "tasks": [vars(task) for task in list_tasks(**options)],
}
print(json.dumps(found, default=str))
"""


LIST_JOBS = """
import json, sys
from ray.job_submission import JobSubmissionClient
print(json.dumps([job.metadata for job in JobSubmissionClient(sys.argv[1]).list_jobs()]))
"""


@dataclass(frozen=True, slots=True)
class HeadNode:
    """A running cluster of one node."""

    address: str
    """Of its GCS, for RAY_ADDRESS."""
    dashboard: str
    variables: dict[str, str]
    """For processes that are to use it."""
    directory: Path
    """Ray's own; on the command line of all of its daemons."""

    def refusal(self) -> str | None:
        """Why it takes no jobs yet: its agents come up after the dashboard; None: it takes them."""
        ray = str(Path(sys.executable).with_name("ray"))
        arguments = [ray, "job", "submit", "--address", self.dashboard, "--", "true"]
        done = subprocess.run(arguments, capture_output=True, text=True, check=False, env=self.variables)
        return None if done.returncode == 0 else (done.stdout + done.stderr)[-2000:]

    def state(self) -> dict[str, list[dict[str, Any]]]:
        """Actors and tasks, as Ray's state API lists them."""
        found: dict[str, list[dict[str, Any]]] = self._told(STATE)
        return found

    def job_metadata(self) -> list[dict[str, str] | None]:
        """Of every driver that the cluster has seen, submitted or not."""
        found: list[dict[str, str] | None] = self._told(LIST_JOBS)
        return found

    def _told(self, code: str) -> Any:
        """The JSON that a process prints as its last line; it is told the dashboard's address."""
        done = subprocess.run(
            [sys.executable, "-c", code, self.dashboard],
            capture_output=True,
            text=True,
            check=True,
            env=self.variables,
        )
        return json.loads(done.stdout.strip().splitlines()[-1])


@contextmanager
def head_node(
    home: Path,
    *,
    cpus: int = 2,
    memory: int | None = None,
    resources: Mapping[str, float] = MappingProxyType({}),
    takes_jobs: bool = True,
    **more: str,
) -> Iterator[HeadNode]:
    """Start a head node with a token of its own and a dashboard; end all of it afterwards.

    ``resources`` are what it has beside those of the stages; ``more`` are environment variables of its processes.
    With ``takes_jobs`` it is ready for Ray's Jobs API, which takes some seconds more.
    """
    directory = Path(tempfile.mkdtemp(prefix="rj", dir="/tmp"))  # a short path: Ray puts sockets below it
    # Ray's Jobs API can't start a worker whose path has a space; through this link no path has one.
    (directory / "venv").symlink_to(Path(sys.prefix), target_is_directory=True)
    tools = directory / "venv/bin"
    port, dashboard_port = _free_port(), _free_port()
    variables = environment(
        home,
        RAY_AUTH_MODE="token",
        RAY_AUTH_TOKEN=secrets.token_hex(32),
        RAY_USAGE_STATS_ENABLED="0",
        PATH=f"{tools}:{os.environ['PATH']}",
        **more,
    )
    arguments = [
        *_has(cpus, memory, **resources),
        *("--head", "--node-ip-address=127.0.0.1", f"--port={port}", "--dashboard-host=127.0.0.1"),
        f"--dashboard-port={dashboard_port}",
        *(f"--temp-dir={directory}", "--object-store-memory=300000000", f"--ray-client-server-port={_free_port()}"),
        f"--dashboard-agent-listen-port={_free_port()}",  # by default the same for all clusters of a machine
    ]
    # Not with --block: that ends with the server of Ray Client, which can't start where the path has a space.
    command = _start(directory, arguments)
    node = HeadNode(f"127.0.0.1:{port}", _local(dashboard_port), variables, directory)
    with _started(command, node, takes_jobs=takes_jobs):
        yield node


@contextmanager
def head_of_cluster_yaml() -> Iterator[HeadNode]:
    """A head node as ``cluster.yaml`` starts it, in an account of its own whose shell knows nothing of this checkout.

    Only what would get in the way of other clusters of this machine is changed: ports, directories, and the search for
    other machines.
    """
    directory = Path(tempfile.mkdtemp(prefix="rj", dir="/tmp"))
    _environment_in(directory / "rayjobs" / ".venv")
    (directory / ".ray").mkdir()
    (directory / ".ray" / "auth_token").write_text(secrets.token_hex(32))
    (directory / ".ray" / "auth_token").chmod(0o600)
    (command,) = yaml.safe_load((ROOT / "cluster.yaml").read_text(encoding="utf-8"))["head_start_ray_commands"]
    port, dashboard_port = _free_port(), _free_port()
    for stated, instead in (
        ("--port=6379", f"--port={port} --dashboard-port={dashboard_port} --node-ip-address=127.0.0.1"),
        (
            "--autoscaling-config=~/ray_bootstrap_config.yaml",
            f"--temp-dir={directory} --object-store-memory=300000000 --ray-client-server-port={_free_port()} "
            f"--dashboard-agent-listen-port={_free_port()}",
        ),
    ):
        assert stated in command
        command = command.replace(stated, instead)
    variables = {"HOME": str(directory), "PATH": "/usr/bin:/bin", "RAY_AUTH_MODE": "token"}
    node = HeadNode(f"127.0.0.1:{port}", _local(dashboard_port), variables, directory)
    with _started(["bash", "-c", command], node, takes_jobs=True):
        yield node


def _environment_in(place: Path) -> None:
    """Our environment as if it had been made there: a path without a space, with which Ray's Jobs API can't cope."""
    (place / "bin").mkdir(parents=True)
    for directory, entries in ((place, Path(sys.prefix)), (place / "bin", Path(sys.prefix) / "bin")):
        for entry in entries.iterdir():
            if entry.name not in ("bin", "ray"):
                (directory / entry.name).symlink_to(entry)
    (place / "bin" / "ray").write_text(f"#!{place}/bin/python\nfrom ray.scripts.scripts import main\n\nmain()\n")
    (place / "bin" / "ray").chmod(0o755)


def _local(port: int) -> str:
    return f"http://127.0.0.1:{port}"


@contextmanager
def _started(command: list[str], node: HeadNode, *, takes_jobs: bool) -> Iterator[None]:
    """Start a head node; end it, and remove its files, afterwards."""
    try:
        _run(command, node)
        if takes_jobs:
            _wait_for_agents(node, node.directory)
        yield
    finally:
        _end_all_below(node.directory)
        shutil.rmtree(node.directory, ignore_errors=True)


def join(node: HeadNode, *, cpus: int, memory: int | None = None, **custom: float) -> psutil.Process:
    """Start a further node of a cluster on this machine, which ends with it; return its raylet."""
    before = _raylets(node.directory)
    agents = ("--dashboard-agent-grpc-port", "--dashboard-agent-listen-port", "--metrics-export-port")
    ports = [f"{option}={_free_port()}" for option in agents]
    arguments = [f"--address={node.address}", "--node-ip-address=127.0.0.1", *_has(cpus, memory, **custom), *ports]
    _run(_start(node.directory, [*arguments, "--object-store-memory=100000000"]), node)
    (raylet,) = _raylets(node.directory) - before
    return raylet


def end_daemon(driver: subprocess.Popen[str], name: str) -> None:
    """Kill one of the daemons of a driver's embedded cluster."""
    (daemon,) = [child for child in psutil.Process(driver.pid).children(recursive=True) if child.name() == name]
    daemon.kill()


def _has(cpus: int, memory: int | None, **custom: float) -> list[str]:
    resources = json.dumps({"render": cpus, "analyze": cpus, "export_io": cpus, **custom})
    of_memory = [] if memory is None else [f"--memory={memory}"]
    return [f"--num-cpus={cpus}", f"--resources={resources}", *of_memory]


def _start(directory: Path, arguments: list[str]) -> list[str]:
    """The command that starts a node, by the link below its directory."""
    return [str(directory / "venv/bin/python"), "-m", "ray.scripts.scripts", "start", *arguments]


def _run(command: list[str], node: HeadNode) -> None:
    started = subprocess.run(
        command, capture_output=True, text=True, check=False, env=node.variables, cwd=node.directory
    )
    assert started.returncode == 0, started.stdout + started.stderr


def _raylets(directory: Path) -> set[psutil.Process]:
    found = set()
    for process in psutil.process_iter(["name", "cmdline"]):
        if process.info["name"] == "raylet" and any(str(directory) in part for part in process.info["cmdline"] or ()):
            found.add(process)
    return found


def _wait_for_agents(node: HeadNode, directory: Path) -> None:
    refusals: list[str | None] = []

    def takes_jobs() -> bool:
        refusals.append(node.refusal())
        return refusals[-1] is None

    try:
        wait_until(takes_jobs, timeout_s=90, interval_s=0.5)
    except AssertionError as error:
        logs = [path.read_text()[-2000:] for path in directory.glob("session_latest/logs/dashboard_agent*")]
        raise AssertionError("\n".join([f"{error}, said {refusals[-1]}", *logs])) from error


def in_checkout(*arguments: str | Path, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """A command run in the checkout's root."""
    return subprocess.run(
        [str(part) for part in arguments], capture_output=True, text=True, check=False, env=variables, cwd=ROOT
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _end_all_below(directory: Path) -> None:
    """End the daemons that have this cluster's own directory on their command line, and their workers with them."""
    ours = []
    for process in psutil.process_iter(["cmdline"]):
        if any(str(directory) in part for part in process.info["cmdline"] or ()):
            ours += [process, *process.children(recursive=True)]
    for process in ours:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    with suppress(AssertionError):  # some wait for others, which have ended: nobody needs what they do meanwhile
        wait_until(lambda: not any(map(_runs, ours)), timeout_s=2)
    for process in ours:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _runs(process: psutil.Process) -> bool:
    """One that has ended stays as long as nobody asks for its exit code, and in a container perhaps nobody does."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
