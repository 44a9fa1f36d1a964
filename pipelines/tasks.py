"""Tasks as the coordinator and the managers know them: what is asked for, how it stands, what came of it.

The dataclasses of the seed design keep its names, fields and mutability; values of our own are frozen. Data only:
what order tasks run in is decided in ``actors.queue.task_queue``, what they do by their ``TaskHandler``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum
from operator import attrgetter
from typing import Any

from pipelines import retry_rules
from pipelines.resources import ONE_CPU, ResourceAllocation, ResourceEstimate

TASK_TIMEOUT_S = 3600.0


class TaskPriority(IntEnum):
    """Who goes first; a smaller number is more urgent."""

    URGENT = 0
    HIGH = 1
    NORMAL = 2
    LOW = 3


class TaskStatus(StrEnum):
    """How a task stands; the last three are terminal and never change."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """Whether it stays as it is."""
        return self in (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One unit that the coordinator queues and grants resources to."""

    task_id: str
    """Chosen by whoever submits; submitting the same id again is the same task."""
    task_type: str
    """``render``, ``analyze``, ``export`` or a registered type; concurrency limits count per type."""
    job_id: str = ""
    payload: Mapping[str, Any] = field(default_factory=dict)
    """Plain values that the type's handler reads."""
    extension_data: Mapping[str, Any] = field(default_factory=dict)
    """Plain values that the type's handler reads and may change."""
    resources: ResourceEstimate = ONE_CPU
    depends_on: tuple[str, ...] = ()
    """Ids of tasks that must complete first; their failure or cancellation passes on."""
    outputs: tuple[str, ...] = ()
    """Paths that it writes, files or directories: two tasks with a common one, or with one inside of another's, however
    they are spelled, never run at the same time."""
    exclusive: tuple[str, ...] = ()
    """Names of resources that only one task at a time may use."""
    max_cpus: float | None = None
    """Elastic: granted whole CPUs from ``resources.cpus`` up to this, on one or more nodes; other needs are per CPU."""
    preemptible: bool = False
    """Releases its resources soon after its grant is revoked, with its work kept: for a more urgent task."""
    timeout_s: float | None = TASK_TIMEOUT_S
    """How long its handler may take; None: any time. Then it is interrupted, and killed if that doesn't help."""
    max_attempts: int = retry_rules.TASK.tries
    """How often it may take its process down, run out of time or find no memory, with a pause after each; for want of
    memory it gets more the next time, at last all that a node has."""
    kept: bool = True
    """Whether others may depend on it after its end, or submit it again: not on what a driver asks for again and again,
    such as a grant of resources."""

    def __getstate__(self) -> tuple[Any, ...]:
        """For batches on their way: what a frozen dataclass has of its own looks its fields up for every one."""
        return _values_of(self)

    def __setstate__(self, values: tuple[Any, ...]) -> None:
        for put, value in zip(_PUTS, values, strict=True):
            put(self, value)


_values_of = attrgetter(*Task.__slots__)
_PUTS = tuple(getattr(Task, name).__set__ for name in Task.__slots__)


@dataclass(frozen=True, slots=True)
class TaskHandle:
    """What ``submit_task`` gives back."""

    task_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskResult:
    """What came of a task."""

    task_id: str
    status: TaskStatus
    value: Any = None
    """What the handler returned: plain values."""
    error: str | None = None
    """One line for a person, when the task failed or was cancelled."""
    progress: int = 0
    """0 to 100, as its handler said last."""
    extension_data: Mapping[str, Any] | None = None
    """What its handler has made of them; None: it left them as they were."""
    resource_allocation: ResourceAllocation | None = None
    """What it holds now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueStatus:
    """The coordinator's queue at one moment."""

    pending: int
    running: int
    by_type: Mapping[str, int]
    """Running tasks per type."""
    by_priority: Mapping[str, int]
    """Pending tasks per priority, by its lower-case name."""
    limits: Mapping[str, int]
    """Concurrency limits per type, where one is set."""
    held: int = 0
    """Pending tasks whose driver can't run them for now, such as for want of memory; they get nothing until it can."""


@dataclass
class ExtensibleTask:
    """A task of any registered type."""

    task_id: str
    job_id: str
    task_type: str
    config: dict[str, Any]
    status: TaskStatus = TaskStatus.PENDING
    progress: int = 0
    """0 to 100; its handler may set it, and whoever looks at the task sees it soon after."""
    start_time: datetime | None = None
    end_time: datetime | None = None
    result: dict[str, Any] | None = None
    error_info: str | None = None
    resource_allocation: ResourceAllocation | None = None
    """While it runs; None before and after."""
    extension_data: dict[str, Any] = field(default_factory=dict)
    """Plain values; what its handler changes in them is kept, and there again when the task is tried or resumed."""
