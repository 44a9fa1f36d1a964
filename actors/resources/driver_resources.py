"""What a driver asks before it starts a task: is there a node for it, is there room now, which options enforce it.

What nodes declare (CPUs, memory, GPUs, custom resources) Ray enforces and frees when a worker dies: ``ray_options``
says it in Ray's words. What is held is counted here for this driver alone; for the whole cluster the coordinator
counts, which ``coordinator.resource_manager`` asks. Thresholds look at the driver's machine; other nodes are guarded by
what Ray reserves there. The decisions themselves are in ``holdings`` and ``thresholds``.
"""

from __future__ import annotations

import dataclasses
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from actors.resources.cluster_view import ClusterView, check_limits, limits_of
from actors.resources.disk_space import free_bytes
from actors.resources.fresh_nodes import FreshNodes
from actors.resources.holdings import Holdings
from actors.resources.host_usage import HostUsage
from actors.resources.listeners import Listeners
from actors.resources.performance_monitor import PerformanceMonitor
from actors.resources.thresholds import Callback, ThresholdWatch
from pipelines.closing import ClosedOnExit
from pipelines.contracts import ResourceProvider
from pipelines.errors import JobError
from pipelines.provider_units import ProviderError, ProviderUnits
from pipelines.registry import UnknownNameError
from pipelines.resource_needs import (
    BUILT_IN,
    CPU,
    DISK,
    GPU,
    MEMORY,
    InfeasibleError,
    ResourcesBusyError,
    demand_of,
    ray_options,
    say,
)
from pipelines.resources import (
    PerformanceMetrics,
    ResourceAllocation,
    ResourceConfig,
    ResourceEstimate,
    ResourceInfo,
    ResourceLimits,
    UsageSample,
)

WAIT_S = 0.2
"""A waiting request looks again at least so often: a threshold may have been left."""


