"""A block of inputs in one worker: process each, save the results in parts, hand the status rows over in small groups.

A row leaves only when everything it speaks of is safe: its files are published and its results lie in a part. No Ray
here: the same generator runs inside a Ray Data operator and in a plain process.
"""

from __future__ import annotations

import gc
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType

from pipelines.analyses import Result
from pipelines.analyses.registry import ROWS
from pipelines.cpu_threads import limit_threads
from pipelines.errors import FailedReason
from pipelines.extensions.extension_manager import load_extensions
from pipelines.freed_memory import keep_freed_memory
from pipelines.kernel_cache import keep_kernels
from pipelines.machine_faults import MachineFaultError, fault_in
from pipelines.models import ImageStatus, WorkItem
from pipelines.result_cache import ResultCache
from pipelines.stages.image_task import ImageWork, process
from pipelines.stages.publish import NO_SPACE, Publisher
from pipelines.stages.read_ahead import ReadAhead
from pipelines.stages.recipe import Recipe, result_schemas
from pipelines.stages.work_meter import peak_memory_bytes
from pipelines.stages.worker_journal import WorkerJournal
from pipelines.storage.custody import Written
from pipelines.tables import (
    SAVED_ROWS,
    SealRequest,
    has_wide_rows,
    objects_part,
    readable_path,
    seal_part,
    to_batch,
    to_rows_batch,
    write_part,
)

FLUSH_S = 0.5
"""Rows are handed over about so often: each time costs the driver some milliseconds."""
PART_SUFFIX = ".part"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """Where the workers of one run leave things. All below the output directory."""

    root: Path
    epoch: int
    """Number of this run of the job; names its temporary directory."""
    stop: Path
    """Workers stop between two images once this file exists."""
    item_timeout_s: float | None = None
    durable: bool = False
    budget_bytes: int | None = None
    """Memory that an image may need; one that needs more is released. None: there is no bound."""
    at_once: bool = True
    """Whether the first staged operator takes an image that can't travel through all stages; else it is released."""
    extensions: Mapping[str, str] = field(default_factory=dict)
    """The plug-ins that the job uses, with the versions that it was planned with."""
    node: str = ""
    """Ray's name of the node that the worker runs on; set there."""
    cache: ResultCache | None = None
    """Of analyses, on the node that the worker is on; None: nothing is looked up or kept."""

    @property
    def temporary(self) -> Path:
        return self.root / ".rayjobs" / "tmp" / str(self.epoch)

    @property
    def parts(self) -> Path:
        return self.root / ".rayjobs" / "parts"


def render_analyze_export(
    items: Sequence[WorkItem], recipes: Mapping[int, Recipe], workspace: Workspace
) -> Iterator[list[ImageStatus]]:
    """Exactly one row per item, in order, in groups; ``released`` ones weren't begun."""
    worker = open_worker(workspace)
    rows = RowBuffer(workspace)
    ahead = ReadAhead(items, recipes, workspace.stop)
    with worker.journal.block():
        for item in ahead:
            if os.path.exists(workspace.stop):
                rows.add(item, ImageStatus(id=item.id, status="released", recipe=item.recipe, worker=worker.name))
                continue
            # the time limit begins anew with each band of a large image: it ends what hangs, not what is long
            alive = partial(worker.journal.started, item.id, workspace.item_timeout_s)
            alive()
            work = ImageWork(
                item=item,
                recipe=recipes[item.recipe],
                publisher=worker.publisher,
                budget_bytes=workspace.budget_bytes,
                alive=alive,
                cache=worker.cache,
                read=ahead.read,
            )
            status, results = process(work, worker=worker.name)
            rows.add(item, status, results, recipes[item.recipe])
            if rows.due():
                ready = rows.flush()
                worker.journal.idle()
                yield ready
                _spare_the_collector()
        ready = rows.flush()
        worker.journal.idle()
        yield ready


@cache
def _spare_the_collector() -> None:
    """What is imported and compiled stays: each full collection took a tenth of a second to walk through it.

    Only what is young is collected before, as a walk through all would be one more: what is old garbage by now, of
    imports and compiling, stays as well.
    """
    gc.collect(1)
    gc.freeze()


def seal(request: SealRequest, extensions: Mapping[str, str]) -> tuple[Path, tuple[Written, ...]]:
    """``tables.seal_part`` in a worker, which may not have had a block: the columns of plug-ins have to be known."""
    load_extensions(extensions)
    return request.target, seal_part(request)


@dataclass(frozen=True, slots=True)
class Worker:
    """What a process keeps over the blocks of one run."""

    name: str
    journal: WorkerJournal
    publisher: Publisher
    cache: ResultCache | None


