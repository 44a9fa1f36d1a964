"""Planning a run: find the inputs, give names, say what is lacking, refuse what can't be; before anything is touched.

A run and ``rayjobs plan`` plan alike: the first run of an output, and every ``plan``, in a ledger that lies elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from actors.ledger.input_plan import Sealed, seal_inputs
from actors.ledger.job_ledger import JobLedger
from actors.ledger.job_registry import job_id_of
from actors.ledger.ledger_format import check_whole, copy_ledger
from actors.ledger.product_plan import apply_products
from actors.ledger.staged_inputs import FoundInput
from pipelines.column_models import InputColumn
from pipelines.errors import JobError, SkippedReason
from pipelines.failure_policy import tried_in_next_run
from pipelines.tables import check_xlsx, scopes_schemas
from rayjobs.inputs.discovery import Discovery
from rayjobs.inputs.found_outputs import FoundOutputs
from rayjobs.inputs.input_columns import InputColumns
from rayjobs.job.job_spec import JobSpec
from rayjobs.job.job_state import COMPLETE, JobStatus
from rayjobs.job.naming import image_stems, is_beside, naming, output_paths
from rayjobs.job.older_products import carry_older
from rayjobs.job.options import deciding_extensions, read_policy
from rayjobs.job.output_directory import OutputDirectory, check_possible
from rayjobs.job.product_keys import pixels_digest, table_requests, wanted_products
from rayjobs.job.quantities import most_failures
from rayjobs.results.fixed_files import check_free
from rayjobs.results.job_results import JOB_JSON, MANIFEST
from rayjobs.results.job_tables import PARQUET, table_paths
from rayjobs.results.partial_results import partial_names
from rayjobs.results.published import SCOPES, THUMBNAILS, adopt_older, take_up
from rayjobs.results.report_files import DATA, report_names
from rayjobs.results.report_measures import measures
from rayjobs.run.run_request import RunRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """A run as planned; the ledger has the inputs, with what each of them lacks."""

    sealed: Sealed
    discovery: Discovery
    wanted: Mapping[str, str]
    """Product -> digest of all that decides its bytes."""
    results_key: str
    """Everything that decides tables, manifest and report but the inputs themselves."""
    changes_results: bool
    """Whether tables, manifest and report aren't as the last run left them, or won't be."""


def plan_run(ledger: JobLedger, request: RunRequest) -> RunPlan:
    """Plan in a ledger.

    Raises
    ------
    JobError
        The job can't run as it is; nothing but the ledger was written then.
    """
    if "xlsx" in request.spec.export.data:
        check_xlsx()
    with ledger.transaction():  # whatever is refused leaves everything as it was
        return _planned(ledger, request)


def _planned(ledger: JobLedger, request: RunRequest) -> RunPlan:
    spec, output = request.spec, OutputDirectory(request.output)
    adopt_older(ledger, output)
    is_damaged = take_up(ledger, output)
    lost = ledger.counts().open if is_damaged else None
    names = naming(spec, output.root, ledger)
    discovery = Discovery(
        spec.inputs,
        request.base,
        spec.exclude,
        FoundOutputs(output.root, ledger=ledger),
        known=ledger.has_input,
        numbered=names.numbered,
        columns=InputColumns(spec, request.base),
    )

    def check(total: int) -> None:
        needed = [*fixed_names(spec, total), *partial_names(spec)]
        check_free(output, needed, directories(spec), ledger.files)
        _note_job(ledger, request, total, discovery.columns)

    extensions = deciding_extensions(spec)
    wanted = wanted_products(spec, extensions)
    carry_older(ledger, spec, wanted, read_policy(spec))
    apply_products(ledger, wanted)  # before names are given: those that lack something look at their places
    inputs = discovery.inputs() if request.source is None else _without_results(discovery, request.source)
    sealed = seal_inputs(
        ledger, inputs, names, withdrawn=discovery.seen, twice=discovery.columns.named_twice, check=check
    )
    apply_products(ledger, wanted)  # and those that are back may lack nothing
    ledger.reopen(tried_in_next_run())
    if request.retry is not None:
        ledger.reopen(request.retry or None)
    _reopen_unblocked(ledger, spec, output)
    ledger.facts.write(replace(ledger.facts.read(), pixels=pixels_digest(spec, extensions)))
    key = _results_key(spec, wanted, ledger.facts.read().columns)
    changes = _withdraw(ledger, request, sealed, key, lost)
    return RunPlan(sealed=sealed, discovery=discovery, wanted=wanted, results_key=key, changes_results=changes)


def _withdraw(ledger: JobLedger, request: RunRequest, sealed: Sealed, key: str, lost: int | None) -> bool:
    """Whether results will change; from now on until the run's end, whatever ends it before, there are none then.

    ``lost``: images that were lost, of a job whose files were damaged; None: nothing was.
    """
    facts, still_open = ledger.facts.read(), ledger.counts().open
    is_complete = facts.results is not None  # else a run was ended before: what it would have made isn't known
    if is_complete and lost is not None and (sealed.is_new or still_open > lost or facts.results != key):
        output = OutputDirectory(request.output)
        check_free(output, fixed_names(request.spec, sealed.total), (), ledger.files, will_change=True)
    changes = bool(still_open or sealed.is_new or lost is not None or facts.results != key)
    if changes:
        status = JobStatus.INTERRUPTED if facts.status in COMPLETE else facts.status
        ledger.facts.write(replace(facts, results=None, status=status))
    return changes


def _note_job(ledger: JobLedger, request: RunRequest, total: int, columns: InputColumns) -> None:
    spec = request.spec
    ledger.facts.write_spec(spec.model_dump(mode="json"))
    facts = replace(
        ledger.facts.read(),
        job_id=job_id_of(spec.name, request.output),
        name=spec.name,
        base=str(request.base),
        pool=request.pool,
        source=None if request.source is None else str(request.source),
        max_failures=most_failures(spec.max_failures, total),
        columns=columns.columns,
        unmatched=columns.groups.unmatched if columns.groups else 0,
        record_complete=True,
    )
    ledger.facts.write(facts)


LAYOUT = 3
"""Of tables and report: those of an older version are made anew. 2: arrays apart from scalars. 3: previews are named by
all that decides them."""


def _results_key(spec: JobSpec, wanted: Mapping[str, str], columns: Sequence[InputColumn]) -> str:
    order = [request.canonical() for request in spec.analyses]
    said = [[column.name, column.type] for column in columns]
    parts = [LAYOUT, spec.name, dict(wanted), order, list(spec.export.data), *([said] if said else [])]
    parts += [{"group_by": spec.group_by}] if spec.group_by else []
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _without_results(discovery: Discovery, source: Path) -> Iterator[FoundInput]:
    """What is found, but for what another job has written."""
    outputs = FoundOutputs(source)
    try:
        yield from (found for found in discovery.inputs() if not outputs.is_own(found.path))
    finally:
        outputs.close()


def fixed_names(spec: JobSpec, total: int) -> list[str]:
    """The files of a complete job whose names don't depend on its inputs, relative to the output."""
    requests = table_requests(spec)
    tables = table_paths(requests, spec.export.data, spec.group_by)
    return [MANIFEST, JOB_JSON, *tables, *report_names(total, len(measures(requests)))]


