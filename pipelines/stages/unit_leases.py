"""Units of providers that tasks of one kind hold while they run: when to ask for a lease, when to give one back. Pure.

A lease is what one task needs, all of it or nothing. Whoever begins the tasks says how many could begin and how many
run, and begins one only while there is a lease for it; the tasks themselves wait for nobody, so a lease that is held is
free again as soon as its task is over. After a turn a lease stands in line again, where other jobs may be first.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

TURN_S = 5.0
"""How long one task after the other may begin with a lease."""
IDLE_S = 1.0
"""How long a lease is kept for which there is no task: the next one may be on its way."""
WAIT_S = 30.0
"""How long a shard that could do nothing else waits for its first lease; then others may have its CPUs."""


class UnitLeases(Protocol):
    """Leases for the tasks of one kind; called by the one thread that begins them."""

    def may_begin(self, ready: int, running: int, *, busy: bool) -> bool:
        """Whether one more may begin now; called often, also while none could.

        Parameters
        ----------
        ready, running
            Tasks that could begin, and that hold a lease.
        busy
            Whether the shard does anything meanwhile.
        """
        ...


class Step(Enum):
    """What is to be done about a lease."""

    ASK = "ask"
    STAND_IN_LINE = "stand in line"
    GIVE_BACK = "give back"


@dataclass(slots=True)
class _Lease:
    held_since: float | None = None
    """None: it is asked for."""
    revoked: bool = False

    def over(self, now: float) -> bool:
        """Whether no further task may begin with it."""
        return self.held_since is None or self.revoked or now - self.held_since >= TURN_S


@dataclass(slots=True)
class OpenLeases:
    """The leases of one kind of tasks, by number. Times are seconds of one clock."""

    most: int
    """At a time."""
    _leases: dict[int, _Lease] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _idle_since: float | None = None
    """Since when there are more than tasks."""
    _waits_since: float | None = None

    def granted(self, number: int, now: float) -> bool:
        """Take note that one is there; False: nobody wants it any more."""
        lease = self._leases.get(number)
        if lease is not None:
            lease.held_since, lease.revoked = now, False
        return lease is not None

    def revoked(self, number: int) -> None:
        """One is wanted back as soon as no task needs it."""
        if number in self._leases:
            self._leases[number].revoked = True

    def lost(self, number: int) -> None:
        """One is neither there nor asked for any more."""
        self._leases.pop(number, None)

    def due(self, ready: int, running: int, now: float, *, busy: bool = False) -> list[tuple[Step, int]]:
        """What is to be done, which is taken as done; see ``UnitLeases`` for the rest."""
        wanted = min(self.most, running + ready)
        self._idle_since = None if len(self._leases) <= wanted else self._idle_since or now
        self._waits_since = None if busy or running or not ready else self._waits_since or now
        steps = self._give_back(wanted, running, now)
        for _ in range(wanted - len(self._leases)):
            number = next(self._numbers)
            self._leases[number] = _Lease()
            steps.append((Step.ASK, number))
        return steps

    def may_begin(self, running: int, now: float) -> bool:
        """Whether one more task has its lease; those that run are taken to have the ones that are over first."""
        held = [lease for lease in self._leases.values() if lease.held_since is not None]
        over = sum(lease.over(now) for lease in held)
        return max(running, over) < len(held)

    def waits_s(self, now: float) -> float:
        """For how long there has been nothing to do but to wait for a lease."""
        return 0.0 if self._waits_since is None else now - self._waits_since

    def _give_back(self, wanted: int, running: int, now: float) -> list[tuple[Step, int]]:
        steps: list[tuple[Step, int]] = []
        idle = self._idle_since is not None and now - self._idle_since >= IDLE_S
        surplus = len(self._leases) - wanted
        free = sum(lease.held_since is not None for lease in self._leases.values()) - running
        # Those that were asked for last come first, then what is over.
        order = [(lease.held_since is not None, not lease.over(now), -number) for number, lease in self._leases.items()]
        for held, _, negative in sorted(order):
            number, lease = -negative, self._leases[-negative]
            if held:
                if free <= 0:
                    break
                free -= 1
            if surplus > 0 and (idle or (held and lease.over(now))):
                surplus -= 1
                del self._leases[number]
                steps.append((Step.GIVE_BACK, number))
            elif held and lease.over(now):
                lease.held_since = None
                steps.append((Step.STAND_IN_LINE, number))
        return steps


def tasks_ready(waiting: int, gathered: int, rows: int, *, ended: bool) -> int:
    """How many tasks of some rows each could begin beside the one that is being gathered.

    Parameters
    ----------
    waiting
        Rows that wait.
    gathered
        Those of the next task, which has its lease already; 0: there is none.
    rows
        That make a task.
    ended
        Whether no more come: the last task may be smaller.
    """
    whole = waiting + gathered
    tasks = -(-whole // rows) if ended else whole // rows
    return max(tasks - (gathered > 0), 0)
