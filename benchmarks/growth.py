"""P9: what an image costs when there are more of them: seconds and peak memory of whole jobs of small photographs.

Three sizes, the middle one half of the largest: the slope of the upper half of the line over that of the lower half
says whether an image costs more in a large job. What a job takes whatever its size falls out of a slope.
"""

from __future__ import annotations

import statistics

from benchmarks.bars import measure
from benchmarks.command_line import Run, run, write_job
from benchmarks.figures import Figure, Measure, Scale, rounded, say, slope
from benchmarks.photographs import SMALL, photographs

SIZES = (1_000, 10_500, 20_000)
"""All by Ray Data: one of a hundred does without, and its start would be told as the cost of the images between; so it
is with less than 513 for ``--images``."""


def p9(scale: Scale) -> Figure:
    """The median of the turns for each size."""
    sizes = [scale.share(size) for size in SIZES]
    files = photographs(sizes[-1], SMALL).files
    runs: dict[int, list[Run]] = {size: [] for size in sizes}
    for turn in range(scale.repeat):
        for size in sizes:
            output = scale.scratch / f"growth-{turn}-{size}"
            job = write_job(files[:size], output, limits={"workers": scale.workers})
            runs[size].append(run(job, home=scale.scratch / "home"))
            say(f"  turn {turn + 1}, {size} images: {runs[size][-1].seconds:.1f} s")
    seconds = {size: statistics.median(each.seconds for each in taken) for size, taken in runs.items()}
    measures = [growth(seconds)]
    for name, peaks in (
        ("driver", {size: statistics.median(each.driver_bytes for each in taken) for size, taken in runs.items()}),
        ("worker", {size: statistics.median(each.worker_bytes for each in taken) for size, taken in runs.items()}),
    ):
        measures.append(flatness(f"peak memory of the {name}", peaks))
    return Figure("P9", measures)


def growth(seconds: dict[int, float]) -> Measure:
    """Cost per image in the upper half of the sizes over that in the lower half."""
    points = sorted(seconds.items())
    lower, upper = slope(points[:2]), slope(points[1:])
    detail = {
        "ms_per_image": rounded(slope(points) * 1e3),
        "seconds": {str(size): rounded(value) for size, value in points},
    }
    value = upper / lower if lower > 0 else float("inf")
    return measure("P9 cost", "cost of a further image", value, detail)


def flatness(name: str, peak_bytes: dict[int, float]) -> Measure:
    """Peak with the most images over that with half of them: it may grow while it is small, but not for ever."""
    points = sorted(peak_bytes.items())
    detail = {"MiB": {str(size): rounded(value / 2**20) for size, value in points}}
    value = points[-1][1] / points[-2][1]
    return measure("P9 memory", name, value, detail)
