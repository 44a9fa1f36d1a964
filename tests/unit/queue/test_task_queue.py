"""The queue: order, limits, conflicts, revoked grants, leases; and that no sequence of events breaks its promises."""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from actors.coordinator.held_kinds import kind_of
from actors.queue.dispatcher import GATHER_S, MAX_MERGED, PROTECTED_S
from actors.queue.queue_events import Decision, Finished, Grant, Outcome, Past, Revoke, Stop, TaskReport
from actors.queue.queue_lines import AGING_S, Kind
from actors.queue.task_queue import FORGET_S, TaskQueue
from benchmarks.queue_load import QueueLoad
from pipelines.admission import TURN_S
from pipelines.errors import FailedReason, RayjobsError
from pipelines.failure_policy import pause_before_retry
from pipelines.resources import ResourceEstimate
from pipelines.storage.places import above
from pipelines.tasks import Task, TaskPriority, TaskStatus

TTL_S = 10.0
HIGH, NORMAL = TaskPriority.HIGH, TaskPriority.NORMAL


def queue_of(cpus: float = 2.0, *, owners: Sequence[str] = ("o",), **nodes: float) -> TaskQueue:
    queue = TaskQueue()
    queue.set_nodes({name: {"cpu": has, "memory": 1000.0} for name, has in (nodes or {"n": cpus}).items()})
    for owner in owners:
        queue.renew(owner, 0.0, 1e9)
    return queue


def task(
    task_id: str, *, cpus: float = 1.0, memory: int = 0, custom: dict[str, float] | None = None, **more: Any
) -> Task:
    needs = ResourceEstimate(cpus=cpus, memory_bytes=memory, custom=custom or {})
    return Task(task_id=task_id, resources=needs, **{"task_type": "work", **more})


def shard(task_id: str, *, job: str, most: float = 8.0) -> Task:
    return task(task_id, job_id=job, max_cpus=most, preemptible=True)


def units(task_id: str, *, job: str) -> Task:
    """A lease of a unit that a stage of a job's shard holds."""
    return task(task_id, cpus=0, custom={"licence": 1}, job_id=f"{job} units", preemptible=True)


def submit(queue: TaskQueue, *tasks: Task, priority: TaskPriority = NORMAL, now: float = 0.0, owner: str = "o") -> None:
    queue.submit(owner, [(t, priority) for t in tasks], now)


def granted(decisions: Sequence[Decision]) -> list[str]:
    return [task_id for d in decisions if isinstance(d, Grant) for task_id in d.task_ids]


def end(
    queue: TaskQueue, task_id: str, outcome: Outcome = Outcome.COMPLETED, *, now: float = 0.0, **more: Any
) -> list[Decision]:
    entry = queue.entry(task_id)
    assert entry is not None
    queue.report(entry.owner, TaskReport(task_id=task_id, number=entry.number, outcome=outcome, **more), now)
    return queue.decide(now)


def status(queue: TaskQueue, task_id: str) -> TaskStatus:
    entry = queue.entry(task_id)
    assert entry is not None
    return entry.status


class TestOrder:
    def test_more_urgent_leaves_first(self) -> None:
        queue = queue_of(1)
        for priority in reversed(TaskPriority):
            submit(queue, task(priority.name), priority=priority)
        order = granted(queue.decide(0))
        while order[-1] != "LOW":
            order += granted(end(queue, order[-1]))
        assert order == ["URGENT", "HIGH", "NORMAL", "LOW"]

    def test_equal_tasks_leave_in_the_order_of_their_submission(self) -> None:
        queue = queue_of(1)
        submit(queue, *(task(f"{n}") for n in range(5)))
        order = granted(queue.decide(0))
        while len(order) < 5:
            order += granted(end(queue, order[-1]))
        assert order == ["0", "1", "2", "3", "4"]

    def test_a_steady_stream_of_urgent_tasks_starves_nobody(self) -> None:
        queue = queue_of(1)
        submit(queue, task("patient"), priority=TaskPriority.LOW)
        submit(queue, task("urgent-0"), priority=TaskPriority.URGENT)
        running = granted(queue.decide(0))
        for step in range(1, 1000):
            submit(queue, task(f"urgent-{step}"), priority=TaskPriority.URGENT, now=step)
            running = granted(end(queue, running[0], now=step))
            if running == ["patient"]:
                break
        assert step == pytest.approx(3 * AGING_S, abs=1)

    def test_endless_processing_starves_no_job_and_gets_the_cpus_back(self) -> None:
        """A processor's bursts, one after the other without a pause, as ``pipelines.admission`` turns them."""
        queue = queue_of(2)
        submit(queue, shard("job", job="j"))
        submit(queue, task("burst", task_type="interactive", max_cpus=2, preemptible=True), priority=HIGH)
        turns: Counter[str] = Counter()

        def follow(decisions: list[Decision], now: float) -> None:
            turns.update(granted(decisions))
            for decision in decisions:
                if isinstance(decision, Revoke) and status(queue, decision.task_id) is TaskStatus.RUNNING:
                    follow(end(queue, decision.task_id, Outcome.RELEASED, now=now), now)

        for now in range(0, 600, int(TURN_S)):
            follow(queue.decide(now), now)
            if status(queue, "burst") is TaskStatus.RUNNING:
                follow(end(queue, "burst", Outcome.RELEASED, now=now), now)
        assert turns["job"] >= 600 // (AGING_S + 3 * TURN_S)
        assert turns["burst"] > 4 * turns["job"]

    def test_a_task_that_fits_nowhere_yet_is_not_overtaken_for_ever(self) -> None:
        queue = queue_of(2)
        submit(queue, task("small-0"), task("small-1"))
        running = granted(queue.decide(0))
        submit(queue, task("large", cpus=2))
        for step in range(1, 300):
            submit(queue, task(f"late-{step}"), now=step)
            running = list(running[1:]) + granted(end(queue, running[0], now=step))
            if "large" in running:
                break
            assert running, "the machine may stand half empty, not empty, while the large task waits for the rest"
        assert running == ["large"]
        assert step < AGING_S + 5

    def test_neither_is_an_elastic_one_that_needs_several_nodes(self) -> None:
        queue = queue_of(a=2.0, b=2.0)
        submit(queue, *(task(f"small-{n}") for n in range(4)))
        running = granted(queue.decide(0))
        submit(queue, task("large", cpus=4, max_cpus=4, job_id="j"))
        for step in range(1, 300):
            submit(queue, task(f"late-{step}"), now=step)
            running = list(running[1:]) + granted(end(queue, running[0], now=step))
            if "large" in running:
                break
        assert running == ["large"]
        assert step < AGING_S + 6

    def test_two_bulk_jobs_take_turns(self) -> None:
        queue = queue_of(2, owners=("a", "b"))
        submit(queue, *(shard(f"a{n}", job="A") for n in range(3)), owner="a")
        order = granted(queue.decide(0))
        submit(queue, *(shard(f"b{n}", job="B") for n in range(3)), owner="b", now=1)
        queue.decide(1)
        step = 1
        while len(order) < 6:
            step += 1
            ended = [g.task_ids[0] for g in queue.grants()]
            for task_id in ended:
                order += granted(end(queue, task_id, now=step))
        share = Counter(name[0] for name in order[:5])
        assert order[0] == "a0"
        assert abs(share["a"] - share["b"]) <= 1

    def test_jobs_that_wait_at_the_same_time_share_the_machine(self) -> None:
        queue = queue_of(8)
        submit(queue, shard("a", job="A"), shard("b", job="B"))
        cpus = {d.task_ids[0]: d.cpus for d in queue.decide(0) if isinstance(d, Grant)}
        assert cpus == {"a": 4, "b": 4}

    def test_who_waits_for_units_alone_takes_no_share_of_the_cpus(self) -> None:
        queue = queue_of(8)
        queue.set_units("licence", 1)
        submit(queue, units("u0", job="U"), units("u1", job="V"))
        queue.decide(0)
        submit(queue, shard("a", job="A"))
        assert [d.cpus for d in queue.decide(0) if isinstance(d, Grant)] == [8]

    def test_small_tasks_are_merged_once_their_duration_is_known(self) -> None:
        queue = queue_of(2)
        submit(queue, *(task(f"{n}") for n in range(1000)))
        first = granted(queue.decide(0))
        assert len(first) == 2
        grants = [d for d in end(queue, first[0], seconds=0.001) if isinstance(d, Grant)]
        assert [len(g.task_ids) for g in grants] == [MAX_MERGED]
        assert queue.status().by_type == {"work": 2}

    def test_long_tasks_are_not_merged(self) -> None:
        queue = queue_of(2)
        submit(queue, *(task(f"{n}") for n in range(1000)))
        first = granted(queue.decide(0))
        assert len(granted(end(queue, first[0], seconds=5.0))) == 1


