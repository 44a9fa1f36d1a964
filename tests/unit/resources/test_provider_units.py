"""Units of providers: taken all or none, given back whatever happens, and foreign code that fails."""

from __future__ import annotations

import pytest

from pipelines.contracts import ResourceProvider
from pipelines.provider_units import ProviderError, ProviderUnits
from pipelines.resource_needs import ResourcesBusyError
from pipelines.resources import ResourceAllocation, ResourceInfo


class Shelf(ResourceProvider):
    """Units of two resources."""

    def __init__(self, *, broken: bool = False, **total: int) -> None:
        self.total = total
        self.held = dict.fromkeys(total, 0)
        self.broken = broken

    def get_available_resources(self) -> ResourceInfo:
        return ResourceInfo(
            total=self.total, available={name: self.total[name] - self.held[name] for name in self.total}
        )

    def allocate(self, amount: int) -> ResourceAllocation:
        if self.broken:
            raise OSError("no driver")
        (name,) = self.total
        self.held[name] += amount
        return ResourceAllocation(allocation_id="1", resource_type=name, amounts={name: amount})

    def release(self, allocation: ResourceAllocation) -> None:
        self.held[allocation.resource_type] -= int(allocation.amounts[allocation.resource_type])


def units_of(*providers: ResourceProvider) -> ProviderUnits:
    units = ProviderUnits({})
    for provider in providers:
        units.register_all(provider)
    return units


def test_units_are_held_all_or_none() -> None:
    gpus, licences = Shelf(gpu=2), Shelf(licence=1)
    units = units_of(gpus, licences)
    needs = {"gpu": 1, "licence": 1}
    assert units.offers(needs)
    units.take("a", needs)
    assert (gpus.held, licences.held) == ({"gpu": 1}, {"licence": 1})
    assert not units.may_take(needs)
    with pytest.raises(ResourcesBusyError, match="1 of 'licence', its provider has 0 of 'licence' free"):
        units.take("b", needs)
    assert gpus.held == {"gpu": 1}
    units.give_back("a")
    units.give_back("a")
    assert (gpus.held, licences.held) == ({"gpu": 0}, {"licence": 0})


def test_nothing_is_required_or_nobody_has_it() -> None:
    units = units_of(Shelf(gpu=1))
    units.take("a", {})
    assert not units.offers({"gpu": 2})
    assert not units.offers({"scanner": 1})
    assert units.may_take({"scanner": 1})
    with pytest.raises(ProviderError, match="no resource provider has 1 of 'scanner' any more"):
        units.take("a", {"scanner": 1})


def test_a_provider_that_fails_is_named_and_the_rest_given_back() -> None:
    gpus = Shelf(gpu=1)
    units = units_of(gpus, Shelf(licence=1, broken=True))
    with pytest.raises(ProviderError, match="1 of 'licence': no driver"):
        units.take("a", {"gpu": 1, "licence": 1})
    assert gpus.held == {"gpu": 0}


def test_a_provider_that_can_not_count_or_take_back_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    class Moody(Shelf):
        def get_available_resources(self) -> ResourceInfo:
            if self.broken:
                raise OSError("gone")
            return super().get_available_resources()

        def release(self, allocation: ResourceAllocation) -> None:
            raise OSError("gone")

    provider = Moody(gpu=1)
    units = units_of(provider)
    units.take("a", {"gpu": 1})
    units.give_back("a")
    assert "did not take" in caplog.text
    provider.broken = True
    assert not units.offers({"gpu": 1})
    assert "can't say" in caplog.text
