"""Units of resources that providers offer: how many there are, and taking them one provider after the other, or none.

A provider is foreign code: it is called by one thread at a time, and whatever it raises becomes a message that names
it; one that breaks later offers nothing until it can say again what it has. The resource manager takes units for the
tasks of a driver, the processor for the images of a strategy; the count over all drivers of a cluster is the
coordinator's, which learns the totals from the manager.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterable, Mapping

from pipelines.contracts import RESOURCES, ResourceProvider
from pipelines.errors import RayjobsError
from pipelines.registry import Registry
from pipelines.resource_needs import ResourcesBusyError, say
from pipelines.resources import ResourceAllocation, ResourceInfo

log = logging.getLogger(__name__)


class ProviderError(RayjobsError):
    """A provider failed; the text names it."""


class ProviderUnits:
    """Providers that somebody registered, and those of plug-ins; safe to use from several threads."""

    def __init__(self, plugins: Mapping[str, ResourceProvider] = RESOURCES) -> None:
        self._plugins = plugins
        self._own: Registry[ResourceProvider] = Registry("resource")
        self._lock = threading.Lock()
        self._calls = threading.RLock()
        """Held while a provider is called."""
        self._taken: dict[str, list[tuple[str, ResourceProvider, ResourceAllocation]]] = {}
        """By whoever holds it."""
        self._broken: set[str] = set()
        """Names of providers that couldn't say what they have when they were last asked, which was logged."""

    def register(self, name: str, provider: ResourceProvider) -> Callable[[], None]:
        """Offer a provider's units under a name; the returned function takes them away again.

        Raises
        ------
        RayjobsError
            The name is taken.
        ProviderError
            It can't say how many units it has.
        """
        with self._calls:
            _total(name, provider)
        with self._lock:
            if name in self._plugins:
                raise RayjobsError(f"resource {name!r} is provided by a plug-in already")
            return self._own.register(name, provider)

    def register_all(self, provider: ResourceProvider) -> None:
        """Offer every resource that a provider says it has.

        Raises
        ------
        RayjobsError
            Somebody offers one of them already.
        ProviderError
            It can't say what it has.
        """
        with self._calls:
            try:
                names = sorted(provider.get_available_resources().total)
            except Exception as error:  # foreign code
                raise ProviderError(f"{type(provider).__name__} can't say what it has: {error}") from error
        for name in names:
            self.register(name, provider)

    def names(self) -> frozenset[str]:
        with self._lock:
            return frozenset(self._plugins) | frozenset(self._own)

    def totals(self) -> dict[str, float]:
        """Units by name, as the providers say now; one that can't say has none, and concerns only who asks for it."""
        with self._calls:
            return {name: self._total_or_none(name, provider) for name, provider in self._providers().items()}

    def said(self) -> dict[str, float]:
        """The same, without those that can't say."""
        totals = self.totals()
        return {name: total for name, total in totals.items() if name not in self._broken}

    def free(self, names: Iterable[str]) -> dict[str, float]:
        """Units that the providers of some names have left now, others than this driver's tasks included."""
        with self._calls:
            providers = self._providers()
            return {name: _free(name, providers[name]) for name in names if name in providers}

    def offers(self, amounts: Mapping[str, float]) -> bool:
        """Whether each of the resources has a provider with that many units in total."""
        totals = self.totals()
        return all(totals.get(name, 0.0) >= math.ceil(amount) for name, amount in amounts.items())

    def may_take(self, amounts: Mapping[str, float]) -> bool:
        """Whether ``take`` has an answer now: the units are free, or nobody has them any more."""
        totals, free = self.totals(), self.free(amounts)
        return all(
            totals.get(name, 0.0) < math.ceil(amount) or free[name] >= math.ceil(amount)
            for name, amount in amounts.items()
        )

    def take(self, holder: str, amounts: Mapping[str, float]) -> None:
        """Hold units of several resources, or of none, until ``give_back``; a part of a unit takes a whole one.

        Raises
        ------
        ResourcesBusyError
            A provider has not enough now.
        ProviderError
            Nobody has so many, or a provider that has them fails.
        """
        taken: list[tuple[str, ResourceProvider, ResourceAllocation]] = []
        with self._calls:
            try:
                for name, amount in amounts.items():
                    taken.append(self._allocate(name, math.ceil(amount)))
            except RayjobsError:
                _give(taken)
                raise
        if taken:
            with self._lock:
                self._taken[holder] = taken

    def give_back(self, holder: str) -> None:
        """Give back what a holder has; twice changes nothing."""
        with self._lock:
            taken = self._taken.pop(holder, [])
        with self._calls:
            _give(taken)

    def _allocate(self, name: str, units: int) -> tuple[str, ResourceProvider, ResourceAllocation]:
        provider = self._providers().get(name)
        if provider is None or self._total_or_none(name, provider) < units:
            raise ProviderError(f"no resource provider has {say(name, units)} any more")
        if (free := _free(name, provider)) < units:
            raise ResourcesBusyError(f"{say(name, units)}, its provider has {say(name, free)} free")
        try:
            return name, provider, provider.allocate(units)
        except Exception as error:  # foreign code
            if _free(name, provider) < units:  # another user took them first
                raise ResourcesBusyError(f"{say(name, units)}: {error}") from error
            raise ProviderError(f"{say(name, units)}: {error}") from error

    def _total_or_none(self, name: str, provider: ResourceProvider) -> float:
        try:
            total = _total(name, provider)
        except ProviderError as error:
            if name not in self._broken:
                self._broken.add(name)
                log.warning("%s; until it can, it counts as having none", error)
            return 0.0
        self._broken.discard(name)
        return total

    def _providers(self) -> dict[str, ResourceProvider]:
        with self._lock:
            return {**self._plugins, **self._own}


def _total(name: str, provider: ResourceProvider) -> float:
    return _amount(name, provider, lambda info: info.total)


def _free(name: str, provider: ResourceProvider) -> float:
    try:
        return _amount(name, provider, lambda info: info.available)
    except ProviderError:  # which is logged when its total is asked for
        return 0.0


def _amount(name: str, provider: ResourceProvider, of: Callable[[ResourceInfo], Mapping[str, float]]) -> float:
    try:
        amounts = of(provider.get_available_resources())
        if name in amounts or len(amounts) == 1:
            amount = float(amounts.get(name, next(iter(amounts.values()))))
            if not math.isfinite(amount):
                raise ValueError(f"{amount} is no number of units")
            return max(amount, 0.0)
        others = ", ".join(sorted(amounts)) or "nothing"
    except Exception as error:
        raise ProviderError(f"provider of {name!r} can't say what it has: {error}") from error
    raise ProviderError(f"provider of {name!r} tells of {others}, not of {name!r}")


def _give(taken: list[tuple[str, ResourceProvider, ResourceAllocation]]) -> None:
    for name, provider, allocation in reversed(taken):
        try:
            provider.release(allocation)
        except Exception:  # the others must be given back all the same
            log.exception("provider of %r did not take %s back", name, allocation.allocation_id)