class TestDependencies:
    def test_a_task_waits_for_all_that_it_depends_on(self) -> None:
        queue = queue_of(4)
        submit(queue, task("a"), task("b"), task("c", depends_on=("a", "b", "a")))
        assert granted(queue.decide(0)) == ["a", "b"]
        assert granted(end(queue, "a")) == []
        assert granted(end(queue, "b")) == ["c"]

    @pytest.mark.parametrize(
        ("outcome", "passed_on", "verb"),
        [(Outcome.FAILED, TaskStatus.FAILED, "failed"), (Outcome.CANCELLED, TaskStatus.CANCELLED, "was cancelled")],
        ids=["failure", "cancellation"],
    )
    def test_a_bad_end_passes_on(self, outcome: Outcome, passed_on: TaskStatus, verb: str) -> None:
        queue = queue_of()
        submit(queue, task("a"), task("b", depends_on=("a",)), task("c", depends_on=("b",)))
        queue.decide(0)
        told = end(queue, "a", outcome)
        assert {d.task_id for d in told if isinstance(d, Finished)} == {"a", "b", "c"}
        assert status(queue, "c") is passed_on
        entry = queue.entry("b")
        assert entry is not None
        assert entry.error == f"task a, which it depends on, {verb}"

    def test_a_task_submitted_after_its_dependency_failed_fails_at_once(self) -> None:
        queue = queue_of()
        submit(queue, task("a"))
        queue.decide(0)
        end(queue, "a", Outcome.FAILED)
        submit(queue, task("b", depends_on=("a",)))
        assert status(queue, "b") is TaskStatus.FAILED

    def test_a_failure_passes_along_a_chain_of_any_length(self) -> None:
        queue = queue_of()
        chain = [task("0"), *(task(f"{n}", depends_on=(f"{n - 1}",)) for n in range(1, 20_000))]
        submit(queue, *chain)
        queue.decide(0)
        end(queue, "0", Outcome.FAILED)
        assert queue.status().pending == 0
        assert status(queue, "19999") is TaskStatus.FAILED

    @pytest.mark.parametrize(
        ("tasks", "words"),
        [
            ((task("a", depends_on=("b",)), task("b", depends_on=("a",))), "circle: a, b"),
            ((task("a", depends_on=("a",)),), "circle: a"),
            ((task("a", depends_on=("nobody",)),), "depends on nobody, which is unknown"),
        ],
        ids=["two", "itself", "unknown"],
    )
    def test_circles_and_unknown_dependencies_are_refused_and_leave_nothing(
        self, tasks: tuple[Task, ...], words: str
    ) -> None:
        queue = queue_of()
        with pytest.raises(RayjobsError, match=words):
            submit(queue, task("good"), *tasks)
        assert queue.entry("good") is None
        assert queue.decide(0) == []


