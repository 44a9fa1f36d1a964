"""What is tried again, how often, after which pause, and by whom: the one table of tries, which all of them read.

Which failures of an input deserve another try is ``failure_policy``'s. Pure: no Ray, no clock. The table of
``docs/reliability.md`` is made of this one.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

UNBOUNDED = sys.maxsize
"""For what no number of tries bounds."""
MOST_ATTEMPTS = 10
"""What a job may ask for (``limits.attempts``): more than there are steps to more memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRule:
    """How one thing is tried again."""

    what: str
    """What is tried, and what counts as a failure."""
    by: str
    """The module that tries again; Ray itself where it says so."""
    tries: int
    """In all, the first included."""
    within_s: float = math.inf
    """No try begins later than so long after the first."""
    first_pause_s: float = 0.0
    longest_pause_s: float = 0.0
    """Before a further try, doubled each time up to this."""
    patience_s: float = math.inf
    """A try of which nothing is heard for so long has failed."""
    then: str
    """What follows the last failure."""

    @property
    def retries(self) -> int:
        """Further tries, as Ray counts them: -1 for no bound."""
        return -1 if self.tries == UNBOUNDED else self.tries - 1

    def pause_s(self, failed: int) -> float:
        """Seconds to wait after so many failed tries; 0 after none."""
        if failed < 1:
            return 0.0
        doubled: float = self.first_pause_s * 2.0 ** min(failed - 1, 30)
        return min(doubled, self.longest_pause_s)


INPUT = RetryRule(
    what="an input that ends its process, runs out of time or finds no memory; alone (`limits.attempts`)",
    by="rayjobs/run/shard_runner.py",
    tries=3,
    first_pause_s=0.2,
    longest_pause_s=5.0,
    then="it has failed, with the reason",
)
TASK = RetryRule(
    what="a task that ends its process, runs out of time or finds no memory (`max_attempts`, `limits.attempts`)",
    by="actors/queue/task_queue.py",
    tries=3,
    first_pause_s=INPUT.first_pause_s,
    longest_pause_s=INPUT.longest_pause_s,
    then="it has failed",
)
NODE_DEATH = RetryRule(
    what="an input whose node dies",
    by="rayjobs/run/worker_watch.py",
    tries=2,
    then="it is held to be the cause: `crashed`",
)
PROCESSOR_IMAGE = RetryRule(
    what="an image of the processor that ends its worker or finds no memory, with no other image in its task",
    by="pipelines/processor/ray_pool.py",
    tries=2,
    then="its future raises",
)
FRUITLESS_STREAM = RetryRule(
    what="a stream that brings no row and leaves no suspect",
    by="rayjobs/run/shard_runner.py",
    tries=3,
    then="the cluster is the trouble: the job ends with exit code 1",
)
SEALING = RetryRule(
    what="sealing results: a part's worker dies (Ray itself), or no part is ready for long",
    by="rayjobs/run/ray_engine.py",
    tries=3,
    patience_s=600.0,
    then="the job ends with exit code 1; run again, it goes on",
)
HELPER = RetryRule(
    what="a helper that ends a worker which makes no progress",
    by="rayjobs/run/ray_workers.py",
    tries=3,
    patience_s=20.0,
    then="the worker is left to itself, its input fails",
)
RAY_START = RetryRule(
    what="starting Ray on this machine",
    by="rayjobs/run/ray_session.py",
    tries=2,
    then="exit code 1",
)
READY_WORKERS = RetryRule(
    what="asking Ray for workers that a kept Ray has ready for the next job; they may die as they begin",
    by="rayjobs/run/ray_ready_workers.py",
    tries=5,
    patience_s=10.0,
    then="the next job starts its own",
)
COORDINATOR_CALL = RetryRule(
    what="a call to the coordinator that can't be reached or doesn't answer",
    by="actors/coordinator/ray_coordinator_link.py",
    tries=UNBOUNDED,
    within_s=60.0,
    first_pause_s=0.1,
    longest_pause_s=0.1,
    patience_s=20.0,
    then="the caller gets an error",
)
COORDINATOR_WORD = RetryRule(
    what="what a driver has to tell the coordinator, after an error",
    by="actors/coordinator/task_coordinator.py",
    tries=UNBOUNDED,
    first_pause_s=0.2,
    longest_pause_s=0.2,
    then="tried until the driver closes it",
)
RESOURCES_HELD = RetryRule(
    what="taking resources for a kind of task that looked possible and failed more than once in a row",
    by="actors/coordinator/held_kinds.py",
    tries=UNBOUNDED,
    first_pause_s=1.0,
    longest_pause_s=30.0,
    then="its tasks wait in the queue",
)
COORDINATOR = RetryRule(
    what="the coordinator's actor, whose process ends",
    by="actors/coordinator/ray_coordinator.py, Ray itself",
    tries=UNBOUNDED,
    then="started again without end, from its ledger",
)
SUBMISSION = RetryRule(
    what="`rayjobs submit` to a cluster that isn't ready yet",
    by="rayjobs/command_line/ray_submit.py",
    tries=UNBOUNDED,
    within_s=60.0,
    first_pause_s=1.0,
    longest_pause_s=1.0,
    then="exit code 1",
)
NOTIFICATION = RetryRule(
    what="telling a URL or a command that a job has ended",
    by="rayjobs/run/notify.py",
    tries=4,
    within_s=30.0,
    first_pause_s=0.5,
    longest_pause_s=2.0,
    patience_s=5.0,
    then="a warning; the job stays as it is",
)
RAY_TASK = RetryRule(
    what="any other Ray task",
    by="Ray itself",
    tries=1,
    then="whoever started it decides, as above",
)

RETRY_RULES = (
    INPUT,
    TASK,
    NODE_DEATH,
    PROCESSOR_IMAGE,
    FRUITLESS_STREAM,
    SEALING,
    HELPER,
    RAY_START,
    READY_WORKERS,
    COORDINATOR_CALL,
    COORDINATOR_WORD,
    RESOURCES_HELD,
    COORDINATOR,
    SUBMISSION,
    NOTIFICATION,
    RAY_TASK,
)
