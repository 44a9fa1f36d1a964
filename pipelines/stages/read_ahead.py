"""The bytes of the input whose turn is next, read by a thread while the one in hand is computed: where reading is slow.

Out of the page cache a file comes in a fraction of a millisecond, less than a thread is worth: files are read ahead
after one that was slow, and a few more after that, since on a cold disk slow and quick ones lie side by side.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.models import WorkItem
from pipelines.stages.image_stages import read_input
from pipelines.stages.recipe import Recipe

AHEAD_BYTES = 64 << 20
"""Larger files are read when their turn comes: the one ahead is held beside all that the one in hand needs."""
SLOW_S = 0.001
QUICK_BYTES_PER_S = 1e9
"""A read is slow that takes a millisecond more than its bytes at this rate."""
AFTER_SLOW = 16
"""Files that are read ahead after a slow one."""


class ReadAhead:
    """The items of a block in their order, and ``read`` for the bytes of the one in hand.

    One file ahead at most. What reading it meets, be it an error or a hang, it meets when its turn has come; it is
    judged as it was when it was read. One that nobody asks for in the end keeps nobody waiting.
    """

    def __init__(self, items: Sequence[WorkItem], recipes: Mapping[int, Recipe], stop: Path) -> None:
        self._items = items
        self._recipes = recipes
        self._stop = stop
        self._next: WorkItem | None = None
        self._ahead: _Reading | None = None
        self._left = 0
        """Files to read ahead until one is slow again."""

    def __iter__(self) -> Iterator[WorkItem]:
        for item, following in zip(self._items, [*self._items[1:], None], strict=False):  # of none there is no next
            self._next = following
            yield item

    def read(self, item: WorkItem, recipe: Recipe) -> bytes:
        """As ``read_input``, of the item in hand; then the next one's may begin."""
        if self._ahead is not None and self._ahead.item is item:
            taken, self._ahead = self._ahead.taken, None
            try:
                data, seconds = taken.result()
            finally:
                del taken  # an error's traceback would hold it, and it the error with all that was read
        else:
            data, seconds = _timed(item, recipe)
        if seconds > SLOW_S + len(data) / QUICK_BYTES_PER_S:
            self._left = AFTER_SLOW
        if self._ahead is None or self._ahead.item is not self._next:  # it is, when a file is read twice
            self._ahead = self._begun()
        return data

    def _begun(self) -> _Reading | None:
        """The next item's reading, if it is worth a thread, begun."""
        item = self._next
        if not self._left or item is None or os.path.exists(self._stop):
            return None
        recipe = self._recipes[item.recipe]
        if item.size > min(AHEAD_BYTES, recipe.memory_per_image or AHEAD_BYTES):
            return None
        reading = _Reading(item)
        try:
            # no pool: its threads would be waited for at the end, and one that hangs must keep nobody
            threading.Thread(target=reading.run, args=(recipe,), name="rayjobs-read-ahead", daemon=True).start()
        except RuntimeError:  # the system gives no more threads: it is read when its turn comes
            return None
        self._left -= 1
        return reading


@dataclass(frozen=True, slots=True)
class _Reading:
    item: WorkItem
    taken: Future[tuple[bytes, float]] = field(default_factory=Future)
    """What ``_timed`` gave, or the error."""

    def run(self, recipe: Recipe) -> None:
        try:
            self.taken.set_result(_timed(self.item, recipe))
        except BaseException as error:  # noqa: BLE001 - it is raised to whoever takes it
            self.taken.set_exception(error)
            del self  # likewise


def _timed(item: WorkItem, recipe: Recipe) -> tuple[bytes, float]:
    """The file's bytes, and the seconds that they took."""
    started = time.perf_counter()
    return read_input(item, recipe), time.perf_counter() - started
