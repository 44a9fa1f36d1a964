"""What running tasks keep from each other: outputs and exclusive resources. Pure.

An output is a place: nobody else may write there, or anywhere inside of it. So a task claims its outputs for itself,
and the directories above them together with all who write elsewhere below them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from pipelines.storage.places import above
from pipelines.tasks import Task


class Claim(NamedTuple):
    """What a task holds while it runs."""

    name: str
    alone: bool
    """Shared with nobody; else with all who claim it so."""


def claims_of(task: Task) -> tuple[Claim, ...]:
    """What a task claims; its outputs are places as ``real_place`` gives them."""
    if not task.outputs and not task.exclusive:
        return ()
    outputs = dict.fromkeys(task.outputs)
    around = dict.fromkeys(parent for place in outputs for parent in above(place))
    return (
        *(Claim(f"output {place}", alone=True) for place in outputs),
        *(Claim(f"output {place}", alone=False) for place in around),
        *(Claim(f"exclusive {name}", alone=True) for name in dict.fromkeys(task.exclusive)),
    )


class Claimed:
    """The claims of all running tasks."""

    def __init__(self) -> None:
        self._alone: set[str] = set()
        self._shared: Counter[str] = Counter()

    def refuses(self, claim: Claim) -> bool:
        """Whether somebody has what is claimed."""
        return claim.name in self._alone or (claim.alone and self._shared[claim.name] > 0)

    def add(self, claims: Iterable[Claim]) -> None:
        """A task runs."""
        for claim in claims:
            if claim.alone:
                self._alone.add(claim.name)
            else:
                self._shared[claim.name] += 1

    def remove(self, claims: Iterable[Claim]) -> None:
        """It runs no more."""
        for claim in claims:
            if claim.alone:
                self._alone.discard(claim.name)
            else:
                self._shared[claim.name] -= 1
                if not self._shared[claim.name]:
                    del self._shared[claim.name]