class TestLimitsAndConflicts:
    def test_a_limit_counts_running_tasks_of_its_type(self) -> None:
        queue = queue_of(8)
        queue.set_limit("work", 2)
        submit(queue, *(task(f"{n}") for n in range(4)), task("other", task_type="other"))
        assert set(granted(queue.decide(0))) == {"0", "1", "other"}

    def test_a_limit_can_be_changed_while_tasks_run(self) -> None:
        queue = queue_of(8)
        submit(queue, *(task(f"{n}") for n in range(8)))
        queue.set_limit("work", 4)
        assert len(granted(queue.decide(0))) == 4
        queue.set_limit("work", 1)
        assert granted(end(queue, "0")) == []
        queue.set_limit("work", 5)
        assert len(granted(queue.decide(0))) == 2

    def test_tasks_with_a_common_output_run_one_after_the_other(self) -> None:
        queue = queue_of(8)
        submit(queue, task("a", outputs=("x", "y")), task("b", outputs=("y", "z")), task("c", outputs=("z",)))
        assert set(granted(queue.decide(0))) == {"a", "c"}
        assert granted(end(queue, "a")) == []
        assert granted(end(queue, "c")) == ["b"]

    @pytest.mark.parametrize(
        ("one", "other", "together"),
        [
            (("/out",), ("/out/a",), False),
            (("/out/a/b.png",), ("/out",), False),
            (("/out", "/x"), ("/y", "/out/deep/er/c"), False),
            (("/out/a",), ("/out/b",), True),
            (("/out/a",), ("/out/ab",), True),
            (("/",), ("/out",), False),
        ],
        ids=["inside", "around", "one of several", "beside", "beginning alike", "the root"],
    )
    def test_an_output_inside_of_another_is_in_its_way(
        self, one: tuple[str, ...], other: tuple[str, ...], together: bool
    ) -> None:
        queue = queue_of(8)
        submit(queue, task("a", outputs=one), task("b", outputs=other))
        assert granted(queue.decide(0)) == (["a", "b"] if together else ["a"])
        assert granted(end(queue, "a")) == ([] if together else ["b"])

    def test_whoever_waited_for_the_directory_around_them_runs_side_by_side_then(self) -> None:
        queue = queue_of(8)
        submit(queue, task("around", outputs=("/out",)))
        submit(queue, *(task(f"{n}", outputs=(f"/out/{n}",)) for n in range(5)), task("again", outputs=("/out",)))
        assert granted(queue.decide(0)) == ["around"]
        assert granted(end(queue, "around")) == [f"{n}" for n in range(5)]
        assert [granted(end(queue, f"{n}")) for n in range(5)] == [[], [], [], [], ["again"]]

    def test_what_a_driver_cannot_run_for_now_waits_and_is_in_nobodys_way(self) -> None:
        queue = queue_of(2, owners=("o", "p"))
        large, small = task("large", cpus=2), task("small")
        queue.withhold("o", [kind_of(large)])
        submit(queue, large, priority=TaskPriority.URGENT)
        submit(queue, small)
        submit(queue, task("other", cpus=1), owner="p")
        assert set(granted(queue.decide(AGING_S * 2))) == {"small", "other"}
        told = queue.status()
        assert (told.pending, told.held) == (1, 1)
        end(queue, "small", now=AGING_S * 2)
        assert granted(end(queue, "other", now=AGING_S * 2)) == []
        queue.withhold("o", [])
        assert granted(queue.decide(AGING_S * 2)) == ["large"]
        assert queue.status().held == 0

    def test_an_exclusive_resource_has_one_user_at_a_time(self) -> None:
        queue = queue_of(8)
        submit(queue, *(task(f"{n}", exclusive=("scanner",)) for n in range(50)))
        order = granted(queue.decide(0))
        while len(order) < 50:
            assert len(queue.grants()) == 1
            order += granted(end(queue, order[-1]))
        assert order == [f"{n}" for n in range(50)]

    def test_cancelling_the_next_in_line_for_a_resource_lets_the_one_behind_it_in(self) -> None:
        queue = queue_of(8)
        queue.set_limit("work", 1)
        submit(queue, task("a", exclusive=("x",)), task("b", exclusive=("x",)), task("c", exclusive=("x",)))
        queue.decide(0)
        queue.cancel("b", 0)
        assert granted(end(queue, "a")) == ["c"]

    def test_units_of_a_provider_are_counted_for_the_whole_cluster(self) -> None:
        queue = queue_of(a=4.0, b=4.0)
        queue.set_units("licence", 3)
        submit(queue, *(task(f"{n}", custom={"licence": 1}) for n in range(8)))
        assert len(granted(queue.decide(0))) == 3

    def test_jobs_take_turns_in_units_that_their_stages_hold_beside_their_shards(self) -> None:
        queue = queue_of(4, owners=("a", "b"))
        queue.set_units("licence", 1)
        for owner in ("a", "b"):
            submit(queue, units(owner, job=owner), owner=owner)
        order = granted(queue.decide(0))
        while len(order) < 6:
            order += granted(end(queue, order[-1], Outcome.RELEASED))
        assert order == ["a", "b"] * 3

    @pytest.mark.parametrize(
        ("bad", "words"),
        [
            (task("t", cpus=5), "asks for 5 CPUs, the largest node has 4 CPUs"),
            (task("t", memory=2 << 30), "asks for 2.00 GiB of memory, the largest node has 0.00 GiB"),
            (task("t", custom={"scanner": 1}), "asks for 1 of 'scanner', nothing offers 'scanner'"),
            (task("t", custom={"licence": 4}), "asks for 4 of 'licence', its provider has 3 of 'licence'"),
            (task("t", cpus=9, max_cpus=9), "asks for 9 CPUs, all 2 nodes together have 6 CPUs"),
            (
                task("t", cpus=2, max_cpus=4, custom={"licence": 2}),
                "asks for 4 of 'licence', its provider has 3 of 'licence'",
            ),
        ],
        ids=["cpus", "memory", "unknown", "units", "elastic", "units per CPU"],
    )
    def test_what_can_never_run_is_refused_at_once(self, bad: Task, words: str) -> None:
        queue = queue_of(a=4.0, b=2.0)
        queue.set_units("licence", 3)
        with pytest.raises(RayjobsError, match=words):
            submit(queue, bad)

    def test_tasks_go_to_the_node_with_the_most_room(self) -> None:
        queue = queue_of(a=2.0, b=4.0)
        submit(queue, *(task(f"{n}") for n in range(6)))
        nodes = [d.node for d in queue.decide(0) if isinstance(d, Grant)]
        assert nodes[:2] == ["b", "b"]
        assert Counter(nodes) == {"a": 2, "b": 4}

    def test_an_elastic_task_gathers_cpus_from_several_nodes(self) -> None:
        queue = queue_of(a=2.0, b=4.0)
        submit(queue, shard("s", job="j", most=5))
        (grant,) = queue.decide(0)
        assert isinstance(grant, Grant)
        assert (grant.cpus, grant.node) == (5, "")

    def test_memory_of_an_elastic_task_counts_per_cpu(self) -> None:
        queue = queue_of(8)
        submit(queue, task("s", memory=400, max_cpus=8))
        (grant,) = queue.decide(0)
        assert isinstance(grant, Grant)
        assert (grant.cpus, grant.memory_bytes) == (2, 800)

    def test_units_of_an_elastic_task_count_per_cpu(self) -> None:
        queue = queue_of(a=2.0, b=4.0)
        queue.set_units("licence", 7)
        submit(queue, task("s", custom={"licence": 2}, max_cpus=6), task("t", custom={"licence": 1}, max_cpus=6))
        grants = {d.task_ids[0]: d.cpus for d in queue.decide(0) if isinstance(d, Grant)}
        assert grants == {"s": 3, "t": 1}
        assert queue.capacity.free("licence") == 0
        end(queue, "s")
        assert queue.capacity.free("licence") == 6

    @pytest.mark.parametrize(("cpus", "most", "given"), [(0.5, 0.5, 1), (1.5, 1.5, 2), (0.5, 8, 4), (0, 2.5, 2)])
    def test_an_elastic_task_gets_whole_cpus_whatever_it_asks_for(self, cpus: float, most: float, given: int) -> None:
        queue = queue_of(4)
        submit(queue, task("s", cpus=cpus, max_cpus=most, custom={}))
        assert [d.cpus for d in queue.decide(0) if isinstance(d, Grant)] == [given]

    def test_less_than_a_grain_of_a_unit_counts_as_one(self) -> None:
        queue = queue_of(4)
        queue.set_units("licence", 1)
        submit(queue, task("s", custom={"licence": 1e-9}, max_cpus=4))
        assert granted(queue.decide(0)) == ["s"]
        assert queue.capacity.free("licence") == pytest.approx(1 - 4e-4)

    def test_units_count_as_the_living_say(self) -> None:
        """A driver that can't reach the licences, or has a lower limit, and is gone: others aren't bound by it."""
        queue = queue_of(4, owners=("a", "b", "c"))
        queue.set_units("licence", 3, "a")
        queue.set_units("licence", 2, "b")
        queue.set_units("licence", 0, "c")
        submit(queue, task("t"), owner="a")
        queue.close_owner("c", 0.0)
        assert queue.capacity.total("licence") == 2
        queue.set_units("licence", 4, "a")
        queue.close_owner("a", 0.0)
        assert queue.capacity.total("licence") == 2
        queue.close_owner("b", 0.0)
        assert queue.capacity.total("licence") == 2, "somebody may ask before its providers are told of"
        assert queue.units.changed == {"licence": 2}


