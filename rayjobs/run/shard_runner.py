"""One granted shard from its open inputs to final rows: stream, look who is missing, try suspects alone, repeat.

A worker that dies takes the rest of its block with it. The rows that it gave stay; of those that are missing, the input
that the worker had in hand is the suspect. So is one that found no memory, though its worker lives on. The suspect is
tried alone, a bounded number of times; all others simply run again, and none of them is charged for it. What was in
hand on a node that died runs again as well. Ray-free: how a shard is streamed is handed in.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from actors.ledger.job_ledger import JobLedger
from actors.ledger.ledger_rows import OpenInput
from pipelines import retry_rules
from pipelines.errors import FailedReason, JobError
from pipelines.failure_policy import pause_before_retry
from pipelines.machine_faults import MachineFaultError, noted_fault
from pipelines.models import ImageStatus, WorkItem
from pipelines.stages.block_task import Workspace
from pipelines.stages.recipe import Recipe
from pipelines.storage.custody import Written
from pipelines.tables import SealRequest
from rayjobs.results.results_store import ResultsStore
from rayjobs.run.worker_watch import Crash, nodes_died

log = logging.getLogger(__name__)

SMALLEST_STREAM_ROWS = 4096
STREAM_ROWS_PER_CPU = 1024


def stream_rows(cpus: int) -> int:
    """How many inputs make a stream long enough for so many CPUs that its beginning and end don't count."""
    return max(SMALLEST_STREAM_ROWS, STREAM_ROWS_PER_CPU * cpus)


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

    @property
    def waits(self) -> bool:
        """Whether the last stream ended because others hold all that it needs."""
        ...

    def alone(self, item: WorkItem, reason: FailedReason, tries_left: int) -> list[ImageStatus] | Crash:
        """One input in a process of its own, after it failed for a reason; no rows when the shard was stopped first."""
        ...

    def crashes(self, numbers: Iterable[int]) -> dict[int, Crash | None]:
        """Of inputs without a row, those that a worker had in hand; None: its machine failed, not the input."""
        ...

    def seal(self, requests: Sequence[SealRequest]) -> list[tuple[Written, ...]]:
        """Write sealed parts of results; the files of each."""
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
    node_deaths = Counter[int]()
    while open_inputs := context.ledger.open_inputs(first_seq, end_seq, engine.stream_rows):
        gained, missing, suspects = _stream(context.items(open_inputs), engine, context)
        fault = noted_fault(engine.workspace.temporary)
        if fault is not None:
            raise MachineFaultError(fault)
        if stopped():
            return False
        crashes = engine.crashes(item.id for item in missing) if missing else {}
        for item in missing:
            if item.id in crashes:
                suspects.append((item, _charged(item, crashes[item.id], node_deaths)))
        for item, crash in suspects:
            if crash is not None:
                _try_alone(item, crash, engine, context)
            if stopped():
                return False
        fruitless = 0 if gained or suspects or engine.waits else fruitless + 1
        if fruitless >= retry_rules.FRUITLESS_STREAM.tries:
            engine.alone(missing[0], FailedReason.CRASHED, 0)  # one that lacks a library is told by this JobError
            raise JobError(
                "workers end, or do nothing, before they start an image; "
                "`rayjobs doctor` and the logs of Ray's session tell why"
            )
    seals = [seal for n in context.store.ranges(first_seq, end_seq) if (seal := context.store.to_seal(n)) is not None]
    written = engine.seal([seal.request for seal in seals])
    for seal, files in zip(seals, written, strict=True):
        context.store.record(seal, files)
    return True


def _stream(
    items: Sequence[WorkItem], engine: ShardEngine, context: ShardContext
) -> tuple[int, list[WorkItem], list[tuple[WorkItem, Crash | None]]]:
    """(how many became final, those that no row came of, those that found no memory)."""
    missing = {item.id: item for item in items}
    suspects: list[tuple[WorkItem, Crash | None]] = []
    gained = 0
    for rows in engine.stream(items):
        final = []
        for row in rows:
            item = missing.pop(row.id, None)
            if item is not None and row.reason == FailedReason.OUT_OF_MEMORY:
                suspects.append((item, Crash(FailedReason.OUT_OF_MEMORY, row.message or "there was no memory for it")))
            else:
                final.append(row)
        gained += context.ledger.commit(final, epoch=context.epoch)
        context.committed(final)
    return gained, list(missing.values()), suspects


def _charged(item: WorkItem, crash: Crash | None, node_deaths: Counter[int]) -> Crash | None:
    """The crash of an input; one is held to be the cause as well when node after node dies under it."""
    if crash is not None:
        return crash
    node_deaths[item.id] += 1
    cause = nodes_died(node_deaths[item.id])
    if cause is None:
        log.info("input %d: the node that worked on it died; it runs again", item.id)
    return cause


def _try_alone(item: WorkItem, crash: Crash, engine: ShardEngine, context: ShardContext) -> None:
    """Charge the crash to the input, and try it by itself as often as the job allows."""
    while True:
        row = ImageStatus(id=item.id, status="failed", reason=crash.reason, message=crash.message, recipe=item.recipe)
        attempts = context.ledger.attempts.of(item.id, epoch=context.epoch) + 1
        pause_s = None if crash.final else pause_before_retry(crash.reason, attempts, context.attempts)
        if pause_s is None:
            context.ledger.commit([row], epoch=context.epoch)
            context.committed([row])
            return
        context.ledger.attempts.add([row], epoch=context.epoch, outcome="crashed")
        log.info("input %d ended its worker (%s); trying it alone", item.id, crash.message)
        time.sleep(pause_s)
        outcome = engine.alone(item, crash.reason, context.attempts - attempts)
        if not isinstance(outcome, Crash):
            context.ledger.commit(outcome, epoch=context.epoch)
            context.committed(outcome)
            return
        crash = outcome


def recipes_needed(items: Sequence[WorkItem], recipes: Mapping[int, Recipe]) -> dict[int, Recipe]:
    """Only the recipes that the items refer to: what has to travel to the workers."""
    return {number: recipes[number] for number in sorted({item.recipe for item in items})}
