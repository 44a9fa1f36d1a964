"""Shards: whom a crash is charged to, how often it is tried, and what a stop leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipelines import retry_rules
from pipelines.errors import FailedReason, JobError
from pipelines.models import WorkItem
from rayjobs.run.shard_runner import run_shard
from rayjobs.run.worker_watch import Crash
from tests.shards import FakeEngine, SmallJob

Make = Callable[..., SmallJob]
KILLED = Crash(FailedReason.CRASHED, "gone")


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[SmallJob] = []

    def make(count: int = 5, attempts: int = 2) -> SmallJob:
        made.append(SmallJob(tmp_path, count, attempts))
        return made[-1]

    yield make
    for job in made:
        job.ledger.close()


def never() -> bool:
    return False


def final(job: SmallJob) -> list[tuple[str, str | None]]:
    return [(one.status, one.reason) for one in job.ledger.final_inputs()]


def test_all_inputs_become_final_and_their_results_are_sealed(make: Make) -> None:
    job = make()
    engine = FakeEngine(job, job.workspace())
    assert run_shard(0, 5, engine, job.context, never)
    assert final(job) == [("done", None)] * 5
    assert len(job.committed) == 5
    (request,) = engine.sealed
    assert pq.read_table(request.target).num_rows == 5
    assert job.context.store.to_seal(0) is None
    assert engine.alone_with == []


def test_a_large_shard_is_streamed_piece_by_piece(make: Make) -> None:
    job = make()
    ids = job.ids()
    engine = FakeEngine(job, job.workspace(), stream_rows=2, deadly=[ids["002"]])
    assert run_shard(0, 5, engine, job.context, never)
    assert engine.streamed == [
        [ids["000"], ids["001"]],
        [ids["002"], ids["003"]],
        [ids["003"], ids["004"]],
    ]
    assert engine.alone_with == [ids["002"]]
    assert final(job) == [("done", None)] * 5
    (request,) = engine.sealed
    assert pq.read_table(request.target).num_rows == 5


def test_only_the_input_in_hand_is_tried_alone_and_the_others_stream_again(make: Make) -> None:
    job = make()
    ids = job.ids()
    engine = FakeEngine(job, job.workspace(), deadly=[ids["002"]])
    assert run_shard(0, 5, engine, job.context, never)
    assert engine.alone_with == [ids["002"]]
    assert engine.streamed == [sorted(ids.values()), [ids["003"], ids["004"]]]
    assert final(job) == [("done", None)] * 5
    assert [job.ledger.attempts.of(number) for number in sorted(ids.values())] == [1, 1, 2, 1, 1]


@pytest.mark.parametrize("attempts", [1, 2, 3])
def test_an_input_fails_after_as_many_attempts_as_the_job_allows(make: Make, attempts: int) -> None:
    job = make(attempts=attempts)
    ids = job.ids()
    engine = FakeEngine(job, job.workspace(), deadly=[ids["001"]], outcomes={ids["001"]: [KILLED] * 9})
    assert run_shard(0, 5, engine, job.context, never)
    assert final(job) == [("done", None), ("failed", "crashed"), *[("done", None)] * 3]
    assert job.ledger.attempts.of(ids["001"]) == attempts
    assert engine.alone_with == [ids["001"]] * (attempts - 1)
    assert all(job.ledger.attempts.of(number) == 1 for name, number in ids.items() if name != "001")


def test_the_reason_is_that_of_the_last_attempt(make: Make) -> None:
    job = make()
    ids = job.ids()
    memory = Crash(FailedReason.OUT_OF_MEMORY, "too much")
    engine = FakeEngine(job, job.workspace(), deadly=[ids["000"]], outcomes={ids["000"]: [memory] * 9})
    assert run_shard(0, 5, engine, job.context, never)
    assert final(job)[0] == ("failed", "out_of_memory")


def test_one_that_its_watchdog_ended_failed_over_the_time_limit(make: Make) -> None:
    job = make(attempts=1)
    engine = FakeEngine(job, job.workspace(), hangs=[job.ids()["004"]])
    assert run_shard(0, 5, engine, job.context, never)
    (*others, last) = job.ledger.final_inputs()
    assert (last.reason, last.message) == ("timeout", "took longer than limits.item_timeout (60 s)")
    assert {one.status for one in others} == {"done"}


def test_workers_that_never_start_an_input_are_no_fault_of_an_image(make: Make) -> None:
    job = make()
    engine = FakeEngine(job, job.workspace(), broken=True)
    with pytest.raises(JobError, match="workers end, or do nothing, before they start"):
        run_shard(0, 5, engine, job.context, never)
    assert len(engine.streamed) == retry_rules.FRUITLESS_STREAM.tries
    assert job.ledger.counts().open == 5


def test_a_stop_hands_back_what_is_not_done_and_seals_nothing(make: Make) -> None:
    job = make()
    ids = job.ids()
    workspace = job.workspace()
    engine = FakeEngine(job, workspace, before=lambda item: workspace.stop.touch() if item.id == ids["002"] else None)
    assert not run_shard(0, 5, engine, job.context, workspace.stop.exists)
    assert [entry.id for entry in job.ledger.open_inputs(0, 5)] == [ids["002"], ids["003"], ids["004"]]
    assert engine.sealed == []
    assert all(job.ledger.attempts.of(ids[name]) == 0 for name in ("002", "003", "004"))
    workspace.stop.unlink()
    assert run_shard(0, 5, FakeEngine(job, workspace), job.context, workspace.stop.exists)
    assert final(job) == [("done", None)] * 5


def test_a_shard_touches_its_range_alone(make: Make) -> None:
    job = make()
    engine = FakeEngine(job, job.workspace())
    assert run_shard(1, 3, engine, job.context, never)
    assert [entry.seq for entry in job.ledger.open_inputs(0, 5)] == [0, 3, 4]
    assert engine.sealed == []


def test_one_that_finds_no_memory_is_tried_alone_and_told_why_and_how_often_still(make: Make) -> None:
    job = make(attempts=3)
    number = job.ids()["002"]
    memory = Crash(FailedReason.OUT_OF_MEMORY, "too much")
    engine = FakeEngine(job, job.workspace(), starving=[number], outcomes={number: [memory]})
    assert run_shard(0, 5, engine, job.context, never)
    assert final(job) == [("done", None)] * 5
    assert engine.told == [(FailedReason.OUT_OF_MEMORY, 2), (FailedReason.OUT_OF_MEMORY, 1)]
    assert job.ledger.attempts.of(number) == 3


def test_without_a_further_attempt_want_of_memory_is_the_end(make: Make) -> None:
    job = make(attempts=1)
    engine = FakeEngine(job, job.workspace(), starving=[job.ids()["002"]])
    assert run_shard(0, 5, engine, job.context, never)
    assert final(job)[2] == ("failed", "out_of_memory")
    assert engine.alone_with == []


def test_what_a_dead_node_had_in_hand_runs_again_uncharged(make: Make) -> None:
    job = make(attempts=1)
    number = job.ids()["002"]
    workspace = job.workspace()
    engine = FakeEngine(job, workspace, deadly=[number], node_dies=True)

    def recover(item: WorkItem) -> None:
        if len(engine.streamed) == 2:
            engine.deadly = ()

    engine.before = recover
    assert run_shard(0, 5, engine, job.context, never)
    assert final(job) == [("done", None)] * 5
    assert job.ledger.attempts.of(number) == 1
    assert engine.alone_with == []


def test_one_under_which_node_after_node_dies_is_the_cause(make: Make) -> None:
    job = make(attempts=1)
    engine = FakeEngine(job, job.workspace(), deadly=[job.ids()["002"]], node_dies=True)
    assert run_shard(0, 5, engine, job.context, never)
    assert final(job) == [("done", None)] * 2 + [("failed", "crashed")] + [("done", None)] * 2
    assert len(engine.streamed) == retry_rules.NODE_DEATH.tries + 1


def test_one_whose_process_cannot_be_ended_takes_no_further_cpu(make: Make) -> None:
    job = make(attempts=3)
    number = job.ids()["002"]
    kept = Crash(FailedReason.TIMEOUT, "kept", final=True)
    engine = FakeEngine(job, job.workspace(), deadly=[number], outcomes={number: [kept, kept]})
    assert run_shard(0, 5, engine, job.context, never)
    assert final(job)[2] == ("failed", "timeout")
    assert engine.alone_with == [number]
