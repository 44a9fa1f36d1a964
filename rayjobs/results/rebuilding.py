"""``rayjobs rebuild``: a ledger that is damaged or lost, made again from what else says what the job did.

From the copy that the last run sealed; else from the manifest, ``job.json`` and the sealed results. What these can't
prove is computed again by the next run. No file of the output is touched but the ledger itself; a damaged one is kept.

From a manifest an input counts as done when it has the size that the manifest says and is older than the run, when the
programs that decide pixels are the ones of that run, and as far as files with the manifest's sha256 are there.
"""

from __future__ import annotations

import json
import os
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from actors.ledger.input_plan import Naming, seal_inputs
from actors.ledger.job_facts import JobFacts, SealedPart
from actors.ledger.job_ledger import JobLedger
from actors.ledger.ledger_format import check_whole
from actors.ledger.output_lock import OutputLock
from actors.ledger.product_plan import ANALYSIS
from actors.ledger.staged_inputs import FoundInput
from pipelines.column_models import InputColumn
from pipelines.errors import JobError, SkippedReason
from pipelines.extensions.extension_manager import process_extensions
from pipelines.models import ImageStatus, Output
from pipelines.stages.output_names import collision_key, renamed
from pipelines.storage.custody import Kind, Written
from pipelines.storage.local_files import look, replace_own, sha256_of, time_of
from pipelines.tables import analyses_schema, manifest_schema, part_of
from pipelines.tables.cell_types import as_cell
from pipelines.tables.input_fields import columns_of
from pipelines.tables.parts import files_as_written
from rayjobs.job.column_uses import ColumnUses
from rayjobs.job.job_check import check_job
from rayjobs.job.job_spec import JobSpec
from rayjobs.job.job_state import JobStatus
from rayjobs.job.options import deciding_extensions
from rayjobs.job.output_directory import OutputDirectory, make_directory
from rayjobs.job.product_keys import DECIDING_PACKAGES, table_requests, versions, wanted_products
from rayjobs.job.quantities import most_failures
from rayjobs.results.published import adopt_older, product_of

