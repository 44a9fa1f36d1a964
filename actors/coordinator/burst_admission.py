"""The coordinator as the processor needs it: each burst of images is a task of the queue that holds CPUs and yields.

Implements ``pipelines.admission.Admission``. Bursts are more urgent than jobs, since somebody waits for them, and stand
in line again after a while, where what has waited for long goes first.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping

from actors.queue.queue_events import Decision, Finished, Grant, Outcome
from pipelines.admission import Heard
from pipelines.resources import ResourceEstimate
from pipelines.tasks import Task, TaskPriority

TASK_TYPE = "interactive"
"""Of bursts, for ``set_concurrency_limits``."""


class BurstAdmission:
    """The bursts of one processor, one after the other."""

    def __init__(self) -> None:
        from actors.coordinator.task_coordinator import TaskCoordinator

        self._coordinator = TaskCoordinator()
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._task_id = ""
        """Of the burst that is asked for, or under way."""
        self._last: tuple[int, Mapping[str, float], Heard] | None = None

    def ask(self, cpus: int, per_cpu: Mapping[str, float], heard: Heard) -> None:
        """See ``Admission``."""
        task_id = f"{TASK_TYPE}#{self._coordinator.owner}.{next(self._numbers)}"
        task = Task(
            task_id=task_id,
            task_type=TASK_TYPE,
            resources=ResourceEstimate(cpus=1, custom=dict(per_cpu)),
            max_cpus=float(cpus),
            preemptible=True,
        )

        def hear(decision: Decision) -> None:
            with self._lock:
                if task_id != self._task_id:
                    return
                if isinstance(decision, Finished):  # this driver was silent for so long that it was thought dead
                    self._task_id = ""
            heard(max(int(decision.cpus), 1) if isinstance(decision, Grant) else 0)

        with self._lock:
            self._task_id, self._last = task_id, (cpus, per_cpu, heard)
        self._coordinator.request_grant(task, TaskPriority.HIGH, hear)

    def give_back(self, *, again: bool) -> None:
        """See ``Admission``."""
        with self._lock:
            task_id = self._task_id
            if not again:
                self._task_id = ""
        if task_id:
            self._coordinator.end_grant(task_id, Outcome.RELEASED if again else Outcome.COMPLETED)
        elif again and self._last is not None:
            self.ask(*self._last)

    def close(self) -> None:
        """See ``Admission``."""
        self._coordinator.close()
