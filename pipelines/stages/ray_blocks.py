"""What every stream of a shard has, whoever runs it, and the short ones themselves: blocks of inputs in tasks of Ray's.

Ray Data (``ray_stream``) takes longer to import, to begin and to end than a few blocks take to work on. What a task
does, and what comes of one whose worker dies, is the same.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any, Literal, TypeVar

import ray
from ray.exceptions import RayError

from pipelines.machine_faults import fault_in, note_fault
from pipelines.models import ImageStatus, WorkItem
from pipelines.ray_bounded_tasks import BoundedTasks
from pipelines.resource_needs import ray_options
from pipelines.stages import block_task
from pipelines.stages.block_task import Workspace
from pipelines.stages.recipe import Recipe
from pipelines.stages.worker_journal import CHARGED
from pipelines.tables import SAVED_ROWS

LOOK_S = 0.1
"""How often somebody may leave a stream that waits for rows."""
BLOCK_ROWS = 512
STAGED_BLOCK_ROWS = 128
"""Inputs per task at most."""
FAIR_SHARE = 0.8
"""How much of what is left the next block of every slot takes together: few blocks, because Ray Data lets 0.05 to
0.2 s pass between two tasks of a slot if none waits in Ray, and the last small, so that all slots end together."""
LAST_ROUND_ROWS = 4 * SAVED_ROWS
"""What is left for each slot when the rest is dealt out at once: a further round would cost more than it evens out."""
SCARCE_BLOCK_ROWS = SAVED_ROWS
"""The same where a stage holds what others wait for: its tasks are short, and wait for nobody while they hold it."""

T = TypeVar("T")
Operator = Callable[[Any, Mapping[int, Recipe], Workspace], Iterator[T]]


@dataclass(frozen=True, slots=True)
class StageShare:
    """What each task of one staged operator holds beside its CPU, and gives back between two tasks."""

    gpus: float = 0.0
    requires: Mapping[str, float] = field(default_factory=dict)
    """Units of what nodes declare; those of providers a lease is for (``unit_leases``)."""
    most: int | None = None
    """Tasks at a time: more than the nodes have units for would wait in Ray, and count as running meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions:
    """How a shard runs; none of it changes a byte of the outputs."""

    name: str
    """Of the dataset, or before that of its tasks, as the dashboard shows it."""
    slots: int
    """CPUs that the shard was granted."""
    takes_all: bool = False
    """Whether those are all that Ray has, so that it runs no more tasks at a time, however many it is given."""
    stages: Literal["fused", "staged"] = "fused"
    declared: frozenset[str] = frozenset()
    """Which of the resources ``render``, ``analyze`` and ``export_io`` the cluster's nodes have."""
    memory_per_task: int | None = None
    """Bytes of memory that Ray reserves for each task."""
    gpus: float = 0
    requires: Mapping[str, float] = field(default_factory=dict)
    """Units of resources that nodes declare, held by each fused task, and GPUs."""
    shares: Mapping[str, StageShare] = field(default_factory=dict)
    """Of the staged operators that hold more than a CPU: ``render``, ``analyze``, ``export``."""

    @property
    def block_rows(self) -> int:
        """Inputs per task at most."""
        if self.stages == "fused":
            return BLOCK_ROWS
        return SCARCE_BLOCK_ROWS if self.shares else STAGED_BLOCK_ROWS

    @property
    def fused_tasks(self) -> int:
        """How many of the fused operator's tasks Ray Data gives to Ray: it needs 0.1 s to see that one has ended.

        Where one more can only wait for a CPU, that one begins meanwhile.
        """
        return self.slots + self.takes_all

    def of_fused_task(self) -> dict[str, Any]:
        """What Ray is asked for each task of the fused operator."""
        resources = {**dict.fromkeys(sorted(self.declared), 1), **self.requires}
        return ray_options(cpus=1, gpus=self.gpus, memory_bytes=self.memory_per_task, resources=resources)


class StreamExit:
    """A way out of a stream for another thread, while the one that takes its rows waits for the next."""

    def __init__(self) -> None:
        self.id = uuid.uuid4().hex
        self._leaving = threading.Event()

    def leave(self) -> None:
        """End the stream as if its workers had died, with all of their tasks; a stopped process is ended as well."""
        self._leaving.set()

    @property
    def left(self) -> bool:
        return self._leaving.is_set()


def here(workspace: Workspace) -> Workspace:
    """The same for a worker on this node."""
    return replace(workspace, node=ray.get_runtime_context().get_node_id())


def blocks_of(items: Sequence[WorkItem], slots: int, most: int = BLOCK_ROWS) -> list[Sequence[WorkItem]]:
    """Cut a shard into blocks: rounds of one block per slot, which become smaller towards the end.

    Neighbours whose rows are saved together stay together.
    """
    blocks: list[Sequence[WorkItem]] = []
    start = 0
    while start < len(items):
        left = len(items) - start
        fair = left * FAIR_SHARE if left > slots * LAST_ROUND_ROWS else left
        rows = min(max(int(fair / slots / SAVED_ROWS + 0.5), 1) * SAVED_ROWS, most)
        for _ in range(slots):
            end = _end_of_group(items, start + rows)
            if end > start:
                blocks.append(items[start:end])
            start = end
    return blocks


def _end_of_group(items: Sequence[WorkItem], end: int) -> int:
    """The first place from ``end`` on where rows that are saved together end."""
    while end < len(items) and items[end].seq // SAVED_ROWS == items[end - 1].seq // SAVED_ROWS:
        end += 1
    return min(end, len(items))


def telling(operator: Operator[T]) -> Operator[T]:
    """An operator whose errors the driver hears of, unless an input is charged with them: Ray Data passes them over."""

    @wraps(operator)
    def told(given: Any, recipes: Mapping[int, Recipe], workspace: Workspace) -> Iterator[T]:
        try:
            yield from operator(given, recipes, workspace)
        except Exception as error:
            if fault_in(error) is not None or CHARGED not in getattr(error, "__notes__", ()):
                note_fault(workspace.temporary, error)
            raise

    return told


@telling
def _render_analyze_export(
    items: Sequence[WorkItem], recipes: Mapping[int, Recipe], workspace: Workspace
) -> Iterator[list[ImageStatus]]:
    yield from block_task.render_analyze_export(items, recipes, here(workspace))


_block = ray.remote(num_returns="streaming")(_render_analyze_export)


def few_statuses(
    items: Sequence[WorkItem],
    recipes: Mapping[int, Recipe],
    workspace: Workspace,
    options: StreamOptions,
    exit: StreamExit,
) -> Iterator[list[ImageStatus]]:
    """What ``ray_stream.stream_statuses`` yields of a fused stream, in the same blocks, without Ray Data."""
    block = _block.options(name=f"{options.name}: render_analyze_export", **options.of_fused_task())
    waiting = blocks_of(items, options.slots, options.block_rows)
    with BoundedTasks[None](options.slots) as tasks:
        while (waiting or tasks) and not exit.left:
            while waiting and tasks.has_room:
                tasks.begin(block.remote(waiting.pop(0), recipes, workspace), None)
            for task in tasks.wait(LOOK_S):
                try:
                    rows: list[ImageStatus] = ray.get(next(task))
                except (StopIteration, RayError):  # the caller finds out whose rows are missing
                    tasks.end(task)  # it may go on after a row was lost on its way, and others get its inputs now
                else:
                    yield rows
