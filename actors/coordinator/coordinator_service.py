"""The coordinator without its actor: takes calls, writes the ledger, keeps what each owner has yet to be told.

Every call that changes something is durable before it is answered, and is answered the same when it comes again.
Decisions wait in an outbox per owner until that says it has seen them. Time is passed in; no Ray. See also
``ray_coordinator``, which carries the calls, and ``task_queue``, which decides.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from actors.coordinator.cluster_ledger import ClusterLedger
from actors.queue.queue_events import Decision, Finished, Grant, Progress, TaskReport, TaskWord
from actors.queue.queue_lines import Kind
from actors.queue.task_queue import TaskQueue
from pipelines.errors import RayjobsError
from pipelines.tasks import QueueStatus, Task, TaskPriority, TaskStatus

LEASE_S = 8.0
"""An owner that wasn't heard of for so long has lost its grants."""


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What an owner is told."""

    last: int
    """Number of the last decision in here; the owner names it when it asks again."""
    decisions: tuple[Decision, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """How an owner stands after it came, or came back."""

    incarnation: str
    """Of the coordinator; an owner that names another one has to attach again."""
    grants: tuple[int, ...]
    """Grants that it holds; others that it believes to hold were taken back."""
    unknown: tuple[str, ...]
    """Tasks that it believes open and that nobody here knows: it has to submit them again."""


@dataclass(slots=True)
class _Outbox:
    decisions: list[Decision] = field(default_factory=list)
    first: int = 1
    """Number of the first decision that is kept."""

    @property
    def last(self) -> int:
        return self.first + len(self.decisions) - 1

    def drop_seen(self, seen: int) -> None:
        count = min(max(seen - self.first + 1, 0), len(self.decisions))
        del self.decisions[:count]
        self.first += count


class CoordinatorService:
    """One incarnation of the coordinator."""

    def __init__(self, ledger: ClusterLedger, now: float) -> None:
        self.incarnation = uuid.uuid4().hex
        self._ledger = ledger
        self._queue = TaskQueue()
        self._outboxes: dict[str, _Outbox] = {}
        self._told: set[str] = set()
        self._values: list[tuple[str, str]] = []
        self._last_seen = now
        with ledger.transaction():
            ledger.drop_old()
        for name, limit in ledger.settings("limit").items():
            self._queue.set_limit(name, int(limit))
        for name, total in ledger.settings("units").items():
            self._queue.set_units(name, total)
        for owner in ledger.owners():
            self._queue.renew(owner, now, LEASE_S)
        self._queue.restore(ledger.tasks(), now, LEASE_S, past=ledger.past())

    def shut(self) -> None:
        """Close the ledger, and remove it when it holds nothing that somebody may come back for."""
        self._ledger.close(remove=not self._ledger.owners())

    # ---- owners --------------------------------------------------------------------------------------------------

    def attach(
        self, owner: str, open_tasks: Sequence[str], held: Sequence[Kind], units: Mapping[str, float], now: float
    ) -> Attached:
        """An owner comes, or comes back after it or the coordinator was away; its news start with all that stands."""
        with self._ledger.transaction():
            self._ledger.put_owner(owner)
            self._queue.renew(owner, now, LEASE_S)
            self._queue.units.recall(units, owner)
            self._queue.withhold(owner, held)
            self._decide(now)
        self._last_seen = now
        outbox = self._outboxes[owner] = _Outbox()
        outbox.decisions.extend(self._queue.standing(owner))
        unknown = []
        for task_id in open_tasks:
            outcome = self._ledger.outcome(task_id)
            if outcome is None:
                unknown.append(task_id)
            elif outcome[0].terminal:
                outbox.decisions.append(Finished(owner=owner, task_id=task_id, status=outcome[0], error=outcome[1]))
        grants = tuple(decision.number for decision in outbox.decisions if isinstance(decision, Grant))
        return Attached(incarnation=self.incarnation, grants=grants, unknown=tuple(unknown))

    def news(self, owner: str, incarnation: str, seen: int, now: float) -> News | None:
        """What was decided since; renews the lease. None: the owner has to attach first."""
        outbox = self._outboxes.get(owner)
        if incarnation != self.incarnation or outbox is None or not self._queue.is_alive(owner):
            return None
        self._queue.renew(owner, now, LEASE_S)
        self._last_seen = now
        outbox.drop_seen(seen)
        return News(last=outbox.last, decisions=tuple(outbox.decisions))

    def close_owner(self, owner: str, now: float) -> None:
        """An owner ends; what it left open is cancelled."""
        with self._ledger.transaction():
            self._queue.close_owner(owner, now)
            self._decide(now)
            self._ledger.drop_owner(owner)
        self._outboxes.pop(owner, None)

    def tick(self, now: float) -> None:
        """Time passed: leases run out, tasks that waited long rise."""
        with self._ledger.transaction():
            for owner in self._queue.expire(now):
                self._ledger.drop_owner(owner)
                self._outboxes.pop(owner, None)
            self._decide(now)

    def idle_s(self, now: float) -> float:
        """For how long nobody has held a lease."""
        return 0.0 if self._queue.alive_owners() else now - self._last_seen

    # ---- changing calls ------------------------------------------------------------------------------------------

    def submit(self, request_id: str, owner: str, tasks: Sequence[tuple[Task, TaskPriority]], now: float) -> bool:
        """Queue tasks, all or none. False: the owner has to attach first, and to submit again with a new request id.

        Raises
        ------
        RayjobsError
            See ``TaskQueue.submit``.
        """

        def submit() -> bool | str:
            try:
                return self._queue.submit(owner, tasks, now)
            except RayjobsError as error:
                return str(error)

        answer = self._once(request_id, owner, now, submit)
        if isinstance(answer, str):
            raise RayjobsError(answer)
        return bool(answer)

    def cancel(self, request_id: str, owner: str, task_id: str, now: float) -> bool:
        """Cancel a task; see ``TaskQueue.cancel``."""

        def cancel() -> bool:
            if self._queue.entry(task_id) is None:
                outcome = self._ledger.outcome(task_id)
                return outcome is not None and outcome[0] is TaskStatus.CANCELLED
            return self._queue.cancel(task_id, now)

        return bool(self._once(request_id, owner, now, cancel))

    def set_priority(self, request_id: str, owner: str, task_id: str, priority: TaskPriority, now: float) -> bool:
        """Change how urgent a task is; see ``TaskQueue.set_priority``."""
        return bool(self._once(request_id, owner, now, lambda: self._queue.set_priority(task_id, priority)))

    def set_limit(self, request_id: str, owner: str, task_type: str, limit: int | None, now: float) -> None:
        """Change the concurrency limit of a task type; None lifts it."""

        def change() -> bool:
            self._queue.set_limit(task_type, limit)
            self._ledger.put_setting("limit", task_type, limit)
            return True

        self._once(request_id, owner, now, change)

    def set_units(self, request_id: str, owner: str, name: str, total: float, now: float) -> None:
        """Say how many units of a provider's resource the cluster has."""

        def change() -> bool:
            self._queue.set_units(name, total, owner)
            return True

        self._once(request_id, owner, now, change)

    def withhold(self, owner: str, held: Sequence[Kind], now: float) -> None:
        """Say all that an owner can't run for now; see ``TaskQueue.withhold``. Saying it again changes nothing."""
        with self._ledger.transaction():
            self._queue.withhold(owner, held)
            self._decide(now)

    def report(self, owner: str, reports: Sequence[TaskReport], now: float) -> None:
        """Take note of how tasks left their grants; a report that comes again is old news by its grant's number."""
        with self._ledger.transaction():
            for report in reports:
                if self._queue.report(owner, report, now) and report.value is not None:
                    self._values.append((report.task_id, report.value))
            self._decide(now)

    def tell(self, task_id: str, number: int, word: TaskWord) -> None:
        """Pass on what a running task says of itself; that is lost with this incarnation, and no harm."""
        entry = self._queue.entry(task_id)
        if entry is not None and entry.number == number and entry.status is TaskStatus.RUNNING:
            self._pass_on(Progress(owner=entry.owner, number=number, task_id=task_id, word=word))

    def set_nodes(self, nodes: Mapping[str, Mapping[str, float]], now: float) -> None:
        """Say which nodes are alive and what each has."""
        if self._queue.set_nodes(nodes):
            self.tick(now)

    # ---- questions -----------------------------------------------------------------------------------------------

    def outcomes(self, task_ids: Sequence[str]) -> list[tuple[TaskStatus, str | None, str | None] | None]:
        """(status, error, value as JSON) of tasks; None for one that is unknown."""
        return [self._ledger.outcome(task_id) for task_id in task_ids]

    def status(self) -> QueueStatus:
        return self._queue.status()

    def free(self) -> dict[str, float]:
        """What no grant holds, by resource."""
        capacity = self._queue.capacity
        return {name: capacity.free(name) for name in capacity.names()}

    def take_told(self) -> set[str]:
        """Owners for whom there is something new since the last call."""
        told, self._told = self._told, set()
        return told

    # ---- inner workings ------------------------------------------------------------------------------------------

    def _once(self, request_id: str, owner: str, now: float, action: Callable[[], Any]) -> Any:
        """Do something and remember the answer; when it was done before, only answer."""
        known = self._ledger.answer(request_id)
        if known is not None:
            return known
        with self._ledger.transaction():
            answer = action()
            self._decide(now)
            self._ledger.put_answer(request_id, owner, answer)
        return answer

    def _decide(self, now: float) -> None:
        """Put the queue's decisions in the owners' outboxes, and all that changed in the ledger."""
        for decision in self._queue.decide(now):
            self._pass_on(decision)
        changed, self._queue.changed = self._queue.changed, {}
        running = TaskStatus.RUNNING
        self._ledger.put_tasks(
            (entry, self._queue.placement(entry.number) if entry.status is running else None)
            for entry in changed.values()
        )
        units, self._queue.units.changed = self._queue.units.changed, {}
        for name, total in units.items():
            self._ledger.put_setting("units", name, total)
        values, self._values = self._values, []
        self._ledger.put_values(values)

    def _pass_on(self, decision: Decision) -> None:
        outbox = self._outboxes.get(decision.owner)
        if outbox is not None:
            outbox.decisions.append(decision)
            self._told.add(decision.owner)
