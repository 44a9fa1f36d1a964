"""What handlers say of their tasks while these run: how far they are, and what they changed in ``extension_data``.

A handler sets the fields of the task that it was given; a thread of its process looks at them and sends what is new by
way of the coordinator, which knows whose the task is. What was said last leaves with the task's report as well.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray.exceptions import RayError

from actors.coordinator.ray_coordinator import NAME, NAMESPACE
from actors.queue.queue_events import TaskWord
from pipelines.errors import RayjobsError
from pipelines.tasks import ExtensibleTask

LOOK_S = 0.25

log = logging.getLogger(__name__)


class TaskWords:
    """The tasks of one grant, one after the other; a context, within which is looked.

    Parameters
    ----------
    number
        Of the grant.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self._lock = threading.Lock()
        self._running: ExtensibleTask | None = None
        self._given = ""
        self._said = TaskWord()
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._look, name="rayjobs-task-words", daemon=True)

    def __enter__(self) -> TaskWords:
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()

    @contextmanager
    def of(self, task: ExtensibleTask) -> Iterator[None]:
        """Tell what is said of a task meanwhile."""
        with self._lock:
            self._running, self._said, self._given = task, TaskWord(), json.dumps(task.extension_data)
        try:
            yield
        finally:
            with self._lock:
                self._running = None

    def last(self, task: ExtensibleTask) -> TaskWord | None:
        """What is said of a task whose handler has just returned; None: nothing.

        Raises
        ------
        RayjobsError
            What the handler left in the task can't be kept.
        """
        try:
            word = self._read(task)
        except Exception as error:  # noqa: BLE001 - a handler may have left anything there
            raise RayjobsError(f"the progress or extension_data that its handler set can't be kept: {error}") from None
        return None if word == TaskWord() else word

    def _read(self, task: ExtensibleTask) -> TaskWord:
        if not isinstance(task.extension_data, dict):
            raise TypeError(f"extension_data is of type {type(task.extension_data).__name__}, not a dictionary")
        data = json.dumps(task.extension_data)
        return TaskWord(min(max(int(task.progress), 0), 100), None if data == self._given else data)

    def _look(self) -> None:
        while not self._over.wait(LOOK_S):
            with self._lock:
                if (task := self._running) is None:
                    continue
                try:
                    word = self._read(task)
                except Exception:  # noqa: BLE001 - in the middle of a change; what stays so is refused at the end
                    continue
                if word == self._said:
                    continue
                self._said = word
            try:
                ray.get_actor(NAME, namespace=NAMESPACE).tell.remote(task.task_id, self.number, word)
            except (ValueError, RayError) as error:  # what is said last comes with the report
                log.info("task %s: its progress isn't told: %s", task.task_id, error)
