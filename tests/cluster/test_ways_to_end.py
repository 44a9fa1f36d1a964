"""However a run ends, nothing of it is left: files in the output, in the home, of Ray's session, and processes.

Bounds: Ray's processes are gone 15 s after a driver was killed. Also here, since they need a Ray: code from where the
program was started, and libraries that can't be imported.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.gate import GATED, Gate
from tests.leaks import files_left, processes_left, wait_until
from tests.runs import (
    command,
    environment,
    final_rows,
    golden_tree,
    manifest,
    rayjobs,
    write_job,
    write_photographs,
)

COUNT = 480
SOME = 24
"""Images that a run gets through before it is held up: it is stopped soon after that, five times."""
OUT = "the output"
"""With a space, so that it has to be quoted."""
AGENTS_S = 15.0
"""How long Ray's processes may outlive a killed driver."""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write_photographs(tmp_path / "photos", COUNT)
    write_job(tmp_path, **GATED, output=OUT)
    return tmp_path


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


@pytest.fixture
def ray() -> Iterator[str]:
    """Where Ray keeps its sessions, for ``RAY_TMPDIR``; a short path, since sockets lie below it."""
    directory = tempfile.mkdtemp(prefix="rj", dir="/tmp")
    yield directory
    shutil.rmtree(directory)


def started(place: Path, ray: str, gate: Gate, *arguments: str | Path) -> subprocess.Popen[str]:
    """A run that has made some progress, and won't make much more."""
    before = final_rows(place / OUT)
    gate.shut(after=SOME)
    process = begun(place, ray, gate, *arguments)
    wait_for(process, lambda: final_rows(place / OUT) > before)
    return process


def go_on(process: subprocess.Popen[str], place: Path, gate: Gate) -> None:
    """Let a run that is held up make some more progress."""
    before = final_rows(place / OUT)
    gate.shut(after=SOME)
    wait_for(process, lambda: final_rows(place / OUT) > before)


def begun(place: Path, ray: str, gate: Gate, *arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(place, RAY_TMPDIR=ray, **gate.variables),
        cwd=place,
    )


def wait_for(process: subprocess.Popen[str], condition: Callable[[], bool]) -> None:
    """Until the run has come so far."""
    wait_until(lambda: condition() or process.poll() is not None, timeout_s=120)
    assert process.poll() is None, process.communicate()


def check(output: Path, place: Path, ray: str, *, failed: int = 0) -> None:
    """Nothing is left of a run; the logs of those that failed stay."""
    assert files_left(output, place, Path(ray), failed=failed) == []
    assert processes_left(Path(ray)) == []


