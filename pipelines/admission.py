"""Leave to keep CPUs busy: asked for when a burst of images comes, given back when it is over. Pure, but for the offer.

The processor may run wherever Ray does, and knows no coordinator; whoever opens a session on a shared cluster offers
one here, and each processor made meanwhile asks it. Where nobody offers anything the processor's own bound is all.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

IDLE_S = 0.1
"""How long leave is kept while nothing is to be done: a slider that is moved asks once."""
TURN_S = 10.0
"""How long a burst lasts at most; then it stands in line again, where others may have waited for longer."""

Heard = Callable[[int], None]


class Admission(Protocol):
    """Whoever counts the CPUs of a cluster; called by one thread."""

    def ask(self, cpus: int, per_cpu: Mapping[str, float], heard: Heard) -> None:
        """Ask for up to so many CPUs, each with some units of resources that nodes declare.

        ``heard(n)`` says from another thread that ``n`` CPUs may be kept busy from now on, ``heard(0)`` that nothing
        more may begin, and that leave is wanted back as soon as nothing runs.
        """

    def give_back(self, *, again: bool) -> None:
        """Nothing runs any more; ``again``: there is more to do, so ``heard`` will be told once more."""

    def close(self) -> None:
        """Give everything back. Safe to call twice."""


Maker = Callable[[], Admission]

_offered: list[Maker] = []
_lock = threading.Lock()


@contextmanager
def offering(make: Maker) -> Iterator[None]:
    """Let processors that are made meanwhile ask before they work."""
    with _lock:
        _offered.append(make)
    try:
        yield
    finally:
        with _lock:
            _offered.remove(make)


def offered() -> Maker | None:
    """What makes the admission to ask; None: nobody has to be asked."""
    with _lock:
        return _offered[-1] if _offered else None


class Step(Enum):
    """What is due."""

    ASK = "ask"
    GIVE_BACK = "give back"
    STAND_IN_LINE = "stand in line"


@dataclass(slots=True)
class Burst:
    """Whether leave is asked for, there, or to be given back. Times are seconds of one clock."""

    asked: bool = False
    cpus: int = 0
    """That may be kept busy now."""
    _ends: bool = False
    """Nothing more may begin."""
    _turn_ends: float = field(default=0.0)
    _idle_since: float | None = None

    def heard(self, cpus: int, now: float) -> None:
        """What the admission said."""
        if not self.asked:
            return
        if cpus == 0:
            self._ends = True
        else:
            self.cpus, self._ends, self._turn_ends = cpus, False, now + TURN_S

    def room(self) -> int:
        """For how many CPUs something may begin."""
        return 0 if self._ends else self.cpus

    def due(self, *, waiting: bool, running: bool, now: float) -> Step | None:
        """What is to be done now; ``carried_out`` says that it was."""
        self._idle_since = None if waiting or running else self._idle_since or now
        if not self.asked:
            return Step.ASK if waiting else None
        if self.cpus and waiting and now >= self._turn_ends:
            self._ends = True
        if running or not (self.cpus or self._ends):
            return None
        if self._ends:
            return Step.STAND_IN_LINE if waiting else Step.GIVE_BACK
        return Step.GIVE_BACK if self._idle_since is not None and now - self._idle_since >= IDLE_S else None

    def carried_out(self, step: Step) -> None:
        self.asked, self.cpus, self._ends = step is not Step.GIVE_BACK, 0, False

    def look_again_s(self) -> float | None:
        """After which time something may be due although nothing happened; None: never."""
        return IDLE_S if self.cpus or self._ends else None