class DriverResources(ClosedOnExit):
    """What the tasks of one driver hold and may hold; safe to use from several threads.

    Parameters
    ----------
    config
        Limits, thresholds, where tasks write.
    cluster
        Whose nodes count; the cluster that this process is connected to when it first asks.
    monitor
        Whose samples the thresholds look at; one of its own unless given.
    """

    def __init__(
        self,
        config: ResourceConfig | None = None,
        *,
        cluster: ClusterView | None = None,
        monitor: PerformanceMonitor | None = None,
    ) -> None:
        self._config = config or ResourceConfig()
        check_limits(self._config.limits)
        self._limits = self._config.limits
        self._own_monitor = monitor is None
        self._monitor = monitor or PerformanceMonitor(
            HostUsage(self._config.output),
            interval_s=self._config.sample_interval_s,
            history=self._config.history,
        )
        self._nodes = FreshNodes(cluster, self._monitor)
        self._changed = threading.Condition()
        """Guards everything below; notified when something was given back or allowed."""
        self._holdings = Holdings(self._limits, counts_disk=self._config.output is not None)
        self._units = ProviderUnits()
        self._thresholds = ThresholdWatch(self._config)
        self._listeners: Listeners[[]] = Listeners()
        self._refused = 0
        self._held_back = 0
        self._unlisten = self._monitor.listen(self._on_sample)

    def close(self) -> None:
        """Stop watching and give back what is still held; a second time changes nothing."""
        self._unlisten()
        if self._own_monitor:
            self._monitor.stop()
        with self._changed:
            held = self._holdings.ids()
        for allocation_id in held:
            self._release(allocation_id)

    @property
    def monitor(self) -> PerformanceMonitor:
        """Counts what ends, for ``get_performance_metrics``."""
        return self._monitor

    # Asking and giving back

    def check_feasible(self, task_type: str, estimated_usage: ResourceEstimate) -> None:
        """Refuse a request that would wait for ever.

        Raises
        ------
        InfeasibleError
            No node, provider or limit could ever serve it; the text says what, how much, and what there is.
        """
        self._feasible(task_type, demand_of(estimated_usage))

    def hold(
        self,
        task_type: str,
        estimated_usage: ResourceEstimate,
        *,
        owner: str = "",
        timeout_s: float = 0.0,
        spread: bool = False,
    ) -> ResourceAllocation:
        """Count what a task needs as held by this driver, until it is released.

        Parameters
        ----------
        task_type, estimated_usage
            What for, and how much.
        owner
            Whoever's end gives it back: see ``release_owner``.
        timeout_s
            How long to wait when others hold it or a threshold is exceeded.
        spread
            Whether several nodes may serve it together.

        Raises
        ------
        InfeasibleError
            It could never be had.
        ResourcesBusyError
            It can't be had now.
        """
        self._monitor.start()
        demand = demand_of(estimated_usage)
        deadline = time.monotonic() + timeout_s
        waited = False
        while True:
            self._feasible(task_type, demand, spread=spread)
            allocation = ResourceAllocation(
                allocation_id=uuid.uuid4().hex, resource_type=task_type, amounts=demand, owner=owner
            )
            reason = self._try_take(allocation)
            if reason is None:
                return allocation
            with self._changed:
                self._held_back += not waited
                waited = True
                left = deadline - time.monotonic()
                if left <= 0:
                    raise ResourcesBusyError(f"a task of type {task_type!r} {reason}; try again later")
                self._changed.wait(min(left, WAIT_S))

    def release_resources(self, allocation: ResourceAllocation) -> None:
        """Give an allocation back; a second time changes nothing."""
        self._release(allocation.allocation_id)

    def release_owner(self, owner: str) -> None:
        """Give back everything that an owner still holds."""
        with self._changed:
            held = self._holdings.ids(owner)
        for allocation_id in held:
            self._release(allocation_id)

    def ray_options(self, allocation: ResourceAllocation) -> dict[str, Any]:
        """The options of a Ray task that make the raylet enforce an allocation, as far as nodes declare it."""
        amounts = allocation.amounts
        declared = self._nodes.resources() - self._units.names() - set(BUILT_IN)
        return ray_options(
            cpus=amounts.get(CPU, 0),
            gpus=amounts.get(GPU, 0),
            memory_bytes=int(amounts.get(MEMORY, 0)),
            resources={name: amounts[name] for name in sorted(declared & amounts.keys())},
            max_retries=None,
        )

    def admission(self) -> str | None:
        """Why no further task should start now, whatever it needs: a threshold is exceeded; None: go on."""
        self._monitor.start()
        return self._thresholds.hold_reason()

    def busy(self, task_type: str, estimated_usage: ResourceEstimate, *, spread: bool = False) -> str | None:
        """Why a request would have to wait now, or couldn't be served at all; None: it would be served at once.

        Nothing is held, so somebody else may be faster.
        """
        demand = demand_of(estimated_usage)
        self._refresh()
        with self._changed:
            reason = (
                self._holdings.infeasible(demand, together=spread)
                or self._thresholds.hold_reason()
                or self._holdings.shortage(demand)
            )
        if reason is None and not self._units.may_take(units := self._of_providers(demand)):
            reason = f"has to wait for {', '.join(say(name, amount) for name, amount in units.items())}"
        return reason

    # Looking

    def get_available_resources(self, resource_type: str = "all") -> ResourceInfo:
        """Totals within the limits, and what is free of them now.

        Raises
        ------
        UnknownNameError
            There is no such type.
        """
        self._refresh()
        ray_free = self._nodes.available()
        on_nodes = self._nodes.resources() - self._units.names()
        free = self._units.free(self._units.names()) | {name: ray_free.get(name, 0.0) for name in on_nodes}
        with self._changed:
            names = self._holdings.types()
            total = {name: self._holdings.total(name) for name in names}
            available = {name: max(min(self._holdings.left(name), free.get(name, total[name])), 0.0) for name in names}
        if resource_type == "all":
            return ResourceInfo(total=total, available=available)
        if resource_type not in total:
            raise UnknownNameError(f"unknown resource type {resource_type!r}; there are {', '.join(sorted(total))}")
        return ResourceInfo(
            total={resource_type: total[resource_type]}, available={resource_type: available[resource_type]}
        )

    def cpus_left(self, per_cpu: Mapping[str, float]) -> int:
        """Whole CPUs within the limits that this driver doesn't hold, as far as there is what each needs beside them.

        Parameters
        ----------
        per_cpu
            Resource -> how much of it each CPU comes with.
        """
        self._refresh()
        free = self._units.free(per_cpu)
        with self._changed:
            return self._holdings.times(per_cpu, free)

    def total(self, name: str) -> float:
        """What there is of a resource within the limits, held or not."""
        self._refresh()
        with self._changed:
            return self._holdings.total(name)

    def get_supported_resource_types(self) -> list[str]:
        """Built-in types, those that nodes declare, and those of providers."""
        self._refresh()
        with self._changed:
            return self._holdings.types()

    def get_performance_metrics(self) -> PerformanceMetrics:
        """How the machine and the work stand."""
        metrics = self._monitor.get_performance_metrics()
        with self._changed:
            return dataclasses.replace(
                metrics, allocations=len(self._holdings), refused=self._refused, held_back=self._held_back
            )

    # Changing

    def set_resource_limits(self, limits: ResourceLimits) -> None:
        """Replace the limits; what is held stays held, the next request meets the new ones.

        Raises
        ------
        JobError
            A limit is negative, or a percentage isn't one.
        """
        check_limits(limits)
        with self._changed:
            self._limits = limits
            self._holdings.set_limits(limits)
            self._thresholds.set_limits(limits)
            self._changed.notify_all()
        self._listeners.tell()

    def register_resource_provider(self, resource_type: str, provider: ResourceProvider) -> Callable[[], None]:
        """Offer a provider's units to tasks that ask for ``custom={resource_type: n}``; returns what undoes it.

        Raises
        ------
        RayjobsError
            The type exists already, or the provider can't say how many units it has.
        """
        if resource_type in BUILT_IN:
            raise JobError(f"resource type {resource_type!r} is built in: give the provider's another name")
        undo = self._units.register(resource_type, provider)
        self._listeners.tell()

        def withdraw() -> None:
            undo()
            self._listeners.tell()

        return withdraw

    def unit_totals(self) -> dict[str, float]:
        """Units of every provider within the limits: what the coordinator counts for the whole cluster.

        Of one that can't say what it has nothing is said, since drivers on other machines may well be able to use it.
        """
        with self._changed:
            limits = limits_of(self._limits)
        return {name: min(total, limits.get(name, total)) for name, total in self._units.said().items()}

    def on_change(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call ``listener`` when providers or limits changed, in the thread that changed them; returns what ends it."""
        return self._listeners.add(listener)

    # Thresholds

    def on_memory_threshold_exceeded(self, callback: Callback) -> Callable[[], None]:
        """Call back when memory use goes over ``max_memory_percent``; see ``register_threshold_callback``."""
        return self.register_threshold_callback(MEMORY, callback)

    def on_cpu_threshold_exceeded(self, callback: Callback) -> Callable[[], None]:
        """Call back when CPU use goes over ``max_cpu_percent``; see ``register_threshold_callback``."""
        return self.register_threshold_callback(CPU, callback)

    def register_threshold_callback(self, resource_type: str, callback: Callback) -> Callable[[], None]:
        """Call back once each time a resource goes over its threshold; returns what ends it.

        ``cpu`` and ``memory``: over their percentage of the limits, or else of the configuration. ``disk``: free space
        below the output under its minimum. Any other: all units that there are were held. Callbacks run in the
        monitor's thread of this process, one after the other; what they raise is logged.
        """
        self._monitor.start()
        return self._thresholds.register(resource_type, callback)

    # Inside

    def _on_sample(self, sample: UsageSample) -> None:
        if self._nodes.seen:
            self._refresh()
        with self._changed:
            peaks = self._holdings.peaks()
        self._thresholds.see(sample, peaks)
        with self._changed:
            self._changed.notify_all()

    def _feasible(self, task_type: str, demand: Mapping[str, float], *, spread: bool = False) -> None:
        self._refresh()
        with self._changed:
            reason = self._holdings.infeasible(demand, together=spread)
            if reason is not None:
                self._refused += 1
                raise InfeasibleError(f"a task of type {task_type!r} {reason}")

    def _try_take(self, allocation: ResourceAllocation) -> str | None:
        """Take it, or say why it has to wait."""
        with self._changed:
            reason = self._thresholds.hold_reason() or self._holdings.shortage(allocation.amounts)
            if reason is not None:
                return reason
            self._holdings.take(allocation)
        try:
            self._units.take(allocation.allocation_id, self._of_providers(allocation.amounts))
        except (ResourcesBusyError, ProviderError) as error:
            self._release(allocation.allocation_id)
            return f"has to wait for {error}"
        return None

    def _release(self, allocation_id: str) -> None:
        with self._changed:
            if not self._holdings.give_back(allocation_id):
                return
        self._units.give_back(allocation_id)
        with self._changed:
            self._changed.notify_all()

    def _of_providers(self, demand: Mapping[str, float]) -> dict[str, float]:
        names = self._units.names()
        return {name: amount for name, amount in demand.items() if name in names}

    def _refresh(self) -> None:
        """See what there is now: nodes, units of providers, room on the output's disk."""
        nodes, units = self._nodes.alive(), self._units.totals()
        if self._config.output is not None:
            room = free_bytes(self._config.output) - (self._limits.min_free_disk_bytes or 0)
            units[DISK] = max(room, 0)
        with self._changed:
            self._holdings.see(nodes, units)
