"""The queue of the cluster: event in, decisions out, time passed in.

Knows every open task, who depends on whom, what runs under which grant, and which owners (drivers) are alive. Pure:
no Ray, no clock, no file, so that priorities, leases and crashes are tested in milliseconds. Whose turn it is says
``priority_scheduler``, who gets room ``dispatcher``; messages and the ledger are ``coordinator_service``'s.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from actors.queue.capacity import Capacity
from actors.queue.dispatcher import Dispatcher
from actors.queue.open_grants import OpenGrants, Running
from actors.queue.placements import Placement
from actors.queue.priority_scheduler import PriorityScheduler
from actors.queue.queue_events import Decision, Finished, Grant, Outcome, Past, Revoke, Stop, TaskReport
from actors.queue.queue_lines import Entry, Kind, Place
from actors.queue.second_tries import failure_of, gets_more
from actors.queue.task_graph import TaskGraph, check_dependencies, passed_on
from actors.queue.unit_totals import UnitTotals
from pipelines.errors import FailedReason, RayjobsError
from pipelines.failure_policy import pause_before_retry
from pipelines.resource_needs import needs_of
from pipelines.tasks import QueueStatus, Task, TaskPriority, TaskStatus

FORGET_S = 60.0
"""A driver that is silent for so long after its lease ended won't come back: its tasks are cancelled."""


@dataclass(slots=True)
class _Owner:
    """A driver, as far as its tasks are concerned."""

    lease_until: float
    alive: bool
    tasks: dict[str, Entry] = field(default_factory=dict)


