"""The Ray task that runs granted tasks: one or many small ones of a type, one after the other.

Results leave as soon as they are there. What isn't plain values is refused, because results are kept in the ledger.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import (
    LocalRayletDiedError,
    NodeDiedError,
    OutOfMemoryError,
    RayError,
    RayTaskError,
    TaskCancelledError,
    TaskUnschedulableError,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.coordinator.bundle_state import BundleState, End, Step
from actors.coordinator.ray_task_words import TaskWords
from actors.queue.queue_events import Grant, Outcome, TaskReport, TaskWord
from pipelines.contracts import TaskHandler
from pipelines.cpu_threads import limit_threads
from pipelines.errors import RayjobsError, is_out_of_memory
from pipelines.kernel_cache import keep_kernels
from pipelines.ray_end import RayEndedError, ray_may_end
from pipelines.resource_needs import ray_options
from pipelines.tasks import ExtensibleTask, Task, TaskStatus

log = logging.getLogger(__name__)

TELL_S = 0.02
"""Reports of tasks that are shorter than this leave together."""


class Bundle:
    """One Ray task that runs the tasks of one grant, and the thread that collects what comes out of it.

    No ``BoundedTasks``: how many run is what the queue grants, and reports stream out of the one task.
    """

    def __init__(
        self, handler: ray.ObjectRef, tasks: Sequence[Task], grant: Grant, ended: Callable[[TaskReport], None]
    ) -> None:
        self._lock = threading.Lock()
        """Guards the state."""
        self._state = BundleState(grant.number, {task.task_id: task.timeout_s for task in tasks})
        self._ended = ended
        self._number = grant.number
        self._reports = _launch(handler, tasks, grant)

    @property
    def open(self) -> list[str]:
        """Tasks that haven't left it, in the order in which they run."""
        with self._lock:
            return list(self._state.open)

    def start(self) -> None:
        """Collect reports from now on."""
        threading.Thread(target=self._collect, name=f"rayjobs-grant-{self._number}", daemon=True).start()

    def stop(self, *, at_once: bool = False) -> None:
        """Interrupt it; what hasn't ended after a grace period is killed."""
        with self._lock:
            step = self._state.stop(time.monotonic(), at_once=at_once)
        self._carry_out(step)

    def look(self) -> None:
        """Do what is due to tasks that take too long, or weren't ended by what was done before; call it often."""
        with self._lock:
            step = self._state.due(time.monotonic())
        if step is Step.ABANDON:
            log.error("grant %d: its process can't be ended, and is left to itself", self._number)
            self._end(End.DIED, "its process can't be ended")
        self._carry_out(step)

    def _carry_out(self, step: Step | None) -> None:
        if step in (Step.INTERRUPT, Step.KILL) and ray.is_initialized():
            ray.cancel(self._reports, force=step is Step.KILL)

    def _collect(self) -> None:
        """Every task leaves, however this ends: one that didn't would seem to run for ever."""
        how, error = End.OVER, "its process stopped without a word about it"
        try:
            with ray_may_end():
                for ref in self._reports:  # may block for as long as the process doesn't end: others look at the time
                    self._take(ray.get(ref))
        except (NodeDiedError, LocalRayletDiedError, TaskUnschedulableError) as raised:
            how, error = End.LOST, one_line(raised)
        except RayEndedError as raised:  # its process ends with this one's connection, through no fault of the tasks
            how, error = End.LOST, str(raised)
        except OutOfMemoryError:
            how, error = End.STARVED, "its process needed more memory than the node had"
        except TaskCancelledError:  # or the handler raised KeyboardInterrupt, which Ray takes for it
            how, error = End.DIED, "interrupted"
        except RayTaskError as raised:
            how, error = End.FAILED, one_line(raised.cause or raised)
        except RayError as raised:
            how, error = End.DIED, one_line(raised)
        except Exception as raised:
            log.exception("the reports of grant %d can't be read", self._number)
            how, error = End.FAILED, one_line(raised)
            self._carry_out(Step.KILL)
        finally:
            self._end(how, error)

    def _take(self, reports: Sequence[TaskReport]) -> None:
        now = time.monotonic()
        with self._lock:
            step = self._state.begin(now)
            leaving = self._state.take(reports, now)
        for report in leaving:
            self._ended(report)
        self._carry_out(step)

    def _end(self, how: End, error: str) -> None:
        with self._lock:
            leaving = self._state.end(how, error)
        for report in leaving:
            self._ended(report)


