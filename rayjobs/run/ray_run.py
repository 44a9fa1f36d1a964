"""The working part of a run: connect to Ray, ask for grants, run shards until nothing is open or somebody stops it."""

from __future__ import annotations

import gc
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from functools import partial

from actors.coordinator.resource_manager import ResourceManager
from actors.coordinator.task_coordinator import TaskCoordinator
from actors.ledger.job_facts import JobFacts
from actors.ledger.job_ledger import JobLedger
from actors.ledger.output_lock import OutputLock
from actors.queue.task_pools import shard_type
from actors.resources.disk_space import disk_space, shortage
from actors.resources.performance_monitor import PerformanceMonitor
from pipelines.errors import JobError
from pipelines.models import ImageStatus
from pipelines.resource_needs import InfeasibleError
from pipelines.resources import ResourceConfig, ResourceEstimate
from pipelines.stages.work_meter import AT_ONCE
from pipelines.tasks import TaskPriority
from rayjobs.job.job_spec import JobSpec
from rayjobs.job.output_directory import OutputDirectory
from rayjobs.job.recipes import JobRecipes
from rayjobs.job.stage_needs import held_per_cpu, of_nodes, required
from rayjobs.results.job_usage import WorkSpent
from rayjobs.results.results_store import ResultsStore
from rayjobs.run.able_nodes import AbleNodes
from rayjobs.run.progress import Display
from rayjobs.run.ray_engine import shard_engines
from rayjobs.run.ray_health import RayHealth
from rayjobs.run.ray_session import Cluster, ray_session
from rayjobs.run.ray_warm_up import memory_per_cpu
from rayjobs.run.ray_workers import WorkerWatch
from rayjobs.run.run_end import RunEnd
from rayjobs.run.run_loop import RunLoop
from rayjobs.run.shard_grants import ShardGrants
from rayjobs.run.shard_runner import ShardContext, stream_rows
from rayjobs.run.signals import stopping_on_signals
from rayjobs.run.stage_units import LeaseMaker


def run_on_ray(  # noqa: PLR0913 - the parts of a run
    spec: JobSpec,
    output: OutputDirectory,
    ledger: JobLedger,
    lock: OutputLock,
    wanted: Mapping[str, str],
    store: ResultsStore,
    display: Display,
    interrupted: threading.Event,
    *,
    resources: ResourceManager | None = None,
) -> RunEnd:
    """Bring every open input of a planned job to its final row, unless the run is stopped before.

    Parameters
    ----------
    resources
        Whose limits, thresholds, providers and monitor hold for the run; one of its own unless given.

    Raises
    ------
    RayjobsError
        No Ray, or a shard that can't be run.
    """
    facts = ledger.facts.read()
    epoch = facts.epoch
    recipes = JobRecipes(spec, wanted, ledger, output.root)
    # Within the caller's session: Ray Data may have been imported since, and only now its logger can be silenced.
    with ray_session(name=spec.name, workers=spec.limits.cpus) as cluster, stopping_on_signals(interrupted):
        spent = WorkSpent()
        with (
            nullcontext(resources) if resources else ResourceManager(ResourceConfig(output=output.root)) as manager,
            closing(TaskCoordinator(manager)) as coordinator,
        ):
            context = ShardContext(
                ledger=ledger,
                epoch=epoch,
                attempts=spec.limits.attempts,
                items=recipes.items,
                store=store,
                committed=partial(_count, spec.name, spent, manager.monitor),
            )
            _refuse_infeasible(manager, required(spec))
            grants = _grants(spec, facts, cluster, coordinator)
            leases = LeaseMaker(spec, grants, manager.unit_totals)
            watch = WorkerWatch(output.temporary / str(epoch), spec.limits.item_timeout)
            health = RayHealth(AbleNodes(of_nodes(required(spec)), cluster.declared))
            loop = RunLoop(
                name=spec.name,
                context=context,
                output=output,
                lock=lock,
                grants=grants,
                engine=shard_engines(spec, output.root, epoch, recipes.by_number, cluster, watch, leases),
                display=display,
                interrupted=interrupted,
                most_failures=facts.max_failures or None,
                shortage=lambda: shortage(disk_space(output.root)),
                held=manager.admission,
                look_after=watch.look,
                leave=watch.leave_streams,
                trouble=partial(_trouble, health, coordinator),
                per_cpu=grants.per_cpu,
                shard_rows=stream_rows(cluster.cpus),
            )
            try:
                with _modules_frozen():
                    end = loop.run()
                ledger.facts.write(spent.added_to(ledger.facts.read()))
                return end
            finally:
                if not health.answers():
                    coordinator.give_up()


def _grants(spec: JobSpec, facts: JobFacts, cluster: Cluster, coordinator: TaskCoordinator) -> ShardGrants:
    return ShardGrants(
        job_id=facts.job_id,
        task_type=shard_type(facts.pool),
        priority=TaskPriority[spec.priority.upper()],
        max_cpus=spec.limits.cpus or cluster.cpus,
        per_cpu=replace(held_per_cpu(spec), memory_bytes=memory_per_cpu(spec)),
        coordinator=coordinator,
    )


def _count(job: str, spent: WorkSpent, monitor: PerformanceMonitor, rows: Sequence[ImageStatus]) -> None:
    """Add committed rows to the work that the job has cost, and to the metrics."""
    spent.add(rows)
    work: dict[tuple[str, str | None], list[float]] = defaultdict(list)
    for row in rows:
        stages = row.spent or {AT_ONCE: (row.seconds, 0.0)}
        for stage, (seconds, _) in stages.items():
            work[stage, row.reason].append(seconds)
    for (stage, reason), each in work.items():
        monitor.ended(job=job, stage=stage, reason=reason, count=len(each), seconds=sum(each))


def _trouble(health: RayHealth, coordinator: TaskCoordinator) -> str | None:
    why = health.trouble()
    if health.ray_is_dead:
        coordinator.give_up()
    return why


def _refuse_infeasible(resources: ResourceManager, per_image: ResourceEstimate) -> None:
    try:
        resources.check_feasible("image", per_image)
    except InfeasibleError as error:
        raise JobError(f"requires: {error}") from error


@contextmanager
def _modules_frozen() -> Iterator[None]:
    """Spare the garbage collector the modules: going through all of their objects takes it 0.1 s at a time.

    A program that has frozen its own objects, as the command line does, keeps them so.
    """
    ours = gc.get_freeze_count() == 0
    if ours:
        gc.collect()  # what is garbage now would stay until the end
    gc.freeze()
    try:
        yield
    finally:
        if ours:
            gc.unfreeze()