_BATCH_ROWS = 2_000
UNNAMED = "\1"
"""Begins what stands for a name that can't be told."""
_BY_PLAN = {*SkippedReason} - {SkippedReason.EXISTS} | {"missing"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """What was made again."""

    source: str
    """``ledger`` (it was whole), ``copy`` or ``manifest``."""
    total: int
    done: int
    kept_as: str | None = None
    """Where the damaged ledger lies now."""

    def lines(self, output: Path) -> Iterator[str]:
        """For a person."""
        if self.source == "ledger":
            yield f"{output}: the ledger is whole; nothing was done"
            return
        if self.source == "copy":
            yield "the ledger is the copy that the last run sealed; what a later, interrupted run did is compared again"
        else:
            yield "the ledger was made from manifest, job.json and sealed results; the history of attempts is lost"
        yield f"{self.done:,} of {self.total:,} inputs are proven to be done; the next run does the others"
        if self.kept_as:
            yield f"the damaged ledger is kept as {self.kept_as}"


def rebuild(output: OutputDirectory) -> Rebuilt:
    """Make the ledger of an output again, if it isn't whole.

    Raises
    ------
    JobError
        There is nothing to make it from, or a run is going on.
    """
    if not output.exists and look(output.manifest).kind is Kind.NOTHING:
        raise JobError(f"{output.root}: no job has run here: there is neither a ledger nor a manifest")
    make_directory(output.root)
    lock = OutputLock(output.lock)
    try:
        problem = _problem(output.ledger)
        if problem is None:
            with closing(output.read_ledger()) as ledger:
                return _rebuilt("ledger", ledger, None)
        if _problem(output.sealed_ledger) is None:
            with closing(JobLedger(output.sealed_ledger, read_only=True)) as sealed:
                kept = _put_aside(output)
                sealed.copy_to(output.ledger)
            with closing(output.open_ledger()) as ledger:
                return _rebuilt("copy", ledger, kept)
        with (
            tempfile.TemporaryDirectory(prefix="rayjobs-rebuild-") as directory,
            closing(JobLedger(Path(directory) / output.ledger.name)) as ledger,
        ):
            _from_manifest(ledger, output)
            kept = _put_aside(output)
            ledger.copy_to(output.ledger)
            return _rebuilt("manifest", ledger, kept)
    finally:
        lock.release()


def _rebuilt(source: str, ledger: JobLedger, kept: str | None) -> Rebuilt:
    counts = ledger.counts()
    return Rebuilt(source=source, total=counts.total, done=counts.done, kept_as=kept)


def _problem(path: Path) -> Exception | None:
    """Why a ledger can't be used."""
    if not path.is_file():
        return FileNotFoundError(f"{path} is gone")
    try:
        check_whole(path)
    except (JobError, sqlite3.Error) as error:
        return error
    return None


def _put_aside(output: OutputDirectory) -> str | None:
    """Give a damaged ledger, with its log, another name."""
    name = f"ledger-damaged-{time.strftime('%Y%m%d-%H%M%S')}.sqlite"
    found = False
    for suffix in ("-shm", "-wal", ""):  # a log that stayed would be taken for the new one's
        path = output.ledger.with_name(output.ledger.name + suffix)
        if path.exists():
            replace_own(path, output.control / (name + suffix))
            found = True
    return f".rayjobs/{name}" if found else None


# ---- from manifest, job.json and sealed results ---------------------------------------------------------------------


def _from_manifest(ledger: JobLedger, output: OutputDirectory) -> None:
    said = _job_json(output)
    spec = check_job(said["job"], name=str(output.job_json), base=Path(said["base"]))
    rows = list(_manifest_rows(output))
    names = {row["input_bytes"]: _name(row) for row in rows if row["status"] == "done"}
    columns = _input_columns(output)
    uses = ColumnUses(spec, Path(said["base"]))
    found = [_found(row, columns, uses) for row in rows]
    facts = JobFacts(
        job_id=said["job_id"],
        name=spec.name,
        base=said["base"],
        max_failures=most_failures(spec.max_failures, len(rows)),
        epoch=said.get("epoch", 1),
        status=JobStatus.INTERRUPTED,
        started=said.get("started"),
        finished=said.get("finished"),
        columns=columns,
    )
    ledger.facts.write_spec(spec.model_dump(mode="json"))
    naming = Naming(
        name=lambda path, relative, number, cells: names.get(path) or f"{UNNAMED}{number}",
        key=collision_key,
        renamed=renamed,
    )
    seal_inputs(ledger, found, naming)
    ledger.unname(UNNAMED)
    wanted = wanted_products(spec, deciding_extensions(spec)) if _same_programs(said, spec) else {}
    ledger.facts.write(replace(facts, products=wanted))
    _finish(ledger, output, rows, wanted, spec, float(said.get("started") or 0.0))
    adopt_older(ledger, output)


def _job_json(output: OutputDirectory) -> dict[str, Any]:
    try:
        said = json.loads(output.job_json.read_bytes())
    except (OSError, ValueError) as error:
        raise JobError(
            f"{output.root}: the ledger can't be made again: its sealed copy is gone or damaged, and job.json can't be "
            f"read ({error}); run the job file in another output"
        ) from error
    if not isinstance(said, dict) or not {"job", "base", "job_id", "versions"} <= set(said):
        raise JobError(f"{output.job_json}: isn't what a run writes; the ledger can't be made again from it")
    return said


def _manifest(output: OutputDirectory) -> Path:
    return output.manifest if output.manifest.is_file() else output.withdrawn_manifest


def _manifest_rows(output: OutputDirectory) -> Iterator[dict[str, Any]]:
    path = _manifest(output)
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_BATCH_ROWS):
                yield from batch.to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise JobError(f"{path}: can't be read ({error}); the ledger can't be made again without it") from error


def _found(row: Mapping[str, Any], columns: Sequence[InputColumn], uses: ColumnUses) -> FoundInput:
    """A row's input as it lies on the disk; a changed size, or another cell, is seen by the next run."""
    path: bytes = row["input_bytes"]
    cells = {column.name: as_cell(row[column.name], column.type) for column in columns}
    found = FoundInput(path=path, relative=path, cells=cells, decided=uses.decided(cells, []))
    if row["reason"] in _BY_PLAN:
        return replace(found, status=row["status"], reason=row["reason"], message=row["message"])
    try:
        status = os.stat(path)
    except OSError:
        return replace(found, size=row["bytes"])
    return replace(found, size=row["bytes"], mtime_ns=time_of(status))


def _input_columns(output: OutputDirectory) -> tuple[InputColumn, ...]:
    """The columns of the inputs, which are the last of the manifest."""
    schema = pq.read_schema(_manifest(output))
    return tuple(columns_of(list(schema)[len(manifest_schema()) :]))


def _name(row: Mapping[str, Any]) -> str | None:
    """The name that a row's outputs have in common; None when it can't be told: the next run gives one."""
    for path in sorted((os.path.splitext(str(output["path"]))[0] for output in row["outputs"] or ()), key=len):
        if path.startswith("images/"):
            return path.removeprefix("images/")
        if path.startswith("charts/"):
            return path.removeprefix("charts/").partition("/")[2]
    return None