def directories(spec: JobSpec) -> list[str]:
    """The directories of an output that a job writes to."""
    paths = output_paths(spec)
    images = ["images"] if paths.image_suffixes and not is_beside(spec) else []
    charts = ["charts", *(f"charts/{name}" for name in paths.charted)] if paths.charted else []
    scopes = [f"data/{SCOPES}"] if PARQUET in spec.export.data and scopes_schemas(table_requests(spec)) else []
    return [*images, *charts, *scopes, DATA, THUMBNAILS.rstrip("/")]


def _reopen_unblocked(ledger: JobLedger, spec: JobSpec, output: OutputDirectory) -> None:
    """Inputs that were skipped since a file was in the way: it isn't any more, or the job doesn't mind now."""
    paths, stem, images = output_paths(spec), image_stems(spec, output.root), spec.export.images
    skips = images is not None and images.on_conflict == "skip"
    ledger.reopen_inputs(
        number
        for number, path, name in ledger.inputs_of_reason(SkippedReason.EXISTS)
        if not skips or not any(os.path.lexists(output.root / relative) for relative in paths.images(stem(path, name)))
    )


@contextmanager
def planned_elsewhere(request: RunRequest) -> Iterator[tuple[JobLedger, RunPlan]]:
    """Plan in a copy of the output's ledger, or in a new one if there is none: nothing is written in the output.

    Raises
    ------
    JobError
        As ``plan_run``.
    """
    output = OutputDirectory(request.output)
    check_possible(output.root)
    if not output.exists and (output.sealed_ledger.is_file() or any(output.store.glob("[0-9]*-*.parquet"))):
        raise JobError(f"{output.root}: the job's ledger is gone; `rayjobs rebuild {output.root}` makes it again")
    with tempfile.TemporaryDirectory(prefix="rayjobs-plan-") as directory:
        copy = Path(directory) / output.ledger.name
        if output.exists:
            check_whole(output.ledger)
            copy_ledger(output.ledger, copy)
        with closing(JobLedger(copy)) as ledger:
            yield ledger, plan_run(ledger, request)
