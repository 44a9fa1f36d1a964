"""The Ray task that runs granted tasks: one or many small ones of a type, one after the other.

Results leave as soon as they are there. What isn't plain values is refused, because results are kept in the ledger.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import ray
from ray.exceptions import (
    LocalRayletDiedError,
    NodeDiedError,
    RayError,
    RayTaskError,
    TaskCancelledError,
    TaskUnschedulableError,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.queue_events import Grant, Outcome, TaskReport
from pipelines.contracts import TaskHandler
from pipelines.cpu_threads import limit_threads
from pipelines.tasks import ExtensibleTask, Task, TaskStatus

GRACE_S = 5.0
"""How long an interrupted handler may take to end before its process is killed."""

TELL_S = 0.02
"""Reports of tasks that are shorter than this leave together."""


class Bundle:
    """One Ray task that runs the tasks of one grant, and the thread that collects what comes out of it."""

    def __init__(
        self, handler: ray.ObjectRef, tasks: Sequence[Task], grant: Grant, ended: Callable[[TaskReport], None]
    ) -> None:
        self.open = dict.fromkeys(task.task_id for task in tasks)
        """Tasks that haven't left it, in the order in which they run."""
        self._ended = ended
        self._number = grant.number
        self._stopped = False
        self._reports = _launch(handler, tasks, grant)

    def start(self) -> None:
        """Collect reports from now on."""
        threading.Thread(target=self._collect, name=f"rayjobs-grant-{self._number}", daemon=True).start()

    def stop(self, *, at_once: bool = False) -> None:
        """Interrupt it; what hasn't ended by ``GRACE_S`` is killed."""
        if not self._stopped or at_once:
            self._stopped = True
            self._cancel(force=at_once)
            if not at_once:
                timer = threading.Timer(GRACE_S, self._cancel, kwargs={"force": True})
                timer.daemon = True
                timer.start()

    def _cancel(self, *, force: bool) -> None:
        if self.open and ray.is_initialized():
            ray.cancel(self._reports, force=force)

    def _collect(self) -> None:
        try:
            for ref in self._reports:
                for report in ray.get(ref):
                    self._leave(report)
        except RayTaskError as error:
            self._leave_all(Outcome.RELEASED if self._stopped else Outcome.FAILED, one_line(error.cause or error))
        except (NodeDiedError, LocalRayletDiedError, TaskUnschedulableError) as error:
            self._leave_all(Outcome.RELEASED, one_line(error))
        except RayError as error:
            # The first that has no result was in hand; those behind it are innocent.
            first = next(iter(self.open), None)
            if first is not None and not self._stopped and not isinstance(error, TaskCancelledError):
                self._leave(self._report(first, Outcome.CRASHED, one_line(error)))
            self._leave_all(Outcome.RELEASED, one_line(error))

    def _leave_all(self, outcome: Outcome, error: str) -> None:
        for task_id in list(self.open):
            self._leave(self._report(task_id, outcome, error))

    def _leave(self, report: TaskReport) -> None:
        del self.open[report.task_id]
        self._ended(report)

    def _report(self, task_id: str, outcome: Outcome, error: str) -> TaskReport:
        return TaskReport(task_id=task_id, number=self._number, outcome=outcome, error=error)


def _launch(handler: ray.ObjectRef, tasks: Sequence[Task], grant: Grant) -> Any:
    """Start the granted tasks where they were granted; their reports come out of the generator that is returned."""
    first = tasks[0]
    job = f"{first.job_id}: " if first.job_id else ""
    name = f"{job}{first.task_type} {first.task_id}" if len(tasks) == 1 else f"{job}{len(tasks)} x {first.task_type}"
    return _run_bundle.options(
        name=name,
        num_cpus=grant.cpus,
        num_gpus=grant.gpus or None,
        memory=grant.memory_bytes or None,
        resources=dict(grant.resources) or None,
        scheduling_strategy=NodeAffinitySchedulingStrategy(grant.node, soft=True) if grant.node else "DEFAULT",
    ).remote(handler, [_to_extensible(task) for task in tasks], grant.number, grant.cpus)


def _run_all(
    handler: TaskHandler, tasks: Sequence[ExtensibleTask], number: int, cpus: float
) -> Iterator[list[TaskReport]]:
    limit_threads(cpus)
    reports: list[TaskReport] = []
    told = time.monotonic()
    for task in tasks:
        reports.append(run_one(handler, task, number))
        if time.monotonic() - told >= TELL_S:
            yield reports
            reports, told = [], time.monotonic()
    if reports:
        yield reports


_run_bundle = ray.remote(max_retries=0, num_returns="streaming")(_run_all)
"""Never retried by Ray: the queue does, where attempts are counted."""


def run_one(handler: TaskHandler, task: ExtensibleTask, number: int) -> TaskReport:
    """Run one task; whatever its handler raises becomes one line."""
    started = time.monotonic()
    value: str | None = None
    try:
        result = handler.handle_task(task)
        outcome = Outcome.FAILED if result.status is TaskStatus.FAILED else Outcome.COMPLETED
        error = result.error
        if result.status is TaskStatus.CANCELLED:
            outcome = Outcome.CANCELLED
        if result.value is not None:
            value = json.dumps(result.value)
    except Exception as raised:  # noqa: BLE001 - a handler is anybody's code
        outcome, error = Outcome.FAILED, one_line(raised)
    return TaskReport(
        task_id=task.task_id,
        number=number,
        outcome=outcome,
        error=error,
        value=value,
        seconds=time.monotonic() - started,
    )


def one_line(error: BaseException) -> str:
    """An error for a person: its kind and the first line of its text."""
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__


def _to_extensible(task: Task) -> ExtensibleTask:
    config: Mapping[str, Any] = task.payload
    return ExtensibleTask(
        task_id=task.task_id,
        job_id=task.job_id,
        task_type=task.task_type,
        config=dict(config),
        status=TaskStatus.RUNNING,
    )
