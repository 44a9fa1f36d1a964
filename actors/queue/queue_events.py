"""What goes into the queue and what comes out of it: how grants end, and what the owners of tasks are told.

Data only; ``task_queue`` decides, ``coordinator_service`` carries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pipelines.errors import storable
from pipelines.tasks import TaskStatus


class Outcome(StrEnum):
    """How a task left its grant."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RELEASED = "released"
    """Released unfinished, by no fault of its own: it waits again in its old place."""
    CRASHED = "crashed"
    """Its process died while it had it in hand: it waits again, a bounded number of times, and alone."""
    TIMED_OUT = "timed_out"
    """Its handler took longer than it may; what follows is the same."""
    OUT_OF_MEMORY = "out_of_memory"
    """It found no memory, or its process was ended for want of it: the same, and it gets more then."""

    @property
    def final(self) -> bool:
        """Whether it isn't to run again, as far as its driver is concerned."""
        return self in (Outcome.COMPLETED, Outcome.FAILED, Outcome.CANCELLED)


@dataclass(frozen=True, slots=True)
class TaskWord:
    """What a handler says of its task."""

    progress: int = 0
    """0 to 100."""
    extension_data: str | None = None
    """As JSON; None: unchanged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """These tasks may run now, one after the other, in one place."""

    owner: str
    number: int
    """Never given twice; whoever reports on a task says under which grant it ran."""
    task_ids: tuple[str, ...]
    cpus: float
    node: str = ""
    """Where; empty: on several nodes, or anywhere."""
    memory_bytes: int = 0
    gpus: float = 0.0
    resources: Mapping[str, float] = field(default_factory=dict)
    """What else is to be asked of Ray: resources that nodes declare."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoke:
    """The task shall release its resources soon; its work is kept and it will go on later."""

    owner: str
    number: int
    task_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """The running task was cancelled."""

    owner: str
    number: int
    task_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The task is final, and its owner wasn't the one to say so."""

    owner: str
    task_id: str
    status: TaskStatus
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The process that runs the task says how far it is."""

    owner: str
    number: int
    task_id: str
    word: TaskWord


Decision = Grant | Revoke | Stop | Finished | Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskReport:
    """An owner says how a task left its grant."""

    task_id: str
    number: int
    outcome: Outcome
    error: str | None = None
    """``storable``, whatever it is made of."""
    value: str | None = None
    """What the handler returned, as JSON."""
    word: TaskWord | None = None
    """What the handler said last."""
    seconds: float | None = None
    """How long it ran."""
    most_memory_bytes: int | None = None
    """What its owner may give a task that is out of memory; None: as much as there is."""

    def __post_init__(self) -> None:
        if self.error is not None:
            object.__setattr__(self, "error", storable(self.error))


@dataclass(frozen=True, slots=True)
class Past:
    """The highest numbers that earlier incarnations gave, forgotten tasks included: none is given twice."""

    order: int
    number: int
