"""P11, P12, P13: whole commands, from Enter to prompt, against what people would run instead.

Each side is a process of its own, timed from outside; outputs are removed between turns.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import standard_work
from benchmarks.bars import measure
from benchmarks.baselines import BenchmarkError, pool_rate
from benchmarks.command_line import run, write_job
from benchmarks.figures import Figure, Measure, Scale, median_ratio, rounded, take_turns, timed
from benchmarks.photographs import SMALL_PICTURE, photographs

MANY, FEW = 10_000, 1_000
SMALL_JOB = 100
PAUSE_S = 6.0
"""Between two jobs, as somebody takes who looks at the first one's results; workers for the next begin meanwhile."""
WEB_PX, WEB_QUALITY = 1024, 75
"""vipsthumbnail's own quality: what each side writes without being asked is no part of the comparison."""


def p11(scale: Scale) -> Figure:
    """The standard work, against a pool script that writes the same files."""
    return Figure("P11", [_against_script(scale, count) for count in (FEW, MANY)])


def _against_script(scale: Scale, photographs_of_bar: int) -> Measure:
    count = scale.share(photographs_of_bar)
    files = photographs(count).files
    listed = _listed(files, scale.scratch / f"script-{count}.txt")
    script = ["-m", "benchmarks.pool_script", str(listed)]
    sides: dict[str, Callable[[], float]] = {
        "job": partial(_job, scale, files, name=f"job-{count}"),
        "script": lambda: _program(scale, [sys.executable, *script], [str(scale.workers)], count),
    }
    taken = take_turns(sides, scale.repeat if photographs_of_bar == FEW else 1)
    detail = {"seconds": _medians(taken), "photographs": count}
    return measure(
        f"P11 {photographs_of_bar}",
        f"whole command, {count:,} photographs, against a pool script",
        median_ratio(taken["script"], taken["job"]),
        detail,
    )


def p12(scale: Scale) -> Figure:
    """A hundred small pictures: against Ray's own start and end; and on a Ray that is up."""
    files = photographs(scale.share(SMALL_JOB), SMALL_PICTURE).files
    bare = [sys.executable, "-m", "benchmarks.bare_ray_script", str(scale.workers)]
    sides: dict[str, Callable[[], float]] = {
        "job": partial(_job, scale, files, name="small"),
        "bare Ray": lambda: _seconds(bare),
    }
    turns = max(scale.repeat, 3)
    taken = take_turns(sides, turns)
    detail = {"seconds": _medians(taken), "photographs": len(files)}
    ratio = median_ratio(taken["job"], taken["bare Ray"])
    embedded = measure("P12 embedded", "a small job against bare Ray", ratio, detail)
    return Figure("P12", [embedded, _second_job(scale, files, turns)])


def _second_job(scale: Scale, files: Sequence[Path], turns: int) -> Measure:
    """What a job takes on a Ray that is up, beyond what its images take in a pool that is up."""
    job = partial(_job, scale, files, name="second")
    sides = {"job": job, "images": partial(_images_alone, scale, files)}
    with _ray_is_up(scale):
        job()
        taken = take_turns({name: partial(_after_a_pause, side) for name, side in sides.items()}, turns)
    beyond = [one - other for one, other in zip(taken["job"], taken["images"], strict=True)]
    detail = {"seconds": _medians(taken), "photographs": len(files)}
    name = "s more than its images, a small job on a Ray that is up"
    return measure("P12 running", name, statistics.median(beyond), detail)


def _after_a_pause(side: Callable[[], float]) -> float:
    time.sleep(PAUSE_S)
    return side()


def _images_alone(scale: Scale, files: Sequence[Path]) -> float:
    return len(files) / pool_rate(files, standard_work.recipe(), scale.scratch, scale.workers)


@contextmanager
def _ray_is_up(scale: Scale) -> Iterator[None]:
    command = [sys.executable, "-m", "rayjobs"]
    environment = {**os.environ, "RAYJOBS_HOME": str(scale.scratch / "home")}
    subprocess.run([*command, "up"], check=True, stdout=subprocess.DEVNULL, env=environment)
    try:
        yield
    finally:
        subprocess.run([*command, "down"], check=True, stdout=subprocess.DEVNULL, env=environment)


def p13(scale: Scale) -> Figure:
    """The common web export: a resize, nothing else."""
    files = photographs(scale.images).files
    listed = _listed(files, scale.scratch / "web.txt")
    web = {
        "operations": [{"resize": {"max_side": WEB_PX}}],
        "analyses": [],
        "export": {"images": {"format": "jpeg", "quality": WEB_QUALITY, "layout": "flat"}, "data": []},
    }
    daft = [sys.executable, "-m", "benchmarks.daft_script"]
    sides: dict[str, Callable[[], float]] = {
        "job": partial(_job, scale, files, name="web", **web),
        "vipsthumbnail": lambda: _vipsthumbnail(scale, listed),
        "Daft": lambda: _program(scale, [*daft, str(listed)], [str(WEB_PX)], len(files)),
    }
    taken = take_turns(sides, scale.repeat)
    detail = {"seconds": _medians(taken), "photographs": len(files)}
    return Figure(
        "P13",
        [
            measure(
                f"P13 {side}", f"resize to {WEB_PX} px against {side}", median_ratio(taken[side], taken["job"]), detail
            )
            for side in ("vipsthumbnail", "Daft")
        ],
    )


def _job(scale: Scale, files: Sequence[Path], *, name: str, **changes: Any) -> float:
    output = scale.scratch / name
    job = write_job(files, output, limits={"workers": scale.workers}, **changes)
    seconds = run(job, home=scale.scratch / "home").seconds
    shutil.rmtree(output)
    return seconds


def _vipsthumbnail(scale: Scale, listed: Path) -> float:
    if shutil.which("vipsthumbnail") is None:
        raise BenchmarkError("vipsthumbnail isn't installed: it is in Debian's libvips-tools")
    output = scale.scratch / "other"
    output.mkdir()
    one = ["vipsthumbnail", "--size", f"{WEB_PX}x{WEB_PX}>", "-o", f"{output}/%s.jpg[Q={WEB_QUALITY}]"]
    share = -(-scale.images // scale.workers)
    command = ["xargs", "-a", str(listed), "-P", str(scale.workers), "-n", str(share), "env", "VIPS_CONCURRENCY=1"]
    return _counted(partial(_seconds, [*command, *one]), output, scale.images)


def _program(scale: Scale, command: Sequence[str], last: Sequence[str], images: int) -> float:
    output = scale.scratch / "other"
    return _counted(partial(_seconds, [*command, str(output), *last]), output, images)


def _counted(seconds: Callable[[], float], output: Path, images: int) -> float:
    """Run, see that it wrote all images, and remove them."""
    taken = seconds()
    written = sum(1 for _ in output.rglob("*.jpg"))
    if written < images:
        raise BenchmarkError(f"{written} of {images} images were written to {output}")
    shutil.rmtree(output)
    return taken


def _seconds(command: Sequence[str]) -> float:
    done: list[subprocess.CompletedProcess[bytes]] = []
    taken = timed(lambda: done.append(subprocess.run(command, capture_output=True, check=False)))
    if done[0].returncode != 0:
        raise BenchmarkError(f"{json.dumps(command[:3])} failed: {done[0].stderr[-500:].decode(errors='replace')}")
    return taken


def _listed(files: Sequence[Path], path: Path) -> Path:
    path.write_text("".join(f"{file}\n" for file in files), encoding="utf-8")
    return path


def _medians(taken: dict[str, list[float]]) -> dict[str, float]:
    return {name: rounded(statistics.median(each)) for name, each in taken.items()}
