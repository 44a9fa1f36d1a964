"""The driver's loop: ask the coordinator for shards, run those that it grants, listen to whoever wants the job to stop.

Each granted shard runs in a thread of its own; this thread only watches. It looks twice a second for a signal,
for a request by another process (``rayjobs cancel``), for too many failures, and for what the coordinator decides.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from actors.ledger.output_lock import LEASE_S, OutputLock
from pipelines.errors import JobError
from pipelines.resource_needs import demand_of
from pipelines.resources import ResourceEstimate, times
from pipelines.storage.local_files import remove_own
from pipelines.tasks import TaskPriority
from rayjobs.job.output_directory import OutputDirectory
from rayjobs.run.progress import Display, Rate, Snapshot
from rayjobs.run.run_end import RunEnd, stop_asked
from rayjobs.run.shard_runner import SMALLEST_STREAM_ROWS, ShardContext, ShardEngine, run_shard

POLL_S = 0.5
"""How often it is looked at what nobody tells of (requests, signals, failures, room on the disk), and progress shown.

Decisions and ended shards are heard of at once. Each look takes from the workers, who have every CPU."""
REVOKED_POLL_S = 0.02
"""While a shard releases its CPUs, because somebody more urgent waits for them."""
GRACE_S = 10.0
"""How long shards may take to release their inputs before they are left."""
LEAVE_S = 2.0
"""How long a shard that is left may take to notice; its processes are ended anyway."""


@dataclass(frozen=True, slots=True)
class Granted:
    """The coordinator gives a shard its CPUs."""

    shard: str
    cpus: int


@dataclass(frozen=True, slots=True)
class Revoked:
    """The coordinator wants a shard's CPUs back: it shall stop between two images."""

    shard: str


class Grants(Protocol):
    """The coordinator, as the loop needs it; see ``shard_grants``."""

    def request(self, shard: str) -> None:
        """Queue a shard."""
        ...

    def end(self, shard: str, *, finished: bool) -> None:
        """Give the CPUs of a shard back; an unfinished one is queued again in its old place."""
        ...

    def set_priority(self, priority: TaskPriority) -> None:
        """Change the job's priority, from the shards on that are queued or running now."""
        ...

    def decisions(self, timeout_s: float) -> list[Granted | Revoked]:
        """What was decided since the last call; waits at most so long for the first decision, or until woken."""
        ...

    def wake(self) -> None:
        """Let ``decisions`` return at once; called by another thread."""
        ...


@dataclass(slots=True)
class _Shard:
    name: str
    first_seq: int
    end_seq: int
    stop: Path
    cpus: int = 0
    """Of its last grant."""
    thread: threading.Thread | None = None
    over: bool = False
    """Whether the thread has done its work."""
    finished: bool = False
    revoked: bool = False
    error: Exception | None = None


