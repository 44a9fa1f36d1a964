"""What is asked for in amounts of resources: their names, how they are counted and said, and what Ray is told of them.

The one vocabulary of the coordinator's capacity, the resource manager, jobs and the processor. ``cpu``, ``memory``,
``gpu`` and ``disk`` are built in; any other name is a resource that nodes declare or a provider offers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pipelines.errors import JobError, RayjobsError
from pipelines.resources import ResourceEstimate
from pipelines.retry_rules import RAY_TASK

CPU, MEMORY, GPU, DISK = "cpu", "memory", "gpu", "disk"
BUILT_IN = (CPU, MEMORY, GPU, DISK)
UNIT = 10_000
"""The grain of amounts; Ray's own. Sums of whole grains never drift."""

Needs = tuple[tuple[str, int], ...]
"""(resource, amount in ten-thousandths), sorted; hashable, so that tasks with the same needs wait in one line."""


class InfeasibleError(JobError):
    """No node could ever serve this request: it would wait for ever."""


class ResourcesBusyError(RayjobsError):
    """The resources exist, but others hold them, or a threshold is exceeded: try again later."""


def demand_of(estimate: ResourceEstimate) -> dict[str, float]:
    """An estimate as amounts by resource, without zeros.

    Raises
    ------
    InfeasibleError
        An amount is negative or no number, or a custom resource has the name of a built-in one.
    """
    for name in estimate.custom:
        if name in BUILT_IN:
            raise InfeasibleError(f"custom resource {name!r} has the name of a built-in one: use its own field")
    amounts = _amounts(estimate)
    for name, amount in amounts.items():
        if not math.isfinite(amount * UNIT) or amount < 0:
            raise InfeasibleError(f"asks for {amount} of {name!r}: amounts are numbers from 0 on")
    return {name: amount for name, amount in amounts.items() if amount > 0}


def needs_of(estimate: ResourceEstimate) -> Needs:
    """What a task takes from the cluster's capacity; room on a disk isn't in it."""
    return in_grains({name: amount for name, amount in _amounts(estimate).items() if name != DISK})


def in_grains(amounts: Mapping[str, float]) -> Needs:
    """Amounts as books count them; what is less than a grain is one."""
    return tuple(sorted((name, max(round(amount * UNIT), 1)) for name, amount in amounts.items() if amount > 0))


def say(name: str, amount: float) -> str:
    """An amount in words: ``2 CPUs``, ``1.5 GiB of memory``, ``3 of 'licence'``."""
    if name in (MEMORY, DISK):
        return f"{amount / 2**30:,.2f} GiB of {'memory' if name == MEMORY else 'disk space'}"
    if name in (CPU, GPU):
        return f"{amount:g} {name.upper()}{'' if amount == 1 else 's'}"
    return f"{amount:g} of {name!r}"


def ray_options(
    *,
    cpus: float,
    gpus: float = 0.0,
    memory_bytes: int | None = None,
    resources: Mapping[str, float] | None = None,
    name: str | None = None,
    max_retries: int | None = RAY_TASK.retries,
) -> dict[str, Any]:
    """The options of a Ray task, or of an operator of Ray Data, that make the raylet enforce what it needs.

    Parameters
    ----------
    cpus, gpus, memory_bytes, resources
        Amounts; ``resources`` are those that nodes declare.
    name
        What the dashboard shows; the function's own unless told otherwise.
    max_retries
        How often Ray begins again by itself after a crash: never, since attempts are counted where they are decided.
        None: Ray's own default.
    """
    options: dict[str, Any] = {"num_cpus": cpus}
    if max_retries is not None:
        options["max_retries"] = max_retries
    if gpus:
        options["num_gpus"] = gpus
    if memory_bytes:
        options["memory"] = int(memory_bytes)
    if resources:
        options["resources"] = dict(resources)
    if name is not None:
        options["name"] = name
    return options


def _amounts(estimate: ResourceEstimate) -> dict[str, float]:
    amounts = {CPU: estimate.cpus, MEMORY: float(estimate.memory_bytes), GPU: estimate.gpus}
    return {**amounts, DISK: float(estimate.disk_bytes), **estimate.custom}
