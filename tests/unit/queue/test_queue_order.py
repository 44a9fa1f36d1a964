"""Who goes first, against a model that looks at every task each time: level, who has risen, turns, place in line."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

from hypothesis import settings
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
        self.risen_last: dict[int, bool] = {}
        self.served = 0

    def tidy(self) -> None:
        """A group or a line of which nothing is left is new when it comes back."""
        keys = {each.key for each in self.tasks.values()}
        groups = {each.group for each in self.tasks.values()}
        self.served_at = {key: at for key, at in self.served_at.items() if key in keys}
        self.turns = {group: turn for group, turn in self.turns.items() if group in groups}

    def decide(self, now: float) -> list[str]:
        found = []
        risen_last = dict(self.risen_last)
        while (best := self._best(now, risen_last)) is not None:
            level, risen, each = best
            self.served += 1
            each.running = True
            self.turns[each.group] = self.served
            self.served_at[each.key] = now
            self.risen_last[level] = risen
            found.append(each.task.task_id)
        return found

    def _best(self, now: float, risen_last: dict[int, bool]) -> tuple[int, bool, Waiting] | None:
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
            later = risen is risen_last.get(level, True)
            turn = since if risen else self.turns.get(front.group, 0)
            ranked.append((level, later, turn, front.order, risen, front))
        if not ranked:
            return None
        level, _, _, _, risen, front = min(ranked, key=lambda rank: rank[:4])
        return level, risen, front


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