def test_whatever_ends_a_run_leaves_nothing_and_it_resumes_to_the_bytes_of_an_unbroken_one(
    place: Path, gate: Gate, ray: str
) -> None:
    output = place / OUT
    golden = rayjobs("run", "job.yaml", "--output", "golden", home=place, RAY_TMPDIR=ray, **gate.variables)
    assert golden.code == 0, golden.err

    stop_by_commands(place, gate, ray)
    stop_by_signals(place, gate, ray)

    process = started(place, ray, gate, "resume", output)
    process.kill()
    process.communicate(timeout=60)
    wait_until(lambda: processes_left(Path(ray)) == [], timeout_s=AGENTS_S)

    gate.open()
    process = begun(place, ray, gate, "resume", output)
    assert process.stderr is not None
    assert any("writing tables" in line for line in iter(process.stderr.readline, ""))
    os.kill(process.pid, signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode in (0, 130), out + err
    check(output, place, ray, failed=1)

    ended = rayjobs("resume", output, home=place, RAY_TMPDIR=ray, **gate.variables)
    assert ended.code == 0, ended.err
    assert {row["status"] for row in manifest(output)} == {"done"}
    assert golden_tree(output) == golden_tree(place / "golden")
    assert not (output / "partial").exists()
    check(output, place, ray, failed=1)  # the killed run's logs stay


def stop_by_commands(place: Path, gate: Gate, ray: str) -> None:
    """Results so far, a pause and a cancellation, asked for by other processes; and a second run, which is refused."""
    output = place / OUT
    process = started(place, ray, gate, "run", "job.yaml", "--json")
    asked = rayjobs("results", output, "--json", home=place)
    assert (asked.code, asked.json["complete"]) == (0, False), asked.err
    so_far = len(manifest(output / "partial"))
    assert so_far == pq.read_metadata(output / "partial/data/analyses.parquet").num_rows > 0
    assert process.poll() is None
    assert not (output / "manifest.parquet").exists()
    go_on(process, place, gate)
    assert rayjobs("pause", output, "--json", home=place).json["status"] == "paused"
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert json.loads(out.strip().splitlines()[-1])["status"] == "paused"
    assert so_far < len(manifest(output / "partial")) == final_rows(output)
    check(output, place, ray)

    process = started(place, ray, gate, "resume", output)
    second = rayjobs("run", "job.yaml", home=place, RAY_TMPDIR=ray, **gate.variables)
    assert (second.code, "another run is writing here" in second.err) == (1, True)
    assert rayjobs("cancel", output, "--json", home=place).json["status"] == "cancelled"
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert rayjobs("cancel", output, "--json", home=place).json["status"] == "cancelled"
    check(output, place, ray)


def stop_by_signals(place: Path, gate: Gate, ray: str) -> None:
    """In the middle, when it says how to go on, and while Ray is starting."""
    output = place / OUT
    for number in (signal.SIGTERM, signal.SIGINT):
        before = final_rows(output)
        process = started(place, ray, gate, "resume", output)
        os.kill(process.pid, number)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 130, err
        assert f"rayjobs resume '{output}'" in out
        state = rayjobs("status", output, "--json", home=place).json
        assert state["status"] == "interrupted"
        assert before < state["done"] < COUNT
        check(output, place, ray)

    process = begun(place, ray, gate, "resume", output, "--json")
    wait_for(process, lambda: any(Path(ray).glob("ray/session_*/logs/raylet.out")))  # Ray is starting
    os.kill(process.pid, signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, json.loads(out)["status"]) == (130, "interrupted")
    check(output, place, ray)


def test_a_library_that_cannot_be_imported_ends_the_job_once_and_before_any_row(tmp_path: Path, ray: str) -> None:
    place, output, stands = tmp_path, tmp_path / "out", tmp_path / "stands"
    write_photographs(place / "photos", 6)
    write_job(place)
    stands.mkdir()
    (stands / "simplejpeg.py").write_text("raise OSError('libjpeg.so.9: cannot open shared object file')\n")
    path = f"{stands}{os.pathsep}{environment(place)['PYTHONPATH']}"
    done = rayjobs("run", "job.yaml", home=place, RAY_TMPDIR=ray, PYTHONPATH=path)
    assert done.code == 1, done.out + done.err
    (line,) = [line for line in done.err.splitlines() if line.startswith("rayjobs: ")]
    assert line.startswith("rayjobs: simplejpeg can't be imported on ")
    assert "libjpeg.so.9: cannot open shared object file" in line
    assert "Traceback" not in done.err
    assert final_rows(output) == 0
    assert files_left(output, place, Path(ray), failed=1) == []  # its logs stay
    assert rayjobs("status", output, "--json", home=place).json["status"] == "failed"
    assert rayjobs("run", "job.yaml", "--json", home=place, RAY_TMPDIR=ray).code == 0


def test_no_code_comes_from_where_the_program_was_started(tmp_path: Path, ray: str) -> None:
    """A file for every module of the standard library and of every installed package; none of them is ever run."""
    write_photographs(tmp_path / "photos", 4)
    job = write_job(tmp_path, export={"images": {"format": "png"}, "data": ["parquet", "csv", "xlsx"], "charts": True})
    here = tmp_path / "here"
    here.mkdir()
    mark = tmp_path / "ran"
    packages = Path(str(sys.modules["numpy"].__file__)).parent.parent
    names = {*sys.stdlib_module_names, "sitecustomize", "usercustomize", "ray_stream", "actors", "pipelines"}
    names |= {path.stem for path in packages.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    for name in names - {"rayjobs"}:
        (here / f"{name}.py").write_text(f"open({str(mark)!r}, 'a').write({name!r} + ' ')\nraise ImportError\n")
    for word in ([str(Path(sys.executable).with_name("rayjobs"))], [sys.executable, "-m", "rayjobs"]):
        variables = {k: v for k, v in environment(tmp_path, RAY_TMPDIR=ray).items() if k != "PYTHONPATH"}
        done = subprocess.run(
            [*word, "run", str(job), "--output", str(tmp_path / f"out{len(word)}")],
            capture_output=True,
            text=True,
            check=False,
            env=variables,
            cwd=here,
        )
        assert done.returncode == 0, done.stderr
        assert not mark.exists(), mark.read_text()
