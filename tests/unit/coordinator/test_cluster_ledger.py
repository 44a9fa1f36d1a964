"""The cluster's ledger and the service on it: what was acknowledged survives a kill, and nothing happens twice."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from actors.coordinator.cluster_ledger import ClusterLedger, ledger_path
from actors.coordinator.coordinator_service import LEASE_S, CoordinatorService
from actors.queue.queue_events import Finished, Grant, Outcome, Revoke, Stop, TaskReport
from actors.queue.queue_lines import Entry
from actors.queue.task_queue import FORGET_S
from pipelines.errors import RayjobsError
from pipelines.resources import ResourceEstimate
from pipelines.tasks import Task, TaskPriority, TaskStatus

NORMAL = TaskPriority.NORMAL
NODES = {"n": {"cpu": 2.0, "memory": 100.0}}


def start(path: Path, now: float = 0.0) -> CoordinatorService:
    service = CoordinatorService(ClusterLedger(path), now)
    service.set_nodes(NODES, now)
    return service


def submit(service: CoordinatorService, *tasks: Task, request: str = "r", priority: TaskPriority = NORMAL) -> None:
    service.submit(request, "o", [(task, priority) for task in tasks], 0.0)


def task(task_id: str, **more: Any) -> Task:
    return Task(task_id=task_id, **{"task_type": "work", **more})


def decisions(service: CoordinatorService, incarnation: str, seen: int = 0) -> tuple[int, list[Any]]:
    news = service.news("o", incarnation, seen, 0.0)
    assert news is not None
    return news.last, list(news.decisions)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return ledger_path(tmp_path, "session_x")


def test_clusters_never_share_a_ledger(tmp_path: Path) -> None:
    paths = {ledger_path(tmp_path, name) for name in ("session_1", "session_2", "../../escape")}
    assert len(paths) == 3
    assert all(path.parent == tmp_path / "clusters" for path in paths)


def test_a_restarted_coordinator_goes_on_where_it_was(path: Path) -> None:
    service = start(path)
    incarnation = service.attach("o", [], [], {}, 0.0).incarnation
    rich = task(
        "rich",
        job_id="j",
        payload={"path": "ä", "n": [1, 2.5, None]},
        resources=ResourceEstimate(cpus=1.0, memory_bytes=7, custom={"licence": 1.0}),
        outputs=("x",),
        exclusive=("scanner",),
        max_cpus=2.0,
        preemptible=True,
    )
    service.set_units("u", "o", "licence", 2, 0.0)
    service.set_limit("l", "o", "work", 1, 0.0)
    service.set_limit("k", "o", "play", 1, 0.0)
    service.set_limit("j", "o", "play", None, 0.0)
    submit(service, rich, task("next"), task("last", depends_on=("next",)))
    assert service.set_priority("p", "o", "last", TaskPriority.LOW, 0.0)
    _, (grant,) = decisions(service, incarnation)
    again = start(path)
    assert again.status() == service.status()
    assert again.status().by_priority == {"normal": 1, "low": 1}
    assert again.status().limits == {"work": 1}
    assert again.news("o", incarnation, 0, 0.0) is None, "whoever knew the old incarnation has to attach"
    attached = again.attach("o", ["rich", "next", "last", "lost"], [], {}, 0.0)
    assert attached.grants == (grant.number,)
    assert attached.unknown == ("lost",)
    seen, told = decisions(again, attached.incarnation)
    assert told == [grant]
    again.report("o", [TaskReport(task_id="rich", number=grant.number, outcome=Outcome.COMPLETED, value="[1]")], 0.0)
    _, told = decisions(again, attached.incarnation, seen)
    assert [type(decision) for decision in told] == [Finished, Grant]
    assert again.outcomes(["rich", "nobody"]) == [(TaskStatus.COMPLETED, None, "[1]"), None]


NUMBERS = st.floats(0, 1e6)
PLAIN = st.recursive(st.none() | st.booleans() | st.integers() | NUMBERS | st.text(), st.lists, max_leaves=3)
NAMES = st.lists(st.text(), max_size=2).map(tuple)
NEEDS = st.builds(
    ResourceEstimate, cpus=NUMBERS, memory_bytes=st.integers(0, 2**40), custom=st.dictionaries(st.text(), NUMBERS)
)
UNUSUAL = {
    "job_id": st.text(), "payload": st.dictionaries(st.text(), PLAIN), "resources": NEEDS, "depends_on": NAMES,
    "extension_data": st.dictionaries(st.text(), PLAIN), "outputs": NAMES, "exclusive": NAMES, "kept": st.booleans(),
    "max_cpus": st.none() | NUMBERS, "preemptible": st.booleans(), "timeout_s": st.none() | NUMBERS,
    "max_attempts": st.integers(1, 9),
}  # fmt: skip


@given(st.fixed_dictionaries({}, optional=UNUSUAL))
def test_a_task_stays_what_it_is_on_its_way_and_in_the_ledger(said: dict[str, Any]) -> None:
    assert {"task_id", "task_type", *UNUSUAL} == set(Task.__slots__)
    sent = pickle.loads(pickle.dumps(task("t", **said)))
    assert sent == task("t", **said)
    ledger = ClusterLedger(Path(":memory:"))
    ledger.put_owner("o")
    ledger.put_tasks([(Entry(sent, "o", NORMAL, 1, 0.0, ()), None)])
    ((kept, _),) = ledger.tasks()
    ledger.close()
    assert kept.task == sent


def test_what_was_asked_of_running_tasks_is_asked_again(path: Path) -> None:
    service = start(path)
    service.attach("o", [], [], {}, 0.0)
    shard = task("shard", task_type="shard", job_id="j", max_cpus=2.0, preemptible=True)
    submit(service, shard, priority=TaskPriority.LOW)
    service.cancel("c", "o", "shard", 0.0)
    again = start(path)
    attached = again.attach("o", ["shard"], [], {}, 0.0)
    assert [type(decision) for decision in decisions(again, attached.incarnation)[1]] == [Grant, Stop]


def test_calls_that_come_twice_are_answered_the_same(path: Path) -> None:
    service = start(path)
    service.attach("o", [], [], {}, 0.0)
    submit(service, task("t"))
    submit(service, task("t"))
    service.set_limit("l1", "o", "work", 1, 0.0)
    service.set_limit("l2", "o", "work", 2, 0.0)
    service.set_limit("l1", "o", "work", 1, 0.0)
    assert service.status().limits == {"work": 2}
    service.report("o", [TaskReport(task_id="t", number=1, outcome=Outcome.COMPLETED)], 0.0)
    assert service.cancel("c", "o", "t", 0.0) is False
    for again in (service, start(path)):
        assert again.cancel("c", "o", "t", 0.0) is False
        assert (again.status().pending, again.status().running) == (0, 0)
        with pytest.raises(RayjobsError, match="unknown"):
            submit(again, task("u", depends_on=("nobody",)), request="bad")


def test_a_refused_batch_leaves_nothing(path: Path) -> None:
    service = start(path)
    service.attach("o", [], [], {}, 0.0)
    with pytest.raises(RayjobsError, match="asks for 5 CPUs"):
        submit(service, task("good"), task("bad", resources=ResourceEstimate(cpus=5)))
    assert service.outcomes(["good", "bad"]) == [None, None]


def test_what_a_task_asks_for_after_want_of_memory_is_kept(path: Path) -> None:
    service = start(path)
    service.attach("o", [], [], {}, 0.0)
    submit(service, task("hungry", resources=ResourceEstimate(memory_bytes=10)))
    report = TaskReport(task_id="hungry", number=1, outcome=Outcome.OUT_OF_MEMORY, error="MemoryError")
    service.report("o", [report], 0.0)
    again = start(path)
    incarnation = again.attach("o", ["hungry"], [], {}, 0.0).incarnation
    _, (grant,) = decisions(again, incarnation)
    assert grant.memory_bytes == 40


def test_a_reason_that_names_a_file_whose_name_is_no_text_is_kept_too(path: Path) -> None:
    service = start(path)
    service.attach("o", [], [], {}, 0.0)
    submit(service, task("bad"))
    error = "b\udcff.png: no such file \u5199\0"
    service.report("o", [TaskReport(task_id="bad", number=1, outcome=Outcome.FAILED, error=error)], 0.0)
    assert start(path).outcomes(["bad"]) == [(TaskStatus.FAILED, "b\\udcff.png: no such file \u5199\0", None)]


def test_news_are_kept_until_they_were_seen(path: Path) -> None:
    service = start(path)
    incarnation = service.attach("o", [], [], {}, 0.0).incarnation
    submit(service, task("a"))
    last, told = decisions(service, incarnation)
    assert decisions(service, incarnation) == (last, told)
    assert decisions(service, incarnation, last) == (last, [])


def test_a_dead_driver_loses_its_lease_and_what_it_held(path: Path) -> None:
    service = start(path)
    incarnation = service.attach("o", [], [], {}, 0.0).incarnation
    submit(service, task("a"))
    service.tick(LEASE_S + 0.1)
    assert (service.status().pending, service.status().running) == (1, 0)
    assert service.news("o", incarnation, 0, LEASE_S + 0.2) is None
    service.tick(LEASE_S + FORGET_S + 1)
    assert service.outcomes(["a"]) == [(TaskStatus.CANCELLED, "its driver is gone", None)]
    assert service.idle_s(LEASE_S + FORGET_S + 1) > 0


def test_a_driver_that_was_given_up_learns_what_became_of_its_tasks(path: Path) -> None:
    service = start(path)
    service.attach("o", [], [], {}, 0.0)
    submit(service, task("a"))
    service.tick(LEASE_S + 0.1)
    service.tick(LEASE_S + FORGET_S + 1)
    attached = service.attach("o", ["a"], [], {}, 100.0)
    (told,) = decisions(service, attached.incarnation)[1]
    assert (told.task_id, told.status) == ("a", TaskStatus.CANCELLED)


def test_a_driver_that_was_given_up_attaches_before_it_submits(path: Path) -> None:
    service = start(path)
    service.attach("o", [], [], {}, 0.0)
    service.tick(LEASE_S + FORGET_S + 1)
    assert not service.submit("r", "o", [(task("a"), NORMAL)], 100.0)
    assert service.outcomes(["a"]) == [None]
    assert service.attach("o", ["a"], [], {}, 100.0).unknown == ("a",)
    assert service.submit("again", "o", [(task("a"), NORMAL)], 100.0)
    assert service.outcomes(["a"]) == [(TaskStatus.RUNNING, None, None)]


def test_the_file_goes_when_nobody_can_come_back_for_it(path: Path) -> None:
    service = start(path)
    service.attach("o", [], [], {}, 0.0)
    service.close_owner("o", 1.0)
    service.shut()
    assert list(path.parent.iterdir()) == []
    service = start(path)
    service.attach("o", [], [], {}, 0.0)
    service.shut()
    assert path.exists()


def test_what_was_acknowledged_survives_a_kill(path: Path) -> None:
    code = """
