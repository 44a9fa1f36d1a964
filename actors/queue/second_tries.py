"""Tasks that failed and may be tried again: what is said of the failure, and what they ask for next. Pure."""

from __future__ import annotations

from dataclasses import replace

from actors.queue.capacity import Capacity
from actors.queue.queue_events import Outcome, TaskReport
from actors.queue.queue_lines import Entry
from pipelines.errors import FailedReason
from pipelines.memory_ladder import ESCALATION, MemoryStep, Tried, step_after
from pipelines.resource_needs import needs_of
from pipelines.tasks import Task


def failure_of(report: TaskReport, attempts: int) -> tuple[FailedReason, str]:
    """What a task failed of that may not be tried again, and what is said of it."""
    error = report.error or "no reason known"
    if report.outcome is Outcome.TIMED_OUT:
        return FailedReason.TIMEOUT, error if attempts == 1 else f"{error}, {attempts} times"
    if report.outcome is Outcome.OUT_OF_MEMORY:
        return FailedReason.OUT_OF_MEMORY, f"no memory for it{f', {attempts} times' if attempts > 1 else ''}: {error}"
    return FailedReason.CRASHED, f"its process died{f' {attempts} times' if attempts > 1 else ''}: {error}"


def gets_more(entry: Entry, capacity: Capacity, most_bytes: int | None) -> bool:
    """Let a task that found too little memory ask for more; False when it had all that there is."""
    if entry.task.max_cpus is not None:
        return True  # it has more than one node's: it is tried again as it is
    more = with_more_memory(entry.task, entry.attempts, *capacity.memory_for(entry.needs), most_bytes)
    if more is not None:
        entry.task, entry.needs = more, needs_of(more.resources)
    return more is not None


def with_more_memory(
    task: Task, attempts: int, share_bytes: int, node_bytes: int, most_bytes: int | None
) -> Task | None:
    """A task that found too little memory, as it asks the next time; None: it had all that there is.

    Parameters
    ----------
    attempts
        How often it was tried.
    share_bytes, node_bytes
        Memory of the largest node that could run it: what goes with its CPUs, and all; 0 where nodes don't say.
    most_bytes
        What its driver may give it; None: as much as there is.
    """
    if not node_bytes:
        return task
    most = node_bytes if most_bytes is None else min(node_bytes, most_bytes)
    asked = task.resources
    tried = MemoryStep(memory_bytes=asked.memory_bytes or -(-min(share_bytes, most) // ESCALATION))
    step = step_after(
        Tried(reserved_bytes=tried.memory_bytes, step=tried, memory=True),
        share_bytes,
        most,
        tries_left=task.max_attempts - attempts,
        has_lighter=False,
    )
    return None if step is None else replace(task, resources=replace(asked, memory_bytes=step.memory_bytes))
