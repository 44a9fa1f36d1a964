"""The three stages as separate operators: what travels between them, and one row per input at the end.

An image travels as plain columns (bytes, numbers, texts), so nothing has to be pickled. An image that fails in a stage
travels on as its failed row alone. Same work, same bytes as ``block_task.render_analyze_export``.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import ConfigDict, TypeAdapter

from pipelines.image_io import DecodedImage, ImageHeader
from pipelines.models import ImageStatus, Output, WorkItem
from pipelines.operations import Image
from pipelines.operations.image_geometry import ImageGeometry
from pipelines.result_codec import pack_results, unpack_results
from pipelines.stages import image_rows, image_stages, image_task
from pipelines.stages.block_task import RowBuffer, Worker, Workspace, open_worker
from pipelines.stages.cached_analyses import Known, known_in
from pipelines.stages.image_stages import Rendered, SeveralFramesError
from pipelines.stages.memory_need import BeyondMemoryError
from pipelines.stages.read_ahead import ReadAhead
from pipelines.stages.recipe import Recipe, Results, own_recipe
from pipelines.stages.thumbnails import leave_original, leave_thumbnails
from pipelines.stages.work_meter import AT_ONCE, WorkMeter

TRAVELLING = pa.schema(
    [
        ("status", pa.string()),  # the final row as JSON, of an image that already has one
        ("pixels", pa.large_binary()),
        ("facts", pa.string()),  # shape, dtype, orientation and what the file said, as JSON
        ("results", pa.large_binary()),  # see result_codec
        ("seconds", pa.float64()),
        ("spent", pa.string()),  # by stage, as JSON; see work_meter
    ]
)
"""Columns that the stages add to those of the items."""


def render(
    table: pa.Table, items: Sequence[WorkItem], recipes: Mapping[int, Recipe], workspace: Workspace
) -> Iterator[pa.Table]:
    """Items -> pixels, one table of one row per image."""
    worker = open_worker(workspace)
    ahead = ReadAhead(items, recipes, workspace.stop)
    with worker.journal.block():
        for index, item in enumerate(ahead):
            joined = _joined(table, index, _render(item, recipes[item.recipe], workspace, worker, ahead.read))
            worker.journal.idle()  # whoever takes the pixels may take longer than an image may
            yield joined


def analyze(
    table: pa.Table, items: Sequence[WorkItem], recipes: Mapping[int, Recipe], workspace: Workspace
) -> Iterator[pa.Table]:
    """Pixels -> pixels and results."""
    worker = open_worker(workspace)
    with worker.journal.block():
        for index, item in enumerate(items):
            row = _row(table, index)
            if row["status"] is None:
                row |= _analyze(item, row, recipes[item.recipe], workspace, worker)
            joined = _joined(table, index, row)
            worker.journal.idle()
            yield joined


def export(
    table: pa.Table, items: Sequence[WorkItem], recipes: Mapping[int, Recipe], workspace: Workspace
) -> Iterator[list[ImageStatus]]:
    """Pixels and results -> files and rows."""
    worker = open_worker(workspace)
    rows = RowBuffer(workspace)
    with worker.journal.block():
        for index, item in enumerate(items):
            recipe = recipes[item.recipe]
            status, results = _export(item, _row(table, index), recipe, workspace, worker)
            rows.add(item, status, results, recipe)
            if rows.due():
                ready = rows.flush()
                worker.journal.idle()
                yield ready
        ready = rows.flush()
        worker.journal.idle()
        yield ready


def _render(
    item: WorkItem, recipe: Recipe, workspace: Workspace, worker: Worker, read: image_stages.Read
) -> dict[str, Any]:
    if os.path.exists(workspace.stop):
        return _released(item, worker)
    alive = partial(worker.journal.started, item.id, workspace.item_timeout_s)
    alive()
    recipe = own_recipe(recipe, item)
    started, meter = time.perf_counter(), WorkMeter()
    existing = image_rows.already_there(item, recipe, worker.publisher)
    if existing is not None:
        return _ended(existing)
    produce: image_task.Produce | None = None
    try:
        with meter.stage("render"):
            rendered = image_stages.render(item, recipe, workspace.budget_bytes, worker.cache, read)
    except (BeyondMemoryError, SeveralFramesError) as error:
        produce = image_task.produce_of(error)
    except Exception as error:  # noqa: BLE001 - whatever one image causes must never reach another
        return _ended(image_rows.failed_status(item, recipe, error, started, worker.name))
    if produce is not None and not workspace.at_once:  # what the other stages hold a task of its own has
        return _released(item, worker, needs_bytes=workspace.budget_bytes or 0)
    if produce is not None:
        work = image_task.ImageWork(
            item=item,
            recipe=recipe,
            publisher=worker.publisher,
            budget_bytes=workspace.budget_bytes,
            alive=alive,
            cache=worker.cache,
            read=read,
        )
        return _at_once(produce, work, worker.name)
    leave_original(item, rendered, recipe, worker.publisher)
    return {
        "status": None,
        "pixels": np.ascontiguousarray(rendered.pixels).tobytes(),
        "facts": _FACTS.dump_json(_Facts.of(rendered)).decode(),
        "results": pack_results(rendered.known.entry) if rendered.known.entry else None,
        "seconds": time.perf_counter() - started,
        "spent": json.dumps(meter.spent),
    }


def _at_once(produce: image_task.Produce, work: image_task.ImageWork, worker: str) -> dict[str, Any]:
    """An input that can't travel as one array goes through all stages here; its row and its results travel on."""
    started, meter = time.perf_counter(), WorkMeter()
    try:
        with meter.stage(AT_ONCE):
            rendered, results, outputs = produce(work)
        leave_original(work.item, rendered, work.recipe, work.publisher)
        leave_thumbnails(work.item, rendered, outputs, work.recipe, work.publisher)
        packed = pack_results(results)
    except Exception as error:  # noqa: BLE001 - as in _render
        return _ended(image_rows.failed_status(work.item, work.recipe, error, started, worker))
    status = image_rows.done_status(work.item, work.recipe, rendered, outputs, started, worker, meter)
    return _ended(status) | {"results": packed}


