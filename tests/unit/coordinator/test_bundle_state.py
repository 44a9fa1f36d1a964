"""The tasks of a grant, from the queue to the process and back: in whatever order things happen, each ends once."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from actors.coordinator.bundle_state import ABANDON_S, GRACE_S, START_S, BundleState, End, Step
from actors.queue.dispatcher import GATHER_S
from actors.queue.queue_events import Decision, Finished, Grant, Outcome, Stop, TaskReport
from actors.queue.task_queue import TaskQueue
from pipelines.resources import ResourceEstimate
from pipelines.tasks import Task, TaskPriority, TaskStatus

LIMIT_S = 60.0


def outcomes(reports: list[TaskReport]) -> dict[str, Outcome]:
    return {report.task_id: report.outcome for report in reports}


@pytest.mark.parametrize("how", End)
def test_whatever_ends_an_interrupted_process_its_tasks_are_handed_back(how: End) -> None:
    """Also the end of a task that Ray interrupted as it started, which is no error."""
    state = BundleState(1, {"a": None, "b": None})
    state.begin(0.0)
    assert state.stop(0.0) is Step.INTERRUPT
    assert state.stop(0.1) is None
    assert outcomes(state.end(how, "")) == {"a": Outcome.RELEASED, "b": Outcome.RELEASED}
    assert state.end(how, "") == []


@pytest.mark.parametrize(
    ("how", "outcome"),
    [
        (End.OVER, Outcome.CRASHED),
        (End.DIED, Outcome.CRASHED),
        (End.STARVED, Outcome.OUT_OF_MEMORY),
        (End.LOST, Outcome.RELEASED),
        (End.FAILED, Outcome.FAILED),
    ],
)
def test_an_end_that_nobody_asked_for_leaves_no_task_behind(how: End, outcome: Outcome) -> None:
    state = BundleState(1, {"a": None, "b": None})
    done = TaskReport(task_id="a", number=1, outcome=Outcome.COMPLETED)
    assert state.take([done, done], 0.0) == [done]
    assert outcomes(state.end(how, "why")) == {"b": outcome}


def test_a_task_that_takes_too_long_is_interrupted_then_killed_then_left_to_itself() -> None:
    state = BundleState(1, {"a": 10.0, "b": None})
    assert state.due(1e6) is None, "as long as its process hasn't begun"
    state.begin(0.0)
    assert state.due(9.9) is None
    steps = [(now, step) for now in range(60) if (step := state.due(float(now))) is not None]
    assert steps[0] == (10, Step.INTERRUPT)
    assert steps[1] == (10 + GRACE_S, Step.KILL)
    assert {step for now, step in steps[1:] if now < 10 + ABANDON_S} == {Step.KILL}
    assert next(now for now, step in steps if step is Step.ABANDON) == 10 + ABANDON_S
    assert [(r.outcome, r.error) for r in state.end(End.DIED, "")] == [(Outcome.TIMED_OUT, "timed out after 10 s")] * 2


def test_a_process_that_is_starting_is_interrupted_once_it_has_begun() -> None:
    state = BundleState(1, {"a": None})
    assert (state.stop(0.0), state.due(START_S - 0.1)) == (None, None)
    assert state.begin(START_S - 0.1) is Step.INTERRUPT
    assert state.begin(START_S) is None
    assert state.due(START_S) is None
    assert state.due(START_S + GRACE_S) is Step.KILL
    late = BundleState(1, {"a": None})
    late.stop(0.0)
    assert late.due(START_S) is Step.KILL, "but nobody waits for ever"


def test_the_time_of_each_task_of_a_grant_counts_from_the_end_of_the_one_before() -> None:
    state = BundleState(1, {"a": 10.0, "b": 10.0})
    state.begin(0.0)
    state.take([TaskReport(task_id="a", number=1, outcome=Outcome.COMPLETED)], 8.0)
    assert state.due(17.9) is None
    assert state.due(18.0) is Step.INTERRUPT


@dataclass
class Process:
    """What runs a grant's tasks: it may not have begun, ignore an interruption, or be beyond killing."""

    state: BundleState
    todo: list[str]
    begun: bool = False
    stubborn: bool = False
    unkillable: bool = False
    told: list[TaskReport] = field(default_factory=list)
    """Reports under way."""
    ended: End | None = None


