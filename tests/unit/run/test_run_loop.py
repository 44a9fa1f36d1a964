"""The driver's loop: shards as they are granted, taken back, cancelled and failing, with grants that record."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from actors.ledger.output_lock import OutputLock
from pipelines.errors import JobError
from pipelines.models import WorkItem
from pipelines.tasks import TaskPriority
from rayjobs.job.output_directory import CANCEL, PAUSE
from rayjobs.run import run_loop
from rayjobs.run.progress import Snapshot
from rayjobs.run.run_loop import Granted, Revoked, RunEnd, RunLoop
from rayjobs.run.shard_runner import ShardEngine
from tests.shards import FakeEngine, SmallJob

COUNT = 9


@dataclass(slots=True)
class FakeGrants:
    """Grants each request at once, unless told to wait, and records."""

    hold: bool = False
    requested: list[str] = field(default_factory=list)
    ended: list[tuple[str, bool]] = field(default_factory=list)
    priorities: list[TaskPriority] = field(default_factory=list)
    waiting: list[Granted | Revoked] = field(default_factory=list)
    news: threading.Condition = field(default_factory=threading.Condition)

    def request(self, shard: str) -> None:
        self.requested.append(shard)
        if not self.hold:
            self.tell(Granted(shard, 1))

    def end(self, shard: str, *, finished: bool) -> None:
        self.ended.append((shard, finished))
        if not finished:
            self.tell(Granted(shard, 1))

    def set_priority(self, priority: TaskPriority) -> None:
        self.priorities.append(priority)

    def tell(self, decision: Granted | Revoked) -> None:
        with self.news:
            self.waiting.append(decision)
            self.news.notify()

    def decisions(self, timeout_s: float) -> list[Granted | Revoked]:
        with self.news:
            self.news.wait_for(lambda: bool(self.waiting), timeout_s)
            found, self.waiting = self.waiting, []
        return found

    def wake(self) -> None:
        with self.news:
            self.news.notify()


class Shown:
    """A display that remembers the last snapshot, and all phases in turn."""

    last: Snapshot | None = None

    def __init__(self) -> None:
        self.phases: list[str] = []

    def show(self, snapshot: Snapshot) -> None:
        self.last = snapshot
        if self.phases[-1:] != [snapshot.phase]:
            self.phases.append(snapshot.phase)

    def close(self) -> None:
        pass


@dataclass(slots=True)
class Setting:
    """A job with its loop, as far as it is the same in all tests."""

    job: SmallJob
    lock: OutputLock
    grants: FakeGrants = field(default_factory=FakeGrants)
    shown: Shown = field(default_factory=Shown)
    interrupted: threading.Event = field(default_factory=threading.Event)
    engines: list[FakeEngine] = field(default_factory=list)
    before: Callable[[str, WorkItem], None] = lambda shard, item: None
    broken: bool = False
    held: Callable[[], str | None] = lambda: None
    trouble: str | None = None
    left: threading.Event = field(default_factory=threading.Event)
    """Set when the streams of shards are to be left."""

    def engine(self, shard: str, cpus: int, stop: Path) -> ShardEngine:
        engine = FakeEngine(
            self.job, self.job.workspace(stop), broken=self.broken, before=lambda item: self.before(shard, item)
        )
        self.engines.append(engine)
        return engine

    def run(self, most_failures: int | None = None, shortage: str | None = None) -> RunEnd:
        return RunLoop(
            name="small",
            context=self.job.context,
            output=self.job.output,
            lock=self.lock,
            grants=self.grants,
            engine=self.engine,
            display=self.shown,
            interrupted=self.interrupted,
            most_failures=most_failures,
            shortage=lambda: shortage,
            held=self.held,
            leave=self.left.set,
            trouble=lambda: self.trouble,
            shard_rows=3,
            ahead=1,  # in this process, workers of two shards would share one journal
        ).run()

    def wait_for_stop(self) -> None:
        """Until the shard that runs is asked to stop."""
        waited = threading.Event()
        while not self.engines[-1].workspace.stop.exists():
            waited.wait(0.005)


@pytest.fixture
def setting(tmp_path: Path) -> Iterator[Setting]:
    job = SmallJob(tmp_path, COUNT)
    job.context.store.range_rows = 3
    (job.output.temporary / "1").mkdir(parents=True)
    lock = OutputLock(job.output.lock)
    yield Setting(job, lock)
    lock.release()
    job.ledger.close()


def test_why_a_machine_holds_a_job_back_is_shown(setting: Setting) -> None:
    setting.grants.hold = True
    answers = iter(["memory use is 91 %", "memory use is 93 %"])

    def held() -> str | None:
        answer = next(answers, None)
        if answer is None:
            setting.grants.hold = False
            setting.grants.tell(Granted(setting.grants.requested[0], 1))
        return answer

    setting.held = held
    assert setting.run() is RunEnd.FINISHED
    assert setting.shown.phases == ["memory use is 91 %", "waiting for its turn", "running"]


def test_each_shard_is_requested_run_and_given_back_once(setting: Setting) -> None:
    assert setting.run() is RunEnd.FINISHED
    assert setting.job.ledger.counts().done == COUNT
    assert len(set(setting.grants.requested)) == 3
    assert setting.grants.ended == [(shard, True) for shard in setting.grants.requested]
    assert setting.shown.last is not None
    assert (setting.shown.last.done, setting.shown.last.total) == (COUNT, COUNT)


def test_a_revoked_shard_gives_its_cpus_back_and_goes_on_when_granted_again(setting: Setting) -> None:
    revoked: list[str] = []

    def revoke(shard: str, item: WorkItem) -> None:
        if not revoked:
            revoked.append(shard)
            setting.grants.tell(Revoked(shard))
            setting.wait_for_stop()

    setting.before = revoke
    assert setting.run() is RunEnd.FINISHED
    assert setting.grants.ended[0] == (revoked[0], False)
    assert (revoked[0], True) in setting.grants.ended
    assert setting.job.ledger.counts().done == COUNT
    assert all(attempt.outcome in ("done", "released") for attempt in setting.job.ledger.attempts.every())


@pytest.mark.parametrize(("request_", "end"), [(CANCEL, RunEnd.CANCELLED), (PAUSE, RunEnd.PAUSED)])
def test_a_request_ends_the_run_and_no_shard_stays(setting: Setting, request_: str, end: RunEnd) -> None:
    setting.grants.hold = True
    setting.job.output.request(request_)
    assert setting.run() is end
    assert setting.grants.ended == [(shard, True) for shard in setting.grants.requested]
    assert setting.job.ledger.counts().open == COUNT


def test_an_interrupted_run_keeps_what_is_done(setting: Setting) -> None:
    def interrupt(shard: str, item: WorkItem) -> None:
        if setting.job.ledger.counts().done == 4:
            setting.interrupted.set()
            setting.wait_for_stop()

    setting.before = interrupt
    assert setting.run() is RunEnd.INTERRUPTED
    assert setting.job.ledger.counts().done == 4
    assert setting.grants.ended == [(shard, True) for shard in setting.grants.requested]
    setting.interrupted.clear()
    setting.before = lambda shard, item: None
    assert setting.run() is RunEnd.FINISHED
    assert setting.job.ledger.counts().done == COUNT


def test_no_thread_of_a_shard_that_does_not_stop_goes_on_when_the_run_is_over(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_loop, "GRACE_S", 0.3)

    def hang(shard: str, item: WorkItem) -> None:
        setting.interrupted.set()
        assert setting.left.wait(60)

    setting.before = hang
    assert setting.run() is RunEnd.INTERRUPTED
    assert [thread for thread in threading.enumerate() if thread.name in setting.grants.requested] == []


def test_no_thread_of_a_shard_goes_on_when_the_run_ends_with_an_error(setting: Setting) -> None:
    def hang(shard: str, item: WorkItem) -> None:
        setting.trouble = "Ray has ended"
        assert setting.left.wait(60)

    setting.before = hang
    with pytest.raises(JobError, match="Ray has ended"):
        setting.run()
    assert [thread for thread in threading.enumerate() if thread.name in setting.grants.requested] == []


def test_too_many_failures_end_the_run_early(setting: Setting) -> None:
    for number in range(3):
        (setting.job.base / "in" / f"{number:03d}.png").unlink()
    assert setting.run(most_failures=1) is RunEnd.TOO_MANY_FAILURES
    assert setting.job.ledger.counts().failed > 1
    assert setting.job.ledger.counts().open > 0


def test_as_many_failures_as_are_allowed_do_not(setting: Setting) -> None:
    (setting.job.base / "in" / "000.png").unlink()
    assert setting.run(most_failures=1) is RunEnd.FINISHED
    assert setting.job.ledger.reasons() == {"missing": 1}


def test_a_full_disk_ends_the_run_before_more_is_written(setting: Setting) -> None:
    assert setting.run(shortage="full") is RunEnd.NO_SPACE
    assert setting.job.ledger.counts().open == COUNT


def test_a_shard_that_can_not_run_fails_the_run_and_is_given_back(setting: Setting) -> None:
    setting.broken = True
    with pytest.raises(JobError, match="workers end, or do nothing, before they start"):
        setting.run()
    assert setting.grants.ended == [(setting.grants.requested[0], True)]


def test_decisions_about_shards_that_are_gone_are_ignored(setting: Setting) -> None:
    setting.grants.tell(Granted("someone-else", 4))
    setting.grants.tell(Revoked("someone-else"))
    assert setting.run() is RunEnd.FINISHED
    assert len(setting.engines) == 3


def test_the_priority_that_another_process_asks_for_is_passed_on_and_kept(setting: Setting) -> None:
    setting.job.ledger.facts.write_spec({"name": "small", "priority": "low"})
    setting.before = lambda shard, item: setting.job.output.request_priority("urgent")
    assert setting.run() is RunEnd.FINISHED
    assert set(setting.grants.priorities) == {TaskPriority.URGENT}
    assert setting.job.ledger.facts.spec() == {"name": "small", "priority": "urgent"}
    assert setting.job.output.requested_priority() is None
