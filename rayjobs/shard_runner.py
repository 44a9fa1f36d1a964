"""One granted shard from its open inputs to final rows: stream, look who is missing, try suspects alone, repeat.

A worker that dies takes the rest of its block with it. The rows that it gave stay; of those that are missing, the input
that the worker had in hand is the suspect. The suspect is tried alone, a bounded number of times; all others simply
run again, and none of them is charged for it. Ray-free: how a shard is streamed is handed in.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from actors.failure_policy import pause_before_retry
from actors.job_ledger import JobLedger, OpenInput
from pipelines.block_task import Workspace
from pipelines.errors import FailedReason, JobError
from pipelines.image_task import Recipe
from pipelines.machine_faults import MachineFaultError, noted_fault
from pipelines.models import ImageStatus, WorkItem
from pipelines.tables import SealRequest
from pipelines.worker_journal import inputs_in_hand
from rayjobs.results_store import ResultsStore

log = logging.getLogger(__name__)

FRUITLESS_ROUNDS = 3
"""Streams in a row that bring no row and leave no suspect: then the cluster, not an image, is the trouble."""
SMALLEST_STREAM_ROWS = 4096
STREAM_ROWS_PER_CPU = 1024


def stream_rows(cpus: int) -> int:
    """How many inputs make a stream long enough for so many CPUs that its beginning and end don't count."""
    return max(SMALLEST_STREAM_ROWS, STREAM_ROWS_PER_CPU * cpus)


@dataclass(frozen=True, slots=True)
class Crash:
    """An input that ended its process when it was tried alone."""

    reason: FailedReason
    message: str


class ShardEngine(Protocol):
    """Runs the work of one shard on Ray; see ``ray_engine``."""

    @property
    def workspace(self) -> Workspace: ...

    @property
    def stream_rows(self) -> int:
        """Inputs of one stream at most: what a driver holds of a shard at a time."""
        ...

    def stream(self, items: Sequence[WorkItem]) -> Iterator[list[ImageStatus]]:
        """Rows as they come; those of workers that died are missing."""
        ...

    def alone(self, item: WorkItem) -> list[ImageStatus] | Crash:
        """One input in a process of its own."""
        ...

    def seal(self, requests: Sequence[SealRequest]) -> None:
        """Write sealed parts of results."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardContext:
    """What the shards of a run share."""

    ledger: JobLedger
    epoch: int
    attempts: int
    """How often an input may end its process."""
    items: Callable[[Sequence[OpenInput]], list[WorkItem]]
    """From the ledger's rows to what a worker must know."""
    store: ResultsStore
    committed: Callable[[Sequence[ImageStatus]], None]
    """Called with rows after they were committed."""


def run_shard(
    first_seq: int, end_seq: int, engine: ShardEngine, context: ShardContext, stopped: Callable[[], bool]
) -> bool:
    """Bring every open input of the range to a final row and seal the results; False when it was stopped before.

    Raises
    ------
    JobError
        Workers die again and again without having started an input, or their machine is at fault.
    """
    fruitless = 0
    while open_inputs := context.ledger.open_inputs(first_seq, end_seq, engine.stream_rows):
        items = context.items(open_inputs)
        gained = 0
        for rows in engine.stream(items):
            gained += context.ledger.commit(rows, epoch=context.epoch)
            context.committed(rows)
        fault = noted_fault(engine.workspace.temporary)
        if fault is not None:
            raise MachineFaultError(fault)
        if stopped():
            return False
        suspects = _suspects(items, engine, context)
        for item, hung in suspects:
            _try_alone(item, hung, engine, context)
            if stopped():
                return False
        fruitless = 0 if gained or suspects else fruitless + 1
        if fruitless >= FRUITLESS_ROUNDS:
            engine.alone(items[0])  # a worker that can't work at all, for lack of a library, is told by this JobError
            raise JobError(
                "workers end before they start an image; `rayjobs doctor` and the logs of Ray's session tell why"
            )
    seals = [seal for n in context.store.ranges(first_seq, end_seq) if (seal := context.store.to_seal(n)) is not None]
    engine.seal([seal.request for seal in seals])
    for seal in seals:
        context.store.record(seal)
    return True


def _suspects(items: Sequence[WorkItem], engine: ShardEngine, context: ShardContext) -> list[tuple[WorkItem, bool]]:
    """Missing inputs that a worker had in hand when it ended, and whether its time limit was why."""
    by_id = {item.id: item for item in items}
    in_hand = inputs_in_hand(engine.workspace.temporary)
    missing = context.ledger.still_open(number for number in in_hand if number in by_id)
    return [(by_id[number], in_hand[number]) for number in missing]


def _try_alone(item: WorkItem, hung: bool, engine: ShardEngine, context: ShardContext) -> None:
    """Charge the crash to the input, and try it by itself as often as the job allows."""
    crash = Crash(FailedReason.CRASHED, "the process that worked on it ended")
    if hung:
        crash = timeout_crash(engine.workspace)
    while True:
        row = ImageStatus(id=item.id, status="failed", reason=crash.reason, message=crash.message, recipe=item.recipe)
        attempts = context.ledger.attempts_of(item.id, epoch=context.epoch) + 1
        pause_s = pause_before_retry(crash.reason, attempts, context.attempts)
        if pause_s is None:
            context.ledger.commit([row], epoch=context.epoch)
            context.committed([row])
            return
        context.ledger.add_attempts([row], epoch=context.epoch)
        log.info("input %d ended its worker (%s); trying it alone", item.id, crash.message)
        time.sleep(pause_s)
        outcome = engine.alone(item)
        if not isinstance(outcome, Crash):
            context.ledger.commit(outcome, epoch=context.epoch)
            context.committed(outcome)
            return
        crash = outcome


def timeout_crash(workspace: Workspace) -> Crash:
    """The crash of an input that took longer than the job allows."""
    return Crash(FailedReason.TIMEOUT, f"took longer than limits.item_timeout ({workspace.item_timeout_s:g} s)")


def recipes_needed(items: Sequence[WorkItem], recipes: Mapping[int, Recipe]) -> dict[int, Recipe]:
    """Only the recipes that the items refer to: what has to travel to the workers."""
    return {number: recipes[number] for number in sorted({item.recipe for item in items})}