def _launch(handler: ray.ObjectRef, tasks: Sequence[Task], grant: Grant) -> Any:
    """Start the granted tasks where they were granted; their reports come out of the generator that is returned."""
    first = tasks[0]
    job = f"{first.job_id}: " if first.job_id else ""
    name = f"{job}{first.task_type} {first.task_id}" if len(tasks) == 1 else f"{job}{len(tasks)} x {first.task_type}"
    return _run_bundle.options(
        **ray_options(
            cpus=grant.cpus, gpus=grant.gpus, memory_bytes=grant.memory_bytes, resources=grant.resources, name=name
        ),
        scheduling_strategy=NodeAffinitySchedulingStrategy(grant.node, soft=True) if grant.node else "DEFAULT",
    ).remote(handler, [_to_extensible(task) for task in tasks], grant.number, grant.cpus)


def _run_all(
    handler: TaskHandler, tasks: Sequence[ExtensibleTask], number: int, cpus: float
) -> Iterator[list[TaskReport]]:
    limit_threads(cpus)
    keep_kernels()
    yield []  # it begins: from now on the time of the first counts
    reports: list[TaskReport] = []
    told = time.monotonic()
    with TaskWords(number) as words:
        for task in tasks:
            try:
                reports.append(run_one(handler, task, words))
            except KeyboardInterrupt:  # what is done is told all the same
                if reports:
                    yield reports
                raise
            if time.monotonic() - told >= TELL_S:
                yield reports
                reports, told = [], time.monotonic()
    if reports:
        yield reports


_run_bundle = ray.remote(num_returns="streaming")(_run_all)


def run_one(handler: TaskHandler, task: ExtensibleTask, words: TaskWords) -> TaskReport:
    """Run one task; whatever its handler raises becomes one line."""
    started = time.monotonic()
    value: str | None = None
    word: TaskWord | None = None
    try:
        with words.of(task):
            result = handler.handle_task(task)
        word = words.last(task)
        outcome = Outcome.FAILED if result.status is TaskStatus.FAILED else Outcome.COMPLETED
        error = None if result.error is None else str(result.error)
        if result.status is TaskStatus.CANCELLED:
            outcome = Outcome.CANCELLED
        if result.value is not None:
            value = json.dumps(result.value)
    except KeyboardInterrupt:  # how Ray interrupts a task
        raise
    except BaseException as raised:  # noqa: BLE001 - a handler is anybody's code, and may even ask to exit
        outcome = Outcome.OUT_OF_MEMORY if is_out_of_memory(raised) else Outcome.FAILED
        error = one_line(raised)
        with suppress(RayjobsError):  # what it said before all the same
            word = words.last(task)
    return TaskReport(
        task_id=task.task_id,
        number=words.number,
        outcome=outcome,
        error=error,
        value=value,
        word=word,
        seconds=time.monotonic() - started,
    )


def one_line(error: BaseException) -> str:
    """An error for a person: its kind and the first line of its text."""
    try:
        text = str(error).strip()
    except BaseException:  # noqa: BLE001 - of anybody's class
        text = ""
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__


def _to_extensible(task: Task) -> ExtensibleTask:
    config: Mapping[str, Any] = task.payload
    return ExtensibleTask(
        task_id=task.task_id,
        job_id=task.job_id,
        task_type=task.task_type,
        config=dict(config),
        status=TaskStatus.RUNNING,
        extension_data=json.loads(json.dumps(dict(task.extension_data))),
    )
