"""Faults of the machine are told as what they are, and never become an input's row."""

from __future__ import annotations

import errno
import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import FailedReason, ImageError, JobError, RayjobsError
from pipelines.kernel_cache import private_directory, unusual_place
from pipelines.machine_faults import MachineFaultError, fault_in, note_fault, noted_fault, without_traceback
from pipelines.stages.block_task import Workspace, render_analyze_export
from pipelines.stages.ray_blocks import telling
from pipelines.stages.worker_journal import WorkerJournal, inputs_in_hand
from rayjobs.job.output_directory import OutputDirectory
from rayjobs.run.last_words import explained
from tests.quick_runs import request, run_here
from tests.runs import final_rows, write_photographs


def raised(call: Callable[[], object]) -> BaseException:
    try:
        call()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is looked at
        return error
    raise AssertionError("nothing was raised")


def module(directory: Path, name: str, text: str) -> Callable[[], object]:
    """What imports a module of this text."""
    (directory / f"{name}.py").write_text(text)
    return lambda: importlib.import_module(name)


def wrapped(error: BaseException, reason: FailedReason) -> BaseException:
    """As the stages make an input's failure of whatever is raised."""

    def stage() -> None:
        try:
            raise error
        except BaseException as cause:
            raise ImageError(reason, f"in a stage: {cause}") from cause

    return raised(stage)


@pytest.mark.parametrize(
    "text",
    [
        "raise ImportError('libGL.so.1: cannot open shared object file')",
        "raise OSError('libGL.so.1: cannot open shared object file')",
        "raise RuntimeError('libGL.so.1 is of another version')",
        "import no_such_library_libGL",
        "from json import libGL",
    ],
)
def test_whatever_a_library_raises_at_its_import_is_the_machines_fault_with_its_path(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    error = raised(module(tmp_path, f"broken{abs(hash(text))}", text))
    for reason in (FailedReason.CORRUPT, FailedReason.OPERATION_ERROR, FailedReason.ANALYSIS_ERROR):
        told = fault_in(wrapped(error, reason))
        assert told is not None
        assert "libGL" in told
        assert "can't be imported on" in told
        assert "\n" not in told
    assert fault_in(wrapped(error, FailedReason.PLUGIN_ERROR)) is None


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (OSError(errno.EROFS, "Read-only file system", "/out/a.png"), True),
        (OSError(errno.EMFILE, "Too many open files", "/in/a.png"), True),
        (OSError(errno.EIO, "Input/output error", "/in/a.png"), False),
        (PermissionError(errno.EACCES, "Permission denied", "/in/a.png"), False),
        (ValueError("no picture"), False),
    ],
)
def test_of_what_the_system_says_only_the_machines_own_is_its_fault(error: Exception, fault: bool) -> None:
    told = fault_in(wrapped(error, FailedReason.CORRUPT))
    assert (told is not None) == fault
    if isinstance(error, OSError) and told is not None:
        assert told.startswith(f"{error.filename}: {error.strerror} on ")


def test_want_of_memory_at_an_import_is_the_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hungry_library.py").write_text("raise MemoryError\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert fault_in(raised(lambda: importlib.import_module("hungry_library"))) is None


def test_who_goes_on_without_a_library_is_not_told_to_install_it() -> None:
    def optional() -> None:
        try:
            importlib.import_module("no_such_accelerator")
        except ImportError:
            raise ValueError("this picture is damaged")  # noqa: B904 - as libraries do

    def needed() -> None:
        try:
            importlib.import_module("no_such_accelerator")
        except ImportError as error:
            raise ValueError("can't work") from error

    assert fault_in(raised(optional)) is None
    assert "no_such_accelerator can't be imported" in str(fault_in(raised(needed)))


@pytest.mark.parametrize("in_hand", [True, False])
def test_an_error_that_an_input_is_charged_with_is_no_fault_of_the_machine(tmp_path: Path, in_hand: bool) -> None:
    """Else one image for which there was no memory would end the job."""
    workspace = Workspace(root=tmp_path, epoch=1, stop=tmp_path / "stop")
    workspace.temporary.mkdir(parents=True)
    journal = WorkerJournal(workspace.temporary)

    def operator(table: Any, recipes: Any, workspace: Workspace) -> Iterator[Any]:
        with journal.block():
            if in_hand:
                journal.started(7)
            raise MemoryError("for its results")
        yield

    with pytest.raises(MemoryError):
        list(telling(operator)(None, {}, workspace))
    assert (noted_fault(workspace.temporary) is None) == in_hand
    assert [(found.input, found.out_of_memory) for found in inputs_in_hand(workspace.temporary)] == [
        (7, True)
    ] * in_hand
    journal.close()


def test_a_codec_that_a_library_was_built_without_is_the_images_trouble() -> None:
    class DelayedImportError(ImportError):
        """As imagecodecs has it."""

    assert fault_in(wrapped(DelayedImportError("jpegxl"), FailedReason.CORRUPT)) is None


