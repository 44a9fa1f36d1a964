"""The tasks of a job file, run when its images are done: one after the other, in the cluster's queue.

Each is a task like those of a manager, so limits per type, providers and retries after crashes are the coordinator's.
"""

from __future__ import annotations

import queue
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Any

from pipelines.contracts import TaskHandler
from pipelines.errors import RayjobsError
from pipelines.tasks import Task, TaskPriority, TaskResult, TaskStatus
from rayjobs.job.job_spec import JobSpec
from rayjobs.job.job_tasks import PlannedTask
from rayjobs.job.options import deciding_extensions
from rayjobs.job.task_handlers import OWN_TASKS, task_handlers
from rayjobs.run.ray_session import ray_session
from rayjobs.run.ray_task_client import TaskClient
from rayjobs.run.run_end import RunEnd
from rayjobs.run.run_loop import POLL_S


def run_tasks(
    tasks: Sequence[PlannedTask],
    spec: JobSpec,
    job_id: str,
    *,
    known: Mapping[str, str],
    note: Callable[[dict[str, Any]], None],
    watch: Callable[[str], RunEnd | None],
) -> RunEnd:
    """Run tasks until all have completed, one has failed, or the run is stopped.

    Parameters
    ----------
    known
        Absolute path -> sha256 of the files that tasks of this job wrote: those they may replace.
    note
        Told what became of each task that ended by itself, the failed one included.
    watch
        Called several times a second with what is being done; says when the run has to stop, and why.

    Raises
    ------
    RayjobsError
        No Ray.
    """
    with ray_session(name=spec.name, workers=spec.limits.cpus), closing(TaskClient()) as client:
        handlers = task_handlers({})
        own = [name for name, handler in handlers.items() if handler is OWN_TASKS]
        given = {"known": dict(known), "extensions": deciding_extensions(spec)}
        for number, task in enumerate(tasks, 1):
            started = time.monotonic()
            work = Task(
                task_id=f"{spec.name}.task-{number}.{uuid.uuid4().hex[:8]}",
                task_type=task.task_type,
                job_id=job_id,
                payload={**task.config, **given} if task.task_type in own else task.config,
                outputs=OWN_TASKS.outputs(task.task_type, task.config) if task.task_type in own else (),
                timeout_s=spec.limits.item_timeout if task.task_type in own else spec.limits.task_timeout,
                max_attempts=spec.limits.attempts,
            )
            doing = partial(_watch, watch, f"task {number} of {len(tasks)}: {task.task_type}")
            result = _run(client, work, TaskPriority[spec.priority.upper()], handlers, doing)
            if isinstance(result, RunEnd):
                return result
            note(task.ended(result, time.monotonic() - started))
            if result.status is not TaskStatus.COMPLETED:
                break
    return RunEnd.FINISHED


def _run(
    client: TaskClient,
    task: Task,
    priority: TaskPriority,
    handlers: dict[str, TaskHandler],
    watch: Callable[[int], RunEnd | None],
) -> TaskResult | RunEnd:
    """What came of a task, or why the run stops; it is cancelled then."""
    changes: queue.SimpleQueue[TaskResult] = queue.SimpleQueue()
    try:
        client.submit(task, priority, handlers, changes.put)
    except RayjobsError as error:
        return TaskResult(task_id=task.task_id, status=TaskStatus.FAILED, error=str(error))
    progress = 0
    while True:
        end = watch(progress)
        if end is not None:
            client.cancel(task.task_id)
            return end
        try:
            result = changes.get(timeout=POLL_S)
        except queue.Empty:
            continue
        if result.status.terminal:
            return result
        progress = result.progress


def _watch(watch: Callable[[str], RunEnd | None], doing: str, progress: int) -> RunEnd | None:
    return watch(f"{doing}, {progress} %" if progress else doing)
