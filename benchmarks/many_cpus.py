"""What an image costs outside of the workers, and so at how many CPUs one driver is all that there is.

    python -m benchmarks.many_cpus [--record]

Processor seconds of each kind of process over jobs of n and of 2n images, large and small ones, are explained by what
it takes once, a share of a processor while the job runs, and an amount per image (least squares, none below zero): so
neither start and end nor a busy machine counts as work on images. The driver decides in one thread at a time (Python's
lock): with a share b as time passes and d seconds per image it takes in (1 - b) / d images per second at most. Workers
that need w seconds give N / w on N CPUs. From N = w (1 - b) / d on, more CPUs change nothing. Clusters larger than this
machine are computed, not measured.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray
from scipy.optimize import nnls

from benchmarks.__main__ import machine
from benchmarks.baselines import BenchmarkError
from benchmarks.command_line import SAMPLE_S, log_of, start, write_job
from benchmarks.figures import rounded, say
from benchmarks.photographs import CACHE, PHOTOGRAPH, SMALL, Size, photographs
from benchmarks.processes import IDLE, kind_of

RECORD = Path(__file__).with_name("many_cpus.json")
SIZES: Mapping[Size, int] = {PHOTOGRAPH: 600, SMALL: 2_000}
"""Photographs of the standard work -> images of the smaller job; both by Ray Data, whose import is no image's cost."""
DRIVER, WORKERS, ELAPSED = "driver", "workers", "elapsed"


def job_seconds(files: Sequence[Path], scratch: Path) -> dict[str, float]:
    """Run the standard work once; processor seconds by kind of process, and ``ELAPSED``."""
    job = write_job(files, scratch / f"job-{len(files)}")
    spent: dict[tuple[int, float], float] = {}
    kinds: dict[tuple[int, float], str] = {}
    started = time.perf_counter()
    process = start(job, home=scratch / "home", said=job.with_suffix(".ray"))
    while process.poll() is None:
        with suppress(psutil.NoSuchProcess):
            of_run = psutil.Process(process.pid)
            for each in [of_run, *of_run.children(recursive=True)]:
                with suppress(psutil.NoSuchProcess):
                    times, key = each.cpu_times(), (each.pid, each.create_time())
                    spent[key] = times.user + times.system
                    kind = DRIVER if each.pid == process.pid else kind_of(each.cmdline())
                    if kind != IDLE:  # a worker is what it has worked as
                        kinds[key] = kind
        with suppress(subprocess.TimeoutExpired):
            process.wait(SAMPLE_S)
    if process.returncode != 0:
        raise BenchmarkError(f"the job ended with {process.returncode}; its log: {log_of(job)}")
    totals: dict[str, float] = defaultdict(float, {ELAPSED: time.perf_counter() - started})
    for key, seconds in spent.items():
        totals[kinds.get(key, IDLE)] += seconds
    return totals


@dataclass(frozen=True, slots=True)
class Spent:
    """One job."""

    size: str
    images: int
    seconds: Mapping[str, float]
    """Processor seconds by kind of process, and ``ELAPSED``."""


def model(jobs: Sequence[Spent]) -> dict[str, Any]:
    """What each kind of process takes, workers by size of photograph; and the CPUs that one driver is good for."""
    images = np.array([job.images for job in jobs], np.float64)
    elapsed = np.array([job.seconds[ELAPSED] for job in jobs])
    kinds = sorted(set().union(*(job.seconds for job in jobs)) - {ELAPSED, WORKERS, IDLE})
    once = np.ones(len(jobs))
    processes = {}
    for kind in kinds:
        fixed, share, each = _explained(kind, jobs, [once, elapsed, images])
        processes[kind] = {"once_s": fixed, "share": share, "ms_per_image": each * 1e3}
    sizes = list(dict.fromkeys(job.size for job in jobs))
    of_size = [images * [job.size == size for job in jobs] for size in sizes]
    each_worker = _explained(WORKERS, jobs, [once, *of_size])[1:]
    driver = processes[DRIVER]
    per_s = (1 - driver["share"]) / (driver["ms_per_image"] / 1e3)
    return {
        "processes": {
            kind: {name: rounded(value) for name, value in taken.items()} for kind, taken in processes.items()
        },
        "images_per_s": round(per_s),
        "photographs": {
            size: {"ms_per_image": rounded(each * 1e3), "cpus": round(each * per_s)}
            for size, each in zip(sizes, each_worker, strict=True)
        },
    }


def _explained(kind: str, jobs: Sequence[Spent], by: Sequence[NDArray[np.float64]]) -> list[float]:
    seconds = np.array([job.seconds.get(kind, 0.0) for job in jobs])
    return [float(each) for each in nnls(np.stack(by, axis=1), seconds)[0]]


def process_rows(record: Path = RECORD) -> Iterator[list[str]]:
    """A row of ``docs/performance.md`` per kind of process: once, as time passes, per image."""
    for kind, taken in json.loads(record.read_text(encoding="utf-8"))["processes"].items():
        yield [
            kind,
            f"{taken['once_s']:.1f} s",
            f"{100 * taken['share']:.1f} % of one",
            f"{taken['ms_per_image']:.2f} ms",
        ]


def size_rows(record: Path = RECORD) -> Iterator[list[str]]:
    """A row per size of photograph: a worker's time, and the CPUs from which on more change nothing."""
    known = json.loads(record.read_text(encoding="utf-8"))
    for size, found in known["photographs"].items():
        yield [size, f"{found['ms_per_image']:.1f} ms", f"{known['images_per_s']:,}", f"{found['cpus']:,}"]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and keep with ``--record``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many_cpus", description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=1000, help="of 1000: a share of the jobs' sizes")
    parser.add_argument("--repeat", type=int, default=3, help="turns; medians count (3)")
    parser.add_argument("--record", action="store_true", help=f"keep them in {RECORD.name}")
    arguments = parser.parse_args(argv)
    CACHE.mkdir(parents=True, exist_ok=True)
    jobs = []
    for size, full in SIZES.items():
        count = max(full * arguments.images // 1000, 8)
        files = photographs(2 * count, size).files
        for turn, images in itertools.product(range(arguments.repeat), (count, 2 * count)):
            with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
                jobs.append(Spent(f"{size[0]} x {size[1]}", images, job_seconds(files[:images], Path(scratch))))
            said = {kind: rounded(each) for kind, each in jobs[-1].seconds.items()}
            say(f"  turn {turn + 1}, {images} of {jobs[-1].size}: {said}")
    text = json.dumps({**model(jobs), "jobs": len(jobs), "machine": machine()}, indent=1)
    print(text)
    if arguments.record:
        RECORD.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
