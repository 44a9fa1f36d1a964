"""Commands that list and look: what there is, with parameters; what is wrong with this machine; what would be done."""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import pty
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data

from actors.ledger.job_ledger import JobLedger
from pipelines.analyses import ANALYSES
from pipelines.models import ImageOperation
from pipelines.operations import OPERATIONS
from pipelines.operations.chain import apply_operations
from rayjobs.command_line.cli import main
from rayjobs.command_line.looking import _rate_of
from tests.places import Place
from tests.runs import rayjobs, write_job, write_photographs

Output = pytest.CaptureFixture[str]


def listed(capsys: Output, *arguments: str) -> Any:
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_operations_are_listed_with_parameters(capsys: Output) -> None:
    rows = {row["name"]: row for row in listed(capsys, "operations")}
    assert rows.keys() == OPERATIONS.keys()
    sigma = rows["gaussian"]["parameters"]["sigma"]
    assert sigma["type"] == "number"
    assert sigma["description"]
    assert main(["operations"]) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {name} " in f"\n{out}" for name in OPERATIONS)
    assert "      sigma " in out


def test_analyses_are_listed_with_columns(capsys: Output) -> None:
    rows = {row["name"]: row for row in listed(capsys, "analyses")}
    assert rows.keys() == ANALYSES.keys()
    columns = {column["name"]: column for column in rows["sharpness"]["columns"]}
    assert columns["sharpness_brenner"]["unit"] == "level²"
    assert rows["objects"]["grain"] == "object"
    assert {column["name"] for column in rows["objects"]["object_columns"]} >= {"label", "area"}
    assert main(["analyses"]) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {name} " in f"\n{out}" for name in ANALYSES)


def test_charts_and_engines_are_listed(capsys: Output) -> None:
    found = listed(capsys, "charts")
    assert [chart["name"] for chart in found["charts"]][:2] == ["color_histogram", "luma_waveform"]
    assert found["engines"] == ["fast", "matplotlib"]
    assert main(["charts"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "engines: fast, matplotlib"


def test_without_plug_ins_the_list_says_how_to_write_one(tmp_path: Path) -> None:
    done = rayjobs("extensions", home=tmp_path)
    assert (done.code, done.out) == (0, "no plug-ins are installed; `rayjobs new-plugin NAME` writes one\n")


def test_a_healthy_machine_passes(tmp_path: Path) -> None:
    """What the machine can't help, such as little room in /dev/shm, is a warning at most."""
    done = rayjobs("doctor", "--no-ray", "--json", home=tmp_path)
    findings = {row["what"]: row for row in map(json.loads, done.out.splitlines())}
    assert done.code == 0, done.out
    assert findings.keys() == {
        *("Python", "packages", "our packages", "compiled kernels", "temporary files", "shared memory"),
        *("RAYJOBS_HOME", "authentication", "kept Ray"),
    }
    assert findings["RAYJOBS_HOME"] == {"verdict": "ok", "what": "RAYJOBS_HOME", "text": str(tmp_path)}


def test_what_is_wrong_is_told_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = rayjobs(
        "doctor",
        "--no-ray",
        home=tmp_path / "file/home",
        cwd=tmp_path,
        RAY_ADDRESS="192.0.2.1:6379",
        RAY_AUTH_MODE="disabled",
    )
    assert done.code == 1
    lines = dict(line.split(": ", 1) for line in done.out.splitlines())
    assert lines["problem  RAYJOBS_HOME"].endswith("Not a directory; set RAYJOBS_HOME to a directory of yours")
    assert "192.0.2.1:6379 is reachable without a token" in lines["problem  authentication"]
    assert lines.keys() >= {"ok       Python"}


def test_a_plan_says_what_is_left_out_and_why(tmp_path: Path) -> None:
    photos = write_photographs(tmp_path / "photos", 4)
    (tmp_path / "photos/notes.txt").write_text("not an image")
    os.symlink("nowhere.jpg", tmp_path / "photos/broken-link.jpg")
    job = write_job(tmp_path, exclude=["**/photo-0001.jpg"], inputs=["photos/", "missing.jpg"])
    plan = rayjobs("plan", job, "--json", home=tmp_path).json
    assert (plan["total"], plan["to_do"]) == (len(photos) + 2, 3)
    left_out = {Path(entry["input"]).name: (entry["status"], entry["reason"]) for entry in plan["left_out"]}
    assert left_out == {
        "photo-0001.jpg": ("skipped", "excluded"),
        "broken-link.jpg": ("failed", "missing"),
        "missing.jpg": ("failed", "missing"),
    }
    assert plan["ignored"] == {".txt": 1}
    text = rayjobs("plan", job, home=tmp_path).out
    assert "test-job: 6 inputs, 3 to do, 0 finished already" in text
    assert "left out:   1 excluded" in text
    assert "  excluded       " in text
    assert "ignored:    1 files that don't look like images: .txt" in text
    assert not (tmp_path / "out").exists()


def test_the_program_alone_helps(capsys: Output) -> None:
    assert main([]) == 0
    out = capsys.readouterr().out
    assert "usage: rayjobs" in out
    assert "Submit a job to a cluster" in out


def test_help_is_a_command_as_well(capsys: Output) -> None:
    for words, told in ((["help"], "usage: rayjobs [-h]"), (["help", "plan"], "usage: rayjobs plan")):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 0
        assert capsys.readouterr().out.startswith(told)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["rnu"], "rayjobs: unknown command 'rnu'; did you mean 'run'"),
        (["xyzzy"], "rayjobs: unknown command 'xyzzy'; `rayjobs --help` lists them"),
        (["plan", "--jsn", "job.yaml"], "rayjobs plan: unknown argument '--jsn'; did you mean '--json'"),
        (["plan", "a.yaml", "b.yaml"], "rayjobs plan: unknown argument 'b.yaml'; `rayjobs plan --help` says what"),
        (["priority", "out", "hihg"], "rayjobs priority: unknown priority 'hihg'; did you mean 'high'?"),
    ],
)
def test_a_mistyped_word_is_told_with_what_is_near(words: list[str], told: str, capsys: Output) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith(told)


