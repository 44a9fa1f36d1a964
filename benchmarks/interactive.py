"""P10: an interactive batch of arrays in memory, against a pool of processes that pickles them and against threads.

64 arrays of 1920x1280x3, tone curve, unsharp mask, saturation. The three take turns, so that what else the machine does
hits all of them; the median of the turns' ratios counts. Each starts warm and with the same number of workers; the
processor's cache is emptied before each turn, so that every image is rendered.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.bars import measure
from benchmarks.figures import Figure, Measure, Scale, rounded, timed
from benchmarks.standard_work import OPERATIONS
from pipelines.operations import apply_operations
from pipelines.processor.processor import ExtensibleImageProcessor
from rayjobs.run.ray_session import ray_session

IMAGES = 64
SHAPE = (1280, 1920, 3)
TURNS = 15
Images = list[NDArray[np.uint8]]


def p10(_scale: Scale) -> Figure:
    """Both ratios; above 1 the processor is faster. Its size is fixed: 64 arrays in memory."""
    workers = os.cpu_count() or 1
    images = photographs_like(IMAGES)
    with (
        multiprocessing.get_context("spawn").Pool(workers, one_thread) as processes,
        ThreadPoolExecutor(workers, initializer=one_thread) as threads,
        ray_session(name="P10", workers=workers),
        ExtensibleImageProcessor() as processor,
    ):
        contestants: dict[str, Callable[[], Sequence[NDArray[Any]]]] = {
            "processor": lambda: processor.render_pipeline_batch(images, OPERATIONS),
            "pool": lambda: processes.map(render, images, chunksize=1),
            "threads": lambda: list(threads.map(render, images)),
        }
        expected = [render(image) for image in images]
        for name, run in contestants.items():
            assert all(map(np.array_equal, run(), expected)), f"{name} gives other pixels"
        seconds: dict[str, list[float]] = {name: [] for name in contestants}
        for _ in range(TURNS):
            for name, run in contestants.items():
                processor.clear_cache()
                seconds[name].append(timed(run))
    return Figure("P10", [ratio(seconds, "pool"), ratio(seconds, "threads")])


def photographs_like(count: int) -> Images:
    """Smooth pictures with noise, all different."""
    random = np.random.default_rng(10)
    rows, columns, _ = SHAPE
    waves = np.sin(np.linspace(0, 9, rows))[:, None, None] * np.cos(np.linspace(0, 14, columns))[None, :, None]
    picture = 127 + 90 * waves * np.array([1, 0.8, -0.6]) + random.normal(0, 6, SHAPE)
    samples = picture.clip(0, 255).astype(np.uint8)
    return [np.roll(samples, 17 * i, axis=1) for i in range(count)]


def render(image: NDArray[Any]) -> NDArray[Any]:
    """What a user's own function would do."""
    return apply_operations(image, OPERATIONS).pixels


def one_thread() -> None:
    """Workers times kernels' own threads would be more than the machine has."""
    import cv2

    cv2.setNumThreads(1)


def ratio(seconds: dict[str, list[float]], against: str) -> Measure:
    """The median over the turns, and what it was made from."""
    ratios = [other / own for other, own in zip(seconds[against], seconds["processor"], strict=True)]
    detail = {
        "images_per_s": rounded(IMAGES / statistics.median(seconds["processor"])),
        "seconds": {name: [round(each, 3) for each in turns] for name, turns in seconds.items()},
    }
    return measure(f"P10 {against}", f"render_pipeline_batch against {against}", statistics.median(ratios), detail)
