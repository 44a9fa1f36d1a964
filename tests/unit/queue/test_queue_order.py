"""Who goes first, against a model that looks at every task each time: level, who has risen, turns, place in line."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from actors.coordinator.held_kinds import kind_of
from actors.queue.queue_events import Grant, Outcome, TaskReport
from actors.queue.queue_lines import AGING_S
from actors.queue.task_queue import TaskQueue
from pipelines.resources import ResourceEstimate
from pipelines.tasks import Task, TaskPriority

OWNERS = ("a", "b")
JOBS = ("", "j", "k")
TYPES = ("render", "look")
LEASE_S = 1e9

Key = tuple[int, str, str, str]
"""Priority, owner, group, type: of a line."""


@dataclass
class Waiting:
    """A task as the model knows it."""

    task: Task
    owner: str
    order: int
    priority: int
    since: float
    running: bool = False

    @property
    def group(self) -> str:
        return self.task.job_id or self.owner

    @property
    def key(self) -> Key:
        return (self.priority, self.owner, self.group, self.task.task_type)


class NaiveQueue:
    """All rules of the order in the fewest words, for tasks of one CPU each."""

    def __init__(self, cpus: int) -> None:
        self.cpus = cpus
        self.tasks: dict[str, Waiting] = {}
        self.turns: dict[str, int] = {}
        self.served_at: dict[Key, float] = {}
        self.limits: dict[str, int] = {}
        self.withheld: dict[str, set[str]] = {owner: set() for owner in OWNERS}
        self.last: dict[int, float] = {}
        """Level -> since when who was served last had waited; infinite for who hadn't risen."""
        self.served = 0

    def tidy(self) -> None:
        """A group or a line of which nothing is left is new when it comes back."""
        keys = {each.key for each in self.tasks.values()}
        groups = {each.group for each in self.tasks.values()}
        self.served_at = {key: at for key, at in self.served_at.items() if key in keys}
        self.turns = {group: turn for group, turn in self.turns.items() if group in groups}

    def decide(self, now: float) -> list[str]:
        found = []
        last = dict(self.last)
        while (best := self._best(now, last)) is not None:
            level, since, each = best
            self.served += 1
            self.last[level] = since
            each.running = True
            self.turns[each.group] = self.served
            self.served_at[each.key] = now
            found.append(each.task.task_id)
        return found

    def _best(self, now: float, last: dict[int, float]) -> tuple[int, float, Waiting] | None:
        """The next: its level, since when it waits (infinite if it didn't rise), who it is."""
        if sum(each.running for each in self.tasks.values()) >= self.cpus:
            return None
        running = Counter(each.task.task_type for each in self.tasks.values() if each.running)
        busy = {each.key for each in self.tasks.values() if each.running}
        fronts: dict[Key, Waiting] = {}
        for each in sorted(self.tasks.values(), key=lambda each: each.order):
            if not each.running:
                fronts.setdefault(each.key, each)
        ranked = []
        for key, front in fronts.items():
            kind = front.task.task_type
            if kind in self.withheld[front.owner] or running[kind] >= self.limits.get(kind, 99):
                continue
            since = max(self.served_at.get(key, -math.inf), front.since)
            rises = 0 if key in busy else int((now - since) / AGING_S)
            level, risen = max(front.priority - rises, 0), rises > 0
            if risen:
                rank = (0 if last.get(level, -math.inf) > since else 2, since)
            else:
                rank = (1, self.turns.get(front.group, 0))
            ranked.append((level, rank, front.order, since if risen else math.inf, front))
        if not ranked:
            return None
        level, _, _, risen_since, front = min(ranked, key=lambda rank: rank[:3])
        return level, risen_since, front


