"""Some inputs of a job tried in a process of its own: what they need, and how long they take.

Whatever an input or a plug-in does there (hang, end its process, take all memory), the plan that asked for it goes on:
time and memory are bounded, and what was measured until then counts. Results of the trial go to a temporary directory.
"""

from __future__ import annotations

import json
import os
import pickle
import resource
import signal
import subprocess
import sys
import tempfile
from bisect import bisect
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any

from actors.ledger.ledger_rows import OpenInput
from pipelines.errors import ImageError
from pipelines.image_io import probe_file
from pipelines.image_io.written_form import expected_losses
from pipelines.machine_faults import MachineFaultError
from pipelines.models import WorkItem
from pipelines.stages.image_task import ImageWork, process
from pipelines.stages.publish import Publisher
from pipelines.stages.recipe import Recipe
from pipelines.stages.worker_journal import WorkerJournal
from rayjobs.job.job_spec import JobSpec
from rayjobs.job.options import deciding_extensions
from rayjobs.job.recipes import JobRecipes

PROBED = 24
TIMED = 3
LONGEST_S = 20.0
"""For the whole trial; a plan isn't worth more waiting."""
TRIAL, SAID = "trial", "said"
"""Files through which the two processes speak: a pipe would stay open as long as anything that a plug-in started."""
_OWN_CODE = str(Path(__file__).parent.parent.parent)
SPARE_BYTES = 2 * 2**30
"""Of memory beyond what the job allows for one image: libraries, and what operations need."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What was measured."""

    memory_bytes: int | None = None
    """Largest need of one of the images, as their headers say; None when none could be read."""
    seconds: float | None = None
    """Of all inputs, on one CPU."""
    losses: Mapping[str, int] = field(default_factory=dict)
    """What written images can't hold, as headers say -> how many of the inputs that were looked at."""
    looked_at: int = 0
    """Inputs whose headers could be read."""
    note: str | None = None
    """Why something is missing, for a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trial:
    """What the process is told; it comes from our own process and goes to our own."""

    items: tuple[WorkItem, ...]
    """Whose headers are read."""
    timed: tuple[WorkItem, ...]
    recipes: Mapping[int, Recipe]
    extensions: Mapping[str, str]
    most_bytes: int


def try_sample(spec: JobSpec, inputs: Sequence[OpenInput], recipes: JobRecipes) -> Sample:
    """Look at the headers of some inputs, and work on a few of them.

    Raises
    ------
    MachineFaultError
        A run would end with it as well.
    """
    if not inputs:
        return Sample()
    probed = Random(PROBED).sample(inputs, min(PROBED, len(inputs)))  # every n-th may be of one kind
    sizes = [entry.size for entry in inputs]
    picked = dict.fromkeys(picked_by_size(sizes))
    warming = [*picked][:1]  # the smallest one, tried again: at its first time it loads libraries as well
    trial = _Trial(
        items=_apart(recipes.items(probed)),
        timed=_apart(recipes.items([inputs[n] for n in (*warming, *picked)])),
        recipes=dict(recipes.by_number),
        extensions=deciding_extensions(spec),
        most_bytes=spec.limits.memory_per_image + SPARE_BYTES,
    )
    lines, problem = _run_apart(trial, LONGEST_S)
    for line in lines:
        if line["what"] == "fault":
            raise MachineFaultError(line["text"])
    headers = [line for line in lines if line["what"] == "header"]
    tried = {line["id"]: line for line in lines if line["what"] in ("done", "failed")}  # the later time counts
    failures = [line["text"] for line in tried.values() if line["what"] == "failed"]
    if problem is None and failures:
        problem = f"of {len(picked)} inputs that were tried {len(failures)} failed: {failures[0]}"
    took = {line["id"]: line["seconds"] for line in tried.values() if line["what"] == "done"}
    if problem is not None and len(took) < len(picked):
        told = f"is told from {len(took)} of {len(picked)} inputs" if took else "isn't estimated"
        problem = f"the time {told}: {problem}"
    return Sample(
        memory_bytes=max((line["bytes"] for line in headers), default=None),
        seconds=seconds_of_all(sizes, {n: took[inputs[n].id] for n in picked if inputs[n].id in took}),
        losses=Counter(loss for line in headers for loss in line["losses"]),
        looked_at=len(headers),
        note=problem,
    )


def picked_by_size(sizes: Sequence[int]) -> list[int]:
    """Places of ``TIMED`` sizes, from small to large, by their shares of the sum: a large one may occur twice."""
    order = sorted(range(len(sizes)), key=sizes.__getitem__)
    ends = list(accumulate(sizes[n] for n in order))
    steps = [ends[-1] * (2 * step + 1) / (2 * TIMED) for step in range(TIMED)] if ends[-1] else []
    return [order[bisect(ends, step)] for step in steps]


def seconds_of_all(sizes: Sequence[int], took: Mapping[int, float]) -> float | None:
    """What inputs of some sizes take together, by what those took that were picked; None when none of them was done.

    The mean of seconds per byte over a sample by size: unbiased, whatever an input takes beside its bytes (Hansen and
    Hurwitz, 1943).
    """
    rates = [took[n] / sizes[n] for n in picked_by_size(sizes) if n in took]
    return sum(sizes) * sum(rates) / len(rates) if rates else None


def _apart(items: Sequence[WorkItem]) -> tuple[WorkItem, ...]:
    """Their images go below images/ whatever the layout, so that nothing appears beside a source."""
    return tuple(replace(item, image="", known=()) for item in items)


def _run_apart(trial: _Trial, longest_s: float) -> tuple[list[dict[str, Any]], str | None]:
    """What the process said, and why it came to no end of its own."""
    with tempfile.TemporaryDirectory(prefix="rayjobs-sample-") as directory:
        (Path(directory) / TRIAL).write_bytes(pickle.dumps(trial))
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "rayjobs.run.plan_sample", directory],  # nothing from the current directory
            env={**os.environ, "PYTHONPATH": os.pathsep.join([_OWN_CODE, *filter(None, [os.getenv("PYTHONPATH")])])},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # what a plug-in started in there ends with it
        )
        try:
            code: int | None = process.wait(longest_s)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _end(process)
            process.wait()
        lines = list(_said(Path(directory) / SAID))
    if code is None:
        return lines, f"trying some, from small to large, took longer than {longest_s:.0f} s"
    return lines, None if code == 0 else f"the process that tried some inputs ended ({_ended(code)})"


def _said(path: Path) -> Iterator[dict[str, Any]]:
    """What the process wrote; the last line may be cut off."""
    for line in path.read_text().splitlines() if path.exists() else ():
        with suppress(ValueError):
            yield json.loads(line)


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _ended(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _main(directory: Path) -> None:
    """The process itself."""
    trial: _Trial = pickle.loads((directory / TRIAL).read_bytes())
    from pipelines.cpu_threads import limit_threads
    from pipelines.extensions.extension_manager import load_extensions

    resource.setrlimit(resource.RLIMIT_DATA, (trial.most_bytes, trial.most_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limit_threads()
    with (directory / SAID).open("x", buffering=1) as said:

        def say(what: str, **values: Any) -> None:
            said.write(json.dumps({"what": what, **values}) + "\n")

        for item in trial.items:
            with suppress(ImageError):  # its row will say so
                recipe = trial.recipes[item.recipe]
                header = probe_file(item.path, recipe.read)
                losses = expected_losses(header, recipe.image, recipe.read.color)
                say("header", bytes=header.predicted_bytes, losses=losses)
        load_extensions(trial.extensions)
        _try(trial, directory, say)


def _try(trial: _Trial, directory: Path, say: Callable[..., None]) -> None:
    temporary = directory / "tmp"
    temporary.mkdir()
    with closing(WorkerJournal(temporary)) as journal:
        for number, item in enumerate(trial.timed):
            publisher = Publisher(directory / f"out-{number}", temporary, journal)  # one of them comes twice
            try:
                status, _ = process(ImageWork(item=item, recipe=trial.recipes[item.recipe], publisher=publisher))
            except MachineFaultError as fault:
                say("fault", text=str(fault))
                return
            if status.status == "failed":
                say("failed", id=item.id, text=f"{item.title}: {status.reason}: {status.message}")
            else:
                say("done", id=item.id, seconds=status.seconds)


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
