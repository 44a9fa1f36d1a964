"""Workers for the next job: as many as it takes, and again when a job has taken them. The raylet is made up."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
import ray
from ray.core.generated.common_pb2 import CoreWorkerStats, WorkerType
from ray.core.generated.node_manager_pb2 import GetNodeStatsReply, PrestartWorkersReply

from rayjobs.run.ray_ready_workers import MOST, ReadyWorkers

NOBODY, JOB = ray.JobID.nil().binary(), ray.JobID.from_int(7).binary()


class Raylet:
    """Starts workers when it is told to, some time later."""

    def __init__(self) -> None:
        self.starting = 0
        self.jobs = [JOB, JOB]
        self.dead = False

    def PrestartWorkers(self, request: Any, timeout: float) -> PrestartWorkersReply:  # noqa: N802 - Ray's name
        assert not request.HasField("job_id")
        self.starting += request.num_workers
        return PrestartWorkersReply()

    def GetNodeStats(self, request: Any, timeout: float) -> GetNodeStatsReply:  # noqa: N802 - the same
        if self.dead:
            raise grpc.RpcError("nobody answers")
        driver = CoreWorkerStats(worker_type=WorkerType.DRIVER, job_id=NOBODY)
        workers = [CoreWorkerStats(worker_type=WorkerType.WORKER, job_id=job) for job in self.jobs]
        return GetNodeStatsReply(core_workers_stats=[driver, *workers])

    def start(self) -> None:
        self.jobs += [NOBODY] * self.starting
        self.starting = 0

    @property
    def ready(self) -> int:
        return self.jobs.count(NOBODY)


@pytest.mark.parametrize(("cpus", "wanted"), [(1, 3), (2, 4), (64, MOST + 2)])
def test_there_are_as_many_as_a_job_takes_and_one_and_never_more(cpus: int, wanted: int) -> None:
    raylet = Raylet()
    workers = ReadyWorkers(raylet, cpus)
    for _ in range(3):
        for _ in range(3):
            workers.replenish()
            assert raylet.starting <= cpus
        raylet.start()
        assert raylet.ready <= wanted
    assert raylet.ready == wanted

    raylet.jobs[-2:] = [JOB, JOB]
    workers.replenish()
    assert raylet.starting == 0  # it isn't looked at while no job comes
    workers.used()
    for _ in range(2):
        workers.replenish()
        raylet.start()
    assert raylet.ready == wanted


def test_a_ray_that_is_gone_is_no_error() -> None:
    raylet = Raylet()
    raylet.dead = True
    ReadyWorkers(raylet, 2).replenish()
    assert raylet.starting == 0
