"""``rayjobs plan``: what a run would do, without doing it and without touching the output.

The plan is made as a run makes it, on a copy of the job's ledger. Memory is predicted from the headers of some inputs,
time from the job's own history, or else by rendering and analysing a few inputs right here.
"""

from __future__ import annotations

import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.input_plan import seal_inputs
from actors.job_ledger import JobLedger, OpenInput
from actors.product_plan import apply_products
from pipelines.errors import ImageError
from pipelines.image_io import ReadPolicy, probe_file
from pipelines.image_task import analyze, render
from pipelines.tables import printable, readable_path
from rayjobs.beside import without_own
from rayjobs.discovery import Discovery
from rayjobs.job_plan import RecipeBook, deciding_extensions, naming, read_policy, wanted_products
from rayjobs.output_directory import OutputDirectory
from rayjobs.progress import format_duration
from rayjobs.run import RunRequest

PROBED = 24
TIMED = 3
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
    unreadable: tuple[str, ...]
    operations: tuple[str, ...]
    analyses: tuple[str, ...]
    requires: dict[str, float]
    """Units that each image holds while it is worked on."""
    tasks: tuple[str, ...]
    """That follow when the results are written."""
    input_bytes: int
    """Of the inputs to do."""
    memory_bytes: int | None
    """Largest need of one image among the probed ones."""
    seconds: float | None
    """Estimated for this machine's CPUs."""

    def to_json(self) -> dict[str, Any]:
        """Plain values, as ``--json`` prints them."""
        found = {name: getattr(self, name) for name in self.__slots__}
        left_out = [{name: getattr(entry, name) for name in LeftOut.__slots__} for entry in self.left_out]
        return {**found, "output": str(self.output), "left_out": left_out}

    def lines(self) -> Iterator[str]:
        """The same for a person."""
        yield f"{self.name}: {self.total:,} inputs, {self.to_do:,} to do, {self.finished:,} finished already"
        yield f"output:     {self.output}"
        yield f"operations: {', '.join(self.operations) or 'none: the originals are analysed'}"
        yield f"analyses:   {', '.join(self.analyses) or 'none'}"
        if self.requires:
            units = ", ".join(f"{amount:g} of {name}" for name, amount in self.requires.items())
            yield f"requires:   {units} per image"
        if self.tasks:
            yield f"then:       {', '.join(self.tasks)}"
        if self.to_do:
            yield f"to read:    {_megabytes(self.input_bytes)}"
        if self.memory_bytes is not None:
            yield f"memory:     up to {_megabytes(self.memory_bytes)} per image at a time, and worker"
        if self.seconds is not None:
            yield f"time:       about {format_duration(self.seconds)} on {os.cpu_count()} CPUs"
        if self.renamed:
            yield f"renamed:    {self.renamed:,} outputs whose names would clash"
        for reason, count in self.reasons.items():
            yield f"left out:   {count:,} {reason}"
        for entry in self.left_out:
            yield f"  {entry.reason:<14} {printable(entry.input)}: {printable(entry.message)}"
        if len(self.left_out) < sum(self.reasons.values()):
            yield f"  ... and {sum(self.reasons.values()) - len(self.left_out):,} more"
        for extension, count in self.ignored.items():
            yield f"ignored:    {count:,} files that don't look like images: {printable(extension)}"
        for directory in self.unreadable:
            yield f"unreadable: {printable(directory)}"


def dry_run(request: RunRequest) -> Outlook:
    """Plan a run.

    Raises
    ------
    JobError
        As the run itself would when planning.
    """
    spec = request.spec
    output = OutputDirectory(request.output)
    with _copied_ledger(output) as ledger:
        discovery = Discovery(spec.inputs, request.base, spec.exclude, request.output)
        sealed = seal_inputs(
            ledger, without_own(discovery.inputs(), ledger, request.output), naming(spec, request.output, ledger)
        )
        wanted = wanted_products(spec, deciding_extensions(spec))
        apply_products(ledger, wanted)
        counts = ledger.counts()
        opened = ledger.open_inputs(0, counts.total)
        policy = read_policy(spec)
        finals = [final for final in ledger.final_inputs() if final.status != "done" and final.reason]
        return Outlook(
            name=spec.name,
            output=request.output,
            total=sealed.total,
            to_do=counts.open,
            finished=counts.done,
            renamed=sealed.renamed,
            left_out=tuple(
                LeftOut(
                    input=readable_path(final.path),
                    status=final.status,
                    reason=final.reason or "",
                    message=final.message or "",
                )
                for final in finals[:SHOWN]
            ),
            reasons=ledger.reasons(),
            ignored=dict(discovery.ignored.most_common(10)),
            unreadable=tuple(discovery.unreadable),
            operations=tuple(operation.name for operation in spec.operations),
            analyses=tuple(request.name for request in spec.analyses),
            requires=dict(spec.requires),
            tasks=tuple(task.name for task in spec.tasks),
            input_bytes=sum(entry.size for entry in opened),
            memory_bytes=_memory(_sample(opened, PROBED), policy),
            seconds=_seconds(ledger, opened, RecipeBook(spec, wanted, ledger)),
        )


@contextmanager
def _copied_ledger(output: OutputDirectory) -> Iterator[JobLedger]:
    with tempfile.TemporaryDirectory(prefix="rayjobs-plan-") as directory:
        copy = Path(directory) / "ledger.sqlite"
        if output.exists:
            source = sqlite3.connect(f"{output.ledger.absolute().as_uri()}?mode=ro", uri=True, timeout=30)
            with closing(source), closing(sqlite3.connect(copy)) as target:
                source.backup(target)
        ledger = JobLedger(copy)
        try:
            yield ledger
        finally:
            ledger.close()


def _sample(inputs: Sequence[OpenInput], most: int) -> list[OpenInput]:
    step = max(len(inputs) // most, 1)
    return list(inputs[::step][:most])


def _memory(inputs: Sequence[OpenInput], policy: ReadPolicy) -> int | None:
    needs = []
    for entry in inputs:
        try:
            header = probe_file(entry.path, policy)
        except ImageError:
            continue
        needs.append(header.predicted_bytes)
    return max(needs, default=None)


def _seconds(ledger: JobLedger, opened: Sequence[OpenInput], book: RecipeBook) -> float | None:
    """CPU seconds per image times images over CPUs; None when nothing is to do or no input could be tried."""
    if not opened:
        return None
    known = ledger.mean_seconds()
    if known is None:
        measured = [seconds for entry in _sample(opened, TIMED + 1) if (seconds := _time_one(entry, book)) is not None]
        if not measured:
            return None
        known = statistics.median(measured[1:] or measured)  # the first also loads libraries
    return known * len(opened) / (os.cpu_count() or 1)


def _time_one(entry: OpenInput, book: RecipeBook) -> float | None:
    (item,) = book.items([entry])
    started = time.perf_counter()
    try:
        analyze(render(item, book.recipes[item.recipe]), book.recipes[item.recipe])
    except ImageError:
        return None
    return time.perf_counter() - started


def _megabytes(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB" if size < 2**30 else f"{size / 2**30:,.1f} GiB"