@pytest.mark.parametrize("photos", ["jpeg first", "jpeg last"])
def test_a_broken_codec_ends_the_job_before_any_input_gets_a_row_for_it(
    photos: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    (jpeg,) = write_photographs(tmp_path / "in", 1)
    if photos == "jpeg last":
        Image.new("RGB", (20, 20)).save(tmp_path / "in" / "a.png")
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    with pytest.raises(MachineFaultError, match="simplejpeg can't be imported on") as caught:
        run_here(request(tmp_path, {"inputs": ["in/"], "analyses": ["statistics"], "export": {"images": False}}))
    assert "output" not in str(caught.value)
    output = tmp_path / "out"
    assert final_rows(output) == (photos == "jpeg last")
    assert not OutputDirectory(output).temporary.exists()
    assert jpeg.exists()
    monkeypatch.delitem(sys.modules, "simplejpeg")
    state = run_here(request(tmp_path, {"inputs": ["in/"], "analyses": ["statistics"], "export": {"images": False}}))
    assert (state.status, state.failed) == ("completed", 0)


def test_the_driver_hears_of_the_first_fault_that_workers_leave(tmp_path: Path) -> None:
    assert noted_fault(tmp_path) is None
    note_fault(tmp_path, MachineFaultError("numba can't be imported"))
    note_fault(tmp_path, ValueError("later"))
    assert noted_fault(tmp_path) == "numba can't be imported"
    note_fault(tmp_path / "gone", ValueError("nobody listens"))


def test_results_that_a_read_only_file_system_does_not_take_are_no_images_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(tmp_path / "out"))

    write_photographs(tmp_path / "in", 2)
    monkeypatch.setattr("pipelines.stages.block_task.write_part", refused)
    with pytest.raises(MachineFaultError, match="Read-only file system on"):
        run_here(request(tmp_path, {"inputs": ["in/"], "analyses": ["statistics"], "export": {"images": False}}))
    assert final_rows(tmp_path / "out") == 0


@pytest.mark.parametrize(
    ("error", "says", "output"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device", True),
        (OSError(errno.EACCES, "Permission denied", "OUT/report"), "report: Permission denied", True),
        (OSError(errno.EACCES, "Permission denied", "/etc/elsewhere"), "/etc/elsewhere: Permission denied", False),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "Resource temporarily", False),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), "Connection reset by peer", False),
        (KeyError("a mistake of ours"), "unexpected KeyError: 'a mistake of ours'; details: ", False),
    ],
)
def test_an_error_is_blamed_on_the_output_only_if_it_is_the_outputs(
    error: Exception, says: str, output: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if isinstance(error, OSError) and error.filename:
        error.filename = error.filename.replace("OUT", str(tmp_path / "out"))
    write_photographs(tmp_path / "in", 1)
    monkeypatch.setenv("RAYJOBS_HOME", str(tmp_path / "home"))

    def fail() -> None:
        raise error

    with pytest.raises(RayjobsError) as caught:
        run_here(request(tmp_path, {"inputs": ["in/"], "analyses": ["statistics"]}), begin=fail)
    told = str(caught.value)
    assert says in told
    assert told.startswith(f"output {tmp_path / 'out'}") == output
    assert "Traceback" not in told


def test_details_go_to_a_file_and_texts_of_errors_lose_tracebacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYJOBS_HOME", str(tmp_path))
    told = str(explained(ZeroDivisionError("deep\ninside")))
    assert told.startswith("unexpected ZeroDivisionError: deep inside; details: ")
    assert "ZeroDivisionError" in Path(told.partition("details: ")[2]).read_text()
    ray_says = 'a worker is broken: No module\ntraceback: Traceback (most recent call last):\n  File "a.py"\n'
    assert without_traceback(ray_says) == "a worker is broken: No module"
    assert str(explained(JobError(ray_says))).startswith("a worker is broken: No module; details: ")
    assert str(explained(JobError("several\nlines"))) == "several\nlines"


def test_the_private_directory_for_kernels_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    directory = private_directory()
    assert directory.parent == tmp_path
    assert directory.stat().st_mode & 0o777 == 0o700
    directory.chmod(0o777)
    with pytest.raises(PermissionError, match="isn't private to user"):
        private_directory()
    directory.rmdir()
    directory.symlink_to(tmp_path)
    with pytest.raises(PermissionError, match="isn't private to user"):
        private_directory()


def test_an_unusual_place_of_kernels_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert unusual_place() is None
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert str(unusual_place()).startswith(f"compiled kernels are kept in {tmp_path}/rayjobs-kernels-{os.getuid()}: ")


def test_a_worker_that_cannot_begin_raises(tmp_path: Path) -> None:
    """So that its operator tells: nothing that is raised here is an input's."""
    workspace = Workspace(root=tmp_path / "nothing", epoch=1, stop=tmp_path / "stop")
    (tmp_path / "nothing").write_text(json.dumps("in the way"))
    with pytest.raises(OSError, match="Not a directory"):
        list(render_analyze_export([], {}, workspace))