def test_an_operation_is_explained_with_an_example_and_a_picture(tmp_path: Path, capsys: Output) -> None:
    assert main(["operations", "gaussian"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("gaussian\n\nBlur with a Gaussian.\n")
    assert "sigma              number, above 0 to 200; 1.0 unless given" in out
    assert "    - gaussian: {sigma: 2}" in out
    assert [row["name"] for row in listed(capsys, "operations", "gaussian")] == ["gaussian"]
    picture = tmp_path / "gaussian.png"
    assert main(["operations", "gaussian", "--picture", str(picture)]) == 0
    pixels = np.asarray(Image.open(picture))
    before, after = pixels[:, :512], pixels[:, -512:]
    assert np.array_equal(before, data.astronaut())
    assert np.array_equal(after, apply_operations(before, [ImageOperation("gaussian", {"sigma": 2})]).pixels)
    assert main(["operations", "gaussian", "--picture", str(picture)]) == 1
    assert main(["operations", "lut3d", "--picture", str(tmp_path / "lut.png")]) == 1
    assert not (tmp_path / "lut.png").exists()


@pytest.mark.parametrize("columns", [40, 80])
def test_explanations_fit_the_terminal(columns: int, monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for section, registry in (("operations", OPERATIONS), ("analyses", ANALYSES)):
        for name in registry:
            assert main([section, name]) == 0
            before, _, after = capsys.readouterr().out.partition("\nIn a job file:\n")  # to be copied: as it is
            text = before + after.partition("\n\n")[2].partition("A picture of it")[0]
            assert [line for line in text.splitlines() if len(line) > columns and " " in line.strip()] == []
            words = (inspect.getdoc(registry[name].function) or "").replace("``", "`").split()
            assert " ".join(words) in " ".join(text.split())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["operations", "blur"], "unknown operation 'blur'; 'gaussian' does that"),
        (["operations", "gausian"], "unknown operation 'gausian'; did you mean 'gaussian' or 'grayscale' or 'gamma'?"),
        (["analyses", "focus"], "unknown analysis 'focus'; 'sharpness' does that"),
    ],
)
def test_what_people_call_a_thing_is_answered_with_its_name(words: list[str], told: str, capsys: Output) -> None:
    assert main(words) == 1
    assert capsys.readouterr().err == f"rayjobs: {told}\n"


