"""The coordinator as the job's loop needs it: each shard is a preemptible task, with the job's priority.

Implements ``run_loop.Grants`` on ``TaskCoordinator``. What runs in a granted shard is the loop's business.
"""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from actors.queue.queue_events import Decision, Finished, Grant, Outcome
from actors.queue.task_pools import BATCH, shard_type, units_type
from pipelines.resources import ResourceEstimate
from pipelines.tasks import Task, TaskHandle, TaskPriority
from rayjobs.run.run_loop import Granted, Revoked

if TYPE_CHECKING:
    from actors.coordinator.submitted_task import Listener
    from actors.coordinator.task_coordinator import TaskCoordinator


@dataclass(slots=True)
class ShardGrants:
    """Asks for the shards of one job; the loop's thread uses it, the coordinator's listening thread feeds it."""

    job_id: str
    task_type: str = shard_type(BATCH)
    """Of its shards, for concurrency limits; names the pool that it runs in."""
    priority: TaskPriority = TaskPriority.NORMAL
    max_cpus: int | None = None
    """CPUs that a shard can use at most; None: all that there are."""
    per_cpu: ResourceEstimate = field(default_factory=ResourceEstimate)
    """What each of its CPUs comes with: the units that an image holds while it is worked on."""
    coordinator: TaskCoordinator | None = None
    """One that exists already; else one is made, and closed with this."""
    _own: TaskCoordinator | None = None
    _decided: queue.SimpleQueue[Granted | Revoked | None] = field(default_factory=queue.SimpleQueue)
    _tasks: dict[str, str] = field(default_factory=dict)
    """Shard -> id of the task that stands for it."""
    _units: set[str] = field(default_factory=set)
    """Ids of the tasks that stand for units of stages."""
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def request(self, shard: str) -> None:
        """Queue a shard."""
        coordinator = self._connected()
        task_id = f"{shard}#{coordinator.owner}.{next(self._numbers)}"
        self._tasks[shard] = task_id
        task = Task(
            task_id=task_id,
            task_type=self.task_type,
            job_id=self.job_id,
            resources=self.per_cpu,
            max_cpus=float(self.max_cpus or coordinator.cluster_cpus()),
            preemptible=True,
        )
        coordinator.request_grant(task, self.priority, partial(self._hear, shard))

    def set_priority(self, priority: TaskPriority) -> None:
        """Change the job's priority, from the shards on that are queued or running now."""
        self.priority = priority
        for task_id in [*self._tasks.values(), *list(self._units)]:
            self._connected().set_priority(TaskHandle(task_id), priority)

    def end(self, shard: str, *, finished: bool) -> None:
        """Give the CPUs of a shard back; an unfinished one is queued again in its old place."""
        task_id = self._tasks[shard]
        if finished:
            del self._tasks[shard]
        self._connected().end_grant(task_id, Outcome.COMPLETED if finished else Outcome.RELEASED)

    def ask_units(self, needs: Mapping[str, float], listener: Listener) -> str:
        """Queue a lease of units of providers alone, for a task of a stage; returns the id that it has.

        Jobs take turns in it whatever else they have been granted.
        """
        coordinator = self._connected()
        task_id = f"{self.job_id} units#{coordinator.owner}.{next(self._numbers)}"
        task = Task(
            task_id=task_id,
            task_type=units_type(self.task_type),
            job_id=f"{self.job_id} units",
            resources=ResourceEstimate(cpus=0, custom=dict(needs)),
            preemptible=True,
        )
        self._units.add(task_id)
        coordinator.request_grant(task, self.priority, listener)
        return task_id

    def end_units(self, task_id: str, *, again: bool) -> None:
        """Give units back, or ask for them no longer; ``again``: they are queued again behind whoever waits."""
        if not again:
            self._units.discard(task_id)
        self._connected().end_grant(task_id, Outcome.RELEASED if again else Outcome.COMPLETED)

    def decisions(self, timeout_s: float) -> list[Granted | Revoked]:
        """What was decided since the last call; waits at most so long for the first decision, or until woken."""
        try:
            decided = [self._decided.get(timeout=timeout_s)]
        except queue.Empty:
            return []
        while not self._decided.empty():
            decided.append(self._decided.get())
        return [decision for decision in decided if decision is not None]

    def wake(self) -> None:
        """Let ``decisions`` return at once; called by another thread."""
        self._decided.put(None)

    def close(self) -> None:
        """Give everything back. Safe to call twice."""
        if self._own is not None:
            self._own.close()
            self._own = None

    def _connected(self) -> TaskCoordinator:
        if self.coordinator is not None:
            return self.coordinator
        if self._own is None:
            from actors.coordinator.task_coordinator import TaskCoordinator

            self._own = TaskCoordinator()
        return self._own

    def _hear(self, shard: str, decision: Decision) -> None:
        if isinstance(decision, Grant):
            self._decided.put(Granted(shard, max(int(decision.cpus), 1)))
        elif not isinstance(decision, Finished):
            self._decided.put(Revoked(shard))
        elif self._tasks.get(shard) == decision.task_id:
            # Nobody ended it: this driver was silent for so long that it was thought dead. Ask again.
            self._decided.put(Revoked(shard))
            threading.Thread(target=self.request, args=(shard,), daemon=True).start()
