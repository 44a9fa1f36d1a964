"""Units of resource providers that a strategy requires: held while an image is rendered, given back whatever happens.

Covers strategies of the processor only; tasks of the cluster are the resource manager's.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from pipelines.contracts import ResourceProvider
from pipelines.errors import FailedReason, ImageError
from pipelines.resources import ResourceAllocation, ResourceInfo

Lease = tuple[tuple[ResourceProvider, ResourceAllocation], ...]


class ProviderLeases:
    """Providers by the resources that they offer."""

    def __init__(self, providers: tuple[ResourceProvider, ...] = ()) -> None:
        self._providers = providers

    def offers(self, requires: Mapping[str, int]) -> bool:
        """Whether each of the resources has a provider with that many units in total."""
        return all(self._provider(name, units) is not None for name, units in requires.items())

    def may_take(self, requires: Mapping[str, int]) -> bool:
        """Whether ``take`` has an answer now: the units are free, or nobody has them any more."""
        providers = {name: self._provider(name, units) for name, units in requires.items()}
        return all(each is None or _is_free(each, name, requires[name]) for name, each in providers.items())

    def take(self, requires: Mapping[str, int]) -> Lease | None:
        """Hold the units, all of them or none; None when something isn't free now.

        Raises
        ------
        ImageError
            ``plugin_error``: nobody has the units any more, or a provider that has them fails.
        """
        held: list[tuple[ResourceProvider, ResourceAllocation]] = []
        try:
            for name, units in requires.items():
                provider = self._provider(name, units)
                if provider is None:
                    raise ImageError(FailedReason.PLUGIN_ERROR, f"no resource provider has {units} {name} any more")
                allocation = _allocated(provider, name, units)
                if allocation is None:
                    self.give_back(tuple(held))
                    return None
                held.append((provider, allocation))
        except ImageError:
            self.give_back(tuple(held))
            raise
        return tuple(held)

    def give_back(self, lease: Lease) -> None:
        """End a lease; ending it twice changes nothing, as providers promise."""
        for provider, allocation in lease:
            try:
                provider.release(allocation)
            except Exception:  # foreign code: the images are done all the same
                logging.getLogger(__name__).exception("a resource provider can't take %s back", allocation)

    def _provider(self, name: str, units: int) -> ResourceProvider | None:
        return next((each for each in self._providers if _resources(each).total.get(name, 0) >= units), None)


def _allocated(provider: ResourceProvider, name: str, units: int) -> ResourceAllocation | None:
    if not _is_free(provider, name, units):
        return None
    try:
        return provider.allocate(units)
    except Exception as error:  # foreign code
        if not _is_free(provider, name, units):  # another user took them first
            return None
        raise ImageError(FailedReason.PLUGIN_ERROR, f"resource {name!r}: {error}") from error


def _is_free(provider: ResourceProvider, name: str, units: int) -> bool:
    return _resources(provider).available.get(name, 0) >= units


def _resources(provider: ResourceProvider) -> ResourceInfo:
    try:
        return provider.get_available_resources()
    except Exception:  # foreign code: what can't be counted isn't there
        logging.getLogger(__name__).exception("a resource provider can't say what it has")
        return ResourceInfo(total={}, available={})