import os, signal, sys
from pathlib import Path
from tests.unit.coordinator.test_cluster_ledger import start, submit, task
service = start(Path(sys.argv[1]))
service.attach("o", [], [], {}, 0.0)
for n in range(100):
    submit(service, task(f"{n}"), request=f"r{n}")
    print(n, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], cwd=root, env=os.environ, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == [f"{n}" for n in range(100)], done.stderr
    again = start(path)
    assert again.status().pending + again.status().running == 100


class LedgerMachine(RuleBasedStateMachine):
    """Whenever the coordinator dies, the next one knows what the last one said."""

    def __init__(self) -> None:
        super().__init__()
        self.place = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.path = Path(self.place.name) / "ledger.sqlite"
        self.service = start(self.path)
        self.submitted: list[Task] = []
        self.running: dict[str, int] = {}
        self.final: dict[str, TaskStatus] = {}
        self.requests = 0
        self.executions = 0
        self.now = 0.0

    @initialize()
    def attaches(self) -> None:
        attached = self.service.attach(
            "o", [t.task_id for t in self.submitted if t.task_id not in self.final], [], {}, self.now
        )
        assert attached.unknown == ()
        self.incarnation, self.seen = attached.incarnation, 0
        assert set(self.running.values()) <= set(attached.grants), "a grant that was told stands"
        self.listens()

    def request(self) -> str:
        self.requests += 1
        return f"r{self.requests}"

    @rule(count=st.integers(1, 3), priority=st.sampled_from(TaskPriority), chained=st.booleans(), twice=st.booleans())
    def submits(self, count: int, priority: TaskPriority, chained: bool, twice: bool) -> None:
        before = tuple(t.task_id for t in self.submitted[-1:]) if chained else ()
        first = len(self.submitted)
        new = [task(f"t{first + n}", depends_on=before, preemptible=n == 1) for n in range(count)]
        request = self.request()
        for _ in range(1 + twice):
            self.service.submit(request, "o", [(t, priority) for t in new], self.now)
        self.submitted += new
        self.listens()

    @precondition(lambda self: self.running)
    @rule(data=st.data(), outcome=st.sampled_from(Outcome), twice=st.booleans())
    def reports(self, data: st.DataObject, outcome: Outcome, twice: bool) -> None:
        task_id = data.draw(st.sampled_from(sorted(self.running)))
        report = TaskReport(task_id=task_id, number=self.running.pop(task_id), outcome=outcome, value="1")
        for _ in range(1 + twice):
            self.service.report("o", [report], self.now)
        self.listens()

    @precondition(lambda self: self.submitted)
    @rule(data=st.data(), twice=st.booleans())
    def cancels(self, data: st.DataObject, twice: bool) -> None:
        task_id = data.draw(st.sampled_from([t.task_id for t in self.submitted]))
        request = self.request()
        answers = {self.service.cancel(request, "o", task_id, self.now) for _ in range(1 + twice)}
        assert len(answers) == 1
        self.listens()

    @rule(limit=st.integers(0, 2))
    def limit_changes(self, limit: int) -> None:
        self.service.set_limit(self.request(), "o", "work", limit, self.now)
        self.listens()

    @rule()
    def coordinator_dies(self) -> None:
        """The old one is simply not used any more: a kill gives nobody time to close anything."""
        self.service = start(self.path, self.now)
        self.attaches()

    @rule()
    def lease_runs_out(self) -> None:
        self.now += LEASE_S + 1
        self.service.tick(self.now)
        assert self.service.status().running == 0
        self.running.clear()
        self.attaches()

    def listens(self) -> None:
        news = self.service.news("o", self.incarnation, self.seen, self.now)
        assert news is not None
        self.seen = news.last
        for decision in news.decisions:
            if isinstance(decision, Grant):
                for task_id in decision.task_ids:
                    assert task_id not in self.final, "what is final isn't run again"
                    assert self.running.get(task_id, decision.number) == decision.number, "granted while it runs"
                    self.running[task_id] = decision.number
            elif isinstance(decision, Finished):
                assert self.final.setdefault(decision.task_id, decision.status) is decision.status
                assert decision.task_id not in self.running
            else:
                assert isinstance(decision, Revoke | Stop)

    @invariant()
    def the_ledger_says_the_same(self) -> None:
        outcomes = self.service.outcomes([t.task_id for t in self.submitted])
        assert all(outcome is not None for outcome in outcomes), "no task is lost"
        stored = {t.task_id: o[0] for t, o in zip(self.submitted, outcomes, strict=True) if o is not None}
        assert {task_id: status for task_id, status in stored.items() if status.terminal} == self.final
        assert {task_id for task_id, status in stored.items() if status is TaskStatus.RUNNING} == set(self.running)
        told = self.service.status()
        assert told.running == len(self.running)
        assert told.pending == len(self.submitted) - len(self.running) - len(self.final)

    def teardown(self) -> None:
        self.place.cleanup()


