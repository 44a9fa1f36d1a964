"""Memory budgets: what each task of a stream reserves, what a large image reserves, and what follows a kill.

Every task of a stream reserves the share of a node's memory that goes with its CPU, so tasks never promise away more
than there is and all CPUs stay busy. A worker reads an image's header first; an image that needs more than its task's
share is released undecoded and runs in a task of its own with a reservation of its size. What is killed all the same
is tried with more: the steps are ``ladder``'s. Reservations are Ray's to enforce; its memory monitor does the killing.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

from actors.resources.cluster_view import Node
from pipelines.errors import FailedReason, ImageError
from pipelines.resource_needs import CPU, MEMORY
from pipelines.retry_rules import MOST_ATTEMPTS
from pipelines.stages.recipe import Recipe

MIB = 2**20
WORKER_BYTES = 384 * MIB
"""What a worker takes that has loaded its kernels but no image yet, about."""
SMALLEST_BUCKET_BYTES = 256 * MIB
ESCALATION = 4
"""After a kill, so many times what was reserved before."""
ALIKE = 1.1
"""A node with hardly more than the shard's share isn't worth a step of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryStep:
    """How an image is tried after its process ended."""

    memory_bytes: int
    """Reserved for its task."""
    fewer_outputs: bool = False
    """Only what matters most is made; the image is then ``degraded``."""


def bucket(needed_bytes: int) -> int:
    """Round up to a power of two from 256 MiB on: few sizes, so that Ray reuses its workers."""
    size = SMALLEST_BUCKET_BYTES
    while size < needed_bytes:
        size *= 2
    return size


def ladder(reserved_bytes: int, share_bytes: int, node_bytes: int) -> list[MemoryStep]:
    """Steps after kills: more memory, then all that there is, then fewer outputs with all that there is.

    Parameters
    ----------
    reserved_bytes
        What the image was tried with.
    share_bytes
        Memory that goes with all CPUs of the shard: free as soon as its stream has ended.
    node_bytes
        Memory of the largest node: free only once nobody else runs there.
    """
    share_bytes = min(share_bytes, node_bytes)
    sizes = [min(ESCALATION * reserved_bytes, share_bytes)]
    if node_bytes > ALIKE * share_bytes:
        sizes.append(node_bytes)
    most = max(sizes)
    sizes = [size for size in sizes if size > reserved_bytes] or [most]
    return [*(MemoryStep(memory_bytes=size) for size in sizes), MemoryStep(memory_bytes=most, fewer_outputs=True)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """How far up the ladder an image has come."""

    reserved_bytes: int
    """What it was tried with at first."""
    step: MemoryStep | None = None
    memory: bool = False
    """Whether an attempt ended for want of memory."""


def step_after(
    tried: Tried, share_bytes: int, node_bytes: int, *, tries_left: int, has_lighter: bool
) -> MemoryStep | None:
    """The step of the ladder that follows; the ladder is that of the nodes alive now.

    Fewer outputs, and None for nothing left to try, follow only once it is known that memory was the reason; until then
    the largest step comes again, and how often is the caller's to bound. When fewer tries are left than steps, those
    between are left out, so that the last try is the one with fewer outputs.
    """
    *whole, last = ladder(tried.reserved_bytes, share_bytes, node_bytes)
    done = 0 if tried.step is None else tried.step.memory_bytes
    higher = [step for step in whole if step.memory_bytes > done]
    if not tried.memory:
        return higher[0] if higher else MemoryStep(memory_bytes=min(max(share_bytes, tried.reserved_bytes), node_bytes))
    if tried.step is not None and tried.step.fewer_outputs:
        return None
    if has_lighter and (not higher or tries_left <= 1):
        return last
    kept = max(tries_left - has_lighter, 1)
    return higher[-kept:][0] if higher else None


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
