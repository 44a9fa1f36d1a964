"""Who depends on whom. Pure; what happens to dependents is decided in ``task_queue``."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from pipelines.errors import RayjobsError
from pipelines.tasks import TaskStatus


def check_dependencies(new: Mapping[str, Iterable[str]], known: Collection[str]) -> None:
    """Refuse a batch whose tasks wait for something unknown, or in a circle.

    Tasks that are queued already can't depend on later ones, so a circle lies within the batch.

    Raises
    ------
    RayjobsError
        Naming the tasks in question.
    """
    waits_for: dict[str, set[str]] = {}
    needed_by: dict[str, list[str]] = {}
    for task_id, depends_on in new.items():
        for other in dict.fromkeys(depends_on):
            if other in new:
                waits_for.setdefault(task_id, set()).add(other)
                needed_by.setdefault(other, []).append(task_id)
            elif other not in known:
                raise RayjobsError(f"task {task_id} depends on {other}, which is unknown; submit it before, or with it")
    free = [task_id for task_id in needed_by if task_id not in waits_for]
    while free:
        done = free.pop()
        for later in needed_by.get(done, ()):
            waits_for[later].discard(done)
            if not waits_for[later]:
                del waits_for[later]
                free.append(later)
    if waits_for:
        circle = ", ".join(sorted(waits_for)[:5])
        raise RayjobsError(f"tasks depend on each other in a circle: {circle}; remove one of the dependencies")


class TaskGraph:
    """Open dependencies, by the task that is waited for."""

    def __init__(self) -> None:
        self._needed_by: dict[str, list[str]] = {}

    def add(self, task_id: str, waits_for: str) -> None:
        self._needed_by.setdefault(waits_for, []).append(task_id)

    def finished(self, task_id: str) -> list[str]:
        """Tasks that waited for this one; they are told once."""
        return self._needed_by.pop(task_id, [])


def passed_on(task_id: str, status: TaskStatus) -> tuple[TaskStatus, str]:
    """What becomes of those that depend on a task that failed or was cancelled, and why."""
    verb = "failed" if status is TaskStatus.FAILED else "was cancelled"
    return status, f"task {task_id}, which it depends on, {verb}"
