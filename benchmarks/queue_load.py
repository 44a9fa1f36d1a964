"""The queue of a cluster with many nodes, jobs and shards, in a state that it stays in: full, and everybody waits.

    python -m benchmarks.queue_load 1000 10000 1000000      # nodes, jobs, shards: microseconds per event

An event is what keeps such a cluster going: a shard ends, and the queue decides who gets its CPUs.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from actors.queue.queue_events import Grant, Outcome, TaskReport
from actors.queue.task_pools import BATCH, shard_type
from actors.queue.task_queue import TaskQueue
from pipelines.resources import ResourceEstimate
from pipelines.tasks import Task, TaskPriority

CPUS, MEMORY_BYTES = 16, 64 * 2**30
"""Of a node."""
SHARD_CPUS = 1
LEASE_S = 1e9
EVENT_S = 0.001
"""Between two ends of shards, as the queue is told."""


@dataclass(slots=True)
class QueueLoad:
    """``jobs`` drivers with as many shards each, on ``nodes`` nodes."""

    nodes: int
    jobs: int
    shards: int
    queue: TaskQueue = field(default_factory=TaskQueue)
    now: float = 0.0
    _out: list[Grant] = field(default_factory=list)
    """Grants, the oldest first from ``_next`` on."""
    _next: int = 0

    def fill(self) -> None:
        """Bring the nodes, the drivers and their shards."""
        self.queue.set_nodes({f"n{n:04d}": {"cpu": CPUS, "memory": MEMORY_BYTES} for n in range(self.nodes)})
        for job in range(self.jobs):
            self.queue.renew(f"driver-{job}", self.now, LEASE_S)
            shards = range(job, self.shards, self.jobs)
            self.queue.submit(
                f"driver-{job}", [(_shard(job, number), TaskPriority.NORMAL) for number in shards], self.now
            )
        self._decide()

    def step(self, events: int) -> None:
        """Let the oldest shards end, one after the other."""
        for _ in range(events):
            grant = self._out[self._next]
            self._next += 1
            self.now += EVENT_S
            for task_id in grant.task_ids:
                end = TaskReport(task_id=task_id, number=grant.number, outcome=Outcome.COMPLETED)
                self.queue.report(grant.owner, end, self.now)
            self._decide()

    def _decide(self) -> None:
        self._out += [decision for decision in self.queue.decide(self.now) if isinstance(decision, Grant)]


def _shard(job: int, number: int) -> Task:
    return Task(
        task_id=f"shard-{number}",
        task_type=shard_type(BATCH),
        job_id=f"job-{job}",
        resources=ResourceEstimate(cpus=1.0),
        max_cpus=float(SHARD_CPUS),
        preemptible=True,
    )


def main(arguments: Sequence[str]) -> None:
    """Fill a queue and say what an event costs."""
    nodes, jobs, shards = map(int, arguments)
    load = QueueLoad(nodes, jobs, shards)
    started = time.perf_counter()
    load.fill()
    filled = time.perf_counter()
    events = 1_000
    load.step(events)
    ended = time.perf_counter()
    print(json.dumps({"filled_s": round(filled - started, 2), "event_us": round((ended - filled) / events * 1e6, 1)}))


if __name__ == "__main__":
    main(sys.argv[1:])
