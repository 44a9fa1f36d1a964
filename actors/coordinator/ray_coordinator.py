"""The actor that carries calls to the coordinator, and how a driver finds or creates it.

One per Ray cluster: named, detached, on the head node, restarted without end; it starts again from the ledger, and
ends by itself soon after the last driver has gone. Calls are sent again when their answer is lost, which is harmless,
because ``coordinator_service`` knows them by their request id.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import ray
from ray import cloudpickle
from ray.exceptions import GetTimeoutError, RayActorError

from actors.coordinator.cluster_ledger import ClusterLedger, ledger_path
from actors.coordinator.coordinator_service import Attached, CoordinatorService, News
from actors.home import rayjobs_home
from actors.queue.queue_events import TaskReport, TaskWord
from actors.queue.queue_lines import Kind
from pipelines import retry_rules
from pipelines.errors import RayjobsError
from pipelines.resource_needs import CPU, GPU, MEMORY
from pipelines.tasks import QueueStatus, Task, TaskPriority, TaskStatus

NAMESPACE = "rayjobs"
NAME = "coordinator"
HEAD = "node:__internal_head__"
POLL_S = 2.0
"""A question for news is answered after so long, even when there are none."""
TICK_S = 0.5
NODES_S = 2.0
"""How often the cluster's nodes are looked at."""
IDLE_S = 6.0
"""When nobody has held a lease for so long the actor ends."""
MAX_PENDING_CALLS = 10_000
ANSWER_S = 20.0
"""How long a single question may take."""

log = logging.getLogger(__name__)

_Answer = TypeVar("_Answer")
_OUR_NAMES = {"CPU": CPU, "GPU": GPU, "memory": MEMORY}


class CoordinatorActor:
    """See the module's text; its constructor takes strings only, since Ray keeps the arguments for restarts."""

    def __init__(self, home: str, cluster_id: str) -> None:
        _forget_directories_of_creator()
        path = ledger_path(Path(home) if home else rayjobs_home(), cluster_id)
        self._service = CoordinatorService(ClusterLedger(path), time.monotonic())
        self._told: dict[str, asyncio.Event] = {}
        self._nodes_seen = float("-inf")
        self._see_nodes()
        self._clock = asyncio.get_running_loop().create_task(self._run_clock())

    async def attach(
        self, owner: str, open_tasks: Sequence[str], held: Sequence[Kind], units: Mapping[str, float]
    ) -> Attached:
        return self._do(lambda now: self._service.attach(owner, open_tasks, held, units, now))

    async def news(self, owner: str, incarnation: str, seen: int) -> News | None:
        """Answer as soon as there is something to tell, or after ``POLL_S``."""
        told = self._told.setdefault(owner, asyncio.Event())
        deadline = time.monotonic() + POLL_S
        while True:
            told.clear()
            news = self._service.news(owner, incarnation, seen, time.monotonic())
            left = deadline - time.monotonic()
            if news is None or news.decisions or left <= 0:
                return news
            try:
                await asyncio.wait_for(told.wait(), left)
            except TimeoutError:
                continue

    async def close_owner(self, owner: str) -> None:
        self._do(lambda now: self._service.close_owner(owner, now))
        told = self._told.pop(owner, None)
        if told is not None:
            told.set()  # its question for news is answered at once

    async def submit(self, request_id: str, owner: str, packed: bytes) -> bool:
        tasks: list[tuple[Task, TaskPriority]] = cloudpickle.loads(packed)
        return self._do(lambda now: self._service.submit(request_id, owner, tasks, now))

    async def cancel(self, request_id: str, owner: str, task_id: str) -> bool:
        return self._do(lambda now: self._service.cancel(request_id, owner, task_id, now))

    async def set_priority(self, request_id: str, owner: str, task_id: str, priority: TaskPriority) -> bool:
        return self._do(lambda now: self._service.set_priority(request_id, owner, task_id, priority, now))

    async def set_limit(self, request_id: str, owner: str, task_type: str, limit: int | None) -> None:
        self._do(lambda now: self._service.set_limit(request_id, owner, task_type, limit, now))

    async def set_units(self, request_id: str, owner: str, name: str, total: float) -> None:
        self._do(lambda now: self._service.set_units(request_id, owner, name, total, now))

    async def withhold(self, owner: str, held: Sequence[Kind]) -> None:
        self._do(lambda now: self._service.withhold(owner, held, now))

    async def report(self, owner: str, reports: Sequence[TaskReport]) -> None:
        self._do(lambda now: self._service.report(owner, reports, now))

    async def tell(self, task_id: str, number: int, word: TaskWord) -> None:
        self._do(lambda _: self._service.tell(task_id, number, word))

    async def outcomes(self, task_ids: Sequence[str]) -> list[tuple[TaskStatus, str | None, str | None] | None]:
        return self._service.outcomes(task_ids)

    async def status(self) -> QueueStatus:
        return self._service.status()

    async def free(self) -> dict[str, float]:
        return self._service.free()

    def _do(self, call: Callable[[float], _Answer]) -> _Answer:
        """Make a changing call, and wake those who wait for what it decided."""
        try:
            return call(time.monotonic())
        except sqlite3.Error:
            # What is in memory may be ahead of the ledger now; a new incarnation starts from the ledger, the truth.
            log.exception("the cluster's ledger can't be written; starting again from what is in it")
            os._exit(1)
        finally:
            for owner in self._service.take_told():
                if owner in self._told:
                    self._told[owner].set()

    def _see_nodes(self) -> None:
        now = time.monotonic()
        if now - self._nodes_seen >= NODES_S:
            self._nodes_seen = now
            nodes = {node["NodeID"]: _amounts(node["Resources"]) for node in ray.nodes() if node["Alive"]}
            self._do(lambda now: self._service.set_nodes(nodes, now))

    async def _run_clock(self) -> None:
        while self._service.idle_s(time.monotonic()) < IDLE_S:
            await asyncio.sleep(TICK_S)
            try:
                self._do(self._service.tick)
                self._see_nodes()
            except Exception:  # without this clock no lease would ever run out
                log.exception("the coordinator's clock failed at a tick; it goes on with the next")
        self._service.shut()
        ray.kill(ray.get_actor(NAME, namespace=NAMESPACE), no_restart=True)