class OrderMachine(RuleBasedStateMachine):
    """Whatever comes, the queue grants what the model grants, in the same order."""

    CPUS: ClassVar[int] = 2

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.queue = TaskQueue()
        self.queue.set_nodes({"n": {"cpu": self.CPUS}})
        for owner in OWNERS:
            self.queue.renew(owner, self.now, LEASE_S)
        self.model = NaiveQueue(self.CPUS)
        self.numbers: dict[str, int] = {}
        self.count = 0

    @rule(
        owner=st.sampled_from(OWNERS),
        job=st.sampled_from((*JOBS, "new")),
        kind=st.sampled_from(TYPES),
        priority=st.sampled_from(TaskPriority),
        count=st.integers(1, 3),
    )
    def submits(self, owner: str, job: str, kind: str, priority: TaskPriority, count: int) -> None:
        new = []
        for _ in range(count):
            self.count += 1
            job_id = f"new-{self.count}" if job == "new" else job
            new.append(
                Task(task_id=f"t{self.count}", task_type=kind, job_id=job_id, resources=ResourceEstimate(cpus=1))
            )
            self.model.tasks[new[-1].task_id] = Waiting(new[-1], owner, self.count, priority, self.now)
        self.queue.submit(owner, [(each, priority) for each in new], self.now)
        self.decides()

    @precondition(lambda self: self.running())
    @rule(data=st.data(), outcome=st.sampled_from((Outcome.COMPLETED, Outcome.RELEASED, Outcome.FAILED)))
    def ends(self, data: st.DataObject, outcome: Outcome) -> None:
        self.end(data.draw(st.sampled_from(self.running())), outcome)

    def end(self, task_id: str, outcome: Outcome) -> None:
        each = self.model.tasks[task_id]
        report = TaskReport(task_id=task_id, number=self.numbers[task_id], outcome=outcome)
        assert self.queue.report(each.owner, report, self.now)
        self.model.served_at[each.key] = self.now
        each.running = False
        if outcome is Outcome.RELEASED:
            each.since = self.now
        else:
            del self.model.tasks[task_id]
        self.decides()

    @rule(seconds=st.sampled_from((0.5, 7.0, AGING_S - 7.0, AGING_S, 2 * AGING_S)))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.decides()

    @precondition(lambda self: self.model.tasks)
    @rule(data=st.data(), priority=st.sampled_from(TaskPriority))
    def priorities_change(self, data: st.DataObject, priority: TaskPriority) -> None:
        each = self.model.tasks[data.draw(st.sampled_from(sorted(self.model.tasks)))]
        old, each.priority = each.key, priority
        if each.running and old in self.model.served_at:
            at = self.model.served_at[old]
            self.model.served_at[each.key] = max(self.model.served_at.get(each.key, -math.inf), at)
        assert self.queue.set_priority(each.task.task_id, priority)
        self.decides()

    @precondition(lambda self: self.model.tasks)
    @rule(data=st.data())
    def waiting_is_cancelled(self, data: st.DataObject) -> None:
        task_id = data.draw(st.sampled_from(sorted(self.model.tasks)))
        if not self.model.tasks[task_id].running:
            del self.model.tasks[task_id]
            assert self.queue.cancel(task_id, self.now)
            self.decides()

    @rule(kind=st.sampled_from(TYPES), limit=st.none() | st.integers(0, 2))
    def limits_change(self, kind: str, limit: int | None) -> None:
        self.queue.set_limit(kind, limit)
        self.model.limits[kind] = 99 if limit is None else limit
        self.decides()

    @rule(owner=st.sampled_from(OWNERS), kinds=st.sets(st.sampled_from(TYPES)))
    def owners_cannot_run_some(self, owner: str, kinds: set[str]) -> None:
        self.model.withheld[owner] = kinds
        one = ResourceEstimate(cpus=1)
        self.queue.withhold(owner, [kind_of(Task(task_id="", task_type=kind, resources=one)) for kind in kinds])
        self.decides()

    def running(self) -> list[str]:
        return sorted(task_id for task_id, each in self.model.tasks.items() if each.running)

    def decides(self) -> None:
        self.model.tidy()
        granted = []
        for decision in self.queue.decide(self.now):
            if isinstance(decision, Grant):
                granted += decision.task_ids
                self.numbers |= dict.fromkeys(decision.task_ids, decision.number)
        assert granted == self.model.decide(self.now)

    @invariant()
    def nothing_is_left_of_what_is_gone(self) -> None:
        order = self.queue._scheduler._order
        groups = {each.group for each in self.model.tasks.values()}
        assert set(order._turns) <= groups
        assert set(self.queue._scheduler._group_lines) == groups
        assert len(order._shelves) <= 2 * len(self.model.tasks) + 2

    def teardown(self) -> None:
        for kind in TYPES:
            self.limits_change(kind, None)
        for owner in OWNERS:
            self.owners_cannot_run_some(owner, set())
        while self.model.tasks:
            self.now += 1
            self.end(self.running()[0], Outcome.COMPLETED)


