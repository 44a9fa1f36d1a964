"""``rayjobs plan``: what a run would do, without doing it and without touching the output.

The plan is made as a run makes it, on a copy of the job's ledger. Memory is predicted from the headers of some inputs,
time by working on a few of them: in a process of its own (``plan_sample``), since nobody knows what an input or a
plug-in does.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from actors.ledger.job_ledger import JobLedger
from actors.ledger.ledger_rows import OpenInput
from pipelines.quantity_texts import duration_text, size_text
from pipelines.tables import printable, readable_path
from rayjobs.job.job_spec import JobSpec
from rayjobs.job.naming import is_beside, output_paths
from rayjobs.job.output_directory import OutputDirectory
from rayjobs.job.product_keys import table_requests
from rayjobs.job.recipes import JobRecipes
from rayjobs.job.stage_needs import chosen_stages
from rayjobs.job.wishes import idle_wishes
from rayjobs.results.job_results import JOB_JSON, MANIFEST
from rayjobs.results.job_tables import table_paths
from rayjobs.results.report_files import PAGE
from rayjobs.run.kept_ray import starts_ray, usable_ray
from rayjobs.run.plan_sample import try_sample
from rayjobs.run.planning import planned_elsewhere
from rayjobs.run.run_request import RunRequest

START_S = 6.0
"""Start and end of a Ray on this machine, its workers included, about."""
SHOWN = 20
"""Left-out inputs that are listed one by one; the rest is counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """An input that the plan itself fails or skips."""

    input: str
    status: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What a run would do."""

    name: str
    output: Path
    total: int
    to_do: int
    finished: int
    """Inputs that have all their products already."""
    renamed: int
    """Inputs whose output names had to give way to others."""
    left_out: tuple[LeftOut, ...]
    """At most ``SHOWN``."""
    reasons: dict[str, int]
    """Reason -> inputs left out for it."""
    ignored: dict[str, int]
    """Extension -> files of directories that don't look like images."""
    excluded_directories: tuple[str, ...]
    """That aren't entered."""
    results_left_out: dict[str, int]
    """Output of a job -> its results among what the inputs name."""
    columns: dict[str, str]
    """Of the inputs -> type."""
    unmatched: int
    """Inputs whose path the job's pattern of columns doesn't match."""
    unmatched_first: tuple[str, ...]
    operations: tuple[str, ...]
    analyses: tuple[str, ...]
    requires: dict[str, float | dict[str, float]]
    """Units that each image holds while it is worked on; by stage where the job says which one."""
    stages: str
    """``fused`` or ``staged``."""
    tasks: tuple[str, ...]
    """That follow when the results are written."""
    input_bytes: int
    """Of the inputs to do."""
    memory_bytes: int | None
    """Largest need of one image among the probed ones."""
    seconds: float | None
    """Estimated."""
    cpus: int
    """That the time is estimated for."""
    losses: dict[str, int]
    """What written images can't hold -> how many of the inputs that were looked at."""
    looked_at: int
    """Inputs whose headers were read for memory and losses."""
    note: str | None
    """Why something couldn't be estimated."""
    writes: tuple[str, ...]
    """Files that appear, relative to the output."""
    running: bool
    """Whether a run is going on there."""
    formats: dict[str, int]
    """Suffix -> inputs to do."""
    idle: tuple[str, ...]
    """What is asked for and comes to nothing."""

    def to_json(self) -> dict[str, Any]:
        """Plain values, as ``--json`` prints them."""
        return {**asdict(self), "output": str(self.output)}

    def lines(self) -> Iterator[str]:
        """The same for a person."""
        nothing = "none: the originals are analysed" if self.analyses else "none"
        inputs = "1 input" if self.total == 1 else f"{self.total:,} inputs"
        yield f"{self.name}: {inputs}, {self.to_do:,} to do, {self.finished:,} finished already"
        yield f"output:     {self.output}"
        yield f"operations: {', '.join(self.operations) or nothing}"
        yield f"analyses:   {', '.join(self.analyses) or 'none'}"
        if self.requires:
            yield f"requires:   {', '.join(_needs(self.requires))} per image"
        if self.stages == "staged":
            yield "stages:     render, analyze and export apart"
        if self.tasks:
            yield f"then:       {', '.join(self.tasks)}"
        if self.to_do:
            formats = ", ".join(f"{count:,} {printable(suffix)}" for suffix, count in self.formats.items())
            yield f"to read:    {size_text(self.input_bytes)}: {formats}"
        if self.memory_bytes is not None:
            yield f"memory:     up to {size_text(self.memory_bytes)} per image at a time, and worker"
        if self.seconds is not None:
            start = "" if not starts_ray() else ", Ray's start included"
            cpus = "1 CPU" if self.cpus == 1 else f"{self.cpus} CPUs"
            about = duration_text(round(self.seconds)).replace(".0", "")
            yield f"time:       about {about} on {cpus}{start}"
        for loss, count in self.losses.items():
            yield f"degraded:   {printable(loss)} ({count:,} of {self.looked_at:,} inputs looked at)"
        if self.renamed:
            yield f"renamed:    {self.renamed:,} outputs whose names would clash"
        for reason, count in self.reasons.items():
            yield f"left out:   {count:,} {reason}"
        for entry in self.left_out:
            yield f"  {entry.reason:<14} {printable(entry.input)}: {printable(entry.message)}"
        if len(self.left_out) < sum(self.reasons.values()):
            yield f"  ... and {sum(self.reasons.values()) - len(self.left_out):,} more"
        yield from self._left_out()
        for path in self.writes:
            yield f"writes:     {printable(path)}"
        yield from self._notes()

    def _left_out(self) -> Iterator[str]:
        for extension, count in self.ignored.items():
            yield f"ignored:    {count:,} files that don't look like images: {printable(extension)}"
        if self.columns:
            yield f"columns:    {', '.join(f'{name} ({kind})' for name, kind in self.columns.items())}"
        if self.unmatched:
            yield f"unmatched:  {self.unmatched:,} inputs, whose path `groups` doesn't match"
            yield from (f"  {printable(path)}" for path in self.unmatched_first)
        for directory in self.excluded_directories:
            yield f"left out:   {printable(directory)}: the directory is left out by `exclude`"
        for root, count in self.results_left_out.items():
            yield f"left out:   {count:,} results of the job in {printable(root)}"

    def _notes(self) -> Iterator[str]:
        if self.note:
            yield f"note:       {printable(self.note)}"
        if not self.writes:
            yield "note:       nothing to do: everything is there as the job wants it"
        yield from (f"note:       {wish}" for wish in self.idle)
        if self.running:
            yield f"note:       a run is going on in {printable(str(self.output))}: another one has to wait for it"


