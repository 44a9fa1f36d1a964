"""Clearing up after a driver that was killed, while workers that outlived it are still at work."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path

import pytest

from actors.ledger.job_ledger import JobLedger
from pipelines.errors import FailedReason, ImageError
from pipelines.stages.publish import Publisher
from pipelines.stages.worker_journal import WorkerJournal
from pipelines.storage.local_files import sha256_of
from rayjobs.job.output_directory import OutputDirectory
from rayjobs.run.stopped_run import clear_stopped


@pytest.fixture
def output(tmp_path: Path) -> OutputDirectory:
    """An output whose driver is gone, with the temporary directory of its run."""
    found = OutputDirectory(tmp_path / "out")
    (found.temporary / "1").mkdir(parents=True)
    JobLedger(found.ledger).close()
    return found


def publish_until_refused(output: OutputDirectory, worker: int, begun: threading.Barrier) -> ImageError:
    """Publish one file after another, as a worker does that nobody has told that its driver is gone."""
    directory = output.temporary / "1"
    with closing(WorkerJournal(directory)) as journal:
        publisher = Publisher(output.root, directory, journal)
        for number in range(1_000_000):
            try:
                publisher.publish("image", f"images/{worker}-{number}.jpg", b"%d" % number)
            except ImageError as error:
                return error
            if number == 20:
                begun.wait()
    raise AssertionError("it was never refused")


def test_every_file_of_a_worker_that_goes_on_is_known_and_none_comes_after(output: OutputDirectory) -> None:
    begun, errors = threading.Barrier(4), []
    workers = [
        threading.Thread(target=lambda worker=worker: errors.append(publish_until_refused(output, worker, begun)))
        for worker in range(3)
    ]
    for thread in workers:
        thread.start()
    begun.wait()
    clear_stopped(output)
    with closing(output.read_ledger()) as ledger:
        known = {path for path, _ in ledger.files.known_below(["images/"])}
    for thread in workers:
        thread.join()
    files = {f"images/{path.name}" for path in (output.root / "images").iterdir()}
    assert len(files) > 60
    assert files <= known
    assert [error.reason for error in errors] == [FailedReason.WRITE_ERROR] * 3
    assert not list(output.temporary.iterdir())


def test_a_task_that_begins_only_then_does_not_begin(output: OutputDirectory) -> None:
    clear_stopped(output)
    with pytest.raises(FileNotFoundError):
        WorkerJournal(output.temporary / "1")
    assert not list(output.temporary.iterdir())


def test_what_an_interrupted_clearing_left_is_cleared_by_the_next(output: OutputDirectory) -> None:
    with closing(WorkerJournal(output.temporary / "1")) as journal:
        Publisher(output.root, output.temporary / "1", journal).publish("image", "a.jpg", b"pixels")
    (output.temporary / "1").rename(output.temporary / f"closed-{'0' * 32}")
    clear_stopped(output)
    with closing(output.read_ledger()) as ledger:
        assert ledger.files.known(["a.jpg"]) == (("a.jpg", sha256_of(output.root / "a.jpg")),)
        assert [kept.file.path for kept in ledger.files.kept([])] == ["a.jpg"]
    assert (output.root / "a.jpg").read_bytes() == b"pixels"
    assert not list(output.temporary.iterdir())
