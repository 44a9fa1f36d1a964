"""Tasks of registered types on the cluster: submitted to the coordinator, watched, told when they change.

Connects to Ray with the first task, and stays connected until it is closed, so that a notebook's next task starts at
once. One thread watches all open tasks, however many there are.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pickle import PicklingError

from actors.coordinator.resource_manager import ResourceManager
from actors.coordinator.task_coordinator import TaskCoordinator
from pipelines.contracts import TaskHandler
from pipelines.errors import RayjobsError
from pipelines.tasks import Task, TaskHandle, TaskPriority, TaskResult, TaskStatus
from rayjobs.job.task_handlers import OWN_TASKS, with_stages
from rayjobs.run.ray_session import ray_session

POLL_S = 0.2

log = logging.getLogger(__name__)

Changed = Callable[[TaskResult], None]


class TaskClient:
    """The tasks of one manager; may be used from several threads.

    Parameters
    ----------
    resources
        Consulted before every task; one of its own unless given.
    """

    def __init__(self, resources: ResourceManager | None = None) -> None:
        self._given = resources
        self._lock = threading.Lock()
        self._exits = ExitStack()
        self._coordinator: TaskCoordinator | None = None
        self._declared: frozenset[str] = frozenset()
        self._sent: dict[str, TaskHandler] = {}
        self._open: dict[str, tuple[Changed, TaskResult]] = {}
        self._wake = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._watch, name="rayjobs-tasks", daemon=True)

    def submit(self, task: Task, priority: TaskPriority, handlers: Mapping[str, TaskHandler], changed: Changed) -> None:
        """Queue a task; ``changed`` hears, on the watching thread, that it runs, how far it is and how it ended."""
        coordinator = self._connected()
        with self._lock:
            handler = handlers[task.task_type]
            if self._sent.get(task.task_type) is not handler:
                try:
                    coordinator.register_handler(handler)
                except (TypeError, AttributeError, PicklingError) as error:
                    raise RayjobsError(
                        f"the handler of {task.task_type!r} tasks can't be sent to workers: it must be picklable "
                        f"({type(handler).__name__}: {str(error).strip().splitlines()[0] if str(error) else error!r})"
                    ) from error
                self._sent.update(dict.fromkeys(handler.get_supported_task_types(), handler))
        coordinator.submit_task(with_stages(task, self._declared) if handler is OWN_TASKS else task, priority)
        with self._lock:  # from here on the coordinator knows it, so that it can be asked about
            self._open[task.task_id] = (changed, TaskResult(task_id=task.task_id, status=TaskStatus.PENDING))
        self._wake.set()

    def cancel(self, task_id: str) -> bool:
        """Cancel a task; False when it had ended, or isn't known."""
        with self._lock:
            if task_id not in self._open or self._coordinator is None:
                return False
            coordinator = self._coordinator
        return coordinator.cancel_task(TaskHandle(task_id))

    def coordinator(self) -> TaskCoordinator:
        """The connected coordinator, for limits and the state of the queue."""
        return self._connected()

    def close(self) -> None:
        """Cancel what is open and disconnect. Safe to call twice."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            connected = self._coordinator is not None
        self._wake.set()
        if connected:
            self._thread.join()
        self._exits.close()

    def _connected(self) -> TaskCoordinator:
        with self._lock:
            if self._closed:
                raise RayjobsError("this manager is closed")
            if self._coordinator is None:
                with ExitStack() as exits:
                    self._declared = exits.enter_context(ray_session(name="tasks")).declared
                    resources = self._given or exits.enter_context(ResourceManager())
                    self._coordinator = exits.enter_context(TaskCoordinator(resources))
                    self._exits = exits.pop_all()
                self._thread.start()
            return self._coordinator

    def _watch(self) -> None:
        while True:
            with self._lock:
                if self._closed or self._coordinator is None:
                    return
                coordinator, handles = self._coordinator, [TaskHandle(task_id) for task_id in self._open]
            if not handles:
                self._wake.wait()
                self._wake.clear()
                continue
            try:
                results = coordinator.wait_for_completion(handles, timeout=POLL_S)
            except RayjobsError as error:
                if self._closed:
                    return
                log.warning("%s", error)  # such as a coordinator that can't be reached for a while
                self._wake.wait(POLL_S)
                continue
            for result in results:
                try:
                    self._tell(result)
                except (RayjobsError, OSError) as error:  # the others shall hear of theirs
                    log.warning("task %s: its state can't be kept: %s", result.task_id, error)

    def _tell(self, result: TaskResult) -> None:
        with self._lock:
            known = self._open.get(result.task_id)
            if known is None or known[1] == result:
                return
            changed = known[0]
            if result.status.terminal:
                del self._open[result.task_id]
            else:
                self._open[result.task_id] = (changed, result)
        changed(result)
