"""Tasks of registered types, from a manager's job to the cluster's queue and back.

Ray is imported with the first task. Queue, resources, retries after crashes: the coordinator's. What runs a task:
``task_handlers``.
"""

from __future__ import annotations

import reprlib
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from pipelines import retry_rules
from pipelines.contracts import TaskHandler
from pipelines.errors import RayjobsError
from pipelines.extensions.extension_manager import process_extensions
from pipelines.resources import ResourceEstimate
from pipelines.tasks import (
    TASK_TIMEOUT_S,
    ExtensibleTask,
    Task,
    TaskPriority,
    TaskResult,
    TaskStatus,
)
from rayjobs.job.task_handlers import ImageTaskHandler, task_handlers
from rayjobs.managers.task_store import TaskStore

if TYPE_CHECKING:
    from actors.coordinator.resource_manager import ResourceManager
    from rayjobs.run.ray_task_client import TaskClient


@dataclass(frozen=True, slots=True)
class TaskLimits:
    """What a task may take; kept in its ``extension_data``."""

    resources: ResourceEstimate = field(default_factory=ResourceEstimate)
    priority: TaskPriority = TaskPriority.NORMAL
    timeout_s: float | None = TASK_TIMEOUT_S
    max_attempts: int = retry_rules.TASK.tries


_LIMITS = TypeAdapter(TaskLimits)


class ExtensibleTasks:
    """Handlers by task type, and the tasks that are in the queue; may be used from several threads."""

    def __init__(self, store: TaskStore, resources: ResourceManager | None = None) -> None:
        self._store = store
        self._resources = resources
        self._lock = threading.Lock()
        self._handlers: dict[str, TaskHandler] = {}
        self._queued: dict[str, str] = {}
        """Task -> its id in the coordinator's queue, a new one each time it is started."""
        self._client: TaskClient | None = None

    def register(self, task_type: str, handler: TaskHandler) -> None:
        """Let tasks of a type be run by a handler; the last one registered counts.

        Raises
        ------
        RayjobsError
            The handler doesn't run that type.
        """
        if task_type not in handler.get_supported_task_types():
            supported = ", ".join(handler.get_supported_task_types())
            raise RayjobsError(f"{type(handler).__name__} runs {supported}, not {task_type!r}")
        with self._lock:
            self._handlers[task_type] = handler

    def create(
        self,
        job_id: str,
        task_type: str,
        config: Mapping[str, Any],
        limits: TaskLimits,
    ) -> ExtensibleTask:
        """A task that isn't queued yet; paths of the program's own tasks are relative to the current directory.

        Raises
        ------
        RayjobsError
            A path can't be meant as one; or the configuration is no mapping.
        """
        if not isinstance(config, Mapping):
            given = reprlib.repr(config)
            raise RayjobsError(f"config of the {task_type} task: give keys and their values, not {given}")
        with self._lock:
            handler = task_handlers(self._handlers).get(task_type)
        if isinstance(handler, ImageTaskHandler):
            config = handler.located(config, Path.cwd())
        return ExtensibleTask(
            task_id=uuid.uuid4().hex[:12],
            job_id=job_id,
            task_type=task_type,
            config=dict(config),
            extension_data=_LIMITS.dump_python(limits, mode="json"),
        )

    def start(self, task: ExtensibleTask) -> None:
        """Queue a task.

        Raises
        ------
        RayjobsError
            Nothing runs tasks of that type, its configuration is wrong, or no node has what it needs.
        """
        with self._lock:
            handlers = task_handlers(self._handlers)
        handler = handlers.get(task.task_type)
        if handler is None:
            known = ", ".join(sorted(handlers))
            raise RayjobsError(f"no handler runs tasks of type {task.task_type!r}; there are {known}")
        outputs: tuple[str, ...] = ()
        payload: Mapping[str, Any] = task.config
        if isinstance(handler, ImageTaskHandler):
            outputs = handler.outputs(task.task_type, task.config)
            payload = {"extensions": process_extensions().versions(), **task.config}
        limits = _LIMITS.validate_python(task.extension_data)
        work = Task(
            task_id=f"{task.task_id}.{uuid.uuid4().hex[:8]}",
            task_type=task.task_type,
            job_id=task.job_id,
            payload=payload,
            extension_data=task.extension_data,
            resources=limits.resources,
            outputs=outputs,
            timeout_s=limits.timeout_s,
            max_attempts=limits.max_attempts,
        )
        client = self._connected()
        self._store.begin(task)
        with self._lock:
            self._queued[task.task_id] = work.task_id
        try:
            client.submit(work, limits.priority, handlers, lambda result: self._heard(task, result))
        except RayjobsError as error:
            self._store.drop(task, str(error))
            raise

    def cancel(self, task_id: str) -> bool:
        """Cancel a task; False when it had ended, or isn't run here."""
        with self._lock:
            client, queued = self._client, self._queued.get(task_id)
        return client is not None and queued is not None and client.cancel(queued)

    def set_concurrency_limit(self, task_type: str, most: int) -> None:
        """At most so many tasks of a type run at a time in the whole cluster."""
        self._connected().coordinator().set_concurrency_limits(task_type, most)

    def close(self) -> None:
        """Cancel what is open and disconnect. Safe to call twice."""
        with self._lock:
            client = self._client
        if client is not None:
            client.close()

    def _connected(self) -> TaskClient:
        with self._lock:
            if self._client is None:
                # Ray is imported here alone: a manager of plain jobs never waits for it.
                from rayjobs.run.ray_task_client import TaskClient

                self._client = TaskClient(self._resources)
            return self._client

    def _heard(self, task: ExtensibleTask, result: TaskResult) -> None:
        """The task runs, is so far, or has ended; called on the watching thread."""

        def change() -> None:
            task.status, task.error_info = result.status, result.error
            task.resource_allocation = result.resource_allocation
            task.progress = max(task.progress, result.progress)
            if result.extension_data is not None:  # what the task may take isn't its handler's to change
                task.extension_data = {**result.extension_data, **_limits_in(task)}
            if result.status is TaskStatus.PENDING:  # released: it waits again
                task.start_time = None
                return
            task.start_time = task.start_time or datetime.now(UTC)
            if result.status.terminal:
                task.end_time = datetime.now(UTC)
            if result.status is TaskStatus.COMPLETED:
                task.progress = 100
                task.result = result.value if isinstance(result.value, dict) else {"value": result.value}

        self._store.change(task, change)


def _limits_in(task: ExtensibleTask) -> dict[str, Any]:
    limits: dict[str, Any] = _LIMITS.dump_python(_LIMITS.validate_python(task.extension_data), mode="json")
    return limits
