"""Planning a run: find the inputs, give names, say what is lacking, refuse what can't be; before anything is touched.

A run and ``rayjobs plan`` plan alike: the first run of an output, and every ``plan``, in a ledger that lies elsewhere.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.failure_policy import tried_in_next_run
from actors.input_plan import Sealed, seal_inputs
from actors.job_ledger import JobLedger
from actors.job_registry import job_id_of
from actors.ledger_format import check_whole, copy_ledger
from actors.product_plan import apply_products
from actors.task_pools import BATCH
from pipelines.errors import SkippedReason
from pipelines.tables import check_xlsx
from rayjobs.discovery import Discovery
from rayjobs.fixed_files import check_free
from rayjobs.found_outputs import FoundOutputs
from rayjobs.job_plan import PlannedPaths, deciding_extensions, naming, table_requests, wanted_products
from rayjobs.job_results import JOB_JSON, MANIFEST
from rayjobs.job_spec import JobSpec
from rayjobs.job_tables import table_paths
from rayjobs.output_directory import OutputDirectory, check_possible
from rayjobs.published import adopt_older, take_up
from rayjobs.quantities import most_failures
from rayjobs.report import page_count
from rayjobs.report_pages import page_path


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """What to run, where."""

    spec: JobSpec
    base: Path
    """What relative paths of the job are relative to."""
    output: Path
    """Absolute."""
    retry: tuple[str, ...] | None = None
    """Try inputs again that failed for these reasons; empty: for any."""
    pool: str = BATCH
    """Whose share of the cluster it runs in: ``batch`` or ``export``; see ``actors.task_pools``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """A run as planned; the ledger has the inputs, with what each of them lacks."""

    sealed: Sealed
    discovery: Discovery
    wanted: Mapping[str, str]
    """Product -> digest of all that decides its bytes."""
    is_damaged: bool
    """Whether manifest, tables or report have to be written again, whatever else is to do."""


def plan_run(ledger: JobLedger, request: RunRequest) -> RunPlan:
    """Plan in a ledger.

    Raises
    ------
    JobError
        The job can't run as it is; nothing but the ledger was written then.
    """
    spec, output = request.spec, OutputDirectory(request.output)
    if "xlsx" in spec.export.data:
        check_xlsx()
    adopt_older(ledger, output)
    damage = take_up(ledger, output)
    outputs = FoundOutputs(output.root, ledger=ledger)
    names = naming(spec, output.root, ledger)
    discovery = Discovery(
        spec.inputs, request.base, spec.exclude, outputs, known=ledger.has_input, numbered=names.numbered
    )

    def check(total: int) -> dict[str, Any]:
        check_free(output, fixed_names(spec, total), directories(spec), ledger.files)
        return {
            "job_id": job_id_of(spec.name, output.root),
            "name": spec.name,
            "spec": spec.model_dump(mode="json"),
            "base": str(request.base),
            "pool": request.pool,
            "max_failures": most_failures(spec.max_failures, total),
            "record_complete": True,
        }

    sealed = seal_inputs(
        ledger,
        discovery.inputs(),
        names,
        withdrawn=lambda: discovery.withdrawn,
        check=check,
    )
    wanted = wanted_products(spec, deciding_extensions(spec))
    apply_products(ledger, wanted)
    ledger.reopen(tried_in_next_run())
    if request.retry is not None:
        ledger.reopen(request.retry or None)
    _reopen_unblocked(ledger, spec, output)
    return RunPlan(sealed=sealed, discovery=discovery, wanted=wanted, is_damaged=damage.fixed > 0)


def fixed_names(spec: JobSpec, total: int) -> list[str]:
    """The files of a job whose names don't depend on its inputs, relative to the output."""
    pages = [page_path(number) for number in range(1, page_count(total) + 1)]
    return [MANIFEST, JOB_JSON, *table_paths(table_requests(spec), spec.export.data), *pages]


def directories(spec: JobSpec) -> list[str]:
    """The directories of an output that a job writes to."""
    paths = PlannedPaths.of(spec, Path())
    images = ["images"] if paths.suffixes and not paths.beside else []
    return [*images, *(["charts"] if paths.charted else []), *(f"charts/{name}" for name in paths.charted)]


def _reopen_unblocked(ledger: JobLedger, spec: JobSpec, output: OutputDirectory) -> None:
    """Inputs that were skipped since a file was in the way, which isn't any more."""
    paths = PlannedPaths.of(spec, output.root)
    ledger.reopen_inputs(
        number
        for number, path, name in ledger.inputs_of_reason(SkippedReason.EXISTS)
        if not any((output.root / relative).exists() for relative in paths.images(path, name))
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
    with tempfile.TemporaryDirectory(prefix="rayjobs-plan-") as directory:
        copy = Path(directory) / output.ledger.name
        if output.exists:
            check_whole(output.ledger)
            copy_ledger(output.ledger, copy)
        with closing(JobLedger(copy)) as ledger:
            yield ledger, plan_run(ledger, request)
