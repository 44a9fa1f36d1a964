"""How many instructions kernels, queue, ledgers, planner and submissions take per unit of work, under valgrind.

    valgrind --tool=callgrind --instr-atstart=no .venv/bin/python -m benchmarks.instructions DIR

`benchmarks/guard.py` runs it and compares. Each piece of work is done once before it is counted. Without valgrind
nothing is counted, but kernels are compiled, which under valgrind takes minutes.
"""

from __future__ import annotations

import gc
import itertools
import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from actors.coordinator.cluster_ledger import ClusterLedger
from actors.coordinator.coordinator_service import CoordinatorService
from actors.coordinator.submitted_task import SubmittedTask, as_sent
from actors.ledger.input_plan import seal_inputs
from actors.ledger.job_ledger import JobLedger
from actors.ledger.product_plan import apply_products
from benchmarks import standard_work
from benchmarks.callgrind import Callgrind
from benchmarks.many_inputs import done_row, found_inputs
from benchmarks.queue_load import QueueLoad
from pipelines.analyses import AnalysisCalculator
from pipelines.cpu_threads import limit_threads
from pipelines.models import ImageOperation
from pipelines.operations import apply_operations
from pipelines.tasks import Task, TaskPriority
from rayjobs.job.naming import naming
from rayjobs.job.product_keys import wanted_products
from rayjobs.job.recipes import JobRecipes

WIDTH, HEIGHT = 512, 256
KERNELS: dict[str, ImageOperation] = {operation.name: operation for operation in standard_work.OPERATIONS}
KERNELS["resize"] = ImageOperation("resize", {"max_side": 200})
SCOPES = tuple(request.name for request in standard_work.SCOPES)
MEASURES = ("statistics", "sharpness", "noise", "image_hash")
SMALL_QUEUE, LARGE_QUEUE = (20, 100, 1_000), (100, 1_000, 10_000)
"""Nodes, jobs, shards."""
EVENTS, ROWS, BLOCK, INPUTS, TASKS = 50, 500, 100, 500, 500


Run = Callable[[], object]
"""Some work; may be called again, for as much work again."""

UNITS: dict[str, tuple[int, str]] = {
    **dict.fromkeys((*KERNELS, "six scopes", *MEASURES), (WIDTH * HEIGHT, "pixel")),
    **{f"queue of {shards} shards": (EVENTS, "event") for *_, shards in (SMALL_QUEUE, LARGE_QUEUE)},
    "commit": (ROWS, "row"),
    "plan": (INPUTS, "input"),
    "submission": (TASKS, "task"),
}
"""Piece -> how many of which unit one call does."""


@contextmanager
def pieces(scratch: Path) -> Iterator[dict[str, Run]]:
    """All that is counted."""
    service = CoordinatorService(ClusterLedger(scratch / "tasks.sqlite"), 0.0)
    with _ledger(scratch / "commits.sqlite") as ledger:
        counted = {"commit": commits(ledger, scratch), "plan": planner(scratch), "submission": submissions(service)}
        yield {**kernels(), **queues(), **counted}
    service.shut()


def kernels() -> dict[str, Run]:
    """Operations and analyses on one picture."""
    image = picture()
    calculator = AnalysisCalculator()
    return {
        **{name: partial(apply_operations, image, [one]) for name, one in KERNELS.items()},
        "six scopes": partial(calculator.calculate_analyses, image, SCOPES),
        **{name: partial(calculator.calculate_analyses, image, [name]) for name in MEASURES},
    }


def picture() -> NDArray[np.uint8]:
    """Smooth, with some noise, as photographs are; always the same."""
    random = np.random.default_rng(7)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    smooth = np.stack([rows * 0.8, columns * 0.45, (rows + columns) * 0.3], axis=-1)
    image = (smooth + random.normal(0, 6, smooth.shape)).clip(0, 255).astype(np.uint8)
    image.flags.writeable = False
    return image


def queues() -> dict[str, Run]:
    """What the end of a shard costs in a small and in a large queue."""
    found: dict[str, Run] = {}
    for nodes, jobs, shards in (SMALL_QUEUE, LARGE_QUEUE):
        load = QueueLoad(nodes, jobs, shards)
        load.fill()
        found[f"queue of {shards} shards"] = partial(load.step, EVENTS)
    return found


def commits(ledger: JobLedger, scratch: Path) -> Run:
    """Rows of images into a ledger, a hundred at a time as workers give them."""
    recipes = _plan(ledger, scratch, 2 * ROWS)
    rows = iter([done_row(item) for item in recipes.items(ledger.open_inputs(0, 2 * ROWS))])

    def run() -> None:
        for _ in range(ROWS // BLOCK):
            ledger.commit(list(itertools.islice(rows, BLOCK)), epoch=1)

    return run


def planner(scratch: Path) -> Run:
    """Seal inputs in a new ledger, say what each lacks, and read what a shard is told of them."""
    numbers = itertools.count()

    def run() -> None:
        with _ledger(scratch / f"plan-{next(numbers)}.sqlite") as ledger:
            recipes = _plan(ledger, scratch, INPUTS)
            recipes.items(ledger.open_inputs(0, INPUTS))

    return run


def submissions(service: CoordinatorService) -> Run:
    """A batch of tasks that wait for another, as the driver checks and sends it, and the coordinator keeps it."""
    service.set_nodes({"n": {"cpu": 1.0}}, 0.0)
    service.attach("driver", [], [], {}, 0.0)
    gate = Task(task_id="gate", task_type="idle")
    service.submit("gate", "driver", [(gate, TaskPriority.LOW)], 0.0)
    batches = itertools.count()

    def run() -> None:
        batch = next(batches)
        tasks = [Task(task_id=f"{batch}-{n}", task_type="idle", depends_on=("gate",)) for n in range(TASKS)]
        known = [SubmittedTask(as_sent(task), TaskPriority.NORMAL) for task in tasks]
        sent = pickle.dumps([(each.task, each.priority) for each in known])
        service.submit(str(batch), "driver", pickle.loads(sent), 0.0)

    return run


@contextmanager
def _ledger(path: Path) -> Iterator[JobLedger]:
    ledger = JobLedger(path)
    try:
        yield ledger
    finally:
        ledger.close()


def _plan(ledger: JobLedger, scratch: Path, count: int) -> JobRecipes:
    spec = standard_work.job([], scratch / "out", analyses=[])
    wanted = wanted_products(spec, {})
    seal_inputs(ledger, found_inputs(count), naming(spec, scratch / "out", ledger))
    apply_products(ledger, wanted)
    return JobRecipes(spec, wanted, ledger)


def main(scratch: Path) -> None:
    """Do every piece of work, once as usual and once counted."""
    limit_threads(1)
    counter = Callgrind()
    with pieces(scratch) as found:
        for name, run in found.items():
            run()
            gc.collect()
            gc.disable()  # when it comes depends on what else was allocated
            if counter.is_there:
                counter.count(name, run)
            gc.enable()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
