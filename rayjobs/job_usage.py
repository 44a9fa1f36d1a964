"""What a job used so far, from the ledger of its output."""

from __future__ import annotations

from contextlib import closing

from pipelines.resources import ResourceUsageInfo
from rayjobs.output_directory import OutputDirectory


def usage_of(output: OutputDirectory) -> ResourceUsageInfo:
    """Work time of all attempts, published bytes and finished images; nothing for a job that hasn't run."""
    if not output.exists:
        return ResourceUsageInfo()
    with closing(output.read_ledger()) as ledger:
        return ResourceUsageInfo(
            cpu_seconds=sum(attempt.seconds for attempt in ledger.attempts()),
            disk_bytes=sum(entry.bytes for final in ledger.final_inputs() for entry in final.outputs),
            images=ledger.counts().done,
        )
