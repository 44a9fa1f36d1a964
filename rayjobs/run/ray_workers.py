"""The driver's eye on its workers: has those ended that make no progress, and says what their end means for the inputs.

What Ray 2.60 does by itself was tried: ``ray.cancel(force=True)`` ends a process in C code that holds the interpreter's
lock at once, and one that is stopped (SIGSTOP) after 5 s; without force, neither. A stream of Ray Data gives nobody its
tasks to cancel, so there the helper sends SIGKILL, which ends both at once.
"""

# mypy: disable-error-code="untyped-decorator"
from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.resources.ray_cluster import RayCluster
from pipelines.resource_needs import CPU, ray_options
from pipelines.retry_rules import HELPER
from pipelines.stages.ray_blocks import StreamExit
from pipelines.stages.worker_journal import SUFFIX, InHand, in_hand_of, inputs_in_hand
from pipelines.worker_process import Ending, WorkerProcess, end_process, oom_kills
from rayjobs.run.worker_watch import Crash, Evidence, Stalled, crash_of, patience_s

log = logging.getLogger(__name__)

LOOK_S = 2.0
QUIET_S = 120.0
"""A stream of which nothing is in hand, and that gives no row for so long, is begun anew: its tasks are with processes
that never began, or wait for CPUs that are gone."""
ABANDONED_S = 10.0
"""The same, once a process that can't be ended has one of its inputs."""
ROOM_S = 10.0
"""How long the CPUs of tasks that were just ended may take to be free again."""
ROOM_POLL_S = 0.25


@dataclass(slots=True)
class _Ending:
    found: InHand
    helper: ray.ObjectRef
    asked: float
    tries: int = 1
    outcome: Ending | None = None
    """None: it isn't known yet."""


@dataclass(slots=True)
class _Stream:
    exit: StreamExit
    inputs: Set[int]
    heard: float


