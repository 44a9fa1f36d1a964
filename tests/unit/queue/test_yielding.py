"""Who is asked to yield: as many as it takes, and nobody in vain; against a search through all sets of them."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from itertools import combinations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from actors.queue.queue_events import Grant, Outcome, Revoke, TaskReport
from actors.queue.task_pools import BATCH, EXPORT, shard_type
from actors.queue.task_queue import TaskQueue
from pipelines.resources import ResourceEstimate
from pipelines.tasks import Task, TaskPriority

URGENT = TaskPriority.URGENT


@dataclass(frozen=True)
class Wants:
    """What a task asks for."""

    cpus: int
    memory: int
    units: int

    @property
    def estimate(self) -> ResourceEstimate:
        custom = {"licence": float(self.units)} if self.units else {}
        return ResourceEstimate(cpus=self.cpus, memory_bytes=self.memory, custom=custom)


wants = st.builds(Wants, cpus=st.integers(0, 3), memory=st.integers(0, 3), units=st.integers(0, 2))
machines = st.builds(Wants, cpus=st.integers(1, 4), memory=st.integers(0, 4), units=st.just(0))


def fits(wanted: Wants, nodes: dict[str, Wants], units: int, held: Collection[tuple[str, Wants]]) -> bool:
    """Whether some node has room beside what is held, and the cluster the units."""
    if sum(each.units for _, each in held) + wanted.units > units and wanted.units:
        return False
    for node, has in nodes.items():
        here = [each for place, each in held if place == node]
        cpus, memory = (has.cpus - sum(e.cpus for e in here), has.memory - sum(e.memory for e in here))
        if (not wanted.cpus or wanted.cpus <= cpus) and (not wanted.memory or wanted.memory <= memory):
            return True
    return not wanted.cpus and not wanted.memory


@settings(max_examples=300, deadline=None)
@given(
    nodes=st.lists(machines, min_size=1, max_size=3),
    units=st.integers(0, 3),
    before=st.lists(st.tuples(wants, st.booleans()), max_size=8),
    urgent=wants,
)
def test_those_yield_whose_room_is_needed_and_used(
    nodes: list[Wants], units: int, before: list[tuple[Wants, bool]], urgent: Wants
) -> None:
    queue = TaskQueue()
    named = {f"n{n}": has for n, has in enumerate(nodes)}
    queue.set_nodes({name: {"cpu": float(has.cpus), "memory": float(has.memory)} for name, has in named.items()})
    queue.set_units("licence", units)
    queue.renew("o", 0.0, 1e9)
    able: set[str] = set()
    held: dict[str, tuple[str, Wants]] = {}
    for n, (each, yields) in enumerate(before):
        if fits(each, named, units, list(held.values())):
            name = f"t{n}"
            task = Task(task_id=name, task_type=name, resources=each.estimate, preemptible=yields)
            queue.submit("o", [(task, TaskPriority.NORMAL)], 0.0)
            (grant,) = [decision for decision in queue.decide(0.0) if isinstance(decision, Grant)]
            held[name] = (grant.node, each)
            able |= {name} if yields else set()
    if not fits(urgent, named, units, ()):
        return  # refused
    queue.submit("o", [(Task(task_id="u", task_type="u", resources=urgent.estimate), URGENT)], 0.0)
    decisions = queue.decide(0.0)
    revoked = {decision.task_id for decision in decisions if isinstance(decision, Revoke)}
    granted = [decision.task_ids for decision in decisions if isinstance(decision, Grant)]

    def fits_without(gone: Collection[str], on: Collection[str] = tuple(named)) -> bool:
        left = [place for name, place in held.items() if name not in gone]
        return fits(urgent, {name: named[name] for name in on}, units, left)

    assert (granted == [("u",)]) == fits_without(())
    if granted or not fits_without(able):
        assert revoked == set(), "nobody is asked in vain"
        return
    assert revoked <= able
    assert fits_without(revoked)
    fewer = list(combinations(sorted(revoked), len(revoked) - 1))
    assert any(
        fits_without(revoked, [node]) and not any(fits_without(some, [node]) for some in fewer) for node in named
    ), "nobody for nothing: there is a node for which all of them have to yield"
    for name in sorted(revoked):
        entry = queue.entry(name)
        assert entry is not None
        queue.report("o", TaskReport(task_id=name, number=entry.number, outcome=Outcome.RELEASED), 0.0)
    first = next(decision for decision in queue.decide(0.0) if isinstance(decision, Grant))
    assert first.task_ids == ("u",)


@settings(max_examples=100, deadline=None)
@given(cpus=st.integers(2, 12), begins_with=st.integers(1, 12), exports=st.integers(1, 3), elastic=st.booleans())
@example(cpus=8, begins_with=2, exports=1, elastic=True)
@example(cpus=8, begins_with=4, exports=1, elastic=True)
def test_a_pool_gives_the_other_its_share_and_no_more(cpus: int, begins_with: int, exports: int, elastic: bool) -> None:
    """Except for what a single task can't begin without; nor is more asked back while the first is being released."""
    begins_with = min(begins_with, cpus)
    queue = TaskQueue()
    queue.set_nodes({"n": {"cpu": float(cpus)}})
    queue.renew("o", 0.0, 1e9)

    def shards(pool: str, count: int, least: int, most: int | None) -> None:
        tasks = [
            Task(
                task_id=f"{pool}-{n}",
                job_id=f"{pool}-{n}",
                task_type=shard_type(pool),
                resources=ResourceEstimate(cpus=least),
                max_cpus=most,
                preemptible=True,
            )
            for n in range(count)
        ]
        queue.submit("o", [(task, TaskPriority.NORMAL) for task in tasks], 0.0)

    shards(BATCH, cpus, 1, None)
    assert len(queue.decide(0.0)) == cpus
    shards(EXPORT, exports, begins_with, cpus if elastic else None)
    revoked = {each.task_id for now in (0.0, 0.7, 1.4, 5.0) for each in queue.decide(now) if isinstance(each, Revoke)}
    share = math.ceil(cpus / 2)
    most = max(share, begins_with)
    assert begins_with <= len(revoked) <= most
    assert len(revoked) == most or not elastic
