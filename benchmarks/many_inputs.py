"""The driver's side of a job of very many inputs, in this process: planning, ledger, the loop over shards, manifest.

What workers would do is left out: an engine answers at once that every image is done. Prints the peak of memory and the
inputs per second that were planned, and of which rows were committed.

    python -m benchmarks.many_inputs 1000000 DIR
"""

from __future__ import annotations

import itertools
import json
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from actors.ledger.input_plan import seal_inputs
from actors.ledger.job_ledger import JobLedger
from actors.ledger.output_lock import OutputLock
from actors.ledger.product_plan import apply_products
from actors.ledger.staged_inputs import FoundInput
from benchmarks import standard_work
from pipelines.errors import FailedReason
from pipelines.models import ImageStatus, Output, WorkItem
from pipelines.stages.block_task import Workspace
from pipelines.storage.custody import Written
from pipelines.tables import SAVED_ROWS, SealRequest
from pipelines.tasks import TaskPriority
from rayjobs.job.naming import naming
from rayjobs.job.output_directory import OutputDirectory
from rayjobs.job.product_keys import wanted_products
from rayjobs.job.recipes import JobRecipes
from rayjobs.results.fixed_files import FixedFiles
from rayjobs.results.job_results import write_manifest_file
from rayjobs.results.results_store import ResultsStore
from rayjobs.run.progress import Snapshot
from rayjobs.run.run_end import RunEnd
from rayjobs.run.run_loop import Granted, Revoked, RunLoop
from rayjobs.run.shard_runner import SMALLEST_STREAM_ROWS, ShardContext
from rayjobs.run.worker_watch import Crash


@dataclass(frozen=True, slots=True)
class InstantEngine:
    """Says of every image that it is done; implements ``shard_runner.ShardEngine``."""

    workspace: Workspace
    stream_rows: int = SMALLEST_STREAM_ROWS
    waits: bool = False

    def stream(self, items: Sequence[WorkItem]) -> Iterator[list[ImageStatus]]:
        for at in range(0, len(items), SAVED_ROWS):
            yield [done_row(item) for item in items[at : at + SAVED_ROWS]]

    def alone(self, item: WorkItem, reason: FailedReason, tries_left: int) -> list[ImageStatus] | Crash:
        return [done_row(item)]

    def crashes(self, numbers: Iterable[int]) -> dict[int, Crash | None]:
        return {}

    def seal(self, requests: Sequence[SealRequest]) -> list[tuple[Written, ...]]:
        """There are no results."""
        return []


def done_row(item: WorkItem) -> ImageStatus:
    """What a worker would say of an image that it has rendered."""
    image = Output(product="image", path=f"images/{item.name}.jpg", sha256=f"{item.id:064x}", bytes=item.size)
    return ImageStatus(
        id=item.id, status="done", width=1920, height=1280, outputs=(image,), recipe=item.recipe, worker="none"
    )


@dataclass(slots=True)
class InstantGrants:
    """Grants every shard as soon as it is asked for; implements ``run_loop.Grants``."""

    _asked: list[str] = field(default_factory=list)

    def request(self, shard: str) -> None:
        self._asked.append(shard)

    def end(self, shard: str, *, finished: bool) -> None:
        """Nothing is held."""

    def set_priority(self, priority: TaskPriority) -> None:
        """Nobody else waits."""

    def decisions(self, timeout_s: float) -> list[Granted | Revoked]:
        asked, self._asked = self._asked, []
        if not asked:
            threading.Event().wait(min(timeout_s, 0.01))
        return [Granted(shard, 1) for shard in asked]

    def wake(self) -> None:
        """It never waits long."""


class Silence:
    """Shows nothing; implements ``progress.Display``."""

    def show(self, snapshot: Snapshot) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def found_inputs(count: int) -> Iterator[FoundInput]:
    """Inputs as discovery would give them, without files."""
    for number in range(count):
        name = f"{number // 1000:04d}/photograph-{number:07d}.jpg".encode()
        yield FoundInput(path=b"/photographs/" + name, relative=name, size=500_000, mtime_ns=number)


def run(count: int, root: Path) -> tuple[RunEnd, dict[str, float]]:
    """Bring a job of ``count`` inputs to its end; and the seconds of its phases."""
    times = [time.perf_counter()]
    output = OutputDirectory(root)
    spec = standard_work.job([], root, analyses=[])
    lock = OutputLock(output.lock)
    ledger = JobLedger(output.ledger)
    try:
        seal_inputs(ledger, found_inputs(count), naming(spec, root, ledger))
        wanted = wanted_products(spec, {})
        apply_products(ledger, wanted)
        times.append(time.perf_counter())
        workspace = standard_work.workspace(root)
        engine = InstantEngine(workspace)
        context = ShardContext(
            ledger=ledger,
            epoch=workspace.epoch,
            attempts=1,
            items=JobRecipes(spec, wanted, ledger).items,
            store=ResultsStore(ledger, output, spec.analyses),
            committed=lambda _rows: None,
        )
        loop = RunLoop(
            name=spec.name,
            context=context,
            output=output,
            lock=lock,
            grants=InstantGrants(),
            engine=lambda _shard, _cpus, _stop: engine,
            display=Silence(),
            interrupted=threading.Event(),
            most_failures=None,
        )
        end = loop.run()
        times.append(time.perf_counter())
        ledger.facts.write(replace(ledger.facts.read(), epoch=workspace.epoch))
        with FixedFiles.opened(ledger, output) as files:
            write_manifest_file(ledger, files, {"job": spec.name})
        times.append(time.perf_counter())
    finally:
        ledger.close()
        lock.release()
    taken = [later - earlier for earlier, later in itertools.pairwise(times)]
    return end, dict(zip(("planned", "committed", "in_the_manifest"), taken, strict=True))


def main(arguments: Sequence[str]) -> int:
    """Run and print the peak of this process' memory."""
    count, root = int(arguments[0]), Path(arguments[1])
    end, seconds = run(count, root)
    per_s = {phase: round(count / taken) for phase, taken in seconds.items()}
    print(json.dumps({"inputs": count, "peak_bytes": peak_bytes(), "per_s": per_s, "end": end}))
    return 0 if end is RunEnd.FINISHED else 1


def peak_bytes() -> int:
    """Peak memory of this process: ``getrusage`` begins with that of the process which started it."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))) * 1024


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