def _forget_directories_of_creator() -> None:
    """Let no code come from where the driver that happened to create the coordinator was started; it outlives that.

    Ray puts those directories before all others. One that these packages themselves lie in stays.
    """
    ours = Path(__file__).resolve().parents[2]
    for directory in ray._private.worker.global_worker.core_worker.get_job_config().py_driver_sys_path:
        if directory in sys.path and Path(directory).resolve() != ours:
            sys.path.remove(directory)


def _amounts(resources: dict[str, float]) -> dict[str, float]:
    """What a node has, in our names; without what Ray adds for itself."""
    return {
        _OUR_NAMES.get(name, name): amount
        for name, amount in resources.items()
        if not name.startswith("node:") and name != "object_store_memory"
    }


def find_or_create(home: str) -> Any:
    """A handle of the cluster's coordinator; two drivers that create it at the same time get the same one."""
    cluster_id = ray.get_runtime_context().get_session_name()
    return (
        ray.remote(CoordinatorActor)
        .options(
            name=NAME,
            namespace=NAMESPACE,
            lifetime="detached",
            get_if_exists=True,
            max_restarts=retry_rules.COORDINATOR.retries,
            max_task_retries=retry_rules.COORDINATOR.retries,
            max_pending_calls=MAX_PENDING_CALLS,
            num_cpus=0,
            resources={HEAD: 0.001},
        )
        .remote(home, cluster_id)
    )


def free_of_grants() -> dict[str, float]:
    """What the coordinator's grants leave of each resource; empty where there is no coordinator, and so no grant.

    Raises
    ------
    RayjobsError
        It doesn't answer.
    """
    try:
        free: dict[str, float] = ray.get(ray.get_actor(NAME, namespace=NAMESPACE).free.remote(), timeout=ANSWER_S)
    except (ValueError, RayActorError):  # it ends when nobody holds anything
        return {}
    except GetTimeoutError:
        raise RayjobsError(f"the coordinator has not said within {ANSWER_S:g} s what is free") from None
    return free


def home_of_head() -> str:
    """``$RAYJOBS_HOME`` as the coordinator is to use it: ours on the head node, else the head's own."""
    here = ray.get_runtime_context().get_node_id()
    on_head = any(node["NodeID"] == here and HEAD in node["Resources"] for node in ray.nodes())
    return str(rayjobs_home().absolute()) if on_head else ""