def _analyze(
    item: WorkItem, row: Mapping[str, Any], recipe: Recipe, workspace: Workspace, worker: Worker
) -> dict[str, Any]:
    worker.journal.started(item.id, workspace.item_timeout_s)
    started, meter = time.perf_counter(), _meter(row)
    try:
        rendered = _rendered(row)
        if recipe.kept is not None and (key := rendered.known.key):
            entry = {} if row["results"] is None else unpack_results(row["results"])
            rendered = replace(rendered, known=known_in(recipe.kept, key, entry))
        with meter.stage("analyze"):
            results = image_stages.analyze(rendered, recipe, worker.cache)
        packed = pack_results(results)
    except Exception as error:  # noqa: BLE001 - as in _render
        return _ended(image_rows.failed_status(item, recipe, error, started - row["seconds"], worker.name))
    seconds = row["seconds"] + time.perf_counter() - started
    return {"results": packed, "seconds": seconds, "spent": json.dumps(meter.spent)}


def _export(
    item: WorkItem, row: Mapping[str, Any], recipe: Recipe, workspace: Workspace, worker: Worker
) -> tuple[ImageStatus, Results]:
    if row["status"] is not None:
        return status_of(json.loads(row["status"])), {} if row["results"] is None else unpack_results(row["results"])
    worker.journal.started(item.id, workspace.item_timeout_s)
    started, meter = time.perf_counter() - row["seconds"], _meter(row)
    try:
        results = unpack_results(row["results"])
        rendered = _rendered(row, results)
        with meter.stage("export"):
            outputs = image_stages.export(item, rendered, results, recipe, worker.publisher)
        leave_thumbnails(item, rendered, outputs, recipe, worker.publisher)
    except Exception as error:  # noqa: BLE001 - as in _render
        return image_rows.failed_status(item, recipe, error, started, worker.name), {}
    return image_rows.done_status(item, recipe, rendered, outputs, started, worker.name, meter), results


