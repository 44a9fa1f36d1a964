"""A task as its driver knows it. Data only; ``task_coordinator`` keeps it up to date under its lock."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from actors.queue.queue_events import Decision, Grant, Outcome, TaskWord
from pipelines.errors import RayjobsError
from pipelines.resource_needs import InfeasibleError, demand_of
from pipelines.resources import ONE_CPU, ResourceAllocation
from pipelines.storage.places import real_place
from pipelines.tasks import Task, TaskPriority, TaskResult, TaskStatus

Listener = Callable[[Decision], None]
"""Told what is decided about a task that its submitter runs itself."""
_NOTHING_SAID = TaskWord()


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
    word: TaskWord = _NOTHING_SAID
    """What its handler said last."""

    def begin(self, grant: Grant) -> None:
        """It runs; one that found too little memory was granted more than it asked for at first."""
        self.number, self.runs = grant.number, True
        if self.task.max_cpus is None and grant.memory_bytes > self.task.resources.memory_bytes:
            more = replace(self.task.resources, memory_bytes=grant.memory_bytes)
            self.task = replace(self.task, resources=more)

    def leave(self, outcome: Outcome) -> None:
        """It runs no more."""
        self.runs, self.ended = False, self.number
        if not outcome.final:
            self.status = TaskStatus.PENDING

    def holder(self, number: int) -> str:
        """Under which name resources are held: the grant's, or the task's, which may go on under another grant."""
        return f"grant {number}" if self.listener is None else self.task.task_id

    def result(self) -> TaskResult:
        """How it stands, for whoever asks."""
        value = json.loads(self.value) if self.value is not None and self.status.terminal else None
        data = self.word.extension_data
        held = None
        if self.status is TaskStatus.RUNNING and self.runs:
            amounts = demand_of(self.task.resources)
            held = ResourceAllocation(
                allocation_id=f"grant {self.number}",
                resource_type=self.task.task_type,
                amounts=amounts,
                owner=self.task.task_id,
            )
        return TaskResult(
            task_id=self.task.task_id,
            status=self.status,
            value=value,
            error=self.error,
            progress=self.word.progress,
            extension_data=None if data is None else json.loads(data),
            resource_allocation=held,
        )

    def heard(self, word: TaskWord) -> None:
        """Its handler says something; what it changed once it goes on from when it is tried again."""
        self.word = word
        if word.extension_data is not None:
            self.task = replace(self.task, extension_data=json.loads(word.extension_data))


def as_sent(task: Task) -> Task:
    """A task as the coordinator is to know it, which is elsewhere: its outputs are places.

    Raises
    ------
    RayjobsError
        Its id is no text or its payload isn't plain values, which alone can be kept in the ledger; or its limits make
        no sense, or its needs.
    """
    try:
        task.task_id.encode()
    except UnicodeEncodeError:
        raise RayjobsError(f"the id of task {task.task_id!a} isn't text; choose another") from None
    for what, given in (("payload", task.payload), ("extension data", task.extension_data)):
        if type(given) is not dict and not isinstance(given, Mapping):
            raise RayjobsError(f"the {what} of task {task.task_id} is no mapping: give keys and their values")
    if task.payload or task.extension_data:
        try:
            json.dumps([dict(task.payload), dict(task.extension_data)])
        except (TypeError, ValueError) as error:
            raise RayjobsError(f"the payload of task {task.task_id} isn't plain values: {error}") from None
    if task.timeout_s is not None and not 0 < task.timeout_s < math.inf:
        raise RayjobsError(f"timeout_s of task {task.task_id} is {task.timeout_s}; give seconds, or None for any time")
    if task.max_cpus is not None and not 0 < task.max_cpus < math.inf:
        raise RayjobsError(
            f"max_cpus of task {task.task_id} is {task.max_cpus}; give a number of CPUs, or None for cpus"
        )
    try:
        if task.resources is not ONE_CPU:  # as those of a large batch
            demand_of(task.resources)
    except InfeasibleError as error:
        raise InfeasibleError(f"task {task.task_id} {error}") from None
    if task.max_attempts < 1:
        raise RayjobsError(f"max_attempts of task {task.task_id} is {task.max_attempts}; it must be 1 or more")
    if not task.outputs:
        return task
    try:
        return replace(task, outputs=tuple(map(real_place, task.outputs)))
    except ValueError as error:
        raise RayjobsError(f"an output of task {task.task_id} can't be the name of a file: {error}") from None
