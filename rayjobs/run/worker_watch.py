"""Which workers make no progress, and what the end of a worker says of the input that it had in hand. Pure: no Ray.

A worker notes each input that it starts, and each band of a large one, in its journal. One whose journal doesn't grow
while an input is in hand makes no progress: past the time limit its own watchdog ends it, and where that can't run,
because the process is stopped or in the kernel, the driver does (``ray_workers``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipelines import retry_rules
from pipelines.errors import FailedReason
from pipelines.stages.worker_journal import InHand

GRACE_S = 10.0
"""What a worker's own watchdog may be late beyond ``limits.item_timeout`` before the driver ends the worker."""
STOPPED_S = 60.0
"""Without a time limit: how long a worker may be stopped; one that runs may then take as long as it likes."""


@dataclass(frozen=True, slots=True)
class Crash:
    """What ended the work on an input that gave no row."""

    reason: FailedReason
    message: str
    final: bool = False
    """Whether trying again would only take a further CPU."""


def patience_s(limit_s: float | None) -> float:
    """How long a journal with an input in hand may stay as it is."""
    return STOPPED_S if limit_s is None else limit_s + GRACE_S


@dataclass(slots=True)
class _Seen:
    size: int
    since: float
    told: bool = False


class Stalled:
    """Tells journals that stay as they are for too long, by the driver's own clock; each once."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._seen: dict[str, _Seen] = {}

    def look(self, sizes: Mapping[str, int], now: float) -> list[str]:
        """The journals there are with their sizes -> those that haven't grown for too long."""
        for name in self._seen.keys() - sizes.keys():
            del self._seen[name]
        for name, size in sizes.items():
            seen = self._seen.get(name)
            if seen is None or seen.size != size:
                self._seen[name] = _Seen(size, now)
        late = [name for name, seen in self._seen.items() if not seen.told and now - seen.since > self._patience_s]
        for name in late:
            self._seen[name].told = True
        return late

    def again(self, name: str, now: float) -> None:
        """Nothing was wrong: wait as long again."""
        if name in self._seen:
            self._seen[name] = _Seen(self._seen[name].size, now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the driver knows of a worker that gave no row, beside its journal."""

    abandoned: bool = False
    """The kernel doesn't end it."""
    ended_by_driver: bool = False
    bystander: bool = False
    """The driver ended the worker for another input, which it finished just then."""
    node_answers: bool = True
    oom_kills: int | None = None
    """On its node now; see ``worker_process``."""
    oom_kills_known: int | None = None
    """There, when it was asked the last time."""


def crash_of(found: InHand, evidence: Evidence, limit_s: float | None) -> Crash | None:
    """What an input is charged with that a worker had in hand; None: nothing, its machine failed."""
    if evidence.abandoned or found.hung or evidence.ended_by_driver:
        kept = ", and the kernel doesn't end its process" if evidence.abandoned else ""
        return Crash(FailedReason.TIMEOUT, f"{_over(limit_s)}{kept}", final=evidence.abandoned)
    if found.lost and found.out_of_memory:
        return Crash(FailedReason.OUT_OF_MEMORY, "there was no memory for its results")
    if found.lost:
        return Crash(FailedReason.CRASHED, "the work on it ended with an error that no image causes")
    if evidence.bystander or not evidence.node_answers:
        return None
    if _killed_for_memory(found, evidence):
        return Crash(FailedReason.OUT_OF_MEMORY, "the kernel ended its process: there was no memory left")
    return Crash(FailedReason.CRASHED, "the process that worked on it ended")


def nodes_died(deaths: int) -> Crash | None:
    """What an input is charged with under which so many nodes died; None: it runs again."""
    if deaths < retry_rules.NODE_DEATH.tries:
        return None
    return Crash(FailedReason.CRASHED, f"{deaths} nodes died while they worked on it")


def _killed_for_memory(found: InHand, evidence: Evidence) -> bool:
    """The kernel counts whom it ends; without its counters nothing tells such an end from another."""
    before = [count for count in (found.oom_kills, evidence.oom_kills_known) if count is not None]
    return bool(before) and evidence.oom_kills is not None and evidence.oom_kills > max(before)


def _over(limit_s: float | None) -> str:
    if limit_s is None:
        return f"its process was stopped for {STOPPED_S:g} s"
    return f"took longer than limits.item_timeout ({limit_s:g} s)"