# ---- what travels ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    """A rendered image without its pixels."""

    __pydantic_config__ = ConfigDict(
        ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="constants", defer_build=True
    )

    shape: tuple[int, ...]
    dtype: str
    geometry: ImageGeometry
    degraded: str | None
    icc: bytes | None
    header: ImageHeader
    known_key: str
    known: tuple[str, ...]
    """Analyses that needn't be measured."""

    @classmethod
    def of(cls, rendered: Rendered) -> _Facts:
        return cls(
            shape=rendered.pixels.shape,
            dtype=rendered.pixels.dtype.name,
            geometry=rendered.geometry,
            degraded=rendered.source.degraded,
            icc=rendered.source.icc,
            header=rendered.source.header,
            known_key=rendered.known.key,
            known=tuple(sorted(rendered.known.results)),
        )


_FACTS = TypeAdapter(_Facts)


def _rendered(row: Mapping[str, Any], results: Results = MappingProxyType({})) -> Rendered:
    facts = _FACTS.validate_json(row["facts"])
    pixels: Image = np.frombuffer(row["pixels"], facts.dtype).reshape(facts.shape)
    # what was decoded stays with the first stage; only what its file says is needed here
    source = DecodedImage(pixels=pixels[:0], header=facts.header, degraded=facts.degraded, icc=facts.icc)
    known = Known(facts.known_key, results={name: results[name] for name in facts.known if name in results})
    return Rendered(pixels, facts.geometry, source, known)


def _released(item: WorkItem, worker: Worker, needs_bytes: int | None = None) -> dict[str, Any]:
    """An image that wasn't begun; see ``ImageStatus``."""
    return _ended(
        ImageStatus(id=item.id, status="released", needs_bytes=needs_bytes, recipe=item.recipe, worker=worker.name)
    )


def _ended(status: ImageStatus) -> dict[str, Any]:
    """An image that has its final row already."""
    nothing = dict.fromkeys(TRAVELLING.names)
    return nothing | {"status": json.dumps(asdict(status)), "seconds": status.seconds}


def status_of(row: Mapping[str, Any]) -> ImageStatus:
    """A row as ``asdict`` gave it, after its way through JSON."""
    outputs = tuple(Output(**output) for output in row["outputs"])
    spent = {stage: (seconds, cpu_seconds) for stage, (seconds, cpu_seconds) in row["spent"].items()}
    return ImageStatus(**{**row, "outputs": outputs, "spent": spent})


def _meter(row: Mapping[str, Any]) -> WorkMeter:
    return WorkMeter({stage: (seconds, cpu) for stage, (seconds, cpu) in json.loads(row["spent"]).items()})


def _row(table: pa.Table, index: int) -> dict[str, Any]:
    """The travelling columns of one image; its pixels are not copied."""
    row = {name: table.column(name)[index] for name in TRAVELLING.names}
    pixels = row.pop("pixels")
    return {name: scalar.as_py() for name, scalar in row.items()} | {"pixels": pixels.as_buffer()}


def _joined(table: pa.Table, index: int, row: Mapping[str, Any]) -> pa.Table:
    """One image as a table: the columns of its item, then those that travel."""
    item = table.select([name for name in table.column_names if name not in TRAVELLING.names]).slice(index, 1)
    for field in TRAVELLING:
        value = row[field.name]
        if isinstance(value, pa.Buffer):
            column = pa.Array.from_buffers(field.type, 1, [None, pa.py_buffer(_ends(value.size)), value])
        else:
            column = pa.array([value], field.type)
        item = item.append_column(field, column)
    return item


def _ends(size: int) -> bytes:
    """Offsets of a large binary column of one value."""
    return np.array([0, size], np.int64).tobytes()