@dataclass(slots=True)
class RunLoop:
    """Runs the open inputs of one job to their end."""

    name: str
    context: ShardContext
    output: OutputDirectory
    lock: OutputLock
    grants: Grants
    engine: Callable[[str, int, Path], ShardEngine]
    """(shard, CPUs, stop file) -> what runs its work."""
    display: Display
    interrupted: threading.Event
    most_failures: int | None
    """More failed inputs than this end the run early; None: none do."""
    shortage: Callable[[], str | None] = lambda: None
    """Why the output's disk is too full to go on; None: there is room."""
    held: Callable[[], str | None] = lambda: None
    """Why this machine takes no further shard for now, whatever its turn; None: it does."""
    look_after: Callable[[], None] = lambda: None
    """Looks after the workers; called again and again."""
    leave: Callable[[], None] = lambda: None
    """Ends the work of shards that haven't stopped when they were asked to, with their processes."""
    trouble: Callable[[], str | None] = lambda: None
    """Why the run can't go on at all; None: it can."""
    per_cpu: ResourceEstimate = field(default_factory=ResourceEstimate)
    """What each CPU of a grant comes with."""
    shard_rows: int = SMALLEST_STREAM_ROWS
    """Inputs per shard, about: what one grant is for."""
    ahead: int = 2
    """Shards that are queued or running at a time."""
    _shards: dict[str, _Shard] = field(default_factory=dict)
    _rate: Rate = field(default_factory=Rate)
    _renewed: float = 0.0
    _held: str | None = None
    """What ``held`` said first: its numbers change from second to second, what is shown doesn't."""

    def run(self) -> RunEnd:
        """Block until every input is final or the run is stopped.

        Raises
        ------
        RayjobsError
            A shard can't be run; the others have stopped, or are left.
        """
        try:
            return self._run_shards()
        finally:
            self._leave_all()

    def _run_shards(self) -> RunEnd:
        ranges = self._ranges()
        end: RunEnd | None = None
        stopped_at = 0.0
        while True:
            if end is None:
                self._queue_shards(ranges)
                end = self._stop_wanted()
                if end is not None:
                    stopped_at = time.monotonic()
                    self._stop_all()
            if not self._shards:
                break
            revoked = any(shard.revoked for shard in self._shards.values())
            for decision in self.grants.decisions(REVOKED_POLL_S if revoked else POLL_S):
                self._follow(decision, stopping=end is not None)
            error = self._reap() or self._trouble()
            if error is not None:
                self._stop_all()
                raise error
            self._beat()
            if end is not None and time.monotonic() - stopped_at > GRACE_S:
                break
        self._show("running")
        return end or RunEnd.FINISHED

    def _ranges(self) -> Iterator[tuple[int, int]]:
        """Runs of places with open inputs, whole ranges of the results' store each."""
        range_rows = self.context.store.range_rows
        rows = max(self.shard_rows // range_rows, 1) * range_rows
        first = 0
        while (seq := self.context.ledger.next_open_seq(first)) is not None:
            first = seq // rows * rows + rows
            yield first - rows, first

    def _queue_shards(self, ranges: Iterator[tuple[int, int]]) -> None:
        while len(self._shards) < self.ahead:
            found = next(ranges, None)
            if found is None:
                return
            name = f"{self.name}.run-{self.context.epoch}.{found[0]}"  # part of a file name in Ray's logs: no slash
            stop = self.output.temporary / str(self.context.epoch) / f"stop-{found[0]}"
            remove_own(stop)
            self._shards[name] = _Shard(name, *found, stop)
            self.grants.request(name)

    def _stop_wanted(self) -> RunEnd | None:
        asked = stop_asked(self.interrupted, self.output)
        if asked is not None:
            return asked
        if self.most_failures is not None and self.context.ledger.counts().failed > self.most_failures:
            return RunEnd.TOO_MANY_FAILURES
        return RunEnd.NO_SPACE if self.shortage() is not None else None

    def _stop_all(self) -> None:
        for shard in list(self._shards.values()):
            if shard.thread is None:
                self.grants.end(shard.name, finished=True)
                del self._shards[shard.name]
            else:
                shard.stop.touch()

    def _leave_all(self) -> None:
        """Ray ends this process if a thread still waits for a task's rows when it is told goodbye."""
        threads = [shard.thread for shard in self._shards.values() if shard.thread is not None]
        if threads:
            self.leave()
        for thread in threads:
            if thread.is_alive():
                thread.join(LEAVE_S)

    def _follow(self, decision: Granted | Revoked, *, stopping: bool) -> None:
        shard = self._shards.get(decision.shard)
        if shard is None:
            return
        if isinstance(decision, Revoked):
            shard.stop.touch()
            shard.revoked = True
            return
        if shard.thread is not None or stopping:
            return
        remove_own(shard.stop)
        shard.cpus = decision.cpus
        engine = self.engine(shard.name, decision.cpus, shard.stop)
        shard.thread = threading.Thread(target=self._run, args=(shard, engine), name=shard.name, daemon=True)
        shard.thread.start()

    def _run(self, shard: _Shard, engine: ShardEngine) -> None:
        try:
            shard.finished = run_shard(shard.first_seq, shard.end_seq, engine, self.context, shard.stop.exists)
        except Exception as error:  # noqa: BLE001 - handed to the thread that watches, which raises it
            shard.error = error
        finally:
            shard.over = True
            self.grants.wake()

    def _reap(self) -> Exception | None:
        """Take note of threads that ended; return the error of one that failed."""
        for shard in list(self._shards.values()):
            if shard.thread is None or not shard.over:
                continue
            shard.thread.join()
            stopping = self._stop_wanted() is not None or shard.error is not None
            if shard.finished or stopping:
                del self._shards[shard.name]
                self.grants.end(shard.name, finished=True)
            else:
                shard.thread = None
                shard.over = False
                shard.revoked = False
                self.grants.end(shard.name, finished=False)
            if shard.error is not None:
                return shard.error
        return None

    def _trouble(self) -> Exception | None:
        why = self.trouble()
        return None if why is None else JobError(f"{self.name}: {why}")

    def _beat(self) -> None:
        self.look_after()
        now = time.time()
        if now - self._renewed > LEASE_S / 6:
            self.lock.renew(now)
            self._renewed = now
        priority = self.output.requested_priority()
        if priority is not None:
            self.grants.set_priority(TaskPriority[priority.upper()])
            facts = self.context.ledger.facts
            facts.write_spec({**(facts.spec() or {}), "priority": priority})
        running = not self._shards or any(shard.thread for shard in self._shards.values())
        held = None if running else self.held()
        self._held = (self._held or held) if held else None
        self._show("running" if running else self._held or "waiting for its turn")

    def _show(self, phase: str) -> None:
        counts = self.context.ledger.counts()
        rate = self._rate.update(counts.total - counts.open, time.monotonic())
        cpus = sum(shard.cpus for shard in self._shards.values() if shard.thread is not None)
        holds = demand_of(times(self.per_cpu, cpus))
        self.display.show(Snapshot.of(self.name, phase, counts, rate=rate, holds=holds))
