"""What a program asks before it uses part of the cluster: it holds that until it gives it back, or ends.

What one process is given no other is: an allocation is a grant of the coordinator, so it counts with jobs, tasks and
the allocations of all drivers, waits in the same queue, and ends soon after its owner was killed. What only the driver
knows, its limits, thresholds and providers, ``DriverResources`` adds.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from actors.coordinator.told_units import ToldUnits
from actors.queue.capacity import short_of
from actors.queue.queue_events import Decision, Finished, Grant, Outcome, Revoke, Stop
from actors.resources.driver_resources import DriverResources
from actors.resources.performance_monitor import PerformanceMonitor
from pipelines.errors import RayjobsError
from pipelines.resource_needs import ResourcesBusyError, needs_of
from pipelines.resources import ResourceAllocation, ResourceConfig, ResourceEstimate, ResourceInfo
from pipelines.tasks import Task, TaskPriority

if TYPE_CHECKING:
    from actors.coordinator.task_coordinator import TaskCoordinator

ANSWER_S = 20.0
"""How long the coordinator's word may be on its way."""
LOOK_S = 0.1

log = logging.getLogger(__name__)


class _Lease:
    """One allocation as the coordinator has it."""

    def __init__(self, coordinator: TaskCoordinator, task: Task) -> None:
        self._coordinator = coordinator
        self._task_id = task.task_id
        self._granted = threading.Event()
        self._over = threading.Event()
        coordinator.request_grant(task, TaskPriority.NORMAL, self._hear)

    def wait(self, deadline: float) -> bool:
        """Whether it is granted by then; one that is granted at once always is."""
        if self._granted.wait(max(deadline - time.monotonic(), 0.0)):
            return True
        return self._coordinator.granted(self._task_id) and self._granted.wait(ANSWER_S)

    def end(self) -> None:
        """Give it back; when this returns others can have it."""
        self._coordinator.end_grant(self._task_id, Outcome.COMPLETED if self._granted.is_set() else Outcome.CANCELLED)
        deadline = time.monotonic() + ANSWER_S
        while not self._over.wait(LOOK_S) and self._coordinator.listens:
            if time.monotonic() > deadline:
                log.warning("the coordinator has not confirmed yet that %s is given back", self._task_id)
                return

    def _hear(self, decision: Decision) -> None:
        match decision:
            case Grant():
                self._granted.set()
            case Finished():
                self._over.set()
            case Stop():
                self._coordinator.end_grant(self._task_id, Outcome.CANCELLED)
            case Revoke():
                log.warning("%s was taken back while this process was silent; it is asked for again", self._task_id)
                self._coordinator.end_grant(self._task_id, Outcome.RELEASED)


class ResourceManager(DriverResources):
    """Grants the cluster's resources to the tasks of one driver; safe to use from several threads.

    Parameters
    ----------
    config
        Limits, thresholds, where tasks write.
    monitor
        Whose samples the thresholds look at; one of its own unless given.
    """

    def __init__(self, config: ResourceConfig | None = None, *, monitor: PerformanceMonitor | None = None) -> None:
        super().__init__(config, monitor=monitor)
        self._leasing = threading.Lock()
        """Guards what follows."""
        self._leases: dict[str, _Lease] = {}
        self._connection: tuple[TaskCoordinator, ToldUnits] | None = None

    def close(self) -> None:
        """Stop watching and give back what is still held; a second time changes nothing."""
        super().close()
        with self._leasing:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection[0].close()

    def allocate_resources(
        self, task_type: str, estimated_usage: ResourceEstimate, *, owner: str = "", timeout_s: float = 0.0
    ) -> ResourceAllocation:
        """Hold what a task needs until it is released: no other process of the cluster is given it meanwhile.

        Parameters
        ----------
        task_type, estimated_usage
            What for, and how much.
        owner
            Whoever's end gives it back: see ``release_owner``. The end of this process gives back everything.
        timeout_s
            How long to wait when others hold it or a threshold is exceeded.

        Raises
        ------
        InfeasibleError
            It could never be had.
        ResourcesBusyError
            It can't be had now.
        """
        deadline = time.monotonic() + timeout_s
        held = self.hold(task_type, estimated_usage, owner=owner, timeout_s=timeout_s)
        try:
            self._lease(held, estimated_usage, deadline)
        except BaseException:
            self._release(held.allocation_id)
            raise
        return held

    def get_available_resources(self, resource_type: str = "all") -> ResourceInfo:
        """Totals within the limits, and what is free of them now: held by no task of Ray's, grant or allocation.

        Raises
        ------
        UnknownNameError
            There is no such type.
        """
        found = super().get_available_resources(resource_type)
        free = self._free_of_grants()
        available = {name: min(amount, free.get(name, amount)) for name, amount in found.available.items()}
        return ResourceInfo(total=found.total, available=available)

    # Inside

    def _lease(self, held: ResourceAllocation, needs: ResourceEstimate, deadline: float) -> None:
        coordinator = self._connected()
        lease = _Lease(
            coordinator,
            Task(
                task_id=f"{held.resource_type} lease {held.allocation_id}",
                task_type=f"{held.resource_type} lease",  # not the tasks' own: short ones of those are merged
                resources=needs,
                timeout_s=None,
            ),
        )
        with self._leasing:
            self._leases[held.allocation_id] = lease
        if not lease.wait(deadline):
            with self._changed:
                self._held_back += 1
            raise ResourcesBusyError(f"a task of type {held.resource_type!r} {self._why(needs)}; try again later")

    def _why(self, needs: ResourceEstimate) -> str:
        return short_of(needs_of(needs), self._free_of_grants()) or "has to wait for others that asked before"

    def _free_of_grants(self) -> dict[str, float]:
        from actors.coordinator.ray_coordinator import free_of_grants

        return free_of_grants()

    def _connected(self) -> TaskCoordinator:
        """The coordinator, which has heard of all units of this driver's providers."""
        with self._leasing:
            if self._connection is None or not self._connection[0].listens:
                from actors.coordinator.task_coordinator import TaskCoordinator

                coordinator = TaskCoordinator()
                self._connection = coordinator, ToldUnits(self.unit_totals, coordinator.set_resource_units)
            coordinator, told = self._connection
        told.tell()
        return coordinator

    def _release(self, allocation_id: str) -> None:
        with self._leasing:
            lease = self._leases.pop(allocation_id, None)
        if lease is not None:
            try:
                lease.end()
            except RayjobsError as error:
                log.warning("an allocation ends with this process only: %s", error)
        super()._release(allocation_id)
