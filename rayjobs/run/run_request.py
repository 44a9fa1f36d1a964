"""What a run is asked for: by a job file, by whoever runs an output's job again."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from actors.queue.task_pools import BATCH
from pipelines.errors import JobError
from rayjobs.job.job_check import check_job
from rayjobs.job.job_spec import JobSpec
from rayjobs.job.output_directory import OutputDirectory
from rayjobs.job.path_spelling import expanded


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
    """Whose share of the cluster it runs in: ``batch`` or ``export``; see ``actors.queue.task_pools``."""
    source: Path | None = None
    """Output of another job over the same images, whose results are no inputs of this one either."""


def request_of(spec: JobSpec, base: Path, output: Path | None) -> RunRequest:
    """A run of a job as its file says, unless ``output`` says otherwise."""
    base = base.resolve()
    if output is None:
        chosen = base / expanded(spec.output, what="output", base=base)
    else:
        here = Path.cwd()
        chosen = here / expanded(str(output), what="--output", base=here)
    return RunRequest(
        spec=spec, base=base, output=Path(os.path.normpath(chosen))
    )  # links stay as they are: the user knows them


def stored_request(output: OutputDirectory) -> RunRequest:
    """The run that an output directory's job was last asked for.

    Raises
    ------
    JobError
        No job has run there.
    """
    with closing(output.read_ledger()) as ledger:
        stored, facts = ledger.facts.spec(), ledger.facts.read()
    if stored is None:
        raise JobError(f"{output.root}: its job was killed before it was planned; run the job file again")
    spec = check_job(stored, name=f"{output.root}: stored job", base=Path(facts.base))
    source = None if facts.source is None else Path(facts.source)
    return RunRequest(spec=spec, base=Path(facts.base), output=output.root, pool=facts.pool, source=source)
