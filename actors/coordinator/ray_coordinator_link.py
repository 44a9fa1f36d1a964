"""A driver's line to the cluster's coordinator: finds it, creates it when there is none, calls again when it died.

Carries calls only; what they mean to the driver is in ``task_coordinator``.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Sequence
from typing import Any

import ray
from ray import cloudpickle
from ray.exceptions import GetTimeoutError, PendingCallsLimitExceeded, RayActorError, RayTaskError

from actors.coordinator.ray_coordinator import find_or_create, home_of_head
from pipelines.errors import RayjobsError
from pipelines.ray_end import ray_may_end
from pipelines.retry_rules import COORDINATOR_CALL
from pipelines.tasks import Task, TaskPriority


class CoordinatorLink:
    """Safe to use from several threads."""

    def __init__(self) -> None:
        if not ray.is_initialized():
            raise RayjobsError("TaskCoordinator needs a connection to Ray; open rayjobs.ray_session first")
        self._lock = threading.Lock()
        self._home = home_of_head()
        self._actor = find_or_create(self._home)
        self._given_up = False

    def give_up(self) -> None:
        """Ray is dead: let no call wait for an answer any more, beyond those that wait now."""
        self._given_up = True

    def change(self, method: str, *args: Any) -> Any:
        """Make a call that changes something, with a request id, so that it may be made again."""
        return self.call(method, uuid.uuid4().hex, *args)

    def submit(self, owner: str, tasks: Sequence[tuple[Task, TaskPriority]]) -> bool:
        """``submit``; the tasks go as one object, since Ray would pack those of a list one by one."""
        return bool(self.change("submit", owner, cloudpickle.dumps(tasks)))

    @ray_may_end()
    def call(self, method: str, *args: Any) -> Any:
        """Make a call; it may arrive more than once.

        Raises
        ------
        RayjobsError
            The coordinator refused, or can't be reached.
        """
        deadline = time.monotonic() + COORDINATOR_CALL.within_s
        while True:
            if self._given_up:
                raise RayjobsError("the coordinator can't be reached: Ray is dead")
            actor = self._actor
            try:
                return ray.get(getattr(actor, method).remote(*args), timeout=COORDINATOR_CALL.patience_s)
            except RayTaskError as error:
                if isinstance(error.cause, RayjobsError):
                    raise RayjobsError(str(error.cause)) from None
                raise RayjobsError(f"the coordinator failed at {method}: {error.cause}") from error
            except (RayActorError, GetTimeoutError, PendingCallsLimitExceeded, ValueError) as error:
                if not ray.is_initialized() or time.monotonic() > deadline:
                    raise RayjobsError(f"the coordinator can't be reached: {type(error).__name__}: {error}") from error
                time.sleep(COORDINATOR_CALL.first_pause_s)
                if isinstance(error, RayActorError | ValueError):
                    self._find_again(actor)

    def _find_again(self, dead: Any) -> None:
        """Look the coordinator up by its name, once for all threads that found it dead."""
        with self._lock:
            if self._actor is dead:
                self._actor = find_or_create(self._home)
