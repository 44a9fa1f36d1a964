"""From words or a job file to a manager's job, from that to a run of it, and from the run's ledger back to the job."""

from __future__ import annotations

import json
import os
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from actors.ledger.job_registry import job_id_of
from pipelines.errors import JobError
from pipelines.models import AnalysisRequest, ImageOperation
from rayjobs.job.job_check import check_job
from rayjobs.job.job_file import load_job
from rayjobs.job.job_state import JobState, JobStatus, read_state
from rayjobs.job.output_directory import OutputDirectory
from rayjobs.job.path_spelling import expanded
from rayjobs.managers.batch_job import BatchJob
from rayjobs.managers.job_pool import RunHandle
from rayjobs.run.run_request import RunRequest

Source = str | Path | Mapping[str, Any]
"""What a job's inputs may be: a file, directory or pattern, or a table as a job file has it."""


def job_output(base: Path, output: str | Path) -> Path:
    """Absolute and without ``..``, but with links as they are. Raises JobError: it can't be meant as a directory."""
    return Path(os.path.normpath(base / expanded(os.fspath(output), what="output", base=base)))


def new_job(
    name: str,
    source_paths: Iterable[Source],
    operations: Iterable[str | Mapping[str, Any] | ImageOperation],
    analyses: Iterable[str | Mapping[str, Any]],
    export_config: Mapping[str, Any] | None,
    options: Mapping[str, Any],
    *,
    output: str | Path,
) -> BatchJob:
    """A job of these words; paths are relative to the current directory."""
    root = job_output(Path.cwd(), output)
    said = {"source_paths": source_paths, "operations": operations, "analyses": analyses}
    stored = as_stored({**said, "export_config": export_config, "options": options})
    return BatchJob(job_id=job_id_of(name, root), name=name, output=str(root), base=str(Path.cwd()), **stored)


def as_stored(said: Mapping[str, Any]) -> dict[str, Any]:
    """What a job does, as it is kept; what a job file can't have is left to the check of the job.

    Raises
    ------
    JobError
        There is no list where one must be, nor a value that may stand for it; or options aren't keys of a job file.
    """
    stored = {key: dict(value) if isinstance(value, Mapping) else value for key, value in said.items()}
    for key in {"operations", "analyses"} & said.keys():
        stored[key] = as_steps(said[key], key)
    if "source_paths" in said:
        stored["source_paths"] = as_sources(said["source_paths"])
    if not isinstance(stored.get("options", {}), dict):
        raise JobError(f"options: give keys of a job file and their values, not {reprlib.repr(said['options'])}")
    return stored


def job_of_file(path: Path) -> BatchJob:
    """The job that a job file describes.

    Raises
    ------
    JobError
        With every mistake.
    """
    spec, base = load_job(path), path.resolve().parent
    root = job_output(base, spec.output)
    stored = spec.model_dump(mode="json", exclude={"name", "inputs", "output"}, exclude_defaults=True)
    return BatchJob(
        job_id=job_id_of(spec.name, root),
        name=spec.name,
        source_paths=spec.model_dump(mode="json", include={"inputs"})["inputs"],
        operations=stored.pop("operations", []),
        export_config=spec.export.model_dump(mode="json"),
        output=str(root),
        base=str(base),
        analyses=stored.pop("analyses", []),
        options={key: value for key, value in stored.items() if key != "export"},
    )


def as_steps(steps: Any, what: str) -> list[str | dict[str, Any]]:
    """Operations or analyses as a job file has them; what is none is left to the check of the job.

    Raises
    ------
    JobError
        There is no list of them, nor one.
    """
    return [_as_step(step) for step in _listed(steps, what)]


def _as_step(step: str | Mapping[str, Any] | ImageOperation | AnalysisRequest) -> str | dict[str, Any]:
    if isinstance(step, ImageOperation | AnalysisRequest):
        return {step.name: dict(step.params)}
    return dict(step) if isinstance(step, Mapping) else step


def as_sources(sources: Any) -> list[str | dict[str, Any]]:
    """Files, directories, patterns and tables of inputs as a job file has them.

    Raises
    ------
    JobError
        There is no list of them, nor one.
    """
    found = _listed(sources, "images")
    return [dict(source) if isinstance(source, Mapping) else str(source) for source in found]


def _listed(given: Any, what: str) -> Iterable[Any]:
    """As in a job file, one may stand where a list may be."""
    if isinstance(given, str | Path | Mapping | ImageOperation | AnalysisRequest):
        return (given,)
    if not isinstance(given, Iterable):
        raise JobError(f"{what}: give a list of them, which may be empty, not {reprlib.repr(given)}")
    return given


def with_sources(job: BatchJob, added: Iterable[str | dict[str, Any]]) -> BatchJob:
    """A job with more in its pool; what it has already stays where it is."""
    by_text = {_text(source): source for source in [*job.source_paths, *added]}
    return replace(job, source_paths=list(by_text.values()))


def without_sources(job: BatchJob, dropped: Iterable[str | dict[str, Any]]) -> BatchJob:
    """A job with less in its pool. Raises JobError: it hasn't all of that."""
    texts = set(map(_text, dropped))
    if missing := sorted(texts - set(map(_text, job.source_paths))):
        raise JobError(f"{job.job_id}: {missing[0]!r} isn't in the pool; it has {len(job.source_paths)} paths")
    return replace(job, source_paths=[source for source in job.source_paths if _text(source) not in texts])


def _text(source: str | dict[str, Any]) -> str:
    """The same for the same source."""
    return source if isinstance(source, str) else json.dumps(source, sort_keys=True)


def job_request(job: BatchJob, *, needs_images: bool = True) -> RunRequest:
    """What to run for a job.

    Raises
    ------
    JobError
        With every mistake in the job's definition; or it has no images, and ``needs_images``.
    """
    if needs_images and not job.source_paths:
        raise JobError(f"{job.job_id}: has no images; add some with `add_images`")
    wanted: dict[str, Any] = {
        **job.options,
        "name": job.name,
        "inputs": job.source_paths or ["."],
        "operations": job.operations,
        "analyses": job.analyses,
        "output": job.output,
    }
    if job.export_config is not None:
        wanted["export"] = job.export_config
    spec = check_job(wanted, name=f"job {job.name}", base=Path(job.base))
    if not job.source_paths:
        spec = spec.model_copy(update={"inputs": []})
    return RunRequest(spec=spec, base=Path(job.base), output=Path(job.output))


def as_refreshed(job: BatchJob, run: RunHandle | None) -> BatchJob:
    """A job with status, progress and times as its output's ledger says; ``run`` is the one that is open here."""
    output = OutputDirectory(Path(job.output))
    if not output.exists:
        waiting = job.status if run is None else JobStatus.PENDING
        return replace(job, status=waiting)
    state = read_state(output)
    status = state.status
    if run is not None and status is not JobStatus.RUNNING:
        status = JobStatus.PENDING  # what the ledger says is about the run before
    elif job.status is JobStatus.FAILED and run is None and job.result_message and status is JobStatus.PENDING:
        return job  # it could not even be planned
    return replace(
        job,
        status=status,
        progress=percent(state.done + state.failed + state.skipped, state.total),
        result_message=state.error or message_of(state),
        started_at=_moment(state.started),
        completed_at=_moment(state.finished),
    )


def percent(done: int, total: int) -> int:
    """Rounded down, so that 100 means all."""
    return 100 * done // total if total else 0


def message_of(state: JobState) -> str | None:
    """How many inputs ended how."""
    if not state.total:
        return None
    return f"{state.done:,} done, {state.failed:,} failed, {state.skipped:,} skipped of {state.total:,}"


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