def _same_programs(said: Mapping[str, Any], spec: JobSpec) -> bool:
    now = versions(DECIDING_PACKAGES)
    then = {name: said["versions"].get(name) for name in now}
    return then == now and said.get("plugins", {}) == process_extensions().versions(spec.plugins)


def _finish(
    ledger: JobLedger,
    output: OutputDirectory,
    rows: Sequence[Mapping[str, Any]],
    wanted: Mapping[str, str],
    spec: JobSpec,
    started: float,
) -> None:
    """Give the inputs what is proven of them."""
    results = _sealed_results(ledger, output, spec)
    entries = {entry.path: entry for entry in ledger.open_inputs(0, len(rows))}
    for row in rows:
        entry = entries.get(row["input_bytes"])
        if entry is None:
            continue
        files = [_output(output, each["path"], each["sha256"], each["bytes"]) for each in row["outputs"] or ()]
        there = [file for file in files if file is not None]
        same = entry.mtime_ns < started * 1e9 and _size(entry.path) == row["bytes"]
        if row["status"] == "failed":
            status = ImageStatus(id=entry.id, status="failed", reason=row["reason"], message=row["message"])
            ledger.commit([status] if same else [], epoch=0)
            continue
        place = results.get(row["input"])
        products = _proven(wanted, files, has_results=place is not None)
        if row["status"] != "done" or not same or not products:
            for file in there:
                ledger.files.adopt(_written(file), product=file.product, input=entry.id)
            continue
        kept = [file for file in there if file.product in products]
        done = ImageStatus(
            id=entry.id,
            status="done",
            degraded=row["degraded"],
            width=row["width"],
            height=row["height"],
            outputs=tuple(kept),
            part=place and place[0],
            row=place and place[1],
            recipe=ledger.recipe_id(products),
        )
        ledger.commit([done], epoch=0)
        if set(products) != set(wanted):
            ledger.reopen_inputs([entry.id])
        for file in there:
            if file not in kept:
                ledger.files.adopt(_written(file), product=file.product, input=entry.id)
    with ledger.transaction() as db:
        db.execute("DELETE FROM attempts")  # nothing was tried: what was is lost


def _size(path: bytes) -> int | None:
    try:
        return os.stat(path).st_size
    except OSError:
        return None


def _output(output: OutputDirectory, path: str, sha256: str, size: int) -> Output | None:
    """A file that is there as the manifest says."""
    if sha256_of(output.root / path) != sha256:
        return None
    return Output(
        product=product_of(path), path=path, sha256=sha256, bytes=size, mtime_ns=look(output.root / path).mtime_ns
    )


def _written(file: Output) -> Written:
    return Written(path=file.path, sha256=file.sha256, bytes=file.bytes, mtime_ns=file.mtime_ns)


def _proven(wanted: Mapping[str, str], files: Sequence[Output | None], *, has_results: bool) -> dict[str, str]:
    """The wanted products whose files or results are all there."""
    if None in files:  # which product lacks one can't be told
        return {product: digest for product, digest in wanted.items() if product.startswith(ANALYSIS) and has_results}
    there = {file.product for file in files if file is not None}
    return {
        product: digest
        for product, digest in wanted.items()
        if (has_results if product.startswith(ANALYSIS) else product in there)
    }


def _sealed_results(ledger: JobLedger, output: OutputDirectory, spec: JobSpec) -> dict[str, tuple[str, int]]:
    """Readable path of an input -> (sealed part, row) of its results, where that can be told."""
    requests = table_requests(spec)
    columns = analyses_schema(requests).names
    places: dict[str, tuple[str, int]] = {}
    twice: set[str] = set()
    for path in sorted(output.store.glob("*.parquet")) if output.store.is_dir() and requests else ():
        if part_of(path.name) != path.name:  # the objects of another one
            continue
        try:
            with pq.ParquetFile(path) as file:
                if file.schema_arrow.names != columns:
                    continue
                inputs = file.read(columns=["input"]).column(0).to_pylist()
        except (OSError, pa.ArrowException):
            continue
        names = sorted(each.name for each in output.store.glob("*") if part_of(each.name) == path.name)
        analyses = tuple(request.canonical() for request in requests)
        sealed = SealedPart(analyses=analyses, rows=len(inputs), files=files_as_written(output.store, names))
        ledger.facts.write_part(path.name, sealed)
        twice |= places.keys() & set(inputs)
        places |= {name: (path.name, row) for row, name in enumerate(inputs)}
    return {name: place for name, place in places.items() if name not in twice}