class WorkerWatch:
    """Watches the workers of one run: ``look`` is for the thread of its loop, all else for those of its shards."""

    def __init__(self, directory: Path, limit_s: float | None) -> None:
        self._directory = directory
        self._limit_s = limit_s
        self._stalled = Stalled(patience_s(limit_s))
        self._looked = 0.0
        self._lock = threading.Lock()
        self._endings: dict[str, _Ending] = {}
        """By journal."""
        self._oom_kills: dict[str, int] = {}
        """By node, as last seen."""
        self._streams: dict[str, _Stream] = {}

    # ---- the loop's ----------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Now and then: have workers ended that make no progress, leave streams that nobody works on. Never waits."""
        now = time.monotonic()
        if now - self._looked < LOOK_S:
            return
        self._looked = now
        for name, ending in list(self._endings.items()):
            if ending.outcome is None:
                self._settle(name, ending, 0.0)
        for name in self._stalled.look(self._sizes(), now):
            for found in in_hand_of(self._directory / name):
                if not found.lost:
                    self._end(found, now)
        abandoned = self.abandoned
        for stream in list(self._streams.values()):
            patience_s = ABANDONED_S if abandoned & stream.inputs else QUIET_S
            if now - stream.heard <= patience_s or stream.exit.left:
                continue
            if self.in_hand(stream.inputs):
                stream.heard = now
            else:
                log.warning("nobody works on what a stream still has; it begins anew")
                stream.exit.leave()

    def leave_streams(self) -> None:
        """Leave all that are open."""
        for stream in list(self._streams.values()):
            stream.exit.leave()

    def _sizes(self) -> dict[str, int]:
        try:
            with os.scandir(self._directory) as entries:
                return {entry.name: entry.stat().st_size for entry in entries if entry.name.endswith(SUFFIX)}
        except FileNotFoundError:  # another run has taken over
            return {}

    def _end(self, found: InHand, now: float) -> None:
        log.warning("input %d: its worker makes no progress and is ended", found.input)
        with self._lock:
            self._endings[found.journal] = _Ending(found, self._helper(found), now)

    def _helper(self, found: InHand) -> ray.ObjectRef:
        return _on(found.process.node, _end_process).remote(found.process, if_stopped=self._limit_s is None)

    def _settle(self, name: str, ending: _Ending, wait_s: float) -> None:
        """Take note of what a helper did, if it has done it within the time."""
        helper = ending.helper
        try:
            ending.outcome = ray.get(helper, timeout=wait_s)
        except GetTimeoutError:
            self._ask_again(ending)
        except RayError:  # its node is gone, and the worker with it; or another thread has lost patience
            if ending.helper is helper and ending.outcome is None:
                ending.outcome = Ending.GONE
        if ending.outcome is Ending.WORKING:
            self._stalled.again(name, time.monotonic())
        elif ending.outcome is Ending.REFUSED:
            log.error("input %d: its worker can't be ended; the run goes on without it", ending.found.input)

    def _ask_again(self, ending: _Ending) -> None:
        """Send another helper in place of one that takes too long; in the end nobody could even try."""
        with self._lock:
            now = time.monotonic()
            if ending.outcome is not None or now - ending.asked < HELPER.patience_s:
                return
            ray.cancel(ending.helper, force=True)
            if ending.tries == HELPER.tries:
                ending.outcome = Ending.REFUSED
            else:
                ending.tries, ending.asked, ending.helper = ending.tries + 1, now, self._helper(ending.found)

    def in_hand(self, inputs: Set[int]) -> bool:
        """Whether somebody who may still get on has one of these inputs in hand."""
        return any(
            found.input in inputs and not found.lost and self._may_get_on(found)
            for found in inputs_in_hand(self._directory)
        )

    def _may_get_on(self, found: InHand) -> bool:
        ending = self._endings.get(found.journal)
        return ending is None or ending.found != found or ending.outcome in (None, Ending.WORKING)

    # ---- the shards' ---------------------------------------------------------------------------------------------

    def open_stream(self, exit: StreamExit, inputs: Set[int]) -> None:
        """A stream begins."""
        self._streams[exit.id] = _Stream(exit, inputs, time.monotonic())

    def heard_of(self, exit: StreamExit) -> None:
        """It gave rows."""
        self._streams[exit.id].heard = time.monotonic()

    def close_stream(self, exit: StreamExit) -> None:
        """It is over, or was left."""
        self._streams.pop(exit.id, None)

    @property
    def abandoned(self) -> set[int]:
        """Inputs that processes have in hand which can't be ended."""
        return {ending.found.input for ending in list(self._endings.values()) if ending.outcome is Ending.REFUSED}

    def crashes(self, numbers: Iterable[int]) -> dict[int, Crash | None]:
        """Of inputs without a row: what those are charged with that a worker had in hand; None: its node died.

        Waits a bounded time for what their nodes have to say.
        """
        wanted = set(numbers)
        latest: dict[int, InHand] = {}
        for found in inputs_in_hand(self._directory):
            known = latest.get(found.input)
            if found.input in wanted and (known is None or found.noted_ns >= known.noted_ns):
                latest[found.input] = found
        for found in latest.values():
            ending = self._endings.get(found.journal)
            while ending is not None and ending.outcome is None:
                self._settle(found.journal, ending, HELPER.patience_s)
        kills = self._ask(latest.values())
        with self._lock:
            before = dict(self._oom_kills)
            self._oom_kills |= {node: count for node, count in kills.items() if count is not None}
        return {
            number: crash_of(found, self._evidence(found, kills, before), self._limit_s)
            for number, found in latest.items()
        }

    def _evidence(self, found: InHand, kills: Mapping[str, int | None], before: Mapping[str, int]) -> Evidence:
        ending = self._endings.get(found.journal)
        outcome, meant = (None, True) if ending is None else (ending.outcome, ending.found.input == found.input)
        node = found.process.node
        return Evidence(
            abandoned=meant and outcome is Ending.REFUSED,
            ended_by_driver=meant and outcome is Ending.ENDED,
            bystander=not meant and outcome is Ending.ENDED,
            node_answers=not node or node in kills,
            oom_kills=kills.get(node),
            oom_kills_known=before.get(node),
        )

    @staticmethod
    def _ask(found: Iterable[InHand]) -> dict[str, int | None]:
        """Node -> how many processes its kernel has ended for want of memory; those that don't answer are missing."""
        asked = {node: _on(node, _oom_kills).remote() for node in {one.process.node for one in found} if node}
        answers: dict[str, int | None] = {}
        deadline = time.monotonic() + HELPER.patience_s
        for node, helper in asked.items():
            try:
                answers[node] = ray.get(helper, timeout=max(deadline - time.monotonic(), 0.0))
            except RayError as error:
                log.warning("node %s doesn't answer (%s)", node, type(error).__name__)
                ray.cancel(helper, force=True)
        return answers


def has_room(within_s: float = ROOM_S) -> bool:
    """Whether a CPU is free somewhere, as far as Ray knows, or becomes free so soon."""
    deadline = time.monotonic() + within_s
    while RayCluster().available().get(CPU, 0.0) < 1.0:
        if time.monotonic() > deadline:
            return False
        time.sleep(ROOM_POLL_S)
    return True


def _on(node: str, helper: Any) -> Any:
    """A helper on one node; it needs no CPU, or it would wait for those that it is to free."""
    strategy = NodeAffinitySchedulingStrategy(node, soft=False) if node else "DEFAULT"
    return helper.options(scheduling_strategy=strategy, name="look after a worker")


@ray.remote(**ray_options(cpus=0))
def _end_process(process: WorkerProcess, *, if_stopped: bool) -> Ending:
    return end_process(process, if_stopped=if_stopped)


@ray.remote(**ray_options(cpus=0))
def _oom_kills() -> int | None:
    return oom_kills()