class TestPriorityChanges:
    def test_a_waiting_task_that_becomes_urgent_goes_first(self) -> None:
        queue = queue_of(1)
        submit(queue, *(task(f"{n}") for n in range(4)))
        assert granted(queue.decide(0)) == ["0"]
        assert queue.set_priority("3", TaskPriority.URGENT)
        assert queue.status().by_priority == {"normal": 2, "urgent": 1}
        assert granted(end(queue, "0")) == ["3"]
        assert granted(end(queue, "3")) == ["1"]
        assert not queue.set_priority("3", NORMAL)
        assert not queue.set_priority("nobody", NORMAL)

    def test_a_job_that_becomes_urgent_makes_another_yield_and_is_not_made_to_itself(self) -> None:
        queue = queue_of(2)
        submit(queue, shard("s", job="j"))
        assert granted(queue.decide(0)) == ["s"]
        submit(queue, shard("t", job="k"))
        assert not queue.decide(0)
        queue.set_priority("s", TaskPriority.HIGH)
        queue.set_priority("t", TaskPriority.HIGH)
        assert not queue.decide(0)
        queue.set_priority("t", TaskPriority.URGENT)
        (revoke,) = queue.decide(0)
        assert isinstance(revoke, Revoke)
        assert revoke.task_id == "s"
        assert granted(end(queue, "s", Outcome.RELEASED)) == ["t"]
        queue.set_priority("s", TaskPriority.LOW)
        assert granted(end(queue, "t")) == ["s"]

    def test_the_ledger_of_a_change_is_written(self) -> None:
        queue = queue_of(1)
        submit(queue, task("a"))
        queue.changed.clear()
        queue.set_priority("a", TaskPriority.LOW)
        assert [entry.priority for entry in queue.changed.values()] == [TaskPriority.LOW]

    def test_a_limit_can_be_lifted(self) -> None:
        queue = queue_of(4)
        queue.set_limit("render", 1)
        submit(queue, *(task(f"{n}", task_type="render") for n in range(3)))
        assert len(granted(queue.decide(0))) == 1
        queue.set_limit("render", None)
        assert len(granted(queue.decide(0))) == 2
        assert queue.status().limits == {}