class TaskQueue:
    """All tasks of the owners that are known."""

    def __init__(self) -> None:
        self.changed: dict[str, Entry] = {}
        """Tasks whose state changed since somebody emptied this: what the ledger has to write."""
        self._entries: dict[str, Entry] = {}
        self._owners: dict[str, _Owner] = {}
        self._graph = TaskGraph()
        self._scheduler = PriorityScheduler()
        self._grants = OpenGrants()
        self.units = UnitTotals(self._grants.capacity)
        self._dispatcher = Dispatcher(self._grants, self._scheduler)
        self._counts: Counter[tuple[TaskStatus, TaskPriority]] = Counter()
        self._last_order = 0
        self._nobody_ends_before = float("-inf")
        """No lease ends, and no owner is forgotten, before that time."""
        self._pausing: list[tuple[float, int, str]] = []
        """Tasks that are tried again at a certain time; the earliest first."""
        self._outbox: list[Decision] = []

    # ---- owners --------------------------------------------------------------------------------------------------

    def renew(self, owner: str, now: float, ttl_s: float) -> bool:
        """Extend an owner's lease; True when it had none, so that what it ran before isn't its own any more."""
        known = self._owners.setdefault(owner, _Owner(now, alive=False))
        known.lease_until = now + ttl_s
        self._nobody_ends_before = min(self._nobody_ends_before, known.lease_until)
        if known.alive:
            return False
        known.alive = True
        for entry in known.tasks.values():
            self._enqueue(entry, now)
        return True

    def expire(self, now: float) -> list[str]:
        """Take back what owners hold whose lease ran out; return the owners that were forgotten."""
        forgotten: list[str] = []
        if now < self._nobody_ends_before:
            return forgotten
        for name, owner in list(self._owners.items()):
            if owner.alive and now >= owner.lease_until:
                self._take_back(name, owner, now)
            if not owner.alive and now >= owner.lease_until + FORGET_S:
                self.close_owner(name, now, "its driver is gone")
                forgotten.append(name)
        ends = (owner.lease_until + (0 if owner.alive else FORGET_S) for owner in self._owners.values())
        self._nobody_ends_before = min(ends, default=now)
        return forgotten

    def close_owner(self, name: str, now: float, why: str = "its driver ended") -> None:
        """Cancel an owner's open tasks and forget it."""
        owner = self._owners.get(name)
        if owner is None:
            return
        self._take_back(name, owner, now)
        for entry in list(owner.tasks.values()):
            self._finish(entry, TaskStatus.CANCELLED, why, now)
        for entry in list(owner.tasks.values()):
            self._forget(entry)
        self._scheduler.withhold(name, frozenset())
        self.units.forget(name)
        del self._owners[name]

    def alive_owners(self) -> list[str]:
        return [name for name, owner in self._owners.items() if owner.alive]

    def is_alive(self, owner: str) -> bool:
        return owner in self._owners and self._owners[owner].alive

    def _take_back(self, name: str, owner: _Owner, now: float) -> None:
        owner.alive = False
        for running in [running for running in self._grants.running.values() if running.owner == name]:
            for task_id in list(running.entries):
                self.report(name, TaskReport(task_id=task_id, number=running.number, outcome=Outcome.RELEASED), now)
        for entry in owner.tasks.values():
            self._scheduler.remove(entry)

    # ---- events --------------------------------------------------------------------------------------------------

    def submit(self, owner: str, tasks: Sequence[tuple[Task, TaskPriority]], now: float) -> bool:
        """Queue tasks, all or none; those that the owner submitted before stay as they are.

        False: the owner is unknown, or was forgotten; it has to come first, and nothing has changed.

        Raises
        ------
        RayjobsError
            A task can never run (infeasible needs, unknown dependency, a circle), or its id is another owner's.
        """
        if owner not in self._owners:
            return False
        new: dict[str, Entry] = {}
        alike: dict[tuple[int, bool], Entry] = {}  # the first of those that carry one estimate, as batches do
        for task, priority in tasks:
            known = self._entries.get(task.task_id)
            if known is not None and known.owner != owner:
                raise RayjobsError(f"task {task.task_id} was submitted by another driver; choose another id")
            if known is None and task.task_id not in new:
                order, kind = self._last_order + len(new) + 1, (id(task.resources), task.max_cpus is None)
                needs = alike[kind].needs if kind in alike else needs_of(task.resources)
                new[task.task_id] = entry = Entry(task, owner, priority, order, now, needs)
                alike.setdefault(kind, entry)
        check_dependencies({key: entry.task.depends_on for key, entry in new.items()}, self._entries)
        for entry in alike.values():
            self._refuse_infeasible(entry)
        self.changed.update(new)
        self._admit(list(new.values()), now)
        return True

    def restore(self, rows: Iterable[tuple[Entry, Placement | None]], now: float, ttl_s: float, *, past: Past) -> None:
        """Take over from an earlier incarnation, tasks in their order; each owner gets the time of a new lease."""
        self._last_order, self._grants.last_number = past.order, past.number
        held: dict[int, tuple[Placement, list[Entry]]] = {}
        entries = []
        for entry, placement in rows:
            self._owners.setdefault(entry.owner, _Owner(now + ttl_s, alive=True))
            if entry.task.kept or not entry.status.terminal:
                entries.append(entry)
            if entry.status is TaskStatus.RUNNING and placement is not None:
                held.setdefault(entry.number, (placement, []))[1].append(entry)
        for number, (placement, together) in sorted(held.items()):
            entry, running = together[0], {entry.task.task_id: entry for entry in together}
            self._grants.open(Running(number, entry.owner, entry.task.task_type, placement, running, now))
            for entry in together:
                self._scheduler.resume(entry, now)
        self._admit(entries, now)

    def report(self, owner: str, report: TaskReport, now: float) -> bool:
        """Take note of how a task left its grant; False when that is old news."""
        entry = self._entries.get(report.task_id)
        if entry is None or entry.owner != owner or entry.status.terminal:
            return False
        running = self._grants.running.get(report.number)
        turn = self._scheduler.turn(entry.group)
        if running is not None and report.task_id in running.entries:
            self._grants.leave(running, report.task_id)
            self._scheduler.end(entry, now)
            self._set_status(entry, TaskStatus.PENDING)
        elif entry.status is TaskStatus.RUNNING or report.outcome not in (Outcome.COMPLETED, Outcome.FAILED):
            return False
        else:  # its lease had run out and the grant was taken back, but the work was done all the same
            self._scheduler.remove(entry)
        if report.seconds is not None:
            self._grants.learn(entry.task.task_type, report.seconds)
        self._settle(entry, report, now)
        self._scheduler.keep_turn(entry.group, turn)
        return True

    def cancel(self, task_id: str, now: float) -> bool:
        """Cancel a task and what depends on it; False when it had ended otherwise before, or is unknown."""
        entry = self._entries.get(task_id)
        if entry is None or entry.status.terminal:
            return entry is not None and entry.status is TaskStatus.CANCELLED
        if entry.status is TaskStatus.PENDING:
            self._finish(entry, TaskStatus.CANCELLED, "cancelled", now)
        elif not entry.cancelling:
            entry.cancelling = True
            self.changed[task_id] = entry
            self._outbox.append(Stop(owner=entry.owner, number=entry.number, task_id=task_id))
        return True

    def set_priority(self, task_id: str, priority: TaskPriority) -> bool:
        """Change how urgent a task is, whether it waits or runs; False when it has ended, or is unknown."""
        entry = self._entries.get(task_id)
        if entry is None or entry.status.terminal:
            return False
        if entry.priority is not priority:
            self._counts[entry.status, entry.priority] -= 1
            self._scheduler.set_priority(entry, priority)
            self._counts[entry.status, entry.priority] += 1
            if (running := self._grants.running.get(entry.number)) is not None and task_id in running.entries:
                self._grants.set_priority(running)
            self.changed[task_id] = entry
        return True

    def withhold(self, owner: str, kinds: Iterable[Kind]) -> None:
        """Say which tasks an owner can't run for now, such as for want of memory: they stay pending; others can go."""
        if owner in self._owners:
            self._scheduler.withhold(owner, frozenset(kinds))

    def set_limit(self, task_type: str, limit: int | None) -> None:
        """At most so many grants of a type are out at a time, None: as many as there is room for; those out may end."""
        if limit is None:
            self._grants.limits.pop(task_type, None)
            return
        if limit < 0:
            raise RayjobsError(f"the limit for {task_type!r} is {limit}; it must be 0 or more")
        self._grants.limits[task_type] = limit

    def set_nodes(self, nodes: Mapping[str, Mapping[str, float]]) -> bool:
        """Say which nodes are alive and what each has; True when that changed."""
        return self._grants.capacity.set_nodes(nodes)

    def set_units(self, name: str, total: float, owner: str = "") -> None:
        """Say how many units of a provider's resource the cluster may use at a time; see ``UnitTotals``."""
        self.units.say(name, total, owner if owner in self._owners else None)

    # ---- decisions -----------------------------------------------------------------------------------------------

    def decide(self, now: float) -> list[Decision]:
        """What is to be told to whom, after all events so far."""
        while self._pausing and self._pausing[0][0] <= now:
            entry = self._entries.get(heapq.heappop(self._pausing)[2])
            if entry is not None:  # else its owner has ended meanwhile
                self._enqueue(entry, now)
        granted = True
        while granted:  # whoever stepped aside in a round, and was let in again by it, has its turn in the next
            granted = self._round(now)
        decisions, self._outbox = self._outbox, []
        return decisions

    # ---- questions -----------------------------------------------------------------------------------------------

    @property
    def capacity(self) -> Capacity:
        return self._grants.capacity

    def entry(self, task_id: str) -> Entry | None:
        return self._entries.get(task_id)

    def entries(self) -> Iterable[Entry]:
        return self._entries.values()

    def grants(self, owner: str | None = None) -> list[Grant]:
        """The grants that are out; all, or those of one owner."""
        return [running.as_grant() for running in self._grants.running.values() if owner in (None, running.owner)]

    def standing(self, owner: str) -> list[Decision]:
        """All that an owner would know if it had missed nothing: what it runs, and is to release or to stop."""
        return self._grants.standing(owner)

    def placement(self, number: int) -> Placement | None:
        """What a grant holds."""
        running = self._grants.running.get(number)
        return None if running is None else running.placement

    def status(self) -> QueueStatus:
        pending = {priority.name.lower(): self._counts[TaskStatus.PENDING, priority] for priority in TaskPriority}
        return QueueStatus(
            pending=sum(pending.values()),
            running=sum(self._counts[TaskStatus.RUNNING, priority] for priority in TaskPriority),
            by_type=dict(self._grants.by_type),
            by_priority={name: count for name, count in pending.items() if count},
            limits=dict(self._grants.limits),
            held=self._scheduler.withheld(),
        )

    # ---- inner workings ------------------------------------------------------------------------------------------

    def _round(self, now: float) -> bool:
        """One round of decisions; True when something was granted."""
        granted, revoked = self._dispatcher.round(now)
        for running in granted:
            for entry in running.entries.values():
                entry.number = running.number
                self._set_status(entry, TaskStatus.RUNNING)
            self._outbox.append(running.as_grant())
        for running in revoked:
            self._outbox.extend(
                Revoke(owner=running.owner, number=running.number, task_id=task_id) for task_id in running.entries
            )
        return bool(granted)

    def _refuse_infeasible(self, entry: Entry) -> None:
        elastic = entry.task.max_cpus is not None
        reason = self.capacity.spreads(entry.needs) if elastic else self.capacity.infeasible(entry.needs)
        if reason is not None:
            raise RayjobsError(f"task {entry.task.task_id} can never run: it {reason}; ask for less, or add a node")

    def _admit(self, entries: Sequence[Entry], now: float) -> None:
        """Take tasks in, and let them wait: in line, or for what they depend on."""
        for entry in entries:
            self._entries[entry.task.task_id] = entry
            self._owners[entry.owner].tasks[entry.task.task_id] = entry
            self._counts[entry.status, entry.priority] += 1
            self._last_order = max(self._last_order, entry.order)
        for entry in entries:
            if entry.status.terminal:
                continue
            for other in map(self._entries.get, dict.fromkeys(entry.task.depends_on)):
                if other is None:  # restored: it completed, and its owner has ended since
                    continue
                if other.status in (TaskStatus.FAILED, TaskStatus.CANCELLED):
                    self._finish(entry, *passed_on(other.task.task_id, other.status), now)
                    break
                if not other.status.terminal:
                    entry.waits_for += 1
                    self._graph.add(entry.task.task_id, other.task.task_id)
            else:
                self._enqueue(entry, now)

    def _enqueue(self, entry: Entry, now: float) -> None:
        ready = entry.status is TaskStatus.PENDING and not entry.waits_for and entry.place is Place.NOWHERE
        if not ready or not self._owners[entry.owner].alive:
            return
        if now < entry.not_before:
            heapq.heappush(self._pausing, (entry.not_before, entry.order, entry.task.task_id))
            return
        entry.queued_at = now
        self._scheduler.add(entry)

    def _settle(self, entry: Entry, report: TaskReport, now: float) -> None:
        """Final, or back in line."""
        match report.outcome:
            case Outcome.COMPLETED:
                self._finish(entry, TaskStatus.COMPLETED, None, now)
            case Outcome.FAILED:
                self._finish(entry, TaskStatus.FAILED, report.error or "failed", now)
            case Outcome.CANCELLED:
                self._finish(entry, TaskStatus.CANCELLED, report.error or "cancelled", now)
            case _ if entry.cancelling:
                self._finish(entry, TaskStatus.CANCELLED, "cancelled", now)
            case Outcome.RELEASED:
                self._enqueue(entry, now)
            case Outcome.CRASHED | Outcome.TIMED_OUT | Outcome.OUT_OF_MEMORY:
                entry.attempts += 1
                reason, why = failure_of(report, entry.attempts)
                pause_s = pause_before_retry(reason, entry.attempts, entry.task.max_attempts)
                starved = reason is FailedReason.OUT_OF_MEMORY
                if pause_s is None or (starved and not gets_more(entry, self.capacity, report.most_memory_bytes)):
                    self._finish(entry, TaskStatus.FAILED, why, now)
                else:
                    entry.not_before = now + pause_s
                    self._enqueue(entry, now)

    def _finish(self, entry: Entry, status: TaskStatus, error: str | None, now: float) -> None:
        """Make a task final, and tell those that depend on it."""
        ends = [(entry, status, error)]
        while ends:
            entry, status, error = ends.pop()
            if entry.status.terminal:
                continue
            self._scheduler.remove(entry)
            entry.error = error
            self._set_status(entry, status)
            task_id = entry.task.task_id
            self._outbox.append(Finished(owner=entry.owner, task_id=task_id, status=status, error=error))
            for later in [self._entries[later] for later in self._graph.finished(task_id) if later in self._entries]:
                if status is TaskStatus.COMPLETED:
                    later.waits_for -= 1
                    self._enqueue(later, now)
                else:
                    ends.append((later, *passed_on(task_id, status)))
            if not entry.task.kept:
                self._forget(entry)

    def _forget(self, entry: Entry) -> None:
        """Nobody will ask for a task that has ended; the ledger knows what became of it."""
        del self._entries[entry.task.task_id]
        del self._owners[entry.owner].tasks[entry.task.task_id]
        self._counts[entry.status, entry.priority] -= 1

    def _set_status(self, entry: Entry, status: TaskStatus) -> None:
        self._counts[entry.status, entry.priority] -= 1
        entry.status = status
        self._counts[status, entry.priority] += 1
        self.changed[entry.task.task_id] = entry
