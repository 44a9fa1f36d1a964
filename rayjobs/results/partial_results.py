"""``partial/``: manifest and tables of what is done so far, of a job that runs or was stopped. Removed at completion.

They are made by the writers of the finished ones, from a copy of the ledger as it is at one moment: what isn't sealed
then is sealed for it alone, into parts that the job's ledger never learns of. The manifest is there only while the
tables beside it are of its moment. Who may write them is whoever holds the output's lock.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import ExitStack, closing

from actors.ledger.job_ledger import JobLedger
from pipelines.storage.local_files import remove_own
from pipelines.tables import part_of
from rayjobs.job.job_spec import JobSpec
from rayjobs.job.output_directory import OutputDirectory
from rayjobs.job.product_keys import table_requests
from rayjobs.results.fixed_files import FixedFiles, check_free
from rayjobs.results.job_results import MANIFEST, write_manifest_file
from rayjobs.results.job_tables import group_table, seal_results, table_paths, write_tables
from rayjobs.results.published import PARTIAL
from rayjobs.results.results_store import ResultsStore


def partial_names(spec: JobSpec) -> list[str]:
    """The files that partial results of a job may have, relative to the output."""
    tables = table_paths(table_requests(spec), spec.export.data, spec.group_by)
    return [f"{PARTIAL}{name}" for name in (MANIFEST, *tables)]


def write_partial(
    ledger: JobLedger, output: OutputDirectory, spec: JobSpec, *, go_on: Callable[[], None] = lambda: None
) -> None:
    """Make ``partial/`` hold what is final now; ``go_on`` is called again and again, and raises to end it early.

    Raises
    ------
    JobError
        What bears one of the names isn't the job's.
    """
    check_free(output, partial_names(spec), (), ledger.files, will_change=True)
    directory = output.temporary / str(ledger.facts.read().epoch)
    directory.mkdir(parents=True, exist_ok=True)
    copy, sealed = directory / f"partial-{uuid.uuid4().hex}.sqlite", list[str]()

    def begin(part: str) -> None:
        go_on()
        sealed.append(part)

    with ExitStack() as ending:
        ending.callback(_remove_parts, output, sealed)
        ending.callback(remove_own, copy)
        ledger.copy_to(copy)
        moment = ending.enter_context(closing(JobLedger(copy)))
        files = ending.enter_context(FixedFiles.opened(ledger, output, top=PARTIAL, before_each=go_on))
        store = ResultsStore(moment, output, table_requests(spec))
        seal_results(store, begin)
        files.remove_file(MANIFEST)
        groups = group_table(files, store, spec.group_by)
        write_tables(files, store, spec.export.data, groups)
        write_manifest_file(moment, files, {"job": spec.name})
        files.remove_others()


def remove_partial(ledger: JobLedger, output: OutputDirectory) -> None:
    """Remove partial results, as far as they are as the job wrote them."""
    with FixedFiles.opened(ledger, output, top=PARTIAL) as files:
        files.remove_others()


def _remove_parts(output: OutputDirectory, parts: list[str]) -> None:
    for part in parts:
        for path in output.store.glob(f"{part.partition('.')[0]}.*"):
            if part_of(path.name) == part:
                remove_own(path)
