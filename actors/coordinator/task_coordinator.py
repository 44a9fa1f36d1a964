"""The coordinator as a driver uses it: submit tasks, wait for them, run those that are granted.

A thin client of the one actor of the cluster (``ray_coordinator``). Tasks run in the driver that submitted them: a
granted task whose type has a handler becomes a Ray task with the granted resources; a grant that somebody asked for
(``request_grant``) is passed on. One thread listens for decisions, which also keeps the driver's lease alive; one
reports; one looks at time limits; one per running Ray task collects results. When the coordinator restarts, the client
attaches again and goes on; when the driver dies, its lease runs out and what it held goes to others.
"""

from __future__ import annotations

import atexit
import json
import logging
import math
import os
import queue
import socket
import threading
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import replace

import ray

from actors.coordinator.grant_resources import GrantResources
from actors.coordinator.ray_coordinator_link import CoordinatorLink
from actors.coordinator.ray_task_bundle import Bundle, one_line
from actors.coordinator.submitted_task import Listener, SubmittedTask, as_sent
from actors.queue.queue_events import Decision, Finished, Grant, Outcome, Progress, Revoke, Stop, TaskReport
from actors.queue.queue_lines import Kind
from actors.resources.driver_resources import DriverResources
from pipelines.closing import ClosedOnExit
from pipelines.contracts import TaskHandler
from pipelines.errors import RayjobsError
from pipelines.retry_rules import COORDINATOR_WORD
from pipelines.tasks import QueueStatus, Task, TaskHandle, TaskPriority, TaskResult, TaskStatus

POLL_FOREIGN_S = 0.2
"""How often tasks of other drivers are asked about while somebody waits for them."""
LOOK_S = 0.5
"""How often it is looked whether running tasks take too long."""

_CLOSED = "the TaskCoordinator was closed while somebody waited for tasks"

log = logging.getLogger(__name__)