TestOrder = OrderMachine.TestCase
TestOrder.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


class Stream:
    """A queue of one CPU in which a new job comes whenever something ends."""

    def __init__(self) -> None:
        self.queue = TaskQueue()
        self.queue.set_nodes({"n": {"cpu": 1}})
        self.queue.renew("o", 0.0, LEASE_S)
        self.now = 0.0

    def submit(self, task_id: str, priority: TaskPriority, job: str = "") -> None:
        task = Task(task_id=task_id, task_type="work", job_id=job, resources=ResourceEstimate(cpus=1))
        self.queue.submit("o", [(task, priority)], self.now)

    def next(self, seconds: float = 1.0) -> str:
        """Let what runs end, and say what runs then."""
        self.now += seconds
        for grant in self.queue.grants():
            for task_id in grant.task_ids:
                report = TaskReport(task_id=task_id, number=grant.number, outcome=Outcome.COMPLETED)
                self.queue.report("o", report, self.now)
        (grant,) = [decision for decision in self.queue.decide(self.now) if isinstance(decision, Grant)]
        return grant.task_ids[0]


def test_ever_new_urgent_jobs_do_not_starve_a_job_that_was_served_before() -> None:
    """Of whatever priority; a new job was never served, so it would always be the one served longest ago."""
    for priority in TaskPriority:
        stream = Stream()
        for n in range(3):
            stream.submit(f"old-{n}", priority, job="old")
        assert stream.next() == "old-0"
        served = []
        for n in range(1000):
            stream.submit(f"new-{n}", TaskPriority.URGENT, job=f"new-{n}")
            served.append(stream.next())
        waited = [served.index("old-1"), served.index("old-2") - served.index("old-1")]
        assert max(waited) <= max(priority, 1) * AGING_S + 3


def test_many_jobs_that_have_waited_for_long_leave_every_other_turn_to_an_urgent_one() -> None:
    stream = Stream()
    stream.submit("first", TaskPriority.NORMAL)
    stream.next()
    for n in range(100):
        stream.submit(f"old-{n}", TaskPriority.NORMAL, job=f"old-{n}")
    stream.now += 3 * AGING_S
    for n in range(20):
        stream.submit(f"urgent-{n}", TaskPriority.URGENT, job="urgent")
    served = [stream.next() for _ in range(41)]
    assert sum(name.startswith("urgent") for name in served) == 20


class Crowd:
    """A node with several resources, on which streams of tasks go on for ever; what ends when is known."""

    def __init__(self, room: dict[str, float], units: int) -> None:
        self.queue = TaskQueue()
        self.queue.set_nodes({"n": room})
        self.queue.set_units("licence", units)
        self.queue.renew("o", 0.0, LEASE_S)
        self.now = 0
        self.lasts: dict[str, int] = {}
        self.ends: dict[str, tuple[int, Grant]] = {}
        self.began: dict[str, int] = {}

    def submit(self, name: str, wants: frozenset[str], lasts: int, priority: TaskPriority, job: str) -> None:
        """A task that takes one of each that it wants."""
        units = {"licence": 1.0} if "licence" in wants else {}
        resources = ResourceEstimate(
            cpus=float("cpu" in wants), gpus=float("gpu" in wants), memory_bytes=1, custom=units
        )
        task = Task(task_id=name, task_type="work", job_id=job, resources=resources)
        self.lasts[name] = lasts
        self.queue.submit("o", [(task, priority)], float(self.now))

    def tick(self) -> None:
        """A second passes."""
        self.now += 1
        for name, (end, grant) in list(self.ends.items()):
            if end <= self.now:
                del self.ends[name]
                report = TaskReport(task_id=name, number=grant.number, outcome=Outcome.COMPLETED)
                self.queue.report("o", report, float(self.now))
        for grant in self.queue.decide(float(self.now)):
            if isinstance(grant, Grant):
                for name in grant.task_ids:
                    self.began[name] = self.now
                    self.ends[name] = (self.now + self.lasts[name], grant)