class DriverMachine(RuleBasedStateMachine):
    """A queue, one driver and its processes; decisions, reports and the ends of processes arrive when they like."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.queue = TaskQueue()
        self.queue.set_nodes({"n": {"cpu": 2.0}})
        self.renew()
        self.inbox: list[Decision] = []
        self.processes: dict[int, Process] = {}
        self.reports: list[TaskReport] = []
        self.left: set[tuple[int, str]] = set()
        self.cancelled: set[str] = set()
        self.completed: set[str] = set()
        self.count = 0

    def renew(self) -> None:
        self.queue.renew("o", self.now, 1e9)

    def decide(self) -> None:
        self.inbox += self.queue.decide(self.now)

    def leave(self, number: int, leaving: list[TaskReport]) -> None:
        for report in leaving:
            assert (number, report.task_id) not in self.left, "a task leaves a grant once"
            self.left.add((number, report.task_id))
        self.reports += leaving

    def carry_out(self, number: int, step: Step | None) -> None:
        process = self.processes[number]
        if step is Step.INTERRUPT and not process.stubborn and process.ended is None:
            process.ended = End.DIED if process.begun else End.OVER
        if step is Step.KILL and not process.unkillable and process.ended is None:
            process.ended = End.DIED
        if step is Step.ABANDON:
            self.leave(number, process.state.end(End.DIED, "left"))
            del self.processes[number]

    # ---- what may happen -----------------------------------------------------------------------------------------

    @rule(count=st.integers(1, 3), attempts=st.integers(1, 3), limited=st.booleans(), small=st.booleans())
    def submits(self, count: int, attempts: int, limited: bool, small: bool) -> None:
        new = []
        for _ in range(count):
            new.append(
                Task(
                    task_id=f"t{self.count}",
                    task_type="small" if small else "work",
                    resources=ResourceEstimate(cpus=1.0),
                    timeout_s=LIMIT_S if limited else None,
                    max_attempts=attempts,
                )
            )
            self.count += 1
        self.queue.submit("o", [(task, TaskPriority.NORMAL) for task in new], self.now)
        self.decide()

    @precondition(lambda self: self.count)
    @rule(data=st.data())
    def somebody_cancels(self, data: st.DataObject) -> None:
        task_id = f"t{data.draw(st.integers(0, self.count - 1))}"
        if self.queue.cancel(task_id, self.now):
            self.cancelled.add(task_id)
        self.decide()

    @precondition(lambda self: self.inbox)
    @rule(stubborn=st.booleans(), unkillable=st.booleans())
    def the_driver_hears(self, stubborn: bool, unkillable: bool) -> None:
        match self.inbox.pop(0):
            case Grant() as grant:
                limits = {}
                for task_id in grant.task_ids:
                    entry = self.queue.entry(task_id)
                    assert entry is not None
                    limits[task_id] = entry.task.timeout_s
                state = BundleState(grant.number, limits)
                process = Process(state, list(limits), stubborn=stubborn, unkillable=unkillable and stubborn)
                self.processes[grant.number] = process
            case Stop(task_id=task_id):
                for number, process in self.processes.items():
                    if task_id in process.state.open:
                        self.carry_out(number, process.state.stop(self.now))
            case Finished() | _:
                pass

    @precondition(lambda self: any(p.ended is None and p.todo for p in self.processes.values()))
    @rule(data=st.data(), outcome=st.sampled_from((Outcome.COMPLETED, Outcome.COMPLETED, Outcome.FAILED, None)))
    def a_process_goes_on(self, data: st.DataObject, outcome: Outcome | None) -> None:
        """It begins, ends a task, or dies (None)."""
        able = [n for n, p in self.processes.items() if p.ended is None and p.todo]
        number = data.draw(st.sampled_from(able))
        process = self.processes[number]
        if outcome is None:
            process.ended = End.DIED
        elif not process.begun:
            process.begun = True
        else:
            process.told.append(
                TaskReport(task_id=process.todo.pop(0), number=number, outcome=outcome, seconds=0.001, error="odd")
            )
            if not process.todo:
                process.ended = End.OVER

    @precondition(lambda self: self.processes)
    @rule(data=st.data())
    def the_driver_collects(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.processes)))
        process = self.processes[number]
        told, process.told = process.told, []
        if process.begun:
            self.carry_out(number, process.state.begin(self.now))
        self.leave(number, process.state.take(told, self.now))
        if process.ended is not None:
            self.leave(number, process.state.end(process.ended, "gone"))
            del self.processes[number]
        else:
            self.carry_out(number, process.state.due(self.now))

    @precondition(lambda self: self.reports)
    @rule()
    def a_report_arrives(self) -> None:
        report = self.reports.pop(0)
        if self.queue.report("o", report, self.now) and report.outcome is Outcome.COMPLETED:
            self.completed.add(report.task_id)
        self.decide()

    @rule(seconds=st.sampled_from((0.1, GRACE_S, ABANDON_S, LIMIT_S)))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.decide()

    @rule()
    def the_driver_dies_and_another_comes(self) -> None:
        """The tasks of the dead one are cancelled; nothing that it had under way is heard any more."""
        self.queue.close_owner("o", self.now)
        self.inbox, self.processes, self.reports = [], {}, []
        self.queue.decide(self.now)
        assert not self.queue.grants()
        assert self.queue.capacity.free("cpu") == 2.0
        self.renew()

    def teardown(self) -> None:
        """Processes that can still end do; then nobody runs, nobody waits, and what was cancelled is."""
        for _ in range(60 * (self.count + 1)):
            while self.inbox:
                self.the_driver_hears(False, False)
            for number, process in list(self.processes.items()):
                if process.ended is None and not process.stubborn:
                    process.ended = End.OVER
                    process.told += [
                        TaskReport(task_id=task_id, number=number, outcome=Outcome.COMPLETED)
                        for task_id in process.todo
                    ]
                self.carry_out(number, process.state.begin(self.now))
                self.leave(number, process.state.take(process.told, self.now))
                process.told = []
                if process.ended is not None:
                    self.leave(number, process.state.end(process.ended, "gone"))
                    del self.processes[number]
                elif not process.state.open:
                    del self.processes[number]
                else:
                    step = process.state.due(self.now) or process.state.stop(self.now)
                    self.carry_out(number, step)
            while self.reports:
                self.a_report_arrives()
            self.now += GRACE_S + GATHER_S
            self.decide()
            if not self.inbox and not self.processes and not self.queue.grants() and not self.queue.status().pending:
                break
        told = self.queue.status()
        assert (told.pending, told.running, self.queue.grants()) == (0, 0, [])
        assert self.queue.capacity.free("cpu") == 2.0
        for entry in self.queue.entries():
            assert entry.status.terminal
            if entry.task.task_id in self.cancelled and entry.task.task_id not in self.completed:
                assert entry.status in (TaskStatus.CANCELLED, TaskStatus.FAILED)


TestAnyOrder = DriverMachine.TestCase
TestAnyOrder.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
