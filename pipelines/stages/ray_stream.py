"""The stream of one shard: Ray Data runs render, analyze and export over blocks of inputs and brings the rows back.

Fused, the three are one operator; staged, they are three that run side by side and pass the pixels through the object
store. Both do the same to an image. Which inputs, and what to do about rows that don't come back, is the caller's.
"""

from __future__ import annotations

import json
import threading
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import ray
import ray.data
from ray.data import DataContext, Dataset, ExecutionResources, TaskPoolStrategy

# What Ray Data calls at each step of its loop; the one way into a stream that waits, and it has no other name.
from ray.data._internal.execution.execution_callback import ExecutionCallback

from pipelines.models import ImageStatus, WorkItem
from pipelines.ray_bounded_tasks import wait_for_one
from pipelines.resource_needs import ray_options
from pipelines.stages import block_task, staged_task
from pipelines.stages.block_task import Workspace
from pipelines.stages.ray_blocks import (
    SCARCE_BLOCK_ROWS,
    StageShare,
    StreamExit,
    StreamOptions,
    blocks_of,
    here,
    telling,
)
from pipelines.stages.ray_unit_gate import UnitGate, close_gates, look_at_gates
from pipelines.stages.recipe import Recipe
from pipelines.stages.unit_leases import UnitLeases
from pipelines.tables import SAVED_ROWS

# Ray Data retries a crashing task forever unless `max_retries` says otherwise, and Ray 2.60 takes it in no other way.
warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated", module="pipelines.stages.ray_stream")

STAGED_BLOCKS_AHEAD = 2
"""Images that a staged task may be ahead of whoever takes its pixels."""
SCARCE_BLOCKS_AHEAD = 2 * SCARCE_BLOCK_ROWS
"""The same where a stage holds what others wait for: more than a task can have, as neighbours stay together."""
STAGED_ROWS = SAVED_ROWS
"""Images per task between the staged operators; they lie in the object store meanwhile."""
_GATHERED = {"render": None, "analyze": STAGED_ROWS, "export": STAGED_ROWS}
"""Stage -> blocks that make a task; None: each does."""
QUIET_S = 1.0
"""After so long without rows they are waited for in Ray Data's own way, which hears of errors in its loop as well."""
REST_S = 0.25
"""How long Ray Data's loop rests while a fused stream's tasks tell nothing: each round takes time from the workers."""
CPU_GRAIN = 0.0001
"""The smallest difference that Ray sees."""

