"""What a finished job leaves for people: manifest, report and job.json, each swapped in whole; tables: ``job_tables``.

All of it is made from the ledger and the sealed results, without Ray. Nothing but ``job.json`` and the report depends
on when and where the job ran.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from actors.ledger.job_ledger import JobLedger
from actors.ledger.ledger_rows import FinalInput
from pipelines.column_models import Cell
from pipelines.models import AnalysisRequest
from pipelines.stages.thumbnails import make_thumbnail
from pipelines.tables import (
    analyses_schema,
    label_of,
    manifest_batch,
    manifest_schema,
    readable_path,
    write_manifest,
)
from rayjobs.results.duplicates import GROUP_COLUMN
from rayjobs.results.fixed_files import FixedFiles
from rayjobs.results.job_groups import GroupsTable
from rayjobs.results.report import MAX_GROUPS, ReportFailure, ReportGroups, ReportImage, ReportSummary, write_report
from rayjobs.results.report_numbers import Number, number_text
from rayjobs.results.results_store import ResultsStore

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
    ledger: JobLedger, files: FixedFiles, store: ResultsStore, summary: ReportSummary, groups: GroupsTable | None = None
) -> None:
    """Write ``report/index.html`` and the pages that it leads to."""
    write_report(
        files,
        summary,
        _ReportImages(ledger, store),
        (
            ReportFailure(
                input=readable_path(final.path),
                status="failed" if final.status == "failed" else "skipped",
                reason=final.reason or "",
                message=final.message or "",
                cells=_shown(final.cells),
            )
            for final in ledger.final_inputs()
            if final.status != "done"
        ),
        make_thumbnail=make_thumbnail,
        groups=None if groups is None else _report_groups(groups, store.requests),
    )


def write_job_json(files: FixedFiles, facts: Mapping[str, Any]) -> None:
    """Write ``job.json``: the job as resolved, versions, counts and times of the run."""
    files.write(JOB_JSON, (json.dumps(facts, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace"))


def _report_groups(groups: GroupsTable, requests: Sequence[AnalysisRequest]) -> ReportGroups:
    columns = key_columns(requests)
    heads = (*groups.names, "failed", *column_labels(requests, columns))
    shown = groups.overview(columns, MAX_GROUPS)
    return ReportGroups(heads=heads, rows=tuple(_group_row(*group) for group in shown))


def _group_row(key: Sequence[str], failed: int, numbers: Sequence[tuple[Number, Number]]) -> tuple[str, ...]:
    texts = (number_text(mean) + ("" if std is None else f" ± {number_text(std)}") for mean, std in numbers)
    return (*key, f"{failed:,}", *texts)


_NOT_KEY = frozenset((GROUP_COLUMN, "statistics_white", "statistics_significant_bits", "sharpness_white"))
"""Numbers only by type: the group of duplicates, which isn't in the store either, and the level of white."""


SHOWN_CELLS = 8


class _ReportImages:
    """The done inputs with their key numbers; every iteration starts anew."""

    def __init__(self, ledger: JobLedger, store: ResultsStore) -> None:
        self._ledger = ledger
        self._store = store
        self._columns = key_columns(store.requests)
        self._labels = column_labels(store.requests, self._columns)

    def __iter__(self) -> Iterator[ReportImage]:
        numbers = self._numbers()
        for final in self._ledger.final_inputs():
            if final.status == "done":
                yield _report_image(final, next(numbers, {}))

    def _numbers(self) -> Iterator[dict[str, float | int | None]]:
        """Of every done input in order; nothing when no number was measured."""
        if not self._columns:
            return
        for number in self._store.all_ranges():
            sealed = self._store.sealed_part(number)
            if sealed is not None:
                with pq.ParquetFile(sealed[0]) as file:
                    for batch in file.iter_batches(_BATCH_ROWS, columns=self._columns, use_threads=False):
                        yield from batch.select(self._columns).rename_columns(self._labels).to_pylist()


def key_columns(requests: Sequence[AnalysisRequest], most: int = 8) -> list[str]:
    """The first columns of single numbers, at most three of one analysis: what the report shows below an image.

    Those of luma come before those of channels.
    """
    found: list[str] = []
    for request in requests:
        schema = analyses_schema([request])
        numbers = [f.name for f in schema if pa.types.is_floating(f.type) or pa.types.is_integer(f.type)]
        numbers = sorted((name for name in numbers if name not in _NOT_KEY), key=lambda name: "_luma_" not in name)
        found += numbers[:3]
    return found[:most]


def column_labels(requests: Sequence[AnalysisRequest], columns: Sequence[str]) -> list[str]:
    """What people call these columns, with their units; the name itself where two have the same label."""
    schema = analyses_schema(requests)
    found = {name: label_of(schema.field(name)) for name in columns}
    counts = Counter(found.values())
    return [label if counts[label] == 1 else name for name, label in found.items()]


def _report_image(final: FinalInput, numbers: Mapping[str, float | int | None]) -> ReportImage:
    # Of a file with several images the first is shown; the names of the others are longer.
    outputs = sorted(final.outputs, key=lambda output: len(output.path), reverse=True)
    image = next((entry for entry in reversed(outputs) if entry.product == "image"), None)
    key = image.sha256 if image else _source_key(final)
    charts = {e.product.removeprefix("chart:"): e.path for e in outputs if e.product.startswith("chart:")}
    return ReportImage(
        input=readable_path(final.path),
        source=final.path,
        key=key[:32],
        image=image.path if image else None,
        charts=charts,
        cells=_shown(final.cells),
        numbers=numbers,
        width=final.width,
        height=final.height,
        degraded=final.degraded,
    )


def _shown(cells: Mapping[str, Cell]) -> dict[str, Cell]:
    """The first cells of an input: what the report has room for."""
    return {name: cell for name, cell in list(cells.items())[:SHOWN_CELLS] if cell is not None}


def _source_key(final: FinalInput) -> str:
    """A thumbnail of the input itself is made anew when its path or size changes."""
    return f"{final.id:08x}{final.size:016x}"


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