CPU_ONLY, GPU_ONLY, LICENCE_ONLY = (frozenset({name}) for name in ("cpu", "gpu", "licence"))
AT_TOP_S = TaskPriority.NORMAL * AGING_S


@pytest.mark.parametrize(
    ("wants", "urgent"), [(GPU_ONLY, CPU_ONLY), (LICENCE_ONLY, CPU_ONLY), (GPU_ONLY, CPU_ONLY | GPU_ONLY)]
)
def test_who_waited_for_a_cpu_is_not_starved_by_what_others_get_that_waited(
    wants: frozenset[str], urgent: frozenset[str]
) -> None:
    """An urgent job takes the CPU again and again; of something else, many that waited longer get one after another."""
    crowd = Crowd({"cpu": 1.0, "gpu": float(len(urgent)), "memory": 1e9}, units=1)
    for n in range(650):
        crowd.submit(f"other-{n}", wants, 1, TaskPriority.NORMAL, job=f"other-{n}")
    for n in range(200):
        crowd.submit(f"urgent-{n}", urgent, 5, TaskPriority.URGENT, job="urgent")
    while "bulk" not in crowd.began and crowd.now < 700:
        crowd.tick()
        if crowd.now == 10:
            crowd.submit("bulk", CPU_ONLY, 5, TaskPriority.NORMAL, job="bulk")
    assert crowd.now <= 10 + AT_TOP_S + 5
    for _ in range(5):
        crowd.tick()
    assert any(name.startswith("urgent") for name in crowd.ends), "and then it is an urgent one's turn"


some = st.sets(st.sampled_from(("cpu", "gpu", "licence")), min_size=1).map(frozenset)
streams = st.lists(st.tuples(some, st.integers(1, 5), st.sampled_from(("urgent", "new", "old"))), max_size=5)


@settings(max_examples=30, deadline=None)
@given(wants=some, crowd_of=streams, room=st.tuples(*[st.integers(1, 2)] * 3))
@example(wants=CPU_ONLY, crowd_of=[(CPU_ONLY, 2, "urgent"), (GPU_ONLY, 1, "new")], room=(1, 1, 1))
def test_whoever_waited_gets_what_it_wants_whatever_else_goes_on(
    wants: frozenset[str], crowd_of: list[tuple[frozenset[str], int, str]], room: tuple[int, int, int]
) -> None:
    """At the top, all others may go before it once, and what begins so ends in 5 s.

    Besides it there are urgent jobs, ever new urgent ones, and bulk jobs: of what it wants younger ones, of other
    things older ones as well.
    """
    cpus, gpus, units = room
    crowd = Crowd({"cpu": float(cpus), "gpu": float(gpus), "memory": 1e9}, units)
    longest = AT_TOP_S + 5 * (len(crowd_of) + 2)
    for n, (others, lasts, kind) in enumerate(crowd_of):
        if kind == "old" and wants.isdisjoint(others):
            for k in range(400):
                crowd.submit(f"{n}-{k}", others, lasts, TaskPriority.NORMAL, job=f"{n}-{k}")
    crowd.tick()
    crowd.submit("bulk", wants, 1, TaskPriority.NORMAL, job="bulk")
    while "bulk" not in crowd.began:
        for n, (others, lasts, kind) in enumerate(crowd_of):
            priority = TaskPriority.NORMAL if kind == "old" else TaskPriority.URGENT
            for k in range(2):
                name = f"{n}-at-{crowd.now}-{k}"
                crowd.submit(name, others, lasts, priority, job=name if kind != "urgent" else f"urgent-{n}")
        crowd.tick()
        assert crowd.now <= 1 + longest