_ITEMS = pa.schema(
    [
        ("id", pa.int64()),
        ("path", pa.binary()),
        ("size", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("name", pa.string()),
        ("title", pa.string()),
        ("recipe", pa.int64()),
        ("seq", pa.int64()),
        ("image", pa.string()),
        ("values", pa.string()),
        ("known", pa.list_(pa.list_(pa.string()))),
    ]
)


class _StreamLeftError(Exception):
    """Raised in Ray Data's loop to end it."""


@dataclass(slots=True)
class _Stream:
    """A stream of ours, between Ray Data's loop and who takes its rows."""

    exit: StreamExit
    gates: Mapping[str, UnitGate]
    """Stage -> what stands before its operator."""
    rests: bool = False
    """Whether its loop rests until a task tells something: stages that run apart wait for each other, and leases."""
    arrived: Collection[Any] = ()
    """Blocks of rows that nobody has taken yet."""
    over: bool = False
    """Whether no more will come."""
    changed: threading.Event = field(default_factory=threading.Event)
    """One of the two has changed."""

    def wait(self) -> None:
        """Until there are rows to take, or the stream is over.

        Ray Data looks a hundred times a second whether there are, and takes time from the workers.
        """
        self.changed.clear()
        if not (self.arrived or self.over):
            self.changed.wait(QUIET_S)


_streams: dict[str, _Stream] = {}
"""Those that run now: Ray Data makes its callbacks itself, and sends their class to the workers."""
_STREAM = "rayjobs_stream"


class _Steps(ExecutionCallback):  # type: ignore[misc]
    """What is done in Ray Data's loop: ten times a second, whatever the stream's workers do; three if it rests."""

    def before_execution_starts(self, executor: Any) -> None:
        stream = _stream_of(executor)
        if stream is not None:
            _, last = executor._output_node
            stream.arrived = last.output_queue
            close_gates(executor, stream.gates)

    def on_execution_step(self, executor: Any) -> None:
        """Look after leases, tell of rows, and end a stream that is to be left.

        What runs is cancelled by force: that ends even a stopped process, which does not hear anything else.
        """
        stream = _stream_of(executor)
        if stream is None:
            return
        look_at_gates(executor, stream.gates)
        last, _ = executor._output_node
        stream.over = last.has_completed()
        if stream.arrived or stream.over:
            stream.changed.set()
        running = [task.get_waitable() for operator in executor._topology for task in operator.get_active_tasks()]
        if stream.rests and running and not stream.exit.left:
            wait_for_one(running, REST_S)
        if stream.exit.left:  # told by now; after this step the loop may be over
            stream.over = True
            stream.changed.set()
            for task in running:
                ray.cancel(task, force=True)
            raise _StreamLeftError


def _stream_of(executor: Any) -> _Stream | None:
    return _streams.get(executor._data_context.get_config(_STREAM, ""))


def stream_statuses(
    items: Sequence[WorkItem],
    recipes: Mapping[int, Recipe],
    workspace: Workspace,
    options: StreamOptions,
    exit: StreamExit | None = None,
    leases: Mapping[str, UnitLeases] | None = None,
) -> Iterator[list[ImageStatus]]:
    """Yield status rows while the shard runs; rows of a worker that died don't come.

    Leaving the iterator early (``close``) stops the stream and cancels its tasks; ``exit`` does so from outside.
    ``leases`` are what each task of a staged operator needs beside what Ray gives.
    """
    exit = exit or StreamExit()
    gates = {
        stage: UnitGate(of_stage, _GATHERED[stage] or 1, workspace.stop) for stage, of_stage in (leases or {}).items()
    }
    _streams[exit.id] = stream = _Stream(exit, gates, rests=options.stages == "fused")
    try:
        yield from _statuses(items, recipes, workspace, options, stream)
    except Exception:
        if not exit.left:
            raise
    finally:
        del _streams[exit.id]


def _statuses(
    items: Sequence[WorkItem],
    recipes: Mapping[int, Recipe],
    workspace: Workspace,
    options: StreamOptions,
    stream: _Stream,
) -> Iterator[list[ImageStatus]]:
    context = _context(options)
    context.set_config(_STREAM, stream.exit.id)
    context.custom_execution_callback_classes.append(_Steps)
    blocks = [_to_table(block) for block in blocks_of(items, options.slots, options.block_rows)]
    with DataContext.current(context):
        dataset = ray.data.from_blocks(blocks)  # `from_arrow` waits for workers that tell it what it gave them
        dataset.set_name(options.name)
        dataset = _operators(dataset, recipes, workspace, options, min(options.fused_tasks, len(blocks)))
    dataset.context.execution_options.resource_limits = ExecutionResources(cpu=options.slots)
    left = len(items)
    for bundle in dataset.iter_internal_ref_bundles():
        for table in ray.get(list(bundle.block_refs)):
            rows = _to_statuses(table)
            left -= len(rows)
            try:
                yield rows
            except GeneratorExit:
                stream.exit.leave()  # Ray Data only interrupts what runs when nobody takes its rows any more
                raise
        if not left and workspace.stop.exists():
            return  # the stream would look for more for another tenth of a second, and somebody waits for the CPUs
        stream.wait()


def _context(options: StreamOptions) -> DataContext:
    context = DataContext.get_current().copy()
    context.target_max_block_size = 1  # what a running task yields leaves it at once, as one block
    # One operator has nobody to share a budget with, and working it out took half of the loop's time.
    context.op_resource_reservation_enabled = options.stages != "fused"
    # Nobody is told of issues that it finds; and a worker imports Ray's state API just to know how it is configured.
    context.issue_detectors_config = SimpleNamespace(detectors=[])
    # Rows are small, and a worker that waits until the driver has taken the last ones is a worker idle; pixels are not.
    ahead = SCARCE_BLOCKS_AHEAD if options.shares else STAGED_BLOCKS_AHEAD
    context._max_num_blocks_in_streaming_gen_buffer = None if options.stages == "fused" else ahead
    context.execution_no_progress_timeout_s = -1  # whoever runs the shard looks after that
    context.max_errored_blocks = -1  # a dead worker costs its block; the caller finds the missing rows
    context.execution_options.preserve_order = False
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    return context


def _operators(
    dataset: Dataset, recipes: Mapping[int, Recipe], workspace: Workspace, options: StreamOptions, fused_tasks: int
) -> Dataset:
    # A crash is never retried blindly: the rows that a task gave before it stay, the caller looks for the culprit.
    common: dict[str, Any] = {
        "batch_format": "pyarrow",
        "fn_args": (recipes, workspace),
    }
    if options.stages == "fused":
        at_once, asked = TaskPoolStrategy(size=fused_tasks), options.of_fused_task()
        return dataset.map_batches(render_analyze_export, batch_size=None, compute=at_once, **common, **asked)
    for number, (function, resource) in enumerate(((render, "render"), (analyze, "analyze"), (export, "export_io"))):
        rows = _GATHERED[function.__name__]
        share = options.shares.get(function.__name__, StageShare())
        resources = {**({resource: 1} if resource in options.declared else {}), **share.requires}
        # Ray fuses neighbours that ask for the same; where no resources are declared, a hair of a CPU keeps them apart.
        cpus = 1 - number * CPU_GRAIN
        asked = ray_options(cpus=cpus, gpus=share.gpus, memory_bytes=options.memory_per_task, resources=resources)
        at_once = TaskPoolStrategy(size=share.most)
        dataset = dataset.map_batches(function, batch_size=rows, compute=at_once, **common, **asked)
    return dataset


@telling
def render_analyze_export(table: pa.Table, recipes: Mapping[int, Recipe], workspace: Workspace) -> Iterator[pa.Table]:
    """The fused operator."""
    for rows in block_task.render_analyze_export(_to_items(table), recipes, here(workspace)):
        if rows:
            yield _from_statuses(rows)


@telling
def render(table: pa.Table, recipes: Mapping[int, Recipe], workspace: Workspace) -> Iterator[pa.Table]:
    """First staged operator: inputs -> pixels."""
    return staged_task.render(table, _to_items(table), recipes, here(workspace))


@telling
def analyze(table: pa.Table, recipes: Mapping[int, Recipe], workspace: Workspace) -> Iterator[pa.Table]:
    """Second staged operator: pixels -> pixels and results."""
    return staged_task.analyze(table, _to_items(table), recipes, here(workspace))


@telling
def export(table: pa.Table, recipes: Mapping[int, Recipe], workspace: Workspace) -> Iterator[pa.Table]:
    """Third staged operator: pixels and results -> files and rows."""
    for rows in staged_task.export(table, _to_items(table), recipes, here(workspace)):
        if rows:
            yield _from_statuses(rows)


def _to_table(items: Sequence[WorkItem]) -> pa.Table:
    return pa.Table.from_pylist([asdict(item) for item in items], schema=_ITEMS)


def _to_items(table: pa.Table) -> list[WorkItem]:
    rows = table.select(_ITEMS.names).to_pylist()
    return [WorkItem(**{**row, "known": tuple(tuple(pair) for pair in row["known"])}) for row in rows]


def _from_statuses(rows: Sequence[ImageStatus]) -> pa.Table:
    """All in one cell: Ray Data makes blocks of whole rows, and each block costs the driver some milliseconds.

    Inputs that were only released are mere numbers, so that a revoked shard is empty at once.
    """
    released: dict[tuple[int, str], list[int]] = {}
    for row in rows:
        if _only_released(row):
            released.setdefault((row.recipe, row.worker), []).append(row.id)
    found = {
        "rows": [asdict(row) for row in rows if not _only_released(row)],
        "released": [{"ids": ids, "recipe": recipe, "worker": worker} for (recipe, worker), ids in released.items()],
    }
    return pa.table({"statuses": [json.dumps(found)]})


def _only_released(row: ImageStatus) -> bool:
    return row.status == "released" and row.needs_bytes is None


def _to_statuses(table: pa.Table) -> list[ImageStatus]:
    statuses: list[ImageStatus] = []
    for text in table.column("statuses").to_pylist():
        found = json.loads(text)
        statuses += [staged_task.status_of(row) for row in found["rows"]]
        for released in found["released"]:
            recipe, worker = released["recipe"], released["worker"]
            statuses += [ImageStatus(id=n, status="released", recipe=recipe, worker=worker) for n in released["ids"]]
    return statuses
