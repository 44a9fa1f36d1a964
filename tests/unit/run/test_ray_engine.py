"""What a shard's stream is told of the Ray that it runs on."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from actors.resources.cluster_view import Node
from rayjobs.job.job_file import parse_job
from rayjobs.run import ray_engine
from rayjobs.run.ray_session import Cluster
from rayjobs.run.shard_grants import ShardGrants
from rayjobs.run.stage_units import LeaseMaker


@pytest.mark.parametrize(("alone", "granted", "takes_all"), [(True, 4, True), (True, 3, False), (False, 4, False)])
def test_a_shard_takes_all_of_a_ray_that_is_its_own_and_has_no_more(
    alone: bool, granted: int, takes_all: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = [Node(name="a", total={"cpu": 4, "memory": 2.0**33})]
    monkeypatch.setattr(ray_engine, "RayCluster", lambda: SimpleNamespace(nodes=lambda: nodes))
    monkeypatch.setattr(ray_engine, "is_alone", lambda: alone)
    spec = parse_job(json.dumps({"name": "job", "inputs": ["in/"], "output": "out"}))
    cluster = Cluster(id="ray", cpus=4, directory=None, declared=frozenset())
    leases = LeaseMaker(spec, ShardGrants(job_id="job"), dict)
    watch = ray_engine.WorkerWatch(tmp_path, None)
    engine = ray_engine.shard_engines(spec, tmp_path, 1, {}, cluster, watch, leases)(
        "shard", granted, tmp_path / "stop"
    )
    assert (engine.options.slots, engine.options.takes_all) == (granted, takes_all)
