"""What follows want of memory: more of it, then all that there is, then fewer outputs. Of images and of tasks. Pure.

That there is another try at all is ``failure_policy``'s to say, how many there are ``retry_rules``'.
"""

from __future__ import annotations

from dataclasses import dataclass

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
