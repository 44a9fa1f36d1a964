"""What a driver's resource manager says about its tasks and grants: the client of the coordinator asks here.

The coordinator counts for the whole cluster; the manager adds what only the driver knows: its own limits, the
thresholds of its machine, and the providers that it registered, whose totals it tells the coordinator.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace

from actors.queue_events import Grant
from actors.resource_manager import ResourceManager
from pipelines.errors import RayjobsError
from pipelines.resources import times
from pipelines.tasks import Task

log = logging.getLogger(__name__)


class GrantResources:
    """The resources of the grants of one driver; without a manager nothing is refused and nothing is held.

    Parameters
    ----------
    manager
        The driver's.
    tell_units
        Tells the coordinator how many units of a resource the whole cluster may use: (name, total). Saying it again
        changes nothing.
    """

    def __init__(self, manager: ResourceManager | None, tell_units: Callable[[str, float], None]) -> None:
        self._manager = manager
        self._tell = tell_units
        self._told: dict[str, float] = {}
        self._lock = threading.Lock()
        self._undo: Callable[[], None] | None = None
        if manager is not None:
            self._undo = manager.on_change(self.tell_units)
            self.tell_units()

    def tell_units(self) -> None:
        """Tell the coordinator the totals that it hasn't heard yet."""
        if self._manager is None:
            return
        with self._lock:
            for name, total in self._manager.unit_totals().items():
                if self._told.get(name) != total:
                    self._tell(name, total)
                    self._told[name] = total

    def check(self, task: Task) -> None:
        """Refuse a task that could never run.

        Raises
        ------
        InfeasibleError
            No node, provider or limit could ever serve it.
        """
        if self._manager is not None:
            self._manager.check_feasible(task.task_type, task.resources)

    def hold(self, holder: str, grant: Grant, task: Task) -> Grant | None:
        """Hold what was granted to a task until ``give_back(holder)``; None: it must not start now.

        Of an elastic grant only the CPUs within this driver's limits are taken.
        """
        if self._manager is None:
            return grant
        needs, elastic = task.resources, task.max_cpus is not None
        if elastic:
            cpus = max(min(int(grant.cpus), self._manager.cpus_left(needs.custom)), 1)
            needs = times(needs, cpus)
            grant = replace(grant, cpus=float(cpus))
        try:
            self._manager.allocate_resources(task.task_type, needs, owner=holder, spread=elastic)
        except RayjobsError as error:  # a threshold, a lowered limit, a provider without units, a node that left
            log.info("task %s waits: %s", task.task_id, error)
            return None
        return grant

    def give_back(self, holder: str) -> None:
        """Nothing runs any more of what was held for."""
        if self._manager is not None:
            self._manager.release_owner(holder)

    def close(self) -> None:
        """Stop telling. Safe to call twice."""
        if self._undo is not None:
            self._undo()
            self._undo = None
