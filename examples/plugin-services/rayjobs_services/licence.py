"""The resource type ``licence``: tokens of a program of which only so many copies may run."""

from __future__ import annotations

import os
import threading
import uuid

from rayjobs.plugins import RayjobsError, ResourceAllocation, ResourceInfo, ResourceProvider

VARIABLE = "RAYJOBS_EXAMPLE_LICENCES"


class NoLicenceError(RayjobsError):
    """All tokens are in use."""


class LicencePool(ResourceProvider):
    """A number of tokens, 2 unless the environment variable ``RAYJOBS_EXAMPLE_LICENCES`` says otherwise."""

    def __init__(self, total: int | None = None) -> None:
        self._total = int(os.environ.get(VARIABLE, "2")) if total is None else total
        self._held: dict[str, int] = {}
        self._lock = threading.Lock()

    def get_available_resources(self) -> ResourceInfo:
        with self._lock:
            return ResourceInfo(total={"licence": self._total}, available={"licence": self._free()})

    def allocate(self, amount: int) -> ResourceAllocation:
        with self._lock:
            if not 1 <= amount <= self._free():
                raise NoLicenceError(f"licence: {amount} wanted, {self._free()} of {self._total} free; try again later")
            number = uuid.uuid4().hex
            self._held[number] = amount
        return ResourceAllocation(allocation_id=number, resource_type="licence", amounts={"licence": amount})

    def release(self, allocation: ResourceAllocation) -> None:
        with self._lock:
            self._held.pop(allocation.allocation_id, None)

    def _free(self) -> int:
        return self._total - sum(self._held.values())
