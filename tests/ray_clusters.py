"""Clusters as an operator starts them, for tests: ``ray start --head`` in a process group that the test ends itself."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True, slots=True)
class HeadNode:
    """A running cluster of one node."""

    address: str
    """Of its GCS, for RAY_ADDRESS."""
    dashboard: str
    variables: dict[str, str]
    """For processes that are to use it."""

    def takes_jobs(self) -> bool:
        """Whether its agents, which come up after the dashboard, take jobs."""
        ray = str(Path(sys.executable).with_name("ray"))
        arguments = [ray, "job", "submit", "--address", self.dashboard, "--", "true"]
        return subprocess.run(arguments, capture_output=True, check=False, env=self.variables).returncode == 0

    def state(self) -> dict[str, list[dict[str, Any]]]:
        """Actors and tasks, as Ray's state API lists them."""
        done = subprocess.run(
            [sys.executable, "-c", STATE, self.dashboard],
            capture_output=True,
            text=True,
            check=True,
            env=self.variables,
        )
        found: dict[str, list[dict[str, Any]]] = json.loads(done.stdout.strip().splitlines()[-1])
        return found


@contextmanager
def head_node(home: Path, *, cpus: int = 2) -> Iterator[HeadNode]:
    """Start a head node with a token of its own and a dashboard; end all of it afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="rj", dir="/tmp"))  # a short path: Ray puts sockets below it
    port, dashboard_port = _free_port(), _free_port()
    variables = environment(
        home,
        RAY_AUTH_MODE="token",
        RAY_AUTH_TOKEN=secrets.token_hex(32),
        RAY_USAGE_STATS_ENABLED="0",
        PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    )
    resources = json.dumps({"render": cpus, "analyze": cpus, "export_io": cpus})
    arguments = [
        *("--head", "--block", "--node-ip-address=127.0.0.1", f"--port={port}", "--dashboard-host=127.0.0.1"),
        *(f"--dashboard-port={dashboard_port}", f"--num-cpus={cpus}", f"--resources={resources}"),
        *(f"--temp-dir={directory}", "--object-store-memory=300000000", f"--ray-client-server-port={_free_port()}"),
    ]
    with (home / "ray-start.log").open("wb") as log:
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("ray")), "start", *arguments],
            stdout=log,
            stderr=log,
            env=variables,
            cwd=home,
            start_new_session=True,
        )
    try:
        wait_until(lambda: _answers(dashboard_port) or process.poll() is not None, timeout_s=90, interval_s=0.2)
        assert process.poll() is None, (home / "ray-start.log").read_text()
        node = HeadNode(f"127.0.0.1:{port}", f"http://127.0.0.1:{dashboard_port}", variables)
        wait_until(node.takes_jobs, timeout_s=90, interval_s=0.5)
        yield node
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        _kill_below(directory)
        shutil.rmtree(directory, ignore_errors=True)


def in_checkout(*arguments: str | Path, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """A command run in the checkout's root."""
    return subprocess.run(
        [str(part) for part in arguments], capture_output=True, text=True, check=False, env=variables, cwd=ROOT
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _kill_below(directory: Path) -> None:
    """End what still runs with this cluster's own temporary directory on its command line: processes we started."""
    import psutil

    for process in psutil.process_iter(["cmdline"]):
        if any(str(directory) in part for part in process.info["cmdline"] or ()):
            process.kill()