def test_an_analysis_is_explained_with_its_columns(capsys: Output) -> None:
    assert main(["analyses", "sharpness"]) == 0
    assert "sharpness_brenner                Mean squared difference" in capsys.readouterr().out


def test_a_cluster_that_does_not_answer_is_told_at_once(tmp_path: Path, capsys: Output) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
    write_photographs(tmp_path / "in", 1)
    job = write_job(tmp_path, inputs=["in/"])
    began = time.monotonic()
    assert main(["submit", str(job), "--address", address]) == 1
    assert time.monotonic() - began < 30
    assert f"rayjobs: http://{address}: nobody answers (" in capsys.readouterr().err
    assert main(["submit", str(job), "--address", "ftp://head:8265"]) == 1
    assert "give the address of the cluster's dashboard" in capsys.readouterr().err


@pytest.mark.parametrize("token", ["", "wrong"])
def test_a_missing_token_is_told_in_one_line(
    token: str, tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a server that answers as Ray's dashboard does to whoever has no token."""

    class Refuses(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(403 if token else 401)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing is logged."""

    write_photographs(tmp_path / "in", 1)
    job = write_job(tmp_path, inputs=["in/"])
    monkeypatch.setenv("RAY_AUTH_MODE", "token" if token else "disabled")
    if token:
        monkeypatch.setenv("RAY_AUTH_TOKEN", token)
    with ThreadingHTTPServer(("127.0.0.1", 0), Refuses) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{server.server_port}"
        assert main(["submit", str(job), "--address", address]) == 1
        server.shutdown()
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "warning" not in line]
    assert line.startswith(f"rayjobs: http://{address}: the ")
    assert line.endswith("set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH")


@pytest.mark.parametrize(
    ("command", "waited_for", "told"),
    [
        ("plan", "planning", "test-job: 1 input, 1 to do"),
        ("verify", "comparing", "rayjobs: no job "),
    ],
)
def test_something_moves_before_the_program_is_loaded(command: str, waited_for: str, told: str, tmp_path: Path) -> None:
    """On a terminal, at once, and nothing of it is left when the answer is there."""
    write_photographs(tmp_path / "photos", 1)
    job = write_job(tmp_path)
    ours, theirs = pty.openpty()
    environment = {**os.environ, "RAYJOBS_HOME": str(tmp_path / "home"), "TERM": "xterm", "PYTHONUTF8": "1"}
    words = [sys.executable, "-m", "rayjobs", command, str(job)]
    with subprocess.Popen(words, env=environment, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        screen = b""
        with contextlib.suppress(OSError):  # Linux says so when the other end is closed
            while data := os.read(ours, 65536):
                screen += data
    os.close(ours)
    text = screen.decode()
    assert process.returncode == (0 if command == "plan" else 1)
    before, erased, after = text.partition("\r\x1b[2K")
    assert before.startswith(f"\r\x1b[36m⠋\x1b[0m {waited_for}")
    assert before.count(waited_for) > 1
    assert erased
    assert after.startswith(told)
    assert waited_for not in after


def test_the_rate_of_a_running_job_is_that_of_its_run(place: Place) -> None:
    place.run()
    with closing(JobLedger(place.out / ".rayjobs/ledger.sqlite")) as ledger:
        first = min(attempt.finished for attempt in ledger.attempts.every())
        assert _rate_of(ledger, first + 1) is None, "too early to say"
        assert _rate_of(ledger, first + 8) == pytest.approx(0.5)
        assert _rate_of(ledger, first + 100) is None, "nothing lately"
        ledger.facts.write(replace(ledger.facts.read(), epoch=ledger.facts.read().epoch + 1))
        assert _rate_of(ledger, first + 8) is None, "that was the run before"
