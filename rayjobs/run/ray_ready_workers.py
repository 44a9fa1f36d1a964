"""Workers that a kept Ray has ready for the next job: they belong to none yet, and have imported what each needs.

Ray gives a worker to one job for its life, and each costs two seconds of a processor to start and to import Ray Data,
OpenCV and numba. Ray can start workers before there is a job, by a call that it has for this, and lets them import
modules first (``preload_python_modules``); it doesn't do so again when a job has taken them, which is done here.
"""

from __future__ import annotations

import logging
import time

import grpc  # type: ignore[import-untyped]
import ray
from ray._private.grpc_utils import init_grpc_channel
from ray.core.generated.common_pb2 import WorkerType
from ray.core.generated.node_manager_pb2 import GetNodeStatsRequest, PrestartWorkersRequest
from ray.core.generated.node_manager_pb2_grpc import NodeManagerServiceStub

from pipelines.retry_rules import READY_WORKERS

MOST = 8
"""Tasks of a job that find a worker ready, on a machine with more CPUs: each holds memory while nobody works."""
ANSWER_S = 1.0
"""How long the raylet may take to answer: the keeper does nothing else meanwhile."""

log = logging.getLogger(__name__)


def raylet_here() -> NodeManagerServiceStub:
    """What starts workers on the one node of the Ray that this process has started."""
    node = ray.nodes()[0]
    return NodeManagerServiceStub(init_grpc_channel(f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}"))


class ReadyWorkers:
    """Those of one node, on which everything runs."""

    def __init__(self, raylet: NodeManagerServiceStub, cpus: int) -> None:
        self._raylet = raylet
        self._at_a_time = cpus  # Ray starts no more
        # The coordinator is one of them; and where fewer are idle than tasks wait, Ray starts another, as one is taken.
        self._wanted = min(cpus, MOST) + 2
        self._all_there = False
        self._expected, self._patience_ends, self._rounds = 0, 0.0, 0

    def used(self) -> None:
        """A job has taken some of them."""
        self._all_there, self._expected, self._rounds = False, 0, 0

    def replenish(self) -> None:
        """Let Ray start those that are missing; for when no job runs, again and again.

        More than its soft limit it ends by itself, whoever has asked for them.
        """
        if self._all_there or self._rounds >= READY_WORKERS.tries:
            return
        try:
            ready, now = self._ready(), time.monotonic()
            self._all_there = ready >= self._wanted
            if self._all_there or (ready < self._expected and now < self._patience_ends):
                return
            asked = min(self._wanted - ready, self._at_a_time)
            self._raylet.PrestartWorkers(PrestartWorkersRequest(num_workers=asked), timeout=ANSWER_S)
            self._expected, self._patience_ends = ready + asked, now + READY_WORKERS.patience_s
            self._rounds += 1
        except grpc.RpcError as error:  # the next job starts its own
            log.warning("no workers are started in advance: %s", error)

    def _ready(self) -> int:
        """Workers that belong to no job."""
        nobody = ray.JobID.nil().binary()
        workers = self._raylet.GetNodeStats(GetNodeStatsRequest(), timeout=ANSWER_S).core_workers_stats
        return sum(each.worker_type == WorkerType.WORKER and each.job_id == nobody for each in workers)
