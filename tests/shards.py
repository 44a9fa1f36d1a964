"""Shards for tests, without Ray: a job over small pictures, an engine that works in this process and does as told."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from actors.ledger.input_plan import seal_inputs
from actors.ledger.job_ledger import JobLedger
from actors.ledger.product_plan import apply_products
from pipelines.errors import FailedReason
from pipelines.models import ImageStatus, WorkItem
from pipelines.stages.block_task import Workspace, render_analyze_export
from pipelines.stages.worker_journal import HUNG_SUFFIX, WorkerJournal, inputs_in_hand
from pipelines.storage.custody import Written
from pipelines.tables import SealRequest, seal_part
from rayjobs.inputs.discovery import Discovery
from rayjobs.job.job_file import parse_job
from rayjobs.job.naming import naming
from rayjobs.job.output_directory import OutputDirectory
from rayjobs.job.product_keys import wanted_products
from rayjobs.job.recipes import JobRecipes
from rayjobs.results.results_store import ResultsStore
from rayjobs.run.shard_runner import ShardContext
from rayjobs.run.worker_watch import Crash, Evidence, crash_of
from tests.workspaces import prepared


@dataclass(slots=True)
class SmallJob:
    """A planned job over ``count`` pictures, open as at the start of its first run."""

    base: Path
    count: int
    attempts: int = 2
    analyses: Sequence[Any] = ("noise",)
    ledger: JobLedger = field(init=False)
    recipes: JobRecipes = field(init=False)
    context: ShardContext = field(init=False)
    committed: list[ImageStatus] = field(default_factory=list)

    def __post_init__(self) -> None:
        for number in range(self.count):
            path = self.base / "in" / f"{number:03d}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(np.full((6, 9), number, np.uint8)).save(path)
        job = {"name": "small", "inputs": ["in/"], "analyses": list(self.analyses), "output": "out"}
        spec = parse_job(json.dumps(job), base=self.base)
        self.ledger = JobLedger(self.output.ledger)
        found = Discovery(spec.inputs, self.base).inputs()
        seal_inputs(self.ledger, found, naming(spec, self.output.root, self.ledger))
        wanted = wanted_products(spec, {})
        apply_products(self.ledger, wanted)
        self.recipes = JobRecipes(spec, wanted, self.ledger)
        self.context = ShardContext(
            ledger=self.ledger,
            epoch=1,
            attempts=self.attempts,
            items=self.recipes.items,
            store=ResultsStore(self.ledger, self.output, spec.analyses),
            committed=self.committed.extend,
        )

    @property
    def output(self) -> OutputDirectory:
        return OutputDirectory(self.base / "out")

    def workspace(self, stop: Path | None = None) -> Workspace:
        stop = stop or self.output.temporary / "1" / "stop"
        return prepared(Workspace(root=self.output.root, epoch=1, stop=stop, item_timeout_s=60))

    def ids(self) -> dict[str, int]:
        """Name of the input -> its number."""
        finals = self.ledger.open_inputs(0, self.count)
        return {Path(entry.path.decode()).stem: entry.id for entry in finals}


@dataclass(slots=True)
class FakeEngine:
    """Does the work here. Named inputs end their worker: what it gave before stays, the rest of the stream is lost."""

    job: SmallJob
    workspace: Workspace
    stream_rows: int = 1000
    deadly: Collection[int] = ()
    hangs: Collection[int] = ()
    outcomes: dict[int, list[Crash]] = field(default_factory=dict)
    """Input -> what ends it when it is tried alone, in order; then it succeeds."""
    starving: Collection[int] = ()
    """They find no memory in the stream; their worker lives on."""
    node_dies: bool = False
    """Workers that end do so with their node."""
    waits: bool = False
    broken: bool = False
    """Workers end before they start an input."""
    before: Callable[[WorkItem], None] = lambda item: None
    streamed: list[list[int]] = field(default_factory=list)
    alone_with: list[int] = field(default_factory=list)
    told: list[tuple[FailedReason, int]] = field(default_factory=list)
    """(reason of the last attempt, tries left) of each input that was tried alone."""
    sealed: list[SealRequest] = field(default_factory=list)

    def stream(self, items: Sequence[WorkItem]) -> Iterator[list[ImageStatus]]:
        self.streamed.append([item.id for item in items])
        for item in [] if self.broken else items:
            self.before(item)
            if item.id in self.starving:
                reason = FailedReason.OUT_OF_MEMORY
                yield [ImageStatus(id=item.id, status="failed", reason=reason, message="none", recipe=item.recipe)]
                continue
            if item.id in self.deadly or item.id in self.hangs:
                self._die(item)
                return
            yield from self._work(item)

    def crashes(self, numbers: Iterable[int]) -> dict[int, Crash | None]:
        wanted = set(numbers)
        evidence = Evidence(node_answers=not self.node_dies)
        limit_s = self.workspace.item_timeout_s
        found = [one for one in inputs_in_hand(self.workspace.temporary) if one.input in wanted]
        return {one.input: crash_of(one, evidence, limit_s) for one in found}

    def alone(self, item: WorkItem, reason: FailedReason, tries_left: int) -> list[ImageStatus] | Crash:
        self.alone_with.append(item.id)
        self.told.append((reason, tries_left))
        crashes = self.outcomes.get(item.id, [])
        return crashes.pop(0) if crashes else [row for rows in self._work(item) for row in rows]

    def seal(self, requests: Sequence[SealRequest]) -> list[tuple[Written, ...]]:
        self.sealed += requests
        return [seal_part(request) for request in requests]

    def _work(self, item: WorkItem) -> Iterator[list[ImageStatus]]:
        for rows in render_analyze_export([item], self.job.recipes.by_number, self.workspace):
            yield [replace(row, worker="fake") for row in rows]

    def _die(self, item: WorkItem) -> None:
        """Leave the evidence that a killed worker, or one that its watchdog ended, leaves."""
        journal = WorkerJournal(self.workspace.temporary)
        journal.started(item.id)
        journal.close()
        if item.id in self.hangs:
            newest = max(self.workspace.temporary.glob(f"*{HUNG_SUFFIX}"), key=lambda path: path.stat().st_mtime_ns)
            newest.write_text("Timeout (0:01:00)!")