class TestRevoking:
    def test_an_urgent_task_makes_a_bulk_shard_yield_and_the_shard_returns_to_its_place(self) -> None:
        queue = queue_of(2)
        submit(queue, shard("s0", job="j"), shard("s1", job="j"))
        assert granted(queue.decide(0)) == ["s0"]
        submit(queue, *(task(f"u{n}") for n in range(3)), priority=TaskPriority.URGENT, now=1)
        assert queue.decide(1) == [Revoke(owner="o", number=1, task_id="s0")]
        assert queue.decide(1.1) == []
        assert granted(end(queue, "s0", Outcome.RELEASED, now=1.2)) == ["u0", "u1"]
        assert granted(end(queue, "u0", now=2)) == ["u2"]
        assert granted(end(queue, "u1", now=2)) == [], "it doesn't start with one CPU beside a short urgent task"
        grants = [d for d in end(queue, "u2", now=2.5) if isinstance(d, Grant)]
        assert [(g.task_ids, g.cpus) for g in grants] == [(("s0",), 2)]

    def test_a_shard_that_yielded_goes_on_beside_a_long_urgent_task(self) -> None:
        queue = queue_of(2)
        submit(queue, shard("s0", job="j"))
        queue.decide(0)
        submit(queue, task("u"), priority=TaskPriority.URGENT, now=1)
        queue.decide(1)
        assert granted(end(queue, "s0", Outcome.RELEASED, now=1)) == ["u"]
        assert granted(queue.decide(1 + GATHER_S - 0.1)) == []
        assert granted(queue.decide(1 + GATHER_S)) == ["s0"]

    def test_equals_and_tasks_that_cannot_yield_are_left_alone(self) -> None:
        queue = queue_of(2)
        submit(queue, task("stiff", cpus=2), priority=TaskPriority.LOW)
        queue.decide(0)
        submit(queue, task("u"), priority=TaskPriority.URGENT)
        assert queue.decide(0) == []
        queue = queue_of(2)
        submit(queue, shard("s", job="j"), priority=TaskPriority.URGENT)
        queue.decide(0)
        submit(queue, task("u"), priority=TaskPriority.URGENT)
        assert queue.decide(0) == []

    def test_no_more_are_asked_to_yield_than_needed_and_the_least_urgent_first(self) -> None:
        queue = queue_of(4)
        for name, priority in (("high", TaskPriority.HIGH), ("low", TaskPriority.LOW), ("normal", NORMAL)):
            submit(queue, shard(name, job=name, most=1), priority=priority)
        submit(queue, task("filler"))
        queue.decide(0)
        submit(queue, task("u"), priority=TaskPriority.URGENT)
        assert [d.task_id for d in queue.decide(0) if isinstance(d, Revoke)] == ["low"]

    def test_only_those_yield_who_hold_what_is_needed(self) -> None:
        queue = queue_of(4)
        queue.set_units("licence", 1)
        submit(queue, shard("s", job="j"), units("held", job="j"), priority=TaskPriority.LOW)
        queue.decide(0)
        submit(queue, units("wanted", job="k"), priority=TaskPriority.URGENT)
        assert [d.task_id for d in queue.decide(0) if isinstance(d, Revoke)] == ["held"]
        assert granted(end(queue, "held", Outcome.RELEASED)) == ["wanted"]

    def test_nobody_is_asked_to_yield_in_vain(self) -> None:
        """Or it would be asked again as soon as it goes on, and get nothing done."""
        queue = queue_of(a=2.0, b=2.0)
        submit(queue, *(task(f"stiff-{n}") for n in range(2)))
        queue.decide(0)
        submit(queue, *(shard(f"s{n}", job=f"j{n}", most=1) for n in range(2)))
        assert granted(queue.decide(0)) == ["s0", "s1"]
        submit(queue, task("u", cpus=2), priority=TaskPriority.URGENT)
        assert [queue.decide(now) for now in range(10)] == [[]] * 10
        (on_a,) = [g.task_ids[0] for g in queue.grants() if g.node == "a" and g.task_ids[0].startswith("stiff")]
        assert [d.task_id[0] for d in end(queue, on_a, now=10) if isinstance(d, Revoke)] == ["s"]
        (revoked,) = queue._grants.revoked.values()
        assert revoked.placement.node == "a", "what the other node's has is of no use"
        assert granted(end(queue, next(iter(revoked.entries)), Outcome.RELEASED, now=10)) == ["u"]

    def test_nobody_is_asked_for_cpus_while_units_are_lacking(self) -> None:
        queue = queue_of(4)
        queue.set_units("licence", 1)
        submit(queue, task("stiff", custom={"licence": 1}))
        submit(queue, shard("bulk", job="j", most=3))
        assert granted(queue.decide(0)) == ["stiff", "bulk"]
        wants = task("u", job_id="k", custom={"licence": 1}, max_cpus=4, preemptible=True)
        submit(queue, wants, priority=TaskPriority.URGENT)
        assert [queue.decide(now) for now in range(10)] == [[]] * 10
        assert [d.task_id for d in end(queue, "stiff", now=10) if isinstance(d, Revoke)] == []
        assert queue.status().by_priority == {}

    def test_nobody_is_asked_for_less_than_an_elastic_one_can_begin_with(self) -> None:
        queue = queue_of(4)
        submit(queue, task("stiff", cpus=2))
        submit(queue, *(shard(f"s{n}", job=f"j{n}", most=1) for n in range(2)))
        assert len(granted(queue.decide(0))) == 3
        submit(queue, task("u", cpus=3, max_cpus=4, preemptible=True), priority=TaskPriority.URGENT)
        assert [queue.decide(now) for now in range(10)] == [[]] * 10
        assert [d.task_id[0] for d in end(queue, "stiff", now=10) if isinstance(d, Revoke)] == ["s", "s"]

    def test_only_those_of_one_node_are_asked_if_several_have_to_yield(self) -> None:
        queue = queue_of(a=2.0, b=3.0)
        submit(queue, *(shard(f"s{n}", job=f"j{n}", most=1) for n in range(5)))
        assert len(granted(queue.decide(0))) == 5
        submit(queue, task("u", cpus=3), priority=TaskPriority.URGENT)
        where = {g.number: g.node for g in queue.grants()}
        assert [where[d.number] for d in queue.decide(0) if isinstance(d, Revoke)] == ["b"] * 3

    def test_nobody_takes_the_room_that_was_freed_for_a_more_urgent_task(self) -> None:
        queue = queue_of(2)
        submit(queue, shard("s0", job="j", most=1), shard("s1", job="j", most=1))
        queue.decide(0)
        submit(queue, task("u", cpus=2), priority=TaskPriority.URGENT)
        assert len(queue.decide(0)) == 2
        submit(queue, task("small"))
        assert granted(end(queue, "s0", Outcome.RELEASED)) == []
        assert granted(end(queue, "s1", Outcome.RELEASED)) == ["u"]

    def test_an_elastic_urgent_job_waits_a_moment_for_all_that_is_handed_back(self) -> None:
        queue = queue_of(2)
        submit(queue, shard("s0", job="j", most=1), shard("s1", job="j", most=1))
        queue.decide(0)
        submit(queue, shard("u", job="v"), priority=TaskPriority.URGENT, now=1)
        assert len(queue.decide(1)) == 2
        assert granted(end(queue, "s0", Outcome.RELEASED, now=1.1)) == []
        grants = [d for d in end(queue, "s1", Outcome.RELEASED, now=1.2) if isinstance(d, Grant)]
        assert [(g.task_ids, g.cpus) for g in grants] == [(("u",), 2)]

    def test_but_not_for_ever(self) -> None:
        queue = queue_of(2)
        submit(queue, shard("s0", job="j", most=1), shard("s1", job="j", most=1))
        queue.decide(0)
        submit(queue, shard("u", job="v"), priority=TaskPriority.URGENT, now=1)
        queue.decide(1)
        end(queue, "s0", Outcome.RELEASED, now=1.1)
        assert granted(queue.decide(1 + GATHER_S)) == ["u"]

    def test_a_shard_that_aged_into_its_turn_is_left_alone_for_a_while(self) -> None:
        queue = queue_of(1)
        submit(queue, task("u0"), priority=TaskPriority.URGENT)
        queue.decide(0)
        submit(queue, shard("s", job="j"))
        now = 2 * AGING_S
        assert granted(end(queue, "u0", now=now)) == ["s"]
        submit(queue, task("u1"), priority=TaskPriority.URGENT, now=now)
        assert queue.decide(now) == []
        assert [type(d) for d in queue.decide(now + PROTECTED_S)] == [Revoke]


