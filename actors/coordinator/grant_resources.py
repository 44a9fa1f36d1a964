"""What a driver's resource manager says about its tasks and grants: the client of the coordinator asks here.

The coordinator counts for the whole cluster; the manager adds what only the driver knows: its own limits, the
thresholds of its machine, and the providers that it registered. What tasks can't begin for now the coordinator is told,
so that they wait there instead of being granted and released, and told again as soon as they can.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from actors.coordinator.held_kinds import HeldKinds, kind_of
from actors.coordinator.told_units import ToldUnits
from actors.queue.queue_events import Grant
from actors.queue.queue_lines import Kind
from actors.resources.driver_resources import DriverResources
from pipelines.errors import RayjobsError
from pipelines.resource_needs import CPU, MEMORY, demand_of
from pipelines.resources import times
from pipelines.tasks import Task

LOOK_S = 1.0
"""How often it is looked whether what can't begin for now can; at once when something was given back."""

log = logging.getLogger(__name__)


class GrantResources:
    """The resources of the grants of one driver; without a manager nothing is refused and nothing is held.

    Parameters
    ----------
    manager
        The driver's.
    tell_units
        See ``ToldUnits``.
    tell_held
        Tells the coordinator all that can't begin for now.
    """

    def __init__(
        self,
        manager: DriverResources | None,
        tell_units: Callable[[str, float], None],
        tell_held: Callable[[Sequence[Kind]], None],
    ) -> None:
        self._manager = manager
        self._units = None if manager is None else ToldUnits(manager.unit_totals, tell_units)
        self._lock = threading.Lock()
        self._tell_held = tell_held
        self._telling = threading.Lock()
        """Held while the coordinator is told, so that what it hears last is how things are."""
        self._held = HeldKinds()
        self._holders: set[str] = set()
        self._look = threading.Event()
        self._closed = False
        self._watch: threading.Thread | None = None
        self._undo: Callable[[], None] | None = None
        if manager is not None:
            self._undo = manager.on_change(self._changed)
        self._changed()

    def _changed(self) -> None:
        if self._units is not None:
            self._units.tell()
        self._look.set()

    def look_ahead(self, tasks: Sequence[Task]) -> None:
        """Before tasks are submitted: refuse what could never run, and see what can't begin for now.

        Raises
        ------
        InfeasibleError
            No node, provider or limit could ever serve one of them.
        """
        if self._manager is None:
            return
        # tasks of a batch are mostly alike, and carry their needs once
        different = {(task.task_type, id(task.resources), task.max_cpus is None): task for task in tasks}.values()
        for task in different:
            self._manager.check_feasible(task.task_type, task.resources)
        if self._manager.admission() is None:
            return
        with self._lock:
            new = [self._held.add(kind_of(task), task) for task in different]
        if any(new):
            self._say_held()

    def most_memory_bytes(self) -> int | None:
        """What one task may have within this driver's limits; None: as much as there is."""
        return None if self._manager is None else int(self._manager.total(MEMORY))

    def hold(self, holder: str, grant: Grant, task: Task) -> Grant | None:
        """Hold what was granted to a task until ``give_back(holder)``; None: it must not start now.

        Of an elastic grant only the CPUs within this driver's limits are taken.
        """
        if self._manager is None:
            return grant
        kind = kind_of(task)
        needs, elastic = task.resources, task.max_cpus is not None
        if elastic:
            beside = {name: amount for name, amount in demand_of(needs).items() if name != CPU}
            cpus = max(min(int(grant.cpus), self._manager.cpus_left(beside)), 1)
            needs = times(needs, cpus)
            grant = replace(grant, cpus=float(cpus))
        try:
            self._manager.hold(task.task_type, needs, owner=holder, spread=elastic)
        except RayjobsError as error:  # a threshold, a lowered limit, a provider without units, a node that left
            log.info("task %s waits: %s", task.task_id, error)
            with self._lock:
                self._held.failed(kind, task, time.monotonic())
            self._say_held()
            return None
        with self._lock:
            self._holders.add(holder)
            self._held.worked(kind)
        return grant

    def told_units(self) -> dict[str, float]:
        """Units of this driver's providers, as the coordinator has heard."""
        return {} if self._units is None else self._units.told()

    def held(self) -> list[Kind]:
        """What can't begin for now."""
        with self._lock:
            return self._held.kinds()

    def _say_held(self) -> None:
        with self._telling:
            if self._watch is None:
                self._watch = threading.Thread(target=self._watch_held, name="rayjobs-held", daemon=True)
                self._watch.start()
            try:
                self._tell_held(self.held())
            except RayjobsError as error:  # a coordinator that comes back is told when this driver attaches to it
                log.warning("%s", error)

    def _watch_held(self) -> None:
        """Tell the coordinator when something can begin again."""
        while not self._closed:
            self._look.wait(LOOK_S if self.held() else None)
            self._look.clear()
            now = time.monotonic()
            with self._lock:
                candidates = self._held.to_try(now)
            able = [kind for kind, task in candidates if self._could_begin(task)]
            if not able or self._closed:
                continue
            with self._lock:
                self._held.drop(able)
            self._say_held()

    def _could_begin(self, task: Task) -> bool:
        assert self._manager is not None
        return self._manager.busy(task.task_type, task.resources, spread=task.max_cpus is not None) is None

    def give_back(self, holder: str) -> None:
        """Nothing runs any more of what was held for."""
        if self._manager is not None:
            with self._lock:
                self._holders.discard(holder)
            self._manager.release_owner(holder)
            self._look.set()

    def close(self) -> None:
        """Stop telling, and give back what is held: the manager may outlive this. Safe to call twice."""
        with self._lock:
            left = list(self._holders)
        for holder in left:
            self.give_back(holder)
        self._closed = True
        self._look.set()
        if self._undo is not None:
            self._undo()
            self._undo = None
