"""P6: a job run again: unchanged, with fewer analyses, with another table format, with one analysis more.

Each is ``rayjobs run`` in a process of its own, from start to end, against the first run of the same job.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from actors.ledger.job_ledger import JobLedger
from actors.ledger.product_plan import ANALYSIS
from benchmarks.bars import measure
from benchmarks.command_line import Run, run, write_job
from benchmarks.figures import Figure, Scale, fact, rounded, say
from benchmarks.photographs import photographs
from benchmarks.standard_work import QUALITY, SCOPES
from rayjobs.job.output_directory import OutputDirectory

PHOTOGRAPHS = 3_000
"""Of the standard work, which is a thousand or more: a run again of a thousand takes half its time to start Python."""
ALL = [request.name for request in SCOPES]
MORE = "sharpness"
IMAGES = {"format": "jpeg", "quality": QUALITY, "layout": "flat"}
AGAIN: dict[str, Mapping[str, Any]] = {
    "unchanged": {},
    "fewer analyses": {"analyses": ALL[:-2]},
    "another table format": {"export": {"images": IMAGES, "data": ["csv"]}},
}


def p6(scale: Scale) -> Figure:
    """Seconds of the first run over seconds of each run again."""
    files = photographs(scale.share(PHOTOGRAPHS)).files
    output, home = scale.scratch / "standard-work", scale.scratch / "home"

    def run_with(changes: Mapping[str, Any]) -> Run:
        limits = {"workers": scale.workers}
        return run(write_job(files, output, limits=limits, **changes), home=home)

    first = run_with({})
    say(f"  first run: {first.seconds:.1f} s")
    again: dict[str, list[Run]] = {name: [] for name in AGAIN}
    for turn in range(scale.repeat):
        if turn:
            run_with({})  # the last one's changes are taken back, or "unchanged" would change them
        for name, changes in AGAIN.items():
            again[name].append(run_with(changes))
            say(f"  {name}: {again[name][-1].seconds:.2f} s")
    measures = []
    for name, runs in again.items():
        seconds = statistics.median(each.seconds for each in runs)
        detail = {"seconds": rounded(seconds), "first_run_s": rounded(first.seconds), "photographs": len(files)}
        if name == "unchanged":
            measures.append(measure("P6 unchanged", f"run again, {name}", first.seconds / seconds, detail))
        else:
            measures.append(measure("P6 changed", f"seconds to run again, {name}", seconds, detail))
        measures.append(fact(f"run again, {name}: Ray isn't started", not any(each.ray for each in runs)))
    run_with({})
    before, known = _images(output), set(_recipes(output))
    run_with({"analyses": [*ALL, MORE]})
    computed = {product for number, recipe in _recipes(output).items() if number not in known for product in recipe}
    names = [json.loads(product.removeprefix(ANALYSIS))[0] for product in computed if product.startswith(ANALYSIS)]
    only = len(computed) == 1 and names == [MORE]
    measures.append(fact("one analysis more: only that one is computed", only))
    measures.append(fact("one analysis more: no image is written again", _images(output) == before))
    return Figure("P6", measures)


def _images(output: Path) -> dict[str, tuple[int, int]]:
    """Every image with the inode and time that a new file would not have."""
    found = {}
    for file in (output / "images").rglob("*"):
        stat = file.stat()
        found[file.name] = (stat.st_ino, stat.st_mtime_ns)
    return found


def _recipes(output: Path) -> dict[int, dict[str, str]]:
    """Number -> products of each recipe that the job's workers were given."""
    ledger = JobLedger(OutputDirectory(output).ledger, read_only=True)
    try:
        return ledger.recipes()
    finally:
        ledger.close()
