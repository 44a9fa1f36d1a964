"""What a finished job leaves for people: tables, manifest, report and job.json, each swapped in whole.

All of it is made from the ledger and the sealed results, without Ray. Nothing but ``job.json`` and the report depends
on when and where the job ran.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from actors.job_ledger import FinalInput, JobLedger
from pipelines.models import AnalysisRequest
from pipelines.publish import sha256_of_file
from pipelines.tables import (
    analyses_schema,
    manifest_batch,
    manifest_schema,
    publish,
    readable_path,
    seal_part,
    write_manifest,
    write_table,
)
from pipelines.thumbnails import make_thumbnail
from rayjobs.output_directory import OutputDirectory
from rayjobs.report import ReportFailure, ReportImage, ReportSummary, write_report
from rayjobs.results_store import ResultsStore

TABLE = "analyses"
_BATCH_ROWS = 2_000


def remove_stale_files(ledger: JobLedger, output: OutputDirectory) -> None:
    """Delete files that earlier attempts or plans of this job published and that nothing refers to any more."""
    current: set[str] | None = None
    for path, sha256 in ledger.take_stale():
        if current is None:
            current = {entry.path for final in ledger.final_inputs() for entry in final.outputs}
        if path not in current and sha256_of_file(output.root / path) == sha256:
            (output.root / path).unlink()
            _remove_empty_parents(output.root, path)


def write_tables(ledger: JobLedger, output: OutputDirectory, store: ResultsStore, formats: Sequence[str]) -> list[str]:
    """Make ``data/`` hold exactly the wanted tables; return their paths relative to the output."""
    total = ledger.counts().total
    ranges = range(-(-total // store.range_rows))
    for number in ranges:
        seal = store.to_seal(number)
        if seal is not None:
            seal_part(seal.request)
            store.record(seal)
    wanted = [f"{TABLE}.{name}" for name in formats] if store.requests else []
    output.data.mkdir(exist_ok=True)
    for name in wanted:
        temporary = output.data / f".{name}.tmp"
        _remove(temporary)
        if name == f"{TABLE}.parquet":
            _write_parquet(temporary, store, ranges)
        else:
            schema = analyses_schema(store.requests)
            batches = _batches(store, ranges, schema)
            write_table(temporary, schema, batches, format=name.rpartition(".")[2])
        _swap(temporary, output.data / name)
    for path in output.data.iterdir():
        if path.name not in wanted:
            _remove(path)
    if not wanted:
        output.data.rmdir()
    return [f"data/{name}" for name in wanted]


def write_manifest_file(ledger: JobLedger, output: OutputDirectory, metadata: Mapping[str, str]) -> None:
    """Write ``manifest.parquet``: one row per input, sorted by input."""
    schema = manifest_schema(metadata)
    batches = (
        manifest_batch([_manifest_row(final) for final in group], schema)
        for group in _groups(ledger.final_inputs(), _BATCH_ROWS)
    )
    temporary = output.manifest.with_name(f".{output.manifest.name}.tmp")
    write_manifest(temporary, batches, metadata=metadata)
    publish(temporary, output.manifest, durable=True)


def write_report_pages(ledger: JobLedger, output: OutputDirectory, store: ResultsStore, summary: ReportSummary) -> Path:
    """Write ``report/index.html`` and the pages that it leads to."""
    return write_report(
        output.root,
        summary,
        _ReportImages(ledger, store),
        (
            ReportFailure(
                input=readable_path(final.path),
                status="failed" if final.status == "failed" else "skipped",
                reason=final.reason or "",
                message=final.message or "",
            )
            for final in ledger.final_inputs()
            if final.status != "done"
        ),
        make_thumbnail=make_thumbnail,
    )


def write_job_json(output: OutputDirectory, facts: Mapping[str, Any]) -> None:
    """Write ``job.json``: the job as resolved, versions, counts and times of the run."""
    temporary = output.job_json.with_name(f".{output.job_json.name}.tmp")
    temporary.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    publish(temporary, output.job_json)


class _ReportImages:
    """The done inputs with their key numbers; every iteration starts anew."""

    def __init__(self, ledger: JobLedger, store: ResultsStore) -> None:
        self._ledger = ledger
        self._store = store
        self._columns = key_columns(store.requests)

    def __iter__(self) -> Iterator[ReportImage]:
        numbers = self._numbers()
        for final in self._ledger.final_inputs():
            if final.status == "done":
                yield _report_image(final, next(numbers, {}))

    def _numbers(self) -> Iterator[dict[str, float | int | None]]:
        """Of every done input in order; nothing when no number was measured."""
        if not self._columns:
            return
        for number in range(-(-self._ledger.counts().total // self._store.range_rows)):
            sealed = self._store.sealed_part(number)
            if sealed is not None:
                with pq.ParquetFile(sealed[0]) as file:
                    for batch in file.iter_batches(_BATCH_ROWS, columns=self._columns, use_threads=False):
                        yield from batch.to_pylist()


def key_columns(requests: Sequence[AnalysisRequest], most: int = 8) -> list[str]:
    """The first columns of single numbers, at most three of one analysis: what the report shows below an image."""
    found: list[str] = []
    for request in requests:
        schema = analyses_schema([request])
        numbers = [f.name for f in schema if pa.types.is_floating(f.type) or pa.types.is_integer(f.type)]
        found += numbers[:3]
    return found[:most]


def _report_image(final: FinalInput, numbers: Mapping[str, float | int | None]) -> ReportImage:
    image = next((entry for entry in final.outputs if entry.product == "image"), None)
    key = image.sha256 if image else _source_key(final)
    charts = {e.product.removeprefix("chart:"): e.path for e in final.outputs if e.product.startswith("chart:")}
    return ReportImage(
        input=readable_path(final.path),
        source=final.path,
        key=key[:32],
        image=image.path if image else None,
        charts=charts,
        numbers=numbers,
        width=final.width,
        height=final.height,
        degraded=final.degraded,
    )


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
    }


def _write_parquet(target: Path, store: ResultsStore, ranges: range) -> None:
    """One file for a job of one range, else a directory with a part per range; sealed parts are linked, not copied."""
    if len(ranges) <= 1:
        _write_range(target, store, 0)
        return
    target.mkdir()
    for number in ranges:
        _write_range(target / f"part-{number:05d}.parquet", store, number)


def _write_range(target: Path, store: ResultsStore, number: int) -> None:
    schema = analyses_schema(store.requests)
    sealed = store.sealed_part(number)
    if sealed is None:
        write_table(target, schema, [], format="parquet")
        return
    part, requests = sealed
    if requests == store.requests:
        try:
            os.link(part, target)
        except OSError:  # no hard links on this file system: a copy does as well
            shutil.copyfile(part, target)
    else:
        write_table(target, schema, _batches(store, range(number, number + 1), schema), format="parquet")


def _batches(store: ResultsStore, ranges: range, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for number in ranges:
        sealed = store.sealed_part(number)
        if sealed is None:
            continue
        with pq.ParquetFile(sealed[0]) as file:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=schema.names, use_threads=False)
                yield from pa.table(table.select(schema.names).columns, schema=schema).combine_chunks().to_batches()


def _groups(finals: Iterable[FinalInput], size: int) -> Iterator[list[FinalInput]]:
    stream = iter(finals)
    while group := list(islice(stream, size)):
        yield group


def _swap(temporary: Path, final: Path) -> None:
    if final.is_dir() or temporary.is_dir():
        _remove(final)  # a directory can't be replaced in one step
    os.replace(temporary, final)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _remove_empty_parents(root: Path, path: str) -> None:
    for parent in (root / path).parents:
        if parent == root or any(parent.iterdir()):
            return
        parent.rmdir()
