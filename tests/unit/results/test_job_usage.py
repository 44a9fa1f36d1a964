"""What a job used: measured in the workers, stage by stage, and kept with its output."""

from __future__ import annotations

import psutil
import pytest

from pipelines.stages.work_meter import WorkMeter, peak_memory_bytes
from rayjobs.job.output_directory import OutputDirectory
from rayjobs.results.job_usage import usage_of
from tests.places import Place


def test_a_meter_counts_work_and_not_what_fails() -> None:
    meter = WorkMeter()
    with meter.stage("render"):
        sum(range(200_000))
    with pytest.raises(ValueError, match="wrong"), meter.stage("analyze"):
        raise ValueError("wrong")
    ((seconds, cpu_seconds),) = meter.spent.values()
    assert cpu_seconds > 0
    assert seconds > 0


def test_the_peak_of_memory_is_that_of_the_process() -> None:
    before = peak_memory_bytes()
    assert before >= psutil.Process().memory_info().rss * 0.5
    ballast = bytearray(before)  # twice as much as ever
    ballast[::4096] = b"x" * len(ballast[::4096])
    assert peak_memory_bytes() >= len(ballast)


def test_rows_say_what_each_stage_took_and_the_ledger_what_all_did(place: Place) -> None:
    (place.base / "in/p0.png").write_bytes(b"no image")
    place.run()
    done = [row for row in place.rows if row.status == "done"]
    assert [set(row.spent) for row in done] == [{"render", "analyze", "export"}] * 3
    for row in done:
        assert 0 < sum(seconds for seconds, _ in row.spent.values()) <= row.seconds
    assert [dict(row.spent) for row in place.rows if row.status == "failed"] == [{}]
    usage = usage_of(OutputDirectory(place.out))
    assert usage.images == 3
    assert abs(usage.cpu_seconds - sum(cpu for row in done for _, cpu in row.spent.values())) < 0.01
    assert usage.peak_memory_bytes == max(row.peak_bytes for row in place.rows) > 10_000_000
    assert usage.disk_bytes == sum(len(data) for data in place.listed().values())
