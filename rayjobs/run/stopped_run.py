"""What is left of a run that was stopped or killed: the word that it was, and temporary files to clear."""

from __future__ import annotations

import time
from contextlib import closing, suppress
from dataclasses import replace

from actors.ledger.job_ledger import JobLedger
from actors.ledger.output_lock import OutputLock
from pipelines.stages.thumbnails import SUFFIX as THUMBNAIL_SUFFIX
from pipelines.storage.local_files import (
    close_directory,
    discard_directory,
    move_own,
    own_directories,
    remove_unfinished,
)
from rayjobs.job.job_state import JobStatus
from rayjobs.job.output_directory import OutputDirectory
from rayjobs.results.published import adopt_published


def set_stopped(output: OutputDirectory, status: JobStatus) -> None:
    """Note that a job which nobody is running was cancelled or paused."""
    lock = OutputLock(output.lock)
    try:
        with closing(output.open_ledger()) as ledger:
            ledger.facts.write(replace(ledger.facts.read(), status=status, finished=time.time()))
            ledger.durable()
    finally:
        lock.release()


def clear_stopped(output: OutputDirectory) -> None:
    """Remove temporary files that a run which was stopped or killed left; results stay. One that runs is left alone."""
    if not output.exists or output.running:
        return
    lock = OutputLock(output.lock)
    try:
        with closing(output.open_ledger()) as ledger:
            clear_temporary(ledger, output)
    finally:
        lock.release()


def clear_temporary(ledger: JobLedger, output: OutputDirectory) -> None:
    """Note what the workers of earlier runs may have published, and remove their temporary files but for thumbnails.

    A worker may outlive its driver for a while. It publishes from this directory, so once that has another name it
    publishes nothing any more, and what it published before stands in its journal.
    """
    for directory in own_directories(output.temporary):
        closed = close_directory(directory)
        adopt_published(ledger, output, closed)
        with suppress(OSError):  # on a full disk the report makes them anew
            move_own(closed, THUMBNAIL_SUFFIX, output.thumbnails)
        discard_directory(closed)
    remove_unfinished(output.control)
