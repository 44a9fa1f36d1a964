"""What a job used so far: counted while it runs, and read from the ledger of its output."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace

from actors.ledger.job_facts import JobFacts
from actors.ledger.job_ledger import JobLedger
from pipelines.models import ImageStatus
from pipelines.resources import ResourceUsageInfo
from rayjobs.job.output_directory import OutputDirectory


def usage_of(output: OutputDirectory) -> ResourceUsageInfo:
    """CPU time and memory as workers measured them, published bytes and finished images.

    Nothing for a job that hasn't run; of an output that says nothing of CPU time, the work time of all attempts.
    """
    if not output.exists:
        return ResourceUsageInfo()
    with closing(output.read_ledger()) as ledger:
        return ResourceUsageInfo(
            cpu_seconds=_cpu_seconds(ledger),
            peak_memory_bytes=ledger.facts.read().peak_memory_bytes,
            disk_bytes=sum(entry.bytes for final in ledger.final_inputs() for entry in final.outputs),
            images=ledger.counts().done,
        )


def _cpu_seconds(ledger: JobLedger) -> float:
    measured = ledger.facts.read().cpu_seconds
    return sum(attempt.seconds for attempt in ledger.attempts.every()) if measured is None else measured


class WorkSpent:
    """Sums over the rows of a run; may be used by the threads of several shards."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cpu_seconds, self._peak_bytes, self._known = 0.0, 0, 0

    def add(self, rows: Sequence[ImageStatus]) -> None:
        """Count rows that were committed."""
        with self._lock:
            for row in rows:
                self._cpu_seconds += sum(cpu for _, cpu in row.spent.values())
                self._peak_bytes = max(self._peak_bytes, row.peak_bytes)
                self._known += row.known

    def added_to(self, facts: JobFacts) -> JobFacts:
        """What the ledger is told, given what it says of the runs before."""
        with self._lock:
            return replace(
                facts,
                cpu_seconds=round((facts.cpu_seconds or 0.0) + self._cpu_seconds, 3),
                peak_memory_bytes=max(facts.peak_memory_bytes, self._peak_bytes),
                known=self._known,
            )
