"""Whole runs without Ray: planned, worked on and ended in this process, as the program itself does it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from actors.ledger.job_ledger import JobLedger
from actors.ledger.output_lock import OutputLock
from pipelines.models import ImageStatus
from pipelines.result_cache import ResultCache
from pipelines.stages.block_task import Workspace, render_analyze_export
from rayjobs.job.job_file import parse_job
from rayjobs.job.job_spec import JobSpec
from rayjobs.job.job_state import JobState
from rayjobs.job.output_directory import OutputDirectory
from rayjobs.job.recipes import JobRecipes
from rayjobs.results.fixed_files import FixedFiles
from rayjobs.results.job_usage import WorkSpent
from rayjobs.results.results_store import ResultsStore
from rayjobs.run.progress import Display, Snapshot
from rayjobs.run.run import run_job
from rayjobs.run.run_end import RunEnd
from rayjobs.run.run_request import RunRequest, request_of
from tests.workspaces import prepared

_ROWS = 64


class Killed(BaseException):
    """The run ends here, as if its process had been killed."""


class Silent:
    """Shows nothing."""

    def show(self, snapshot: Snapshot) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def request(base: Path, job: Mapping[str, Any]) -> RunRequest:
    """A job over ``base``, as a job file there would say it."""
    complete = {"name": "quick", "output": "out", **job}
    return request_of(parse_job(json.dumps(complete), base=base), base, None)


def run_here(
    wanted: RunRequest,
    *,
    rows: list[ImageStatus] | None = None,
    begin: Callable[[], None] = lambda: None,
    interrupted: bool = False,
    after: Callable[[ImageStatus], None] = lambda row: None,
    end: RunEnd = RunEnd.FINISHED,
    cache: ResultCache | None = None,
    per_block: int = 1,
    most: int = 10**9,
) -> JobState:
    """Run a job in this process.

    ``begin`` is called when it is planned and the work begins; ``interrupted``: a signal has come before that. ``rows``
    gathers what became of the inputs that were worked on; ``after`` is called when one is published, before its row is
    in the ledger, and may raise; ``end`` is what the work ends with; ``cache`` is the node's cache of analyses;
    ``per_block`` how many inputs a worker is given at a time; ``most`` after how many rows the work ends.
    """

    def work(
        spec: JobSpec,
        output: OutputDirectory,
        ledger: JobLedger,
        lock: OutputLock,
        products: Mapping[str, str],
        store: ResultsStore,
        display: Display,
        stopped: threading.Event,
    ) -> RunEnd:
        begin()
        recipes = JobRecipes(spec, products, ledger, output.root)
        epoch = ledger.facts.read().epoch
        stop, spent = output.temporary / "stop", WorkSpent()
        workspace = prepared(Workspace(root=output.root, epoch=epoch, stop=stop, cache=cache))
        while items := recipes.items(ledger.open_inputs(0, 10**9, min(_ROWS, most - len(gathered)))):
            for start in range(0, len(items), per_block):
                for group in render_analyze_export(items[start : start + per_block], recipes.by_number, workspace):
                    for row in group:
                        after(row)
                    ledger.commit(group, epoch=epoch)
                    spent.add(group)
                    gathered.extend(group)
        ledger.facts.write(spent.added_to(ledger.facts.read()))
        return end

    gathered = [] if rows is None else rows
    signal = threading.Event()
    if interrupted:
        signal.set()
    return run_job(wanted, Silent(), signal, work=work)


@contextmanager
def fixed_files(ledger: JobLedger, output: OutputDirectory) -> Iterator[FixedFiles]:
    """Writes tables and reports of a job that was planned without a run."""
    epoch = ledger.facts.read().epoch + 1
    ledger.facts.write(replace(ledger.facts.read(), epoch=epoch))
    (output.temporary / str(epoch)).mkdir(parents=True)
    with FixedFiles.opened(ledger, output) as files:
        yield files
