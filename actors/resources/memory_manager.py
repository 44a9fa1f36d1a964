"""Memory budgets: what each task of a stream reserves, what a large image reserves, and what follows a kill.

Every task of a stream reserves the share of a node's memory that goes with its CPU, so tasks never promise away more
than there is and all CPUs stay busy. A worker reads an image's header first; an image that needs more than its task's
share is released undecoded and runs in a task of its own with a reservation of its size. What is killed all the same
is tried with more: the steps are those of ``memory_ladder``. Reservations are Ray's to enforce; its memory monitor does
the killing.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

from actors.resources.cluster_view import Node
from pipelines.errors import FailedReason, ImageError
from pipelines.memory_ladder import MemoryStep, Tried, step_after
from pipelines.resource_needs import CPU, MEMORY
from pipelines.retry_rules import MOST_ATTEMPTS
from pipelines.stages.recipe import Recipe

MIB = 2**20
WORKER_BYTES = 384 * MIB
"""What a worker takes that has loaded its kernels but no image yet, about."""
SMALLEST_BUCKET_BYTES = 256 * MIB


def bucket(needed_bytes: int) -> int:
    """Round up to a power of two from 256 MiB on: few sizes, so that Ray reuses its workers."""
    size = SMALLEST_BUCKET_BYTES
    while size < needed_bytes:
        size *= 2
    return size


def lighter(recipe: Recipe) -> tuple[Recipe, str] | None:
    """A recipe with fewer outputs, and in words what it leaves out; None when there is nothing lesser.

    The image is what matters most: it goes without analyses and charts. Without an image, analyses go without charts.
    """
    if recipe.image is not None and recipe.analyses:
        return replace(recipe, analyses=(), charted=()), "out of memory: analyses and charts left out"
    if recipe.image is None and recipe.charted:
        return replace(recipe, charted=()), "out of memory: charts left out"
    return None


class MemoryManager:
    """The memory of a cluster's nodes as one shard may use it; safe to use from several threads.

    Parameters
    ----------
    nodes
        The nodes with what they have; ``set_nodes`` says so again when some came or went.
    slots
        CPUs that the shard was granted.
    """

    def __init__(self, nodes: Sequence[Node], slots: int) -> None:
        self._slots = slots
        self._lock = threading.Lock()
        self._tried: dict[int, Tried] = {}
        self.set_nodes(nodes)

    def set_nodes(self, nodes: Sequence[Node]) -> None:
        """Say which nodes are alive."""
        shares = [
            int(node.total[MEMORY] / node.total[CPU])
            for node in nodes
            if node.total.get(CPU, 0) >= 1 and node.total.get(MEMORY, 0) > 0
        ]
        self.task_bytes: int | None = min(shares) // MIB * MIB if shares else None
        """What each task of a stream reserves; None: nodes don't say what memory they have."""
        self.node_bytes = max((int(node.total.get(MEMORY, 0)) for node in nodes), default=0)

    @property
    def image_bytes(self) -> int | None:
        """What an image may need in a task of a stream, on top of what its worker takes; None: there is no bound."""
        return None if self.task_bytes is None else max(self.task_bytes - WORKER_BYTES, self.task_bytes // 4)

    @property
    def share_bytes(self) -> int:
        """Memory that goes with all CPUs of the shard."""
        return min((self.task_bytes or 0) * self._slots, self.node_bytes)

    def reserve(self, number: int, needed_bytes: int) -> int:
        """What the task of a large image reserves, by the image's number.

        Raises
        ------
        ImageError
            ``too_large``: no node has so much.
        """
        if self.task_bytes is not None and needed_bytes > self.node_bytes:
            raise ImageError(
                FailedReason.TOO_LARGE,
                f"needs about {needed_bytes:,} bytes of memory, the largest node offers {self.node_bytes:,}",
            )
        # More than the shard's own share could wait for others for ever: it runs alone in the shard in any case.
        reserved = min(bucket(needed_bytes + WORKER_BYTES), self.share_bytes)
        with self._lock:
            self._tried[number] = Tried(reserved_bytes=reserved)
        return reserved

    def next_step(self, number: int, tries_left: int = MOST_ATTEMPTS, *, has_lighter: bool = True) -> MemoryStep | None:
        """How to try an image whose process ended; each call is a step up, with the nodes that are alive now.

        Parameters
        ----------
        tries_left
            How often it may be tried, this time included; see ``step_after``.
        has_lighter
            Whether there is a lesser result.
        """
        if self.task_bytes is None:
            return MemoryStep(memory_bytes=0)
        with self._lock:
            tried = self._of(number)
            step = step_after(tried, self.share_bytes, self.node_bytes, tries_left=tries_left, has_lighter=has_lighter)
            if step is not None:
                self._tried[number] = replace(tried, step=step)
            return step

    def killed(self, number: int) -> None:
        """The image's process was ended for want of memory, or found none."""
        with self._lock:
            self._tried[number] = replace(self._of(number), memory=True)

    def _of(self, number: int) -> Tried:
        return self._tried.get(number) or Tried(reserved_bytes=self.task_bytes or 0)

    def within(self, memory_bytes: int, *, waited: bool) -> int:
        """A reservation as the nodes alive can give it; what ``waited`` in vain gets the shard's own share at most."""
        return min(memory_bytes, self.share_bytes if waited else self.node_bytes)

    def forget(self, number: int) -> None:
        """The image has its final row."""
        with self._lock:
            self._tried.pop(number, None)
