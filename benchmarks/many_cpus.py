"""What an image costs outside of the workers, and so at how many CPUs one driver is all that there is.

    python -m benchmarks.many_cpus [--record]

Processor seconds of each kind of process over a job of n images, and over one of 2n: the difference is what n images
cost, without what a job takes whatever its size. A driver decides in one thread at a time (Python's lock), so it gives
no more than 1/d images per second, d being its seconds per image; workers that take w seconds per image give N/w on N
CPUs. From N = w/d on, more CPUs change nothing. Clusters larger than this machine are computed, not measured.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from benchmarks.__main__ import machine
from benchmarks.baselines import BenchmarkError
from benchmarks.command_line import SAMPLE_S, log_of, start, write_job
from benchmarks.figures import rounded, say
from benchmarks.photographs import CACHE, PHOTOGRAPH, SMALL, Size, photographs
from benchmarks.processes import IDLE, kind_of

RECORD = Path(__file__).with_name("many_cpus.json")
SIZES: Mapping[Size, int] = {PHOTOGRAPH: 500, SMALL: 2_500}
"""Photographs of the standard work -> images of the smaller job."""
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


def costs(size: Size, count: int, turns: int, scratch: Path) -> dict[str, Any]:
    """Processor milliseconds per image and kind of process, seconds that no image causes, the CPUs of one driver."""
    files = photographs(2 * count, size).files
    jobs: dict[int, list[dict[str, float]]] = {count: [], 2 * count: []}
    for turn in range(turns):
        for images, taken in jobs.items():
            with tempfile.TemporaryDirectory(dir=scratch) as folder:
                taken.append(job_seconds(files[:images], Path(folder)))
            say(f"  turn {turn + 1}, {images} images: { ({k: rounded(v) for k, v in taken[-1].items()}) }")
    few, many = (
        {kind: statistics.median(each.get(kind, 0.0) for each in taken) for kind in set().union(*taken)}
        for taken in jobs.values()
    )
    return model(count, few, many)


def model(count: int, few: Mapping[str, float], many: Mapping[str, float]) -> dict[str, Any]:
    """What ``count`` images cost, of seconds by kind of process in a job of as many and in one of twice as many."""
    kinds = sorted((few.keys() | many.keys()) - {ELAPSED})
    per_image = {kind: (many.get(kind, 0.0) - few.get(kind, 0.0)) / count * 1e3 for kind in kinds}
    return {
        "images": [count, 2 * count],
        "ms_per_image": {kind: rounded(each) for kind, each in per_image.items()},
        "fixed_s": rounded(2 * few[ELAPSED] - many[ELAPSED]),
        "cpus": round(per_image[WORKERS] / per_image[DRIVER]),
    }


def cost_rows(record: Path = RECORD) -> Iterator[list[str]]:
    """The table of ``docs/performance.md``: heads, then a row per size of photograph."""
    known = json.loads(record.read_text(encoding="utf-8"))["photographs"]
    kinds = sorted({kind for costs in known.values() for kind in costs["ms_per_image"]} - {WORKERS, DRIVER})
    order = [WORKERS, DRIVER, *kinds]
    yield ["photographs", *(f"{kind}, ms" for kind in order), "seconds that no image causes", "CPUs of one driver"]
    for size, costs in known.items():
        each = [f"{max(costs['ms_per_image'].get(kind, 0.0), 0):.2f}" for kind in order]
        yield [size, *each, f"{costs['fixed_s']:.1f}", str(costs["cpus"])]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and keep with ``--record``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many_cpus", description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=1000, help="of 1000: a share of the jobs' sizes")
    parser.add_argument("--repeat", type=int, default=3, help="turns; medians count (3)")
    parser.add_argument("--record", action="store_true", help=f"keep them in {RECORD.name}")
    arguments = parser.parse_args(argv)
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        found = {
            f"{width} x {height}": costs(
                (width, height), max(count * arguments.images // 1000, 8), arguments.repeat, Path(scratch)
            )
            for (width, height), count in SIZES.items()
        }
    text = json.dumps({"photographs": found, "workers": os.cpu_count(), "machine": machine()}, indent=1)
    print(text)
    if arguments.record:
        RECORD.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