class TaskCoordinator(ClosedOnExit):
    """Submits to the cluster's queue and runs what it grants; safe to use from several threads."""

    def __init__(self, resource_manager: DriverResources | None = None) -> None:
        self.owner = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._link = CoordinatorLink()
        self._changed = threading.Condition()
        """Guards all below; notified when a task is final."""
        self._known: dict[str, SubmittedTask] = {}
        self._handlers: dict[str, ray.ObjectRef] = {}
        self._bundles: dict[int, Bundle] = {}
        self._reports: queue.SimpleQueue[TaskReport | None] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._given_up = False
        self._incarnation, self._seen = "", 0
        self._resources = GrantResources(resource_manager, self.set_resource_units, self._withhold)
        self._attach()
        self._threads = [
            threading.Thread(target=target, name=f"rayjobs-{target.__name__.strip('_')}", daemon=True)
            for target in (self._listen, self._report, self._watch)
        ]
        for thread in self._threads:
            thread.start()
        atexit.register(self.close)

    # ---- the seed's interface ------------------------------------------------------------------------------------

    def submit_task(self, task: Task, priority: TaskPriority = TaskPriority.NORMAL) -> TaskHandle:
        """Queue a task; see ``submit_tasks``."""
        return self.submit_tasks([task], priority)[0]

    def submit_tasks(self, tasks: Sequence[Task], priority: TaskPriority = TaskPriority.NORMAL) -> list[TaskHandle]:
        """Queue tasks, all or none; they are durable when this returns. An id that was submitted is the same task.

        Raises
        ------
        RayjobsError
            A type without a handler, needs that no node can meet, an unknown dependency or a circle.
        """
        with self._changed:
            unknown = next((task.task_type for task in tasks if task.task_type not in self._handlers), None)
        if unknown is not None:
            raise RayjobsError(f"no handler runs tasks of type {unknown!r} here; register one with register_handler")
        priority = TaskPriority(priority)
        self._submit([SubmittedTask(as_sent(task), priority) for task in tasks])
        return [TaskHandle(task.task_id) for task in tasks]

    def cancel_task(self, handle: TaskHandle) -> bool:
        """Cancel a task and those that depend on it; False when it had ended otherwise before."""
        return bool(self._link.change("cancel", self.owner, handle.task_id))

    def get_task_status(self, handle: TaskHandle) -> TaskStatus:
        """How a task stands, whoever submitted it."""
        return self._results([handle])[0].status

    def wait_for_completion(self, handles: Sequence[TaskHandle], timeout: float | None = None) -> list[TaskResult]:
        """Wait until all tasks are final, or ``timeout`` seconds; results in the order of the handles.

        A task that isn't final by then has the status it stands at.
        """
        deadline = float("inf") if timeout is None else time.monotonic() + timeout
        with self._changed:
            own = [known for handle in handles if (known := self._known.get(handle.task_id)) is not None]
        all_own = len(own) == len(handles)
        self._wait_for_own(own, deadline)
        while not all_own:
            results = self._results(handles)
            if all(result.status.terminal for result in results) or time.monotonic() >= deadline:
                return results
            if self._closed.wait(min(POLL_FOREIGN_S, max(deadline - time.monotonic(), 0.0))):
                raise RayjobsError(_CLOSED)
        return self._results(handles)

    def _wait_for_own(self, tasks: Sequence[SubmittedTask], deadline: float) -> None:
        """Look at each task until it is final; those behind it may end meanwhile."""
        with self._changed:
            for known in tasks:
                while not known.status.terminal:
                    if self._closed.is_set():
                        raise RayjobsError(_CLOSED)
                    left = deadline - time.monotonic()
                    if left <= 0:
                        return
                    self._changed.wait(min(left, threading.TIMEOUT_MAX))

    def set_concurrency_limits(self, task_type: str, max_concurrent: int | None) -> None:
        """At most so many tasks of a type run at a time in the whole cluster, None: no limit; running ones may end.

        ``shard`` is the type of what batch jobs ask for, ``export shard`` that of analysis exports: shards, of some
        thousand images each (``task_pools``); ``interactive`` that of a processor's bursts. Others are the types of
        tasks as they are submitted.
        """
        self._link.change("set_limit", self.owner, task_type, max_concurrent)

    def get_queue_status(self) -> QueueStatus:
        """The cluster's queue at this moment."""
        status: QueueStatus = self._link.call("status")
        return status

    # ---- beyond the seed -----------------------------------------------------------------------------------------

    def register_handler(self, handler: TaskHandler) -> None:
        """Let granted tasks of the handler's types run; it is sent to the workers once."""
        ref = ray.put(handler)
        with self._changed:
            self._handlers.update(dict.fromkeys(handler.get_supported_task_types(), ref))

    def set_priority(self, handle: TaskHandle, priority: TaskPriority) -> bool:
        """Change how urgent a task is, whether it waits or runs; False when it has ended, or is unknown."""
        with self._changed:
            known = self._known.get(handle.task_id)
            if known is not None:
                known.priority = TaskPriority(priority)
        return bool(self._link.change("set_priority", self.owner, handle.task_id, TaskPriority(priority)))

    def set_resource_units(self, name: str, total: float) -> None:
        """Say how many units of a provider's resource all tasks of the cluster may hold at a time.

        It counts until somebody says otherwise; after the end of this driver, what others said that still live.
        """
        if not 0 <= total < math.inf:
            raise RayjobsError(f"{total} units of {name!r} make no sense; say a number from 0 on")
        self._link.change("set_units", self.owner, name, total)

    def request_grant(self, task: Task, priority: TaskPriority, listener: Listener) -> None:
        """Queue a task that the caller runs itself: ``listener`` is told what is decided about it.

        It is called on the listening thread and must return at once; ``end_grant`` gives the resources back.
        """
        self._submit([SubmittedTask(as_sent(replace(task, kept=False)), TaskPriority(priority), listener)])

    def granted(self, task_id: str) -> bool:
        """Whether the coordinator lets a task run, even if the word of it is still on its way."""
        outcome = self._link.call("outcomes", [task_id])[0]
        return outcome is not None and outcome[0] is TaskStatus.RUNNING

    @property
    def listens(self) -> bool:
        """Whether it still hears of decisions: not any more once it is closed, or the connection to Ray is."""
        return self._threads[0].is_alive()

    def cluster_cpus(self) -> float:
        """CPUs of all nodes."""
        return float(ray.cluster_resources().get("CPU", 1.0))

    def end_grant(self, task_id: str, outcome: Outcome, error: str | None = None) -> None:
        """Say how a task that was asked for with ``request_grant`` ended; one that was never granted is cancelled."""
        with self._changed:
            known = self._known.get(task_id)
            if known is None or known.status.terminal:
                return
            granted = known.runs
            if granted:
                known.leave(outcome)
        if granted:
            self._resources.give_back(known.holder(known.number))
            self._reports.put(TaskReport(task_id=task_id, number=known.number, outcome=outcome, error=error))
        elif outcome is not Outcome.RELEASED:
            self._link.change("cancel", self.owner, task_id)

    def give_up(self) -> None:
        """Ray is dead: don't wait for the coordinator any more, not even to take leave."""
        self._given_up = True
        self._link.give_up()

    def close(self) -> None:
        """Cancel what is open and end the lease. Safe to call twice."""
        if self._closed.is_set():
            return
        self._closed.set()
        atexit.unregister(self.close)
        with self._changed:
            bundles = list(self._bundles.values())
            self._changed.notify_all()
        self._resources.close()
        for bundle in bundles:
            bundle.stop(at_once=True)
        self._reports.put(None)
        if not ray.is_initialized() or self._given_up:
            return
        try:
            self._threads[1].join()
            self._link.call("close_owner", self.owner)
        except RayjobsError as error:
            log.warning("the lease of this driver ends by itself: %s", error)
        self._threads[0].join()

    # ---- inner workings ------------------------------------------------------------------------------------------

    def _submit(self, tasks: Sequence[SubmittedTask]) -> None:
        self._resources.look_ahead([known.task for known in tasks])
        with self._changed:
            if self._closed.is_set():
                raise RayjobsError("this TaskCoordinator is closed")
            new = {known.task.task_id: known for known in tasks if known.task.task_id not in self._known}
            # Known before they are sent: a grant may arrive before the answer does.
            self._known.update(new)
        try:
            # A driver that slept until it was forgotten has to attach first, which the listening thread does.
            while not self._send(known for known in new.values() if not known.status.terminal):
                if self._closed.wait(COORDINATOR_WORD.first_pause_s):
                    raise RayjobsError(_CLOSED)
        except RayjobsError:
            with self._changed:
                for task_id in new:
                    del self._known[task_id]
            raise

    def _send(self, tasks: Iterable[SubmittedTask]) -> bool:
        """Submit; False: the coordinator has forgotten this driver."""
        return self._link.submit(self.owner, [(known.task, known.priority) for known in tasks])

    def _withhold(self, held: Sequence[Kind]) -> None:
        self._link.call("withhold", self.owner, list(held))

    def _results(self, handles: Sequence[TaskHandle]) -> list[TaskResult]:
        with self._changed:
            found = {h.task_id: self._known[h.task_id].result() for h in handles if h.task_id in self._known}
        foreign = [h.task_id for h in handles if h.task_id not in found]
        if foreign:
            for task_id, outcome in zip(foreign, self._link.call("outcomes", foreign), strict=True):
                if outcome is None:
                    raise RayjobsError(f"the coordinator knows no task {task_id}; was it submitted to this cluster?")
                status, error, value = outcome
                found[task_id] = TaskResult(
                    task_id=task_id, status=status, error=error, value=None if value is None else json.loads(value)
                )
        return [found[h.task_id] for h in handles]

    def _attach(self) -> None:
        """Come, or come back: learn what stands, and submit again what got lost."""
        with self._changed:
            open_tasks = [task_id for task_id, known in self._known.items() if not known.status.terminal]
        units = self._resources.told_units()
        attached = self._link.call("attach", self.owner, open_tasks, self._resources.held(), units)
        self._incarnation, self._seen = attached.incarnation, 0
        with self._changed:
            lost = [self._known[task_id] for task_id in attached.unknown]
            void = [known for known in self._known.values() if known.runs and known.number not in attached.grants]
        if lost:
            self._send(lost)  # if it is forgotten meanwhile, the next question for news says so
        for known in void:
            if known.listener is not None:
                known.listener(Revoke(owner=self.owner, number=known.number, task_id=known.task.task_id))

    def _listen(self) -> None:
        while not self._closed.is_set():
            try:
                news = self._link.call("news", self.owner, self._incarnation, self._seen)
                if self._closed.is_set():
                    return
                if news is None:
                    self._attach()
                    continue
                for decision in news.decisions:
                    self._follow(decision)
                self._seen = news.last
            except Exception as error:  # the lease lives as long as this thread does
                if not ray.is_initialized():
                    return
                log.warning("%s", error, exc_info=not isinstance(error, RayjobsError))
                self._closed.wait(COORDINATOR_WORD.first_pause_s)

    def _follow(self, decision: Decision) -> None:
        match decision:
            case Grant():
                self._start(decision)
            case Finished():  # told again when this fails, until it is taken note of
                self._finish(decision)
            case Progress(task_id=task_id, number=number, word=word):
                with self._changed:
                    known = self._known.get(task_id)
                    if known is not None and known.runs and known.number == number:
                        known.heard(word)
            case Revoke(task_id=task_id) | Stop(task_id=task_id):
                with self._changed:
                    known = self._known.get(task_id)
                    bundle = next((b for b in self._bundles.values() if task_id in b.open), None)
                try:
                    if known is not None and known.listener is not None:
                        known.listener(decision)
                    elif bundle is not None:
                        bundle.stop()
                except Exception:
                    log.exception("task %s can't be interrupted; it runs on until it ends", task_id)

    def _start(self, grant: Grant) -> None:
        with self._changed:
            granted = [self._known[task_id] for task_id in grant.task_ids if task_id in self._known]
            # After a restart a grant is told again; after a lost lease, what still runs may be granted anew.
            granted = [known for known in granted if grant.number > known.ended and not known.status.terminal]
            fresh = [known for known in granted if not known.runs]
            for known in granted:
                known.begin(grant)
            if not fresh:
                return
            handler = self._handlers.get(fresh[0].task.task_type)
        try:
            self._run(grant, fresh, handler)
        except Exception as error:
            log.exception("tasks %s can't be started", ", ".join(known.task.task_id for known in fresh))
            self._fail(grant, fresh, one_line(error))

    def _run(self, grant: Grant, fresh: Sequence[SubmittedTask], handler: ray.ObjectRef | None) -> None:
        listener, holder = fresh[0].listener, fresh[0].holder(grant.number)
        held = self._resources.hold(holder, grant, fresh[0].task)
        if held is None:
            self._hand_back(grant, fresh)
            return
        with self._changed:
            begun = [known for known in fresh if known.runs and known.number == grant.number]
            for known in begun:
                known.status = TaskStatus.RUNNING
        if not begun:  # ended meanwhile by whoever asked for it
            self._resources.give_back(holder)
        elif listener is not None:
            listener(held)
        elif handler is None:
            raise RayjobsError(f"no handler runs tasks of type {fresh[0].task.task_type!r} here")
        else:
            bundle = Bundle(handler, [known.task for known in begun], grant, self._ended)
            with self._changed:
                self._bundles[grant.number] = bundle
            bundle.start()

    def _fail(self, grant: Grant, tasks: Sequence[SubmittedTask], error: str) -> None:
        """Tasks that were granted but couldn't be started have failed."""
        with self._changed:
            bundle = self._bundles.pop(grant.number, None)
            failed = [known for known in tasks if known.runs and known.number == grant.number]
            for known in failed:
                known.leave(Outcome.FAILED)
        if bundle is not None:
            bundle.stop(at_once=True)
        for known in failed:
            self._resources.give_back(known.holder(grant.number))
            self._reports.put(
                TaskReport(task_id=known.task.task_id, number=grant.number, outcome=Outcome.FAILED, error=error)
            )

    def _hand_back(self, grant: Grant, tasks: Sequence[SubmittedTask]) -> None:
        """Tasks that mustn't begin now wait again, in their old place; the coordinator knows that they can't."""
        for known in tasks:
            with self._changed:
                if not known.runs or known.ended >= grant.number:
                    continue
                known.leave(Outcome.RELEASED)
            self._reports.put(TaskReport(task_id=known.task.task_id, number=known.number, outcome=Outcome.RELEASED))

    def _ended(self, report: TaskReport) -> None:
        """A task of a bundle left it."""
        with self._changed:
            known = self._known[report.task_id]
            known.leave(report.outcome)
            known.value = report.value
            if report.word is not None:
                known.heard(report.word)
            number = report.number
            if number in self._bundles and not self._bundles[number].open:
                del self._bundles[number]
                self._resources.give_back(known.holder(number))
        if report.outcome is Outcome.OUT_OF_MEMORY:
            report = replace(report, most_memory_bytes=self._resources.most_memory_bytes())
        self._reports.put(replace(report, number=known.number))

    def _finish(self, decision: Finished) -> None:
        with self._changed:
            known = self._known.get(decision.task_id)
            if known is None or known.status.terminal:
                return
        if decision.status is TaskStatus.COMPLETED and known.value is None and known.listener is None:
            known.value = self._link.call("outcomes", [decision.task_id])[0][2]
        with self._changed:
            known.status, known.error = decision.status, decision.error
            if known.listener is not None:
                del self._known[decision.task_id]
            self._changed.notify_all()
            lost = known.runs and known.listener is not None
        if lost:  # this driver was silent for so long that it was thought dead
            self._resources.give_back(known.holder(known.number))
        if known.listener is not None:
            known.listener(decision)

    def _watch(self) -> None:
        """Look at the time that running tasks take."""
        while not self._closed.wait(LOOK_S):
            with self._changed:
                bundles = list(self._bundles.values())
            for bundle in bundles:
                try:
                    bundle.look()
                except Exception:  # the others have limits as well
                    log.exception("tasks %s can't be ended", ", ".join(bundle.open))

    def _report(self) -> None:
        """Send reports, as many at a time as there are."""
        while True:
            reports = [self._reports.get()]
            while not self._reports.empty():
                reports.append(self._reports.get())
            sent = [report for report in reports if report is not None]
            while sent:
                try:
                    self._link.call("report", self.owner, sent)
                    break
                except RayjobsError as error:
                    if self._closed.is_set() or not ray.is_initialized():
                        return
                    log.warning("%s", error)
                    self._closed.wait(COORDINATOR_WORD.first_pause_s)
            if None in reports:
                return