class TestEnds:
    def test_cancel_is_idempotent_and_final(self) -> None:
        queue = queue_of(1)
        submit(queue, task("runs"), task("waits"))
        queue.decide(0)
        assert queue.cancel("waits", 0)
        assert queue.cancel("waits", 0)
        assert queue.cancel("runs", 0)
        assert queue.cancel("runs", 0)
        assert [type(d) for d in queue.decide(0)] == [Finished, Stop]
        end(queue, "runs", Outcome.RELEASED)
        assert status(queue, "runs") is TaskStatus.CANCELLED
        assert not queue.cancel("nobody", 0)

    def test_a_task_that_ends_before_its_cancellation_arrives_has_ended(self) -> None:
        queue = queue_of(1)
        submit(queue, task("t"))
        queue.decide(0)
        queue.cancel("t", 0)
        end(queue, "t")
        assert status(queue, "t") is TaskStatus.COMPLETED
        assert not queue.cancel("t", 0)

    @pytest.mark.parametrize(
        ("outcome", "error", "attempts", "told"),
        [
            (Outcome.CRASHED, "SIGSEGV", 3, "its process died 3 times: SIGSEGV"),
            (Outcome.CRASHED, "SIGSEGV", 1, "its process died: SIGSEGV"),
            (Outcome.TIMED_OUT, "timed out after 5 s", 2, "timed out after 5 s, 2 times"),
            (Outcome.TIMED_OUT, "timed out after 5 s", 1, "timed out after 5 s"),
            (Outcome.OUT_OF_MEMORY, "MemoryError", 2, "no memory for it, 2 times: MemoryError"),
            (Outcome.OUT_OF_MEMORY, "MemoryError", 1, "no memory for it: MemoryError"),
        ],
    )
    def test_a_task_that_takes_its_process_down_or_too_long_is_tried_a_bounded_number_of_times_with_pauses(
        self, outcome: Outcome, error: str, attempts: int, told: str
    ) -> None:
        queue = queue_of(1)
        submit(queue, task("t", max_attempts=attempts))
        queue.decide(0)
        now = 100.0
        for attempt in range(1, attempts):
            pause_s = pause_before_retry(FailedReason.CRASHED, attempt, attempts)
            assert pause_s is not None
            assert granted(end(queue, "t", outcome, error=error, now=now)) == []
            assert status(queue, "t") is TaskStatus.PENDING
            now += pause_s
            assert granted(queue.decide(now - 0.01)) == []
            assert granted(queue.decide(now)) == ["t"]
        end(queue, "t", outcome, error=error, now=now)
        entry = queue.entry("t")
        assert entry is not None
        assert (entry.status, entry.error) == (TaskStatus.FAILED, told)

    @pytest.mark.parametrize(
        ("asked", "attempts", "most", "given"),
        [
            (0, 9, None, [0, 400, 1600]),  # the share of its CPU, then the whole of the largest node
            (100, 9, None, [100, 400, 1600]),
            (1000, 9, None, [1000, 1600]),
            (1600, 9, None, [1600]),
            (0, 2, None, [0, 1600]),  # the last try is with all that there is
            (0, 1, None, [0]),
            (0, 9, 800, [0, 400, 800]),  # what its driver may give
            (0, 9, 100, [0, 100]),
            (900, 9, 800, [900]),
        ],
    )
    def test_a_task_without_memory_gets_more_until_it_had_all_that_there_is(
        self, asked: int, attempts: int, most: int | None, given: list[int]
    ) -> None:
        """The ladder of images."""
        queue = queue_of()
        gpu = {"gpu": 1.0, "cpu": 1.0, "memory": 9999.0}  # large, but it has no CPUs for this task
        queue.set_nodes({"a": {"cpu": 2.0, "memory": 400.0}, "b": {"cpu": 8.0, "memory": 1600.0}, "c": gpu})
        submit(queue, task("t", cpus=2.0, memory=asked, max_attempts=attempts))
        decided, had = queue.decide(0), []
        while grants := [decision for decision in decided if isinstance(decision, Grant)]:
            had += [grant.memory_bytes for grant in grants]
            now = 100.0 * len(had)
            end(queue, "t", Outcome.OUT_OF_MEMORY, now=now, error="MemoryError", most_memory_bytes=most)
            decided = queue.decide(now + 50)
        assert (had, status(queue, "t")) == (given, TaskStatus.FAILED)

    def test_where_nodes_do_not_say_what_memory_they_have_a_task_is_tried_as_it_is(self) -> None:
        queue = queue_of()
        queue.set_nodes({"n": {"cpu": 2.0}})
        submit(queue, task("t", max_attempts=2))
        queue.decide(0)
        assert granted(end(queue, "t", Outcome.OUT_OF_MEMORY)) == []
        assert granted(queue.decide(100)) == ["t"]

    def test_a_task_is_cancelled_in_the_pause_before_it_is_tried_again(self) -> None:
        queue = queue_of(1)
        submit(queue, task("t"), task("next"))
        queue.decide(0)
        assert granted(end(queue, "t", Outcome.CRASHED)) == ["next"], "nobody waits for the pause of another"
        assert queue.cancel("t", 0)
        end(queue, "next")
        assert queue.decide(100) == []
        assert status(queue, "t") is TaskStatus.CANCELLED

    def test_reports_under_an_old_grant_change_nothing(self) -> None:
        queue = queue_of(1)
        submit(queue, task("t"))
        queue.decide(0)
        end(queue, "t", Outcome.RELEASED)
        old = TaskReport(task_id="t", number=1, outcome=Outcome.FAILED)
        assert not queue.report("o", old, 0)
        assert status(queue, "t") is TaskStatus.RUNNING

    def test_submitting_again_is_the_same_task(self) -> None:
        queue = queue_of(2)
        submit(queue, task("t"))
        submit(queue, task("t"), task("t"))
        assert granted(queue.decide(0)) == ["t"]
        queue.renew("p", 0, TTL_S)
        with pytest.raises(RayjobsError, match="another driver"):
            submit(queue, task("t"), owner="p")

    def test_nothing_is_left_of_what_was_cancelled_behind_somebody_who_waits(self) -> None:
        queue = queue_of(1)
        submit(queue, task("runs"), task("waits"))
        for n in range(1000):
            submit(queue, task(f"{n}", kept=False))
            queue.decide(0)
            queue.cancel(f"{n}", 0)
        queue.decide(0)
        (line,) = queue._scheduler._lines.values()
        assert len(line.heap) < 100
        assert granted(end(queue, "runs")) == ["waits"]

    def test_nothing_is_left_in_memory_of_grants_that_a_driver_asked_for(self) -> None:
        queue = queue_of(1)
        for n in range(10):
            submit(queue, task(f"{n}", kept=n == 0))
            queue.decide(0)
            if n % 2:
                end(queue, f"{n}")
            else:
                queue.cancel(f"{n}", 0)
                told = end(queue, f"{n}", Outcome.RELEASED)
                assert [type(decision) for decision in told] == [Stop, Finished]
        assert [entry.task.task_id for entry in queue.entries()] == ["0"]
        assert list(queue._owners["o"].tasks) == ["0"]
        assert len(queue.changed) == 10, "the ledger hears how they ended"
        queue.close_owner("o", 0)
        assert list(queue.entries()) == []


class TestLeases:
    def test_a_forgotten_owner_has_to_come_first_and_its_tasks_leave_nothing(self) -> None:
        queue = queue_of(1, owners=())
        queue.renew("o", 0.0, TTL_S)
        queue.expire(TTL_S)
        queue.expire(TTL_S + FORGET_S)
        assert not queue.submit("o", [(task("t"), NORMAL)], 100.0)
        assert (queue.entry("t"), queue.changed) == (None, {})
        queue.renew("o", 100.0, TTL_S)
        assert queue.submit("o", [(task("t"), NORMAL)], 100.0)
        assert granted(queue.decide(100.0)) == ["t"]

    def test_a_silent_owner_loses_its_grants_and_gets_its_tasks_back_when_it_returns(self) -> None:
        queue = queue_of(1, owners=())
        queue.renew("a", 0, TTL_S)
        queue.renew("b", 0, 1e9)
        submit(queue, task("a0"), task("a1"), owner="a")
        submit(queue, task("b0"), owner="b")
        assert granted(queue.decide(0)) == ["a0"]
        assert queue.expire(TTL_S - 1) == []
        assert granted(queue.decide(TTL_S - 1)) == []
        queue.expire(TTL_S)
        assert granted(queue.decide(TTL_S)) == ["b0"]
        assert queue.renew("a", TTL_S + 1, TTL_S)
        assert granted(end(queue, "b0", now=TTL_S + 2)) == ["a0"]

    def test_what_it_finished_meanwhile_counts(self) -> None:
        queue = queue_of(1, owners=())
        queue.renew("a", 0, TTL_S)
        submit(queue, task("t"), owner="a")
        queue.decide(0)
        queue.expire(TTL_S)
        queue.renew("a", TTL_S + 1, TTL_S)
        queue.report("a", TaskReport(task_id="t", number=1, outcome=Outcome.COMPLETED), TTL_S + 1)
        assert status(queue, "t") is TaskStatus.COMPLETED
        assert granted(queue.decide(TTL_S + 1)) == []

    def test_a_dead_owner_is_forgotten_and_its_cancellation_passes_on(self) -> None:
        queue = queue_of(1, owners=("b",))
        queue.renew("a", 0, TTL_S)
        submit(queue, task("a0"), owner="a")
        submit(queue, task("b0", depends_on=("a0",)), owner="b")
        queue.decide(0)
        queue.expire(TTL_S)
        assert queue.expire(TTL_S + FORGET_S) == ["a"]
        assert queue.entry("a0") is None
        assert status(queue, "b0") is TaskStatus.CANCELLED
        assert queue.grants() == []


