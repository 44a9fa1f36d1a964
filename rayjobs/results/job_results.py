"""What a finished job leaves for people: manifest, report and job.json, each swapped in whole; tables: ``job_tables``.

All of it is made from the ledger and the sealed results, without Ray. Nothing but ``job.json`` and the report depends
on when and where the job ran.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from actors.ledger.job_ledger import JobLedger
from actors.ledger.ledger_rows import FinalInput
from pipelines.charts import ChartOptions
from pipelines.stages.thumbnails import make_thumbnails, original_key, shown_image, thumbnail_key
from pipelines.tables import (
    analyses_schema,
    manifest_batch,
    manifest_schema,
    numbers_of,
    printable,
    readable_path,
    write_manifest,
)
from rayjobs.results.duplicates import find_duplicates
from rayjobs.results.fixed_files import FixedFiles
from rayjobs.results.job_groups import GroupsTable
from rayjobs.results.published import TABLE
from rayjobs.results.report import write_report
from rayjobs.results.report_measures import WHITE, Measure, compared, measures
from rayjobs.results.report_numbers import Number, number_text
from rayjobs.results.report_rows import ReportGroups, ReportRow, ReportSummary
from rayjobs.results.results_store import ResultsStore

MAX_GROUPS = 100
"""Groups in the report; the table has all."""
MANIFEST = "manifest.parquet"
JOB_JSON = "job.json"
_BATCH_ROWS = 2_000


def write_manifest_file(ledger: JobLedger, files: FixedFiles, metadata: Mapping[str, str]) -> None:
    """Write ``manifest.parquet``: one row per input, sorted by input."""
    columns = ledger.facts.read().columns
    schema = manifest_schema(metadata, columns)
    batches = (
        manifest_batch([_manifest_row(final) for final in group], schema, columns)
        for group in _groups(ledger.final_inputs(), _BATCH_ROWS)
    )
    temporary = files.new_path()
    write_manifest(temporary, batches, metadata=metadata, columns=columns)
    files.place(MANIFEST, temporary)


def write_report_pages(
    ledger: JobLedger,
    files: FixedFiles,
    store: ResultsStore,
    summary: ReportSummary,
    groups: GroupsTable | None = None,
    charts: ChartOptions | None = None,
) -> None:
    """Write ``report/index.html`` and what belongs to it; ``charts``: how they were drawn, if they were."""
    shown = measures(store.requests)
    write_report(
        files,
        summary,
        shown,
        _ReportRows(ledger, store, shown, changes=bool(summary.operations)),
        make_thumbnails=make_thumbnails,
        groups=None if groups is None else _report_groups(groups, shown),
        charts=charts,
    )


def write_job_json(files: FixedFiles, facts: Mapping[str, Any]) -> None:
    """Write ``job.json``: the job as resolved, versions, counts and times of the run."""
    files.write(JOB_JSON, (json.dumps(facts, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace"))


def _report_groups(groups: GroupsTable, shown: Sequence[Measure]) -> ReportGroups:
    chosen = [shown[place] for place in compared(shown)]
    heads = (*groups.names, "failed", *(each.plain + (f" ({each.unit})" if each.unit else "") for each in chosen))
    rows = groups.overview([each.name for each in chosen], MAX_GROUPS)
    return ReportGroups(heads=heads, rows=tuple(_group_row(*group) for group in rows))


def _group_row(key: Sequence[str], failed: int, numbers: Sequence[tuple[Number, Number]]) -> tuple[str, ...]:
    texts = (number_text(mean) + ("" if std is None else f" ± {number_text(std)}") for mean, std in numbers)
    return (*key, f"{failed:,}", *texts)


class _ReportRows:
    """All inputs with their numbers; every iteration starts anew."""

    def __init__(self, ledger: JobLedger, store: ResultsStore, shown: Sequence[Measure], *, changes: bool) -> None:
        """``changes``: whether what is measured isn't the original."""
        self._changes = changes
        self._pixels = ledger.facts.read().pixels
        self._ledger = ledger
        self._store = store
        self._white = [name for name in (WHITE,) if name in analyses_schema(store.requests).names]
        self._columns = [measure.name for measure in shown] + self._white
        self._shown = shown
        self._twins = find_duplicates(store, store.all_ranges()).get(TABLE)

    def __iter__(self) -> Iterator[ReportRow]:
        measured = self._measured()
        for final in self._ledger.final_inputs():
            if final.status != "done":
                yield _row_without_results(final)
                continue
            yield _report_row(final, next(measured, _NOTHING), self._pixels, self._changes)

    def _measured(self) -> Iterator[_Measured]:
        """Of every done input in order; nothing when no number was measured."""
        if not self._columns:
            return
        for number in self._store.all_ranges():
            sealed = self._store.sealed_part(number)
            if sealed is None:
                continue
            place = 0 if self._twins is None else self._twins.starts[number]
            with pq.ParquetFile(sealed[0]) as file:
                for batch in file.iter_batches(_BATCH_ROWS, columns=self._columns, use_threads=False):
                    numbers = np.column_stack([numbers_of(batch.column(name)) for name in self._columns])
                    whites = numbers[:, -1].tolist() if self._white else [math.nan] * len(numbers)
                    for values, white in zip(numbers[:, : len(self._shown)], whites, strict=True):
                        twins = 0 if self._twins is None else int(self._twins.numbers[place])
                        yield _Measured(values, white, twins)
                        place += 1


class _Measured(NamedTuple):
    """What was measured of a done input."""

    values: NDArray[np.float64] | None = None
    white: float = math.nan
    twins: int = 0
    """Number of its group of duplicates; 0 for none."""


_NOTHING = _Measured()


def _row_without_results(final: FinalInput) -> ReportRow:
    return ReportRow(
        input=readable_path(final.path),
        source=final.path,
        status="failed" if final.status == "failed" else "skipped",
        reason=final.reason or "",
        message=printable(final.message or ""),
        cells=final.cells,
    )


def _report_row(final: FinalInput, measured: _Measured, pixels: str, changes: bool) -> ReportRow:
    image = shown_image(final.outputs)
    outputs = sorted(final.outputs, key=lambda output: len(output.path), reverse=True)  # the first image's come last
    charts = {e.product.removeprefix("chart:"): e.path for e in outputs if e.product.startswith("chart:")}
    return ReportRow(
        input=readable_path(final.path),
        source=final.path,
        size=final.size,
        mtime_ns=final.mtime_ns,
        key=thumbnail_key(final, pixels, image),
        original_key=original_key(final) if image or changes else "",
        image=image.path if image else None,
        image_sha256=image.sha256 if image else None,
        charts=charts,
        cells=final.cells,
        values=measured.values,
        white=measured.white,
        twins=measured.twins,
        width=final.width,
        height=final.height,
        degraded=final.degraded,
    )


def _manifest_row(final: FinalInput) -> dict[str, Any]:
    return {
        "input_bytes": final.path,
        "status": final.status,
        "reason": final.reason,
        "message": final.message,
        "degraded": final.degraded,
        "width": final.width,
        "height": final.height,
        "bytes": final.size,
        "outputs": [{"path": e.path, "sha256": e.sha256, "bytes": e.bytes} for e in final.outputs],
        **final.cells,
    }


def _groups(finals: Iterable[FinalInput], size: int) -> Iterator[list[FinalInput]]:
    stream = iter(finals)
    while group := list(islice(stream, size)):
        yield group