TestAnySequenceOfEvents = LedgerMachine.TestCase
TestAnySequenceOfEvents.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)


def test_units_that_a_driver_told_of_bind_nobody_after_its_end(path: Path) -> None:
    """Whether it closes, or is killed; also when the coordinator was restarted in between."""
    service = start(path)
    service.attach("o", [], [], {}, 0.0)
    service.attach("p", [], [], {}, 0.0)
    service.set_units("u1", "o", "licence", 2, 0.0)
    service.set_units("u2", "p", "licence", 0, 0.0)
    again = start(path)
    again.attach("p", [], [], {"licence": 0.0}, 0.0)
    again.attach("o", [], [], {"licence": 2.0, "scanner": 1.0}, 0.0)
    assert (again.free()["licence"], again.free()["scanner"]) == (0, 1)
    again.news("o", again.incarnation, 0, LEASE_S)
    again.tick(LEASE_S)
    again.news("o", again.incarnation, 0, 1.5 * LEASE_S)
    licence = ResourceEstimate(cpus=1.0, custom={"licence": 1.0})
    with pytest.raises(RayjobsError, match="its provider has 0"):
        submit(again, task("t", resources=licence))
    for now in range(int(2 * LEASE_S), int(LEASE_S + FORGET_S) + 2, 4):
        again.news("o", again.incarnation, 0, now)
        again.tick(now)
    assert again.free()["licence"] == 2
    assert start(path).free()["licence"] == 2, "that is durable"