def calls_of(run: Callable[[], object]) -> int:
    """How many functions are called meanwhile; the clock of a shared machine would say nothing."""
    calls = 0

    def count(_: object, event: str, __: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        run()
    finally:
        sys.setprofile(None)
    return calls


def test_a_decision_looks_at_neither_every_task_nor_every_job_nor_every_node() -> None:
    calls = []
    for size in (10, 100):
        load = QueueLoad(size, 10 * size, 100 * size)
        load.fill()
        load.step(20)
        calls.append(calls_of(partial(load.step, 100)))
    assert calls[1] < 1.3 * calls[0]


def test_conflicts_are_looked_at_for_the_first_of_a_line_only() -> None:
    few, many = (queue_of(2) for _ in range(2))
    for queue, count in ((few, 200), (many, 20_000)):
        submit(queue, *(task(f"{n}", job_id=f"j{n % 10}", outputs=(f"out-{n}",)) for n in range(count)))
    calls = [calls_of(partial(queue.decide, 0.0)) for queue in (few, many)]
    assert calls[1] < 1.3 * calls[0]


OWNERS = ("a", "b")
TYPES = ("render", "export")


class QueueMachine(RuleBasedStateMachine):
    """Any sequence of events keeps the promises; and in the end everything ends."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.queue = TaskQueue()
        self.limits: dict[str, int] = {}
        self.tasks: dict[str, Task] = {}
        self.final: dict[str, TaskStatus] = {}
        self.numbers: set[int] = set()
        self.forgotten: set[str] = set()
        self.totals = {"m": 2, "n": 3}
        self.withheld: dict[str, set[Kind]] = {}

    @initialize()
    def start(self) -> None:
        self.queue.set_nodes({name: {"cpu": cpus, "memory": 10.0} for name, cpus in self.totals.items()})
        self.queue.set_units("licence", 2)
        self.renew_all()

    def renew_all(self) -> None:
        for owner in OWNERS:
            self.queue.renew(owner, self.now, TTL_S)

    @rule(
        data=st.data(), owner=st.sampled_from(OWNERS), priority=st.sampled_from(TaskPriority), count=st.integers(1, 4)
    )
    def submits(self, data: st.DataObject, owner: str, priority: TaskPriority, count: int) -> None:
        self.queue.renew(owner, self.now, TTL_S)
        new = []
        for _ in range(count):
            task_id = f"t{len(self.tasks)}"
            known = [t for t in self.tasks if self.queue.entry(t) is not None or t in {n.task_id for n in new}]
            elastic = data.draw(st.booleans())
            new.append(
                task(
                    task_id,
                    task_type=data.draw(st.sampled_from(TYPES)),
                    job_id=data.draw(st.sampled_from(("", "j", "k"))),
                    cpus=data.draw(st.sampled_from((0.5, 1.0, 2.0))),
                    custom={"licence": 1} if data.draw(st.booleans()) else {},
                    outputs=data.draw(st.sampled_from(((), ("/x",), ("/x/a", "/y"), ("/x/b",), ("/x/a/c",)))),
                    exclusive=data.draw(st.sampled_from(((), (), ("y",)))),
                    depends_on=tuple(data.draw(st.lists(st.sampled_from(known), max_size=2)) if known else ()),
                    max_cpus=data.draw(st.sampled_from((2.0, 5.0))) if elastic else None,
                    preemptible=elastic or data.draw(st.booleans()),
                )
            )
            self.tasks[task_id] = new[-1]
        self.queue.submit(owner, [(t, priority) for t in new], self.now)

    @rule(owner=st.sampled_from((*OWNERS, "stranger")))
    def strangers_submit(self, owner: str) -> None:
        """Also owners that were forgotten: whoever has no lease has to come first."""
        if owner not in self.queue._owners:
            changed = dict(self.queue.changed)
            assert not self.queue.submit(owner, [(task("strange"), NORMAL)], self.now)
            assert self.queue.entry("strange") is None
            assert self.queue.changed == changed

    @precondition(lambda self: self.queue.grants())
    @rule(data=st.data(), outcome=st.sampled_from(Outcome), seconds=st.sampled_from((None, 0.001, 10.0)))
    def ends(self, data: st.DataObject, outcome: Outcome, seconds: float | None) -> None:
        grant = data.draw(st.sampled_from(self.queue.grants()))
        task_id = data.draw(st.sampled_from(grant.task_ids))
        report = TaskReport(task_id=task_id, number=grant.number, outcome=outcome, seconds=seconds)
        self.queue.renew(grant.owner, self.now, TTL_S)
        assert self.queue.report(grant.owner, report, self.now)
        assert not self.queue.report(grant.owner, report, self.now), "a report that comes twice counts once"

    @precondition(lambda self: self.tasks)
    @rule(data=st.data())
    def cancels(self, data: st.DataObject) -> None:
        task_id = data.draw(st.sampled_from(sorted(self.tasks)))
        accepted = self.queue.cancel(task_id, self.now)
        assert self.queue.cancel(task_id, self.now) == accepted

    @precondition(lambda self: self.tasks)
    @rule(data=st.data(), priority=st.sampled_from(TaskPriority))
    def priorities_change(self, data: st.DataObject, priority: TaskPriority) -> None:
        task_id = data.draw(st.sampled_from(sorted(self.tasks)))
        before = self.queue.entry(task_id)
        is_open = before is not None and not before.status.terminal
        assert self.queue.set_priority(task_id, priority) == is_open
        assert before is None or before.priority is priority or not is_open

    @precondition(lambda self: self.tasks)
    @rule(data=st.data(), owner=st.sampled_from(OWNERS))
    def owners_cannot_run_some(self, data: st.DataObject, owner: str) -> None:
        some = data.draw(st.sets(st.sampled_from(sorted(self.tasks)), max_size=3))
        self.queue.renew(owner, self.now, TTL_S)
        self.withheld[owner] = {kind_of(self.tasks[task_id]) for task_id in some}
        self.queue.withhold(owner, self.withheld[owner])

    @rule(kind=st.sampled_from(TYPES), limit=st.none() | st.integers(0, 3))
    def limits_change(self, kind: str, limit: int | None) -> None:
        if limit is None:
            self.limits.pop(kind, None)
        else:
            self.limits[kind] = limit
        self.queue.set_limit(kind, limit)

    @rule(seconds=st.sampled_from((0.1, 3.0, TTL_S, AGING_S, TTL_S + FORGET_S)), alive=st.sets(st.sampled_from(OWNERS)))
    def time_passes(self, seconds: float, alive: set[str]) -> None:
        for owner in alive:
            self.queue.renew(owner, self.now + seconds, TTL_S)
        self.now += seconds
        for forgotten in self.queue.expire(self.now):
            self.withheld.pop(forgotten, None)  # it says it again when it comes back

    @rule()
    def coordinator_restarts(self) -> None:
        """What a ledger keeps is enough to go on."""
        self.decides()
        old = self.queue
        rows = []
        for entry in sorted(old.entries(), key=lambda e: e.order):
            kept = type(entry)(
                task=entry.task, owner=entry.owner, priority=entry.priority, order=entry.order, queued_at=0.0,
                needs=entry.needs, status=entry.status, attempts=entry.attempts, number=entry.number,
                cancelling=entry.cancelling, error=entry.error,
            )  # fmt: skip
            rows.append((kept, old.placement(entry.number) if entry.status is TaskStatus.RUNNING else None))
        self.queue = TaskQueue()
        self.queue.set_nodes({name: {"cpu": cpus, "memory": 10.0} for name, cpus in self.totals.items()})
        self.queue.set_units("licence", 2)
        for kind, limit in self.limits.items():
            self.queue.set_limit(kind, limit)
        self.renew_all()
        self.withheld.clear()  # its owners say it again
        self.queue.restore(rows, self.now, TTL_S, past=Past(len(self.tasks), max(self.numbers, default=0)))
        assert {g.number: set(g.task_ids) for g in self.queue.grants()} == {
            g.number: set(g.task_ids) for g in old.grants()
        }

    @rule()
    def decides(self) -> None:
        before = Counter(self.tasks[g.task_ids[0]].task_type for g in self.queue.grants())
        for decision in self.queue.decide(self.now):
            if not isinstance(decision, Grant):
                continue
            assert decision.number not in self.numbers, "a number is given once"
            self.numbers.add(decision.number)
            kind = self.tasks[decision.task_ids[0]].task_type
            before[kind] += 1
            assert before[kind] <= self.limits.get(kind, 10**9), "limits hold for every grant"
            for task_id in decision.task_ids:
                entry = self.queue.entry(task_id)  # one that found too little memory is of another kind
                assert entry is not None
                assert kind_of(entry.task) not in self.withheld.get(decision.owner, ())
                for other in self.tasks[task_id].depends_on:
                    entry = self.queue.entry(other)
                    assert entry is None or entry.status is TaskStatus.COMPLETED
        assert not [d for d in self.queue.decide(self.now) if isinstance(d, Grant)], "all that could start has started"

    @invariant()
    def nothing_is_held_twice(self) -> None:
        grants = self.queue.grants()
        running = [task_id for grant in grants for task_id in grant.task_ids]
        assert len(running) == len(set(running))
        held = [n for t in running for n in (*self.tasks[t].outputs, *(f"! {e}" for e in self.tasks[t].exclusive))]
        assert len(held) == len(set(held)), "two running tasks share an output or an exclusive resource"
        places = [(t, place) for t in running for place in self.tasks[t].outputs]
        for (one, here), (other, there) in itertools.combinations(places, 2):
            inside = here == there or here in above(there) or there in above(here)
            assert one == other or not inside, "a task writes inside of another's output"
        free = {name: self.queue.capacity.free(name) for name in ("cpu", "licence")}
        assert free["cpu"] == pytest.approx(sum(self.totals.values()) - sum(g.cpus for g in grants))
        assert free["licence"] == 2 - sum(self.licences(g) for g in grants) >= 0
        for name, total in self.totals.items():
            assert sum(g.cpus for g in grants if g.node == name) <= total

    def licences(self, grant: Grant) -> float:
        """What a grant holds: of an elastic task, one for each of its CPUs."""
        first = self.tasks[grant.task_ids[0]]
        return first.resources.custom.get("licence", 0) * (grant.cpus if first.max_cpus else 1)

    @invariant()
    def no_task_is_lost_and_no_end_is_taken_back(self) -> None:
        running = {task_id for grant in self.queue.grants() for task_id in grant.task_ids}
        counts: Counter[bool] = Counter()
        for task_id in self.tasks:
            entry = self.queue.entry(task_id)
            if entry is None:
                self.forgotten.add(task_id)
                continue
            assert task_id not in self.forgotten
            assert (entry.status is TaskStatus.RUNNING) == (task_id in running)
            counts[entry.status is TaskStatus.PENDING] += not entry.status.terminal
            if task_id in self.final:
                assert entry.status is self.final[task_id]
            elif entry.status.terminal:
                self.final[task_id] = entry.status
        told = self.queue.status()
        assert (told.pending, told.running) == (counts[True], counts[False])
        waiting = Counter(
            entry.priority.name.lower() for entry in self.queue.entries() if entry.status is TaskStatus.PENDING
        )
        assert told.by_priority == waiting

    def teardown(self) -> None:
        """Let everything run: nobody starves, nothing waits for ever."""
        for kind in TYPES:
            self.queue.set_limit(kind, 100)
        self.limits.clear()
        for owner in OWNERS:
            self.queue.withhold(owner, [])
        self.withheld.clear()
        for _ in range(20 * len(self.tasks) + 20):
            self.now += GATHER_S
            self.renew_all()
            self.decides()
            for grant in self.queue.grants():
                for task_id in grant.task_ids:
                    report = TaskReport(task_id=task_id, number=grant.number, outcome=Outcome.COMPLETED)
                    self.queue.report(grant.owner, report, self.now)
            if not self.queue.status().pending and not self.queue.grants():
                break
        assert (self.queue.status().pending, self.queue.status().running) == (0, 0)
        assert self.queue.capacity.free("cpu") == sum(self.totals.values())
        assert not self.queue._scheduler._aside


TestAnySequenceOfEvents = QueueMachine.TestCase
TestAnySequenceOfEvents.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
