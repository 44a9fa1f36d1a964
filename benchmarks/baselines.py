"""The other sides: what a figure is held against, each in plain processes without Ray.

A pool has the same number of processes as Ray has slots, one thread per kernel, and is warm before it is timed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.pool import Pool
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import standard_work
from pipelines.errors import RayjobsError
from pipelines.models import ImageStatus, WorkItem
from pipelines.stages.block_task import Workspace, open_worker, render_analyze_export
from pipelines.stages.recipe import Recipe
from pipelines.tables import SAVED_ROWS

CHUNK = 2 * SAVED_ROWS
"""Images that a process of a pool takes at a time: whole parts of results."""


class BenchmarkError(RayjobsError):
    """A side didn't do its work, so that its time means nothing."""


@contextmanager
def pool(workers: int, warm: Callable[[], object]) -> Iterator[Pool]:
    """Fresh processes, each of which has run ``warm`` before the block begins."""
    with get_context("spawn").Pool(workers, _start, (warm,)) as made:
        made.map(_wait, range(workers), chunksize=1)
        yield made


def _start(warm: Callable[[], object]) -> None:
    from pipelines.cpu_threads import limit_threads

    limit_threads(1)
    os.environ["VIPS_CONCURRENCY"] = "1"  # read when libvips is loaded, which `warm` does where it is compared with
    warm()


def _wait(_number: int) -> None:
    """Long enough that no process takes two of these, so that all have started."""
    time.sleep(0.2)


@dataclass(frozen=True, slots=True)
class WarmUp:
    """Runs one photograph through the work, so that what it needs is imported and compiled."""

    items: tuple[WorkItem, ...]
    recipe: Recipe
    workspace: Workspace

    def __call__(self) -> None:
        run_block(self.items[:1], self.recipe, self.workspace)


def run_block(items: Sequence[WorkItem], recipe: Recipe, workspace: Workspace) -> list[ImageStatus]:
    """The product's own per-image function over some items, results saved in parts; no Ray.

    Raises
    ------
    BenchmarkError
        An image failed.
    """
    rows = [row for group in render_analyze_export(items, {recipe.id: recipe}, workspace) for row in group]
    for row in rows:
        if row.status != "done":
            raise BenchmarkError(f"{items[0].title} and following: {row.status} ({row.reason}): {row.message}")
    return rows


def pool_rate(files: Sequence[Path], recipe: Recipe, scratch: Path, workers: int) -> float:
    """Images per second of a pool that calls the same per-image function, once it is under way.

    It writes into a new directory: over the files of an earlier turn it would first have to read them.
    """
    items = standard_work.items(files)
    with TemporaryDirectory(dir=scratch) as root:
        workspace = standard_work.workspace(Path(root))
        chunks = [(items[at : at + CHUNK], recipe, workspace) for at in range(0, len(items), CHUNK)]
        return len(items) / _seconds(workers, WarmUp(tuple(items), recipe, workspace), _run_chunk, chunks)


def _seconds(
    workers: int, warm: Callable[[], object], run: Callable[[Any], object], shares: Sequence[tuple[Any, ...]]
) -> float:
    """What a pool that is warm takes to ``run`` all shares of the work."""
    with pool(workers, warm) as processes:
        started = time.perf_counter()
        for _ in processes.imap_unordered(run, shares):
            pass
        return time.perf_counter() - started


def _run_chunk(chunk: tuple[Sequence[WorkItem], Recipe, Workspace]) -> int:
    return len(run_block(*chunk))


def function_rate(function: Callable[[Path, Path], Any], files: Sequence[Path], scratch: Path, workers: int) -> float:
    """Images per second of a pool that calls ``function(source, target)`` for each file, into a new directory."""
    with TemporaryDirectory(dir=scratch) as root:
        pairs = [(function, file, Path(root) / f"{number}.jpg") for number, file in enumerate(files)]
        return len(files) / _seconds(workers, _Call(*pairs[0]), _run_pair, pairs)


@dataclass(frozen=True, slots=True)
class _Call:
    function: Callable[[Path, Path], Any]
    source: Path
    target: Path

    def __call__(self) -> None:
        self.function(self.source, self.target)


def _run_pair(pair: tuple[Callable[[Path, Path], Any], Path, Path]) -> None:
    function, source, target = pair
    function(source, target)
    if not target.stat().st_size:
        raise BenchmarkError(f"{function.__module__} wrote nothing for {source}")


def codec_floor(source: Path, target: Path, recipe: Recipe) -> None:
    """Read, decode, encode, write; nothing between: what no way of rendering files can be faster than."""
    from pipelines.image_io import decode_image, encode_image

    decoded = decode_image(source.read_bytes(), recipe.read)
    assert recipe.image is not None
    target.write_bytes(encode_image(decoded.pixels, recipe.image, source=decoded))


def opencv_floor(source: Path, target: Path) -> None:
    """The same by OpenCV, without our checks."""
    import cv2
    import numpy as np

    pixels = cv2.imdecode(np.frombuffer(source.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    _, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, standard_work.QUALITY])
    target.write_bytes(encoded.tobytes())


def worker_publisher(root: Path) -> Any:
    """The publisher that a worker of ``root`` uses, in this process."""
    return open_worker(standard_work.workspace(root)).publisher