def dry_run(request: RunRequest) -> Outlook:
    """Plan a run.

    Raises
    ------
    JobError
        As the run itself would when planning.
    """
    spec, output = request.spec, OutputDirectory(request.output)
    with planned_elsewhere(request) as (ledger, plan):
        counts, facts = ledger.counts(), ledger.facts.read()
        opened = ledger.open_inputs(0, counts.total)
        recipes = JobRecipes(spec, plan.wanted, ledger, output.root)
        sample = try_sample(spec, opened, recipes)
        cpus = taken_cpus(spec.limits.cpus)
        return Outlook(
            name=spec.name,
            output=request.output,
            total=plan.sealed.total,
            to_do=counts.open,
            finished=counts.done,
            renamed=plan.sealed.renamed,
            left_out=_left_out(ledger),
            reasons=ledger.reasons(),
            ignored=dict(plan.discovery.ignored.most_common(10)),
            excluded_directories=tuple(plan.discovery.excluded_directories),
            results_left_out=dict(plan.discovery.results_left_out),
            columns={column.name: column.type for column in facts.columns},
            unmatched=facts.unmatched,
            unmatched_first=plan.discovery.columns.unmatched[:SHOWN],
            operations=tuple(operation.name for operation in spec.operations),
            analyses=tuple(request.name for request in spec.analyses),
            requires=dict(spec.requires),
            stages=chosen_stages(spec),
            tasks=tuple(task.name for task in spec.tasks),
            input_bytes=sum(entry.size for entry in opened),
            memory_bytes=sample.memory_bytes,
            seconds=None if sample.seconds is None else _run_s(sample.seconds, cpus),
            cpus=cpus,
            losses=dict(sample.losses),
            looked_at=sample.looked_at,
            note=sample.note,
            writes=tuple(_writes(spec, counts.open)) if plan.changes_results or counts.open else (),
            running=output.running,
            formats=dict(_formats(opened).most_common(SHOWN)),
            idle=tuple(idle_wishes(spec)),
        )


def _left_out(ledger: JobLedger) -> tuple[LeftOut, ...]:
    finals = (final for final in ledger.final_inputs() if final.status != "done" and final.reason)
    return tuple(
        LeftOut(
            input=readable_path(final.path),
            status=final.status,
            reason=final.reason or "",
            message=final.message or "",
        )
        for final in islice(finals, SHOWN)
    )


def taken_cpus(limit: int | None) -> int:
    """CPUs that a job of this limit is worked on by: a kept Ray's, or this machine's."""
    kept = usable_ray()
    there = (os.cpu_count() or 1) if kept is None else kept.cpus
    return min(limit or there, there)


def _run_s(seconds: float, cpus: int) -> float:
    """What a run takes whose images take one CPU so long."""
    return seconds / cpus + (START_S if starts_ray() else 0.0)


def _formats(inputs: Sequence[OpenInput]) -> Counter[str]:
    """What the names of inputs say that they are."""
    suffixes = (os.path.splitext(readable_path(entry.path))[1].removeprefix(".").lower() for entry in inputs)
    return Counter(suffix or "without a suffix" for suffix in suffixes)


def _needs(requires: Mapping[str, float | Mapping[str, float]]) -> Iterator[str]:
    """What an image holds, for a person."""
    for name, value in requires.items():
        if isinstance(value, Mapping):
            yield from (f"{need} to {name}" for need in _needs(value))
        else:
            yield f"{value:g} of {name}"


def _writes(spec: JobSpec, images: int) -> Iterator[str]:
    """What a run writes, relative to the output."""
    paths = output_paths(spec)
    if paths.image_suffixes and images:
        where = "beside their sources" if is_beside(spec) else "images/"
        yield f"{where}: {images:,} images ({'/'.join(dict.fromkeys(paths.image_suffixes))})"
    if images:
        yield from (f"charts/{name}/: {images:,} charts ({paths.chart_suffix})" for name in paths.charted)
    yield from table_paths(table_requests(spec), spec.export.data, spec.group_by)
    yield from (MANIFEST, JOB_JSON, PAGE)
