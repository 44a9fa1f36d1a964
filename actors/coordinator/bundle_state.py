"""The tasks of one grant while they run: who has ended, what is to be done about the others, how all of them leave.

Whatever order a cancellation, a time limit, reports and the end of the process come in, each task leaves exactly once.
Pure: no Ray, no clock. ``ray_task_bundle`` carries it out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

from actors.queue.queue_events import Outcome, TaskReport

GRACE_S = 5.0
"""How long interrupted handlers may take to end before their process is killed; and between one kill and the next."""
START_S = 15.0
"""How long a process that is to be ended may take to begin; it is interrupted then. Ray may lose track of a task that
is interrupted or killed in the moment it starts, and never say that it ended."""
ABANDON_S = 30.0
"""A process that kills don't end in so long after the interruption is left to itself, so that nobody waits for it."""


class Step(StrEnum):
    """What is to be done to the Ray task."""

    INTERRUPT = "interrupt"
    KILL = "kill"
    ABANDON = "abandon"


class End(StrEnum):
    """How the Ray task ended, or is taken to have ended."""

    OVER = "over"
    """Without an error, which says nothing of tasks without a report: one that is interrupted as it starts ends so."""
    STARVED = "starved"
    """With its process, for want of memory."""
    DIED = "died"
    """With its process, or interrupted by somebody else."""
    LOST = "lost"
    """With its node, it found none, or the connection to Ray was closed."""
    FAILED = "failed"
    """By an error around the handlers, such as one that can't be imported."""


class BundleState:
    """Open tasks in the order in which they run, one after the other.

    Parameters
    ----------
    number
        Of the grant.
    limits
        Task -> seconds that it may take; None: any time.
    """

    def __init__(self, number: int, limits: Mapping[str, float | None]) -> None:
        self.open = dict(limits)
        self._number = number
        self._since: float | None = None
        """When the first open one began; None: the process hasn't."""
        self._asked = False
        """Whether somebody wants it to end: what is open then is released."""
        self._late: float | None = None
        """The limit that was exceeded."""
        self._ending: float | None = None
        """Since when it is to end."""
        self._next = 0.0
        """When the next step is due then."""

    def begin(self, now: float) -> Step | None:
        """The process has begun with the first task, whose time counts from now on; what is to be done at once."""
        if self._since is not None:
            return None
        self._since = now
        if self._ending is None or not self.open:
            return None
        self._next = now + GRACE_S
        return Step.INTERRUPT

    def take(self, reports: Sequence[TaskReport], now: float) -> list[TaskReport]:
        """Take note of tasks that ended; return those that leave with it."""
        leaving = []
        for report in reports:
            if report.task_id in self.open:
                del self.open[report.task_id]
                leaving.append(report)
        if leaving:
            self._since = now
        return leaving

    def stop(self, now: float, *, at_once: bool = False) -> Step | None:
        """Somebody wants it to end; what is to be done at once."""
        self._asked = True
        if at_once and self.open:
            self._ending = now if self._ending is None else self._ending
            self._next = now + GRACE_S
            return Step.KILL
        return self._interrupt(now)

    def due(self, now: float) -> Step | None:
        """What is to be done by now, if anything; ask several times a minute."""
        if not self.open:
            return None
        if self._ending is None:
            limit = next(iter(self.open.values()))
            if self._since is None or limit is None or now - self._since < limit:
                return None
            self._late = limit
            return self._interrupt(now)
        if now < self._next:
            return None
        self._next = now + GRACE_S
        return Step.ABANDON if now - self._ending >= ABANDON_S else Step.KILL

    def end(self, how: End, error: str) -> list[TaskReport]:
        """The Ray task has ended: all that is open leaves.

        Which task was in hand isn't known exactly, since short ones are told together: after a death or an exceeded
        limit each is tried again alone.
        """
        if self._asked or how is End.LOST:
            outcome = Outcome.RELEASED
        elif self._late is not None:
            outcome, error = Outcome.TIMED_OUT, f"timed out after {self._late:g} s"
        else:
            outcome = {End.FAILED: Outcome.FAILED, End.STARVED: Outcome.OUT_OF_MEMORY}.get(how, Outcome.CRASHED)
        leaving = [
            TaskReport(task_id=task_id, number=self._number, outcome=outcome, error=error) for task_id in self.open
        ]
        self.open.clear()
        return leaving

    def _interrupt(self, now: float) -> Step | None:
        if not self.open or self._ending is not None:
            return None
        begun = self._since is not None
        self._ending, self._next = now, now + (GRACE_S if begun else START_S)
        return Step.INTERRUPT if begun else None
