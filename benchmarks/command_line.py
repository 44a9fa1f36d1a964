"""Jobs as a user runs them: ``rayjobs run`` in a process of its own, timed and watched from outside."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from benchmarks import standard_work
from benchmarks.baselines import BenchmarkError
from benchmarks.photographs import CACHE

_PROGRAM = """
import sys
from rayjobs.command_line.cli import main
said = sys.argv.pop(1)
code = main()
open(said, "w").write("ray" if "ray" in sys.modules else "")
sys.exit(code)
"""
SAMPLE_S = 0.1


@dataclass(frozen=True, slots=True)
class Run:
    """What one run took."""

    seconds: float
    """From the start of its process to its end."""
    ray: bool
    """Whether Ray was imported."""
    driver_bytes: int
    """Peak memory of the process itself."""
    worker_bytes: int
    """Peak memory of the largest worker of Ray below it."""


def write_job(files: Sequence[Path], output: Path, **changes: Any) -> Path:
    """The standard work as a job file beside its output."""
    job = standard_work.job(files, output, **changes)
    path = output.with_name(f"{output.name}.yaml")
    path.write_text(yaml.safe_dump(job.model_dump(mode="json")), encoding="utf-8")
    return path


def run(job: Path, *, home: Path, environment: Mapping[str, str] | None = None) -> Run:
    """Run a job file to its end.

    Raises
    ------
    BenchmarkError
        It didn't end well.
    """
    said = job.with_suffix(".ray")
    started = time.perf_counter()
    process = start(job, home=home, said=said, environment=environment)
    driver = workers = 0
    while process.poll() is None:
        driver, workers = _peaks(process.pid, driver, workers)
        with suppress(subprocess.TimeoutExpired):  # its end is noticed at once
            process.wait(SAMPLE_S)
    seconds = time.perf_counter() - started
    if process.returncode != 0:
        raise BenchmarkError(f"rayjobs run {job.name} ended with {process.returncode}; its log: {log_of(job)}")
    return Run(seconds, said.read_text(encoding="utf-8") == "ray", driver, workers)


def start(
    job: Path, *, home: Path, said: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a job file and return its process; it keeps what Python compiles, as an installed program does."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with log_of(job).open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(said), "run", str(job), "--json"],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**inherited, "RAYJOBS_HOME": str(home), **(environment or {})},
        )


def log_of(job: Path) -> Path:
    """Where a run's output goes: outside of the scratch directory, which doesn't survive a failure."""
    return CACHE / f"{job.stem}.log"


def _peaks(pid: int, driver: int, workers: int) -> tuple[int, int]:
    try:
        process = psutil.Process(pid)
        driver = max(driver, process.memory_info().rss)
        for child in process.children(recursive=True):
            if child.name().startswith("ray::"):
                workers = max(workers, child.memory_info().rss)
    except psutil.NoSuchProcess:  # one of them has just ended
        return driver, workers
    return driver, workers
