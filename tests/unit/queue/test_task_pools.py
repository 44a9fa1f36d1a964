"""The two pools: neither waits for the other, neither takes more than its share from the other, nothing is wasted."""

from __future__ import annotations

import pytest

from actors.queue.dispatcher import TURN_S
from actors.queue.queue_events import Outcome, Revoke, TaskReport
from actors.queue.task_pools import BATCH, EXPORT, POOLS, rival_types, shard_type
from actors.queue.task_queue import TaskQueue
from pipelines.resources import ResourceEstimate
from pipelines.tasks import Task, TaskPriority


class Bench:
    """A queue with one owner, whose shards release what they hold when they are revoked."""

    def __init__(self, cpus: float) -> None:
        self.queue = TaskQueue()
        self.queue.set_nodes({"n": {"cpu": cpus, "memory": 1000.0}})
        self.queue.renew("o", 0.0, 1e9)
        self.revoked: list[str] = []

    def submit(self, pool: str, *jobs: str, now: float = 0.0, priority: TaskPriority = TaskPriority.NORMAL) -> None:
        tasks = [
            Task(
                task_id=job,
                job_id=job,
                task_type=shard_type(pool),
                resources=ResourceEstimate(cpus=1),
                max_cpus=8.0,
                preemptible=True,
            )
            for job in jobs
        ]
        self.queue.submit("o", [(task, priority) for task in tasks], now)

    def settle(self, now: float) -> dict[str, float]:
        """Decide until nothing more is revoked; what runs, with its CPUs."""
        for _ in range(10):
            for revoke in [d for d in self.queue.decide(now) if isinstance(d, Revoke)]:
                self.revoked.append(revoke.task_id)
                report = TaskReport(task_id=revoke.task_id, number=revoke.number, outcome=Outcome.RELEASED)
                self.queue.report("o", report, now)
        return {grant.task_ids[0]: grant.cpus for grant in self.queue.grants()}

    def finish(self, job: str, now: float) -> None:
        entry = self.queue.entry(job)
        assert entry is not None
        report = TaskReport(task_id=job, number=entry.number, outcome=Outcome.COMPLETED)
        self.queue.report("o", report, now)


@pytest.mark.parametrize(("first", "second"), [(BATCH, EXPORT), (EXPORT, BATCH)])
def test_a_flood_of_one_pool_leaves_the_other_its_share(first: str, second: str) -> None:
    bench = Bench(4)
    bench.submit(first, *(f"flood-{n}" for n in range(50)))
    assert sum(bench.settle(0).values()) == 4
    bench.submit(second, "late", now=1)
    running = bench.settle(1)
    assert "late" in running
    assert sum(running.values()) == 4
    assert len(bench.revoked) <= 2, "no more than the share is revoked"


def test_one_pool_alone_has_the_whole_cluster() -> None:
    bench = Bench(4)
    bench.submit(EXPORT, "only")
    assert bench.settle(0) == {"only": 4}


def test_one_large_grant_is_split_between_the_pools() -> None:
    bench = Bench(2)
    bench.submit(BATCH, "bulk")
    assert bench.settle(0) == {"bulk": 2}
    bench.submit(EXPORT, "export", now=1)
    assert bench.settle(1) == {"bulk": 1, "export": 1}


def test_a_pool_that_runs_something_waits_its_turn() -> None:
    bench = Bench(2)
    bench.submit(BATCH, "bulk")
    bench.submit(EXPORT, "export")
    bench.settle(0)
    bench.submit(EXPORT, "second", now=1)
    assert "second" not in bench.settle(1)
    assert bench.revoked == []


def test_on_one_cpu_the_pools_take_turns_of_some_seconds() -> None:
    bench = Bench(1)
    bench.submit(BATCH, "bulk")
    bench.settle(0)
    bench.submit(EXPORT, "export", now=1)
    assert bench.settle(1) == {"export": 1}
    assert bench.settle(TURN_S) == {"export": 1}
    assert bench.settle(1 + TURN_S) == {"bulk": 1}
    bench.finish("bulk", 12)
    assert bench.settle(12) == {"export": 1}


def test_a_more_urgent_job_gives_nothing_to_the_other_pool() -> None:
    bench = Bench(2)
    bench.submit(BATCH, "urgent", priority=TaskPriority.URGENT)
    bench.settle(0)
    bench.submit(EXPORT, "export", now=1)
    assert bench.settle(1) == {"urgent": 2}


def test_other_tasks_are_in_no_pool() -> None:
    assert all(rival_types(shard_type(pool)) for pool in POOLS)
    assert rival_types("look") == frozenset()
