"""A task as its driver knows it. Data only; ``task_coordinator`` keeps it up to date under its lock."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from actors.queue_events import Decision, Outcome
from pipelines.errors import RayjobsError
from pipelines.tasks import Task, TaskPriority, TaskResult, TaskStatus

Listener = Callable[[Decision], None]
"""Told what is decided about a task that its submitter runs itself."""


@dataclass(slots=True, eq=False)
class SubmittedTask:
    """What was asked for, and how it stands."""

    task: Task
    priority: TaskPriority
    listener: Listener | None = None
    status: TaskStatus = TaskStatus.PENDING
    number: int = 0
    """Of its last grant."""
    ended: int = 0
    """The last grant that it left, as far as this driver is concerned."""
    runs: bool = False
    """Here, whatever the coordinator believes meanwhile."""
    value: str | None = None
    """What its handler returned, as JSON."""
    error: str | None = None

    def leave(self, outcome: Outcome) -> None:
        """It runs no more."""
        self.runs, self.ended = False, self.number
        if outcome in (Outcome.RELEASED, Outcome.CRASHED):
            self.status = TaskStatus.PENDING

    def holder(self, number: int) -> str:
        """Under which name resources are held: the grant's, or the task's, which may go on under another grant."""
        return f"grant {number}" if self.listener is None else self.task.task_id

    def result(self) -> TaskResult:
        """How it stands, for whoever asks."""
        value = json.loads(self.value) if self.value is not None and self.status.terminal else None
        return TaskResult(task_id=self.task.task_id, status=self.status, value=value, error=self.error)


def refuse_odd_payload(task: Task) -> None:
    """Only plain values can be kept in the ledger.

    Raises
    ------
    RayjobsError
        Naming the task.
    """
    try:
        json.dumps(dict(task.payload))
    except (TypeError, ValueError) as error:
        raise RayjobsError(f"the payload of task {task.task_id} isn't plain values: {error}") from None
