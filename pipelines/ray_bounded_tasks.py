"""Ray tasks of which only so many run at a time, and none outlives whoever began them: what our loops over tasks share.

When a task begins, what becomes of its end, and how its end is noticed stay with the owner: the processor's pool hears
of it on Ray's threads, large images and suspects are looked at in between, and sealing just waits. Two have nothing to
share with it: a grant's tasks are one Ray task whose reports stream (``ray_task_bundle``), and Ray Data bounds its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Generic, TypeVar

import ray

T = TypeVar("T")


class BoundedTasks(Generic[T]):
    """Running tasks by their references, each with what its owner knows of it; leaving the block ends those that run.

    Not locked: an owner with several threads has a lock already.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._running: dict[ray.ObjectRef, T] = {}

    def __enter__(self) -> BoundedTasks[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if ray.is_initialized():  # else they are held until Ray's library is gone (``ray_may_end``)
            self.end_all()

    def __len__(self) -> int:
        return len(self._running)

    def __iter__(self) -> Iterator[T]:
        """Those that run now; they may be ended meanwhile."""
        return iter(list(self._running.values()))

    @property
    def has_room(self) -> bool:
        """Whether another may begin."""
        return len(self._running) < self._most

    def begin(self, ref: ray.ObjectRef, task: T) -> None:
        """A task was started."""
        self._running[ref] = task

    def wait(self, timeout_s: float) -> list[ray.ObjectRef]:
        """References of those that are over; waits at most so long for the first."""
        if not self._running:
            return []
        refs = list(self._running)
        over: list[ray.ObjectRef] = ray.wait(refs, timeout=timeout_s)[0]
        return ray.wait(refs, num_returns=len(refs), timeout=0)[0] if over else over

    def forget(self, ref: ray.ObjectRef) -> None:
        """One is over, and its owner has what came of it."""
        del self._running[ref]

    def end(self, ref: ray.ObjectRef) -> None:
        """Its owner is done with one: what still runs is ended by force."""
        self.forget(ref)
        _cancel(ref)

    def end_all(self) -> list[T]:
        """The same with all that run; what was known of them."""
        self.cancel()
        tasks = list(self._running.values())
        self._running.clear()
        return tasks

    def cancel(self) -> None:
        """End all by force whose ends the owner still waits for."""
        for ref in list(self._running):
            _cancel(ref)


def is_over(ref: ray.ObjectRef) -> bool:
    """Whether a task has ended, well or badly; one whose results stream isn't over with the first of them."""
    return wait_for_one([ref.completed() if isinstance(ref, ray.ObjectRefGenerator) else ref], 0)


def wait_for_one(refs: Sequence[ray.ObjectRef], timeout_s: float) -> bool:
    """Wait at most so long for the first of them to end, or to give its next result; whether one has."""
    return bool(ray.wait(list(refs), timeout=timeout_s, fetch_local=False)[0])


def _cancel(ref: ray.ObjectRef) -> None:
    if ray.is_initialized() and not is_over(ref):
        ray.cancel(ref, force=True)
