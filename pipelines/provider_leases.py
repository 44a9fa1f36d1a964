"""Units of resource providers that a strategy requires: held while an image is rendered, given back whatever happens.

Covers strategies of the processor only; tasks of the cluster are the resource manager's.
"""

from __future__ import annotations

from collections.abc import Mapping

from pipelines.contracts import ResourceProvider
from pipelines.errors import FailedReason, ImageError
from pipelines.resources import ResourceAllocation

Lease = tuple[tuple[ResourceProvider, ResourceAllocation], ...]


class ProviderLeases:
    """Providers by the resources that they offer."""

    def __init__(self, providers: tuple[ResourceProvider, ...] = ()) -> None:
        self._providers = providers

    def offers(self, requires: Mapping[str, int]) -> bool:
        """Whether each of the resources has a provider with that many units in total."""
        return all(self._provider(name, units) is not None for name, units in requires.items())

    def free(self, requires: Mapping[str, int]) -> bool:
        """Whether the units could be taken now."""
        providers = {name: self._provider(name, units) for name, units in requires.items()}
        return all(each is not None and _is_free(each, name, requires[name]) for name, each in providers.items())

    def take(self, requires: Mapping[str, int]) -> Lease | None:
        """Hold the units, all of them or none; None when something isn't free now.

        Raises
        ------
        ImageError
            ``plugin_error``: a provider fails although it has the units.
        """
        held: list[tuple[ResourceProvider, ResourceAllocation]] = []
        for name, units in requires.items():
            provider = self._provider(name, units)
            if provider is None or not _is_free(provider, name, units):
                self.give_back(tuple(held))
                return None
            try:
                held.append((provider, provider.allocate(units)))
            except Exception as error:  # foreign code
                self.give_back(tuple(held))
                if not _is_free(provider, name, units):  # another user took them first
                    return None
                raise ImageError(FailedReason.PLUGIN_ERROR, f"resource {name!r}: {error}") from error
        return tuple(held)

    def give_back(self, lease: Lease) -> None:
        """End a lease; ending it twice changes nothing, as providers promise."""
        for provider, allocation in lease:
            provider.release(allocation)

    def _provider(self, name: str, units: int) -> ResourceProvider | None:
        for provider in self._providers:
            if provider.get_available_resources().total.get(name, 0) >= units:
                return provider
        return None


def _is_free(provider: ResourceProvider, name: str, units: int) -> bool:
    return provider.get_available_resources().available.get(name, 0) >= units
