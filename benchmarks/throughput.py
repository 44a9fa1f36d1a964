"""P1, P2: the rate of a whole job on Ray, against a pool with the same function and against scikit-image.

Both sides are timed when they are under way: a pool once its processes are warm, a job once each of its workers has
given some rows (``RAMP_ROWS``), to the end of its shards, results sealed. What a job takes besides (start of Ray,
tables, report) is given with the figure as seconds; it doesn't grow with the images, or is P9's and P6's matter. What a
turn has written is removed after it: a disk cache that grows from turn to turn takes memory, and time, from later ones.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import scikit_image_script, standard_work
from benchmarks.bars import measure
from benchmarks.baselines import BenchmarkError, function_rate, pool_rate
from benchmarks.figures import Figure, Scale, median_ratio, rounded, take_turns
from benchmarks.photographs import photographs
from pipelines.tables import SAVED_ROWS
from rayjobs.job.job_state import JobStatus
from rayjobs.run.progress import Snapshot
from rayjobs.run.run import run_job

RAMP_ROWS = 2 * SAVED_ROWS
"""Images per worker before a job's clock starts: by then both have imported and compiled what they need."""
SCIKIT_IMAGE_IMAGES = 12
"""Of a thousand photographs: a slow baseline runs on a sample."""


class Stopwatch:
    """Listens to a job's progress; implements ``progress.Display``."""

    def __init__(self, ramp: int = 1, clock: Callable[[], float] = time.perf_counter) -> None:
        """``ramp``: done images from which on the rate counts."""
        self._ramp = ramp
        self._clock = clock
        self._started = clock()
        self._first: tuple[float, int] | None = None
        self._last: tuple[float, int] | None = None
        self.phases: dict[str, float] = {}
        """Phase -> seconds from the start to its first snapshot."""

    def show(self, snapshot: Snapshot) -> None:
        now = self._clock()
        self.phases.setdefault(snapshot.phase, now - self._started)
        if snapshot.phase != "running" or snapshot.done < self._ramp:
            return
        self._first = self._first or (now, snapshot.done)
        self._last = (now, snapshot.done)

    def close(self) -> None:
        self.phases.setdefault("closed", self._clock() - self._started)

    def rate(self) -> float:
        """Images per second between the ramp and the end of the last shard.

        Raises
        ------
        BenchmarkError
            The job was over before it was seen running twice: too few images.
        """
        if self._first is None or self._last is None or self._last[1] <= self._first[1]:
            raise BenchmarkError("the job ended too soon to tell its rate; take more --images")
        return (self._last[1] - self._first[1]) / (self._last[0] - self._first[0])


class JobRuns:
    """Runs of the standard work as a job, each into an output of its own."""

    def __init__(self, files: Sequence[Path], scratch: Path, workers: int) -> None:
        self._files = files
        self._scratch = scratch
        self._workers = workers
        self.seconds: list[dict[str, float]] = []
        """Of each run: when its phases began, and when it was over."""

    def rate(self) -> float:
        """Run once; images per second under way."""
        with TemporaryDirectory(dir=self._scratch) as folder:
            request = standard_work.request(self._files, Path(folder) / "output", limits={"workers": self._workers})
            stopwatch = Stopwatch(min(RAMP_ROWS * self._workers, len(self._files) // 4))
            state = run_job(request, stopwatch, threading.Event())
        stopwatch.close()
        if state.status is not JobStatus.COMPLETED:
            raise BenchmarkError(f"the job ended as {state.status} with {state.failed} failures")
        self.seconds.append({name: rounded(seconds) for name, seconds in stopwatch.phases.items()})
        return stopwatch.rate()


def p1(scale: Scale) -> Figure:
    """A job against a pool: the same function, the same files, as many processes."""
    tiles = photographs(scale.images)
    runs = JobRuns(tiles.files, scale.scratch, scale.workers)
    recipe = standard_work.recipe()

    sides: dict[str, Callable[[], float]] = {
        "job": runs.rate,
        "pool": lambda: pool_rate(tiles.files, recipe, scale.scratch, scale.workers),
    }
    taken = take_turns(sides, scale.repeat)
    detail = {
        "images_per_s": {name: rounded(statistics.median(rates)) for name, rates in taken.items()},
        "ratios": [rounded(job / other) for job, other in zip(taken["job"], taken["pool"], strict=True)],
        "photographs": f"{len(tiles.files)} from {tiles.source}",
        "seconds_until": runs.seconds,
    }
    value = median_ratio(taken["job"], taken["pool"])
    return Figure("P1", [measure("P1", "throughput against a pool", value, detail)])


def p2(scale: Scale) -> Figure:
    """A job against the straightforward script in a pool; the script gets a sample of the photographs."""
    tiles = photographs(scale.images)
    runs = JobRuns(tiles.files, scale.scratch, scale.workers)
    # at least as many as keep every process busy to the end
    sample = tiles.files[: max(scale.share(SCIKIT_IMAGE_IMAGES), 2 * scale.workers)]
    script = scikit_image_script.process
    sides: dict[str, Callable[[], float]] = {
        "job": runs.rate,
        "scikit-image": lambda: function_rate(script, sample, scale.scratch, scale.workers),
    }
    taken = take_turns(sides, scale.repeat)
    detail = {
        "images_per_s": {name: rounded(statistics.median(rates)) for name, rates in taken.items()},
        "photographs": f"{scale.images} from {tiles.source}, the script {len(sample)} of them",
    }
    value = median_ratio(taken["job"], taken["scikit-image"])
    return Figure("P2", [measure("P2", "throughput against scikit-image", value, detail)])