_open: dict[Path, Worker] = {}
"""This process' worker, by the temporary directory of its run; one at a time."""


def open_worker(workspace: Workspace) -> Worker:
    """This process' journal and publisher for a run; made at its first block."""
    if workspace.temporary not in _open:
        for other in _open.values():
            other.journal.close()
        _open.clear()
        limit_threads()
        keep_kernels()
        keep_freed_memory()
        load_extensions(workspace.extensions)
        workspace.parts.mkdir(parents=True, exist_ok=True)
        journal = WorkerJournal(workspace.temporary, workspace.node)
        publisher = Publisher(workspace.root, workspace.temporary, journal, durable=workspace.durable)
        _open[workspace.temporary] = Worker(journal.name, journal, publisher, workspace.cache)
    return _open[workspace.temporary]


@dataclass(frozen=True, slots=True)
class _Row:
    item: WorkItem
    status: ImageStatus
    recipe: Recipe | None
    results: Mapping[str, Result]


class RowBuffer:
    """Rows that wait to be handed over; results of ``SAVED_ROWS`` places of the input list are saved together."""

    def __init__(self, workspace: Workspace, clock: Callable[[], float] = time.monotonic) -> None:
        self._workspace = workspace
        self._clock = clock
        self._unsaved: list[_Row] = []
        self._saved: list[ImageStatus] = []
        self._wide = False
        """Whether rows have been seen that are a row group of the table as they are saved."""
        self._oldest = 0.0

    def add(
        self,
        item: WorkItem,
        status: ImageStatus,
        results: Mapping[str, Result] = MappingProxyType({}),
        recipe: Recipe | None = None,
    ) -> None:
        """Take a row and, of a done one, the results that its recipe gave."""
        if not self._unsaved and not self._saved:
            self._oldest = self._clock()
        self._unsaved.append(_Row(item, status, recipe, results))
        if recipe is not None and results and not self._wide:  # without results its analyses may be unknown here
            self._wide = has_wide_rows(result_schemas(recipe)[0])
        if self._wide and ((item.seq + 1) % SAVED_ROWS == 0 or len(self._unsaved) == SAVED_ROWS):
            self._save_rows()

    def due(self) -> bool:
        """Whether it is time to hand rows over; slow ones are not kept waiting for those saved with them."""
        if not self._unsaved and not self._saved:
            return False
        return self._clock() - self._oldest >= (2 * FLUSH_S if self._wide and self._unsaved else FLUSH_S)

    def flush(self) -> list[ImageStatus]:
        """Save what isn't, and give the rows out, saying where their results lie."""
        self._save_rows()
        rows, self._saved = self._saved, []
        if rows:
            rows[-1] = replace(rows[-1], peak_bytes=peak_memory_bytes())
        return rows

    def _save_rows(self) -> None:
        waiting, self._unsaved = self._unsaved, []
        rows = [row.status for row in waiting]
        measured = [(index, row, row.recipe) for index, row in enumerate(waiting) if row.recipe and row.results]
        for recipe in {recipe.id: recipe for _, _, recipe in measured}.values():
            chosen = [(index, row) for index, row, each in measured if each.id == recipe.id]
            try:
                name = self._save([row for _, row in chosen], recipe)
            except OSError as error:
                for index, _ in chosen:
                    rows[index] = _unsaved(rows[index], error)
                continue
            for place, (index, _) in enumerate(chosen):
                rows[index] = replace(rows[index], part=name, row=place)
        self._saved += rows

    def _save(self, rows: Sequence[_Row], recipe: Recipe) -> str:
        """Write one part, and one file beside it for each table of objects; return the part's name."""
        name = f"{uuid.uuid4().hex}{PART_SUFFIX}"
        parts, durable = self._workspace.parts, self._workspace.durable
        inputs, results = [readable_path(row.item.path) for row in rows], [row.results for row in rows]
        schema, of_objects = result_schemas(recipe)
        for analysis, object_schema in of_objects.items():
            objects = to_rows_batch(inputs, [result[analysis][ROWS] for result in results], object_schema)
            write_part(parts / objects_part(name, analysis), object_schema, [objects], durable=durable)
        write_part(parts / name, schema, [to_batch(inputs, results, schema)], durable=durable)
        return name


def _unsaved(row: ImageStatus, error: OSError) -> ImageStatus:
    """The row of an image whose results could not be written; its files are no outputs then."""
    fault = fault_in(error)
    if fault is not None:
        raise MachineFaultError(fault) from error
    full = error.errno in NO_SPACE
    reason = FailedReason.NO_SPACE if full else FailedReason.WRITE_ERROR
    message = f"its results can't be written: {error.strerror or error}"
    return replace(row, status="failed", reason=reason, message=message, degraded=None, outputs=())
